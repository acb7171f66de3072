//! PostgreSQL: a small pool for each service, every write one transaction.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use chassis::hazard::Hazards;
use chassis::metrics::{Connections, Metrics};
use futures_util::future::BoxFuture;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgPoolOptions, PgRow};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection, PgPool, Postgres, SqlSafeStr};
use tokio::sync::{Mutex, MutexGuard, Notify};
use tokio::time::{Instant, sleep, timeout};

use crate::error::StoreError;
use crate::gather::Failed;
use crate::servers::Servers;

/// Connections of one service. More of them only queue inside the server.
pub const POOL: u32 = 4;
/// Those that writers keep to themselves, beside the pool: one each, so that they take none from readers.
const KEPT: u32 = 5;
/// And those that do not wait for the disk.
const RELAXED: u32 = 2;
/// How long a request waits for one of them.
const ACQUIRE_DEADLINE: Duration = Duration::from_secs(2);
/// A connection that nobody used for so long is tried before it is lent: the server may have gone and come back.
/// (One that is in use is tried when it is given back; trying it each time would be a round trip for nothing.)
const TRIED_AFTER: Duration = Duration::from_millis(200);
/// What the server itself ends: statements, waits for locks, and transactions that nobody goes on with.
const GUARDS: [(&str, &str); 3] =
    [("statement_timeout", "5s"), ("lock_timeout", "2s"), ("idle_in_transaction_session_timeout", "10s")];
/// When a statement whose answer is lost is over: the server ends it before, see [`GUARDS`].
const OVER: Duration = Duration::from_secs(6);
/// Services look rows up by their keys. A plan made while a table was empty is kept while it grows: it must
/// not be one that reads the whole table because there was nothing in it.
/// What is switched off only looks dear to the planner, so that statements of microseconds would be worth
/// compiling to it: `jit` is off as well.
/// And they are planned once for each connection: planning costs more than they do.
const PLANS: [(&str, &str); 5] = [
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("jit", "off"),
    ("plan_cache_mode", "force_generic_plan"),
];

/// One database of one service.
pub struct Db {
    name: &'static str,
    pool: PgPool,
    kept: PgPool,
    relaxed: PgPool,
    metrics: Metrics,
    committed: Arc<Notify>,
    batch_max: usize,
    hazards: Hazards,
}

/// What a scrape sees of the pools. A writer's own connection counts as busy while the writer keeps it.
fn connections(pools: &[PgPool]) -> Connections {
    let mut seen = Connections { busy: 0, idle: 0, max: 0 };
    for pool in pools {
        let idle = u32::try_from(pool.num_idle()).unwrap_or(u32::MAX);
        seen.idle += idle;
        seen.busy += pool.size().saturating_sub(idle);
        seen.max += pool.options().get_max_connections();
    }
    seen
}

/// Where the databases are, as `DATABASE_URL` says. Errors never show the password.
///
/// # Errors
/// `Unavailable` with one line about what is wrong with the URL.
pub fn options(url: &str) -> Result<PgConnectOptions, StoreError> {
    let failed = |why: &dyn std::fmt::Display| {
        StoreError::Unavailable(format!(
            "DATABASE_URL is not a PostgreSQL URL ({why}): postgres://user:password@host:port"
        ))
    };
    if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
        return Err(failed(&"it begins otherwise"));
    }
    let options = PgConnectOptions::from_str(url).map_err(|error| failed(&error))?;
    Ok(options.disable_statement_logging())
}

