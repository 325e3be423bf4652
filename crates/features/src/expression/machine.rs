//! Runs instructions over `N` rows: with `N` in the hundreds for blocks, with `N` = 1 for a single row.
//!
//! There is one loop and one list of kernels for both, which is why their results are bit-equal: the width is all that
//! differs, and no kernel sees another row.

use super::operation::{Instruction, Number, Operation, Place, Relation};
use super::pattern::Pattern;
use super::register::{Element, Register, Texts};
use super::types::{Class, Type};
use super::{kernel, text};

/// What instructions refer to by index.
#[derive(Debug, Default)]
pub(super) struct Tables {
    pub(super) patterns: Vec<Pattern>,
    /// Sorted.
    pub(super) int_sets: Vec<Vec<i64>>,
    /// Sorted.
    pub(super) text_sets: Vec<Vec<String>>,
}

/// Runs `instructions` over the first `rows` rows of `registers`.
///
/// # Panics
/// When an instruction reads a register that is not before the one it writes, or of another class: a compiler's bug.
pub(super) fn execute<const N: usize>(
    instructions: &[Instruction],
    tables: &Tables,
    registers: &mut [Register<'_, N>],
    rows: usize,
) {
    // A constant for the compiler, which then makes no loop of it.
    let rows = if N == 1 { 1 } else { rows };
    for instruction in instructions {
        let (inputs, rest) = registers.split_at_mut(usize::from(instruction.out));
        Step { inputs, arguments: instruction.arguments, out: &mut rest[0], rows }.run(instruction.operation, tables);
    }
}

/// One instruction with the registers it reads and the one it writes.
struct Step<'s, 'a, const N: usize> {
    inputs: &'s [Register<'a, N>],
    arguments: [Place; 4],
    out: &'s mut Register<'a, N>,
    rows: usize,
}

