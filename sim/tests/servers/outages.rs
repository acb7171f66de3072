//! Servers that go away while customers order: everything is slower, nothing is wrong.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use chassis::Instruments;
use eventlog::EventLog;
use eventlog::jetstream::JetStreamLog;
use experiment::run::progress::{Event, Sink};
use experiment::run::{Conducted, Experiment, conduct};
use scenario::Scenario;
use servers::LocalServers;
use tokio_util::sync::CancellationToken;
use world::Admin;
use world::infra::local::PrivateServers;
use world::plan::{Plan, Shop};
use world::secret::Secret;

/// More than two hundred orders, a part of which is declined, sold out or cancelled by its client. Customers
/// wait for their answers: a slow machine takes longer, and refuses nobody for that.
const RUSH: &str = r#"
version: 1
name: rush
about: customers order while a server goes away
seed: 11
shop:
  users: 100
  catalog:
    generate: 5
    stock: 1000
    items:
      - { sku: LAMP, name: Lamp, price: 19.90 EUR, stock: 150 }
  settings:
    gateway.rate_limit_per_minute: 6000
    gateway.peer_timeout: 30s
    payment.provider_timeout: 60s
    payment.breaker_slow_call: 60s
    user.argon2_memory_kib: 8
    user.argon2_iterations: 1
    acquirer.decline_rate: 0.1
    acquirer.latency: 5ms..20ms
    order.lease: 3s
load:
  buyers:
    executor: shared-iterations
    vus: 10
    iterations: 170
    journey:
      - view: any
      - think: 600ms..700ms
      - order: { items: [{ sku: LAMP, quantity: 1 }, { sku: any, quantity: 1..2 }] }
      - retry_same_key
  undecided:
    executor: shared-iterations
    vus: 4
    iterations: 60
    journey:
      - think: 700ms..800ms
      - order: { items: [{ sku: any, quantity: 1 }], wait: 0s }
      - cancel
expect:
  invariants: all
graceful_stop: 20s
quiescence_timeout: 60s
"#;

/// Unoptimised and side by side these would only show that two cores are not six.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// The witness's record, of which only the number of lines is kept; what went wrong is shown if the test fails.
struct Lines(Arc<AtomicUsize>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        text.lines().filter(|line| line.contains("\"http\":5")).for_each(|line| println!("{line}"));
        let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
        self.0.fetch_add(lines, Ordering::Relaxed);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

type Deed = Box<dyn FnOnce(&mut LocalServers) + Send>;

/// Something that is done to the servers when the clients' record has so many lines.
fn at(lines: usize, deed: impl FnOnce(&mut LocalServers) + Send + 'static) -> (usize, Deed) {
    (lines, Box::new(deed))
}

fn rush() -> Scenario {
    scenario::parse(RUSH, "rush.yaml", &[], &scenario::known()).unwrap()
}

/// Plays the rush, does the deeds in their order, and `afterwards` when the load is over.
async fn played(servers: &PrivateServers, deeds: Vec<(usize, Deed)>, afterwards: Deed) -> Conducted {
    let folder = tempfile::tempdir().unwrap();
    let (scenario, admin) = (rush(), Admin::embedded());
    let plan = Plan {
        settings: admin.known_to(scenario.shop.settings.clone()),
        folder: folder.path().to_owned(),
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        seed: Some(scenario.seed),
        secret: Secret::fresh().unwrap(),
        chaos: true,
        crash: None,
        servers: Some(servers.connections()),
        processes: false,
        instruments: Instruments::On,
    };
    let shop = Shop::put_up(plan).await.unwrap();
    let lines = Arc::new(AtomicUsize::new(0));
    let stop = CancellationToken::new();
    let (over, is_over) = mpsc::channel();
    let hands = meddle(servers.clone(), lines.clone(), deeds, afterwards, is_over);
    let sink: Sink = Arc::new(move |event| {
        if let Event::Settling = event {
            let _ = over.send(());
        }
    });
    let (_controls, obeyed) = tokio::sync::mpsc::channel(1);
    let experiment = Experiment {
        scenario,
        admin,
        record: Box::new(Lines(lines)),
        manifest: None,
        sink,
        controls: obeyed,
        watcher: None,
        stop,
    };
    let conducted = conduct(shop.surroundings().clone(), experiment).await.unwrap();
    hands.join().unwrap();
    shop.stop();
    conducted
}

#[expect(clippy::disallowed_methods, reason = "the hand that breaks things is nobody's task")]
fn meddle(
    servers: PrivateServers,
    lines: Arc<AtomicUsize>,
    deeds: Vec<(usize, Deed)>,
    afterwards: Deed,
    is_over: mpsc::Receiver<()>,
) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        for (due, deed) in deeds {
            while lines.load(Ordering::Relaxed) < due {
                assert!(is_over.try_recv().is_err(), "the load was over before it had {due} lines");
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            servers.with(deed);
        }
        is_over.recv().unwrap();
        servers.with(afterwards);
    })
}

