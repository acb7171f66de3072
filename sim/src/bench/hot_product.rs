//! One product that everybody wants, through the inventory service's gRPC port on PostgreSQL: what waits
//! together decided together, against one transaction for each with an optimistic lock.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use chassis::auth::Keys;
use chassis::clock::SystemClock;
use chassis::grpc::{Identity, PeerChannel};
use chassis::net::SystemNetwork;
use chassis::rng::{Seeds, Stream};
use chassis::{Env, Instruments};
use futures_util::future::join_all;
use kernel::OrderId;
use proto::inventory::v1::inventory_service_client::InventoryServiceClient;
use proto::inventory::v1::reserve_stock_response::Outcome;
use proto::inventory::v1::{Line, ReserveStockRequest, RestockRequest};
use rand::Rng as _;
use sqlx::{Connection as _, PgConnection};
use store::Servers;
use store::postgres::POOL;
use tokio::time::{Duration, Instant};
use uuid::Uuid;

use super::{Comparison, Round, Side, VERSION, cpu_ratio, cpu_us, ratio, since};
use load::recorder::Latency;
use shop::machine::{self, Meter, Part};
use world::infra::local::PrivateServers;
use world::processes::{Processes, ProcessesOptions};
use world::secret::Secret;

const PRODUCT: i64 = 1;
/// The most that one restock brings.
const DELIVERY: u32 = 1_000_000;
/// More than any side sells in a second.
const SOLD_A_SECOND: u32 = 50_000;
const DEADLINE: Duration = Duration::from_secs(10);
/// A figure from the stock cache is that old at most.
const CACHE_TTL: Duration = Duration::from_millis(1);
/// How long the relay may take for the events of a turn.
const DRAIN_DEADLINE: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(100);
/// One in so many may stay without an answer.
const FAILED_SHARE: u64 = 100;
const STRATEGIES: [&str; 2] = ["batched", "optimistic"];

/// How long and how often.
#[derive(Debug, Clone, Copy)]
pub struct Extent {
    /// Turns of each side.
    pub rounds: u32,
    /// Of each turn.
    pub seconds: u32,
    /// Who each have one order under way at a time.
    pub buyers: u32,
}

/// Measures both, with logs in `folder`; `tell` is given a line after each turn.
///
/// # Errors
/// One line: what could not be started, or does not answer.
pub async fn compare(
    extent: Extent,
    folder: &Path,
    command: String,
    commit: Option<String>,
    mut tell: impl FnMut(String),
) -> Result<Comparison, String> {
    let servers = PrivateServers::start(None).await?;
    let secret = Secret::fresh()?;
    let mut contenders = Vec::new();
    for strategy in STRATEGIES {
        contenders.push(Contender::start(strategy, &servers, folder, &secret, extent).await?);
    }
    for number in 1..=extent.rounds {
        // Whoever comes second is not always the same.
        contenders.rotate_left(usize::from(number > 1));
        for contender in &mut contenders {
            let round = contender.turn(extent).await?;
            tell(format!(
                "round {number} of {}: {:<10} {:>6.0} a second, p99 {:.1} ms, {} failed",
                extent.rounds, contender.strategy, round.per_second, round.p99_ms, round.failed
            ));
            contender.rounds.push(round);
        }
    }
    contenders.sort_by_key(|contender| STRATEGIES.iter().position(|strategy| *strategy == contender.strategy));
    let (mut sides, mut broken) = (Vec::new(), Vec::new());
    for mut contender in contenders {
        broken.extend(contender.judge().await.into_iter().map(|why| format!("{}: {why}", contender.strategy)));
        sides.push(Side::of(contender.strategy, settings(contender.strategy), contender.rounds));
    }
    let sides: [Side; 2] = sides.try_into().map_err(|_| "there are two sides".to_owned())?;
    let [first, second] = &sides;
    let ratio = ratio(first.per_second, second.per_second);
    let Extent { seconds, buyers, .. } = extent;
    Ok(Comparison {
        version: VERSION,
        name: "hot-product",
        about: format!(
            "{buyers} buyers want one product, each one unit of it again and again, {seconds} s a round, through the \
             inventory service's gRPC port. The service is a process of its own with a pool of {POOL} connections to a \
             private PostgreSQL that waits for the disk. Every answer is a reservation that is committed, with its \
             idempotency key and its event; a turn begins when all events of the one before are published, and CPU is \
             counted until then. `batched` decides whatever waits together, in two statements. `optimistic` is the obvious \
             way: each reservation reads the product, updates it if its version is still the same, and commits, in a \
             transaction of its own that is tried again when somebody was faster."
        ),
        machine: machine::machine(),
        commit,
        command,
        unit: "reservations",
        cpu_ratio: cpu_ratio(&sides),
        sides,
        ratio,
        broken,
        doubtful: Vec::new(),
    })
}

