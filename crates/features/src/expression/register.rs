//! Where the values of a running program lie: one register per distinct value, `N` rows wide.

use std::sync::Arc;

use super::types::Class;

/// The values of `N` rows. Floats hold null as NaN: a NaN operand then makes a NaN result without being looked at.
#[derive(Debug)]
pub(super) enum Register<'a, const N: usize> {
    Float([f64; N]),
    Int([Option<i64>; N]),
    Bool([Option<bool>; N]),
    Text(Texts<'a, N>),
}

/// Texts of `N` rows.
#[derive(Debug)]
pub(super) enum Texts<'a, const N: usize> {
    /// A literal: the same in every row.
    Same(Option<Arc<str>>),
    /// An input, read where it lies.
    Borrowed([Option<&'a str>; N]),
    /// Computed, or an input of a single row; boxed because it is long and not in every program.
    Owned(Box<OwnedTexts<N>>),
}

/// Texts one after another in one buffer, which is kept from one block to the next.
#[derive(Debug)]
pub(super) struct OwnedTexts<const N: usize> {
    bytes: String,
    ends: [usize; N],
    known: [bool; N],
}

impl<const N: usize> OwnedTexts<N> {
    pub(super) fn new() -> Self {
        OwnedTexts { bytes: String::new(), ends: [0; N], known: [false; N] }
    }

    /// Replaces the first `rows` texts by what `write` appends for each row; where it returns `None` the row is null.
    pub(super) fn fill(&mut self, rows: usize, mut write: impl FnMut(usize, &mut String) -> Option<()>) {
        self.bytes.clear();
        for row in 0..rows {
            let start = self.bytes.len();
            self.known[row] = write(row, &mut self.bytes).is_some();
            if !self.known[row] {
                self.bytes.truncate(start);
            }
            self.ends[row] = self.bytes.len();
        }
    }

    fn get(&self, row: usize) -> Option<&str> {
        let start = if row == 0 { 0 } else { self.ends[row - 1] };
        self.known[row].then(|| &self.bytes[start..self.ends[row]])
    }
}

impl<const N: usize> Texts<'_, N> {
    pub(super) fn get(&self, row: usize) -> Option<&str> {
        match self {
            Texts::Same(text) => text.as_deref(),
            Texts::Borrowed(texts) => texts[row],
            Texts::Owned(texts) => texts.get(row),
        }
    }
}

impl<'a, const N: usize> Register<'a, N> {
    /// A register for values that are written before they are read.
    pub(super) fn empty(class: Class) -> Self {
        match class {
            Class::Float => Register::Float([f64::NAN; N]),
            Class::Int => Register::Int([None; N]),
            Class::Bool => Register::Bool([None; N]),
            Class::Text => Register::Text(Texts::Owned(Box::new(OwnedTexts::new()))),
        }
    }

    /// # Panics
    /// When the register holds no texts: a bug of the compiler.
    pub(super) fn texts(&self) -> &Texts<'a, N> {
        match self {
            Register::Text(texts) => texts,
            other => panic!("an instruction takes a text from a register of {}", other.class_name()),
        }
    }

    /// # Panics
    /// When the register is not one for computed texts: a bug of the compiler.
    pub(super) fn owned_texts(&mut self) -> &mut OwnedTexts<N> {
        match self {
            Register::Text(Texts::Owned(texts)) => texts,
            other => panic!("an instruction writes a text to a register of {}", other.class_name()),
        }
    }

    fn class_name(&self) -> &'static str {
        match self {
            Register::Float(_) => "floats",
            Register::Int(_) => "ints",
            Register::Bool(_) => "truth values",
            Register::Text(_) => "input texts",
        }
    }
}

/// A value of fixed size and the slot that holds it or null.
pub(super) trait Element: Copy {
    /// Holds a value or null.
    type Slot: Copy;

    fn load(slot: Self::Slot) -> Option<Self>;

    fn store(value: Option<Self>) -> Self::Slot;

    /// # Panics
    /// When the register is of another class: a bug of the compiler.
    fn slots<'r, const N: usize>(register: &'r Register<'_, N>) -> &'r [Self::Slot; N];

    /// # Panics
    /// When the register is of another class: a bug of the compiler.
    fn slots_mut<'r, const N: usize>(register: &'r mut Register<'_, N>) -> &'r mut [Self::Slot; N];
}

macro_rules! slots_of {
    ($variant:ident) => {
        #[inline]
        fn slots<'r, const N: usize>(register: &'r Register<'_, N>) -> &'r [Self::Slot; N] {
            match register {
                Register::$variant(slots) => slots,
                other => {
                    panic!("an instruction takes {} from a register of {}", stringify!($variant), other.class_name())
                }
            }
        }

        #[inline]
        fn slots_mut<'r, const N: usize>(register: &'r mut Register<'_, N>) -> &'r mut [Self::Slot; N] {
            match register {
                Register::$variant(slots) => slots,
                other => {
                    panic!("an instruction writes {} to a register of {}", stringify!($variant), other.class_name())
                }
            }
        }
    };
}

impl Element for f64 {
    type Slot = f64;

    #[inline]
    fn load(slot: f64) -> Option<f64> {
        (!slot.is_nan()).then_some(slot)
    }

    /// The one place where NaN and infinities become null.
    #[inline]
    fn store(value: Option<f64>) -> f64 {
        match value {
            Some(value) if value.is_finite() => value,
            _ => f64::NAN,
        }
    }

    slots_of!(Float);
}

impl Element for i64 {
    type Slot = Option<i64>;

    #[inline]
    fn load(slot: Option<i64>) -> Option<i64> {
        slot
    }

    #[inline]
    fn store(value: Option<i64>) -> Option<i64> {
        value
    }

    slots_of!(Int);
}

impl Element for bool {
    type Slot = Option<bool>;

    #[inline]
    fn load(slot: Option<bool>) -> Option<bool> {
        slot
    }

    #[inline]
    fn store(value: Option<bool>) -> Option<bool> {
        value
    }

    slots_of!(Bool);
}
