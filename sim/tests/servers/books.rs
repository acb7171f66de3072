//! The books of a shop on servers: judged, copied and told as those in files.

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use audit::Finding;
use audit::books::Books;
use audit::export::{export, export_orders};
use audit::shelf::BookShelf;
use audit::sqlite::SqliteBooks;
use servers::Borrowed;
use shopctl::explain::Story;
use shopctl::explain::folder::Folder;
use shopctl::explain::render::render;
use sqlx::AssertSqlSafe;
use store::Servers;
use store::redis::Redis;
use store::sqlite::Storage;
use tempfile::TempDir;

use crate::harness::{Bench, TINY, copy_folder, unhurried};
use crate::moved::{connect, fill, findings, into_servers, play, read_only, rows, tables};
use crate::tamperings::IN_DATABASES;

/// A run, and its books on servers as well.
struct Moved {
    bench: Bench,
    borrowed: Borrowed,
}

/// What is played once for all tests.
static PLAYED: LazyLock<TempDir> = LazyLock::new(|| {
    let run = tempfile::tempdir().unwrap();
    let scenario = run.path().join("scenario.yaml");
    std::fs::write(&scenario, TINY).unwrap();
    // A simulation makes runtimes of its own.
    std::thread::scope(|scope| scope.spawn(|| play(&scenario, run.path())).join()).unwrap();
    run
});

impl Moved {
    async fn new() -> Self {
        let moved = Self { bench: Bench::new(TINY), borrowed: servers::for_test().unwrap() };
        copy_folder(PLAYED.path(), &moved.run());
        into_servers(&moved.data(), moved.servers()).await;
        moved
    }

    fn run(&self) -> PathBuf {
        self.bench.path("run")
    }

    fn data(&self) -> PathBuf {
        self.run().join("data")
    }

    fn servers(&self) -> &Servers {
        &self.borrowed.connections
    }

    async fn on_servers(&self) -> Arc<dyn Books> {
        BookShelf::Servers(self.servers().clone()).open().await.unwrap()
    }

    async fn judged_on_servers(&self) -> Vec<Finding> {
        findings(&*self.on_servers().await, &self.run()).await
    }

    async fn judged_in_files(&self, data: &Path) -> Vec<Finding> {
        let books = SqliteBooks::open(&Storage::Folder(data.to_owned())).unwrap();
        findings(&books, &self.run()).await
    }

    async fn redis(&self) -> Redis {
        Redis::connect(self.servers()).await.unwrap()
    }

    /// Puts an entry into the cache that lives for a minute, or for ever.
    async fn cache(&self, key: &str, value: &str, expires: bool) {
        let redis = self.redis().await;
        let mut set = redis::cmd("SET");
        set.arg(redis.key(key)).arg(value);
        if expires {
            set.arg("PX").arg(60_000);
        }
        redis.ask::<()>(&set).await.unwrap();
    }

    async fn forget(&self, key: &str) {
        let redis = self.redis().await;
        redis.ask::<()>(redis::cmd("DEL").arg(redis.key(key))).await.unwrap();
    }
}

fn of<'a>(findings: &'a [Finding], name: &str) -> &'a Finding {
    findings.iter().find(|finding| finding.name == name).unwrap()
}

/// Without the one that only books with a cache can tell.
fn shared(findings: Vec<Finding>) -> Vec<Finding> {
    findings.into_iter().filter(|finding| finding.name != "cache_converges").collect()
}

#[tokio::test]
async fn books_on_servers_are_judged_as_those_in_files() {
    let moved = Moved::new().await;
    let (here, there) = (moved.judged_in_files(&moved.data()).await, moved.judged_on_servers().await);
    assert!(here.iter().all(|finding| finding.violations == 0), "{here:?}");
    assert_eq!(shared(there), shared(here));
    assert!(moved.on_servers().await.in_flight().await.unwrap().is_quiet());
}