fn settings(strategy: &str) -> BTreeMap<String, String> {
    let cache_ttl = format!("{}ms", CACHE_TTL.as_millis());
    let settings = [("inventory.strategy", strategy.to_owned()), ("inventory.cache_ttl", cache_ttl)];
    settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// One side: an inventory service with databases of its own, and what came of its turns.
struct Contender {
    strategy: &'static str,
    processes: Processes,
    /// Its database.
    books: PgConnection,
    client: InventoryServiceClient<PeerChannel>,
    parts: Vec<(String, Part)>,
    ids: Stream,
    /// That there were in the beginning.
    units: i64,
    acknowledged: u64,
    unknown: u64,
    rounds: Vec<Round>,
}

impl Contender {
    async fn start(
        strategy: &'static str,
        servers: &PrivateServers,
        folder: &Path,
        secret: &Secret,
        extent: Extent,
    ) -> Result<Self, String> {
        let connections = Servers { namespace: strategy.to_owned(), ..servers.connections() };
        let options = ProcessesOptions {
            program: None,
            servers: connections.clone(),
            roles: vec![inventory::ROLE],
            settings: settings(strategy),
            logs: folder.join(strategy),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            secret: secret.clone(),
            seed: None,
            chaos: false,
            crash: None,
            instruments: Instruments::On,
        };
        let processes = Processes::start(options).await.map_err(|error| error.to_string())?;
        let (client, ids) = client(&processes, secret.keys()?)?;
        let own = servers.with(|servers| {
            [&servers.postgres, &servers.nats, &servers.redis]
                .map(|server| server.pid().map(|pid| (server.name().to_owned(), Part::Tree(pid))))
        });
        let inventory = processes.pids().into_iter().map(|(role, pid)| (role.to_owned(), Part::Process(pid)));
        let buyers = machine::this_thread().map(|thread| ("buyers".to_owned(), Part::Thread(thread)));
        let parts = inventory.chain(own.into_iter().flatten()).chain(buyers).collect();
        let deliveries = 1 + extent.rounds * extent.seconds / (DELIVERY / SOLD_A_SECOND);
        let units = i64::from(deliveries) * i64::from(DELIVERY);
        let (acknowledged, unknown, rounds) = (0, 0, Vec::new());
        let books = books_of(&connections).await?;
        let mut contender =
            Self { strategy, processes, books, client, parts, ids, units, acknowledged, unknown, rounds };
        for number in 1..=deliveries {
            let restock_id = format!("bench-{number}");
            let request = RestockRequest { product_id: PRODUCT, quantity: DELIVERY, restock_id };
            let restocked = contender.client.restock(request).await;
            restocked.map_err(|status| format!("{strategy}: restock: {}", status.message()))?;
        }
        Ok(contender)
    }

    /// Lets the buyers buy for as long as a turn lasts.
    async fn turn(&mut self, extent: Extent) -> Result<Round, String> {
        let mut meter = Meter::new(self.parts.clone());
        let before = cpu_us(&mut meter);
        let began = Instant::now();
        let until = began + Duration::from_secs(extent.seconds.into());
        let buyers: Vec<Buyer> = (0..extent.buyers)
            .map(|_| Buyer {
                client: self.client.clone(),
                // Each with a stream of its own: who comes first changes nobody's orders.
                ids: Seeds::from_number(self.ids.next_u64()).stream("orders"),
                latency: Latency::default(),
                failed: 0,
            })
            .collect();
        let mut latency = Latency::default();
        let mut failed = 0;
        for buyer in join_all(buyers.into_iter().map(|buyer| buyer.buy(until))).await {
            latency.add(&buyer.latency);
            failed += buyer.failed;
        }
        let seconds = began.elapsed().as_secs_f64();
        self.acknowledged += latency.count();
        self.unknown += failed;
        // What was put off is this turn's work too, and not the other's.
        self.drained().await?;
        Ok(Round::of(seconds, &latency, failed, &since(&before, cpu_us(&mut meter))))
    }

    /// Waits until all events are published.
    async fn drained(&mut self) -> Result<(), String> {
        let began = Instant::now();
        loop {
            let left = sqlx::query_scalar(UNPUBLISHED).fetch_one(&mut self.books).await;
            let left: bool = left.map_err(|error| format!("{}: {}", self.strategy, store::postgres::plain(&error)))?;
            if !left {
                return Ok(());
            }
            if began.elapsed() > DRAIN_DEADLINE {
                return Err(format!("{}: events are unpublished after {DRAIN_DEADLINE:?}", self.strategy));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn read(&mut self) -> Result<Books, String> {
        let row = sqlx::query_as(BOOKS).bind(PRODUCT).fetch_one(&mut self.books).await;
        let (available, held, reserved, keys, events) =
            row.map_err(|error| format!("{}: its books: {}", self.strategy, store::postgres::plain(&error)))?;
        Ok(Books { available, held, reserved, keys, events })
    }

    /// What is wrong, if something is: every unit that was promised is held, with its key and its event, and none
    /// besides.
    async fn judge(&mut self) -> Vec<String> {
        let mut wrong = self.processes.dead();
        if self.acknowledged == 0 || self.unknown > self.acknowledged / FAILED_SHARE {
            wrong.push(format!("{} reservations, and {} without an answer", self.acknowledged, self.unknown));
        }
        let books = match self.read().await {
            Ok(books) => books,
            Err(why) => return wrong.into_iter().chain([why]).collect(),
        };
        let promised = i64::try_from(self.acknowledged).unwrap_or(i64::MAX);
        let most = promised.saturating_add(i64::try_from(self.unknown).unwrap_or(i64::MAX));
        let Books { available, held, reserved, keys, events, .. } = books;
        let told = [reserved, keys, events].iter().all(|count| *count == held);
        if available + held != self.units || !told || !(promised..=most).contains(&held) {
            wrong.push(format!(
                "{promised} units were promised (and {} asked for in vain); {held} are held, for {reserved} \
                 reservations, {keys} keys and {events} events; {available} are left of {}",
                self.unknown, self.units
            ));
        }
        wrong
    }
}

/// What there is of the product, and of what tells of it.
struct Books {
    available: i64,
    held: i64,
    reserved: i64,
    keys: i64,
    events: i64,
}

const BOOKS: &str = "SELECT s.available, s.reserved,
        (SELECT coalesce(sum(quantity), 0)::bigint FROM reservations WHERE state = 'held'),
        (SELECT count(*) FROM operations WHERE operation = 'reserve' AND outcome = 'reserved'),
        (SELECT count(*) FROM inventory_events WHERE kind = 'StockReserved')
    FROM stock AS s WHERE s.product_id = $1";
const UNPUBLISHED: &str = "SELECT EXISTS (SELECT FROM inventory_events WHERE published_at IS NULL)";

async fn books_of(servers: &Servers) -> Result<PgConnection, String> {
    let options = store::postgres::options(&servers.postgres).map_err(|error| error.to_string())?;
    let options = options.database(&servers.database(inventory::DATABASE));
    PgConnection::connect_with(&options).await.map_err(|error| store::postgres::plain(&error))
}

/// Calls in the name of the order service, which is who reserves.
fn client(processes: &Processes, keys: Keys) -> Result<(InventoryServiceClient<PeerChannel>, Stream), String> {
    let seeds = Seeds::from_entropy().map_err(|error| format!("no randomness: {error}"))?;
    let ids = seeds.stream("orders");
    let env = Env {
        role: order::ROLE,
        clock: Arc::new(SystemClock),
        tracer: Instruments::On.tracer(&seeds),
        seeds,
        network: Arc::new(SystemNetwork),
        peers: Arc::new(processes.addresses.clone()),
        ops: Arc::default(),
        chaos: false,
        keys,
        metrics: Instruments::On.metrics(order::ROLE),
        shutdown: Default::default(),
    };
    let channel = chassis::grpc::channel(&env, inventory::ROLE, Identity::Service(env.clone()), DEADLINE);
    Ok((InventoryServiceClient::new(channel.map_err(|error| error.to_string())?), ids))
}

/// Somebody who orders a unit, hears of it, and orders the next one.
struct Buyer {
    client: InventoryServiceClient<PeerChannel>,
    ids: Stream,
    latency: Latency,
    failed: u64,
}

impl Buyer {
    async fn buy(mut self, until: Instant) -> Self {
        while Instant::now() < until {
            let mut id = [0; 16];
            self.ids.fill_bytes(&mut id);
            let order_id = OrderId::from_uuid(Uuid::from_bytes(id)).to_string();
            let request = ReserveStockRequest { order_id, lines: vec![Line { product_id: PRODUCT, quantity: 1 }] };
            let began = Instant::now();
            let answer = self.client.reserve_stock(request).await.map(|answer| answer.into_inner().outcome);
            match answer {
                Ok(Some(Outcome::Reserved(_))) => self.latency.record(began.elapsed()),
                _ => self.failed += 1,
            }
        }
        self
    }
}
