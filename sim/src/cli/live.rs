//! One run in real time: the shop on its threads, the generator on its own, the watcher on its own, and
//! this thread for whoever follows it.

use std::cell::RefCell;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;

use chassis::Instruments;
use store::Servers;
use tokio::sync::{Notify, mpsc};
use tokio::time::Duration;
use tokio_util::sync::CancellationToken;

use super::deaths::Deaths;
use super::git::commit;
use super::pictures::Pictures;
use super::signals::{self, Asked, Signals};
use crate::tui::{Dashboard, Shown};
use audit::shelf::BookShelf;
use audit::{export, manifest};
use experiment::report::Summary;
use experiment::report::exit::{ExitCode, Failure};
use experiment::report::summary::Circumstances;
use experiment::run::glance::Control;
use experiment::run::progress::{Event, Sink, printer};
use experiment::run::watch::Watch;
use experiment::run::{Conducted, Experiment, Unfinished, Watcher, conduct};
use scenario::Scenario;
use shop::machine;
use shop::machine::{Holdings, Meter};
use world::Admin;
use world::infra::{Ground, InfraArgs};
use world::plan::{Plan, Shop};
use world::secret::Secret;

/// Where the books of a run are.
const DATA: &str = "data";
/// How often processes are looked at: whether they are there, and for the memory that they hold.
const LOOK: Duration = Duration::from_secs(2);
/// Wishes of whoever watches that may wait.
const CONTROLS_MAX: usize = 64;

/// What a run stands on, and who may do anything there.
pub struct Standing {
    pub infra: InfraArgs,
    pub admin: Admin,
    /// Without them nobody watches either.
    pub instruments: Instruments,
    /// Whether the books of private servers, which go with the run, are copied into its folder.
    pub keeps_books: bool,
}

/// How a person follows a run.
pub enum Watched {
    Live(Box<Dashboard>),
    /// Line by line.
    InLines,
    /// By a program.
    By(Sink),
}

/// Runs the scenario on this machine and judges it. `keep` is given the verdict as soon as there is one,
/// before anybody has looked at it: whoever looks may never come back.
pub async fn run(
    scenario: &Scenario,
    folder: &Path,
    ground: &Standing,
    watched: Watched,
    pictures: &Pictures,
    keep: impl FnOnce(&Summary),
) -> Shown {
    let (ask, controls) = mpsc::channel(CONTROLS_MAX);
    let kept = |outcome: Result<Summary, Failure>| outcome.inspect(keep);
    let dashboard = match watched {
        Watched::Live(dashboard) => dashboard,
        watched => {
            let sink = if let Watched::By(sink) = watched { sink } else { printer() };
            let outcome = in_real_time(scenario, folder, ground, pictures.beside(sink), controls).await;
            return Shown { outcome: kept(outcome), no_more: false };
        }
    };
    let sink = pictures.beside(dashboard.sink());
    let (known, ended) = (RefCell::new(None), Notify::new());
    let running = async {
        let outcome = kept(in_real_time(scenario, folder, ground, sink, controls).await);
        *known.borrow_mut() = Some(outcome.clone());
        ended.notify_one();
        outcome
    };
    // While the load runs a signal stops it; while the verdict is shown it ends the showing.
    let called_away = async {
        ended.notified().await;
        match Signals::listen() {
            Ok(mut signals) => drop(signals.next().await),
            Err(_) => std::future::pending().await,
        }
    };
    let mut hangup = signals::hangup().ok().flatten();
    let hung_up = signals::hung_up(&mut hangup);
    let mut running = pin!(running);
    tokio::select! {
        biased;
        shown = dashboard.run(ask, running.as_mut()) => shown,
        // The terminal was closed: nobody looks any more, and the load has been told to stop.
        () = hung_up => {
            let outcome = match known.take() {
                Some(outcome) => outcome,
                None => running.await,
            };
            Shown { outcome, no_more: true }
        }
        () = called_away => {
            let outcome = known.take().unwrap_or_else(|| Err(stopped_at_once()));
            Shown { outcome, no_more: true }
        }
    }
}

