//! One database of one service, and its group commit.
//!
//! A write is done at once, inside a transaction that stays open until everybody who is ready to write has
//! done so; then one commit makes all of it durable, and each is answered. Nobody waits for a timer: the
//! commit is a task that runs as soon as the runtime has nothing else to do. What a transaction costs is
//! shared by all who came in the meantime, the more of them the busier the store.
//!
//! Each write is undone alone when it fails. Nobody sees what is not committed but the writes behind it in
//! the same transaction, and they are answered by the same commit.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chassis::hazard::Hazards;
use chassis::metrics::{Connections, Metrics};
use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Duration, Instant, sleep};

use super::Storage;
use crate::error::StoreError;

/// Most writes of one transaction; the last of them commits it.
const BATCH_MAX: usize = 256;
/// How long another connection's transaction is waited for.
pub(super) const BUSY: Duration = Duration::from_secs(2);
/// How long until it is looked for again.
const PAUSE: Duration = Duration::from_millis(1);

/// One database of one service.
pub struct Db {
    inner: Arc<Inner>,
}

struct Inner {
    name: &'static str,
    state: Mutex<State>,
    /// Sees what is committed while the other one writes. There is none of a database in memory, where
    /// connections do not see past each other.
    reader: Option<Mutex<Connection>>,
    metrics: Metrics,
    committed: Notify,
    hazards: Hazards,
}

struct State {
    connection: Connection,
    /// The transaction that is open.
    batch: Option<Batch>,
    /// How many there have been.
    batches: u64,
}

/// Writes of one transaction, in their order.
struct Batch {
    number: u64,
    written: Vec<Written>,
}

/// How a write came into a transaction.
enum Entered {
    /// It has begun this one.
    First(u64),
    Behind,
    /// It has not: another connection is writing.
    Busy,
}

struct Written {
    what: &'static str,
    /// How many rows it changed; none if it failed.
    rows: u64,
    began: Instant,
    answer: oneshot::Sender<Result<(), StoreError>>,
}

impl Db {
    /// Opens `name` and brings its schema up to date. `migrations` are numbered from 1 in order and
    /// never change once released; `PRAGMA user_version` holds the last one applied.
    ///
    /// # Errors
    /// When the database cannot be opened, or is newer than this program.
    pub fn open(
        storage: &Storage,
        name: &'static str,
        migrations: &[&str],
        metrics: &Metrics,
    ) -> Result<Self, StoreError> {
        let mut connection = storage.open(name)?;
        let applied: usize = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        if applied > migrations.len() {
            return Err(StoreError::Unavailable(format!(
                "{name} has schema {applied}, this program knows {}: use the newer program",
                migrations.len()
            )));
        }
        for (index, migration) in migrations.iter().enumerate().skip(applied) {
            let transaction = connection.transaction()?;
            transaction.execute_batch(migration)?;
            transaction.pragma_update(None, "user_version", index + 1)?;
            transaction.commit()?;
        }
        let reader = if storage.is_folder() { Some(Mutex::new(storage.open(name)?)) } else { None };
        let state = Mutex::new(State { connection, batch: None, batches: 0 });
        // No pool: a connection that writes and one that reads, each used inline, so that none is busy when
        // somebody looks.
        let opened = 1 + u32::from(reader.is_some());
        metrics.connections(name, move || Connections { busy: 0, idle: opened, max: opened });
        let (metrics, committed, hazards) = (metrics.clone(), Notify::new(), storage.hazards());
        Ok(Self { inner: Arc::new(Inner { name, state, reader, metrics, committed, hazards }) })
    }

    /// Runs `work` in a write transaction that it shares with whoever else is about to write: what it wrote
    /// is committed, or, when it answers an error, undone. `what` names the purpose in metrics and traces. A
    /// caller that goes away before the answer leaves what it wrote.
    ///
    /// # Errors
    /// What `work` answered, or that the commit failed.
    pub async fn write<T: Send, E: From<StoreError> + Send>(
        &self,
        what: &'static str,
        work: impl FnOnce(&Connection) -> Result<T, E> + Send,
    ) -> Result<T, E> {
        let (asked, mut work) = (Instant::now(), Some(work));
        self.inner.hazards.storage(true).map_err(StoreError::from)?;
        let (value, answer) = loop {
            if let Some(joined) = Inner::join(&self.inner, what, &mut work)? {
                break joined;
            }
            if asked.elapsed() > BUSY {
                return Err(StoreError::Unavailable(format!("{}: somebody else is writing", self.inner.name)).into());
            }
            // Who holds the lock may be a task of this thread, which waiting in line would keep from going on.
            sleep(PAUSE).await;
        };
        match answer.await {
            Ok(Ok(())) => value,
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(StoreError::Unavailable(format!("{}: nobody committed", self.inner.name)).into()),
        }
    }

