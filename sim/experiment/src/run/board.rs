//! What is known of every fault of a run: planned, active, lifted, failed.

use std::sync::{Arc, Mutex, PoisonError};

use chassis::chaos::Fault;
use tokio::time::Duration;

use crate::run::glance::FaultGlance;
use world::probe::faults::Told;

/// One fault's life. Offsets are of the load's time.
#[derive(Debug, Clone)]
pub struct Entry {
    pub fault: Fault,
    /// When it was planned for, and for how long; `None` for one by hand.
    pub planned: Option<(Duration, Duration)>,
    pub injected: Option<Duration>,
    pub lifted: Option<Duration>,
    /// The same as the role's clock saw it, in microseconds since 1970.
    pub injected_at_us: Option<i64>,
    pub lifted_at_us: Option<i64>,
    pub hits: u64,
    pub failure: Option<String>,
}

impl Entry {
    pub fn new(fault: Fault, planned: Option<(Duration, Duration)>) -> Self {
        let (injected, lifted, injected_at_us, lifted_at_us) = (None, None, None, None);
        Self { fault, planned, injected, lifted, injected_at_us, lifted_at_us, hits: 0, failure: None }
    }

    pub fn is_active(&self) -> bool {
        self.injected.is_some() && self.lifted.is_none()
    }

    pub fn glance(&self) -> FaultGlance {
        FaultGlance {
            name: self.fault.name.clone(),
            what: self.fault.to_string(),
            planned: self.planned,
            injected: self.injected,
            lifted: self.lifted,
            hits: self.hits,
            failure: self.failure.clone(),
        }
    }
}

/// Shared by whoever injects and whoever watches. It grows with the faults by hand, which are bounded.
#[derive(Clone, Default)]
pub struct Board {
    entries: Arc<Mutex<Vec<Entry>>>,
}

impl Board {
    pub fn plan(&self, fault: Fault, at: Duration, lasts: Duration) {
        self.with(|entries| entries.push(Entry::new(fault, Some((at, lasts)))));
    }

    /// A fault by hand.
    pub fn add(&self, fault: Fault) {
        self.with(|entries| entries.push(Entry::new(fault, None)));
    }

    pub fn injected(&self, name: &str, at: Duration, told: &Told) -> Option<FaultGlance> {
        self.change(name, |entry| {
            entry.injected = Some(at);
            entry.injected_at_us = Some(told.injected_at_us);
        })
    }

    pub fn lifted(&self, name: &str, at: Duration, told: &Told) -> Option<FaultGlance> {
        self.change(name, |entry| {
            entry.lifted = Some(at);
            // Whatever went wrong before, it is gone now.
            entry.failure = None;
            entry.lifted_at_us = told.lifted_at_us;
            entry.hits = entry.hits.max(told.hits);
        })
    }

    pub fn failed(&self, name: &str, why: String) -> Option<FaultGlance> {
        self.change(name, |entry| entry.failure = Some(why))
    }

    pub fn touched(&self, name: &str, hits: u64) {
        self.change(name, |entry| entry.hits = entry.hits.max(hits));
    }

    pub fn entries(&self) -> Vec<Entry> {
        self.with(|entries| entries.clone())
    }

    fn change(&self, name: &str, change: impl FnOnce(&mut Entry)) -> Option<FaultGlance> {
        self.with(|entries| {
            let entry = entries.iter_mut().rev().find(|entry| entry.fault.name == name)?;
            change(entry);
            Some(entry.glance())
        })
    }

    fn with<T>(&self, work: impl FnOnce(&mut Vec<Entry>) -> T) -> T {
        work(&mut self.entries.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
