//! Somebody else's hand in a database, for tests of what happens when another instance was faster.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use store::{Servers, postgres};
use tokio::time::{sleep, timeout};

use crate::failure::ServerError;

/// How long a writer may take until it waits, on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(1);

/// Changes that are made and not committed yet: whoever wants to write the same waits for them. Dropped, they are
/// undone.
pub struct Meddling(PgConnection);

fn failed(error: impl std::fmt::Display) -> ServerError {
    ServerError(format!("meddling: {error}"))
}

impl Meddling {
    /// Makes them in the service's database of that name.
    ///
    /// # Errors
    /// What the database says.
    pub async fn begin(servers: &Servers, database: &str, statements: &str) -> Result<Self, ServerError> {
        let options = postgres::options(&servers.postgres).map_err(failed)?.database(&servers.database(database));
        let mut connection = PgConnection::connect_with(&options).await.map_err(failed)?;
        let sql = format!("BEGIN; {statements}");
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.map_err(failed)?;
        Ok(Self(connection))
    }

    /// Commits as soon as somebody waits for them.
    ///
    /// # Errors
    /// When nobody does, or the database refuses.
    pub async fn commit_when_somebody_waits(mut self) -> Result<(), ServerError> {
        self.until_somebody_waits().await?;
        sqlx::raw_sql("COMMIT").execute(&mut self.0).await.map_err(failed)?;
        Ok(())
    }

    /// Returns when a writer waits for them.
    ///
    /// # Errors
    /// When no writer does, or the database refuses.
    pub async fn until_somebody_waits(&mut self) -> Result<(), ServerError> {
        timeout(PATIENCE, self.somebody_waits()).await.map_err(|_| failed("nobody waits"))?
    }

    async fn somebody_waits(&mut self) -> Result<(), ServerError> {
        let sql = "SELECT EXISTS (SELECT FROM pg_stat_activity, pg_backend_pid() AS me
                                  WHERE datname = current_database() AND me = ANY(pg_blocking_pids(pid)))";
        while !sqlx::query_scalar::<_, bool>(sql).fetch_one(&mut self.0).await.map_err(failed)? {
            // What the activity of others is, is told anew in a new look at it alone.
            sqlx::raw_sql("SELECT pg_stat_clear_snapshot()").execute(&mut self.0).await.map_err(failed)?;
            sleep(PAUSE).await;
        }
        Ok(())
    }
}
