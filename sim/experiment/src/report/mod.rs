//! What a run leaves behind: pure functions of what is known about it.

mod during;
pub mod exit;
pub mod judge;
pub mod markdown;
pub mod summary;
pub mod terminal;
pub mod threshold;

pub use judge::Verdict;
pub use summary::Summary;
