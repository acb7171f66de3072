//! Books that stand on servers, for the commands that read books.

use std::path::Path;

use store::Servers;
use tempfile::TempDir;

use audit::export;
use experiment::report::exit::Failure;
use world::infra::external;
use world::infra::local::PrivateServers;

/// How much of the books a command needs.
#[derive(Debug, Clone, Copy)]
pub enum Wanted<'a> {
    Everything,
    /// The orders whose ids begin so.
    Orders(&'a str),
}

/// Whether the folder is one of `shopctl up --infra local --data`: its books are in the servers' folders.
pub fn stands_on_servers(folder: &Path) -> bool {
    ["postgres", "nats"].iter().all(|server| folder.join(server).is_dir())
}

/// The servers that the environment names, to read from.
pub async fn external(namespace: &str) -> Result<Servers, Failure> {
    let servers = external::from_env(false, namespace).map_err(|why| Failure::invalid(format!("error: {why}")))?;
    external::check(&servers).await.map_err(|why| Failure::shop(format!("error: {why}")))?;
    Ok(servers)
}

/// Copies books from servers into files that go with the answer.
pub async fn copy(servers: &Servers, wanted: Wanted<'_>) -> Result<TempDir, Failure> {
    let failed = |why: String| Failure::shop(format!("error: {why}"));
    let folder = tempfile::tempdir().map_err(|error| failed(format!("no temporary folder: {error}")))?;
    match wanted {
        Wanted::Everything => export::export(servers, folder.path()).await,
        Wanted::Orders(begins) => export::export_orders(servers, begins, folder.path()).await,
    }
    .map_err(failed)?;
    Ok(folder)
}

/// Starts the servers of such a folder for as long as copying takes.
pub async fn copied(folder: &Path, wanted: Wanted<'_>) -> Result<TempDir, Failure> {
    let servers = PrivateServers::start(Some(folder)).await.map_err(|why| Failure::shop(format!("error: {why}")))?;
    copy(&Servers { create: false, ..servers.connections() }, wanted).await
}
