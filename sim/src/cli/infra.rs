//! `shopctl infra`.

use std::fmt::Display;
use std::io::Write as _;
use std::time::Duration;

use servers::LocalServers;

use super::args::ServersArgs;
use super::signals::Signals;
use super::{runtime, say};
use experiment::report::exit::{ExitCode, Failure};
use world::infra::external::{DATABASE_URL, NATS_URL, REDIS_URL};
use world::infra::local::PrivateServers;

/// How often the servers are looked at.
const LOOK: Duration = Duration::from_millis(500);

/// What a shell takes up goes to standard output, the rest to standard error.
pub fn run(args: &ServersArgs) -> Result<ExitCode, Failure> {
    runtime()?.block_on(until_stopped(args))
}

async fn until_stopped(args: &ServersArgs) -> Result<ExitCode, Failure> {
    let mut signals = Signals::listen()?;
    let starting = async { PrivateServers::start(args.data.as_deref()).await.map_err(|why| failed(&why)) };
    let servers = signals.unless_asked(starting).await?;
    servers.with(|servers| {
        let urls = [(DATABASE_URL, &servers.postgres), (NATS_URL, &servers.nats), (REDIS_URL, &servers.redis)];
        for (variable, server) in urls {
            say(format_args!("export {}='{}'", variable.name, server.url()));
        }
        note(format_args!("PostgreSQL, NATS and Redis run in {}", servers.folder().display()));
    });
    note(match args.data {
        Some(_) => "their data stay there; stop them with Ctrl-C",
        None => "their data go when they stop, with Ctrl-C; keep them with --data DIR",
    });
    let mut look = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            biased;
            _ = signals.next() => return Ok(ExitCode::Kept),
            _ = look.tick() => {}
        }
        if let Some(why) = servers.with(LocalServers::ended) {
            return Err(failed(&why));
        }
    }
}

fn failed(why: &dyn Display) -> Failure {
    Failure::shop(format!("error: {why}"))
}

fn note(text: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
