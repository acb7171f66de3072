//! One experiment: [`run`] conducts it, from the empty shop to everything that is known about it; [`report`] makes a
//! verdict and reports of that, by pure functions.

pub mod report;
pub mod run;
