//! Injects faults when they are due and lifts them when they are over: all of them, however the load
//! ends.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chassis::chaos::{Fault, LASTS_MAX, Target, WORLD};
use tokio::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::board::{Board, Entry};
use crate::run::progress::{Event, Sink};
use load::clock::LoadClock;
use load::recorder::Recorder;
use scenario::fault::BY_HAND;
use scenario::{PlannedFault, Scenario};
use world::probe::faults::{FaultApi, NotInjected, Told};
use world::probe::observe::{self, StepHistograms, Transition};
use world::{Hand, Surroundings};

/// A role lifts a fault by itself so long after its planned end, should nobody be left to do so. Longer
/// than anybody pauses a load.
const SAFETY: Duration = Duration::from_secs(600);
/// The same for faults by hand, which have no planned end.
const BY_HAND_LONGEST: Duration = Duration::from_secs(3600);
/// How often it is looked whether a role is there again, and how long for at most.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
const BACK_LONGEST: Duration = Duration::from_secs(15);
/// How long what was held up takes to be seen under way, when nothing holds it any more.
const GET_GOING: Duration = Duration::from_secs(2);
/// Most faults by hand in one run.
const BY_HAND_MAX: usize = 1000;
/// The breaker remembers a bounded number of transitions: it is asked before they can have been pushed out.
const ASK_BREAKER: Duration = Duration::from_secs(30);
/// Transitions that are kept of a run.
const TRANSITIONS_MAX: usize = 10_000;

/// The saga's steps while a fault was active.
#[derive(Debug, Clone, Default)]
pub struct DuringSteps {
    from: Option<StepHistograms>,
    to: Option<StepHistograms>,
}

impl DuringSteps {
    /// `None` if its beginning or its end was not seen.
    pub fn steps(&self) -> Option<StepHistograms> {
        Some(self.to.as_ref()?.since(self.from.as_ref()?))
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
    /// The faults that something is expected of: what happens during them is kept apart.
    judged: BTreeSet<String>,
    steps: Mutex<BTreeMap<String, DuringSteps>>,
    transitions: Mutex<Vec<Transition>>,
    /// Which life the role of each fault lived when it was told of it.
    lives: Mutex<BTreeMap<String, u32>>,
    /// Ends the waiting of the faults that have not had their time.
    over: CancellationToken,
    tasks: TaskTracker,
}

fn api(surroundings: &Surroundings, token: &str) -> FaultApi {
    let ops = surroundings.ops.iter().map(|(role, address)| (*role, address.clone()));
    FaultApi::new(&surroundings.network, ops, token)
}

/// Asks the roles how many calls their faults have touched, on connections of its own: whoever looks
/// must not hold up whoever acts.
pub struct Lookout {
    api: FaultApi,
    board: Board,
}

impl Lookout {
    pub fn new(surroundings: &Surroundings, token: &str, board: Board) -> Self {
        Self { api: api(surroundings, token), board }
    }

    pub async fn look(&self) {
        for target in targets(&self.board.entries(), Entry::is_active) {
            let Ok(listing) = self.api.list(target).await else { continue };
            listing.active.iter().for_each(|told| self.board.touched(&told.name, told.hits));
        }
    }
}

/// The targets of those entries that are `wanted`, each once, where a role is told.
fn targets(entries: &[Entry], wanted: impl Fn(&Entry) -> bool) -> Vec<&'static Target> {
    let mut targets: Vec<&'static Target> = Vec::new();
    for entry in entries.iter().filter(|entry| entry.fault.target.role != WORLD && wanted(entry)) {
        if !targets.contains(&entry.fault.target) {
            targets.push(entry.fault.target);
        }
    }
    targets
}

