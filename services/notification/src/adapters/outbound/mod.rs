pub mod buyers;
pub mod courier;
pub mod postgres;
pub mod recipients;
pub mod sqlite;
