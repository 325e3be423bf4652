//! Function calls.

use std::ops::Range;

use sqlparser::ast::{DateTimeField, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, ObjectNamePart};

use super::compile::{Compiler, Operand, number_of};
use super::error::{Mistake, most_similar};
use super::operation::{Operation, TimeField};
use super::types::{Class, Type};

/// Every function that is written as `name(arguments)`.
const NAMES: [&str; 20] = [
    "abs",
    "ceil",
    "coalesce",
    "exp",
    "extract",
    "floor",
    "greatest",
    "hash_bucket",
    "haversine",
    "least",
    "length",
    "ln",
    "lower",
    "nullif",
    "power",
    "round",
    "sqrt",
    "substr",
    "upper",
    "cast",
];

/// What people write who come from another dialect.
const OTHER_NAMES: [(&str, &str); 18] = [
    ("log", "write ln(x), or ln(x) / ln(10)"),
    ("log10", "write ln(x) / ln(10)"),
    ("log1p", "write ln(1 + x)"),
    ("pow", "write power(base, exponent)"),
    ("ceiling", "write ceil(x)"),
    ("trunc", "write cast(x as bigint), which rounds, or floor(x)"),
    ("mod", "write a % b"),
    ("len", "write length(text)"),
    ("char_length", "write length(text)"),
    ("concat", "write a || b"),
    ("ifnull", "write coalesce(a, b)"),
    ("isnull", "write a is null, or coalesce(a, b)"),
    ("nvl", "write coalesce(a, b)"),
    ("if", "write case when condition then a else b end"),
    ("iif", "write case when condition then a else b end"),
    ("date_part", "write extract(hour from time)"),
    ("regexp_like", "write text ~ 'pattern'"),
    ("now", "an expression has no clock; use a column"),
];

/// Buckets that a hash can have.
const BUCKETS_MAX: i64 = (1 << 31) - 1;
/// Digits that `round` can keep or drop.
const DIGITS_MAX: i64 = 15;

