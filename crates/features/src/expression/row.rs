//! Evaluation of one row.

use std::sync::Arc;

use paceline_core::{Timestamp, Value};

use super::error::EvaluationError;
use super::machine::execute;
use super::program::{Compiled, Program, ReadColumn};
use super::register::{Element, Register};
use super::types::Type;

/// The value of one column in one row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Input<'a> {
    /// Not known.
    Null,
    /// A truth value.
    Bool(bool),
    /// A whole number; also for a column of floats, or of timestamps (microseconds since 1970).
    Int(i64),
    /// A number; NaN and infinities read as null.
    Float(f64),
    /// A text.
    Text(&'a str),
    /// A time.
    Timestamp(Timestamp),
}

impl<'a> From<&'a Value> for Input<'a> {
    fn from(value: &'a Value) -> Self {
        match value {
            Value::Null => Input::Null,
            Value::Bool(value) => Input::Bool(*value),
            Value::Int(value) => Input::Int(*value),
            Value::Float(value) => Input::Float(*value),
            Value::Text(value) => Input::Text(value),
        }
    }
}

impl Input<'_> {
    fn describe(self) -> &'static str {
        match self {
            Input::Null => "null",
            Input::Bool(_) => "a truth value",
            Input::Int(_) => "a whole number",
            Input::Float(_) => "a number",
            Input::Text(_) => "a text",
            Input::Timestamp(_) => "a timestamp",
        }
    }
}

/// Memory that [`Program::eval_row`] works in, one per thread. It fits any program, and is fastest when kept for one.
#[derive(Debug, Default)]
pub struct Scratch {
    program: Option<Arc<Compiled>>,
    registers: Vec<Register<'static, 1>>,
}

impl Scratch {
    fn registers_for(&mut self, program: &Arc<Compiled>) -> &mut [Register<'static, 1>] {
        if !self.program.as_ref().is_some_and(|mine| Arc::ptr_eq(mine, program)) {
            self.registers = program.registers();
            self.program = Some(Arc::clone(program));
        }
        &mut self.registers
    }
}

impl Program {
    /// The result for one row: `inputs[i]` is the value of the `i`-th of [`Program::columns`].
    ///
    /// Bit-equal to [`Program::eval_block`]. A timestamp comes out as [`Value::Int`], in microseconds since 1970. Floats
    /// that come out are finite. Only a text result allocates.
    ///
    /// # Errors
    /// [`EvaluationError::WrongType`] when an input is neither null nor of its column's type (a whole number also fits
    /// a column of floats or timestamps).
    ///
    /// # Panics
    /// When the number of inputs is not that of the columns: the caller's bug.
    pub fn eval_row(&self, inputs: &[Input<'_>], scratch: &mut Scratch) -> Result<Value, EvaluationError> {
        let program = &*self.0;
        assert_eq!(inputs.len(), program.columns.len(), "inputs of `{}`", program.text);
        let registers = scratch.registers_for(&self.0);
        for (column, input) in program.columns.iter().zip(inputs) {
            if !set(&mut registers[usize::from(column.place)], column.kind, *input) {
                return Err(wrong_type(program, column, *input));
            }
        }
        execute(&program.run, &program.tables, registers, 1);
        Ok(match &registers[usize::from(program.output)] {
            Register::Float([slot]) => f64::load(*slot).map_or(Value::Null, Value::Float),
            Register::Int([slot]) => slot.map_or(Value::Null, Value::Int),
            Register::Bool([slot]) => slot.map_or(Value::Null, Value::Bool),
            Register::Text(texts) => texts.get(0).map_or(Value::Null, |text| Value::Text(text.into())),
        })
    }
}

/// Writes an input to its register; `false` when it does not fit.
fn set(register: &mut Register<'static, 1>, kind: Type, input: Input<'_>) -> bool {
    match (register, input, kind) {
        (Register::Float(slot), Input::Float(value), _) => slot[0] = f64::store(Some(value)),
        (Register::Float(slot), Input::Int(value), _) => slot[0] = value as f64,
        (Register::Float(slot), Input::Null, _) => slot[0] = f64::store(None),
        (Register::Int(slot), Input::Int(value), _) => slot[0] = Some(value),
        (Register::Int(slot), Input::Timestamp(at), Type::Timestamp) => slot[0] = Some(at.0),
        (Register::Int(slot), Input::Null, _) => slot[0] = None,
        (Register::Bool(slot), Input::Bool(value), _) => slot[0] = Some(value),
        (Register::Bool(slot), Input::Null, _) => slot[0] = None,
        (register @ Register::Text(_), Input::Text(text), _) => register.owned_texts().fill(1, |_, out| {
            out.push_str(text);
            Some(())
        }),
        (register @ Register::Text(_), Input::Null, _) => register.owned_texts().fill(1, |_, _| None),
        _ => return false,
    }
    true
}

#[cold]
fn wrong_type(program: &Compiled, column: &ReadColumn, input: Input<'_>) -> EvaluationError {
    EvaluationError::WrongType {
        expression: program.text.clone(),
        column: column.name.clone(),
        expected: column.kind,
        found: input.describe().to_owned(),
    }
}
