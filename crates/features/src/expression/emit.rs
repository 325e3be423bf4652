//! Registers and instructions of a program under construction.

use std::collections::HashMap;
use std::sync::Arc;

use super::machine::Tables;
use super::operation::{Instruction, Operation, Place};
use super::register::{Register, Texts};
use super::types::Class;

/// A value that is written in the expression. Floats by their bits, so that equal literals share a register.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Literal {
    Null,
    Bool(bool),
    /// Also timestamps.
    Int(i64),
    Float(u64),
    Text(Arc<str>),
}

/// What a register holds before any instruction has run.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Content {
    /// Written by the caller or by an instruction.
    Empty(Class),
    /// The same in every row.
    Literal(Class, Literal),
}

impl Content {
    /// A register of this content, ready for use.
    pub(super) fn register<'a, const N: usize>(&self) -> Register<'a, N> {
        match self {
            Content::Empty(class) => Register::empty(*class),
            Content::Literal(Class::Text, Literal::Text(text)) => Register::Text(Texts::Same(Some(Arc::clone(text)))),
            Content::Literal(Class::Text, _) => Register::Text(Texts::Same(None)),
            Content::Literal(_, Literal::Bool(value)) => Register::Bool([Some(*value); N]),
            Content::Literal(_, Literal::Int(value)) => Register::Int([Some(*value); N]),
            Content::Literal(_, Literal::Float(bits)) => Register::Float([f64::from_bits(*bits); N]),
            Content::Literal(class, Literal::Null | Literal::Text(_)) => Register::empty(*class),
        }
    }
}

/// Collects registers and instructions. The same operation on the same registers is computed once.
#[derive(Debug, Default)]
pub(super) struct Emitter {
    pub(super) contents: Vec<Content>,
    /// Whether the register's value depends on no column.
    constant: Vec<bool>,
    literals: HashMap<Content, Place>,
    computed: HashMap<(Operation, [Place; 4]), Place>,
    /// Instructions on constants, to be run once.
    pub(super) prepare: Vec<Instruction>,
    /// All other instructions, to be run for every block or row.
    pub(super) run: Vec<Instruction>,
    pub(super) tables: Tables,
}

impl Emitter {
    /// A new register for the values of a column.
    pub(super) fn column(&mut self, class: Class) -> Place {
        self.add(Content::Empty(class), false)
    }

    /// The register of a literal.
    pub(super) fn literal(&mut self, class: Class, literal: Literal) -> Place {
        let content = Content::Literal(class, literal);
        if let Some(&place) = self.literals.get(&content) {
            return place;
        }
        let place = self.add(content.clone(), true);
        self.literals.insert(content, place);
        place
    }

    /// The register that holds the result of `operation`, which has class `class`.
    pub(super) fn operation(&mut self, operation: Operation, operands: &[Place], class: Class) -> Place {
        let mut arguments = [0; 4];
        arguments[..operands.len()].copy_from_slice(operands);
        if let Some(&place) = self.computed.get(&(operation, arguments)) {
            return place;
        }
        let constant = operands.iter().all(|&operand| self.constant[usize::from(operand)]);
        let out = self.add(Content::Empty(class), constant);
        let instructions = if constant { &mut self.prepare } else { &mut self.run };
        instructions.push(Instruction { operation, arguments, out });
        self.computed.insert((operation, arguments), out);
        out
    }

    fn add(&mut self, content: Content, constant: bool) -> Place {
        let place = Place::try_from(self.contents.len()).expect("the limit on tokens bounds the registers");
        self.contents.push(content);
        self.constant.push(constant);
        place
    }
}

/// Adds `item` to `table` and returns its index.
pub(super) fn push<T>(table: &mut Vec<T>, item: T) -> u16 {
    let index = u16::try_from(table.len()).expect("the limit on tokens bounds the tables");
    table.push(item);
    index
}
