//! Which of the two adapter families a service is built with, and its event log in that family.

use std::sync::Arc;

use chassis::Env;
use chassis::env::StartError;
use futures_util::future::BoxFuture;
use store::Servers;
use store::sqlite::Storage;

use crate::counted::CountedLog;
use crate::exposed::ExposedLog;
use crate::jetstream::JetStreamLog;
use crate::log::EventLog;

/// Which of the two adapter families a service is built with.
#[derive(Clone)]
pub enum Backing {
    Embedded(Embedded),
    Servers(Servers),
}

/// SQLite files and an in-process event log.
#[derive(Clone)]
pub struct Embedded {
    pub storage: Storage,
    pub log: Arc<dyn EventLog>,
}

impl Backing {
    /// The event log as the service of `env` uses it: counted and, on servers, passing the role's crash points.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub fn event_log<'a>(&'a self, env: &'a Env) -> BoxFuture<'a, Result<Arc<dyn EventLog>, StartError>> {
        Box::pin(self.opened(env))
    }

    async fn opened(&self, env: &Env) -> Result<Arc<dyn EventLog>, StartError> {
        let log = match self {
            Self::Embedded(embedded) => embedded.log.clone(),
            Self::Servers(servers) => {
                let log = Arc::new(JetStreamLog::connect(servers, env.role).await?);
                ExposedLog::over(log, env.role, &servers.hazards)
            }
        };
        Ok(CountedLog::over(log, &env.metrics))
    }
}
