//! SQL scalar expressions, compiled once and executed over blocks of rows and over single rows.
//!
//! A [`Program`] is what a source's `where`, a derived column and a request-time feature become. The grammar is
//! PostgreSQL's (`sqlparser`); the language, its null rules and its functions are described in `docs/expressions.md`.
//!
//! - Nothing fails at run time: what cannot be computed (division by zero, overflow, a logarithm of zero, a text that is
//!   not a number) is null. Floats are finite or null; NaN and infinities are read as null and never come out.
//! - [`Program::eval_block`] and [`Program::eval_row`] are bit-equal: both run the same instructions through the same
//!   generic loop over `N` rows (`machine`), once with many rows and once with one.
//! - All mistakes of an expression are reported at once, with their place in the text ([`ExpressionError`]).
//!
//! ```
//! use paceline_core::Value;
//! use paceline_features::expression::{Input, Program, Scratch, Type};
//!
//! let columns = [("quantity", Type::Int), ("price", Type::Float)];
//! let amount = Program::compile("quantity * price", &columns).expect("a valid expression");
//! assert_eq!(amount.output_type(), Type::Float);
//! let mut scratch = Scratch::default();
//! let row = [Input::Int(3), Input::Float(2.5)];
//! assert_eq!(amount.eval_row(&row, &mut scratch), Ok(Value::Float(7.5)));
//!
//! let mistakes = Program::compile("quantty * price", &columns).expect_err("no such column");
//! assert_eq!(mistakes[0].span, 0..7);
//! assert!(mistakes[0].to_string().contains("did you mean \"quantity\"?"));
//! ```

mod block;
mod cast;
mod compile;
mod emit;
mod error;
mod function;
mod kernel;
mod machine;
mod operation;
mod pattern;
mod program;
mod register;
mod row;
mod syntax;
mod text;
mod types;

#[cfg(test)]
mod equality_tests;
#[cfg(test)]
mod example_tests;
#[cfg(test)]
mod mistake_tests;
#[cfg(test)]
mod reference;

pub use block::{filter, with_column};
pub use error::{EvaluationError, ExpressionError, Mistake};
pub use pattern::PATTERN_BYTES_MAX;
pub use program::Program;
pub use row::{Input, Scratch};
pub use syntax::{DEPTH_MAX, TEXT_BYTES_MAX, TOKENS_MAX};
pub use types::{Type, columns_of};
