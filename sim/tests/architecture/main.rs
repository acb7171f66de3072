//! The architecture, enforced by reading source text: what a layer must not name, which crates must not know each
//! other, on which floor a room of the instrument stands, that neighbours do not import each other in a circle, and that no
//! noun of a service stands in what all services share.

mod circles;
mod floors;
mod nouns;
mod services;
mod source;