#[tokio::test]
async fn every_tampering_is_noticed_on_servers_as_it_is_in_files() {
    let moved = Moved::new().await;
    let (data, copy) = (moved.data(), moved.bench.path("tampered"));
    for (database, sql, invariant) in IN_DATABASES {
        let mut connection = connect(moved.servers(), database).await;
        let changed = sqlx::query(AssertSqlSafe(*sql)).execute(&mut connection).await.unwrap();
        assert!(changed.rows_affected() > 0, "{sql} changed nothing");
        let there = moved.judged_on_servers().await;
        assert!(of(&there, invariant).violations > 0, "{sql}: {there:?}");
        copy_folder(&data, &copy);
        rusqlite::Connection::open(copy.join(format!("{database}.db"))).unwrap().execute(sql, []).unwrap();
        assert_eq!(shared(there), shared(moved.judged_in_files(&copy).await), "{sql}");
        std::fs::remove_dir_all(&copy).unwrap();
        fill(&data, moved.servers(), database).await;
    }
}

#[tokio::test]
async fn a_message_that_is_gone_or_waits_is_noticed() {
    let moved = Moved::new().await;
    let url = &moved.servers().nats;
    let (token, place) = url.strip_prefix("nats://").unwrap().split_once('@').unwrap();
    let options = async_nats::ConnectOptions::with_token(token.to_owned());
    let nats = options.connect(format!("nats://{place}")).await.unwrap();
    let stream = format!("{}_ORDERS", moved.servers().namespace.to_uppercase());
    let ask = nats.request(format!("$JS.API.STREAM.MSG.DELETE.{stream}"), r#"{"seq":2}"#.into());
    assert!(String::from_utf8_lossy(&ask.await.unwrap().payload).contains("\"success\":true"));
    let findings = moved.judged_on_servers().await;
    assert_eq!(of(&findings, "stream_matches_events").violations, 1);
    assert_eq!(of(&findings, "nothing_in_flight").violations, 0);

    let consumer = serde_json::json!({
        "stream_name": stream, "config": { "durable_name": "late", "ack_policy": "explicit", "deliver_policy": "all" },
    });
    let ask = nats.request(format!("$JS.API.CONSUMER.DURABLE.CREATE.{stream}.late"), consumer.to_string().into());
    assert!(!String::from_utf8_lossy(&ask.await.unwrap().payload).contains("error"));
    let waiting = &of(&moved.judged_on_servers().await, "nothing_in_flight").examples[0].clone();
    assert!(waiting.contains("wait for their consumers"), "{waiting}");
}

#[tokio::test]
async fn a_copy_in_files_is_the_books_to_the_row_and_is_judged_alike() {
    let moved = Moved::new().await;
    let [product, stock] = cached(&moved);
    moved.cache("product:1", &product, true).await;
    moved.cache("product-sku:ANY", "@shop:product:1", true).await;
    moved.cache("stock:1", &stock, true).await;
    let (data, copy) = (moved.data(), moved.bench.path("copy"));
    std::fs::create_dir(&copy).unwrap();
    export(moved.servers(), &copy).await.unwrap();
    let there = moved.judged_on_servers().await;
    assert_eq!((of(&there, "cache_converges").checked, of(&there, "cache_converges").violations), (3, 0));
    assert_eq!(moved.judged_in_files(&copy).await, there);
    for (name, _) in crate::moved::DATABASES.into_iter().chain([("event_log", [].as_slice())]) {
        let (original, copied) = (read_only(&data, name), read_only(&copy, name));
        for table in tables(&original) {
            assert_eq!(rows(&copied, &table), rows(&original, &table), "{name}, {table}");
        }
    }
    let again = export(moved.servers(), &copy).await.unwrap_err();
    assert!(again.contains("could not be copied"), "{again}");
}

/// What may be cached of the first product and of its stock.
fn cached(moved: &Moved) -> [String; 2] {
    let sql = "SELECT version || ' ' || json_object('id', id, 'sku', sku, 'name', name, 'category', category,
                      'price', json_object('minor', price_minor, 'currency', currency)) FROM products WHERE id = 1";
    let product = read_only(&moved.data(), "product_db").query_row(sql, [], |row| row.get(0)).unwrap();
    let sql = "SELECT json_object('product_id', product_id, 'available', available, 'reserved', reserved,
                      'sold', sold, 'version', version) FROM stock WHERE product_id = 1";
    let stock = read_only(&moved.data(), "inventory_db").query_row(sql, [], |row| row.get(0)).unwrap();
    [product, stock]
}

