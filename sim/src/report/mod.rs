//! What a run leaves behind: pure functions of what is known about it.

pub mod judge;
pub mod markdown;
pub mod measured;
pub mod recovery;
pub mod summary;
pub mod terminal;

pub use judge::{Verdict, World};
pub use summary::Summary;
