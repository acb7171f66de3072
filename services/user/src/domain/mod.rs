//! Accounts, pure and synchronous: time arrives as an argument, ids follow from addresses.

mod email;
mod name;
mod password;
mod user;

pub use chassis::auth::Role;
pub use email::Email;
pub use name::Name;
pub use password::{Password, PasswordError, PasswordHash, PasswordPolicy};
#[cfg(test)]
pub use user::UserEvent;
pub use user::{Change, Fact, ProfileChange, User};
