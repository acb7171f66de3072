//! Accounts, pure and synchronous: time arrives as an argument, ids follow from addresses.

mod email;
mod lockout;
mod name;
mod password;
mod user;

pub use email::Email;
pub use kernel::Role;
pub use lockout::{Attempts, LockedOut, LockoutPolicy};
pub use name::Name;
pub use password::{Password, PasswordError, PasswordHash, PasswordPolicy};
pub use user::{Change, Fact, ProfileChange, User, UserEvent};