impl Db {
    /// Opens the database `name` (under the servers' namespace) and brings its schema up to date:
    /// `migrations` are numbered from 1 in order and never change once released. What is missing is
    /// created only if the servers say so.
    ///
    /// # Errors
    /// One line: the server cannot be reached, refuses the login, has no such database, or the schema
    /// is another one than this program's.
    pub fn open<'a>(
        servers: &'a Servers,
        name: &'static str,
        migrations: &'static [&'static str],
        metrics: &'a Metrics,
    ) -> BoxFuture<'a, Result<Self, StoreError>> {
        Box::pin(async move {
            let database = servers.database(name);
            let base = options(&servers.postgres)?.application_name(name);
            let options = base.clone().database(&database);
            let failed = |error: sqlx::Error| StoreError::Unavailable(format!("{database}: {}", plain(&error)));
            let mut connection = match PgConnection::connect_with(&options).await {
                Err(error) if is_missing_database(&error) && servers.create => {
                    create(&base, &database).await?;
                    PgConnection::connect_with(&options).await.map_err(failed)?
                }
                Err(error) if is_missing_database(&error) => {
                    return Err(StoreError::Unavailable(format!("{}: start once with --create", plain(&error))));
                }
                other => other.map_err(failed)?,
            };
            migrate(&mut connection, &database, migrations, servers.create).await?;
            connection.close().await?;
            let pool = |connections: u32| {
                PgPoolOptions::new()
                    .max_connections(connections)
                    .acquire_timeout(ACQUIRE_DEADLINE)
                    .test_before_acquire(false)
                    .before_acquire(|connection, meta| {
                        Box::pin(async move {
                            // A connection that does not answer is dropped, and the next one tried.
                            Ok(meta.idle_for < TRIED_AFTER || connection.ping().await.is_ok())
                        })
                    })
            };
            // The server has just answered: the pools' own connections are made when they are needed.
            let options = options.options(GUARDS).options(PLANS);
            let relaxed = pool(RELAXED).connect_lazy_with(options.clone().options([("synchronous_commit", "off")]));
            let kept = pool(KEPT).connect_lazy_with(options.clone());
            let pool = pool(POOL).connect_lazy_with(options);
            let (metrics, hazards) = (metrics.clone(), servers.hazards.clone());
            let pools = [pool.clone(), kept.clone(), relaxed.clone()];
            metrics.connections(name, move || connections(&pools));
            let (committed, batch_max) = (Arc::default(), servers.batch_max);
            let db = Self { name, pool, kept, relaxed, metrics, committed, batch_max, hazards };
            // A previous process may have died with a statement still running.
            db.unknown();
            Ok(db)
        })
    }

    /// See [`Servers::batch_max`].
    pub fn batch_max(&self) -> usize {
        self.batch_max
    }

    /// For reads of one statement.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Begins a transaction; dropped without [`Tx::commit`] it changes nothing. `what` names the
    /// purpose in metrics and traces.
    ///
    /// # Errors
    /// When no connection is to be had in time.
    pub fn begin(&self, what: &'static str) -> BoxFuture<'_, Result<Tx<'_>, StoreError>> {
        Box::pin(async move {
            let started = Instant::now();
            let mut begun = self.pool.begin().await;
            // Each of the pool's connections may be one that died since it was last used; nothing has happened yet.
            for _ in 0..POOL {
                match begun {
                    Err(error) if is_lost(&error) => begun = self.pool.begin().await,
                    _ => break,
                }
            }
            Ok(Tx { db: self, what, started, inner: Inner::Pooled(begun?) })
        })
    }

    /// Says that a statement which is a transaction by itself is about to be made, and may change something.
    pub fn writes(&self, what: &str) {
        self.pass(what, "before");
    }

    /// Says of a statement on [`Db::pool`], which is a transaction by itself, that it has changed
    /// something: as [`Tx::commit`] does.
    pub fn wrote(&self, what: &'static str, started: Instant) {
        tracing::debug!(target: "shop::commit", store = self.name, what);
        self.metrics.commit(self.name, what, started.elapsed());
        self.committed.notify_one();
        self.pass(what, "after");
    }

    /// The same of the outbox's own bookkeeping, which nobody waits for.
    pub fn marked(&self, what: &str) {
        self.pass(what, "after");
    }

    /// Something may have been committed, or may be in a moment: the relay looks now, and when the server is at no
    /// statement any more that was sent before.
    fn unknown(&self) {
        self.committed.notify_one();
        // Without a runtime there is no relay either.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let committed = self.committed.clone();
        runtime.spawn(async move {
            sleep(OVER).await;
            committed.notify_one();
        });
    }

    /// A crash point: `<database>.<what>.before` or `.after` a commit. No simulated world has this family:
    /// whoever dies here is a process, and nobody goes on.
    fn pass(&self, what: &str, edge: &str) {
        let _ = self.hazards.survives(|| format!("{}.{what}.{edge}", self.name));
    }

    /// Notified after each commit; for one waiter (the relay).
    pub fn committed(&self) -> &Notify {
        &self.committed
    }
}

/// A connection that one writer keeps: the pool tries each one that is given back, and that is a round
/// trip more for every batch.
pub struct Kept {
    db: Arc<Db>,
    relaxed: bool,
    connection: Mutex<Option<(PoolConnection<Postgres>, Instant)>>,
}

