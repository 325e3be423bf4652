//! What is wrong with an expression, and why one could not be evaluated.

use std::ops::Range;

use thiserror::Error;

use super::Type;

/// One mistake in an expression text. [`super::Program::compile`] returns all of them.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{mistake}")]
pub struct ExpressionError {
    /// Bytes of the expression text that the mistake is about; never outside of the text, on character boundaries.
    pub span: Range<usize>,
    /// What is wrong there.
    pub mistake: Mistake,
}

/// What is wrong with a part of an expression, with the part itself and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Mistake {
    /// The text is longer than an expression may be.
    #[error("the expression has {found} {unit}, more than {limit}; split it into several columns")]
    TooLong {
        /// How long it is.
        found: usize,
        /// What was counted: bytes or tokens.
        unit: &'static str,
        /// The limit.
        limit: usize,
    },
    /// Parentheses, calls and cases are nested too deeply.
    #[error("the expression is nested more than {limit} levels deep; split it into several columns")]
    TooDeep {
        /// The limit.
        limit: usize,
    },
    /// Not an expression of the grammar.
    #[error("not a SQL expression: {reason}")]
    Syntax {
        /// What the parser says.
        reason: String,
    },
    /// No such column.
    #[error("unknown column {name:?}{}{}", did_you_mean(suggestion), known_columns(known))]
    UnknownColumn {
        /// The name as written, parts joined by dots.
        name: String,
        /// The most similar column, when one is similar.
        suggestion: Option<String>,
        /// Some of the columns that there are.
        known: Vec<String>,
    },
    /// No such function.
    #[error("unknown function {name:?}; {hint}")]
    UnknownFunction {
        /// The name as written.
        name: String,
        /// What to write instead.
        hint: String,
    },
    /// A function got too few or too many arguments.
    #[error("{function} takes {expected}, but {found} are written")]
    WrongArgumentCount {
        /// The function's name.
        function: String,
        /// How many it takes, in words.
        expected: &'static str,
        /// How many it got.
        found: usize,
    },
    /// An operand has a type that the operation does not take.
    #[error("`{part}` is {found}, but {place} needs {expected}; {hint}")]
    WrongType {
        /// The operand's text.
        part: String,
        /// Its type.
        found: Type,
        /// The operator or function that uses it.
        place: String,
        /// What is needed there, in words.
        expected: String,
        /// What to write instead.
        hint: String,
    },
    /// The expression is a bare `null` (or a combination of such), so that its type cannot be known.
    #[error("`{part}` is null of no known type; write for example cast(null as double precision)")]
    UnknownType {
        /// The operand's text.
        part: String,
    },
    /// A literal does not say what it must.
    #[error("{literal} {reason}")]
    BadLiteral {
        /// The literal as written.
        literal: String,
        /// What is wrong and what to write instead.
        reason: String,
    },
    /// SQL, but outside the set of this language.
    #[error("{what} is not supported; {hint}")]
    Unsupported {
        /// The construct.
        what: String,
        /// What to write instead.
        hint: String,
    },
}

/// Why a compiled expression could not be evaluated: the rows do not fit its columns. Values never cause an error.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EvaluationError {
    /// A column that the expression reads is not in the batch.
    #[error("expression `{expression}` reads column {column:?}, which the rows do not have; they have: {available}")]
    MissingColumn {
        /// The expression's text.
        expression: String,
        /// The column.
        column: String,
        /// The columns that there are.
        available: String,
    },
    /// A column has another type than the expression was compiled for.
    #[error("expression `{expression}` was compiled for column {column:?} as {expected}, but the rows hold {found}")]
    WrongType {
        /// The expression's text.
        expression: String,
        /// The column.
        column: String,
        /// The type it was compiled for.
        expected: Type,
        /// What the rows hold.
        found: String,
    },
    /// A filter needs a condition.
    #[error("expression `{expression}` is {found} and cannot choose rows; write a condition, for example `... > 0`")]
    NotACondition {
        /// The expression's text.
        expression: String,
        /// Its type.
        found: Type,
    },
    /// The rows already have a column of the new column's name.
    #[error("column {column:?} exists already; give the derived column another name")]
    ColumnExists {
        /// The name.
        column: String,
    },
}

fn did_you_mean(suggestion: &Option<String>) -> String {
    suggestion.as_ref().map_or_else(String::new, |name| format!("; did you mean {name:?}?"))
}

fn known_columns(known: &[String]) -> String {
    match known {
        [] => "; there are no columns here".to_owned(),
        names => format!("; columns: {}", names.join(", ")),
    }
}

/// The candidate that `name` was most likely meant to be: equal but for case, equal but for the part before the dot, or
/// a few edits away (a third of the name's length). Ties go to the earlier candidate.
pub(super) fn most_similar<'a>(name: &str, candidates: impl Iterator<Item = &'a str> + Clone) -> Option<&'a str> {
    let lower = name.to_lowercase();
    let last_part = |text: &str| text.rsplit('.').next().map(str::to_lowercase);
    let near = |candidate: &&str| strsim::osa_distance(&candidate.to_lowercase(), &lower);
    let reach = (name.chars().count() / 3).max(1);
    candidates
        .clone()
        .find(|candidate| candidate.to_lowercase() == lower)
        .or_else(|| candidates.clone().min_by_key(near).filter(|candidate| near(candidate) <= reach))
        .or_else(|| candidates.clone().find(|candidate| last_part(candidate) == last_part(&lower)))
}
