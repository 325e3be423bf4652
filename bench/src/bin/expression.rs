//! Nanoseconds per expression for one row (`eval_row`) and per row in blocks (`eval_block`).
//!
//! ```text
//! cargo run --release -p paceline-bench --bin expression
//! ```
//!
//! Every round measures every case once, so that a slow moment of a shared machine hits all of them; the figure is the
//! median over the rounds, with the quartiles beside it. Inputs differ from row to row, one in ten is null.

use std::fmt::Write as _;
use std::hint::black_box;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch};
use paceline_features::expression::{Input, Program, Scratch, Type};

const EXPRESSIONS: [&str; 3] = [
    "quantity * price",
    "(item.price_mean - user.price_mean) / (coalesce(user.price_std, 0) + 1)",
    "ln(1 + amount) * (price - item.price_mean) / nullif(user.price_std, 0)",
];
const COLUMNS: [(&str, Type); 6] = [
    ("quantity", Type::Int),
    ("price", Type::Float),
    ("amount", Type::Float),
    ("item.price_mean", Type::Float),
    ("user.price_mean", Type::Float),
    ("user.price_std", Type::Float),
];
const ROWS: usize = 4_096;
const BLOCK_ROWS: [usize; 3] = [1, 100, ROWS];
const ROUNDS: usize = 61;
/// Rows that one measurement of a case evaluates at least, so that the clock's own cost vanishes.
const ROWS_PER_MEASUREMENT: usize = 40_000;

fn main() -> io::Result<()> {
    let cases: Vec<Case> = EXPRESSIONS.iter().flat_map(|expression| Case::all_of(expression)).collect();
    let mut nanoseconds: Vec<Vec<f64>> = vec![Vec::with_capacity(ROUNDS); cases.len()];
    for _ in 0..ROUNDS {
        for (case, nanoseconds) in cases.iter().zip(&mut nanoseconds) {
            nanoseconds.push(case.measure());
        }
    }
    let mut report = String::from("ns per row, median [quartiles]\n");
    for (case, nanoseconds) in cases.iter().zip(&mut nanoseconds) {
        nanoseconds.sort_by(f64::total_cmp);
        let [low, median, high] = [1, 2, 3].map(|quarter| nanoseconds[ROUNDS * quarter / 4]);
        writeln!(report, "{median:8.1} [{low:.1}, {high:.1}]  {:<16} {}", case.way.name(), case.program.text())
            .expect("a string takes every text");
    }
    io::stdout().write_all(report.as_bytes())
}

/// How rows are given to the program.
enum Way {
    /// One by one, with the inputs of every row ready.
    Row(Vec<Vec<Input<'static>>>),
    /// In batches, ready.
    Block(RecordBatch),
}

impl Way {
    fn name(&self) -> String {
        match self {
            Way::Row(_) => "one row".to_owned(),
            Way::Block(batch) => format!("block of {}", batch.num_rows()),
        }
    }
}

struct Case {
    program: Program,
    way: Way,
}

impl Case {
    fn all_of(expression: &str) -> Vec<Case> {
        let program = Program::compile(expression, &COLUMNS).expect("the expressions are valid");
        let inputs = (0..ROWS).map(|row| program.columns().map(|(name, _)| input(name, row)).collect()).collect();
        let blocks = BLOCK_ROWS.map(|rows| Way::Block(batch(rows)));
        let ways = std::iter::once(Way::Row(inputs)).chain(blocks);
        ways.map(|way| Case { program: program.clone(), way }).collect()
    }

    fn measure(&self) -> f64 {
        let mut evaluated = 0_usize;
        let mut scratch = Scratch::default();
        let start = Instant::now();
        while evaluated < ROWS_PER_MEASUREMENT {
            match &self.way {
                Way::Row(rows) => {
                    for inputs in rows {
                        black_box(self.program.eval_row(black_box(inputs), &mut scratch)).expect("the rows fit");
                    }
                    evaluated += rows.len();
                }
                Way::Block(batch) => {
                    black_box(self.program.eval_block(black_box(batch))).expect("the batch fits");
                    evaluated += batch.num_rows();
                }
            }
        }
        start.elapsed().as_secs_f64() * 1e9 / evaluated as f64
    }
}

fn input(name: &str, row: usize) -> Input<'static> {
    let column = COLUMNS.iter().position(|column| column.0 == name).expect("a column of the bench");
    let drawn = (row * 7 + column * 13) % 101;
    match COLUMNS[column].1 {
        _ if drawn.is_multiple_of(10) => Input::Null,
        Type::Int => Input::Int(drawn as i64),
        _ => Input::Float(drawn as f64 / 4.0),
    }
}

fn batch(rows: usize) -> RecordBatch {
    let columns = COLUMNS.iter().map(|(name, kind)| {
        let inputs = (0..rows).map(|row| input(name, row));
        let array: ArrayRef = match kind {
            Type::Int => Arc::new(
                inputs
                    .map(|input| if let Input::Int(value) = input { Some(value) } else { None })
                    .collect::<Int64Array>(),
            ),
            _ => Arc::new(
                inputs
                    .map(|input| if let Input::Float(value) = input { Some(value) } else { None })
                    .collect::<Float64Array>(),
            ),
        };
        (*name, array)
    });
    RecordBatch::try_from_iter(columns).expect("equal lengths")
}