impl Kept {
    pub fn new(db: Arc<Db>) -> Self {
        Self { db, relaxed: false, connection: Mutex::default() }
    }

    /// For what may be forgotten if the server dies, because whoever finds it missing finds it out again: its
    /// commits do not wait for the disk.
    pub fn relaxed(db: Arc<Db>) -> Self {
        Self { db, relaxed: true, connection: Mutex::default() }
    }

    pub fn db(&self) -> &Arc<Db> {
        &self.db
    }

    /// The connection, for one at a time. It is closed if it is not given back with [`Lent::done`].
    ///
    /// # Errors
    /// When no connection is to be had in time.
    pub fn lend(&self) -> BoxFuture<'_, Result<Lent<'_>, StoreError>> {
        Box::pin(async move {
            let mut home = self.connection.lock().await;
            if let Some((mut kept, used)) = home.take() {
                // As with those of the pool: the server may have gone and come back.
                let answers = |pinged| matches!(pinged, Ok(Ok(())));
                if used.elapsed() < TRIED_AFTER || answers(timeout(ACQUIRE_DEADLINE, kept.ping()).await) {
                    return Ok(Lent { home, connection: Some(kept) });
                }
                kept.close_on_drop();
            }
            let pool = if self.relaxed { &self.db.relaxed } else { &self.db.kept };
            Ok(Lent { home, connection: Some(pool.acquire().await?) })
        })
    }

    /// As [`Db::begin`].
    ///
    /// # Errors
    /// When no connection is to be had in time.
    pub fn begin(&self, what: &'static str) -> BoxFuture<'_, Result<Tx<'_>, StoreError>> {
        Box::pin(async move {
            let started = Instant::now();
            // One that died just now is found out here; nothing has happened yet.
            for _ in 0..POOL {
                let mut lent = self.lend().await?;
                match sqlx::raw_sql("BEGIN").execute(&mut *lent).await {
                    Ok(_) => return Ok(Tx { db: &self.db, what, started, inner: Inner::Kept(lent) }),
                    Err(error) if is_lost(&error) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Err(gone())
        })
    }

    /// Runs a statement that changes nothing. One that finds the connection dead is made again, on another.
    ///
    /// # Errors
    /// When it fails, or no connection is to be had in time.
    pub async fn read<'q>(
        &self,
        statement: impl Fn() -> sqlx::query::Query<'q, Postgres, PgArguments> + Send,
    ) -> Result<Vec<PgRow>, StoreError> {
        for _ in 0..POOL {
            match self.run(statement()).await? {
                Err(error) if is_lost(&error) => {}
                read => return Ok(read?),
            }
        }
        Err(gone())
    }

    /// Runs a statement that changes something, and is a transaction by itself; `what` as for [`Db::begin`].
    ///
    /// # Errors
    /// When it was refused, or no answer came: then it may have happened all the same.
    pub async fn write<'q>(
        &self,
        what: &'static str,
        statement: sqlx::query::Query<'q, Postgres, PgArguments>,
    ) -> Result<Vec<PgRow>, sqlx::Error> {
        self.write_if(what, statement, |_| true).await
    }

    /// The same with a statement that may find nothing to change, as its rows tell.
    ///
    /// # Errors
    /// As [`Kept::write`].
    pub async fn write_if<'q>(
        &self,
        what: &'static str,
        statement: sqlx::query::Query<'q, Postgres, PgArguments>,
        has_written: fn(&[PgRow]) -> bool,
    ) -> Result<Vec<PgRow>, sqlx::Error> {
        let (started, fate) = (Instant::now(), Unknown(Some(&self.db)));
        self.db.writes(what);
        let written = self.fetch_all(statement).await;
        match &written {
            Ok(rows) if has_written(rows) => self.db.wrote(what, started),
            Err(error) if !is_refusal(error) => return written,
            Ok(_) | Err(_) => {}
        }
        fate.known();
        written
    }

    /// Runs one statement, which is a transaction by itself.
    ///
    /// # Errors
    /// When it fails, or no connection is to be had in time.
    pub async fn fetch_all<'q>(
        &self,
        statement: sqlx::query::Query<'q, Postgres, PgArguments>,
    ) -> Result<Vec<PgRow>, sqlx::Error> {
        self.run(statement).await.map_err(|error| sqlx::Error::Io(std::io::Error::other(error)))?
    }

    /// Outside, that there was no connection to be had; inside, what came of the statement.
    fn run<'a, 'q: 'a>(
        &'a self,
        statement: sqlx::query::Query<'q, Postgres, PgArguments>,
    ) -> BoxFuture<'a, Result<Result<Vec<PgRow>, sqlx::Error>, StoreError>> {
        Box::pin(async move {
            let mut lent = self.lend().await?;
            let rows = statement.fetch_all(&mut *lent).await;
            // What the server refuses does the connection no harm, unless it says goodbye with it.
            if rows.as_ref().err().is_none_or(is_refusal) {
                lent.done();
            }
            Ok(rows)
        })
    }
}

