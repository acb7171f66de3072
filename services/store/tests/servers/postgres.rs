//! A service's database on PostgreSQL: how it comes to be, and what a caller sees when the server goes.

use std::sync::Arc;
use std::time::Duration;

use chassis::metrics::Metrics;
use servers::{LocalServers, Meddling};
use sqlx::{Connection as _, PgConnection, Row as _};
use store::postgres::{Db, Kept, POOL, options};
use store::{Servers, StoreError};
use tokio::time::{Instant, timeout};

use crate::world::{PATIENCE, soon};

const ONE: &[&str] = &["CREATE TABLE counters (name text PRIMARY KEY, value bigint NOT NULL)"];
const TWO: &[&str] =
    &["CREATE TABLE counters (name text PRIMARY KEY, value bigint NOT NULL)", "CREATE TABLE more (x bigint)"];

const COUNT: &str = "INSERT INTO counters VALUES ($1, 1) ON CONFLICT (name) DO UPDATE SET value = counters.value + 1";

async fn open(servers: &Servers, migrations: &'static [&'static str]) -> Result<Db, StoreError> {
    Db::open(servers, "test_db", migrations, &Metrics::new("test")).await
}

fn may_not_create(servers: &Servers) -> Servers {
    Servers { create: false, ..servers.clone() }
}

/// The one line that is said when it does not open.
async fn refusal(servers: &Servers, migrations: &'static [&'static str]) -> String {
    let Err(error) = open(servers, migrations).await else { panic!("it opened") };
    let line = error.to_string();
    assert_eq!(line.lines().count(), 1, "{line}");
    line
}

async fn count(db: &Db, name: &str) -> Result<(), StoreError> {
    let mut tx = db.begin("count").await?;
    sqlx::query(COUNT).bind(name).execute(&mut *tx).await?;
    tx.commit().await
}

async fn value(db: &Db, name: &str) -> Option<i64> {
    let sql = "SELECT value FROM counters WHERE name = $1";
    // Connections that died with their server are found out one by one.
    for _ in 0..POOL {
        if let Ok(value) = sqlx::query_scalar(sql).bind(name).fetch_optional(db.pool()).await {
            return value;
        }
    }
    sqlx::query_scalar(sql).bind(name).fetch_optional(db.pool()).await.unwrap()
}

