//! `shopctl infra`.

use std::io::Write as _;
use std::time::Duration;

use servers::{LocalServers, ServerError};

use super::args::ServersArgs;
use super::exit::{ExitCode, Failure};
use super::signals::Signals;
use super::{runtime, say};
use crate::infra::external::{DATABASE_URL, NATS_URL, REDIS_URL};

/// How often the servers are looked at.
const LOOK: Duration = Duration::from_millis(500);

/// What a shell takes up goes to standard output, the rest to standard error.
pub fn run(args: &ServersArgs) -> Result<ExitCode, Failure> {
    let failed = |error: ServerError| Failure::shop(format!("error: {error}"));
    let runtime = runtime()?;
    // From here on Ctrl-C waits until the servers are there and are stopped.
    let signals = runtime.block_on(async { Signals::listen() })?;
    let servers = match &args.data {
        Some(folder) => LocalServers::start(folder),
        None => LocalServers::throwaway(),
    };
    let servers = servers.map_err(failed)?;
    let urls = [(DATABASE_URL, &servers.postgres), (NATS_URL, &servers.nats), (REDIS_URL, &servers.redis)];
    for (variable, server) in urls {
        say(format_args!("export {}='{}'", variable.name, server.url()));
    }
    note(format_args!("PostgreSQL, NATS and Redis run in {}", servers.folder().display()));
    note(match args.data {
        Some(_) => "their data stay there; stop them with Ctrl-C",
        None => "their data go when they stop, with Ctrl-C; keep them with --data DIR",
    });
    runtime.block_on(until_stopped(signals, servers)).map(|()| ExitCode::Kept).map_err(failed)
}

async fn until_stopped(mut signals: Signals, mut servers: LocalServers) -> Result<(), ServerError> {
    let mut look = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            biased;
            _ = signals.next() => return Ok(()),
            _ = look.tick() => {}
        }
        if let Some(why) = servers.ended() {
            return Err(why);
        }
    }
}

fn note(text: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
