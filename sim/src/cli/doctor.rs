//! `shopctl doctor`.

use std::net::{Ipv4Addr, SocketAddr};

use chassis::net::BoundPort;

use super::exit::{ExitCode, Failure};
use super::say;
use crate::run::resources;

/// Everything that the embedded mode needs is in this binary but a folder and a port.
pub fn run() -> Result<ExitCode, Failure> {
    say(format_args!("shopctl {}", env!("CARGO_PKG_VERSION")));
    say(format_args!("machine         {}", resources::machine()));
    say(format_args!("SQLite          {} (built in)", rusqlite::version()));
    let folder = tempfile::tempdir().map_err(|error| error.to_string());
    let port = BoundPort::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).map_err(|error| error.to_string());
    let good = folder.is_ok() && port.is_ok();
    show("folder", &folder.map(|folder| format!("{} can be written", folder.path().display())));
    show("loopback", &port.map(|_| "127.0.0.1 has free ports".to_owned()));
    say("");
    let ready = |good: bool| if good { "ready" } else { "NOT READY, see above" };
    say(format_args!("run, up         {}: needs nothing else", ready(good)));
    say("simulate        ready: needs nothing at all");
    if good { Ok(ExitCode::Kept) } else { Ok(ExitCode::ShopFailed) }
}

fn show(what: &str, found: &Result<String, String>) {
    match found {
        Ok(text) => say(format_args!("{what:<15} {text}")),
        Err(why) => say(format_args!("{what:<15} MISSING: {why}")),
    }
}
