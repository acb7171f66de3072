//! Exit codes: k6's where it has one.

use crate::run::Unfinished;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitCode {
    /// All kept.
    Kept,
    /// A threshold was missed.
    ThresholdMissed,
    /// An invalid scenario, flag or configuration.
    Invalid,
    /// Stopped by the user.
    Stopped,
    /// An invariant is violated.
    InvariantViolated,
    /// The run proves nothing: the generator was the bottleneck, too few samples, nothing checked.
    Inconclusive,
    /// A fault could not be applied or lifted.
    FaultFailed,
    /// The shop did not start, could not be seeded, or left books that cannot be read.
    ShopFailed,
}

impl ExitCode {
    pub const fn number(self) -> u8 {
        match self {
            Self::Kept => 0,
            Self::ThresholdMissed => 99,
            Self::Invalid => 104,
            Self::Stopped => 105,
            Self::InvariantViolated => 111,
            Self::Inconclusive => 113,
            Self::FaultFailed => 114,
            Self::ShopFailed => 115,
        }
    }

    /// Where several apply, the lowest decides.
    pub const fn severity(self) -> u8 {
        match self {
            Self::InvariantViolated => 0,
            Self::ShopFailed => 1,
            Self::Invalid => 2,
            Self::FaultFailed => 3,
            Self::Stopped => 4,
            Self::Inconclusive => 5,
            Self::ThresholdMissed => 6,
            Self::Kept => 7,
        }
    }

    pub fn from_number(number: u8) -> Self {
        let all = [
            Self::Kept,
            Self::ThresholdMissed,
            Self::Invalid,
            Self::Stopped,
            Self::InvariantViolated,
            Self::Inconclusive,
            Self::FaultFailed,
        ];
        all.into_iter().find(|code| code.number() == number).unwrap_or(Self::ShopFailed)
    }
}

/// What a command that did not get to its end says, and how it exits.
#[derive(Debug, Clone)]
pub struct Failure {
    pub code: ExitCode,
    pub message: String,
}

impl Failure {
    pub fn invalid(message: impl ToString) -> Self {
        Self { code: ExitCode::Invalid, message: message.to_string() }
    }

    pub fn shop(message: impl ToString) -> Self {
        Self { code: ExitCode::ShopFailed, message: message.to_string() }
    }

    /// With what ended by itself, which is probably why.
    #[must_use]
    pub fn after(self, died: &[String]) -> Self {
        match died {
            [] => self,
            died => {
                let then = self.message.trim_start_matches("error: ");
                Self { message: format!("error: {}\nafter that: {then}", died.join("; ")), ..self }
            }
        }
    }
}

impl From<Unfinished> for Failure {
    fn from(unfinished: Unfinished) -> Self {
        let code = match unfinished {
            Unfinished::Stopped => ExitCode::Stopped,
            Unfinished::Failed(_) => ExitCode::ShopFailed,
        };
        Self { code, message: unfinished.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_the_most_severe_decides() {
        let mut codes = [99, 113, 105, 114, 115, 111, 0].map(ExitCode::from_number);
        codes.sort_by_key(|code| code.severity());
        assert_eq!(codes.map(ExitCode::number), [111, 115, 114, 105, 113, 99, 0]);
    }
}
