//! The shop as processes on real PostgreSQL, NATS and Redis.
//!
//! `cargo test -p shopctl --test servers`; plain `cargo test` leaves this out, because it needs the
//! three servers' programs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod processes;
mod serve;

use std::time::Duration;

/// Signs tokens.
const SECRET: &str = "a secret of more than thirty-two bytes";

/// Asks until there is an answer.
#[track_caller]
#[expect(clippy::disallowed_methods, reason = "processes live in real time")]
fn soon<T>(within: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    for _ in 0..within.as_millis() / 10 {
        if let Some(answer) = ask() {
            return answer;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("no answer within {within:?}");
}
