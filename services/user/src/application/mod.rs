//! What can be done with accounts, and what that needs of the outside world.

pub mod ports;
mod users;

pub use users::{BULK_PASSWORD, BulkRange, Session, Settings, UserError, Users};
