//! From what is known of a user and of items to the rows that the rank stage scores.

use paceline_core::Value;
use paceline_features::expression::{Program, Scratch as ExpressionScratch, Type};
use paceline_models::recommend::{CandidateSource, Scratch};
use thiserror::Error;

/// Why columns cannot be laid out.
#[derive(Debug, Error)]
pub enum LayoutError {
    /// A request-time feature does not compile.
    #[error("request-time feature {name:?}: {message}")]
    Expression {
        /// Its name.
        name: String,
        /// Every mistake in it.
        message: String,
    },
    /// A model wants a column that nothing provides.
    #[error("the model wants column {column:?}; there are: {known}")]
    UnknownColumn {
        /// The missing one.
        column: String,
        /// Those there are.
        known: String,
    },
}

/// A named, typed input of one side.
pub type NamedType = (String, Type);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    User(usize),
    Item(usize),
    Candidate(CandidateSource),
    Expression(usize),
}

#[derive(Debug)]
struct RowExpression {
    program: Program,
    inputs: Vec<Column>,
}

/// Which values make a row, in order. One layout serves training and requests, so they cannot differ.
#[derive(Debug)]
pub struct RowLayout {
    names: Vec<String>,
    columns: Vec<Column>,
    expressions: Vec<RowExpression>,
}

/// The features of all items, as of one materialization.
#[derive(Debug, Clone, Default)]
pub struct ItemTable {
    columns: usize,
    values: Vec<Value>,
    inputs: Vec<f64>,
}

impl ItemTable {
    /// From row-major values, `items x columns`.
    ///
    /// # Panics
    /// When `columns` does not divide the number of values: the caller's bug.
    #[must_use]
    pub fn new(values: Vec<Value>, columns: usize) -> Self {
        assert!(columns == 0 && values.is_empty() || columns > 0 && values.len().is_multiple_of(columns));
        let inputs = values.iter().map(Value::to_model_input).collect();
        ItemTable { columns, values, inputs }
    }

    /// The values of one item.
    #[must_use]
    pub fn values(&self, item: u32) -> &[Value] {
        &self.values[item as usize * self.columns..(item as usize + 1) * self.columns]
    }
}

/// Buffers of one request, reused by the next on the same thread.
#[derive(Debug, Default)]
pub struct RowScratch {
    expression: ExpressionScratch,
    inputs: Vec<Value>,
    /// The rows, row-major, `candidates x columns`.
    pub rows: Vec<f64>,
}

impl RowLayout {
    /// The columns `user.x`, `item.y`, every `candidate.SOURCE`, and one per request-time feature, in that order.
    ///
    /// `user` and `item` carry full names (`view.feature`). Request-time features may read all of them.
    pub fn new(
        user: &[NamedType],
        item: &[NamedType],
        expressions: &[(String, String)],
    ) -> Result<RowLayout, LayoutError> {
        let mut available: Vec<(NamedType, Column)> = Vec::new();
        available.extend(user.iter().enumerate().map(|(i, named)| (named.clone(), Column::User(i))));
        available.extend(item.iter().enumerate().map(|(i, named)| (named.clone(), Column::Item(i))));
        available.extend(
            CandidateSource::ALL.map(|source| ((candidate_column(source), Type::Float), Column::Candidate(source))),
        );
        let types: Vec<(&str, Type)> = available.iter().map(|((name, kind), _)| (name.as_str(), *kind)).collect();
        let mut layout = RowLayout { names: Vec::new(), columns: Vec::new(), expressions: Vec::new() };
        for ((name, kind), column) in &available {
            if *kind != Type::Text {
                layout.names.push(name.clone());
                layout.columns.push(*column);
            }
        }
        for (name, text) in expressions {
            let program = Program::compile(text, &types).map_err(|mistakes| LayoutError::Expression {
                name: name.clone(),
                message: mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
            })?;
            let inputs = program.columns().iter().map(|&index| available[index].1).collect();
            layout.names.push(format!("request.{name}"));
            layout.columns.push(Column::Expression(layout.expressions.len()));
            layout.expressions.push(RowExpression { program, inputs });
        }
        Ok(layout)
    }

    /// Only the named columns, in the order given: what a student with fewer features reads.
    pub fn select(&mut self, names: &[String]) -> Result<(), LayoutError> {
        let columns = names.iter().map(|name| {
            let found = self.names.iter().position(|known| known == name);
            found.map(|index| self.columns[index]).ok_or_else(|| LayoutError::UnknownColumn {
                column: name.clone(),
                known: self.names.join(", "),
            })
        });
        self.columns = columns.collect::<Result<_, _>>()?;
        self.names = names.to_vec();
        Ok(())
    }

    /// Names of the columns, in order.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Writes one row per candidate to `into.rows`. Null is NaN.
    pub fn fill(
        &self,
        user: &[Value],
        items: &ItemTable,
        scores: &Scratch,
        candidates: &[u32],
        into: &mut RowScratch,
    ) {
        into.rows.clear();
        into.rows.reserve(candidates.len() * self.columns.len());
        let user_inputs: Vec<f64> = user.iter().map(Value::to_model_input).collect();
        for &item in candidates {
            let item_inputs = &items.inputs[item as usize * items.columns..(item as usize + 1) * items.columns];
            for column in &self.columns {
                let value = match *column {
                    Column::User(index) => user_inputs[index],
                    Column::Item(index) => item_inputs[index],
                    Column::Candidate(source) => f64::from(scores.scores(source)[item as usize]),
                    Column::Expression(index) => {
                        let RowExpression { program, inputs } = &self.expressions[index];
                        into.inputs.clear();
                        into.inputs.extend(inputs.iter().map(|input| match *input {
                            Column::User(index) => user[index].clone(),
                            Column::Item(index) => items.values(item)[index].clone(),
                            Column::Candidate(source) => Value::Float(f64::from(scores.scores(source)[item as usize])),
                            Column::Expression(_) => unreachable!("expressions read no expressions"),
                        }));
                        program.eval_row(&into.inputs, &mut into.expression).to_model_input()
                    }
                };
                into.rows.push(value);
            }
        }
    }
}

/// Column name of a candidate source's score.
#[must_use]
pub fn candidate_column(source: CandidateSource) -> String {
    format!("candidate.{}", source.name())
}
