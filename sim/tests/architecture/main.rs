//! The architecture, enforced by reading source text: what a layer must not name, which crates must not know each
//! other, on which floor a room of the instrument stands, and that neighbours do not import each other in a circle.

mod circles;
mod floors;
mod services;
mod source;
