//! What the circuit breaker can be forced to.

use chassis::chaos::{Kind, Target};

/// The target's name, and its kinds of faults.
pub const FAULTS: Target = Target {
    name: "breaker",
    role: crate::ROLE,
    kinds: &[
        Kind { name: "force_open", meaning: "no charge reaches the payment provider", parameters: &[] },
        Kind { name: "force_closed", meaning: "it lets every charge through, whatever fails", parameters: &[] },
    ],
};
