//! From what is known of a user and of items to the rows that the rank stage scores.

use paceline_core::Value;
use paceline_features::expression::{Input, Program, Scratch as ExpressionScratch, Type};
use paceline_models::recommend::{CandidateScore, Scratch};
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
    Candidate(CandidateScore),
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

    fn inputs(&self, item: u32) -> &[f64] {
        &self.inputs[item as usize * self.columns..(item as usize + 1) * self.columns]
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
    expressions: Vec<ExpressionScratch>,
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
            CandidateScore::ALL.map(|source| ((candidate_column(source), Type::Float), Column::Candidate(source))),
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
            let place = |read: &str| available.iter().find(|((name, _), _)| name == read).map(|(_, column)| *column);
            let inputs =
                program.columns().map(|(read, _)| place(read).expect("compiled against these columns")).collect();
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
            found
                .map(|index| self.columns[index])
                .ok_or_else(|| LayoutError::UnknownColumn { column: name.clone(), known: self.names.join(", ") })
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
    pub fn fill(&self, user: &[Value], items: &ItemTable, scores: &Scratch, candidates: &[u32], into: &mut RowScratch) {
        let RowScratch { expressions: scratches, rows } = into;
        rows.clear();
        rows.reserve(candidates.len() * self.columns.len());
        scratches.resize_with(self.expressions.len(), ExpressionScratch::default);
        let user_inputs: Vec<f64> = user.iter().map(Value::to_model_input).collect();
        let mut inputs: Vec<Input<'_>> = Vec::with_capacity(8);
        for &item in candidates {
            let (item_values, item_inputs) = (items.values(item), items.inputs(item));
            let score = |source| candidate_value(scores, source, item);
            for column in &self.columns {
                rows.push(match *column {
                    Column::User(index) => user_inputs[index],
                    Column::Item(index) => item_inputs[index],
                    Column::Candidate(source) => score(source),
                    Column::Expression(index) => {
                        let RowExpression { program, inputs: reads } = &self.expressions[index];
                        inputs.clear();
                        inputs.extend(reads.iter().map(|read| match *read {
                            Column::User(index) => Input::from(&user[index]),
                            Column::Item(index) => Input::from(&item_values[index]),
                            Column::Candidate(source) => Input::Float(score(source)),
                            Column::Expression(_) => unreachable!("expressions read no expressions"),
                        }));
                        let value = program.eval_row(&inputs, &mut scratches[index]);
                        value.expect("inputs have the types of their columns").to_model_input()
                    }
                });
            }
        }
    }
}

/// A candidate score as a feature: sums over the history or over similar users are divided by their weights, so that
/// users with much and with little history are on one scale.
fn candidate_value(scores: &Scratch, score: CandidateScore, item: u32) -> f64 {
    let raw = f64::from(scores.scores(score)[item as usize]);
    match score {
        CandidateScore::ItemItem | CandidateScore::Together => raw / (f64::from(scores.history_weight) + 1e-3),
        CandidateScore::SimilarUsers | CandidateScore::ClosestUsers | CandidateScore::ClosestUsersSlow => {
            raw / (f64::from(scores.neighbour_weight) + 1e-6)
        }
        CandidateScore::Als
        | CandidateScore::LastBasket
        | CandidateScore::AlsoBought
        | CandidateScore::Group
        | CandidateScore::Popular
        | CandidateScore::FirstBuyers => raw,
    }
}

/// Column name of a candidate source's score.
#[must_use]
pub fn candidate_column(score: CandidateScore) -> String {
    format!("candidate.{}", score.name())
}