impl Conductor {
    pub fn new(
        surroundings: Surroundings,
        scenario: &Scenario,
        token: &str,
        clock: LoadClock,
        recorder: Recorder,
        sink: Sink,
    ) -> Self {
        let inner = Inner {
            api: api(&surroundings, token),
            surroundings,
            clock,
            recorder,
            board: Board::default(),
            sink,
            judged: scenario.expect.during.iter().map(|during| during.fault.clone()).collect(),
            steps: Mutex::default(),
            transitions: Mutex::default(),
            lives: Mutex::default(),
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
        let inner = &self.inner;
        inner.over.cancel();
        if let Some(hand) = inner.hand() {
            // First of all: what is down cannot be told that its faults are over.
            hand.heal();
            inner.while_not(|| hand.is_whole()).await;
            if inner.board.entries().iter().any(|entry| entry.fault.target.role == WORLD) {
                // Whoever stood still goes on only now: an order that was held up on its way is not in the books yet.
                tokio::time::sleep(GET_GOING).await;
            }
        }
        inner.tasks.close();
        inner.tasks.wait().await;
        for entry in inner.board.entries().into_iter().filter(Entry::is_active) {
            inner.lift(&entry.fault).await;
        }
        inner.close_what_was_cut_off().await;
        // An injection whose answer was lost may have happened all the same.
        let entries = inner.board.entries();
        for target in targets(&entries, |entry| entry.lifted.is_none()) {
            let Ok(listing) = inner.api.list(target).await else { continue };
            for told in listing.active.iter().filter(|told| entries.iter().any(|entry| entry.fault.name == told.name)) {
                if let Err(why) = inner.api.lift(target, &told.name).await {
                    inner.board.failed(&told.name, format!("not lifted: {why}"));
                }
            }
        }
    }

    /// A fault by hand.
    ///
    /// # Errors
    /// When there is no such fault, the load is over, or the run has had too many. That a role refuses it is
    /// told as an event.
    pub async fn inject(
        &self,
        target: &'static Target,
        kind: &str,
        parameters: &BTreeMap<String, String>,
    ) -> Result<(), String> {
        if self.inner.over.is_cancelled() {
            return Err("the load is over: nothing is broken any more".into());
        }
        let number = 1 + self.inner.board.entries().iter().filter(|entry| entry.planned.is_none()).count();
        if number > BY_HAND_MAX {
            return Err(format!("a run takes {BY_HAND_MAX} faults by hand"));
        }
        let name = format!("{BY_HAND}{number}-{}", kind.replace('_', "-"));
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

    /// The saga's steps during each fault that something is expected of.
    pub fn steps(&self) -> BTreeMap<String, DuringSteps> {
        self.inner.steps().clone()
    }

    /// Takes in what the breaker remembers now; answers all that is known of the run.
    pub fn transitions(&self, remembered: &[Transition]) -> Vec<Transition> {
        let mut known = self.inner.transitions.lock().unwrap_or_else(PoisonError::into_inner);
        merge(&mut known, remembered);
        known.clone()
    }
}

/// Appends those of `remembered` that come after the last known one; both are in the breaker's order.
fn merge(known: &mut Vec<Transition>, remembered: &[Transition]) {
    let last = known.last().cloned();
    let found = remembered.iter().rposition(|transition| Some(transition) == last.as_ref());
    // Without the last known one, what is remembered is either later than it or a look that is out of date.
    let later = |one: &&Transition| found.is_some() || last.as_ref().is_none_or(|last| one.at_us > last.at_us);
    let news = &remembered[found.map_or(0, |at| at + 1)..];
    let room = TRANSITIONS_MAX.saturating_sub(known.len());
    known.extend(news.iter().filter(later).take(room).cloned());
}

impl Inner {
    fn steps(&self) -> MutexGuard<'_, BTreeMap<String, DuringSteps>> {
        self.steps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn conduct(&self, planned: &PlannedFault) {
        let PlannedFault { fault, at, lasts } = planned;
        tokio::select! {
            biased;
            () = self.over.cancelled() => return,
            _ = self.clock.reach(*at) => {}
        }
        if !self.inject(fault, (*lasts + SAFETY).min(LASTS_MAX)).await {
            return;
        }
        loop {
            tokio::select! {
                biased;
                () = self.over.cancelled() => break,
                _ = self.clock.reach(*at + *lasts) => break,
                () = tokio::time::sleep(ASK_BREAKER) => self.ask_breaker().await,
            }
        }
        self.lift(fault).await;
    }

    /// Whoever lifted a fault by hand may have been cut off before the saga's steps were looked at.
    async fn close_what_was_cut_off(&self) {
        let open: Vec<String> =
            self.steps().iter().filter(|(_, steps)| steps.to.is_none()).map(|(n, _)| n.clone()).collect();
        if open.is_empty() {
            return;
        }
        let to = observe::steps(&self.surroundings).await.ok();
        for name in open {
            self.recorder.close_window(&name, Instant::now());
            if let Some(steps) = self.steps().get_mut(&name) {
                steps.to.clone_from(&to);
            }
        }
    }

    fn hand(&self) -> Option<&dyn Hand> {
        self.surroundings.hand.as_deref()
    }

    /// Waits until it holds, for a bounded time.
    async fn while_not(&self, holds: impl Fn() -> bool) {
        let latest = Instant::now() + BACK_LONGEST;
        while !holds() && Instant::now() < latest {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Whether the role of this target was away at any time, so that it may not have heard, or has forgotten.
    fn was_disturbed(&self, target: &Target) -> bool {
        self.hand().is_some_and(|hand| hand.was_disturbed(target))
    }

    /// Injects by whoever can: the role that is told, or the world's hand.
    async fn bring(&self, fault: &Fault, longest: Duration) -> Result<Told, NotInjected> {
        let Some(hand) = self.hand() else {
            return match fault.target.role {
                WORLD => Err(NotInjected::Refused("nothing here can break it".to_owned())),
                _ => self.api.inject(fault, Some(longest)).await,
            };
        };
        if fault.target.role == WORLD {
            hand.inject(fault).map_err(NotInjected::Refused)?;
            return Ok(self.told(fault, 0));
        }
        self.while_not(|| hand.is_up(fault.target) || self.over.is_cancelled()).await;
        let life = hand.lives(fault.target);
        self.lives.lock().unwrap_or_else(PoisonError::into_inner).insert(fault.name.clone(), life);
        self.api.inject(fault, Some(longest)).await
    }

    /// What there is to tell of a fault that no role tells of.
    fn told(&self, fault: &Fault, hits: u64) -> Told {
        let now = self.surroundings.clock.now().as_micros();
        Told {
            name: fault.name.clone(),
            target: fault.target.name.to_owned(),
            kind: fault.kind.name.to_owned(),
            parameters: fault.written.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
            injected_at_us: now,
            until_us: None,
            hits,
            lifted_at_us: Some(now),
            lifted_because: Some("asked".to_owned()),
        }
    }

    async fn ask_breaker(&self) {
        // One that is away would hold up whoever acts.
        if self.hand().is_some_and(|hand| !hand.is_up(&payment::FAULTS)) {
            return;
        }
        if let Ok(breaker) = observe::breaker(&self.surroundings).await {
            let mut known = self.transitions.lock().unwrap_or_else(PoisonError::into_inner);
            merge(&mut known, &breaker.transitions);
        }
    }

    async fn inject(&self, fault: &Fault, longest: Duration) -> bool {
        let judged = self.judged.contains(&fault.name);
        if judged {
            // Seen before the fault begins, so that what it touches is all in the difference.
            let from = observe::steps(&self.surroundings).await.ok();
            self.steps().insert(fault.name.clone(), DuringSteps { from, to: None });
        }
        self.ask_breaker().await;
        let injected = self.bring(fault, longest).await;
        let glance = match &injected {
            Ok(told) => {
                let now = Instant::now();
                if judged {
                    self.recorder.open_window(&fault.name, now);
                }
                self.board.injected(&fault.name, self.clock.load_time_of(now), told)
            }
            Err(why) => {
                if let NotInjected::Unknown(_) = why {
                    // The answer may have been lost, not the injection.
                    let _ = self.api.lift(fault.target, &fault.name).await;
                }
                match self.was_disturbed(fault.target) {
                    // It was down at that moment.
                    true => None,
                    false => self.board.failed(&fault.name, format!("not injected: {why}")),
                }
            }
        };
        glance.into_iter().for_each(|glance| (self.sink)(&Event::Fault(glance)));
        injected.is_ok()
    }

    async fn lift(&self, fault: &Fault) {
        if !self.board.entries().iter().any(|entry| entry.fault.name == fault.name && entry.is_active()) {
            return;
        }
        let lifted = self.lift_or_look_it_up(fault).await;
        let now = Instant::now();
        let glance = match lifted {
            Ok(told) => self.board.lifted(&fault.name, self.clock.load_time_of(now), &told),
            Err(why) => self.board.failed(&fault.name, format!("not lifted: {why}")),
        };
        if self.judged.contains(&fault.name) {
            self.recorder.close_window(&fault.name, now);
            let to = observe::steps(&self.surroundings).await.ok();
            if let Some(during) = self.steps().get_mut(&fault.name) {
                during.to = to;
            }
        }
        self.ask_breaker().await;
        glance.into_iter().for_each(|glance| (self.sink)(&Event::Fault(glance)));
    }

    /// What the role says of a fault that is not active any more, whoever lifted it.
    async fn lift_or_look_it_up(&self, fault: &Fault) -> Result<Told, String> {
        if let Some(hand) = self.hand() {
            if fault.target.role == WORLD {
                return Ok(self.told(fault, hand.lift(&fault.name).unwrap_or_default()));
            }
            self.while_not(|| hand.is_up(fault.target)).await;
            let told_to = self.lives.lock().unwrap_or_else(PoisonError::into_inner).get(&fault.name).copied();
            if told_to != Some(hand.lives(fault.target)) {
                // Its role has started anew since, and has forgotten what it was told.
                return Ok(self.told(fault, 0));
            }
        }
        if let Some(told) = self.api.lift(fault.target, &fault.name).await? {
            return Ok(told);
        }
        let history = self.api.list(fault.target).await?.history;
        let told = history.into_iter().rev().find(|told| told.name == fault.name);
        told.ok_or_else(|| "its role knows nothing of it any more".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(at_us: i64) -> Transition {
        Transition { at_us, from: "closed".into(), to: "open".into(), why: String::new() }
    }

    #[test]
    fn what_the_breaker_forgets_is_kept() {
        let mut known = Vec::new();
        merge(&mut known, &[at(1), at(2)]);
        merge(&mut known, &[at(1), at(2), at(3)]);
        merge(&mut known, &[at(3), at(4)]);
        merge(&mut known, &[at(3), at(4)]);
        merge(&mut known, &[at(9)]);
        merge(&mut known, &[at(3), at(4)]);
        assert_eq!(known, [at(1), at(2), at(3), at(4), at(9)]);
    }
}
