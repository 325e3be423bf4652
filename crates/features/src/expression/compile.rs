//! From a syntax tree to instructions, with types checked and every mistake collected.
//!
//! A part with a mistake compiles to `None` and its neighbors are still looked at, so that one attempt shows everything
//! that is wrong. Instructions are emitted on the way up; those of a text with mistakes are thrown away.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use sqlparser::ast::{BinaryOperator, CaseWhen, CastKind, CeilFloorKind, Expr, Ident, InTarget, UnaryOperator, Value};

use super::emit::{Emitter, Literal, push};
use super::error::{ExpressionError, Mistake, most_similar};
use super::operation::{Number, Operation, Place, Relation};
use super::pattern::Pattern;
use super::program::{Compiled, ReadColumn};
use super::syntax::{DEPTH_MAX, RECURSION_MAX, Source};
use super::types::{Class, Type};

/// From how many items on an `in` list of literals becomes a sorted set. Below, comparing one by one is faster.
const SET_ITEMS_MIN: usize = 4;
/// How many columns a message lists.
const KNOWN_COLUMNS_SHOWN: usize = 12;

/// Compiles `text` over `columns`.
pub(super) fn compile(text: &str, columns: &[(&str, Type)]) -> Result<Compiled, Vec<ExpressionError>> {
    let names: HashSet<&str> = columns.iter().map(|(name, _)| *name).collect();
    let (source, tree) = Source::parse(text, &names).map_err(|mistake| vec![mistake])?;
    let mut compiler =
        Compiler { source, columns, read: Vec::new(), emitter: Emitter::default(), mistakes: Vec::new(), depth: 0 };
    let output = compiler.check(&tree).and_then(|operand| {
        let output_type = operand.known_type;
        if output_type.is_none() {
            compiler.unknown_type(&operand);
        }
        Some((compiler.place(&operand, output_type?), output_type?))
    });
    match output {
        Some((output, output_type)) if compiler.mistakes.is_empty() => Ok(Compiled {
            text: text.to_owned(),
            columns: compiler.read,
            contents: compiler.emitter.contents,
            prepare: compiler.emitter.prepare,
            run: compiler.emitter.run,
            tables: compiler.emitter.tables,
            output,
            output_type,
        }),
        _ => {
            assert!(!compiler.mistakes.is_empty(), "a part of {text:?} compiled to nothing without a mistake");
            compiler.mistakes.sort_by_key(|mistake| (mistake.span.start, mistake.span.end));
            Err(compiler.mistakes)
        }
    }
}

/// A checked part of the expression.
#[derive(Debug, Clone)]
pub(super) struct Operand {
    pub(super) origin: Origin,
    /// `None` only for a null of no known type.
    pub(super) known_type: Option<Type>,
    /// Where it stands in the text.
    pub(super) span: Range<usize>,
}

/// Where an operand's value comes from. Literals get a register when their type is settled: `0` may become 0.0.
#[derive(Debug, Clone)]
pub(super) enum Origin {
    Register(Place),
    Literal(Literal),
}

impl Operand {
    pub(super) fn text_literal(&self) -> Option<&Arc<str>> {
        match &self.origin {
            Origin::Literal(Literal::Text(text)) => Some(text),
            _ => None,
        }
    }

    pub(super) fn int_literal(&self) -> Option<i64> {
        match (&self.origin, self.known_type) {
            (Origin::Literal(Literal::Int(value)), Some(Type::Int)) => Some(*value),
            _ => None,
        }
    }

    fn is_null(&self) -> bool {
        matches!(self.origin, Origin::Literal(Literal::Null))
    }
}

pub(super) struct Compiler<'t> {
    pub(super) source: Source<'t>,
    columns: &'t [(&'t str, Type)],
    read: Vec<ReadColumn>,
    pub(super) emitter: Emitter,
    mistakes: Vec<ExpressionError>,
    depth: usize,
}