impl<'s, 'a, const N: usize> Step<'s, 'a, N> {
    #[inline]
    fn run(self, operation: Operation, tables: &Tables) {
        match operation {
            Operation::Negate(Number::Int) => self.of_one(i64::checked_neg),
            Operation::Negate(Number::Float) => self.of_one(|a: f64| Some(-a)),
            Operation::Absolute(Number::Int) => self.of_one(i64::checked_abs),
            Operation::Absolute(Number::Float) => self.of_one(|a: f64| Some(a.abs())),
            Operation::Add(Number::Int) => self.of_two(i64::checked_add),
            Operation::Add(Number::Float) => self.of_two(|a: f64, b: f64| Some(a + b)),
            Operation::Subtract(Number::Int) => self.of_two(i64::checked_sub),
            Operation::Subtract(Number::Float) => self.of_two(|a: f64, b: f64| Some(a - b)),
            Operation::Multiply(Number::Int) => self.of_two(i64::checked_mul),
            Operation::Multiply(Number::Float) => self.of_two(|a: f64, b: f64| Some(a * b)),
            Operation::Divide(Number::Int) => self.of_two(kernel::divide_int),
            Operation::Divide(Number::Float) => self.of_two(|a: f64, b: f64| Some(a / b)),
            Operation::Remainder(Number::Int) => self.of_two(kernel::remainder_int),
            Operation::Remainder(Number::Float) => self.of_two(|a: f64, b: f64| Some(a % b)),
            Operation::NaturalLogarithm => self.of_one(|a: f64| Some(a.ln())),
            Operation::Exponential => self.of_one(|a: f64| Some(a.exp())),
            Operation::SquareRoot => self.of_one(|a: f64| Some(a.sqrt())),
            Operation::Power => self.of_two(|a: f64, b: f64| Some(a.powf(b))),
            Operation::Floor => self.of_one(|a: f64| Some(a.floor())),
            Operation::Ceiling => self.of_one(|a: f64| Some(a.ceil())),
            Operation::Round => self.of_one(|a: f64| Some(a.round_ties_even())),
            Operation::RoundTo(digits) => self.of_one(|a: f64| Some(kernel::round_to(a, digits))),
            Operation::Haversine => self.haversine(),

            Operation::Compare(relation, Class::Bool) => self.compare::<bool>(relation),
            Operation::Compare(relation, Class::Int) => self.compare::<i64>(relation),
            Operation::Compare(relation, Class::Float) => self.compare::<f64>(relation),
            Operation::Compare(relation, Class::Text) => self.of_texts(|a, b| Some(holds(relation, a?, b?))),
            Operation::And => self.of_maybe_two(kernel::and),
            Operation::Or => self.of_maybe_two(kernel::or),
            Operation::Not => self.of_one(|a: bool| Some(!a)),
            Operation::IsNull(Class::Bool) => self.of_maybe_one(|a: Option<bool>| Some(a.is_none())),
            Operation::IsNull(Class::Int) => self.of_maybe_one(|a: Option<i64>| Some(a.is_none())),
            Operation::IsNull(Class::Float) => self.of_maybe_one(|a: Option<f64>| Some(a.is_none())),
            Operation::IsNull(Class::Text) => self.of_text(|a| Some(a.is_none())),

            Operation::Coalesce(Class::Bool) => self.of_maybe_two(Option::<bool>::or),
            Operation::Coalesce(Class::Int) => self.of_maybe_two(Option::<i64>::or),
            Operation::Coalesce(Class::Float) => self.of_maybe_two(Option::<f64>::or),
            Operation::Coalesce(Class::Text) => self.choose_text(Option::or),
            Operation::NullIf(Class::Bool) => self.of_maybe_two(kernel::null_if::<bool>),
            Operation::NullIf(Class::Int) => self.of_maybe_two(kernel::null_if::<i64>),
            Operation::NullIf(Class::Float) => self.of_maybe_two(kernel::null_if::<f64>),
            Operation::NullIf(Class::Text) => self.choose_text(kernel::null_if),
            Operation::Least(Class::Bool) => self.of_maybe_two(kernel::least::<bool>),
            Operation::Least(Class::Int) => self.of_maybe_two(kernel::least::<i64>),
            Operation::Least(Class::Float) => self.of_maybe_two(kernel::least::<f64>),
            Operation::Least(Class::Text) => self.choose_text(kernel::least),
            Operation::Greatest(Class::Bool) => self.of_maybe_two(kernel::greatest::<bool>),
            Operation::Greatest(Class::Int) => self.of_maybe_two(kernel::greatest::<i64>),
            Operation::Greatest(Class::Float) => self.of_maybe_two(kernel::greatest::<f64>),
            Operation::Greatest(Class::Text) => self.choose_text(kernel::greatest),
            Operation::Select(Class::Bool) => self.select::<bool>(),
            Operation::Select(Class::Int) => self.select::<i64>(),
            Operation::Select(Class::Float) => self.select::<f64>(),
            Operation::Select(Class::Text) => self.select_text(),

            Operation::IntToFloat => self.of_one(|a: i64| Some(a as f64)),
            Operation::FloatToInt => self.of_one(kernel::float_to_int),
            Operation::IntToBool => self.of_one(|a: i64| Some(a != 0)),
            Operation::BoolToInt => self.of_one(|a: bool| Some(i64::from(a))),
            Operation::TextTo(Type::Bool) => self.of_text(|a| text::to_bool(a?)),
            Operation::TextTo(Type::Int) => self.of_text(|a| text::to_int(a?)),
            Operation::TextTo(Type::Float) => self.of_text(|a| text::to_float(a?)),
            Operation::TextTo(Type::Timestamp) => self.of_text(|a| text::to_timestamp(a?)),
            Operation::TextTo(Type::Text) => self.choose_text(|a, _| a),
            Operation::ToText(Type::Bool) => self.write_as_text(text::of_bool),
            Operation::ToText(Type::Int) => self.write_as_text(text::of_int),
            Operation::ToText(Type::Float) => self.write_as_text(text::of_float),
            Operation::ToText(Type::Timestamp) => self.write_as_text(text::of_timestamp),
            Operation::ToText(Type::Text) => self.choose_text(|a, _| a),

            Operation::Lower => self.rewrite_text(text::lower),
            Operation::Upper => self.rewrite_text(text::upper),
            Operation::Length => self.of_text(|a| a.map(text::length)),
            Operation::SubstringFrom => self.substring_from(),
            Operation::Substring => self.substring(),
            Operation::Concatenate => self.concatenate(),
            Operation::Matches(index) => {
                let pattern = &tables.patterns[usize::from(index)];
                self.of_text(|a| a.map(|a| pattern.matches(a)));
            }
            Operation::InInts(index) => {
                let set = &tables.int_sets[usize::from(index)];
                self.of_one(|a: i64| Some(set.binary_search(&a).is_ok()));
            }
            Operation::InTexts(index) => {
                let set = &tables.text_sets[usize::from(index)];
                self.of_text(|a| a.map(|a| set.binary_search_by(|item| item.as_str().cmp(a)).is_ok()));
            }
            Operation::HashBucketOfInt(buckets) => {
                self.of_one(|a: i64| Some(kernel::hash_bucket_of_int(a, buckets)));
            }
            Operation::HashBucketOfText(buckets) => {
                self.of_text(|a| a.map(|a| kernel::hash_bucket_of_text(a, buckets)));
            }
            Operation::Extract(field) => self.of_one(|a: i64| kernel::extract(field, a)),
            Operation::ExtractEpoch => self.of_one(|a: i64| Some(kernel::extract_epoch(a))),
        }
    }

