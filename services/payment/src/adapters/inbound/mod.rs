pub mod grpc;
pub mod ops;
