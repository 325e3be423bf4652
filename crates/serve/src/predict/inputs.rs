//! From the columns of a request to the inputs of a model: the same program in training and in serving.

use paceline_core::Value;
use paceline_features::encode::Encoder;
use paceline_features::expression::{Input, Program, Scratch, Type};

use super::spec::MODEL_FILE;
use super::{ArtifactError, ModelInput, NamedExpression, PredictError, RequestColumn, expected};

/// How a row becomes inputs: expressions over the request's columns, then numbers and encoders.
#[derive(Debug)]
pub struct RowInputs {
    columns: Vec<RequestColumn>,
    expressions: Vec<Computed>,
    inputs: Vec<Fill>,
    names: Vec<String>,
}

/// An expression and where its inputs stand: first the request's columns, then earlier expressions.
#[derive(Debug)]
struct Computed {
    name: String,
    program: Program,
    reads: Vec<usize>,
}

/// How one column becomes one or more inputs.
#[derive(Debug)]
enum Fill {
    Number(usize),
    Encoded(usize, Encoder),
}

/// Memory for computing rows, one per thread. It fits every model, and is fastest when kept for one.
#[derive(Debug, Default)]
pub struct Workspace {
    scratches: Vec<Scratch>,
    results: Vec<Value>,
}

impl RowInputs {
    /// Compiles the expressions and resolves every name.
    ///
    /// # Errors
    /// [`ArtifactError::Inconsistent`] for a name that is not there or twice, an expression that does not compile, a
    /// column that is no number and has no encoder, or a damaged encoder.
    pub fn new(
        columns: &[RequestColumn],
        expressions: &[NamedExpression],
        inputs: &[ModelInput],
    ) -> Result<Self, ArtifactError> {
        let mut known: Vec<(String, Type)> = Vec::with_capacity(columns.len() + expressions.len());
        for column in columns {
            add(&mut known, &column.name, column.kind)?;
        }
        let mut computed = Vec::with_capacity(expressions.len());
        for expression in expressions {
            let program = Program::compile(&expression.expression, &known).map_err(|errors| {
                let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
                inconsistent(
                    format!("expression {:?}", expression.name),
                    errors.join("; "),
                    "over the columns before it",
                )
            })?;
            let reads = program.columns().map(|(name, _)| position(&known, name)).collect::<Result<_, _>>()?;
            add(&mut known, &expression.name, program.output_type())?;
            computed.push(Computed { name: expression.name.clone(), program, reads });
        }
        let fills = inputs.iter().map(|input| fill_of(input, &known)).collect::<Result<Vec<_>, _>>()?;
        let names: Vec<String> = inputs
            .iter()
            .flat_map(|input| input.encoder.as_ref().map_or_else(|| vec![input.column.clone()], Encoder::names))
            .collect();
        if names.is_empty() {
            return Err(inconsistent("number of inputs".to_owned(), "0".to_owned(), "at least 1"));
        }
        Ok(RowInputs { columns: columns.to_vec(), expressions: computed, inputs: fills, names })
    }

    /// The columns of a request, in order.
    #[must_use]
    pub fn columns(&self) -> &[RequestColumn] {
        &self.columns
    }