    fn input(&self, position: usize) -> &'s Register<'a, N> {
        &self.inputs[usize::from(self.arguments[position])]
    }

    fn slots<A: Element>(&self, position: usize) -> &'s [A::Slot] {
        &A::slots(self.input(position))[..self.rows]
    }

    fn texts(&self, position: usize) -> &'s Texts<'a, N> {
        self.input(position).texts()
    }

    /// A kernel that sees nulls.
    #[inline]
    fn of_maybe_one<A: Element, C: Element>(self, kernel: impl Fn(Option<A>) -> Option<C>) {
        let a = self.slots::<A>(0);
        let out = &mut C::slots_mut(self.out)[..self.rows];
        for (out, &a) in out.iter_mut().zip(a) {
            *out = C::store(kernel(A::load(a)));
        }
    }

    /// A kernel that gives null for null.
    #[inline]
    fn of_one<A: Element, C: Element>(self, kernel: impl Fn(A) -> Option<C>) {
        self.of_maybe_one(|a: Option<A>| kernel(a?));
    }

    #[inline]
    fn of_maybe_two<A: Element, B: Element, C: Element>(self, kernel: impl Fn(Option<A>, Option<B>) -> Option<C>) {
        let a = self.slots::<A>(0);
        let b = self.slots::<B>(1);
        let out = &mut C::slots_mut(self.out)[..self.rows];
        for ((out, &a), &b) in out.iter_mut().zip(a).zip(b) {
            *out = C::store(kernel(A::load(a), B::load(b)));
        }
    }

    #[inline]
    fn of_two<A: Element, B: Element, C: Element>(self, kernel: impl Fn(A, B) -> Option<C>) {
        self.of_maybe_two(|a: Option<A>, b: Option<B>| kernel(a?, b?));
    }

    fn select<A: Element>(self) {
        let condition = self.slots::<bool>(0);
        let then = self.slots::<A>(1);
        let otherwise = self.slots::<A>(2);
        let out = &mut A::slots_mut(self.out)[..self.rows];
        for (((out, &condition), &then), &otherwise) in out.iter_mut().zip(condition).zip(then).zip(otherwise) {
            *out = A::store(kernel::select(condition, A::load(then), A::load(otherwise)));
        }
    }

    fn compare<A: Element + PartialOrd>(self, relation: Relation) {
        match relation {
            Relation::Equal => self.of_two(|a: A, b: A| Some(a == b)),
            Relation::NotEqual => self.of_two(|a: A, b: A| Some(a != b)),
            Relation::Less => self.of_two(|a: A, b: A| Some(a < b)),
            Relation::LessOrEqual => self.of_two(|a: A, b: A| Some(a <= b)),
            Relation::Greater => self.of_two(|a: A, b: A| Some(a > b)),
            Relation::GreaterOrEqual => self.of_two(|a: A, b: A| Some(a >= b)),
        }
    }

    fn haversine(self) {
        let [a, b, c, d] = [0, 1, 2, 3].map(|position| self.slots::<f64>(position));
        let out = f64::slots_mut(self.out);
        for row in 0..self.rows {
            let known =
                || kernel::haversine(f64::load(a[row])?, f64::load(b[row])?, f64::load(c[row])?, f64::load(d[row])?);
            out[row] = f64::store(known());
        }
    }

    fn of_text<C: Element>(self, kernel: impl Fn(Option<&str>) -> Option<C>) {
        let a = self.texts(0);
        let out = &mut C::slots_mut(self.out)[..self.rows];
        for (row, out) in out.iter_mut().enumerate() {
            *out = C::store(kernel(a.get(row)));
        }
    }

    fn of_texts<C: Element>(self, kernel: impl Fn(Option<&str>, Option<&str>) -> Option<C>) {
        let [a, b] = [0, 1].map(|position| self.texts(position));
        let out = &mut C::slots_mut(self.out)[..self.rows];
        for (row, out) in out.iter_mut().enumerate() {
            *out = C::store(kernel(a.get(row), b.get(row)));
        }
    }

    fn write_as_text<A: Element>(self, kernel: impl Fn(A, &mut String)) {
        let a = self.slots::<A>(0);
        self.out.owned_texts().fill(self.rows, |row, out| {
            kernel(A::load(a[row])?, out);
            Some(())
        });
    }

    fn rewrite_text(self, kernel: impl Fn(&str, &mut String)) {
        let a = self.texts(0);
        self.out.owned_texts().fill(self.rows, |row, out| {
            kernel(a.get(row)?, out);
            Some(())
        });
    }

    /// A kernel that gives one of its operands, or null.
    fn choose_text(self, kernel: impl Fn(Option<&'s str>, Option<&'s str>) -> Option<&'s str>) {
        let [a, b] = [0, 1].map(|position| self.texts(position));
        self.out.owned_texts().fill(self.rows, |row, out| {
            out.push_str(kernel(a.get(row), b.get(row))?);
            Some(())
        });
    }

    fn select_text(self) {
        let condition = self.slots::<bool>(0);
        let [then, otherwise] = [1, 2].map(|position| self.texts(position));
        self.out.owned_texts().fill(self.rows, |row, out| {
            out.push_str(kernel::select(condition[row], then.get(row), otherwise.get(row))?);
            Some(())
        });
    }

    fn concatenate(self) {
        let [a, b] = [0, 1].map(|position| self.texts(position));
        self.out.owned_texts().fill(self.rows, |row, out| {
            let (a, b) = (a.get(row)?, b.get(row)?);
            out.push_str(a);
            out.push_str(b);
            Some(())
        });
    }

    fn substring_from(self) {
        let a = self.texts(0);
        let start = self.slots::<i64>(1);
        self.out.owned_texts().fill(self.rows, |row, out| {
            out.push_str(text::substring_from(a.get(row)?, start[row]?));
            Some(())
        });
    }

    fn substring(self) {
        let a = self.texts(0);
        let [start, count] = [1, 2].map(|position| self.slots::<i64>(position));
        self.out.owned_texts().fill(self.rows, |row, out| {
            out.push_str(text::substring(a.get(row)?, start[row]?, count[row]?)?);
            Some(())
        });
    }
}

fn holds<T: PartialOrd + ?Sized>(relation: Relation, a: &T, b: &T) -> bool {
    match relation {
        Relation::Equal => a == b,
        Relation::NotEqual => a != b,
        Relation::Less => a < b,
        Relation::LessOrEqual => a <= b,
        Relation::Greater => a > b,
        Relation::GreaterOrEqual => a >= b,
    }
}
