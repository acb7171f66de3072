//! What a search looks for.

use kernel::ProductId;

use super::{Category, Product};

/// Why a search was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SearchError {
    #[error("at most {} characters are allowed", Search::TEXT_CHARS_MAX)]
    TooLong,
    #[error("at most {} words are allowed", Search::WORDS_MAX)]
    TooManyWords,
}

/// One page of the products that match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search {
    /// In lower case; each must occur in the name or in the SKU.
    pub words: Vec<String>,
    /// None for every category.
    pub category: Option<Category>,
    /// The last id of the page before.
    pub after: ProductId,
    /// The most products of the page.
    pub limit: u32,
}

impl Search {
    pub const TEXT_CHARS_MAX: usize = 200;
    pub const WORDS_MAX: usize = 8;

    /// The words of what somebody typed, each once.
    ///
    /// # Errors
    /// When there is too much of it.
    pub fn words(text: &str) -> Result<Vec<String>, SearchError> {
        if text.chars().count() > Self::TEXT_CHARS_MAX {
            return Err(SearchError::TooLong);
        }
        let mut words: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
        words.sort_unstable();
        words.dedup();
        if words.len() > Self::WORDS_MAX {
            return Err(SearchError::TooManyWords);
        }
        Ok(words)
    }

    /// The text in which words are looked for. Name and SKU are apart by a character that no word
    /// contains, so that no word is found across the two.
    pub fn text_of(product: &Product) -> String {
        format!("{}\n{}", product.name.as_str(), product.sku).to_lowercase()
    }
}

/// A category as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shelf {
    /// Of several spellings the one that sorts first.
    pub category: Category,
    /// How many products are in it, in whatever spelling.
    pub products: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_folded_and_counted_once() {
        assert_eq!(Search::words("  Red SNEAKER red "), Ok(vec!["red".to_owned(), "sneaker".to_owned()]));
        assert_eq!(Search::words(""), Ok(vec![]));
    }

    #[test]
    fn refuses_more_than_anybody_types() {
        assert_eq!(Search::words(&"x".repeat(201)), Err(SearchError::TooLong));
        assert!(Search::words(&"ä".repeat(200)).is_ok());
        assert_eq!(Search::words("a b c d e f g h i"), Err(SearchError::TooManyWords));
    }
}
