//! The notification service: the contract of its provider, its consumers in virtual time on a log that
//! outlives them, and the whole service on sockets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod consumer;
mod contract;
mod courier;
mod family;
mod harness;
mod people;
mod service;
