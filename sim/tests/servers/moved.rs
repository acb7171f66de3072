//! The books of a run in virtual time, which are the same at every time and on every machine, put into
//! files and moved to servers: what is judged there must be judged as in files.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use audit::Finding;
use audit::books::Books;
use audit::invariants::{Evidence, audit};
use audit::manifest::Manifest;
use audit::shelf::BookShelf;
use audit::witness::Witness;
use chassis::metrics::Metrics;
use eventlog::jetstream::JetStreamLog;
use eventlog::{ConsumerSettings, Event, EventLog, Publish, Stream};
use experiment::run::{Experiment, conduct};
use kernel::Timestamp;
use rusqlite::{Connection, OpenFlags};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use store::Servers;
use store::postgres::{Db, options};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use world::Admin;
use world::simulated::{SimulatedOptions, simulate};

use crate::harness::PATIENCE;

/// Every database and its schema on servers.
pub const DATABASES: [(&str, &[&str]); 7] = [
    ("order_db", order::adapters::outbound::postgres::MIGRATIONS),
    ("payment_db", payment::adapters::outbound::postgres::MIGRATIONS),
    ("inventory_db", inventory::adapters::outbound::postgres::MIGRATIONS),
    ("acquirer_db", acquirer::adapters::outbound::postgres::MIGRATIONS),
    ("courier_db", notification::adapters::outbound::postgres::MIGRATIONS),
    ("user_db", user::adapters::outbound::postgres::MIGRATIONS),
    ("product_db", product::adapters::outbound::postgres::MIGRATIONS),
];

/// Plays the scenario in virtual time and leaves what a run in real time would: `data/`, the manifest
/// and the record.
pub fn play(scenario: &Path, run: &Path) {
    let scenario = scenario::load(scenario, &[], &scenario::known()).unwrap();
    let data = run.join("data");
    std::fs::create_dir_all(&data).unwrap();
    let admin = Admin::embedded();
    let mut settings = admin.known_to(scenario.shop.settings.clone());
    settings.insert("user.argon2_memory_kib".into(), "8".into());
    settings.insert("user.argon2_iterations".into(), "1".into());
    let options = SimulatedOptions { settings, seed: scenario.seed, longest: Duration::from_secs(300) };
    let (_tell, controls) = mpsc::channel(1);
    let experiment = Experiment {
        scenario,
        admin,
        record: Box::new(File::create(run.join("orders.jsonl")).unwrap()),
        manifest: Some(run.join("manifest.json")),
        sink: Arc::new(|_| {}),
        controls,
        watcher: None,
        stop: CancellationToken::new(),
    };
    let conducted = simulate(options, |surroundings| async move {
        let BookShelf::Sqlite(storage) = surroundings.books.clone() else { panic!("a simulation has files") };
        let conducted = conduct(surroundings, experiment).await;
        for name in shop::databases() {
            let file = data.join(format!("{name}.db"));
            let books = storage.open_read_only(name).unwrap();
            books.execute("VACUUM INTO ?1", [file.to_str().unwrap()]).unwrap();
        }
        conducted
    });
    assert_eq!(conducted.unwrap().map(|conducted| conducted.audit.violations()).unwrap(), 0);
}

/// Moves everything that the data folder holds.
pub async fn into_servers(data: &Path, servers: &Servers) {
    for (name, migrations) in DATABASES {
        drop(Db::open(servers, name, migrations, &Metrics::new("test")).await.unwrap());
        fill(data, servers, name).await;
    }
    let log = JetStreamLog::connect(servers, "test").await.unwrap();
    let file = read_only(data, "event_log");
    for stream in shop::STREAMS {
        log.prepare(stream).await.unwrap();
        publish(&file, &log, stream).await;
    }
    for (stream, name) in consumers(&file) {
        consume_all(&log, stream, name).await;
    }
}

pub fn read_only(data: &Path, name: &str) -> Connection {
    let file = data.join(format!("{name}.db"));
    Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap()
}

pub async fn connect(servers: &Servers, name: &str) -> PgConnection {
    let options = options(&servers.postgres).unwrap().database(&servers.database(name));
    PgConnection::connect_with(&options).await.unwrap()
}

pub fn tables(file: &Connection) -> Vec<String> {
    strings(file, "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY 1")
}

