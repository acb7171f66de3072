//! `shopctl explain`: one order, told from its beginning to its end.
//!
//! - [`facts`] is everything that is known about the order; [`folder`] reads it from a shop's data
//!   folder or a run, [`remote`] what of it a running shop shows over HTTP.
//! - [`story`] turns facts into a timeline, [`conclusion`] into the reason of its end; both are pure.
//!   [`words`] holds the phrases, [`render`] sets them for people.

mod conclusion;
pub mod facts;
pub mod folder;
mod record;
pub mod remote;
pub mod render;
pub mod story;
mod takeover;
#[cfg(test)]
mod tests;
pub(crate) mod words;

pub use facts::Facts;
pub use story::{Actor, Entry, Story};
