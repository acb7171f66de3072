//! What befalls the simulated shop: who is dead, what is cut, which calls get lost. One state, that the
//! conductor's hand changes, the roles ask, and the driver of the simulation carries out between steps.

mod clock;
mod driver;
mod events;
mod net;
mod state;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chassis::chaos::{Fault, Target};
use chassis::clock::SharedClock;
use chassis::hazard::{CallFate, Fate, Hazards, Lost, Passage};
use chassis::net::{Listener, Network};
use chassis::rng::Seeds;
use eventlog::EventLog;
use rand::RngExt as _;
use tokio::time::Duration;
use tokio_util::sync::CancellationToken;

use super::Hand;
use shop::fault::vocabulary::{self, Place};
use state::{Active, Life, State};

/// Shared by the hand, the roles and the driver. Cheap to clone.
#[derive(Clone)]
pub struct Perils {
    state: Arc<Mutex<State>>,
    seeds: Seeds,
}

/// What is asked at every byte, and must not cost a lock.
#[derive(Default)]
struct Flags {
    dead: AtomicBool,
    paused: AtomicBool,
}

impl Perils {
    /// `seeds` is the scope of the faults' own draws.
    pub fn new(seeds: Seeds) -> Self {
        Self { state: Arc::new(Mutex::new(State::new())), seeds }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The role's handle on what may befall it.
    pub fn hazards(&self, role: &'static str) -> Hazards {
        Hazards::new(Arc::new(RoleFate { perils: self.clone(), role }))
    }

    /// The network as `from` sees it.
    pub fn network(&self, from: &'static str) -> Arc<dyn Network> {
        Arc::new(net::PerilousNetwork { perils: self.clone(), from })
    }

    /// A listener of `role`.
    pub fn listener(&self, role: &'static str, listener: turmoil::net::TcpListener) -> Box<dyn Listener> {
        Box::new(net::PerilousListener { perils: self.clone(), role, listener })
    }

    /// The clock on the wall of `role`.
    pub fn clock(&self, role: &'static str, true_time: SharedClock) -> SharedClock {
        let offset = self.lock().life(role).map(|life| life.offset.clone()).unwrap_or_default();
        Arc::new(clock::WallClock { true_time, offset })
    }

    /// The event log as `role` reaches it.
    pub fn log(&self, role: &'static str, log: Arc<dyn EventLog>) -> Arc<dyn EventLog> {
        Arc::new(events::PerilousLog { perils: self.clone(), hazards: self.hazards(role), role, log })
    }

    /// A new life of `role` begins: which one it is, from 1 on, and what tells it to stop.
    pub fn begin_life(&self, role: &'static str) -> (u32, CancellationToken) {
        let mut state = self.lock();
        match state.life_mut(role) {
            Some(life) => life.begin(),
            None => (1, CancellationToken::new()),
        }
    }

    /// A role cannot start; it is tried again in a while, as whoever supervises it would.
    pub fn start_failed(&self, role: &'static str) {
        let mut state = self.lock();
        let again = state.now + Duration::from_secs(1);
        if let Some(life) = state.life_mut(role) {
            life.die(again);
        }
    }

    /// How often each crash point was passed.
    pub fn points(&self) -> BTreeMap<String, u64> {
        self.lock().points.clone()
    }
}

impl Hand for Perils {
    fn inject(&self, fault: &Fault) -> Result<(), String> {
        let place = vocabulary::place_of(fault.target).ok_or("a role has to be told of this fault")?;
        let active = Active::new(fault, place, self.seeds.stream(&fault.name));
        tracing::debug!(target: "shop::fault", name = fault.name, fault = %fault, "injected");
        self.lock().inject(active);
        Ok(())
    }

    fn lift(&self, name: &str) -> Option<u64> {
        let hits = self.lock().lift(name)?;
        tracing::debug!(target: "shop::fault", name, hits, "lifted");
        Some(hits)
    }

    fn heal(&self) {
        let names: Vec<String> = self.lock().active.iter().map(|active| active.name.clone()).collect();
        for name in names {
            self.lift(&name);
        }
        let mut state = self.lock();
        let now = state.now;
        state.lives.values_mut().for_each(|life| life.restart_by(now));
    }

    fn is_whole(&self) -> bool {
        let state = self.lock();
        state.lives.values().all(Life::is_up) && Arc::strong_count(&state.on_their_way) == 1
    }

    fn is_up(&self, target: &Target) -> bool {
        self.lock().life(target.role).is_none_or(Life::is_up)
    }

    fn lives(&self, target: &Target) -> u32 {
        self.lock().life(target.role).map_or(1, |life| life.number)
    }

    fn was_disturbed(&self, target: &Target) -> bool {
        self.lock().life(target.role).is_some_and(|life| life.disturbed)
    }

    fn points(&self) -> BTreeMap<String, u64> {
        Perils::points(self)
    }
}

/// What befalls one role.
struct RoleFate {
    perils: Perils,
    role: &'static str,
}

impl Fate for RoleFate {
    fn pass(&self, point: &str) -> Passage {
        self.perils.lock().pass(self.role, point)
    }

    fn is_dead(&self) -> bool {
        self.perils.lock().life(self.role).is_some_and(|life| life.flags.dead.load(Ordering::Relaxed))
    }

    fn call(&self, to: &str) -> CallFate {
        let mut fate = CallFate::default();
        let mut state = self.perils.lock();
        for active in &mut state.active {
            if !matches!(active.place, Place::Link { from, to: peer } if from == self.role && peer == to) {
                continue;
            }
            let kind = active.kind;
            let befell = match kind {
                "latency" => {
                    fate.delay += active.duration("latency");
                    true
                }
                "drop" if active.strikes() => {
                    fate.lost = Some(if active.stream.random_bool(0.5) { Lost::Request } else { Lost::Reply });
                    true
                }
                "duplicate" if active.strikes() => {
                    fate.again = Some(active.duration("after"));
                    true
                }
                // What becomes of it is up to its connection.
                "down" | "timeout" | "reset_peer" => true,
                _ => false,
            };
            active.hits += u64::from(befell);
        }
        fate.on_its_way = (!fate.is_plain()).then(|| state.on_their_way.clone());
        fate
    }

    fn storage_refuses(&self, write: bool) -> Option<&'static str> {
        let mut state = self.perils.lock();
        if state.life(self.role).is_some_and(|life| life.flags.dead.load(Ordering::Relaxed)) {
            return Some("the process is gone");
        }
        let role = self.role;
        let mut refusal = None;
        for active in state.active.iter_mut().filter(|active| active.place == Place::Storage(role)) {
            let kind = active.kind;
            let why = match kind {
                "down" => Some("nobody answers"),
                "error_rate" if write && active.strikes() => Some("it was refused"),
                _ => None,
            };
            active.hits += u64::from(why.is_some());
            refusal = refusal.or(why);
        }
        refusal
    }

    fn storage_loses_answer(&self) -> bool {
        self.perils.lock().strike(Place::Storage(self.role), "lost_answer")
    }
}