#[tokio::test]
async fn a_cache_that_does_not_converge_is_noticed() {
    let moved = Moved::new().await;
    let [product, stock] = cached(&moved);
    let mut connection = connect(moved.servers(), "product_db").await;
    let sql = "UPDATE products SET price_minor = price_minor + 1, version = version + 1 WHERE id = 1";
    sqlx::query(sql).execute(&mut connection).await.unwrap();
    // (key, value, expires, what is wrong)
    let newer = product.replacen('1', "9", 1);
    let cases = [
        ("product:1", product.as_str(), true, None),
        ("product:1", "2", true, None),
        ("product:1", "3", true, Some("is of version 3, which the database never had")),
        ("product:1", &newer, true, Some("is of version 9, which the database never had")),
        ("product:1", &product, false, Some("never expires")),
        ("product:1", "nonsense", true, Some("cannot be read")),
        ("product:999", "1", true, Some("the database has no such row")),
        ("stock:1", &stock, true, None),
        ("stock:1", &stock.replacen("\"available\":", "\"available\":1", 1), true, Some("available")),
        ("stock:2", &stock, true, Some("cannot be read")),
        ("product-sku:X", "1", true, Some("cannot be read")),
    ];
    for (key, value, expires, wrong) in cases {
        moved.cache(key, value, expires).await;
        let findings = moved.judged_on_servers().await;
        let finding = of(&findings, "cache_converges");
        assert_eq!((finding.checked, finding.violations), (1, u64::from(wrong.is_some())), "{key}: {value}");
        if let Some(wrong) = wrong {
            assert!(finding.examples[0].contains(wrong), "{:?}", finding.examples);
        }
        moved.forget(key).await;
    }
}

#[tokio::test]
async fn a_cache_that_does_not_answer_hides_nothing_else() {
    let moved = Moved::new().await;
    let nobody = Servers { redis: "redis://:secret@127.0.0.1:9".into(), ..moved.servers().clone() };
    let books = BookShelf::Servers(nobody.clone()).open().await.unwrap();
    let there = findings(&*books, &moved.run()).await;
    assert!(of(&there, "cache_converges").why_unseen().is_some_and(|why| !why.contains("secret")));
    let copy = moved.bench.path("copy");
    std::fs::create_dir(&copy).unwrap();
    export(&nobody, &copy).await.unwrap();
    let here = moved.judged_in_files(&copy).await;
    assert!(of(&here, "cache_converges").why_unseen().is_some());
    assert_eq!(shared(here), shared(there));
}

#[tokio::test]
async fn an_orders_story_is_the_same_from_servers() {
    let moved = Moved::new().await;
    let data = moved.data();
    let ids: Vec<String> = read_only(&data, "order_db")
        .prepare("SELECT id FROM orders ORDER BY status, id LIMIT 1")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let begins = &ids[0][..8];
    let copy = moved.bench.path("copy");
    std::fs::create_dir(&copy).unwrap();
    export_orders(moved.servers(), begins, &copy).await.unwrap();
    let told = |folder: &Path| {
        let folder = Folder::data(folder).unwrap();
        let id = folder.find(begins).unwrap();
        render(&Story::of(&folder.facts(&id).unwrap()))
    };
    assert_eq!(told(&copy), told(&data));
    assert_eq!(rows(&read_only(&copy, "order_db"), "orders").len(), 1);
}