impl Compiler<'_> {
    /// Compiles one part; `None` after a mistake, which has been noted.
    pub(super) fn check(&mut self, part: &Expr) -> Option<Operand> {
        if self.depth == RECURSION_MAX {
            let span = self.source.bytes_of(part);
            return self.mistake(span, Mistake::TooDeep { limit: DEPTH_MAX });
        }
        self.depth += 1;
        let operand = self.check_part(part);
        self.depth -= 1;
        operand
    }

    fn check_part(&mut self, part: &Expr) -> Option<Operand> {
        match part {
            Expr::Identifier(name) => self.column(std::slice::from_ref(name)),
            Expr::CompoundIdentifier(names) => self.column(names),
            Expr::Value(value) => self.literal(&value.value, self.source.bytes(value.span)),
            Expr::TypedString(typed) => {
                let literal = self.literal(&typed.value.value, self.source.bytes(typed.value.span))?;
                let to = self.type_named(&typed.data_type, self.source.with_token_before(literal.span.clone()))?;
                self.cast(literal, to)
            }
            Expr::Nested(inner) => {
                let mut operand = self.check(inner)?;
                operand.span = self.source.with_tokens_after(self.source.with_token_before(operand.span), 1);
                Some(operand)
            }
            Expr::UnaryOp { op, expr } => self.unary(*op, expr),
            Expr::BinaryOp { .. } => self.binary_chain(part),
            Expr::IsNull(inner) => self.is_null(inner, false),
            Expr::IsNotNull(inner) => self.is_null(inner, true),
            Expr::Between { expr, negated, low, high } => self.between(expr, *negated, low, high),
            Expr::In { expr, target: InTarget::List(items), negated, .. } => self.is_in(expr, items, *negated),
            Expr::Like { negated, any: false, expr, pattern, escape_char } => {
                self.like(expr, pattern, escape_char.as_deref(), *negated, false)
            }
            Expr::ILike { negated, any: false, expr, pattern, escape_char } => {
                self.like(expr, pattern, escape_char.as_deref(), *negated, true)
            }
            Expr::Cast { kind: kind @ (CastKind::Cast | CastKind::DoubleColon), expr, data_type, .. } => {
                self.explicit_cast(kind, expr, data_type)
            }
            Expr::Case { operand, conditions, else_result, case_token, end_token } => {
                let span = self.source.bytes(case_token.0.span.union(&end_token.0.span));
                self.case(operand.as_deref(), conditions, else_result.as_deref(), span)
            }
            Expr::Extract { field, expr, .. } => self.extract(field, expr),
            Expr::Ceil { expr, field: CeilFloorKind::DateTimeField(sqlparser::ast::DateTimeField::NoDateTime) } => {
                self.keyword_call("ceil", &[expr])
            }
            Expr::Floor { expr, field: CeilFloorKind::DateTimeField(sqlparser::ast::DateTimeField::NoDateTime) } => {
                self.keyword_call("floor", &[expr])
            }
            Expr::Substring { expr, substring_from: Some(from), substring_for, .. } => {
                let arguments: Vec<&Expr> = [expr, from].into_iter().chain(substring_for).map(AsRef::as_ref).collect();
                self.keyword_call("substr", &arguments)
            }
            Expr::Function(function) => self.function(function),
            other => self.unsupported_form(other),
        }
    }

    fn unsupported_form(&mut self, part: &Expr) -> Option<Operand> {
        let hint = match part {
            Expr::IsTrue(_) | Expr::IsNotFalse(_) | Expr::IsFalse(_) | Expr::IsNotTrue(_) => {
                "write coalesce(condition, true) or coalesce(condition, false)"
            }
            Expr::IsDistinctFrom(..) | Expr::IsNotDistinctFrom(..) => "compare with = and treat null with is null",
            Expr::SimilarTo { .. } | Expr::RLike { .. } => "write text ~ 'regular expression'",
            Expr::Cast { .. } | Expr::Convert { .. } => "write cast(value as type), which gives null where it cannot",
            Expr::Interval(_) | Expr::AtTimeZone { .. } => "compute with extract(epoch from ...), in seconds and UTC",
            Expr::Position { .. } => "write text like '%part%'",
            Expr::Substring { .. } => "write substr(text, start) or substr(text, start, count)",
            Expr::Ceil { .. } | Expr::Floor { .. } => "write round(value, digits)",
            Expr::Exists { .. } | Expr::Subquery(_) | Expr::In { .. } => {
                "an expression sees one row; join tables before"
            }
            _ => "see docs/expressions.md for what is",
        };
        let span = self.source.bytes_of(part);
        self.mistake(span, Mistake::Unsupported { what: format!("`{part}`"), hint: hint.to_owned() })
    }

    fn column(&mut self, parts: &[Ident]) -> Option<Operand> {
        let name = parts.iter().map(|part| part.value.as_str()).collect::<Vec<_>>().join(".");
        let span = parts.first()?.span.union(&parts.last()?.span);
        let span = self.source.bytes(span);
        if let Some(column) = self.read.iter().find(|column| column.name == name) {
            return Some(Operand { origin: Origin::Register(column.place), known_type: Some(column.kind), span });
        }
        let Some(&(_, kind)) = self.columns.iter().find(|(column, _)| *column == name) else {
            let names = self.columns.iter().map(|(name, _)| *name);
            let suggestion = most_similar(&name, names.clone()).map(str::to_owned);
            let known = names.take(KNOWN_COLUMNS_SHOWN).map(str::to_owned).collect();
            return self.mistake(span, Mistake::UnknownColumn { name, suggestion, known });
        };
        let place = self.emitter.column(kind.class());
        self.read.push(ReadColumn { name, kind, place });
        Some(Operand { origin: Origin::Register(place), known_type: Some(kind), span })
    }

    fn literal(&mut self, value: &Value, span: Range<usize>) -> Option<Operand> {
        let (literal, known_type) = match value {
            Value::Null => (Literal::Null, None),
            Value::Boolean(value) => (Literal::Bool(*value), Some(Type::Bool)),
            Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => {
                (Literal::Text(text.as_str().into()), Some(Type::Text))
            }
            Value::DollarQuotedString(text) => (Literal::Text(text.value.as_str().into()), Some(Type::Text)),
            Value::Number(digits, _) => return self.number(digits, span),
            other => {
                let hint = "write 'text', 12, 1.5, true, false, null or timestamp '2011-09-01'".to_owned();
                return self.mistake(span, Mistake::Unsupported { what: format!("the literal {other}"), hint });
            }
        };
        Some(Operand { origin: Origin::Literal(literal), known_type, span })
    }

    /// Whole numbers stay whole; everything with a point or an exponent is a float.
    fn number(&mut self, digits: &str, span: Range<usize>) -> Option<Operand> {
        let (literal, kind) = if digits.contains(['.', 'e', 'E']) {
            (
                digits.parse().ok().filter(|value: &f64| value.is_finite()).map(|v| Literal::Float(v.to_bits())),
                Type::Float,
            )
        } else {
            (digits.parse().ok().map(Literal::Int), Type::Int)
        };
        let Some(literal) = literal else {
            let reason = match kind {
                Type::Int => "is too large for a whole number of 64 bits; write it with a point, as a float".to_owned(),
                _ => "is too large for a float of 64 bits".to_owned(),
            };
            return self.mistake(span, Mistake::BadLiteral { literal: digits.to_owned(), reason });
        };
        Some(Operand { origin: Origin::Literal(literal), known_type: Some(kind), span })
    }

    fn unary(&mut self, operator: UnaryOperator, inner: &Expr) -> Option<Operand> {
        match (operator, inner) {
            // So that the smallest whole number can be written.
            (UnaryOperator::Minus, Expr::Value(value)) if matches!(value.value, Value::Number(..)) => {
                let Value::Number(digits, _) = &value.value else { return None };
                let span = self.source.with_token_before(self.source.bytes(value.span));
                return self.number(&format!("-{digits}"), span);
            }
            _ => {}
        }
        let operand = self.check(inner)?;
        let span = self.source.with_token_before(operand.span.clone());
        match operator {
            UnaryOperator::Plus => {
                self.number_type(&[&operand], "+")?;
                Some(Operand { span, ..operand })
            }
            UnaryOperator::Minus => {
                let Some(number) = self.number_type(&[&operand], "-")? else {
                    return Some(Operand { span, ..operand });
                };
                let place = self.place(&operand, number);
                Some(self.emit(Operation::Negate(number_of(number)), &[place], number, span))
            }
            UnaryOperator::Not => {
                let place = self.expect(&operand, Type::Bool, "not")?;
                Some(self.emit(Operation::Not, &[place], Type::Bool, span))
            }
            other => {
                let hint = "see docs/expressions.md for the operators".to_owned();
                self.mistake(span, Mistake::Unsupported { what: format!("the operator {other}"), hint })
            }
        }
    }

    /// A chain such as `a + b + c` leans to the left, as deep as it is long; it is walked, not recursed into.
    fn binary_chain(&mut self, part: &Expr) -> Option<Operand> {
        let mut rest = Vec::new();
        let mut first = part;
        while let Expr::BinaryOp { left, op, right } = first {
            rest.push((op, right));
            first = left;
        }
        let mut result = self.check(first);
        for (operator, right) in rest.into_iter().rev() {
            let right = self.check(right);
            result = match (result, right) {
                (Some(left), Some(right)) => self.binary(left, operator, right),
                _ => None,
            };
        }
        result
    }

    fn binary(&mut self, left: Operand, operator: &BinaryOperator, right: Operand) -> Option<Operand> {
        match operator {
            BinaryOperator::Plus => self.arithmetic(Operation::Add, left, "+", right),
            BinaryOperator::Minus => self.arithmetic(Operation::Subtract, left, "-", right),
            BinaryOperator::Multiply => self.arithmetic(Operation::Multiply, left, "*", right),
            BinaryOperator::Divide => self.arithmetic(Operation::Divide, left, "/", right),
            BinaryOperator::Modulo => self.arithmetic(Operation::Remainder, left, "%", right),
            BinaryOperator::Eq => self.compare(&left, "=", Relation::Equal, &right),
            BinaryOperator::NotEq => self.compare(&left, "<>", Relation::NotEqual, &right),
            BinaryOperator::Lt => self.compare(&left, "<", Relation::Less, &right),
            BinaryOperator::LtEq => self.compare(&left, "<=", Relation::LessOrEqual, &right),
            BinaryOperator::Gt => self.compare(&left, ">", Relation::Greater, &right),
            BinaryOperator::GtEq => self.compare(&left, ">=", Relation::GreaterOrEqual, &right),
            BinaryOperator::And => {
                self.strict(Operation::And, "and", &[(&left, Type::Bool), (&right, Type::Bool)], Type::Bool)
            }
            BinaryOperator::Or => {
                self.strict(Operation::Or, "or", &[(&left, Type::Bool), (&right, Type::Bool)], Type::Bool)
            }
            BinaryOperator::StringConcat => {
                self.strict(Operation::Concatenate, "||", &[(&left, Type::Text), (&right, Type::Text)], Type::Text)
            }
            BinaryOperator::PGRegexMatch => self.matches_regex(&left, "~", &right, false),
            BinaryOperator::PGRegexNotMatch => self.matches_regex(&left, "!~", &right, true),
            other => {
                let hint = match other {
                    BinaryOperator::PGExp | BinaryOperator::BitwiseXor => "write power(base, exponent)",
                    BinaryOperator::PGRegexIMatch | BinaryOperator::PGRegexNotIMatch => "write text ~ '(?i)pattern'",
                    BinaryOperator::PGLikeMatch | BinaryOperator::PGILikeMatch => "write like or ilike",
                    _ => "see docs/expressions.md for the operators",
                };
                let what = format!("the operator {other}");
                self.mistake(left.span.start..right.span.end, Mistake::Unsupported { what, hint: hint.to_owned() })
            }
        }
    }

    fn arithmetic(
        &mut self,
        operation: fn(Number) -> Operation,
        left: Operand,
        sign: &str,
        right: Operand,
    ) -> Option<Operand> {
        let span = left.span.start..right.span.end;
        let Some(number) = self.number_type(&[&left, &right], sign)? else { return Some(Operand { span, ..left }) };
        let places = [self.place(&left, number), self.place(&right, number)];
        Some(self.emit(operation(number_of(number)), &places, number, span))
    }

    fn compare(&mut self, left: &Operand, sign: &str, relation: Relation, right: &Operand) -> Option<Operand> {
        let common = self.common_type(&[left, right], sign)?.unwrap_or(Type::Bool);
        let span = left.span.start..right.span.end;
        let places = [self.place(left, common), self.place(right, common)];
        Some(self.emit(Operation::Compare(relation, common.class()), &places, Type::Bool, span))
    }

    fn is_null(&mut self, inner: &Expr, negated: bool) -> Option<Operand> {
        let operand = self.check(inner)?;
        let kind = operand.known_type.unwrap_or(Type::Bool);
        let span = self.source.with_tokens_after(operand.span.clone(), if negated { 3 } else { 2 });
        let place = self.place(&operand, kind);
        let result = self.emit(Operation::IsNull(kind.class()), &[place], Type::Bool, span);
        Some(self.negate_if(negated, result))
    }

    fn between(&mut self, value: &Expr, negated: bool, low: &Expr, high: &Expr) -> Option<Operand> {
        let (value, low, high) = (self.check(value), self.check(low), self.check(high));
        let (value, low, high) = (value?, low?, high?);
        let common = self.common_type(&[&value, &low, &high], "between")?.unwrap_or(Type::Bool);
        let span = value.span.start..high.span.end;
        let [value, low, high] = [&value, &low, &high].map(|operand| self.place(operand, common));
        let above = self.emitter.operation(
            Operation::Compare(Relation::GreaterOrEqual, common.class()),
            &[value, low],
            Class::Bool,
        );
        let below = self.emitter.operation(
            Operation::Compare(Relation::LessOrEqual, common.class()),
            &[value, high],
            Class::Bool,
        );
        let result = self.emit(Operation::And, &[above, below], Type::Bool, span);
        Some(self.negate_if(negated, result))
    }

    fn is_in(&mut self, value: &Expr, items: &[Expr], negated: bool) -> Option<Operand> {
        let value = self.check(value);
        let items: Vec<Option<Operand>> = items.iter().map(|item| self.check(item)).collect();
        let value = value?;
        let items: Vec<Operand> = items.into_iter().collect::<Option<_>>()?;
        let operands: Vec<&Operand> = std::iter::once(&value).chain(&items).collect();
        let common = self.common_type(&operands, "in")?.unwrap_or(Type::Bool);
        let last = items.last().map_or(value.span.end, |item| item.span.end);
        let span = self.source.with_tokens_after(value.span.start..last, 1);
        let place = self.place(&value, common);
        let (literals, others): (Vec<&Operand>, Vec<&Operand>) = items
            .iter()
            .partition(|item| matches!(&item.origin, Origin::Literal(literal) if *literal != Literal::Null));
        let set = if literals.len() < SET_ITEMS_MIN { None } else { self.in_set(place, &literals, common) };
        let one_by_one = if set.is_some() { others } else { items.iter().collect() };
        let mut result = set;
        for item in one_by_one {
            let item = self.place(item, common);
            let equal = Operation::Compare(Relation::Equal, common.class());
            let equal = self.emitter.operation(equal, &[place, item], Class::Bool);
            result = Some(match result {
                Some(before) => self.emitter.operation(Operation::Or, &[before, equal], Class::Bool),
                None => equal,
            });
        }
        let place = result.expect("the grammar has no empty list");
        let result = Operand { origin: Origin::Register(place), known_type: Some(Type::Bool), span };
        Some(self.negate_if(negated, result))
    }

    /// Membership in a sorted set; `None` for types that have none.
    fn in_set(&mut self, value: Place, literals: &[&Operand], common: Type) -> Option<Place> {
        let operation = match common {
            Type::Int | Type::Timestamp => {
                let mut items = literals.iter().map(|item| self.int_of(item, common)).collect::<Option<Vec<_>>>()?;
                items.sort_unstable();
                Operation::InInts(push(&mut self.emitter.tables.int_sets, items))
            }
            Type::Text => {
                let texts = literals.iter().map(|item| item.text_literal().map(ToString::to_string));
                let mut items = texts.collect::<Option<Vec<_>>>()?;
                items.sort_unstable();
                Operation::InTexts(push(&mut self.emitter.tables.text_sets, items))
            }
            Type::Bool | Type::Float => return None,
        };
        Some(self.emitter.operation(operation, &[value], Class::Bool))
    }

    fn like(
        &mut self,
        value: &Expr,
        pattern: &Expr,
        escape: Option<&Expr>,
        negated: bool,
        ignore_case: bool,
    ) -> Option<Operand> {
        let name = if ignore_case { "ilike" } else { "like" };
        let value = self.check(value);
        let pattern = self.check(pattern);
        let escape = match escape {
            None => Some(Some('\\')),
            Some(escape) => self.check(escape).and_then(|escape| self.escape(&escape)),
        };
        let place = value.as_ref().and_then(|value| self.expect(value, Type::Text, name));
        let pattern = pattern?;
        let text = self.pattern_text(&pattern, name)?;
        let compiled = self.pattern(&pattern, Pattern::like(&text, escape?, ignore_case))?;
        let span = value?.span.start..pattern.span.end;
        let result = self.emit(compiled, &[place?], Type::Bool, span);
        Some(self.negate_if(negated, result))
    }

    /// One character, or an empty text for none.
    fn escape(&mut self, escape: &Operand) -> Option<Option<char>> {
        let mut characters = escape.text_literal().map(|text| text.chars());
        let first = characters.as_mut().map(Iterator::next);
        match (first, characters.and_then(|mut rest| rest.next())) {
            (Some(first), None) => Some(first),
            _ => {
                let literal = self.part(&escape.span);
                let reason = "cannot be an escape; write one character in quotes".to_owned();
                self.mistake(escape.span.clone(), Mistake::BadLiteral { literal, reason })
            }
        }
    }

    fn matches_regex(&mut self, value: &Operand, sign: &str, pattern: &Operand, negated: bool) -> Option<Operand> {
        let place = self.expect(value, Type::Text, sign);
        let text = self.pattern_text(pattern, sign)?;
        let compiled = self.pattern(pattern, Pattern::regex(&text))?;
        let result = self.emit(compiled, &[place?], Type::Bool, value.span.start..pattern.span.end);
        Some(self.negate_if(negated, result))
    }

    fn pattern_text(&mut self, pattern: &Operand, place: &str) -> Option<Arc<str>> {
        if let Some(text) = pattern.text_literal() {
            return Some(Arc::clone(text));
        }
        let what = format!("the pattern `{}` of {place}", self.part(&pattern.span));
        let hint = "write it as a text in single quotes: patterns are compiled once".to_owned();
        self.mistake(pattern.span.clone(), Mistake::Unsupported { what, hint })
    }

    fn pattern(&mut self, operand: &Operand, compiled: Result<Pattern, String>) -> Option<Operation> {
        match compiled {
            Ok(pattern) => Some(Operation::Matches(push(&mut self.emitter.tables.patterns, pattern))),
            Err(reason) => {
                let literal = self.part(&operand.span);
                self.mistake(operand.span.clone(), Mistake::BadLiteral { literal, reason })
            }
        }
    }

    /// Every branch is computed, then one is chosen: no branch can fail, so that cannot be told from computing only one.
    fn case(
        &mut self,
        operand: Option<&Expr>,
        conditions: &[CaseWhen],
        otherwise: Option<&Expr>,
        span: Range<usize>,
    ) -> Option<Operand> {
        let operand = operand.map(|operand| self.check(operand));
        let conditions: Vec<(Option<Operand>, Option<Operand>)> =
            conditions.iter().map(|when| (self.check(&when.condition), self.check(&when.result))).collect();
        let otherwise = match otherwise {
            Some(otherwise) => self.check(otherwise),
            None => Some(Operand { origin: Origin::Literal(Literal::Null), known_type: None, span: span.clone() }),
        };
        let (conditions, values): (Vec<_>, Vec<_>) = conditions.into_iter().unzip();
        let conditions: Vec<Option<Place>> =
            conditions.into_iter().map(|condition| self.case_condition(operand.as_ref(), &condition?)).collect();
        let values = values.into_iter().collect::<Option<Vec<_>>>()?;
        let otherwise = otherwise?;
        let all: Vec<&Operand> = values.iter().chain([&otherwise]).collect();
        let common = self.common_type(&all, "case")?;
        let conditions = conditions.into_iter().collect::<Option<Vec<_>>>()?;
        let Some(common) = common else { return Some(Operand { span, ..otherwise }) };
        let mut result = self.place(&otherwise, common);
        for (condition, value) in conditions.into_iter().zip(&values).rev() {
            let value = self.place(value, common);
            let select = Operation::Select(common.class());
            result = self.emitter.operation(select, &[condition, value, result], common.class());
        }
        Some(Operand { origin: Origin::Register(result), known_type: Some(common), span })
    }

    fn case_condition(&mut self, operand: Option<&Option<Operand>>, condition: &Operand) -> Option<Place> {
        match operand {
            None => self.expect(condition, Type::Bool, "when"),
            Some(operand) => {
                let equal = self.compare(operand.as_ref()?, "case", Relation::Equal, condition)?;
                Some(self.place(&equal, Type::Bool))
            }
        }
    }

    /// An operation that takes operands of these types.
    pub(super) fn strict(
        &mut self,
        operation: Operation,
        name: &str,
        operands: &[(&Operand, Type)],
        result: Type,
    ) -> Option<Operand> {
        let places: Vec<Option<Place>> =
            operands.iter().map(|(operand, kind)| self.expect(operand, *kind, name)).collect();
        let places = places.into_iter().collect::<Option<Vec<_>>>()?;
        let start = operands.iter().map(|(operand, _)| operand.span.start).min()?;
        let end = operands.iter().map(|(operand, _)| operand.span.end).max()?;
        Some(self.emit(operation, &places, result, start..end))
    }

    /// The register of an operand that must have this type.
    pub(super) fn expect(&mut self, operand: &Operand, expected: Type, place: &str) -> Option<Place> {
        match operand.known_type {
            Some(found) if found == expected || (found, expected) == (Type::Int, Type::Float) => {}
            Some(Type::Text) if expected == Type::Timestamp && operand.text_literal().is_some() => {
                self.int_of(operand, Type::Timestamp)?;
            }
            None => {}
            Some(found) => {
                return self.wrong_type(operand, found, place, &expected.to_string(), hint_to(found, expected));
            }
        }
        Some(self.place(operand, expected))
    }

    /// Int or Float for operands that must be numbers; `Some(None)` when all are nulls of no known type.
    pub(super) fn number_type(&mut self, operands: &[&Operand], place: &str) -> Option<Option<Type>> {
        let wrong = |operand: &&&Operand| operand.known_type.is_some_and(|kind| !kind.is_number());
        let mistaken: Vec<&&Operand> = operands.iter().filter(wrong).collect();
        for operand in &mistaken {
            let found = operand.known_type?;
            self.wrong_type::<()>(operand, found, place, "a number", hint_to(found, Type::Float));
        }
        if mistaken.is_empty() { self.common_type(operands, place) } else { None }
    }

    /// The type in which all operands can be compared or chosen from: their own, Float for whole numbers and floats,
    /// Timestamp for timestamps and texts that are literals. `Some(None)` when all are nulls of no known type.
    pub(super) fn common_type(&mut self, operands: &[&Operand], place: &str) -> Option<Option<Type>> {
        let known = || operands.iter().filter_map(|operand| operand.known_type);
        let Some(first) = known().next() else { return Some(None) };
        let common = if known().any(|kind| kind == Type::Timestamp) && first == Type::Text {
            Type::Timestamp
        } else if known().any(|kind| kind == Type::Float) && first == Type::Int {
            Type::Float
        } else {
            first
        };
        let mut fits = true;
        for operand in operands {
            let fitting = match (operand.known_type, common) {
                (None, _) | (Some(Type::Int), Type::Float) => true,
                (Some(Type::Text), Type::Timestamp) if operand.text_literal().is_some() => {
                    self.int_of(operand, Type::Timestamp).is_some()
                }
                (Some(kind), _) if kind == common => true,
                (Some(found), _) => {
                    let expected = format!("{common} like `{}`", self.part(&operands[0].span));
                    self.wrong_type::<()>(operand, found, place, &expected, hint_to(found, common)).is_some()
                }
            };
            fits &= fitting;
        }
        fits.then_some(Some(common))
    }

    /// The register that holds an operand as a value of type `kind`, which it is known to fit.
    pub(super) fn place(&mut self, operand: &Operand, kind: Type) -> Place {
        match (&operand.origin, operand.known_type, kind) {
            (Origin::Literal(Literal::Int(value)), Some(Type::Int), Type::Float) => {
                self.emitter.literal(Class::Float, Literal::Float((*value as f64).to_bits()))
            }
            (Origin::Literal(Literal::Text(_)), _, Type::Timestamp) => {
                let micros = self.int_of(operand, Type::Timestamp).map_or(Literal::Null, Literal::Int);
                self.emitter.literal(Class::Int, micros)
            }
            (Origin::Literal(literal), _, _) => self.emitter.literal(kind.class(), literal.clone()),
            (Origin::Register(place), Some(Type::Int), Type::Float) => {
                self.emitter.operation(Operation::IntToFloat, &[*place], Class::Float)
            }
            (Origin::Register(place), _, _) => *place,
        }
    }

    /// The whole number that a literal is as a value of type `kind`. A text that is no time is noted as a mistake.
    fn int_of(&mut self, operand: &Operand, kind: Type) -> Option<i64> {
        match (&operand.origin, kind) {
            (Origin::Literal(Literal::Int(value)), _) => Some(*value),
            (Origin::Literal(Literal::Text(text)), Type::Timestamp) => match text.parse::<paceline_core::Timestamp>() {
                Ok(at) => Some(at.0),
                Err(_) => {
                    let literal = self.part(&operand.span);
                    let reason = "is not a time; write '2011-09-01' or '2011-09-01T12:30:00Z'".to_owned();
                    self.mistake(operand.span.clone(), Mistake::BadLiteral { literal, reason })
                }
            },
            _ => None,
        }
    }

    pub(super) fn emit(&mut self, operation: Operation, places: &[Place], kind: Type, span: Range<usize>) -> Operand {
        let place = self.emitter.operation(operation, places, kind.class());
        Operand { origin: Origin::Register(place), known_type: Some(kind), span }
    }

    fn negate_if(&mut self, negated: bool, operand: Operand) -> Operand {
        if !negated {
            return operand;
        }
        let place = self.place(&operand, Type::Bool);
        self.emit(Operation::Not, &[place], Type::Bool, operand.span)
    }

    /// The text of a part.
    pub(super) fn part(&self, span: &Range<usize>) -> String {
        self.source.text[span.clone()].to_owned()
    }

    /// Notes a mistake once, however often its part is looked at.
    pub(super) fn mistake<T>(&mut self, span: Range<usize>, mistake: Mistake) -> Option<T> {
        let error = ExpressionError { span, mistake };
        if !self.mistakes.contains(&error) {
            self.mistakes.push(error);
        }
        None
    }

    fn unknown_type(&mut self, operand: &Operand) {
        debug_assert!(operand.is_null());
        let part = self.part(&operand.span);
        self.mistake::<()>(operand.span.clone(), Mistake::UnknownType { part });
    }

    pub(super) fn wrong_type<T>(
        &mut self,
        operand: &Operand,
        found: Type,
        place: &str,
        expected: &str,
        hint: String,
    ) -> Option<T> {
        let mistake = Mistake::WrongType {
            part: self.part(&operand.span),
            found,
            place: place.to_owned(),
            expected: expected.to_owned(),
            hint,
        };
        self.mistake(operand.span.clone(), mistake)
    }
}

pub(super) fn number_of(kind: Type) -> Number {
    if kind == Type::Int { Number::Int } else { Number::Float }
}

fn hint_to(found: Type, expected: Type) -> String {
    match (found, expected) {
        (Type::Timestamp, Type::Int | Type::Float) => "write extract(epoch from ...), in seconds".to_owned(),
        (Type::Int | Type::Float, Type::Bool) => "write a comparison, for example ... <> 0".to_owned(),
        (Type::Float, Type::Int) => "write cast(... as bigint)".to_owned(),
        (Type::Bool, Type::Int | Type::Float) => "write cast(... as int)".to_owned(),
        (_, Type::Timestamp) => "write timestamp '2011-09-01T12:30:00Z' or a column of timestamps".to_owned(),
        (_, Type::Text) => "write cast(... as text)".to_owned(),
        (_, Type::Float) => "write cast(... as double precision)".to_owned(),
        (_, Type::Int) => "write cast(... as bigint)".to_owned(),
        (_, Type::Bool) => "write a comparison".to_owned(),
    }
}
