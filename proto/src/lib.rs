//! The gRPC contracts between the services, generated at build time from the `.proto` files
//! beside this crate. Nothing here is written by hand but the module names.

#![allow(missing_docs, clippy::all, clippy::disallowed_methods, clippy::unwrap_used)]

/// All of the contracts, as an encoded `FileDescriptorSet`: what reflection tells.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

pub mod acquirer {
    pub mod v1 {
        tonic::include_proto!("acquirer.v1");
    }
}

pub mod common {
    pub mod v1 {
        tonic::include_proto!("common.v1");
    }
}

pub mod inventory {
    pub mod v1 {
        tonic::include_proto!("inventory.v1");
    }
}

pub mod order {
    pub mod v1 {
        tonic::include_proto!("order.v1");
    }
}

pub mod payment {
    pub mod v1 {
        tonic::include_proto!("payment.v1");
    }
}

pub mod product {
    pub mod v1 {
        tonic::include_proto!("product.v1");
    }
}

pub mod user {
    pub mod v1 {
        tonic::include_proto!("user.v1");
    }
}