#[tokio::test]
async fn external_servers_are_read_from_the_command_line() {
    let moved = Moved::new().await;
    let servers = moved.servers();
    let run = moved.run();
    let (manifest, witness) = (run.join("manifest.json"), run.join("orders.jsonl"));
    let id: String =
        read_only(&moved.data(), "order_db").query_row("SELECT id FROM orders LIMIT 1", [], |row| row.get(0)).unwrap();
    let shopctl = |arguments: &[&str]| {
        let variables = [
            ("DATABASE_URL", servers.postgres.as_str()),
            ("NATS_URL", servers.nats.as_str()),
            ("REDIS_URL", servers.redis.as_str()),
        ];
        moved.bench.shopctl_with(&variables, &[arguments, &["--namespace", &servers.namespace]].concat())
    };
    let beside = ["--manifest", manifest.to_str().unwrap(), "--witness", witness.to_str().unwrap()];
    let audited = shopctl(&[&["audit", "--infra", "external"], beside.as_slice()].concat()).exits(0);
    assert!(audited.stdout().contains("80 orders") && audited.stdout().contains("cache_converges"));
    let told = shopctl(&["explain", &id, "--infra", "external"]).exits(0);
    assert!(told.stdout().contains(&id), "{}", told.stdout());
    let unset = moved.bench.shopctl(&["audit", "--infra", "external"]).exits(104);
    assert!(unset.stderr().contains("DATABASE_URL"), "{}", unset.stderr());
}

#[test]
fn a_run_on_private_servers_leaves_its_books_in_files() {
    let bench = Bench::new(&unhurried(TINY));
    // Whether this machine was quick enough is not asked here.
    bench.shopctl(&["run", "scenario.yaml", "--infra", "local", "--set", "expect.thresholds={}"]);
    let run = bench.run_folder();
    let audited = bench.shopctl(&["audit", "--run", &run.to_string_lossy()]).exits(0).stdout();
    let judged = audited.lines().find(|line| line.contains("cache_converges")).unwrap();
    assert!(judged.contains("kept"), "{audited}");
    let id: String = read_only(&run.join("data"), "order_db")
        .query_row("SELECT id FROM orders LIMIT 1", [], |row| row.get(0))
        .unwrap();
    let told = bench.shopctl(&["explain", &id, "--run", &run.to_string_lossy()]).exits(0);
    assert!(told.stdout().contains(&id), "{}", told.stdout());
}

#[tokio::test]
async fn a_folder_of_servers_is_read_without_its_shop() {
    let moved = Moved::new().await;
    let run = moved.run();
    let folder = moved.bench.path("kept");
    let kept = servers::LocalServers::start(&folder).unwrap();
    into_servers(&moved.data(), &kept.connections("")).await;
    drop(kept);
    let (manifest, witness) = (run.join("manifest.json"), run.join("orders.jsonl"));
    let beside = ["--manifest", manifest.to_str().unwrap(), "--witness", witness.to_str().unwrap()];
    let audit = || moved.bench.shopctl(&[&["audit", "--data", "kept"], beside.as_slice()].concat());
    assert!(audit().exits(0).stdout().contains("80 orders"));
    let id: String =
        read_only(&moved.data(), "order_db").query_row("SELECT id FROM orders LIMIT 1", [], |row| row.get(0)).unwrap();
    let told = moved.bench.shopctl(&["explain", &id[..8], "--data", "kept"]).exits(0);
    assert!(told.stdout().contains(&id), "{}", told.stdout());

    let _shop = world::lock::FolderLock::take(&folder).unwrap();
    assert!(audit().exits(104).stderr().contains("a shop is running"));
    let refused = moved.bench.shopctl(&["explain", &id[..8], "--data", "kept"]).exits(104);
    assert!(refused.stderr().contains("--target"), "{}", refused.stderr());
}
