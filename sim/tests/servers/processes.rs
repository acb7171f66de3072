//! The shop as eight processes: they come together, serve, and none of them is ever left behind.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use audit::witness::Item;
use chassis::Instruments;
use chassis::hazard::Hazards;
use chassis::net::SystemNetwork;
use load::api::Api;
use load::journey::seen;
use shop::http::HttpClient;
use shop::machine::{Meter, Part};
use sqlx::Connection as _;
use store::Servers;
use store::gather::BATCH_MAX;
use tokio::sync::Mutex;
use world::Admin;
use world::processes::{Processes, ProcessesOptions};
use world::secret::Secret;

use crate::harness::PATIENCE;
use crate::{SECRET, soon};

/// Eight processes are enough for one machine at a time.
pub static ONE_SHOP: Mutex<()> = Mutex::const_new(());

/// In a namespace that no other test process has either: by it a shop's processes are known.
pub fn with_own_namespace(servers: &Servers) -> Servers {
    Servers { namespace: format!("p{}_{}", std::process::id(), servers.namespace), ..servers.clone() }
}

pub fn options(servers: &Servers, logs: &Path) -> ProcessesOptions {
    let settings = [("user.argon2_memory_kib", "8"), ("user.argon2_iterations", "1")];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
    ProcessesOptions {
        program: Some(env!("CARGO_BIN_EXE_shopctl").into()),
        servers: servers.clone(),
        roles: shop::ROLES.to_vec(),
        settings: Admin::embedded().known_to(settings.into()),
        logs: logs.to_owned(),
        listen: "127.0.0.1:0".parse().unwrap(),
        secret: Secret::Text(SECRET.into()),
        seed: Some(5),
        chaos: false,
        crash: None,
        instruments: Instruments::On,
    }
}

/// How many processes serve in that namespace.
fn serving(namespace: &str) -> usize {
    let mark = format!("\0--namespace={namespace}\0");
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    lines.filter(|line| String::from_utf8_lossy(line).contains(&mark)).count()
}

/// Somebody orders, and it is confirmed.
async fn order_a_lamp(shop: &Processes) {
    let client = HttpClient::new(Arc::new(SystemNetwork), shop.addresses[gateway::ROLE].clone());
    let scenario = "{ version: 1, name: two, about: two users and a lamp, seed: 5, shop: { users: 2, catalog: { items: \
                    [ { sku: LAMP, name: Lamp, price: 19.90 EUR, stock: 4 } ] } }, load: { buyers: { executor: \
                    shared-iterations, vus: 1, iterations: 1, journey: [ { order: { items: [ { sku: LAMP, quantity: \
                    1 } ] } } ] } } }";
    let scenario = scenario::parse(scenario, "two.yaml", &[], &scenario::known()).unwrap();
    let seeded = experiment::run::seed::seed(&client, &Admin::embedded(), &scenario).await.unwrap();
    let items = [Item { sku: "LAMP".into(), quantity: 2 }];
    let answer = Api { client }.place_order(&seeded.shoppers[0].token, "k", &items, Duration::from_secs(30)).await;
    let answer = answer.unwrap();
    assert_eq!((answer.status, seen(&answer).unwrap().status.as_str()), (201, "CONFIRMED"), "{}", answer.summary());
}

#[tokio::test]
async fn an_order_goes_through_all_roles_and_the_shop_stops_in_good_order() {
    let _one = ONE_SHOP.lock().await;
    let borrowed = servers::for_test().unwrap();
    let (connections, logs) = (with_own_namespace(&borrowed.connections), tempfile::tempdir().unwrap());
    let shop = Processes::start(options(&connections, logs.path())).await.unwrap();
    assert_eq!(serving(&connections.namespace), shop::ROLES.len());
    let roles = shop.pids().into_iter().map(|(role, pid)| (role.to_owned(), Part::Process(pid)));
    let postgres = ("postgres".to_owned(), Part::Tree(borrowed.servers.postgres.pid().unwrap()));
    let mut meter = Meter::new(roles.chain([postgres]));

    order_a_lamp(&shop).await;
    let used = meter.used();
    assert_eq!(used.len(), shop::ROLES.len() + 1);
    for (name, used) in used {
        // Linux counts a process's time in hundredths of a second: one order may cost PostgreSQL none.
        assert!(used.cpu_us.is_some() && used.peak_mb.unwrap() > 1.0, "{name}: {used:?}");
    }
    assert_eq!(shop.dead(), [""; 0]);
    shop.stop();
    assert_eq!(serving(&connections.namespace), 0);
    for role in shop::ROLES {
        let log = fs::read_to_string(logs.path().join(format!("{role}.log"))).unwrap();
        assert!(log.contains("is ready") && !log.contains("stopped with work under way"), "{role}: {log}");
    }
}

