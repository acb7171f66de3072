//! What a user wants to be called.

use serde::{Deserialize, Serialize};

/// Why a name was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("a name has at most 100 characters")]
    TooLong,
    #[error("a name has no control characters")]
    Control,
}

/// A display name without surrounding blanks: 0 to 100 characters, none of them a control character.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

impl Name {
    /// The longest name, in characters.
    pub const CHARS_MAX: usize = 100;

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What the first admin is called until they say otherwise.
    pub fn admin() -> Self {
        Self("Admin".to_owned())
    }
}

impl TryFrom<String> for Name {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        let text = text.trim();
        if text.chars().any(char::is_control) {
            return Err(NameError::Control);
        }
        if text.chars().count() > Self::CHARS_MAX {
            return Err(NameError::TooLong);
        }
        Ok(Self(text.to_owned()))
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_around_a_name_are_not_part_of_it() {
        assert_eq!(Name::try_from("  Ada Lovelace ".to_owned()).map(String::from), Ok("Ada Lovelace".to_owned()));
    }

    #[test]
    fn counts_characters_and_refuses_those_that_a_terminal_would_obey() {
        assert!(Name::try_from("ä".repeat(100)).is_ok());
        assert_eq!(Name::try_from("ä".repeat(101)), Err(NameError::TooLong));
        assert_eq!(Name::try_from("a\u{1b}[2J".to_owned()), Err(NameError::Control));
    }
}