    /// A name for each of the model's inputs.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Writes the model's inputs for a row whose request columns are `values`; a null number is NaN.
    ///
    /// # Errors
    /// [`PredictError::WrongType`] for a value that is neither null nor of its column's type (a whole number is also a
    /// number), or infinite. NaN is read as null. `row` is the row's position for messages.
    ///
    /// # Panics
    /// When there is not one value per column, or `out` has not one place per input: the caller's bug.
    pub fn fill(
        &self,
        values: &[Input<'_>],
        row: usize,
        workspace: &mut Workspace,
        out: &mut [f64],
    ) -> Result<(), PredictError> {
        assert_eq!(values.len(), self.columns.len(), "one value per column");
        assert_eq!(out.len(), self.names.len(), "one place per input");
        for (column, value) in self.columns.iter().zip(values) {
            if !fits(column.kind, *value) {
                return Err(self.wrong_type(row, &column.name, *value, column.kind));
            }
        }
        self.compute(values, row, workspace)?;
        let at = |place: usize| match place.checked_sub(values.len()) {
            None => values[place],
            Some(result) => Input::from(&workspace.results[result]),
        };
        let mut rest = out;
        for fill in &self.inputs {
            match fill {
                Fill::Number(place) => {
                    rest[0] = number(at(*place));
                    rest = &mut rest[1..];
                }
                Fill::Encoded(place, encoder) => {
                    let (mine, others) = rest.split_at_mut(encoder.width());
                    // Types were checked when the layout was made and the values above, so this is a float in a damaged
                    // artifact at most.
                    encoder.encode(at(*place), mine).map_err(|_| PredictError::WrongType {
                        row,
                        column: encoder.column().to_owned(),
                        value: format!("{:?}", at(*place)),
                        expected: "a value that its encoder takes",
                    })?;
                    rest = others;
                }
            }
        }
        Ok(())
    }

    fn compute(&self, values: &[Input<'_>], row: usize, workspace: &mut Workspace) -> Result<(), PredictError> {
        workspace.scratches.resize_with(self.expressions.len().max(workspace.scratches.len()), Scratch::default);
        workspace.results.clear();
        for (expression, scratch) in self.expressions.iter().zip(&mut workspace.scratches) {
            let read = |&place: &usize| match place.checked_sub(values.len()) {
                None => values[place],
                Some(result) => Input::from(&workspace.results[result]),
            };
            let inputs: Vec<Input<'_>> = expression.reads.iter().map(read).collect();
            let result = expression.program.eval_row(&inputs, scratch).map_err(|error| PredictError::WrongType {
                row,
                column: expression.name.clone(),
                value: error.to_string(),
                expected: "a value that its expression takes",
            })?;
            workspace.results.push(result);
        }
        Ok(())
    }

    fn wrong_type(&self, row: usize, column: &str, value: Input<'_>, kind: Type) -> PredictError {
        PredictError::WrongType {
            row,
            column: column.to_owned(),
            value: match value {
                Input::Null => "null".to_owned(),
                Input::Bool(value) => value.to_string(),
                Input::Int(value) => value.to_string(),
                Input::Float(value) => value.to_string(),
                Input::Text(value) => format!("{:?}", value.chars().take(60).collect::<String>()),
                Input::Timestamp(value) => value.to_string(),
            },
            expected: expected(kind),
        }
    }
}

fn fits(kind: Type, value: Input<'_>) -> bool {
    match (kind, value) {
        (_, Input::Null)
        | (Type::Bool, Input::Bool(_))
        | (Type::Int | Type::Float, Input::Int(_))
        | (Type::Text, Input::Text(_))
        // A stored time comes back as microseconds.
        | (Type::Timestamp, Input::Timestamp(_) | Input::Int(_)) => true,
        (Type::Float, Input::Float(value)) => !value.is_infinite(),
        (Type::Bool | Type::Int | Type::Float | Type::Text | Type::Timestamp, _) => false,
    }
}

fn number(value: Input<'_>) -> f64 {
    match value {
        Input::Null | Input::Text(_) => f64::NAN,
        Input::Bool(value) => f64::from(u8::from(value)),
        Input::Int(value) => value as f64,
        Input::Float(value) => value,
        Input::Timestamp(at) => at.0 as f64,
    }
}

fn add(known: &mut Vec<(String, Type)>, name: &str, kind: Type) -> Result<(), ArtifactError> {
    if known.iter().any(|(other, _)| other == name) {
        return Err(inconsistent(format!("column {name:?}"), "there twice".to_owned(), "there once"));
    }
    known.push((name.to_owned(), kind));
    Ok(())
}

fn position(known: &[(String, Type)], name: &str) -> Result<usize, ArtifactError> {
    known.iter().position(|(other, _)| other == name).ok_or_else(|| {
        let must = "a column of the request or the result of an expression";
        inconsistent(format!("column {name:?} in {MODEL_FILE}"), "unknown".to_owned(), must)
    })
}

fn fill_of(input: &ModelInput, known: &[(String, Type)]) -> Result<Fill, ArtifactError> {
    let place = position(known, &input.column)?;
    let kind = known[place].1;
    let what = format!("input {:?}", input.column);
    match &input.encoder {
        None if matches!(kind, Type::Bool | Type::Int | Type::Float) => Ok(Fill::Number(place)),
        None => Err(inconsistent(what, kind.to_string(), "a number, a truth value, or encoded")),
        Some(encoder) => {
            encoder
                .check(kind)
                .map_err(|error| inconsistent(what, error.to_string(), "a sound encoder of its column"))?;
            Ok(Fill::Encoded(place, encoder.clone()))
        }
    }
}

fn inconsistent(part: String, found: String, must: &str) -> ArtifactError {
    ArtifactError::Inconsistent { part, found, must: must.to_owned() }
}
