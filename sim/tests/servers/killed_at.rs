//! One role of a shop on servers dies of `kill -9` at a chosen moment while the others stay; it is started again,
//! as whoever supervises it would, and what was acknowledged ends, once.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use audit::books::{Books, InFlight};
use audit::shelf::BookShelf;
use chassis::net::SystemNetwork;
use shop::fault::crash::CrashAt;
use shop::http::HttpClient;
use world::processes::{Processes, ProcessesOptions};

use crate::harness::{Bench, PATIENCE, TINY};
use crate::processes::{ONE_SHOP, options, with_own_namespace};
use crate::rush::{Regrets, Rush, witness};

/// A third of the cards are declined, a charge takes long enough for customers who regret to come in the middle of it,
/// and who is gone is soon noticed. A busy machine is no outage: nothing is given up before it comes to its moment
/// because the provider's answer is late.
const SETTINGS: [(&str, &str); 9] = [
    ("acquirer.decline_rate", "0.3"),
    ("acquirer.latency", "150ms..450ms"),
    ("payment.provider_timeout", "10m"),
    ("payment.breaker_window", "10000"),
    ("payment.breaker_minimum_calls", "10000"),
    ("payment.charge_window", "2s"),
    ("order.step_timeout", "1s"),
    ("order.lease", "1500ms"),
    ("gateway.rate_limit_per_minute", "6000"),
];

/// The case, and the moment to die at, with the number of the passage.
const MOMENTS: [(&str, &str); 9] = [
    ("the order is written down, nobody has been asked", "order_db.create_order.after:5"),
    ("the units are held, the order does not know", "inventory.serve.ReserveStock.after:5"),
    ("the charge is made, the payment has no result", "payment.call.acquirer.Charge.after:5"),
    ("the payment has its result, the order does not know", "order.call.payment.ProcessPayment.after:5"),
    ("the charge is made and never answered", "acquirer.serve.Charge.after:5"),
    ("the provider has voided, the payment does not know", "payment.call.acquirer.Void.after:2"),
    ("the money is seen to, the order does not know", "order.call.payment.RefundPayment.after:2"),
    ("the units are back, the order does not know", "inventory.serve.ReleaseStock.after:3"),
    ("events stand in the log, their rows do not say so", "order.log.publish.after:5"),
];

/// More of them mean that the point is not passed.
const ORDERS_MAX: usize = 1_000;
const CUSTOMERS: usize = 12;

/// How a role was started, as the machine tells.
struct Started {
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    ops: String,
}

impl Started {
    fn find(shop: &Processes, role: &str, pid: u32) -> Self {
        let parts = |file: &str| {
            let text = fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap();
            text.split_terminator('\0').map(str::to_owned).collect::<Vec<_>>()
        };
        let variable = |text: String| text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
        let environment = parts("environ").into_iter().filter_map(variable).collect();
        Self { arguments: parts("cmdline"), environment, ops: shop.ops[role].clone() }
    }

    /// Starts it once more, where it was, and waits until it is ready.
    async fn again(&self, log: &Path, crash: Option<&str>) -> Again {
        let log = File::options().append(true).create(true).open(log).unwrap();
        let child = Command::new(&self.arguments[0])
            .args(&self.arguments[1..])
            .args(crash.map(|point| format!("--crash-at={point}")))
            .env_clear()
            .envs(self.environment.iter().cloned())
            // It ends with this process.
            .stdin(Stdio::piped())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        let again = Again(child.unwrap());
        let client = HttpClient::new(Arc::new(SystemNetwork), self.ops.clone());
        let is_ready = async || {
            let answer = client.get("/readyz", None, Duration::from_millis(500)).await;
            answer.is_ok_and(|answer| answer.status == 200)
        };
        until("the role is ready", PATIENCE, is_ready).await;
        again
    }
}

/// A role that this test has started; killed when that is dropped.
struct Again(Child);

