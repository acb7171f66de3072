//! Injects faults when they are due and lifts them when they are over: all of them, however the load
//! ends.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use chassis::chaos::{Fault, Target};
use tokio::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::api::FaultApi;
use super::board::Board;
use crate::load::clock::LoadClock;
use crate::load::recorder::Recorder;
use crate::run::observe::{self, StepHistograms};
use crate::run::progress::{Event, Sink};
use crate::scenario::PlannedFault;
use crate::world::Surroundings;

/// A role lifts a fault by itself so long after its planned end, should nobody be left to do so.
const SAFETY: Duration = Duration::from_secs(30);
/// The same for faults by hand, which have no planned end.
const BY_HAND_LONGEST: Duration = Duration::from_secs(3600);
/// Most faults by hand in one run.
const BY_HAND_MAX: usize = 1000;

/// The saga's steps while a fault was active.
#[derive(Debug, Clone, Default)]
pub struct DuringSteps {
    from: StepHistograms,
    to: Option<StepHistograms>,
}

impl DuringSteps {
    /// `None` if its end was not seen.
    pub fn steps(&self) -> Option<StepHistograms> {
        Some(self.to.as_ref()?.since(&self.from))
    }
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Conductor {
    inner: Arc<Inner>,
}

struct Inner {
    api: FaultApi,
    surroundings: Surroundings,
    clock: LoadClock,
    recorder: Recorder,
    board: Board,
    sink: Sink,
    steps: Mutex<BTreeMap<String, DuringSteps>>,
    /// Ends the waiting of the faults that have not had their time.
    over: CancellationToken,
    tasks: TaskTracker,
}

impl Conductor {
    pub fn new(surroundings: Surroundings, token: &str, clock: LoadClock, recorder: Recorder, sink: Sink) -> Self {
        let ops = surroundings.ops.iter().map(|(role, address)| (*role, address.clone()));
        let api = FaultApi::new(&surroundings.network, ops, token);
        let inner = Inner {
            api,
            surroundings,
            clock,
            recorder,
            board: Board::default(),
            sink,
            steps: Mutex::default(),
            over: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    pub fn board(&self) -> &Board {
        &self.inner.board
    }

    /// Sees to it that every fault comes in its time, and goes.
    pub fn start(&self, faults: &[PlannedFault]) {
        for PlannedFault { fault, at, lasts } in faults {
            self.inner.board.plan(fault.clone(), *at, *lasts);
        }
        for planned in faults {
            let (inner, planned) = (self.inner.clone(), planned.clone());
            self.inner.tasks.spawn(async move { inner.conduct(&planned).await });
        }
    }

    /// The load is over: nothing more is injected, and everything is lifted.
    pub async fn finish(&self) {
        self.inner.over.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
        for entry in self.inner.board.entries().into_iter().filter(super::board::Entry::is_active) {
            self.inner.lift(&entry.fault).await;
        }
    }

    /// A fault by hand.
    ///
    /// # Errors
    /// When there is no such fault or the run has had too many. That a role refuses it is told as an event.
    pub async fn inject(
        &self,
        target: &'static Target,
        kind: &str,
        parameters: &BTreeMap<String, String>,
    ) -> Result<(), String> {
        let number = 1 + self.inner.board.entries().iter().filter(|entry| entry.planned.is_none()).count();
        if number > BY_HAND_MAX {
            return Err(format!("a run takes {BY_HAND_MAX} faults by hand"));
        }
        let name = format!("by-hand-{number}-{}", kind.replace('_', "-"));
        let fault = target.fault(&name, kind, parameters).map_err(|unfit| unfit.to_string())?;
        self.inner.board.add(fault.clone());
        self.inner.inject(&fault, BY_HAND_LONGEST).await;
        Ok(())
    }

    /// Lifts a fault before its time.
    pub async fn lift(&self, name: &str) {
        let entries = self.inner.board.entries();
        if let Some(entry) = entries.iter().find(|entry| entry.fault.name == name && entry.is_active()) {
            self.inner.lift(&entry.fault).await;
        }
    }

    /// The saga's steps during each fault that was injected.
    pub fn steps(&self) -> BTreeMap<String, DuringSteps> {
        self.inner.steps().clone()
    }

    /// Asks the roles how many calls their faults have touched.
    pub async fn refresh(&self) {
        let mut targets: Vec<&'static Target> = Vec::new();
        for entry in self.inner.board.entries().iter().filter(|entry| entry.is_active()) {
            if !targets.contains(&entry.fault.target) {
                targets.push(entry.fault.target);
            }
        }
        for target in targets {
            let Ok(listing) = self.inner.api.list(target).await else { continue };
            listing.active.iter().for_each(|told| self.inner.board.touched(&told.name, told.hits));
        }
    }
}

impl Inner {
    fn steps(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, DuringSteps>> {
        self.steps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn conduct(&self, planned: &PlannedFault) {
        let PlannedFault { fault, at, lasts } = planned;
        tokio::select! {
            biased;
            () = self.over.cancelled() => return,
            _ = self.clock.reach(*at) => {}
        }
        if !self.inject(fault, *lasts + SAFETY).await {
            return;
        }
        tokio::select! {
            biased;
            () = self.over.cancelled() => {}
            _ = self.clock.reach(*at + *lasts) => {}
        }
        self.lift(fault).await;
    }

    async fn inject(&self, fault: &Fault, longest: Duration) -> bool {
        // Seen before the fault begins, so that what it touches is all in the difference.
        let from = observe::steps(&self.surroundings).await.unwrap_or_default();
        self.steps().insert(fault.name.clone(), DuringSteps { from, to: None });
        let injected = self.api.inject(fault, Some(longest)).await;
        let glance = match &injected {
            Ok(told) => {
                self.recorder.open_window(&fault.name, Instant::now());
                self.board.injected(&fault.name, self.clock.elapsed(), told)
            }
            Err(why) => self.board.failed(&fault.name, format!("not injected: {why}")),
        };
        glance.into_iter().for_each(|glance| (self.sink)(&Event::Fault(glance)));
        injected.is_ok()
    }

    async fn lift(&self, fault: &Fault) {
        if !self.board.entries().iter().any(|entry| entry.fault.name == fault.name && entry.is_active()) {
            return;
        }
        let glance = match self.api.lift(fault.target, &fault.name).await {
            Ok(told) => self.board.lifted(&fault.name, self.clock.elapsed(), told.as_ref()),
            Err(why) => self.board.failed(&fault.name, format!("not lifted: {why}")),
        };
        self.recorder.close_window(&fault.name, Instant::now());
        let to = observe::steps(&self.surroundings).await.ok();
        if let Some(during) = self.steps().get_mut(&fault.name) {
            during.to = to;
        }
        glance.into_iter().for_each(|glance| (self.sink)(&Event::Fault(glance)));
    }
}
