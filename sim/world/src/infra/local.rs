//! Private servers.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use servers::{GiveUp, LocalServers};
use store::Servers;
use tokio::time::Instant;

/// The three servers, which other hands may stop and start while the shop runs.
#[derive(Clone)]
pub struct PrivateServers {
    servers: Arc<Mutex<LocalServers>>,
    connections: Servers,
    pub started_in: Duration,
}

impl PrivateServers {
    /// Starts them; data are kept in `kept`, or go with them. Whoever drops this before it is done gives the
    /// start up: the servers are gone moments later.
    ///
    /// # Errors
    /// One line: what is missing, or what a server said last.
    #[expect(
        clippy::disallowed_methods,
        reason = "starting processes blocks; the thread that waits has nothing else to do"
    )]
    pub async fn start(kept: Option<&Path>) -> Result<Self, String> {
        let began = Instant::now();
        let (kept, give_up) = (kept.map(Path::to_path_buf), GiveUp::default());
        let mut impatience = Impatience(Some(give_up.clone()));
        let starting = tokio::task::spawn_blocking(move || LocalServers::start_unless(kept.as_deref(), &give_up));
        let started = starting.await;
        impatience.0 = None;
        let started = started.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        let connections = started.connections("");
        Ok(Self { servers: Arc::new(Mutex::new(started)), connections, started_in: began.elapsed() })
    }

    pub fn connections(&self) -> Servers {
        self.connections.clone()
    }

    /// Does something with the processes: reads them, stops one, starts it again.
    pub fn with<T>(&self, work: impl FnOnce(&mut LocalServers) -> T) -> T {
        work(&mut self.servers.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Gives a start up when it is dropped, unless it has been taken out before.
struct Impatience(Option<GiveUp>);

impl Drop for Impatience {
    fn drop(&mut self) {
        if let Some(give_up) = self.0.take() {
            give_up.ask();
        }
    }
}
