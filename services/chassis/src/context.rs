//! What travels with a request: its trace (W3C `traceparent`) and the caller's token.

use std::fmt;
use std::future::Future;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use rand::Rng;

use crate::rng::{Seeds, Stream};

/// The header, the gRPC metadata key, the outbox column and the event header of that name.
pub const TRACEPARENT: &str = "traceparent";

/// A position in a trace (<https://www.w3.org/TR/trace-context/>, version 00).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace {
    pub trace_id: u128,
    pub span_id: u64,
    pub sampled: bool,
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, u8::from(self.sampled))
    }
}

/// The text was not a `traceparent`; the standard says to start a new trace then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a traceparent")]
pub struct NotATraceparent;

impl FromStr for Trace {
    type Err = NotATraceparent;
    fn from_str(text: &str) -> Result<Self, NotATraceparent> {
        let parts: Vec<&str> = text.split('-').collect();
        let [version, trace, span, flags] = parts[..] else { return Err(NotATraceparent) };
        let lower_hex = |part: &str, length: usize| {
            part.len() == length && part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        };
        if version != "00" || !lower_hex(trace, 32) || !lower_hex(span, 16) || !lower_hex(flags, 2) {
            return Err(NotATraceparent);
        }
        let trace_id = u128::from_str_radix(trace, 16).map_err(|_| NotATraceparent)?;
        let span_id = u64::from_str_radix(span, 16).map_err(|_| NotATraceparent)?;
        let flags = u8::from_str_radix(flags, 16).map_err(|_| NotATraceparent)?;
        if trace_id == 0 || span_id == 0 {
            return Err(NotATraceparent);
        }
        Ok(Self { trace_id, span_id, sampled: flags & 1 == 1 })
    }
}

/// Makes trace and span ids from an injected stream, or none at all.
#[derive(Debug, Clone)]
pub struct Tracer {
    ids: Option<Arc<Mutex<Stream>>>,
}

impl Tracer {
    pub fn new(seeds: &Seeds) -> Self {
        Self { ids: Some(Arc::new(Mutex::new(seeds.stream("trace-ids")))) }
    }

    /// Traces nothing: no request has a place in a trace, and none is told on. To measure against.
    pub fn off() -> Self {
        Self { ids: None }
    }

    /// A child of `parent`, or the root of a new trace; `None` where nothing is traced.
    pub fn span(&self, parent: Option<Trace>) -> Option<Trace> {
        let mut ids = self.ids.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
        let span_id = ids.next_u64().max(1);
        Some(match parent {
            Some(parent) => Trace { span_id, ..parent },
            None => {
                let high = u128::from(ids.next_u64().max(1));
                Trace { trace_id: (high << 64) | u128::from(ids.next_u64()), span_id, sampled: true }
            }
        })
    }
}

/// The context of the request that the current task works on.
#[derive(Debug, Clone, Default)]
pub struct Context {
    pub trace: Option<Trace>,
    /// The caller's bearer token, for gateways that act in the caller's name.
    pub token: Option<Arc<str>>,
}

tokio::task_local! {
    static CURRENT: Context;
}

impl Context {
    /// The context of this task; empty outside a request.
    pub fn current() -> Self {
        CURRENT.try_with(Clone::clone).unwrap_or_default()
    }

    /// Runs `work` in this context.
    pub async fn scope<F: Future>(self, work: F) -> F::Output {
        CURRENT.scope(self, work).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_survives_the_round_trip() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(text.parse::<Trace>().map(|trace| trace.to_string()), Ok(text.to_owned()));
    }

    #[test]
    fn refuses_what_the_standard_refuses() {
        for text in [
            "",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
        ] {
            assert_eq!(text.parse::<Trace>(), Err(NotATraceparent), "{text}");
        }
    }

    #[test]
    fn a_child_stays_in_its_trace() {
        let tracer = Tracer::new(&Seeds::from_number(1));
        let root = tracer.span(None).unwrap();
        let child = tracer.span(Some(root)).unwrap();
        assert_eq!(child.trace_id, root.trace_id);
        assert_ne!(child.span_id, root.span_id);
        assert_eq!(Tracer::off().span(Some(root)), None);
    }
}
