//! The state of the perils, and how it changes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use chassis::chaos::Fault;
use chassis::hazard::Passage;
use chassis::rng::Stream;
use chassis::settings::DurationRange;
use rand::RngExt as _;
use tokio::time::Duration;
use tokio_util::sync::CancellationToken;

use super::Flags;
use shop::fault::vocabulary::{self, Place};

/// How long a role that was told to stop may drain.
const DRAIN_LONGEST: Duration = Duration::from_secs(7);

/// Everything that befalls anybody.
pub(super) struct State {
    /// Virtual time, as of the last step.
    pub now: Duration,
    /// Of every role.
    pub lives: BTreeMap<&'static str, Life>,
    pub links: BTreeMap<(&'static str, &'static str), Link>,
    /// In the order of their injection.
    pub active: Vec<Active>,
    /// What lifted ones had struck; one entry a fault of the run.
    pub lifted: BTreeMap<String, u64>,
    pub points: BTreeMap<String, u64>,
    /// Held by every call that is late, or repeated, until it has been served.
    pub on_their_way: Arc<()>,
}

/// A fault that is active.
pub(super) struct Active {
    pub name: String,
    pub place: Place,
    pub kind: &'static str,
    fault: Fault,
    /// Its own draws.
    pub stream: Stream,
    pub hits: u64,
    /// Of its crash point, since the injection.
    passages: u64,
    /// Cancelled when it is lifted.
    over: CancellationToken,
}

impl Active {
    pub fn new(fault: &Fault, place: Place, stream: Stream) -> Self {
        let (name, kind, over) = (fault.name.clone(), fault.kind.name, CancellationToken::new());
        Self { name, place, kind, fault: fault.clone(), stream, hits: 0, passages: 0, over }
    }

    /// Whether it happens this time, by its rate.
    pub fn strikes(&mut self) -> bool {
        self.stream.random_bool(self.fault.share("rate").clamp(0.0, 1.0))
    }

    /// A draw from a range that it has.
    pub fn duration(&mut self, parameter: &str) -> Duration {
        let Some(DurationRange { low, high }) = self.fault.durations(parameter) else { return Duration::ZERO };
        let micros = |d: Duration| u64::try_from(d.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.stream.random_range(micros(low)..=micros(high)))
    }
}

/// One role's being alive, or not.
pub(super) struct Life {
    /// Which one it is, from 1 on; 0 before the first.
    pub number: u32,
    pub flags: Arc<Flags>,
    /// Microseconds that its wall clock is wrong by.
    pub offset: Arc<AtomicI64>,
    /// Whether its runtime is gone: a dead one's is, after the step.
    pub buried: bool,
    /// When a dead one is started again.
    pub restart_at: Option<Duration>,
    /// Until when one that was told to stop may drain.
    pub draining: Option<Duration>,
    pub shutdown: CancellationToken,
    /// Cancelled when it goes on; while it stands still.
    pub resumed: CancellationToken,
    /// Faults that hold it.
    pauses: u32,
    /// It was not all the time there, and on time.
    pub disturbed: bool,
}

impl Life {
    fn new() -> Self {
        Self {
            number: 0,
            flags: Arc::default(),
            offset: Arc::default(),
            buried: false,
            restart_at: None,
            draining: None,
            shutdown: CancellationToken::new(),
            resumed: CancellationToken::new(),
            pauses: 0,
            disturbed: false,
        }
    }

    pub fn begin(&mut self) -> (u32, CancellationToken) {
        self.number += 1;
        self.flags.dead.store(false, Ordering::Relaxed);
        self.buried = false;
        self.restart_at = None;
        self.draining = None;
        self.shutdown = CancellationToken::new();
        (self.number, self.shutdown.clone())
    }

    pub fn is_dead(&self) -> bool {
        self.flags.dead.load(Ordering::Relaxed)
    }

    pub fn is_up(&self) -> bool {
        !self.is_dead() && self.draining.is_none() && self.pauses == 0
    }

    /// Answers whether it was alive.
    pub fn die(&mut self, restart_at: Duration) -> bool {
        self.disturbed = true;
        if self.is_dead() {
            return false;
        }
        self.flags.dead.store(true, Ordering::Relaxed);
        self.restart_at = Some(restart_at);
        self.draining = None;
        true
    }

    /// A dead one is started at `latest`.
    pub fn restart_by(&mut self, latest: Duration) {
        self.restart_at = self.restart_at.map(|at| at.min(latest));
    }

    fn drain(&mut self, latest: Duration) -> bool {
        if self.is_dead() || self.draining.is_some() {
            return false;
        }
        self.disturbed = true;
        self.draining = Some(latest);
        self.shutdown.cancel();
        true
    }

    fn pause(&mut self) {
        self.disturbed = true;
        self.pauses += 1;
        if self.pauses == 1 {
            self.resumed = CancellationToken::new();
            self.flags.paused.store(true, Ordering::Relaxed);
        }
    }

    fn resume(&mut self) {
        self.pauses = self.pauses.saturating_sub(1);
        if self.pauses == 0 {
            self.flags.paused.store(false, Ordering::Relaxed);
            self.resumed.cancel();
        }
    }

    fn jump(&mut self, micros: i64) {
        self.disturbed = true;
        self.offset.fetch_add(micros, Ordering::Relaxed);
    }
}

/// The way from one role to another.
#[derive(Default)]
pub(super) struct Link {
    /// Nothing comes through.
    pub hole: Arc<AtomicBool>,
    /// Cancelled, and replaced, when all its connections break.
    pub cut: CancellationToken,
}

impl Link {
    fn cut(&mut self) {
        self.cut.cancel();
        self.cut = CancellationToken::new();
    }
}

