//! The instructions of a program.

use super::types::{Class, Type};

/// Which arithmetic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Number {
    Int,
    Float,
}

/// A comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Relation {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// A field of a timestamp, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum TimeField {
    Hour,
    DayOfWeek,
    Day,
    Month,
    Year,
}

/// What an instruction computes. Operand and result classes are those of the kernel that `machine` calls for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Operation {
    Negate(Number),
    Absolute(Number),
    Add(Number),
    Subtract(Number),
    Multiply(Number),
    Divide(Number),
    Remainder(Number),
    NaturalLogarithm,
    Exponential,
    SquareRoot,
    Power,
    Floor,
    Ceiling,
    Round,
    /// Digits after the point; negative before it.
    RoundTo(i8),
    Haversine,

    Compare(Relation, Class),
    And,
    Or,
    Not,
    IsNull(Class),

    Coalesce(Class),
    NullIf(Class),
    Least(Class),
    Greatest(Class),
    /// Condition, value where it is true, value where it is not.
    Select(Class),

    IntToFloat,
    FloatToInt,
    IntToBool,
    BoolToInt,
    TextTo(Type),
    ToText(Type),

    Lower,
    Upper,
    Length,
    /// From a character to the end.
    SubstringFrom,
    /// From a character, so many characters.
    Substring,
    Concatenate,
    /// Index into the program's patterns.
    Matches(u16),
    /// Index into the program's sets of whole numbers.
    InInts(u16),
    /// Index into the program's sets of texts.
    InTexts(u16),
    /// Number of buckets.
    HashBucketOfInt(u32),
    /// Number of buckets.
    HashBucketOfText(u32),
    Extract(TimeField),
    ExtractEpoch,
}

/// Position of a register.
pub(super) type Place = u16;

/// One step: reads the registers at `arguments` (as many as the operation takes), writes the one at `out`.
///
/// Invariant: `out` is larger than every argument that is read, so inputs and output can be borrowed apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Instruction {
    pub(super) operation: Operation,
    pub(super) arguments: [Place; 4],
    pub(super) out: Place,
}
