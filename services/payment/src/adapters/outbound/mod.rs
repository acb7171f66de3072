pub mod acquirer;
pub mod counted;
pub mod postgres;
pub mod sqlite;
pub mod stored;
