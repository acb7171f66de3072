pub mod cache;
pub mod sqlite;

#[cfg(test)]
mod contract;
