//! Casts and the names of types.

use std::ops::Range;

use sqlparser::ast::{CastKind, DataType, ExactNumberInfo, Expr};

use super::compile::{Compiler, Operand, Origin};
use super::error::Mistake;
use super::operation::Operation;
use super::types::Type;

impl Compiler<'_> {
    /// `cast(value as type)` and `value::type`.
    pub(super) fn explicit_cast(&mut self, kind: &CastKind, value: &Expr, to: &DataType) -> Option<Operand> {
        let value = self.check(value);
        let argument = value.as_ref().map(|value| value.span.clone()).unwrap_or_default();
        let (span, type_span) = match kind {
            CastKind::DoubleColon => {
                let span = self.source.with_tokens_after(argument.clone(), 2);
                (span.clone(), self.source.with_tokens_after(argument.end..argument.end, 2))
            }
            CastKind::Cast | CastKind::TryCast | CastKind::SafeCast => {
                let span = self.source.call("cast", argument.clone());
                (span.clone(), argument.end..span.end)
            }
        };
        let to = self.type_named(to, type_span);
        let result = self.cast(value?, to?)?;
        Some(Operand { span, ..result })
    }

    /// Converts; what a value cannot be converted to is null.
    pub(super) fn cast(&mut self, operand: Operand, to: Type) -> Option<Operand> {
        let Some(from) = operand.known_type else { return Some(Operand { known_type: Some(to), ..operand }) };
        if from == to {
            return Some(operand);
        }
        if to == Type::Timestamp && operand.text_literal().is_some() {
            let place = self.expect(&operand, Type::Timestamp, "timestamp")?;
            return Some(Operand { origin: Origin::Register(place), known_type: Some(to), ..operand });
        }
        let steps: &[Operation] = match (from, to) {
            (Type::Int, Type::Float) => &[Operation::IntToFloat],
            (Type::Float, Type::Int) => &[Operation::FloatToInt],
            (Type::Int, Type::Bool) => &[Operation::IntToBool],
            (Type::Bool, Type::Int) => &[Operation::BoolToInt],
            (Type::Bool, Type::Float) => &[Operation::BoolToInt, Operation::IntToFloat],
            (Type::Text, to) => &[Operation::TextTo(to)],
            (from, Type::Text) => &[Operation::ToText(from)],
            (Type::Float, Type::Bool) => {
                return self.no_cast(&operand, from, to, "write a comparison, for example ... <> 0");
            }
            (Type::Timestamp, Type::Int | Type::Float) => {
                return self.no_cast(&operand, from, to, "write extract(epoch from ...), in seconds");
            }
            (Type::Int | Type::Float, Type::Timestamp) => {
                return self.no_cast(&operand, from, to, "give the source's time column a time_unit");
            }
            (from, to) => return self.no_cast(&operand, from, to, "there is no such conversion"),
        };
        let mut place = self.place(&operand, from);
        for &step in steps {
            let class = if matches!(step, Operation::BoolToInt) { Type::Int.class() } else { to.class() };
            place = self.emitter.operation(step, &[place], class);
        }
        Some(Operand { origin: Origin::Register(place), known_type: Some(to), span: operand.span })
    }

    fn no_cast(&mut self, operand: &Operand, from: Type, to: Type, hint: &str) -> Option<Operand> {
        self.wrong_type(operand, from, &format!("a cast to {to}"), "another type", hint.to_owned())
    }

    /// The type that a SQL type name stands for.
    pub(super) fn type_named(&mut self, name: &DataType, span: Range<usize>) -> Option<Type> {
        match name {
            DataType::Bool | DataType::Boolean => Some(Type::Bool),
            DataType::Int(None)
            | DataType::Integer(None)
            | DataType::Int4(None)
            | DataType::Int8(None)
            | DataType::Int64
            | DataType::BigInt(None) => Some(Type::Int),
            DataType::Float(ExactNumberInfo::None)
            | DataType::Float8
            | DataType::Float64
            | DataType::Double(ExactNumberInfo::None)
            | DataType::DoublePrecision => Some(Type::Float),
            DataType::Text | DataType::Varchar(None) | DataType::String(None) => Some(Type::Text),
            DataType::Timestamp(None, _) => Some(Type::Timestamp),
            other => {
                let hint = match other {
                    DataType::Numeric(_) | DataType::Decimal(_) | DataType::Real | DataType::Float4 => {
                        "floats have 64 bits; write double precision, and round(value, digits) for fewer digits"
                    }
                    DataType::Date => "write timestamp",
                    _ => "write boolean, bigint, double precision, text or timestamp",
                };
                let what = format!("the type {other}");
                self.mistake(span, Mistake::Unsupported { what, hint: hint.to_owned() })
            }
        }
    }
}