impl Drop for Again {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn until(what: &str, within: Duration, mut is_so: impl AsyncFnMut() -> bool) {
    let all = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(within, all).await.is_ok(), "not within {within:?}: {what}");
}

/// Has customers order until the role is dead; every other one takes back what they ordered.
async fn until_dead(rush: Rush, round: usize, role: &mut Again) {
    let customers = rush.customers(round, CUSTOMERS, Regrets::EveryOther);
    let before = rush.placed();
    until("it dies where it was to die", PATIENCE, async || {
        let orders = rush.placed() - before;
        assert!(orders < ORDERS_MAX, "{orders} orders have not taken it to where it was to die");
        role.0.try_wait().unwrap().is_some()
    })
    .await;
    let ended = role.0.wait().unwrap();
    assert_eq!(ended.signal(), Some(9), "{ended}");
    rush.end(customers).await;
}

async fn at_rest(books: &dyn Books, wanted: impl Fn(InFlight) -> bool) {
    until("every order has ended", PATIENCE, async || wanted(books.in_flight().await.unwrap())).await;
}

#[tokio::test]
async fn a_role_killed_at_a_chosen_moment_and_started_again_ends_every_acknowledged_order_once() {
    let _one = ONE_SHOP.lock().await;
    let borrowed = servers::for_test().unwrap();
    let connections = with_own_namespace(&borrowed.connections);
    let bench = Bench::new(TINY);
    let witness = witness(&bench);
    let usual = options(&connections, &bench.path("logs"));
    let mut settings = usual.settings.clone();
    settings.extend(SETTINGS.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let shop = Processes::start(ProcessesOptions { settings, chaos: true, ..usual }).await.unwrap();
    let books = BookShelf::Servers(connections.clone()).open().await.unwrap();
    let rush = Rush::at(&shop.addresses[gateway::ROLE], &witness).await;

    let mut roles: Vec<(&str, Started, Again)> = Vec::new();
    for (round, (moment, point)) in MOMENTS.into_iter().enumerate() {
        let role = point.parse::<CrashAt>().unwrap().role();
        let log = bench.path(&format!("logs/{role}.again.log"));
        let before = roles.iter().position(|(name, ..)| *name == role).map(|index| roles.swap_remove(index));
        let started = match before {
            Some((_, started, again)) => {
                drop(again);
                started
            }
            None => {
                let pid = shop.pids()[role];
                let started = Started::find(&shop, role, pid);
                assert!(Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
                // Its ports are free when it is gone, and not when it is told to go.
                let is_gone = async || shop.dead().iter().any(|line| line.starts_with(role));
                until("it is gone", PATIENCE, is_gone).await;
                started
            }
        };
        let mut doomed = started.again(&log, Some(point)).await;
        let before = rush.acknowledged();
        until_dead(rush.again(), round, &mut doomed).await;
        let caught = books.in_flight().await.unwrap().orders;
        assert!(rush.acknowledged() > before && caught > 0, "{moment}: nothing was in flight");
        roles.push((role, started, doomed));
        let (_, started, _) = roles.last().unwrap();
        let again = started.again(&log, None).await;
        roles.last_mut().unwrap().2 = again;
        at_rest(&*books, |found| InFlight { unacknowledged: 0, ..found }.is_quiet()).await;
        println!("{moment} ({point}): {caught} in flight; all ended");
    }
    // What dead consumers had been given is given out again.
    at_rest(&*books, InFlight::is_quiet).await;
    let (postgres, nats, redis) = (&connections.postgres, &connections.nats, &connections.redis);
    let urls = [("DATABASE_URL", postgres.as_str()), ("NATS_URL", nats), ("REDIS_URL", redis)];
    let audit = ["audit", "--infra", "external", "--namespace", &connections.namespace, "--witness", "orders.jsonl"];
    bench.shopctl_with(&urls, &audit).exits(0);
    drop(roles);
    shop.stop();
}
