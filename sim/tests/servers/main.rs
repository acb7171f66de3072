//! What needs real servers: `cargo test -p shopctl --test servers`. Plain `cargo test` leaves it out.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bench;
mod books;
mod deaths;
mod doctor;
mod external;
mod given_up;
#[allow(dead_code, reason = "the tests without servers use the rest of it")]
#[path = "../it/harness.rs"]
mod harness;
mod infra;
mod killed_at;
mod moved;
mod outages;
mod processes;
#[path = "../it/rush.rs"]
mod rush;
mod serve;
#[allow(dead_code, reason = "the tests without servers use the rest of it")]
#[path = "../it/tamperings.rs"]
mod tamperings;

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
