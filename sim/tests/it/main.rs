//! The instrument, used as a person uses it: commands, exit codes, files; and as a library where
//! that is what is promised.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod broken;
mod campaign;
mod cli;
mod determinism;
mod executors;
mod explain;
mod faults;
mod features;
mod hands;
mod harness;
mod hostile;
mod kill;
mod kill_at;
mod manual;
mod metrics;
mod museum;
mod planted;
mod reference;
mod rush;
mod serve;
mod shopping;
mod standard;
mod swarm;
mod tamperings;
mod verdict;
mod world;
