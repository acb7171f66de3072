//! The architecture, enforced by reading source text: what a layer must not name, which crates must not know each
//! other, on which floor a room of the instrument stands, that neighbours do not import each other in a circle, that no
//! noun of a service stands in what all services share, and that a build profile optimises what it says.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod circles;
mod floors;
mod nouns;
mod profiles;
mod services;
mod source;
