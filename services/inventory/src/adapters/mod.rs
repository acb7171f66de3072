//! Where the service meets the world: one file a technology.

pub mod inbound {
    pub mod grpc;
}
pub mod outbound {
    pub mod counted;
    pub mod memory;
    pub mod postgres;
    pub mod redis;
    pub mod rows;
    pub mod sqlite;
}
