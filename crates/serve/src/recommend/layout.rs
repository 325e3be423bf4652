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
    reads: Reads,
}

/// What an expression depends on, and so how often it must be evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reads {
    /// Items alone: once per materialization; the position among such expressions.
    Items(usize),
    /// The user alone: once per request.
    User,
    /// Both, or candidate scores: once per row.
    Row,
}

impl Reads {
    fn of(inputs: &[Column], earlier: &[RowExpression]) -> Reads {
        let of_items = |expression: &&RowExpression| matches!(expression.reads, Reads::Items(_));
        if !inputs.is_empty() && inputs.iter().all(|input| matches!(input, Column::Item(_))) {
            Reads::Items(earlier.iter().filter(of_items).count())
        } else if inputs.iter().all(|input| matches!(input, Column::User(_))) {
            Reads::User
        } else {
            Reads::Row
        }
    }
}

/// Which values make a row, in order. One layout serves training and requests, so they cannot differ.
#[derive(Debug)]
pub struct RowLayout {
    names: Vec<String>,
    columns: Vec<Column>,
    expressions: Vec<RowExpression>,
    item_columns: usize,
}

/// The features of all items, as of one materialization, with the request-time features that depend on items alone.
#[derive(Debug, Clone, Default)]
pub struct ItemTable {
    columns: usize,
    values: Vec<Value>,
    inputs: Vec<f64>,
    derived_columns: usize,
    derived: Vec<f64>,
}

impl ItemTable {
    fn derived(&self, item: u32) -> &[f64] {
        &self.derived[item as usize * self.derived_columns..(item as usize + 1) * self.derived_columns]
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
    of_user: Vec<f64>,
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
        let mut layout =
            RowLayout { names: Vec::new(), columns: Vec::new(), expressions: Vec::new(), item_columns: item.len() };
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
            let inputs: Vec<Column> =
                program.columns().map(|(read, _)| place(read).expect("compiled against these columns")).collect();
            let reads = Reads::of(&inputs, &layout.expressions);
            layout.names.push(format!("request.{name}"));
            layout.columns.push(Column::Expression(layout.expressions.len()));
            layout.expressions.push(RowExpression { program, inputs, reads });
        }
        Ok(layout)
    }

    /// The features of all items from their row-major values, `items x item columns`.
    ///
    /// # Panics
    /// When the number of item columns does not divide the number of values: the caller's bug.
    #[must_use]
    pub fn item_table(&self, values: Vec<Value>) -> ItemTable {
        let columns = self.item_columns;
        assert!(columns == 0 && values.is_empty() || columns > 0 && values.len().is_multiple_of(columns));
        let of_items: Vec<&RowExpression> =
            self.expressions.iter().filter(|expression| matches!(expression.reads, Reads::Items(_))).collect();
        let mut derived = Vec::new();
        if !of_items.is_empty() && columns > 0 {
            let mut scratches: Vec<ExpressionScratch> = Vec::new();
            scratches.resize_with(of_items.len(), ExpressionScratch::default);
            let mut inputs = Vec::new();
            derived.reserve(values.len() / columns * of_items.len());
            for item in values.chunks_exact(columns) {
                for (expression, scratch) in of_items.iter().zip(&mut scratches) {
                    let none = |_| unreachable!("it reads items alone");
                    gather(&expression.inputs, &[], item, none, &mut inputs);
                    derived.push(evaluate(&expression.program, &inputs, scratch));
                }
            }
        }
        let inputs = values.iter().map(Value::to_model_input).collect();
        ItemTable { columns, values, inputs, derived_columns: of_items.len(), derived }
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
        let RowScratch { expressions: scratches, of_user, rows } = into;
        rows.clear();
        rows.reserve(candidates.len() * self.columns.len());
        scratches.resize_with(self.expressions.len(), ExpressionScratch::default);
        let user_inputs: Vec<f64> = user.iter().map(Value::to_model_input).collect();
        let mut inputs: Vec<Input<'_>> = Vec::with_capacity(8);
        of_user.clear();
        for (expression, scratch) in self.expressions.iter().zip(scratches.iter_mut()) {
            of_user.push(match expression.reads {
                Reads::User => {
                    let none = |_| unreachable!("it reads the user alone");
                    gather(&expression.inputs, user, &[], none, &mut inputs);
                    evaluate(&expression.program, &inputs, scratch)
                }
                Reads::Items(_) | Reads::Row => f64::NAN,
            });
        }
        for &item in candidates {
            let (item_values, item_inputs) = (items.values(item), items.inputs(item));
            let score = |source| candidate_value(scores, source, item);
            for column in &self.columns {
                rows.push(match *column {
                    Column::User(index) => user_inputs[index],
                    Column::Item(index) => item_inputs[index],
                    Column::Candidate(source) => score(source),
                    Column::Expression(index) => match self.expressions[index].reads {
                        Reads::Items(place) => items.derived(item)[place],
                        Reads::User => of_user[index],
                        Reads::Row => {
                            let RowExpression { program, inputs: reads, .. } = &self.expressions[index];
                            gather(reads, user, item_values, score, &mut inputs);
                            evaluate(program, &inputs, &mut scratches[index])
                        }
                    },
                });
            }
        }
    }
}