fn strings(file: &Connection, sql: &str) -> Vec<String> {
    let mut statement = file.prepare(sql).unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

/// A table as text, in the order of its columns.
pub fn rows(file: &Connection, table: &str) -> Vec<Vec<Option<String>>> {
    let columns = strings(file, &format!("SELECT name FROM pragma_table_info('{table}')"));
    let texts: Vec<String> = columns.iter().map(|column| format!("CAST({column} AS TEXT)")).collect();
    let sql = format!("SELECT {} FROM {table} ORDER BY 1, 2", texts.join(", "));
    let mut statement = file.prepare(&sql).unwrap();
    let row = |row: &rusqlite::Row<'_>| (0..columns.len()).map(|column| row.get(column)).collect();
    statement.query_map([], row).unwrap().map(Result::unwrap).collect()
}

/// Makes one database hold what the file holds, and nothing else.
pub async fn fill(data: &Path, servers: &Servers, name: &str) {
    let file = read_only(data, name);
    let mut database = connect(servers, name).await;
    // The ledger's triggers would refuse.
    sqlx::query("SET session_replication_role = replica").execute(&mut database).await.unwrap();
    let mut tx = database.begin().await.unwrap();
    for table in tables(&file) {
        let columns = strings(&file, &format!("SELECT name FROM pragma_table_info('{table}')"));
        let sql = "SELECT column_name::text, data_type::text FROM information_schema.columns WHERE table_name = $1";
        let types: Vec<(String, String)> = sqlx::query_as(sql).bind(&table).fetch_all(&mut *tx).await.unwrap();
        let types: BTreeMap<String, String> = types.into_iter().collect();
        let value = |(column, number): (&String, usize)| match types[column].as_str() {
            "boolean" => format!("${number}::int::boolean"),
            other => format!("${number}::{other}"),
        };
        let values: Vec<String> = columns.iter().zip(1..).map(value).collect();
        let (names, values) = (columns.join(", "), values.join(", "));
        sqlx::query(AssertSqlSafe(format!("DELETE FROM {table}"))).execute(&mut *tx).await.unwrap();
        let insert = format!("INSERT INTO {table} ({names}) OVERRIDING SYSTEM VALUE VALUES ({values})");
        for row in rows(&file, &table) {
            let mut query = sqlx::query(AssertSqlSafe(insert.clone()));
            for value in row {
                query = query.bind(value);
            }
            query.execute(&mut *tx).await.unwrap();
        }
        if table == "ledger" {
            let sql = "SELECT setval(pg_get_serial_sequence('ledger', 'sequence'), (SELECT max(sequence) FROM ledger))";
            sqlx::query(sql).execute(&mut *tx).await.unwrap();
        }
    }
    tx.commit().await.unwrap();
}

async fn publish(file: &Connection, log: &JetStreamLog, stream: Stream) {
    let mut last: BTreeMap<String, i64> = BTreeMap::new();
    let messages: Vec<Publish> = {
        let sql = "SELECT sequence, aggregate, version, kind, data, occurred_at, traceparent
                   FROM messages WHERE stream = ?1 ORDER BY sequence";
        let mut statement = file.prepare(sql).unwrap();
        let message = |row: &rusqlite::Row<'_>| {
            let event = Event {
                aggregate: row.get(1)?,
                version: row.get(2)?,
                kind: row.get(3)?,
                data: row.get(4)?,
                occurred_at: Timestamp::from_micros(row.get(5)?),
                traceparent: row.get(6)?,
            };
            let expected_last = last.insert(event.aggregate.clone(), row.get(0)?).unwrap_or(0);
            Ok(Publish { event, expected_last })
        };
        statement.query_map([stream.name()], message).unwrap().map(Result::unwrap).collect()
    };
    for (answer, sequence) in log.publish(stream, &messages).await.into_iter().zip(1..) {
        assert_eq!(answer.unwrap(), sequence, "sequences are those of the file");
    }
}

fn consumers(file: &Connection) -> Vec<(Stream, String)> {
    let mut statement = file.prepare("SELECT stream, name FROM consumers").unwrap();
    let named = |row: &rusqlite::Row<'_>| Ok((row.get::<_, String>(0)?, row.get(1)?));
    let named = statement.query_map([], named).unwrap().map(Result::unwrap);
    named.map(|(stream, name)| (shop::STREAMS.into_iter().find(|one| one.name() == stream).unwrap(), name)).collect()
}

async fn consume_all(log: &JetStreamLog, stream: Stream, name: String) {
    let ack_wait = Duration::from_secs(30);
    let settings = ConsumerSettings { name: name.leak(), ack_wait, deliveries_max: 5, kinds: &[] };
    let mut left = log.scan(stream, 0, 100_000).await.unwrap().len();
    let mut consumer = log.consumer(stream, settings).await.unwrap();
    while left > 0 {
        let batch = consumer.next(500).await.unwrap();
        consumer.acknowledge(&batch.iter().map(|message| message.sequence).collect::<Vec<_>>()).await.unwrap();
        left -= batch.len();
    }
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while log.lag(stream).await.unwrap().iter().any(|lag| lag.unacknowledged > 0) {
        assert!(tokio::time::Instant::now() < deadline, "acknowledgements arrive");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// What an audit with the run's manifest and record finds.
pub async fn findings(books: &dyn Books, run: &Path) -> Vec<Finding> {
    let manifest = Manifest::read(&run.join("manifest.json")).unwrap();
    let record = File::open(run.join("orders.jsonl")).unwrap();
    let witness = Witness::read(BufReader::new(record)).unwrap();
    audit(Evidence { books, manifest: Some(&manifest), witness: Some(&witness) }).await.unwrap().findings
}
