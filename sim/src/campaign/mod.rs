//! A campaign: many seeds of one scenario in virtual time, each with faults of its own.
//!
//! - [`play`] says what a seed is: the scenario under it, with the faults that it draws, and what came of
//!   playing that. One seed is one process's work at a time; [`crew`] starts the processes, hands out the work
//!   and takes the endings in, also those of processes that died.
//! - [`coverage`] counts what the seeds have reached, and names what none has; [`results`] keeps both
//!   between calls.
//! - [`history`] tells the shortest story that shows a violation; [`shrink`] makes the scenario smaller while
//!   it still shows it.

pub mod coverage;
pub mod crew;
pub mod engine;
pub mod history;
pub mod play;
pub mod results;
pub mod seeds;
pub mod shrink;
pub mod swarm;
