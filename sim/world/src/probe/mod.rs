//! What roles report and accept on their ops ports: [`observe`] reads step histograms, orders under way and the
//! breaker; [`faults`] injects, lists and lifts faults.

pub mod faults;
pub mod observe;
