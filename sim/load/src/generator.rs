//! Starts journeys when they are due.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use chassis::rng::Seeds;
use rand::seq::SliceRandom;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::journey::{Journey, Stage};
use scenario::schedule::{ArrivalPlan, VuPlan};
use scenario::{Executor, Group};

/// Plays the groups of a scenario.
pub struct Generator {
    pub stage: Arc<Stage>,
    pub seeds: Seeds,
    pub scenario_seed: u64,
}

/// What the journeys of one group share.
struct Crew {
    stage: Arc<Stage>,
    group: Group,
    seeds: Seeds,
    scenario_seed: u64,
    /// The order in which users are drawn; the n-th arrival is the n-th of it, around and around.
    permutation: Vec<usize>,
    next: AtomicU64,
    journeys: TaskTracker,
    /// Cancelled when journeys have had all the time they get.
    give_up: CancellationToken,
}

impl Generator {
    /// Runs all groups to their end, then lets journeys finish for as long as `graceful`; those that
    /// have not are interrupted where they are. The stage's stop signal ends the load early, gently.
    pub async fn run(&self, groups: &[Group], graceful: Duration) {
        let mut permutation: Vec<usize> = (0..self.stage.shoppers.len()).collect();
        permutation.shuffle(&mut self.seeds.stream("users"));
        let (journeys, give_up) = (TaskTracker::new(), CancellationToken::new());
        let executors = TaskTracker::new();
        for group in groups {
            let crew = Arc::new(Crew {
                stage: self.stage.clone(),
                group: group.clone(),
                seeds: self.seeds.scope(&group.name),
                scenario_seed: self.scenario_seed,
                permutation: permutation.clone(),
                next: AtomicU64::new(0),
                journeys: journeys.clone(),
                give_up: give_up.clone(),
            });
            match &group.executor {
                Executor::Arrivals(plan) => executors.spawn(arrivals(crew, plan.clone())),
                Executor::ConstantVus { vus, duration } => executors.spawn(virtual_users(crew, *vus, *duration)),
                Executor::RampingVus(plan) => executors.spawn(ramping_users(crew, plan.clone())),
                Executor::SharedIterations { vus, iterations, max_duration } => {
                    let all = Arc::new(AtomicU64::new(*iterations));
                    let quotas = (0..*vus).map(|_| all.clone()).collect();
                    executors.spawn(counted_users(crew, quotas, *max_duration))
                }
                Executor::PerVuIterations { vus, iterations, max_duration } => {
                    let quotas = (0..*vus).map(|_| Arc::new(AtomicU64::new(*iterations))).collect();
                    executors.spawn(counted_users(crew, quotas, *max_duration))
                }
            };
        }
        executors.close();
        executors.wait().await;
        journeys.close();
        if tokio::time::timeout(graceful, journeys.wait()).await.is_err() {
            give_up.cancel();
            journeys.wait().await;
        }
    }
}

impl Crew {
    /// The number of the next journey.
    fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// The journey with this number, due at `due`.
    fn journey(&self, number: u64, due: Instant) -> Journey {
        let users = self.permutation.len().max(1) as u64;
        let place = usize::try_from(number % users).unwrap_or_default();
        let shopper = self.permutation.get(place).copied().unwrap_or_default();
        let name = format!("{}-{}-{number}", self.scenario_seed, self.group.name);
        let random = self.seeds.stream(&number.to_string());
        Journey::new(self.stage.clone(), shopper, name, random, due)
    }

    /// A virtual user: plays journeys one after the other, the first due when `first` of the load's time
    /// has passed, while it is not stopped and there are `more` at the load's time of each.
    async fn repeat(&self, first: Duration, more: impl Fn(Duration) -> bool) {
        let clock = &self.stage.clock;
        let Some(mut due) = self.unless_stopped(clock.reach(first)).await else { return };
        self.stage.recorder.began(Instant::now() - due);
        while more(clock.elapsed()) {
            let number = self.number();
            if self.group.is_over(number) {
                return;
            }
            // Those that are left out take no time; their numbers end, so that this does.
            if !self.group.plays(number) {
                continue;
            }
            if !self.play(number, due).await {
                return;
            }
            // A pause holds up whoever would start over.
            if self.unless_stopped(clock.running()).await.is_none() {
                return;
            }
            due = Instant::now();
        }
    }

