//! What the circuit breaker can be forced to.

use chassis::chaos::{Kind, Target};

use crate::application::breaker::kind;

/// The target's name, and its kinds of faults.
pub const FAULTS: Target = Target {
    name: "breaker",
    role: crate::ROLE,
    kinds: &[
        Kind { name: kind::FORCE_OPEN, meaning: "no charge reaches the payment provider", parameters: &[] },
        Kind { name: kind::FORCE_CLOSED, meaning: "it lets every charge through, whatever fails", parameters: &[] },
    ],
};