fn nothing_is_wrong(conducted: &Conducted) {
    let broken: Vec<_> = conducted.audit.findings.iter().filter(|finding| finding.violations > 0).collect();
    assert!(broken.is_empty(), "{broken:#?}");
    assert_eq!(conducted.audit.inconclusive, None);
    assert!(conducted.audit.orders > 150, "only {} orders", conducted.audit.orders);
    let rested = conducted.audit.findings.iter().find(|finding| finding.name == "nothing_in_flight");
    assert!(rested.is_none_or(|finding| finding.checked > 0));
}

#[tokio::test]
async fn a_broker_that_loses_its_store_is_refilled_and_its_consumers_go_on() {
    let _alone = ALONE.lock().await;
    let servers = PrivateServers::start(None).await.unwrap();
    let lose_the_store = |servers: &mut LocalServers| {
        servers.nats.kill();
        let store = servers.folder().join("nats/store");
        std::fs::remove_dir_all(&store).unwrap();
        servers.nats.start().unwrap();
    };
    let conducted = played(&servers, vec![at(250, lose_the_store)], Box::new(|_| {})).await;
    nothing_is_wrong(&conducted);

    let log = JetStreamLog::connect(&servers.connections(), "test").await.unwrap();
    // Sequences begin again in a new store; every order stands in it from its first event on.
    let first = log.scan(order::STREAM, 0, 1).await.unwrap().remove(0);
    assert_eq!(first.event.version, 1);
    for stream in [order::STREAM, payment::STREAM, inventory::STREAM] {
        for lag in log.lag(stream).await.unwrap() {
            assert_eq!(lag.unacknowledged, 0, "{stream}: {lag:?}");
        }
    }
}

#[tokio::test]
async fn redis_emptied_and_then_gone_makes_the_shop_slower_and_nothing_wrong() {
    let _alone = ALONE.lock().await;
    let servers = PrivateServers::start(None).await.unwrap();
    // It keeps nothing on disk: started again it is empty.
    let empty = |servers: &mut LocalServers| {
        servers.redis.kill();
        servers.redis.start().unwrap();
    };
    let stop = |servers: &mut LocalServers| servers.redis.kill();
    let back = |servers: &mut LocalServers| servers.redis.start().unwrap();
    let conducted = played(&servers, vec![at(200, empty), at(400, stop)], Box::new(back)).await;
    nothing_is_wrong(&conducted);
    let errors = conducted.totals.fates.get("errors").copied().unwrap_or_default();
    let all: u64 = conducted.totals.fates.values().sum();
    assert!(errors * 10 < all, "customers are served without Redis: {:?}", conducted.totals.fates);
}

#[tokio::test]
async fn orders_in_flight_end_after_postgresql_was_restarted_and_after_it_crashed() {
    let _alone = ALONE.lock().await;
    let servers = PrivateServers::start(None).await.unwrap();
    let restart = |servers: &mut LocalServers| servers.postgres.restart().unwrap();
    let crash = |servers: &mut LocalServers| {
        servers.postgres.kill();
        servers.postgres.start().unwrap();
    };
    let conducted = played(&servers, vec![at(200, restart), at(450, crash)], Box::new(|_| {})).await;
    nothing_is_wrong(&conducted);
}
