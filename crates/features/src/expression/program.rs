//! A compiled expression.

use std::fmt;
use std::sync::Arc;

use super::compile::compile;
use super::emit::Content;
use super::error::ExpressionError;
use super::machine::{Tables, execute};
use super::operation::{Instruction, Place};
use super::register::Register;
use super::types::Type;

/// A SQL scalar expression, checked and compiled. Cheap to clone, usable from several threads at once.
#[derive(Clone)]
pub struct Program(pub(super) Arc<Compiled>);

/// A column that a program reads.
#[derive(Debug)]
pub(super) struct ReadColumn {
    pub(super) name: String,
    pub(super) kind: Type,
    pub(super) place: Place,
}

/// What is behind a [`Program`].
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) text: String,
    pub(super) columns: Vec<ReadColumn>,
    /// One per register.
    pub(super) contents: Vec<Content>,
    /// To be run once on new registers.
    pub(super) prepare: Vec<Instruction>,
    /// To be run for every block or row.
    pub(super) run: Vec<Instruction>,
    pub(super) tables: Tables,
    pub(super) output: Place,
    pub(super) output_type: Type,
}

impl Program {
    /// Compiles `text` over the columns that it may read.
    ///
    /// A column is matched literally: `item.price_mean` and `"item.price_mean"` both mean the column of that name, dot
    /// included, and case counts. The first of several columns of one name is taken.
    ///
    /// # Errors
    /// All mistakes of the text, in its order (of mistakes in the grammar only the first). Never empty.
    pub fn compile(text: &str, columns: &[(impl AsRef<str>, Type)]) -> Result<Program, Vec<ExpressionError>> {
        let columns: Vec<(&str, Type)> = columns.iter().map(|(name, kind)| (name.as_ref(), *kind)).collect();
        compile(text, &columns).map(|compiled| Program(Arc::new(compiled)))
    }

    /// The expression as written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// The columns that it reads, each once, in the order in which they are first read: the inputs of
    /// [`Program::eval_row`].
    pub fn columns(&self) -> impl ExactSizeIterator<Item = (&str, Type)> {
        self.0.columns.iter().map(|column| (column.name.as_str(), column.kind))
    }

    /// The type of the result.
    #[must_use]
    pub fn output_type(&self) -> Type {
        self.0.output_type
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Program({:?} -> {:?})", self.0.text, self.0.output_type)
    }
}

impl Compiled {
    /// New registers with literals and everything that follows from literals alone.
    pub(super) fn registers<'a, const N: usize>(&self) -> Vec<Register<'a, N>> {
        let mut registers: Vec<Register<'a, N>> = self.contents.iter().map(Content::register).collect();
        execute(&self.prepare, &self.tables, &mut registers, N);
        registers
    }
}