/// A write whose fate is not known yet. Dropped like that, it may have happened all the same.
struct Unknown<'a>(Option<&'a Db>);

impl Unknown<'_> {
    fn known(mut self) {
        self.0 = None;
    }
}

impl Drop for Unknown<'_> {
    fn drop(&mut self) {
        if let Some(db) = self.0 {
            db.unknown();
        }
    }
}

/// A connection that is in use.
pub struct Lent<'a> {
    home: MutexGuard<'a, Option<(PoolConnection<Postgres>, Instant)>>,
    /// Always there until it is given back or closed.
    connection: Option<PoolConnection<Postgres>>,
}

impl Lent<'_> {
    /// Gives it back: nothing is under way on it.
    pub fn done(mut self) {
        *self.home = self.connection.take().map(|connection| (connection, Instant::now()));
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        if let Some(mut connection) = self.connection.take() {
            connection.close_on_drop();
        }
    }
}

impl std::ops::Deref for Lent<'_> {
    type Target = PgConnection;
    fn deref(&self) -> &PgConnection {
        // Only `done` and `drop` take it, and both take the whole.
        #[expect(clippy::expect_used)]
        self.connection.as_ref().expect("a connection that is lent is there")
    }
}

impl std::ops::DerefMut for Lent<'_> {
    fn deref_mut(&mut self) -> &mut PgConnection {
        // As above.
        #[expect(clippy::expect_used)]
        self.connection.as_mut().expect("a connection that is lent is there")
    }
}

/// A write under way.
pub struct Tx<'a> {
    db: &'a Db,
    what: &'static str,
    started: Instant,
    inner: Inner<'a>,
}

enum Inner<'a> {
    Pooled(sqlx::Transaction<'static, Postgres>),
    Kept(Lent<'a>),
}

impl Tx<'_> {
    /// Commits. Nothing is known of a commit whose answer is lost: the same call, made again, finds by
    /// its key, version or epoch what became of it.
    ///
    /// # Errors
    /// When it was refused, or no answer came.
    pub fn commit<'b>(self) -> BoxFuture<'b, Result<(), StoreError>>
    where
        Self: 'b,
    {
        Box::pin(async move {
            self.db.writes(self.what);
            let fate = Unknown(Some(self.db));
            let committed = match self.inner {
                Inner::Pooled(transaction) => transaction.commit().await,
                Inner::Kept(mut lent) => sqlx::raw_sql("COMMIT").execute(&mut *lent).await.map(|_| lent.done()),
            };
            // Without an answer it may have happened all the same.
            committed?;
            fate.known();
            self.db.wrote(self.what, self.started);
            Ok(())
        })
    }
}

impl Tx<'_> {
    /// Ends it without having changed anything.
    ///
    /// # Errors
    /// When no answer came; nothing is changed then either.
    pub fn rollback<'b>(self) -> BoxFuture<'b, Result<(), StoreError>>
    where
        Self: 'b,
    {
        Box::pin(async move {
            match self.inner {
                Inner::Pooled(transaction) => transaction.rollback().await?,
                Inner::Kept(mut lent) => {
                    sqlx::raw_sql("ROLLBACK").execute(&mut *lent).await?;
                    lent.done();
                }
            }
            Ok(())
        })
    }
}

impl std::ops::Deref for Tx<'_> {
    type Target = PgConnection;
    fn deref(&self) -> &PgConnection {
        match &self.inner {
            Inner::Pooled(transaction) => transaction,
            Inner::Kept(lent) => lent,
        }
    }
}

impl std::ops::DerefMut for Tx<'_> {
    fn deref_mut(&mut self) -> &mut PgConnection {
        match &mut self.inner {
            Inner::Pooled(transaction) => transaction,
            Inner::Kept(lent) => lent,
        }
    }
}

