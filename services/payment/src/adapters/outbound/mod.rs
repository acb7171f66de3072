pub mod acquirer;
pub mod sqlite;
