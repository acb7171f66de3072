//! How the world reaches this service.

pub mod events;
pub mod grpc;
pub mod ops;
