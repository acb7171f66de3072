//! shopctl: a flight simulator for checkout systems.
//!
//! - [`scenario`] reads what is to happen; [`world`] puts the shop up, on this machine or in virtual
//!   time; [`load`] plays its customers; [`run`] conducts one experiment from the empty shop to
//!   everything that is known about it; [`audit`] asks the books and the witness; [`report`] turns
//!   all of that into a verdict, pure functions only; [`fault`] breaks things and mends them; [`explain`]
//!   tells one order's life; [`campaign`] plays many seeds; [`tui`] shows a run live; [`infra`] knows the servers that a shop can stand
//!   on; [`cli`] is what a person types.
//! - Everything below [`cli`] gets clock, randomness, sockets and storage handed in.

pub mod audit;
pub mod bench;
pub mod campaign;
pub mod cli;
pub mod explain;
pub mod fault;
pub mod http;
pub mod infra;
pub mod load;
pub mod machine;
pub mod probe;
pub mod report;
pub mod run;
pub mod scenario;
pub mod shop;
pub mod tui;
pub mod world;
