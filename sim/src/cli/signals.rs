//! Ctrl-C, the SIGTERM that a CI job or a container sends, and the SIGHUP of a terminal that is closed.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use experiment::report::exit::{ExitCode, Failure};

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// To stop; asked again, to stop at once.
    Stop,
    /// To stop, because the terminal was closed. That may be said more than once without meaning more.
    HangUp,
}

/// Listens from the moment it is made.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Option<Signal>,
}

impl Signals {
    /// # Errors
    /// When the operating system refuses.
    pub fn listen() -> Result<Self, Failure> {
        let failed = |error| Failure::shop(format!("error: no signals: {error}"));
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).map_err(failed)?,
            terminate: signal(SignalKind::terminate()).map_err(failed)?,
            hangup: hangup().map_err(failed)?,
        })
    }

    /// Waits for the next of them.
    pub async fn next(&mut self) -> Asked {
        let hung_up = hung_up(&mut self.hangup);
        tokio::select! {
            biased;
            _ = self.interrupt.recv() => Asked::Stop,
            _ = self.terminate.recv() => Asked::Stop,
            () = hung_up => Asked::HangUp,
        }
    }

    /// Does what takes its time before there is anything to stop gently, and leaves it where it is as soon as
    /// one of them comes.
    ///
    /// # Errors
    /// Those of the work, and that it was stopped.
    pub async fn unless_asked<T>(&mut self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        tokio::select! {
            biased;
            _ = self.next() => Err(Failure { code: ExitCode::Stopped, message: "stopped before it had begun".into() }),
            done = work => done,
        }
    }
}

/// The SIGHUPs from now on; `None` where whoever started this process has it ignore them, as `nohup`
/// does.
///
/// # Errors
/// When the operating system refuses.
pub fn hangup() -> io::Result<Option<Signal>> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    if ignores_hangup(&status) { Ok(None) } else { signal(SignalKind::hangup()).map(Some) }
}

/// Waits for a SIGHUP.
pub async fn hung_up(hangup: &mut Option<Signal>) {
    match hangup {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// Reads the mask of ignored signals; SIGHUP is number 1 and so its lowest bit.
fn ignores_hangup(status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_was_told_to_ignore_hangups_does() {
        assert!(ignores_hangup("Name:\tx\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000000000\n"));
        assert!(!ignores_hangup("SigIgn:\t0000000000001000\n") && !ignores_hangup(""));
    }
}
