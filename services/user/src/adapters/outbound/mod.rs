pub mod argon2;
pub mod attempts;
pub mod cache;
pub mod postgres;
pub mod redis;
pub mod rows;
pub mod sqlite;