    /// What is waited for, unless the load is stopped first.
    async fn unless_stopped<T>(&self, waiting: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.stage.stop.cancelled() => None,
            () = self.give_up.cancelled() => None,
            reached = waiting => Some(reached),
        }
    }

    /// Plays the journey with this number, due at `due`; answers whether it came to its end.
    async fn play(&self, number: u64, due: Instant) -> bool {
        self.stage.recorder.begun();
        tokio::select! {
            biased;
            () = self.give_up.cancelled() => {
                self.stage.recorder.interrupted();
                false
            }
            ended = self.journey(number, due).play(&self.group.journey) => ended,
        }
    }
}

/// The open model: each arrival at its own time, whatever became of those before. If all virtual
/// users are busy the arrival is dropped, and counted.
async fn arrivals(crew: Arc<Crew>, plan: ArrivalPlan) {
    let slots = Arc::new(Semaphore::new(plan.max_vus as usize));
    for offset in plan.arrivals() {
        let due = tokio::select! {
            biased;
            () = crew.stage.stop.cancelled() => return,
            due = crew.stage.clock.reach(offset) => due,
        };
        let number = crew.number();
        if !crew.group.plays(number) {
            continue;
        }
        let Ok(slot) = slots.clone().try_acquire_owned() else {
            crew.stage.recorder.dropped();
            continue;
        };
        crew.stage.recorder.began(Instant::now() - due);
        let crew = crew.clone();
        crew.journeys.clone().spawn(async move {
            crew.play(number, due).await;
            drop(slot);
        });
    }
}

/// The closed model: each virtual user starts over when it is through.
async fn virtual_users(crew: Arc<Crew>, vus: u32, duration: Duration) {
    for _ in 0..vus {
        let looped = crew.clone();
        crew.journeys.spawn(async move { looped.repeat(Duration::ZERO, |reached| reached < duration).await });
    }
    tokio::select! {
        biased;
        () = crew.stage.stop.cancelled() => {}
        _ = crew.stage.clock.reach(duration) => {}
    }
}

/// The closed model with virtual users that come and go. One that is no longer wanted ends after its
/// journey, and goes on if it is wanted again by then.
async fn ramping_users(crew: Arc<Crew>, plan: VuPlan) {
    let wanted = Arc::new(AtomicU32::new(0));
    let mut users: Vec<JoinHandle<()>> = Vec::new();
    // At the end nobody is wanted any more.
    for (offset, vus) in plan.changes().chain([(plan.duration(), 0)]) {
        tokio::select! {
            biased;
            () = crew.stage.stop.cancelled() => break,
            _ = crew.stage.clock.reach(offset) => {}
        }
        let before = wanted.swap(vus, Ordering::Relaxed);
        for user in before..vus {
            let place = user as usize;
            if users.get(place).is_some_and(|task| !task.is_finished()) {
                continue;
            }
            let (looped, wanted) = (crew.clone(), wanted.clone());
            let task = crew.journeys.spawn(async move {
                looped.repeat(offset, |_| user < wanted.load(Ordering::Relaxed)).await;
            });
            // Users come in the order of their numbers, so there is no gap.
            if let Some(ended) = users.get_mut(place) { *ended = task } else { users.push(task) }
        }
    }
    wanted.store(0, Ordering::Relaxed);
}

/// The closed model with a number of journeys: one virtual user for each quota, which may be shared.
async fn counted_users(crew: Arc<Crew>, quotas: Vec<Arc<AtomicU64>>, longest: Duration) {
    let users = TaskTracker::new();
    for left in quotas {
        let (looped, token) = (crew.clone(), users.token());
        crew.journeys.spawn(async move {
            let more = |reached| {
                reached < longest
                    && left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok()
            };
            looped.repeat(Duration::ZERO, more).await;
            drop(token);
        });
    }
    users.close();
    tokio::select! {
        biased;
        () = crew.stage.stop.cancelled() => {}
        () = users.wait() => {}
        _ = crew.stage.clock.reach(longest) => {}
    }
}
