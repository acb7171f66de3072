//! The section `faults`: what breaks, when, and for how long.

use std::time::Duration;

use chassis::chaos::Fault;

/// A fault and its time. It is always lifted at the end of the load, if it has not been before.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedFault {
    pub fault: Fault,
    /// From the load's start; within the load.
    pub at: Duration,
    /// More than nothing.
    pub lasts: Duration,
}