    /// Runs `work` in a write transaction of its own, which is over when this returns.
    ///
    /// # Errors
    /// As [`Db::write`].
    pub fn write_alone<T, E: From<StoreError>>(
        &self,
        what: &'static str,
        work: impl FnOnce(&Connection) -> Result<T, E>,
    ) -> Result<T, E> {
        let inner = &self.inner;
        let began = Instant::now();
        inner.hazards.storage(true).map_err(StoreError::from)?;
        let mut state = inner.lock();
        inner.commit(&mut state);
        let before = state.connection.total_changes();
        let transaction = Transaction::new_unchecked(&state.connection, TransactionBehavior::Immediate)
            .map_err(|error| E::from(error.into()))?;
        let value = work(&transaction)?;
        let rows = transaction.total_changes() - before;
        if rows > 0 {
            // Dropped, the transaction leaves nothing.
            inner.survives(what, "before")?;
        }
        transaction.commit().map_err(|error| E::from(error.into()))?;
        drop(state);
        if rows > 0 {
            inner.tell(what, rows, began);
            inner.committed.notify_one();
            inner.survives(what, "after")?;
            inner.hazards.storage_answer().map_err(StoreError::from)?;
        }
        Ok(value)
    }

    /// Runs `work` on the last committed state. It is one state for all statements of `work`, because who
    /// commits is a task of the same thread.
    ///
    /// # Errors
    /// What `work` answered, or that the database does not answer.
    pub fn read<T, E: From<StoreError>>(&self, work: impl FnOnce(&Connection) -> Result<T, E>) -> Result<T, E> {
        let inner = &self.inner;
        inner.hazards.storage(false).map_err(StoreError::from)?;
        let mut state = inner.lock();
        if state.batch.is_some() {
            if let Some(reader) = &inner.reader {
                drop(state);
                return work(&reader.lock().unwrap_or_else(PoisonError::into_inner));
            }
            inner.commit(&mut state);
        }
        work(&state.connection)
    }

    /// Notified after each commit that changed something; for one waiter (the relay).
    pub fn committed(&self) -> &Notify {
        &self.inner.committed
    }
}

