//! The run's event stream: what happens, as it happens. Whoever shows a run listens here.

use std::io::Write as _;
use std::sync::Arc;

use tokio::time::{Duration, Instant, sleep_until};

use crate::load::journey::Stage;
use crate::load::recorder::Glance;
use crate::scenario::{Executor, Scenario};

/// What there is to tell.
#[derive(Debug, Clone)]
pub enum Event {
    ShopUp {
        took: Duration,
    },
    Seeded {
        users: usize,
        products: usize,
        took: Duration,
    },
    /// Once a second while the load runs.
    Tick {
        elapsed: Duration,
        warming_up: bool,
        planned_per_s: Option<f64>,
        glance: Glance,
    },
    Settling,
}

/// Takes events; called on the generator's thread, so it must be quick.
pub type Sink = Arc<dyn Fn(&Event) + Send + Sync>;

/// Says nothing.
pub fn silent() -> Sink {
    Arc::new(|_| {})
}

/// Prints a line an event.
pub fn printer() -> Sink {
    Arc::new(|event| {
        // Whoever read along may have gone; the run goes on.
        let _ = writeln!(std::io::stdout(), "{}", line(event));
    })
}

fn line(event: &Event) -> String {
    match event {
        Event::ShopUp { took } => format!("shop up in {} ms", took.as_millis()),
        Event::Seeded { users, products, took } => {
            format!("seeded {users} users and {products} products in {} ms", took.as_millis())
        }
        Event::Tick { elapsed, warming_up, planned_per_s, glance } => {
            let count = |fate: &str| glance.fates.get(fate).copied().unwrap_or_default();
            let planned = planned_per_s.map(|rate| format!("  plan {rate:>5.0}/s")).unwrap_or_default();
            let p95 =
                glance.order_p95_us.map(|us| format!("  order p95 {:.1} ms", us as f64 / 1e3)).unwrap_or_default();
            let dropped = if glance.dropped > 0 { format!("  DROPPED {}", glance.dropped) } else { String::new() };
            let bad = count("errors") + count("unknown");
            let bad = if bad > 0 { format!("  FAILED {bad}") } else { String::new() };
            format!(
                "{:>4}s{}{planned}  journeys {:>6}  confirmed {:>6}  cancelled {:>6}{p95}{dropped}{bad}",
                elapsed.as_secs(),
                if *warming_up { "  warm-up" } else { "         " },
                glance.began.max(glance.iterations),
                count("confirmed"),
                count("cancelled"),
            )
        }
        Event::Settling => "load over; waiting for everything to come to rest".into(),
    }
}

/// Ticks once a second until it is aborted.
pub async fn tick(stage: Arc<Stage>, scenario: Scenario, sink: Sink) {
    for second in 1.. {
        let elapsed = Duration::from_secs(second);
        sleep_until(stage.start + elapsed).await;
        let planned: Vec<f64> = scenario
            .load
            .iter()
            .filter_map(|group| match &group.executor {
                Executor::Arrivals(plan) if elapsed <= plan.duration() => Some(plan.rate_at(elapsed)),
                _ => None,
            })
            .collect();
        sink(&Event::Tick {
            elapsed,
            warming_up: Instant::now() < stage.start + scenario.warmup,
            planned_per_s: (!planned.is_empty()).then(|| planned.iter().sum()),
            glance: stage.recorder.glance(),
        });
    }
}
