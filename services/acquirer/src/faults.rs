//! What the payment provider can be told to suffer.

use chassis::chaos::{Kind, Parameter, Shape, Target};

use crate::application::mischief::{kind, parameter};

/// The target's name, and its kinds of faults.
pub const FAULTS: Target = Target {
    name: "payment-provider",
    role: crate::ROLE,
    kinds: &[
        Kind { name: kind::OUTAGE, meaning: "every call is refused at once", parameters: &[] },
        Kind {
            name: kind::LATENCY,
            meaning: "every call takes longer",
            parameters: &[Parameter {
                name: parameter::LATENCY,
                shape: Shape::Durations,
                default: None,
                meaning: "the time that each call takes on top of its own",
            }],
        },
        Kind {
            name: kind::ERROR_RATE,
            meaning: "some calls fail before they have any effect",
            parameters: &[Parameter {
                name: parameter::RATE,
                shape: Shape::Share,
                default: None,
                meaning: "the share that fails",
            }],
        },
        Kind {
            name: kind::DECLINE_RATE,
            meaning: "the bank declines more cards than the settings say",
            parameters: &[Parameter {
                name: parameter::RATE,
                shape: Shape::Share,
                default: None,
                meaning: "the share of keys that is declined, those that the settings decline among them",
            }],
        },
        Kind {
            name: kind::TIMEOUT_AFTER_CHARGE,
            meaning: "the charge is made, and its answer never comes",
            parameters: &[Parameter {
                name: parameter::RATE,
                shape: Shape::Share,
                default: Some("1"),
                meaning: "the share of charges whose answer is lost",
            }],
        },
    ],
};