async fn in_real_time(
    scenario: &Scenario,
    folder: &Path,
    standing: &Standing,
    sink: Sink,
    asked: mpsc::Receiver<Control>,
) -> Result<Summary, Failure> {
    let (tell, controls) = mpsc::channel(CONTROLS_MAX);
    let mut signals = Signals::listen()?;
    let mut asked = asked;
    let preparing =
        async { Ground::prepare(&standing.infra, None).await.map_err(|why| Failure::shop(format!("error: {why}"))) };
    let ground = unless_asked(&mut signals, &mut asked, preparing).await?;
    if let Ground::Local { private, .. } = &ground {
        sink(&Event::Note(format!("servers up in {} ms", private.started_in.as_millis())));
    }
    if let Ground::External(servers) = &ground {
        // Before anything is written there. Books that cannot be read may not be there yet: they are read again.
        let shelf = BookShelf::Servers(Servers { create: false, ..servers.clone() });
        if let Ok(Some(order)) = any_order(&shelf).await {
            return Err(not_empty(&order));
        }
    }
    let shop = unless_asked(&mut signals, &mut asked, put_up(scenario, folder, &ground, standing)).await;
    let shop = shop.map_err(|why| if why.code == ExitCode::Stopped { why } else { why.after(&ground.dead()) })?;
    if matches!(ground, Ground::External(_)) {
        let found = any_order(&shop.surroundings().books).await;
        if let Some(order) = found.map_err(|why| Failure::shop(format!("error: the books: {why}")))? {
            return Err(not_empty(&order));
        }
    }
    let mut meter = Meter::new(shop.parts().into_iter().chain(ground.parts()));
    let holdings = Holdings {
        parts: shop.parts().into_iter().chain(ground.parts()).collect(),
        folders: ground.folders().unwrap_or_else(|| vec![(DATA.to_owned(), folder.join(DATA))]),
    };
    sink(&Event::ShopUp { took: shop.started_in(), holdings: Arc::new(holdings) });
    let stop = CancellationToken::new();
    let record = folder.join("orders.jsonl");
    let record =
        File::create(&record).map_err(|error| Failure::invalid(format!("error: {}: {error}", record.display())))?;
    let experiment = Experiment {
        scenario: scenario.clone(),
        admin: standing.admin.clone(),
        record: Box::new(record),
        manifest: Some(folder.join(manifest::FILE)),
        sink: sink.clone(),
        controls,
        watcher: (standing.instruments == Instruments::On).then(|| Box::new(watch_on_its_own_thread) as Watcher),
        stop: stop.clone(),
    };
    let hands = Hands { stop, tell, asked };
    let mut deaths = Deaths::of(&ground, &shop);
    let conducted = on_its_own_thread(&shop, experiment, hands, &mut signals, &mut meter, &mut deaths, &sink).await;
    let used = meter.used();
    let startup_ms = shop.started_in().as_secs_f64() * 1e3;
    announce(deaths.news(), &sink);
    let died = deaths.all();
    shop.stop();
    let conducted = conducted.map_err(|why| if why.code == ExitCode::Stopped { why } else { why.after(&died) });
    // Of a server that is gone nothing can be copied, which is said already.
    if standing.keeps_books && (conducted.is_ok() || died.is_empty()) {
        keep_books(&ground, folder, &conducted, &sink).await;
    }
    let (conducted, generator_cpu_us) = conducted?;
    let around = Circumstances {
        durability: ground.durability().into(),
        commit: commit(),
        machine: machine::machine(),
        startup_ms,
        used,
        died,
        generator_cpu_us,
        rss_mb: machine::peak_rss_mb(),
    };
    Ok(Summary::of(scenario, &conducted, ground.world(), around))
}

/// Does what comes before the load, unless a signal or whoever looks on wants to be gone.
async fn unless_asked<T>(
    signals: &mut Signals,
    asked: &mut mpsc::Receiver<Control>,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let gone = async {
        while let Some(control) = asked.recv().await {
            if matches!(control, Control::StopGently | Control::StopNow) {
                return;
            }
        }
        std::future::pending().await
    };
    tokio::select! {
        biased;
        () = gone => Err(stopped_at_once()),
        done = signals.unless_asked(work) => done,
    }
}

fn announce(news: Vec<String>, sink: &Sink) {
    news.into_iter().for_each(|why| sink(&Event::Note(why)));
}

/// An order that is there already.
async fn any_order(shelf: &BookShelf) -> Result<Option<String>, String> {
    let orders = shelf.open().await?.orders("", 1).await.map_err(|error| error.to_string())?;
    Ok(orders.into_iter().next().map(|order| order.row.id))
}

/// What a run orders has to be new: the same keys in a shop that has their orders would place nothing.
fn not_empty(order: &str) -> Failure {
    Failure::shop(format!(
        "error: the books: there are orders already (such as {order}); a run needs an empty shop: choose another \
         --namespace"
    ))
}