async fn create(base: &PgConnectOptions, database: &str) -> Result<(), StoreError> {
    let mut maintenance = PgConnection::connect_with(&base.clone().database("postgres"))
        .await
        .map_err(|error| StoreError::Unavailable(format!("postgres: {}", plain(&error))))?;
    // A name cannot be a parameter; this one is ours, and quoted.
    let sql = format!("CREATE DATABASE \"{}\"", database.replace('"', "\"\""));
    match sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut maintenance).await {
        Ok(_) => {}
        // Somebody else was faster: it is there, or it will be in a moment.
        Err(sqlx::Error::Database(error)) if matches!(error.code().as_deref(), Some("42P04" | "23505")) => {}
        Err(error) => return Err(StoreError::Unavailable(format!("{database}: {}", plain(&error)))),
    }
    Ok(maintenance.close().await?)
}

async fn migrate(
    connection: &mut PgConnection,
    database: &str,
    migrations: &'static [&'static str],
    create: bool,
) -> Result<(), StoreError> {
    let failed = |why: String| StoreError::Unavailable(format!("{database}: {why}"));
    let (known, applied) = (migrations.len(), applied(connection).await.map_err(|error| failed(plain(&error)))?);
    if applied > known {
        return Err(failed(format!("has schema {applied}, this program knows {known}: use the newer program")));
    }
    if !create && applied < known {
        return Err(failed(format!("has schema {applied}, this program needs {known}: start it once with --create")));
    }
    if !create {
        return Ok(());
    }
    let numbered = migrations
        .iter()
        .zip(1..)
        .map(|(sql, version)| Migration::new(version, "".into(), MigrationType::Simple, sql.into_sql_str(), false));
    let migrator = Migrator::with_migrations(numbered.collect());
    migrator.run_direct(None, connection, false).await.map_err(|error| failed(error.to_string()))
}

/// How many migrations the database has had.
async fn applied(connection: &mut PgConnection) -> Result<usize, sqlx::Error> {
    let sql = "SELECT count(*) FROM _sqlx_migrations WHERE success";
    let applied: i64 = match sqlx::query_scalar(sql).fetch_one(connection).await {
        Ok(applied) => applied,
        // There is no such table.
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("42P01") => 0,
        Err(error) => return Err(error),
    };
    Ok(usize::try_from(applied).unwrap_or(usize::MAX))
}

fn is_missing_database(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(error) if error.code().as_deref() == Some("3D000"))
}

/// Whether the connection was gone before the server could do anything with what it was sent: for what has no effect.
fn is_lost(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed => true,
        // The server shuts down, or has crashed, or starts.
        sqlx::Error::Database(error) => {
            matches!(error.code().as_deref(), Some("57P01" | "57P02" | "57P03"))
        }
        _ => false,
    }
}

/// Whether the server has said no, and goes on.
fn is_refusal(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some() && !is_lost(error)
}

fn gone() -> StoreError {
    StoreError::Unavailable("PostgreSQL ends every connection".into())
}

/// An error in a line, without our SQL.
pub fn plain(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(error) => error.message().to_owned(),
        sqlx::Error::Io(error) => format!("PostgreSQL cannot be reached: {error}"),
        sqlx::Error::PoolTimedOut => format!("PostgreSQL gave no connection within {ACQUIRE_DEADLINE:?}"),
        other => other.to_string(),
    }
}

/// Whether the database refused a row because its key is taken.
pub fn is_taken(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(error) if error.is_unique_violation())
}

/// Why a batch of one statement was not written: one row is to blame for what is refused as a matter of
/// integrity or data, for what a trigger raises, and for a lock that was not to be had; everything else would be
/// no different for another row.
pub fn failed(error: sqlx::Error) -> Failed {
    let code = error.as_database_error().and_then(|refused| refused.code());
    match code.is_some_and(|code| ["22", "23", "P0", "40P01", "55P03"].iter().any(|class| code.starts_with(class))) {
        true => Failed::OneOfThem(error.into()),
        false => Failed::All(error.into()),
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::ColumnNotFound(_) => {
                Self::Corrupt(error.to_string())
            }
            _ if is_taken(&error) => Self::Conflict(plain(&error)),
            _ => Self::Unavailable(plain(&error)),
        }
    }
}
