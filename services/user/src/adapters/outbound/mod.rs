pub mod argon2;
pub mod cache;
pub mod sqlite;

#[cfg(test)]
mod contract;
