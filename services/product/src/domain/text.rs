//! Short texts that people read.

use serde::{Deserialize, Serialize};

/// Why a text was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    #[error("it must not be empty")]
    Empty,
    #[error("at most {chars_max} characters are allowed")]
    TooLong { chars_max: usize },
    #[error("control characters are not allowed")]
    Control,
}

/// `text` without the blanks around it, if it has at most `chars_max` characters, none of them a
/// control character.
fn plain(text: &str, chars_max: usize) -> Result<String, TextError> {
    let text = text.trim();
    if text.chars().any(char::is_control) {
        return Err(TextError::Control);
    }
    if text.chars().count() > chars_max {
        return Err(TextError::TooLong { chars_max });
    }
    Ok(text.to_owned())
}

/// What a product is called: 1 to 200 characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

impl Name {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Name {
    type Error = TextError;
    fn try_from(text: String) -> Result<Self, TextError> {
        match plain(&text, 200)? {
            name if name.is_empty() => Err(TextError::Empty),
            name => Ok(Self(name)),
        }
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

/// The shelf that a product stands on: up to 64 characters, or none. Case does not matter when
/// filtering.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Category(String);

impl Category {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What two spellings of one category have in common.
    pub fn folded(&self) -> String {
        self.0.to_lowercase()
    }
}

impl TryFrom<String> for Category {
    type Error = TextError;
    fn try_from(text: String) -> Result<Self, TextError> {
        plain(&text, 64).map(Self)
    }
}

impl From<Category> for String {
    fn from(category: Category) -> Self {
        category.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_product_has_a_name_but_needs_no_category() {
        assert_eq!(Name::try_from("  ".to_owned()), Err(TextError::Empty));
        assert!(Category::try_from(String::new()).is_ok());
    }

    #[test]
    fn counts_characters_and_refuses_those_that_a_terminal_would_obey() {
        assert!(Name::try_from("ä".repeat(200)).is_ok());
        assert_eq!(Name::try_from("ä".repeat(201)), Err(TextError::TooLong { chars_max: 200 }));
        assert_eq!(Category::try_from("x".repeat(65)), Err(TextError::TooLong { chars_max: 64 }));
        assert_eq!(Category::try_from("a\u{1b}[2J".to_owned()), Err(TextError::Control));
    }
}