/// Private servers go with the run; their books stay in its folder, unless the user wants to be gone. That
/// they cannot be kept hides no verdict.
async fn keep_books<T>(ground: &Ground, folder: &Path, conducted: &Result<T, Failure>, sink: &Sink) {
    let stopped = conducted.as_ref().is_err_and(|failure| failure.code == ExitCode::Stopped);
    if let (Ground::Local { private, .. }, false) = (ground, stopped)
        && let Err(why) = export::export(&private.connections(), &folder.join(DATA)).await
    {
        sink(&Event::Note(why));
    }
}

async fn put_up(scenario: &Scenario, folder: &Path, ground: &Ground, standing: &Standing) -> Result<Shop, Failure> {
    let data = folder.join(DATA);
    fs::create_dir_all(&data).map_err(|error| Failure::invalid(format!("error: {}: {error}", data.display())))?;
    let plan = Plan {
        settings: standing.admin.known_to(scenario.shop.settings.clone()),
        folder: data,
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        seed: Some(scenario.seed),
        secret: Secret::fresh().map_err(|why| Failure::shop(format!("error: {why}")))?,
        chaos: true,
        crash: None,
        servers: ground.servers(),
        processes: standing.infra.processes,
        instruments: standing.instruments,
    };
    Shop::put_up(plan).await.map_err(|error| Failure::shop(format!("error: {error}")))
}

/// The generator has a thread of its own, so that the shop's work and its do not queue behind each
/// other. This one waits, and turns Ctrl-C into a gentle stop, a second one into an end at once.
async fn on_its_own_thread(
    shop: &Shop,
    experiment: Experiment,
    mut hands: Hands,
    signals: &mut Signals,
    meter: &mut Meter,
    deaths: &mut Deaths<'_>,
    sink: &Sink,
) -> Result<(Conducted, Option<u64>), Failure> {
    let surroundings = shop.surroundings().clone();
    let (done, mut outcome) = tokio::sync::oneshot::channel();
    let generator = std::thread::Builder::new().name("generator".into()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let conducted = match runtime {
            Ok(runtime) => runtime.block_on(conduct(surroundings, experiment)),
            Err(error) => Err(Unfinished::Failed(format!("no runtime for the generator: {error}"))),
        };
        let cpu = machine::this_thread().and_then(|thread| machine::cpu_us_of_thread(&thread));
        // Whoever waited has given up; nothing is lost by that.
        let _ = done.send((conducted, cpu));
    });
    generator.map_err(|error| Failure::shop(format!("error: no thread for the generator: {error}")))?;
    let mut interrupts = 0;
    let mut looks = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            biased;
            ended = &mut outcome => {
                let (conducted, cpu) = ended.map_err(|_| Failure::shop("error: the generator's thread died"))?;
                return conducted.map(|conducted| (conducted, cpu)).map_err(Failure::from);
            }
            asked = signals.next() => {
                interrupts += u32::from(asked == Asked::Stop);
                hands.stop.cancel();
                if interrupts > 1 {
                    return Err(stopped_at_once());
                }
                sink(&Event::Note("stopping gently; Ctrl-C again stops at once".into()));
            }
            _ = looks.tick() => {
                meter.look();
                announce(deaths.news(), sink);
            }
            Some(control) = hands.asked.recv() => match control {
                Control::StopGently => hands.stop.cancel(),
                Control::StopNow => return Err(stopped_at_once()),
                other => if hands.tell.try_send(other).is_err() {
                    sink(&Event::Note("the load does not listen any more".into()));
                }
            }
        }
    }
}

/// What whoever watches can do: stop the load, and ask for what the load itself has to do.
struct Hands {
    stop: CancellationToken,
    tell: mpsc::Sender<Control>,
    asked: mpsc::Receiver<Control>,
}

fn stopped_at_once() -> Failure {
    Failure { code: ExitCode::Stopped, message: "stopped at once; there is no verdict".into() }
}

/// Watching must not hold the load up.
fn watch_on_its_own_thread(watch: Watch) {
    let look_on = move || match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(watch.run()),
        Err(error) => tracing::error!(%error, "nobody watches: there is no runtime for it"),
    };
    if let Err(error) = std::thread::Builder::new().name("watcher".into()).spawn(look_on) {
        tracing::error!(%error, "nobody watches: there is no thread for it");
    }
}
