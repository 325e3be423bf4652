//! One module per command.

pub mod check;
pub mod demo;
pub mod features;
pub mod init;
pub mod predict;
pub mod run;
pub mod schema;
pub mod serve;

/// How a command ended, when it could say so itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It did what was asked, or the answer is positive.
    Success,
    /// The answer is negative: drift found, budget not held, values unequal.
    Negative,
    /// It failed and has said why.
    Failure,
}

impl Outcome {
    /// 0, 1 or 2.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Outcome::Success => 0,
            Outcome::Negative => 1,
            Outcome::Failure => 2,
        }
    }
}
