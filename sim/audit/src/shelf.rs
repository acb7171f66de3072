//! Where the books are.

use std::sync::Arc;

use store::sqlite::Storage;

use super::books::Books;
use super::postgres::ServerBooks;
use super::sqlite::SqliteBooks;

/// Where a shop's books are. They are opened where they are read: connections to servers belong to the
/// runtime that made them.
#[derive(Debug, Clone)]
pub enum BookShelf {
    Sqlite(Storage),
    Servers(store::Servers),
}

impl BookShelf {
    /// Whether the invariant has a meaning for books of this kind.
    pub fn can_tell(&self, invariant: &str) -> bool {
        match self {
            Self::Sqlite(_) => invariant != "cache_converges",
            Self::Servers(_) => true,
        }
    }

    /// # Errors
    /// One line: what is missing, or cannot be reached.
    pub async fn open(&self) -> Result<Arc<dyn Books>, String> {
        let said = |error: store::StoreError| error.to_string();
        Ok(match self {
            Self::Sqlite(storage) => Arc::new(SqliteBooks::open(storage).map_err(said)?),
            Self::Servers(servers) => Arc::new(ServerBooks::open(servers).await.map_err(said)?),
        })
    }
}
