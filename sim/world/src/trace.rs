//! The complete trace of a simulation: every RPC, commit and event with its virtual time.

use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

/// The targets that make up the trace.
const PREFIX: &str = "shop::";

/// Collects lines `<virtual µs> <what> <field>=<value> …`.
#[derive(Clone, Default)]
pub struct TraceLayer {
    lines: Arc<Mutex<String>>,
}

impl TraceLayer {
    /// Everything so far.
    pub fn take(&self) -> String {
        std::mem::take(&mut self.lines.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

struct Fields<'a>(&'a mut String);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing into a String does not fail.
        let _ = match field.name() {
            "message" => write!(self.0, " {value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let _ = write!(self.0, " {}={value}", field.name());
    }
}

impl<S: Subscriber> Layer<S> for TraceLayer {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        metadata.target().starts_with(PREFIX)
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let at = turmoil::sim_elapsed().unwrap_or_default().as_micros();
        let what = event.metadata().target().trim_start_matches(PREFIX);
        let _ = write!(lines, "{at} {what}");
        event.record(&mut Fields(&mut lines));
        lines.push('\n');
    }
}
