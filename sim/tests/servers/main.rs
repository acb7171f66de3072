//! What needs real servers: `cargo test -p shopctl --test servers`. Plain `cargo test` leaves it out.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod doctor;
mod external;
mod infra;
mod outages;
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
