//! The run's event stream: what happens, as it happens. Whoever shows a run listens here.

use std::io::Write as _;
use std::sync::Arc;

use kernel::Timestamp;
use tokio::time::Duration;

use super::glance::{FaultGlance, Phase, Tick};
use shop::machine::Holdings;

/// What there is to tell.
#[derive(Debug, Clone)]
pub enum Event {
    ShopUp {
        took: Duration,
        holdings: Arc<Holdings>,
    },
    Seeded {
        users: usize,
        products: usize,
        took: Duration,
    },
    /// Times of the load count from here, which is this moment of the shop's clock.
    LoadStarts {
        at: Timestamp,
    },
    /// Twice a second while the load runs.
    Tick(Box<Tick>),
    /// A fault was injected or lifted, or could not be.
    Fault(FaultGlance),
    /// The load is over; the shop finishes what is in flight.
    Settling,
    /// The books are read.
    Judging,
    /// Something that a person should know.
    Note(String),
}

/// Takes events; called on the generator's thread, so it must be quick.
pub type Sink = Arc<dyn Fn(&Event) + Send + Sync>;

/// Prints what is worth a line.
pub fn printer() -> Sink {
    Arc::new(|event| {
        // Whoever read along may have gone; the run goes on.
        if let Some(line) = line(event) {
            let _ = writeln!(std::io::stdout(), "{line}");
        }
    })
}

/// What an event is on a line, if it is worth one: of the ticks, those of whole seconds.
fn line(event: &Event) -> Option<String> {
    Some(match event {
        Event::ShopUp { took, .. } => format!("shop up in {} ms", took.as_millis()),
        Event::Seeded { users, products, took } => {
            format!("seeded {users} users and {products} products in {} ms", took.as_millis())
        }
        Event::LoadStarts { .. } => return None,
        Event::Tick(tick) if tick.elapsed.subsec_millis() < 500 => tick_line(tick),
        Event::Tick(_) => return None,
        Event::Fault(fault) => fault_line(fault),
        Event::Settling => "load over; waiting for everything to come to rest".into(),
        Event::Judging => "at rest; reading the books".into(),
        Event::Note(text) => text.clone(),
    })
}

fn tick_line(tick: &Tick) -> String {
    let count = |fate: &str| tick.fates.get(fate).copied().unwrap_or_default();
    let planned = tick.planned_per_s.map(|rate| format!("  plan {rate:>5.0}/s")).unwrap_or_default();
    let p95 = tick.latency_so_far.map(|l| format!("  order p95 {:.1} ms", l.p95_us as f64 / 1e3)).unwrap_or_default();
    let dropped = if tick.dropped > 0 { format!("  DROPPED {}", tick.dropped) } else { String::new() };
    let bad = count("errors") + count("unknown");
    let bad = if bad > 0 { format!("  FAILED {bad}") } else { String::new() };
    let breaker = tick.breaker.as_ref().filter(|breaker| breaker.state != "closed");
    let breaker = breaker.map(|breaker| format!("  breaker {}", breaker.state)).unwrap_or_default();
    format!(
        "{:>4}s{}{planned}  journeys {:>6}  confirmed {:>6}  cancelled {:>6}{p95}{breaker}{dropped}{bad}",
        tick.elapsed.as_secs(),
        if tick.phase == Phase::WarmUp { "  warm-up" } else { "         " },
        tick.journeys_ended + tick.journeys_in_flight,
        count("confirmed"),
        count("cancelled"),
    )
}

fn fault_line(fault: &FaultGlance) -> String {
    let FaultGlance { name, what, .. } = fault;
    let since = |at: Option<Duration>| at.map(|at| format!("{:>4.1}s", at.as_secs_f64())).unwrap_or_default();
    match (&fault.failure, fault.lifted) {
        (Some(why), _) => format!("      fault {name} ({what}) FAILED: {why}"),
        (None, Some(_)) => format!("{}  fault {name} lifted; it touched {} calls", since(fault.lifted), fault.hits),
        (None, None) => format!("{}  fault {name}: {what}", since(fault.injected)),
    }
}
