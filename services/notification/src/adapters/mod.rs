//! Technology: the event log inwards; the user service, the event log and the provider outwards.

pub mod inbound;
pub mod outbound;
pub mod streams;
