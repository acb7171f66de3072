//! The gRPC contracts between the services. `generated/` is made from the `.proto` files beside this crate by
//! `make proto-gen`. Nothing here is written by hand but the module names.

#![allow(missing_docs, clippy::all, clippy::disallowed_methods, clippy::unwrap_used)]

/// All of the contracts, as an encoded `FileDescriptorSet`: what reflection answers with.
pub const DESCRIPTORS: &[u8] = include_bytes!("generated/descriptors.bin");

pub mod acquirer {
    pub mod v1 {
        include!("generated/acquirer.v1.rs");
    }
}

pub mod common {
    pub mod v1 {
        include!("generated/common.v1.rs");
    }
}

pub mod inventory {
    pub mod v1 {
        include!("generated/inventory.v1.rs");
    }
}

pub mod order {
    pub mod v1 {
        include!("generated/order.v1.rs");
    }
}

pub mod payment {
    pub mod v1 {
        include!("generated/payment.v1.rs");
    }
}

pub mod product {
    pub mod v1 {
        include!("generated/product.v1.rs");
    }
}

pub mod user {
    pub mod v1 {
        include!("generated/user.v1.rs");
    }
}