#[tokio::test]
async fn a_scrape_sees_which_connections_are_busy() {
    let (borrowed, metrics) = (servers::for_test().unwrap(), Metrics::new("test"));
    let db = Arc::new(Db::open(&borrowed.connections, "test_db", ONE, &metrics).await.unwrap());
    let seen = |state: &str| {
        let sample = format!("store_connections{{service=\"test\",store=\"test_db\",state=\"{state}\"}} ");
        let text = metrics.render();
        text.lines().find_map(|line| line.strip_prefix(&sample)).unwrap().parse::<u32>().unwrap()
    };
    assert_eq!((seen("busy"), seen("idle")), (0, 0), "connections are made when they are needed");
    let one = db.begin("count").await.unwrap();
    let two = db.begin("count").await.unwrap();
    assert_eq!(seen("busy"), 2);
    one.commit().await.unwrap();
    two.commit().await.unwrap();
    // What was given back is tried before it counts as idle.
    soon("both are idle", async {
        while (seen("busy"), seen("idle")) != (0, 2) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(metrics.render().contains("store_connections_max{service=\"test\",store=\"test_db\"} 11\n"));
}

#[tokio::test]
async fn a_fresh_database_is_created_and_migrated_and_an_older_one_brought_up_to_date() {
    let borrowed = servers::for_test().unwrap();
    let db = open(&borrowed.connections, ONE).await.unwrap();
    count(&db, "a").await.unwrap();
    let db = open(&borrowed.connections, TWO).await.unwrap();
    assert_eq!(value(&db, "a").await, Some(1));
    sqlx::query("INSERT INTO more VALUES (1)").execute(db.pool()).await.unwrap();
    open(&may_not_create(&borrowed.connections), TWO).await.unwrap();
}

#[tokio::test]
async fn instances_that_start_at_once_do_not_get_in_each_others_way() {
    let borrowed = servers::for_test().unwrap();
    let all = futures_util::future::join_all((0..5).map(|_| open(&borrowed.connections, TWO))).await;
    for db in all {
        count(&db.unwrap(), "a").await.unwrap();
    }
}

#[tokio::test]
async fn another_schema_than_the_programs_is_refused() {
    let borrowed = servers::for_test().unwrap();
    open(&borrowed.connections, TWO).await.unwrap();
    for servers in [&borrowed.connections, &may_not_create(&borrowed.connections)] {
        let line = refusal(servers, ONE).await;
        assert!(line.contains("test_db has") || line.contains("has schema 2, this program knows 1"), "{line}");
    }
    let borrowed = servers::for_test().unwrap();
    open(&borrowed.connections, ONE).await.unwrap();
    let line = refusal(&may_not_create(&borrowed.connections), TWO).await;
    assert!(line.contains("has schema 1, this program needs 2: start it once with --create"), "{line}");
}

#[tokio::test]
async fn a_missing_database_is_one_line_that_says_what_to_do() {
    let borrowed = servers::for_test().unwrap();
    let servers = may_not_create(&borrowed.connections);
    let line = refusal(&servers, ONE).await;
    assert!(line.contains(&servers.database("test_db")) && line.contains("start once with --create"), "{line}");
}

#[tokio::test]
async fn what_is_wrong_with_the_url_is_one_line_without_the_password() {
    let borrowed = servers::for_test().unwrap();
    let right = &borrowed.connections;
    let with = |postgres: String| Servers { postgres, ..right.clone() };
    let (login, place) = right.postgres.trim_start_matches("postgres://").split_once('@').unwrap();
    let (user, password) = login.split_once(':').unwrap();
    let wrong = [
        (format!("postgres://{user}:no-{password}@{place}"), "password authentication failed"),
        (format!("postgres://{user}:{password}@127.0.0.1:1"), "cannot be reached"),
        (format!("postgres://{user}:{password}@{place}:x"), "DATABASE_URL"),
        (format!("mysql://{user}:{password}@{place}"), "DATABASE_URL"),
    ];
    for (url, says) in wrong {
        let line = refusal(&with(url), ONE).await;
        assert!(line.contains(says) && !line.contains(password), "{line}");
    }
}

#[tokio::test]
async fn a_transaction_that_is_dropped_changes_nothing_and_lets_go_of_its_locks() {
    let borrowed = servers::for_test().unwrap();
    let db = open(&borrowed.connections, ONE).await.unwrap();
    count(&db, "a").await.unwrap();
    let mut tx = db.begin("changed its mind").await.unwrap();
    sqlx::query("UPDATE counters SET value = 99").execute(&mut *tx).await.unwrap();
    drop(tx);
    count(&db, "a").await.unwrap();
    assert_eq!(value(&db, "a").await, Some(2));
}

#[tokio::test]
async fn a_commit_wakes_the_relay() {
    let borrowed = servers::for_test().unwrap();
    let db = open(&borrowed.connections, ONE).await.unwrap();
    let (woken, counted) = tokio::join!(timeout(PATIENCE, db.committed().notified()), count(&db, "a"));
    counted.unwrap();
    woken.unwrap();
}

#[tokio::test]
async fn a_key_that_is_taken_is_a_conflict() {
    let borrowed = servers::for_test().unwrap();
    let db = open(&borrowed.connections, ONE).await.unwrap();
    count(&db, "a").await.unwrap();
    let again = sqlx::query("INSERT INTO counters VALUES ('a', 1)").execute(db.pool()).await;
    let error: StoreError = again.unwrap_err().into();
    assert!(matches!(error, StoreError::Conflict(_)), "{error:?}");
}

/// Makes the pool keep several connections, each used.
async fn warm(db: &Db) {
    let mut under_way = Vec::new();
    for _ in 0..4 {
        // Not all at once: without optimisation a login is work.
        under_way.push(db.begin("warm").await.unwrap());
    }
    for tx in under_way {
        tx.commit().await.unwrap();
    }
}

/// Kills the server; waits until it answers somebody new.
async fn kill_and_start(servers: &mut LocalServers) {
    servers.postgres.kill();
    servers.postgres.start().unwrap();
    let options = options(servers.postgres.url()).unwrap().database("postgres");
    let answers = async {
        while PgConnection::connect_with(&options).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    soon("PostgreSQL", answers).await;
}

#[tokio::test]
async fn every_call_succeeds_when_the_killed_server_is_back() {
    let mut servers = LocalServers::throwaway().unwrap();
    let db = open(&servers.connections(""), ONE).await.unwrap();
    for round in 1..=2 {
        warm(&db).await;
        kill_and_start(&mut servers).await;
        for _ in 0..12 {
            count(&db, "written").await.unwrap();
        }
        assert_eq!(value(&db, "written").await, Some(12 * round));
    }
}

/// As [`count`], on a connection that is kept.
async fn count_kept(kept: &Kept, name: &str) -> Result<(), StoreError> {
    let mut tx = kept.begin("count").await?;
    sqlx::query(COUNT).bind(name).execute(&mut *tx).await?;
    tx.commit().await
}

#[tokio::test]
async fn a_writer_whose_kept_connection_died_is_given_another() {
    let mut servers = LocalServers::throwaway().unwrap();
    let db = Arc::new(open(&servers.connections(""), ONE).await.unwrap());
    let kept = Kept::new(db.clone());
    for round in 1..=2 {
        count_kept(&kept, "written").await.unwrap();
        kill_and_start(&mut servers).await;
        count_kept(&kept, "written").await.unwrap();
        assert_eq!(value(&db, "written").await, Some(2 * round));
    }
}

#[tokio::test]
async fn a_kept_connection_that_was_let_go_in_mid_transaction_is_not_lent_again() {
    let borrowed = servers::for_test().unwrap();
    let db = Arc::new(open(&borrowed.connections, ONE).await.unwrap());
    let kept = Kept::new(db.clone());
    count_kept(&kept, "a").await.unwrap();
    let mut tx = kept.begin("changed its mind").await.unwrap();
    sqlx::query("UPDATE counters SET value = 99").execute(&mut *tx).await.unwrap();
    drop(tx);
    count_kept(&kept, "a").await.unwrap();
    kept.begin("nothing").await.unwrap().rollback().await.unwrap();
    count_kept(&kept, "a").await.unwrap();
    assert_eq!(value(&db, "a").await, Some(3));
}

#[tokio::test]
async fn what_the_server_refuses_does_a_kept_connection_no_harm() {
    let borrowed = servers::for_test().unwrap();
    let kept = Kept::new(Arc::new(open(&borrowed.connections, ONE).await.unwrap()));
    let session =
        || async { kept.fetch_all(sqlx::query("SELECT pg_backend_pid()")).await.unwrap()[0].get::<i32, _>(0) };
    let before = session().await;
    assert!(kept.fetch_all(sqlx::query("SELECT 1/0")).await.is_err());
    assert_eq!(session().await, before);
}

/// Reads are not made again by themselves: they find connections that were tried.
#[tokio::test]
async fn reads_after_a_pause_find_no_dead_connection() {
    let mut servers = LocalServers::throwaway().unwrap();
    let db = open(&servers.connections(""), ONE).await.unwrap();
    count(&db, "a").await.unwrap();
    warm(&db).await;
    kill_and_start(&mut servers).await;
    // Not to wait for something: so long nobody may have used a connection for it to be tried.
    tokio::time::sleep(Duration::from_millis(250)).await;
    for _ in 0..12 {
        assert_eq!(value(&db, "a").await, Some(1));
    }
}

#[tokio::test]
async fn a_read_finds_out_for_itself_that_its_connection_died_and_a_write_after_it_has_a_good_one() {
    let mut servers = LocalServers::throwaway().unwrap();
    let db = Arc::new(open(&servers.connections(""), ONE).await.unwrap());
    let kept = Kept::new(db.clone());
    for round in 1..=2 {
        kept.read(|| sqlx::query("SELECT 1")).await.unwrap();
        kept.write("count", sqlx::query(COUNT).bind("written")).await.unwrap();
        kill_and_start(&mut servers).await;
        kept.read(|| sqlx::query("SELECT 1")).await.unwrap();
        kept.write("count", sqlx::query(COUNT).bind("written")).await.unwrap();
        assert_eq!(value(&db, "written").await, Some(2 * round));
    }
}

#[tokio::test]
async fn a_write_that_nobody_waits_for_any_more_has_the_relay_look_now_and_once_it_must_be_over() {
    let borrowed = servers::for_test().unwrap();
    let db = Arc::new(open(&borrowed.connections, ONE).await.unwrap());
    let kept = Kept::new(db.clone());
    // Whoever opened it may have left something behind: that look is not meant here.
    for look in ["the first look", "the look after it"] {
        soon(look, db.committed().notified()).await;
    }
    kept.write("count", sqlx::query(COUNT).bind("a")).await.unwrap();
    db.committed().notified().await;
    let mut meddling =
        Meddling::begin(&borrowed.connections, "test_db", "UPDATE counters SET value = 7").await.unwrap();
    tokio::select! {
        biased;
        written = kept.write("count", sqlx::query(COUNT).bind("a")) => panic!("another has the row: {written:?}"),
        waits = meddling.until_somebody_waits() => waits.unwrap(),
    }
    db.committed().notified().await;
    meddling.commit_when_somebody_waits().await.unwrap();
    soon("the second look", db.committed().notified()).await;
    assert_eq!(value(&db, "a").await, Some(8), "it was written all the same, and before that look");
}

/// How long a pool of connections waits for one, unless it is told otherwise: a call that takes as long was not told.
const POOLS_PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn without_a_server_a_call_fails_within_its_time() {
    let mut servers = LocalServers::throwaway().unwrap();
    let db = open(&servers.connections(""), ONE).await.unwrap();
    servers.postgres.kill();
    let asked_at = Instant::now();
    let error = count(&db, "a").await.unwrap_err();
    assert!(matches!(&error, StoreError::Unavailable(why) if why.contains("PostgreSQL")), "{error:?}");
    assert!(asked_at.elapsed() < POOLS_PATIENCE, "{:?}", asked_at.elapsed());
    let asked_at = Instant::now();
    let kept = Kept::new(Arc::new(db));
    let error = kept.read(|| sqlx::query("SELECT 1")).await.unwrap_err();
    assert!(matches!(&error, StoreError::Unavailable(why) if why.contains("PostgreSQL")), "{error:?}");
    assert!(asked_at.elapsed() < POOLS_PATIENCE, "{:?}", asked_at.elapsed());
}
