pub mod events;
#[cfg(feature = "planted-bugs")]
pub mod planted;
