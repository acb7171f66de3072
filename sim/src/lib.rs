//! shopctl: a flight simulator for checkout systems.
//!
//! The instrument is made of crates, each of which imports only what stands below it:
//!
//! - `shop` is the registry of roles, and what can break; `audit` asks the books and the witness; `scenario` reads what
//!   is to happen; `world` puts the shop up, on this machine or in virtual time; `load` plays its customers;
//!   `experiment` conducts one run and judges it.
//! - Here, above them: [`explain`] tells one order's life; [`tui`] shows a run live; [`campaign`] plays seeds in virtual
//!   time; [`bench`] measures; [`cli`] is what a person types.
//!
//! Everything below [`cli`] gets clock, randomness, sockets and storage handed in.

pub mod bench;
pub mod campaign;
pub mod cli;
pub mod explain;
pub mod tui;