/// The inputs of one evaluation: those of `reads`, from the values of the user and of one item and from its scores.
fn gather<'a>(
    reads: &[Column],
    user: &'a [Value],
    item: &'a [Value],
    score: impl Fn(CandidateScore) -> f64,
    into: &mut Vec<Input<'a>>,
) {
    into.clear();
    into.extend(reads.iter().map(|read| match *read {
        Column::User(index) => Input::from(&user[index]),
        Column::Item(index) => Input::from(&item[index]),
        Column::Candidate(source) => Input::Float(score(source)),
        Column::Expression(_) => unreachable!("expressions read no expressions"),
    }));
}

fn evaluate(program: &Program, inputs: &[Input<'_>], scratch: &mut ExpressionScratch) -> f64 {
    program.eval_row(inputs, scratch).expect("inputs have the types of their columns").to_model_input()
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

#[cfg(test)]
mod tests {
    use paceline_core::Timestamp;
    use paceline_models::recommend::{HistoryItem, ItemItem, Retriever, UserState};

    use super::*;

    fn layout(expressions: &[(&str, &str)]) -> RowLayout {
        let user = [("user.spend".to_owned(), Type::Float), ("user.country".to_owned(), Type::Text)];
        let item = [("item.price".to_owned(), Type::Float), ("item.sales".to_owned(), Type::Int)];
        let expressions: Vec<_> = expressions.iter().map(|(name, text)| (name.to_string(), text.to_string())).collect();
        RowLayout::new(&user, &item, &expressions).expect("compiles")
    }

    /// Scores of three items for a user who owns item 0; item 1 lies in a basket with it.
    fn scores() -> Scratch {
        let retriever = Retriever {
            bought_together: ItemItem::new(&[vec![(1, 0.5)], vec![], vec![]]),
            popularity: vec![3.0, 2.0, 1.0],
            first_buyers: vec![0.0; 3],
            available: vec![true; 3],
            half_life_days: 10.0,
            taste_half_life_days: 10.0,
            ..Retriever::default()
        };
        let history = vec![HistoryItem { item: 0, count: 1, last: Timestamp(0) }];
        let user = UserState { history, ..UserState::default() };
        let mut scratch = Scratch::default();
        retriever.score(&user, Timestamp(0), true, &[], &mut scratch);
        scratch
    }

    /// However often an expression is evaluated, its value is that of its inputs in that row.
    #[test]
    fn expressions_read_their_own_row() {
        let mut layout = layout(&[
            ("of_item", "item.sales / (item.price + 1.0)"),
            ("of_user", "user.spend * 2"),
            ("of_both", "user.spend - item.price"),
            ("of_candidate", "candidate.popular + item.sales"),
            ("constant", "1.5"),
            ("of_item_too", "coalesce(item.price, 7.0)"),
        ]);
        let names: Vec<String> =
            layout.names().iter().filter(|name| name.starts_with("request.")).rev().cloned().collect();
        layout.select(&names).expect("known columns");
        let float = Value::Float;
        let items = layout.item_table(vec![
            float(4.0),
            Value::Int(10), //
            Value::Null,
            Value::Int(20),
            float(1.0),
            Value::Int(30),
        ]);
        let user = [float(5.0), Value::Text("FR".into())];
        let mut rows = RowScratch::default();
        layout.fill(&user, &items, &scores(), &[2, 1], &mut rows);
        let nan = f64::NAN;
        // In the order of `names`: of_item_too, constant, of_candidate, of_both, of_user, of_item.
        let expected = [[1.0, 1.5, 31.0, 4.0, 10.0, 15.0], [7.0, 1.5, 22.0, nan, 10.0, nan]].concat();
        let same = |(a, b): (&f64, &f64)| a == b || a.is_nan() && b.is_nan();
        assert!(rows.rows.len() == 12 && rows.rows.iter().zip(&expected).all(same), "{:?}", rows.rows);
    }

    #[test]
    fn a_row_is_numbers_and_candidate_scores() {
        let layout = layout(&[]);
        assert!(!layout.names().contains(&"user.country".to_owned()), "texts are read by expressions alone");
        let items = layout.item_table(vec![Value::Int(10); 6]);
        let mut rows = RowScratch::default();
        layout.fill(&[Value::Null, Value::Null], &items, &scores(), &[1], &mut rows);
        let at = |name: &str| rows.rows[layout.names().iter().position(|known| known == name).expect(name)];
        assert!(at("user.spend").is_nan());
        assert_eq!((at("item.sales"), at("item.price")), (10.0, 10.0));
        assert_eq!(at("candidate.popular"), 2.0);
        assert!((at("candidate.together") - 0.5 / 1.001).abs() < 1e-6, "divided by the weight of the history");
        assert_eq!(at("candidate.last_basket"), 0.0);
    }

    #[test]
    fn unknown_columns_are_named() {
        let error = layout(&[]).select(&["item.weight".to_owned()]).expect_err("no such column").to_string();
        assert!(error.contains("item.weight") && error.contains("item.price"), "{error}");
        let bad = RowLayout::new(&[], &[], &[("x".to_owned(), "nowhere + 1".to_owned())]);
        assert!(bad.expect_err("does not compile").to_string().contains("nowhere"));
    }
}