impl State {
    pub fn new() -> Self {
        let lives = shop::ROLES.map(|role| (role, Life::new())).into();
        let ends = vocabulary::places().filter_map(|(_, place)| match place {
            Place::Link { from, to } => Some(((from, to), Link::default())),
            _ => None,
        });
        Self {
            now: Duration::ZERO,
            lives,
            links: ends.collect(),
            active: Vec::new(),
            lifted: BTreeMap::new(),
            points: BTreeMap::new(),
            on_their_way: Arc::default(),
        }
    }

    /// `None` for the generator, whom nothing befalls.
    pub fn life(&self, role: &str) -> Option<&Life> {
        self.lives.get(role)
    }

    pub fn life_mut(&mut self, role: &str) -> Option<&mut Life> {
        self.lives.get_mut(role)
    }

    /// Whether a fault of this kind is active there and happens this time.
    pub fn strike(&mut self, place: Place, kind: &str) -> bool {
        let mut struck = false;
        for active in self.active.iter_mut().filter(|active| active.place == place && active.kind == kind) {
            if active.kind == "down" || active.strikes() {
                active.hits += 1;
                struck = true;
            }
        }
        struck
    }

    /// How much longer something takes there.
    pub fn delay(&mut self, place: Place) -> Duration {
        let mut delay = Duration::ZERO;
        for active in self.active.iter_mut().filter(|active| active.place == place && active.kind == "latency") {
            active.hits += 1;
            delay += active.duration("latency");
        }
        delay
    }

    pub fn inject(&mut self, mut active: Active) {
        let now = self.now;
        match (active.place, active.kind) {
            (Place::Link { from, to }, "down" | "reset_peer") => {
                if let Some(link) = self.links.get_mut(&(from, to)) {
                    link.cut();
                }
            }
            (Place::Link { from, to }, "timeout") => self.hole(from, to, true),
            (Place::Process(role), "crash") => {
                let restart_at = now + active.duration("restart_after");
                active.hits = u64::from(self.kill(role, restart_at));
            }
            (Place::Process(role), "pause") => {
                if let Some(life) = self.life_mut(role) {
                    life.pause();
                    active.hits = 1;
                }
            }
            (Place::Process(role), "restart") => {
                let drained = self.life_mut(role).is_some_and(|life| life.drain(now + DRAIN_LONGEST));
                active.hits = u64::from(drained);
            }
            (Place::Clock(role), _) => {
                let by = active.fault.offset("by");
                if let Some(life) = self.life_mut(role) {
                    life.jump(by);
                    active.hits = 1;
                }
            }
            _ => {}
        }
        self.active.push(active);
    }

    /// Answers what it had struck; `None` if there was none of that name.
    pub fn lift(&mut self, name: &str) -> Option<u64> {
        let Some(found) = self.active.iter().position(|active| active.name == name) else {
            return self.lifted.get(name).copied();
        };
        let lifted = self.active.remove(found);
        let now = self.now;
        match (lifted.place, lifted.kind) {
            (Place::Link { from, to }, "timeout") => {
                let others = |active: &Active| active.place == lifted.place && active.kind == "timeout";
                let still = self.active.iter().any(others);
                self.hole(from, to, still);
            }
            (Place::Process(role), "pause") => {
                if let Some(life) = self.life_mut(role) {
                    life.resume();
                }
            }
            (Place::Process(role) | Place::Point { role, .. }, "crash") => {
                if let Some(life) = self.life_mut(role).filter(|_| lifted.hits > 0) {
                    life.restart_by(now);
                }
            }
            (Place::Clock(role), _) => {
                if let Some(life) = self.life_mut(role) {
                    life.jump(-lifted.fault.offset("by"));
                }
            }
            _ => {}
        }
        lifted.over.cancel();
        self.lifted.insert(lifted.name, lifted.hits);
        Some(lifted.hits)
    }

    /// What was swallowed meanwhile would leave a hole in its stream: connections end with it.
    fn hole(&mut self, from: &'static str, to: &'static str, open: bool) {
        if let Some(link) = self.links.get_mut(&(from, to)) {
            link.hole.store(open, Ordering::Relaxed);
            if !open {
                link.cut();
            }
        }
    }

    fn kill(&mut self, role: &'static str, restart_at: Duration) -> bool {
        let killed = self.life_mut(role).is_some_and(|life| life.die(restart_at));
        if killed {
            tracing::debug!(target: "shop::fault", role, "died");
        }
        killed
    }

    pub fn pass(&mut self, role: &'static str, point: &str) -> Passage {
        match self.points.get_mut(point) {
            Some(count) => *count += 1,
            None => drop(self.points.insert(point.to_owned(), 1)),
        }
        let Some(life) = self.life(role) else { return Passage::On };
        if life.is_dead() {
            return Passage::Dead;
        }
        let paused = life.flags.paused.load(Ordering::Relaxed).then(|| life.resumed.clone());
        let (mut dies, mut stall) = (None, None);
        for active in &mut self.active {
            if !matches!(active.place, Place::Point { name, .. } if name == point) {
                continue;
            }
            active.passages += 1;
            match active.kind {
                "stall" => {
                    active.hits += 1;
                    stall = Some(active.over.clone());
                }
                _ if active.passages == active.fault.count("nth") => {
                    active.hits += 1;
                    dies = Some(self.now + active.duration("restart_after"));
                }
                _ => {}
            }
        }
        match (dies, stall.or(paused)) {
            (Some(restart_at), _) => {
                self.kill(role, restart_at);
                Passage::Dead
            }
            (None, Some(until)) => Passage::Wait(until),
            (None, None) => Passage::On,
        }
    }
}