/// What a write answers once its transaction is committed, and where it hears of that.
type Joined<T, E> = (Result<T, E>, oneshot::Receiver<Result<(), StoreError>>);

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work` in the transaction that is open, or in a new one that is committed as soon as everybody
    /// who is ready has joined it; leaves it alone and answers nothing while another connection writes.
    fn join<T, E: From<StoreError>>(
        inner: &Arc<Self>,
        what: &'static str,
        work: &mut Option<impl FnOnce(&Connection) -> Result<T, E>>,
    ) -> Result<Option<Joined<T, E>>, E> {
        let began = Instant::now();
        let mut state = inner.lock();
        let opened = match state.enter().map_err(|error| E::from(error.into()))? {
            Entered::First(number) => Some(number),
            Entered::Behind => None,
            Entered::Busy => return Ok(None),
        };
        let before = state.connection.total_changes();
        let working = AssertUnwindSafe(|| match work.take() {
            Some(work) => work(&state.connection),
            None => Err(StoreError::Corrupt(format!("{what} is written already")).into()),
        });
        let value = match catch_unwind(working) {
            Ok(value) => value,
            Err(panic) => {
                // Half of it may be written, and others would commit that.
                state.give_up("a write panicked");
                drop(state);
                resume_unwind(panic)
            }
        };
        let undone = state.leave(value.is_ok(), opened.is_some()).map_err(E::from);
        let rows = if value.is_ok() { state.connection.total_changes() - before } else { 0 };
        let value = match (value, undone) {
            // Nobody shares its transaction: it saw nothing that is not committed.
            (Err(error), Ok(())) if opened.is_some() => {
                state.batch = None;
                return Err(error);
            }
            (_, Err(error)) => {
                state.give_up("the transaction was undone");
                return Err(error);
            }
            (value, Ok(())) => value,
        };
        let (answer, answered) = oneshot::channel();
        let full = match &mut state.batch {
            Some(batch) => {
                batch.written.push(Written { what, rows, began, answer });
                batch.written.len() >= BATCH_MAX
            }
            // It was open a moment ago; whoever waits hears that nobody committed.
            None => true,
        };
        if full {
            inner.commit(&mut state);
        }
        // A runtime that is about to end drops the task at once, and that asks for the lock.
        drop(state);
        if let Some(number) = opened {
            tokio::spawn(Commit { inner: inner.clone(), number }.soon());
        }
        Ok(Some((value, answered)))
    }

    /// Commits the transaction that is open, if there is one, and answers everybody in it.
    fn commit(&self, state: &mut State) {
        let Some(batch) = state.batch.take() else { return };
        self.metrics.gathered(self.name, batch.written.len(), 0);
        if let Err(error) = self.make_durable(&state.connection, &batch) {
            let _ = state.connection.execute_batch("ROLLBACK");
            for written in batch.written {
                let _ = written.answer.send(Err(error.clone()));
            }
            return;
        }
        let changed = batch.written.iter().any(|written| written.rows > 0);
        if changed {
            // Also if nobody hears of it: the relay has to look.
            self.committed.notify_one();
        }
        for Written { what, rows, began, answer } in batch.written {
            let told = match rows {
                0 => Ok(()),
                rows => {
                    self.tell(what, rows, began);
                    self.survives(what, "after").and_then(|()| Ok(self.hazards.storage_answer()?))
                }
            };
            // Who went away does not want to know.
            let _ = answer.send(told);
        }
    }

    fn make_durable(&self, connection: &Connection, batch: &Batch) -> Result<(), StoreError> {
        let mut changing = batch.written.iter().filter(|written| written.rows > 0).peekable();
        if changing.peek().is_some() && batch.written.len() > 1 {
            // Each was taken when it was written. All of them may be refused now; one alone is asked for once.
            self.hazards.storage(true)?;
        }
        changing.try_for_each(|written| self.survives(written.what, "before"))?;
        if connection.is_autocommit() {
            return Err(StoreError::Unavailable("the database has undone the transaction".into()));
        }
        Ok(connection.prepare_cached("COMMIT")?.execute([]).map(drop)?)
    }

    fn tell(&self, what: &'static str, rows: u64, began: Instant) {
        tracing::debug!(target: "shop::commit", store = self.name, what, rows);
        self.metrics.commit(self.name, what, began.elapsed());
    }

    /// A crash point: `<database>.<what>.before` or `.after` a commit.
    fn survives(&self, what: &str, edge: &str) -> Result<(), StoreError> {
        match self.hazards.survives(|| format!("{}.{what}.{edge}", self.name)) {
            true => Ok(()),
            false => Err(StoreError::Unavailable("the process is gone".to_owned())),
        }
    }
}

impl State {
    /// Begins a transaction, or a part of the one that is open. Waits for nobody.
    fn enter(&mut self) -> rusqlite::Result<Entered> {
        // What went badly wrong with the connection may have ended it unseen, or left one that is nobody's.
        if self.batch.is_some() == self.connection.is_autocommit() {
            self.give_up("the database has undone the transaction");
        }
        if self.batch.is_some() {
            self.connection.prepare_cached("SAVEPOINT one")?.execute([])?;
            return Ok(Entered::Behind);
        }
        self.connection.busy_timeout(Duration::ZERO)?;
        let begun = self.connection.prepare_cached("BEGIN IMMEDIATE").and_then(|mut begin| begin.execute([]));
        self.connection.busy_timeout(BUSY)?;
        match begun.as_ref().map_err(rusqlite::Error::sqlite_error_code) {
            Err(Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)) => return Ok(Entered::Busy),
            _ => begun?,
        };
        self.batches += 1;
        self.batch = Some(Batch { number: self.batches, written: Vec::new() });
        Ok(Entered::First(self.batches))
    }

    /// Keeps what was written since, or undoes it.
    fn leave(&self, keep: bool, is_first: bool) -> Result<(), StoreError> {
        let execute = |sql| self.connection.prepare_cached(sql)?.execute([]).map(drop);
        match (keep, is_first) {
            (true, true) => {}
            (true, false) => execute("RELEASE one")?,
            (false, true) if self.connection.is_autocommit() => {}
            (false, true) => execute("ROLLBACK")?,
            (false, false) => {
                execute("ROLLBACK TO one")?;
                execute("RELEASE one")?;
            }
        }
        Ok(())
    }

    /// Undoes the transaction; whoever has written in it hears why.
    fn give_up(&mut self, why: &str) {
        if !self.connection.is_autocommit() {
            let _ = self.connection.execute_batch("ROLLBACK");
        }
        let error = StoreError::Unavailable(why.to_owned());
        for written in self.batch.take().into_iter().flat_map(|batch| batch.written) {
            let _ = written.answer.send(Err(error.clone()));
        }
    }
}

/// The task that commits a transaction. If it is cut off before, nothing was written.
struct Commit {
    inner: Arc<Inner>,
    number: u64,
}

impl Commit {
    async fn soon(self) {
        // Whoever is ready to write does so first.
        tokio::task::yield_now().await;
        let mut state = self.inner.lock();
        if self.is_open(&state) {
            self.inner.commit(&mut state);
        }
    }

    fn is_open(&self, state: &State) -> bool {
        state.batch.as_ref().is_some_and(|batch| batch.number == self.number)
    }
}

impl Drop for Commit {
    fn drop(&mut self) {
        let mut state = self.inner.lock();
        if self.is_open(&state) {
            state.give_up("the process is about to end");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::sync::atomic::{AtomicI64, Ordering};
    use std::task::Poll;

    use futures_util::future::join_all;

    use super::*;
    use chassis::hazard::{CallFate, Fate, Passage};

    #[test]
    fn an_error_in_the_work_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::Folder(folder.path().to_owned());
        let db = Db::open(&storage, "test", &["CREATE TABLE t (x INTEGER)"], &Metrics::new("test")).unwrap();
        let outcome: Result<(), StoreError> = db.write_alone("try", |tx| {
            tx.execute("INSERT INTO t VALUES (1)", [])?;
            Err(StoreError::Conflict("changed my mind".into()))
        });
        assert!(outcome.is_err());
        let count: Result<i64, StoreError> =
            db.read(|connection| Ok(connection.query_row("SELECT count(*) FROM t", [], |row| row.get(0))?));
        assert_eq!(count.unwrap(), 0);
    }

    #[test]
    fn a_database_of_a_newer_program_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::Folder(folder.path().to_owned());
        let two = ["CREATE TABLE a (x)", "CREATE TABLE b (x)"];
        drop(Db::open(&storage, "test", &two, &Metrics::new("test")).unwrap());
        assert!(Db::open(&storage, "test", &two[..1], &Metrics::new("test")).is_err());
        assert!(Db::open(&storage, "test", &two, &Metrics::new("test")).is_ok());
    }

    /// Lets one thing happen.
    struct Once(&'static str);

    impl Fate for Once {
        fn pass(&self, point: &str) -> Passage {
            if point == self.0 { Passage::Dead } else { Passage::On }
        }
        fn is_dead(&self) -> bool {
            false
        }
        fn call(&self, _: &str) -> CallFate {
            CallFate::default()
        }
        fn storage_refuses(&self, write: bool) -> Option<&'static str> {
            (self.0 == "down" || (self.0 == "refused" && write)).then_some("nobody answers")
        }
        fn storage_loses_answer(&self) -> bool {
            self.0 == "lost"
        }
    }

    #[tokio::test]
    async fn what_befalls_a_write_leaves_all_of_it_or_nothing() {
        for (befalls, succeeds, rows) in [
            ("nothing", true, 1),
            ("refused", false, 0),
            ("test.try.before", false, 0),
            ("test.try.after", false, 1),
            ("lost", false, 1),
        ] {
            for together in [true, false] {
                let hazards = Hazards::new(Arc::new(Once(befalls)));
                let storage = Storage::Memory(format!("befalls-{befalls}-{together}"));
                let db = table(&Storage::Exposed(storage.into(), hazards));
                let execute = async |sql: &str| match together {
                    true => db.write("try", |tx| Ok::<_, StoreError>(tx.execute(sql, [])?)).await,
                    false => db.write_alone("try", |tx| Ok::<_, StoreError>(tx.execute(sql, [])?)),
                };
                let written = execute("INSERT INTO t VALUES (1)").await;
                assert_eq!((written.is_ok(), count(&db).unwrap()), (succeeds, rows), "{befalls} {together}");
                let looked = execute("DELETE FROM t WHERE x = 2").await;
                assert_eq!(looked.is_ok(), befalls != "refused", "a write that changes nothing has no crash points");
            }
        }
        let down = Hazards::new(Arc::new(Once("down")));
        assert!(count(&table(&Storage::Exposed(Storage::Memory("befalls-down".into()).into(), down))).is_err());
    }

    fn table(storage: &Storage) -> Db {
        Db::open(storage, "test", &["CREATE TABLE t (x INTEGER UNIQUE)"], &Metrics::new("test")).unwrap()
    }

    fn count(db: &Db) -> Result<i64, StoreError> {
        db.read(|connection| Ok(connection.query_row("SELECT count(*) FROM t", [], |row| row.get(0))?))
    }

    /// As far as it goes by itself.
    async fn once<F: Future>(mut work: Pin<&mut F>) -> Poll<F::Output> {
        std::future::poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await
    }

    async fn insert(db: &Db, x: i64) -> Result<(), StoreError> {
        db.write("try", |tx| Ok(tx.execute("INSERT INTO t VALUES (?1)", [x]).map(drop)?)).await
    }

    /// `store_batch_commands` as it is scraped: how many transactions, how many writes.
    fn batches(db: &Db) -> (String, String) {
        let text = db.inner.metrics.render();
        let value = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{text}"));
            line.rsplit(' ').next().unwrap().to_owned()
        };
        (value("store_batch_commands_count"), value("store_batch_commands_sum"))
    }

    #[tokio::test]
    async fn writes_that_are_ready_together_share_a_transaction_and_fail_alone() {
        let folder = tempfile::tempdir().unwrap();
        for storage in [Storage::Folder(folder.path().to_owned()), Storage::Memory("together".into())] {
            let db = table(&storage);
            let written = join_all([1, 2, 2, 3].map(|x| insert(&db, x))).await;
            assert_eq!(written.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, true, false, true]);
            assert_eq!((batches(&db), count(&db).unwrap()), (("1".into(), "4.0".into()), 3));
            assert!(insert(&db, 3).await.is_err() && insert(&db, 4).await.is_ok());
            assert_eq!(count(&db).unwrap(), 4);
        }
    }

    #[tokio::test]
    async fn a_write_that_panics_leaves_nothing_behind_and_blocks_nobody() {
        let folder = tempfile::tempdir().unwrap();
        for (name, storage) in
            [("files", Storage::Folder(folder.path().to_owned())), ("memory", Storage::Memory("panics".into()))]
        {
            let db = Arc::new(table(&storage));
            let panicking = async {
                let db = db.clone();
                let write = async move {
                    db.write("try", |tx| -> Result<(), StoreError> {
                        tx.execute("INSERT INTO t VALUES (7)", [])?;
                        panic!("a bug in a write")
                    })
                    .await
                };
                tokio::spawn(write).await.unwrap_err().is_panic()
            };
            // Alone, and behind another one, which is told that it was not written.
            assert!(panicking.await, "{name}");
            insert(&db, 1).await.unwrap();
            let mut first = std::pin::pin!(insert(&db, 2));
            assert!(once(first.as_mut()).await.is_pending());
            let mut work = Some(|tx: &Connection| -> Result<(), StoreError> {
                tx.execute("INSERT INTO t VALUES (8)", [])?;
                panic!("another one")
            });
            let behind = catch_unwind(AssertUnwindSafe(|| Inner::join(&db.inner, "try", &mut work).is_ok()));
            assert!(behind.is_err() && first.await.is_err(), "{name}");
            insert(&db, 3).await.unwrap();
            assert_eq!(count(&db).unwrap(), 2, "{name}");
        }
    }

    #[tokio::test]
    async fn two_connections_of_one_thread_take_turns() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::Folder(folder.path().to_owned());
        let (one, other) = (table(&storage), table(&storage));
        let written = join_all([insert(&one, 1), insert(&other, 2), insert(&one, 3), insert(&other, 4)]).await;
        assert!(written.iter().all(Result::is_ok), "{written:?}");
        assert_eq!((count(&one).unwrap(), count(&other).unwrap()), (4, 4));
    }

    #[tokio::test]
    async fn many_writes_are_committed_in_transactions_of_bounded_size() {
        let db = table(&Storage::Memory("many".into()));
        let many = i64::try_from(BATCH_MAX).unwrap() + 1;
        assert!(join_all((0..many).map(|x| insert(&db, x))).await.iter().all(Result::is_ok));
        assert_eq!((batches(&db).0, count(&db).unwrap()), ("2".into(), many));
    }

    #[tokio::test]
    async fn what_is_not_committed_is_seen_by_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let db = table(&Storage::Folder(folder.path().to_owned()));
        let mut writing = std::pin::pin!(insert(&db, 1));
        assert!(once(writing.as_mut()).await.is_pending());
        assert_eq!(count(&db).unwrap(), 0);
        writing.await.unwrap();
        assert_eq!(count(&db).unwrap(), 1);
        // In memory there is one connection: reading commits.
        let db = table(&Storage::Memory("unseen".into()));
        let mut writing = std::pin::pin!(insert(&db, 1));
        assert!(once(writing.as_mut()).await.is_pending());
        assert_eq!(count(&db).unwrap(), 1);
        assert!(once(writing.as_mut()).await.is_ready());
    }

    #[tokio::test]
    async fn a_write_of_its_own_is_over_at_once_and_takes_the_others_with_it() {
        let db = table(&Storage::Memory("alone".into()));
        let mut writing = std::pin::pin!(insert(&db, 1));
        assert!(once(writing.as_mut()).await.is_pending());
        let alone: Result<(), StoreError> =
            db.write_alone("try", |tx| Ok(tx.execute("INSERT INTO t VALUES (2)", []).map(drop)?));
        assert!(alone.is_ok() && once(writing.as_mut()).await.is_ready());
        assert_eq!(count(&db).unwrap(), 2);
    }

    /// Takes so many writes, then refuses.
    struct Takes(AtomicI64);

    impl Fate for Takes {
        fn pass(&self, _: &str) -> Passage {
            Passage::On
        }
        fn is_dead(&self) -> bool {
            false
        }
        fn call(&self, _: &str) -> CallFate {
            CallFate::default()
        }
        fn storage_refuses(&self, write: bool) -> Option<&'static str> {
            (write && self.0.fetch_sub(1, Ordering::Relaxed) <= 0).then_some("full")
        }
        fn storage_loses_answer(&self) -> bool {
            false
        }
    }

    #[tokio::test]
    async fn a_commit_that_fails_fails_for_all_and_leaves_nothing() {
        let hazards = Hazards::new(Arc::new(Takes(AtomicI64::new(3))));
        let db = table(&Storage::Exposed(Storage::Memory("fails".into()).into(), hazards));
        // Three are taken, and their commit is not.
        assert!(join_all((0..3).map(|x| insert(&db, x))).await.iter().all(Result::is_err));
        assert_eq!(count(&db).unwrap(), 0);
    }

    #[test]
    fn a_runtime_that_ends_before_the_commit_leaves_nothing_and_no_lock() {
        let runtime = || tokio::runtime::Builder::new_current_thread().build().unwrap();
        let db = table(&Storage::Memory("cut-off".into()));
        let first = runtime();
        first.block_on(async {
            let mut writing = std::pin::pin!(insert(&db, 1));
            assert!(once(writing.as_mut()).await.is_pending());
        });
        drop(first);
        assert_eq!(count(&db).unwrap(), 0);
        runtime().block_on(insert(&db, 2)).unwrap();
        assert_eq!(count(&db).unwrap(), 1);
    }
}