#[tokio::test]
async fn a_shop_without_instruments_sells_and_neither_measures_nor_traces() {
    let _one = ONE_SHOP.lock().await;
    for instruments in [Instruments::Off, Instruments::On] {
        let borrowed = servers::for_test().unwrap();
        let (connections, logs) = (with_own_namespace(&borrowed.connections), tempfile::tempdir().unwrap());
        let shop =
            Processes::start(ProcessesOptions { instruments, ..options(&connections, logs.path()) }).await.unwrap();
        order_a_lamp(&shop).await;
        let ops = HttpClient::new(Arc::new(SystemNetwork), shop.ops[order::ROLE].clone());
        let shown = async |path: &str| ops.get(path, None, Duration::from_secs(5)).await.unwrap().body;
        let (steps, metrics) = (shown("/steps").await, shown("/metrics").await);
        let (steps, metrics) = (String::from_utf8_lossy(&steps), String::from_utf8_lossy(&metrics));
        let postgres = store::postgres::options(&connections.postgres).unwrap();
        let database = postgres.database(&connections.database("order_db"));
        let mut books = sqlx::PgConnection::connect_with(&database).await.unwrap();
        let sql = "SELECT count(*), count(traceparent) FROM order_events";
        let (events, traced): (i64, i64) = sqlx::query_as(sql).fetch_one(&mut books).await.unwrap();
        assert!(events > 0);
        let measures = instruments == Instruments::On;
        assert_eq!(steps.contains("reserve_stock"), measures, "{steps}");
        for sample in
            ["rpc_server_duration_seconds_count", "store_batch_commands_count", "saga_step_duration_seconds_count"]
        {
            assert_eq!(metrics.contains(sample), measures, "{sample}: {metrics}");
        }
        assert_eq!(traced > 0, measures);
    }
}

#[tokio::test]
async fn a_role_that_is_killed_is_told_and_the_others_stay() {
    let _one = ONE_SHOP.lock().await;
    let borrowed = servers::for_test().unwrap();
    let (connections, logs) = (with_own_namespace(&borrowed.connections), tempfile::tempdir().unwrap());
    let shop = Processes::start(options(&connections, logs.path())).await.unwrap();
    let payment = shop.pids()[payment::ROLE].to_string();
    assert!(Command::new("kill").args(["-9", &payment]).status().unwrap().success());
    let dead = soon(PATIENCE, || Some(shop.dead()).filter(|dead| !dead.is_empty()));
    assert!(dead.len() == 1 && dead[0].starts_with("payment ended by itself (signal: 9"), "{dead:?}");
    assert_eq!(serving(&connections.namespace), shop::ROLES.len() - 1);
    drop(shop);
    assert_eq!(serving(&connections.namespace), 0);
}

#[tokio::test]
async fn a_shop_that_cannot_start_says_why_and_leaves_nothing_behind() {
    let _one = ONE_SHOP.lock().await;
    let borrowed = servers::for_test().unwrap();
    let mut connections = with_own_namespace(&borrowed.connections);
    let address = connections.postgres.rsplit_once('@').unwrap().1;
    connections.postgres = format!("postgres://shop:hunter2@{address}");
    let logs = tempfile::tempdir().unwrap();
    let why = Processes::start(options(&connections, logs.path())).await.err().unwrap().to_string();
    assert!(why.contains("ended by itself (exit status: 115): serve "), "{why}");
    assert!(why.contains("authentication failed") && !why.contains("hunter2"), "{why}");
    assert_eq!(serving(&connections.namespace), 0);
}

/// What the stand-in needs to know: URLs and namespace, then where logs go.
const STAND_IN: [&str; 5] =
    ["STAND_IN_POSTGRES", "STAND_IN_NATS", "STAND_IN_REDIS", "STAND_IN_NAMESPACE", "STAND_IN_LOGS"];

/// Kills and collects it, however the test ends.
struct Parent(Child);

impl Drop for Parent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_roles_go_when_whoever_put_them_up_is_killed() {
    let _one = ONE_SHOP.blocking_lock();
    let borrowed = servers::for_test().unwrap();
    let (connections, logs) = (with_own_namespace(&borrowed.connections), tempfile::tempdir().unwrap());
    let Servers { postgres, nats, redis, namespace, .. } = connections;
    let told = [postgres, nats, redis, namespace.clone(), logs.path().display().to_string()];
    let parent = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "processes::puts_up_a_shop_if_told_to_stand_in"])
        .envs(STAND_IN.into_iter().zip(told))
        .stdout(Stdio::null())
        .spawn();
    let mut parent = Parent(parent.unwrap());
    let is_up = || logs.path().join("up").exists().then_some(());
    soon(PATIENCE, || is_up().or_else(|| parent.0.try_wait().unwrap().map(|end| panic!("{end}"))));
    assert_eq!(serving(&namespace), shop::ROLES.len());
    drop(parent);
    soon(PATIENCE, || (serving(&namespace) == 0).then_some(()));
}

/// No test but the process that another test kills.
#[tokio::test]
async fn puts_up_a_shop_if_told_to_stand_in() {
    let told = STAND_IN.map(|name| std::env::var(name).unwrap_or_default());
    let [postgres, nats, redis, namespace, logs] = told;
    if logs.is_empty() {
        return;
    }
    let (create, batch_max, hazards) = (true, BATCH_MAX, Hazards::default());
    let servers = Servers { postgres, nats, redis, namespace, create, batch_max, hazards };
    let _shop = Processes::start(options(&servers, Path::new(&logs))).await.unwrap();
    fs::write(Path::new(&logs).join("up"), "").unwrap();
    std::future::pending().await
}