impl Compiler<'_> {
    /// A call in the usual form.
    pub(super) fn function(&mut self, function: &Function) -> Option<Operand> {
        let name = function.name.to_string();
        let name_span = match function.name.0.as_slice() {
            [ObjectNamePart::Identifier(name)] => self.source.bytes(name.span),
            parts => {
                self.source.bytes(sqlparser::ast::Spanned::span(&function.name)).start..{
                    let last = parts.last().map(sqlparser::ast::Spanned::span);
                    last.map_or(self.source.text.len(), |last| self.source.bytes(last).end)
                }
            }
        };
        let span = self.source.to_closing_parenthesis(name_span.clone());
        let FunctionArguments::List(list) = &function.args else {
            return self.unknown_function(&name, name_span);
        };
        let plain = |argument: &FunctionArg| match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => Some(value.clone()),
            _ => None,
        };
        let extras = function.over.is_some()
            || function.filter.is_some()
            || function.null_treatment.is_some()
            || !function.within_group.is_empty()
            || list.duplicate_treatment.is_some()
            || !list.clauses.is_empty()
            || function.parameters != FunctionArguments::None;
        let arguments: Option<Vec<Expr>> = list.args.iter().map(plain).collect();
        let (Some(arguments), false) = (arguments, extras) else {
            let hint = "write name(argument, ...); an expression sees one row".to_owned();
            return self.mistake(span, Mistake::Unsupported { what: format!("`{function}`"), hint });
        };
        let operands: Vec<Option<Operand>> = arguments.iter().map(|argument| self.check(argument)).collect();
        self.call(&name, name_span, span, operands)
    }

    /// A call that the grammar writes in a form of its own.
    pub(super) fn keyword_call(&mut self, name: &str, arguments: &[&Expr]) -> Option<Operand> {
        let operands: Vec<Option<Operand>> = arguments.iter().map(|argument| self.check(argument)).collect();
        let first = operands.first()?.as_ref()?.span.clone();
        let keyword = if name == "substr" { ["substr", "substring"].as_slice() } else { &[name] };
        let span = keyword
            .iter()
            .map(|keyword| self.source.call(keyword, first.clone()))
            .min_by_key(|span| span.start)
            .unwrap_or(first);
        self.call(name, span.clone(), span, operands)
    }

    fn call(
        &mut self,
        name: &str,
        name_span: Range<usize>,
        span: Range<usize>,
        operands: Vec<Option<Operand>>,
    ) -> Option<Operand> {
        let lower = name.to_lowercase();
        let count = operands.len();
        let (takes, fits) = match lower.as_str() {
            "abs" | "ceil" | "exp" | "floor" | "length" | "ln" | "lower" | "sqrt" | "upper" => {
                ("one argument", count == 1)
            }
            "round" => ("one or two arguments", count == 1 || count == 2),
            "nullif" | "power" | "hash_bucket" => ("two arguments", count == 2),
            "substr" => ("two or three arguments", count == 2 || count == 3),
            "haversine" => ("four arguments (latitude, longitude, latitude, longitude in degrees)", count == 4),
            "coalesce" | "greatest" | "least" => ("one or more arguments", count >= 1),
            _ => return self.unknown_function(name, name_span),
        };
        if !fits {
            let mistake = Mistake::WrongArgumentCount { function: lower, expected: takes, found: count };
            return self.mistake(span, mistake);
        }
        let operands = operands.into_iter().collect::<Option<Vec<Operand>>>()?;
        let operand = |index: usize| &operands[index];
        let result = match lower.as_str() {
            "ln" => self.strict(Operation::NaturalLogarithm, "ln", &[(operand(0), Type::Float)], Type::Float),
            "exp" => self.strict(Operation::Exponential, "exp", &[(operand(0), Type::Float)], Type::Float),
            "sqrt" => self.strict(Operation::SquareRoot, "sqrt", &[(operand(0), Type::Float)], Type::Float),
            "power" => {
                let operands = [(operand(0), Type::Float), (operand(1), Type::Float)];
                self.strict(Operation::Power, "power", &operands, Type::Float)
            }
            "lower" => self.strict(Operation::Lower, "lower", &[(operand(0), Type::Text)], Type::Text),
            "upper" => self.strict(Operation::Upper, "upper", &[(operand(0), Type::Text)], Type::Text),
            "length" => self.strict(Operation::Length, "length", &[(operand(0), Type::Text)], Type::Int),
            "haversine" => {
                let operands: Vec<(&Operand, Type)> = operands.iter().map(|operand| (operand, Type::Float)).collect();
                self.strict(Operation::Haversine, "haversine", &operands, Type::Float)
            }
            "substr" => self.substring(&operands),
            "hash_bucket" => self.hash_bucket(operand(0), operand(1)),
            "abs" => self.absolute(operand(0)),
            "floor" => self.whole_valued(operand(0), Operation::Floor, "floor"),
            "ceil" => self.whole_valued(operand(0), Operation::Ceiling, "ceil"),
            "round" => match operands.get(1) {
                None => self.whole_valued(operand(0), Operation::Round, "round"),
                Some(digits) => self.round_to(operand(0), digits),
            },
            "coalesce" => self.fold(&operands, Operation::Coalesce, "coalesce"),
            "nullif" => self.fold(&operands, Operation::NullIf, "nullif"),
            "least" => self.fold(&operands, Operation::Least, "least"),
            "greatest" => self.fold(&operands, Operation::Greatest, "greatest"),
            other => unreachable!("{other} has a number of arguments but no operation"),
        };
        Some(Operand { span, ..result? })
    }

    /// `extract(field from time)`.
    pub(super) fn extract(&mut self, field: &DateTimeField, time: &Expr) -> Option<Operand> {
        let time = self.check(time)?;
        let span = self.source.call("extract", time.span.clone());
        let (operation, result) = match field {
            DateTimeField::Hour => (Operation::Extract(TimeField::Hour), Type::Int),
            DateTimeField::Dow => (Operation::Extract(TimeField::DayOfWeek), Type::Int),
            DateTimeField::Day => (Operation::Extract(TimeField::Day), Type::Int),
            DateTimeField::Month => (Operation::Extract(TimeField::Month), Type::Int),
            DateTimeField::Year => (Operation::Extract(TimeField::Year), Type::Int),
            DateTimeField::Epoch => (Operation::ExtractEpoch, Type::Float),
            other => {
                let what = format!("extract({} from ...)", other.to_string().to_lowercase());
                let hint = "the fields are hour, dow, day, month, year and epoch".to_owned();
                return self.mistake(span, Mistake::Unsupported { what, hint });
            }
        };
        let result = self.strict(operation, "extract", &[(&time, Type::Timestamp)], result)?;
        Some(Operand { span, ..result })
    }

    fn unknown_function(&mut self, name: &str, span: Range<usize>) -> Option<Operand> {
        let lower = name.to_lowercase();
        let hint = match OTHER_NAMES.iter().find(|(other, _)| *other == lower) {
            Some((_, hint)) => (*hint).to_owned(),
            None => match most_similar(&lower, NAMES.iter().copied()) {
                Some(similar) => format!("did you mean {similar:?}?"),
                None => format!("the functions are {}", NAMES.join(", ")),
            },
        };
        self.mistake(span, Mistake::UnknownFunction { name: name.to_owned(), hint })
    }

    fn substring(&mut self, operands: &[Operand]) -> Option<Operand> {
        let types = [Type::Text, Type::Int, Type::Int];
        let operation = if operands.len() == 2 { Operation::SubstringFrom } else { Operation::Substring };
        let operands: Vec<(&Operand, Type)> = operands.iter().zip(types).collect();
        self.strict(operation, "substr", &operands, Type::Text)
    }

    fn hash_bucket(&mut self, value: &Operand, buckets: &Operand) -> Option<Operand> {
        let count = buckets.int_literal().filter(|count| (1..=BUCKETS_MAX).contains(count));
        let Some(count) = count.and_then(|count| u32::try_from(count).ok()) else {
            let literal = self.part(&buckets.span);
            let reason = format!("is not a number of buckets; write a whole number from 1 to {BUCKETS_MAX}");
            return self.mistake(buckets.span.clone(), Mistake::BadLiteral { literal, reason });
        };
        match value.known_type {
            Some(Type::Text) => {
                self.strict(Operation::HashBucketOfText(count), "hash_bucket", &[(value, Type::Text)], Type::Int)
            }
            None | Some(Type::Int) => {
                self.strict(Operation::HashBucketOfInt(count), "hash_bucket", &[(value, Type::Int)], Type::Int)
            }
            Some(found @ (Type::Bool | Type::Float | Type::Timestamp)) => {
                let hint = "write cast(... as text) or cast(... as bigint)".to_owned();
                self.wrong_type(value, found, "hash_bucket", "a text or a whole number", hint)
            }
        }
    }

    fn absolute(&mut self, value: &Operand) -> Option<Operand> {
        let Some(number) = self.number_type(&[value], "abs")? else { return Some(value.clone()) };
        let place = self.place(value, number);
        Some(self.emit(Operation::Absolute(number_of(number)), &[place], number, value.span.clone()))
    }

    /// A whole number is its own floor, ceiling and rounding.
    fn whole_valued(&mut self, value: &Operand, operation: Operation, name: &str) -> Option<Operand> {
        match self.number_type(&[value], name)? {
            None | Some(Type::Int) => Some(value.clone()),
            Some(_) => self.strict(operation, name, &[(value, Type::Float)], Type::Float),
        }
    }

    fn round_to(&mut self, value: &Operand, digits: &Operand) -> Option<Operand> {
        let count = digits.int_literal().filter(|count| (-DIGITS_MAX..=DIGITS_MAX).contains(count));
        let Some(count) = count.and_then(|count| i8::try_from(count).ok()) else {
            let literal = self.part(&digits.span);
            let reason = format!("is not a number of digits; write a whole number from -{DIGITS_MAX} to {DIGITS_MAX}");
            return self.mistake(digits.span.clone(), Mistake::BadLiteral { literal, reason });
        };
        self.strict(Operation::RoundTo(count), "round", &[(value, Type::Float)], Type::Float)
    }

    /// An operation of two applied from left to right.
    fn fold(&mut self, operands: &[Operand], operation: fn(Class) -> Operation, name: &str) -> Option<Operand> {
        let all: Vec<&Operand> = operands.iter().collect();
        let first = operands.first()?;
        let Some(common) = self.common_type(&all, name)? else { return Some(first.clone()) };
        let mut place = self.place(first, common);
        for operand in &operands[1..] {
            let next = self.place(operand, common);
            place = self.emitter.operation(operation(common.class()), &[place, next], common.class());
        }
        let origin = super::compile::Origin::Register(place);
        Some(Operand { origin, known_type: Some(common), span: first.span.clone() })
    }
}
