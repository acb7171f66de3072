//! Starts journeys when they are due.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use chassis::rng::Seeds;
use rand::seq::SliceRandom;
use tokio::sync::Semaphore;
use tokio::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::journey::{Journey, Stage};
use crate::scenario::schedule::ArrivalPlan;
use crate::scenario::{Executor, Group};

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
    /// The next journey, due at `due`.
    fn journey(&self, due: Instant) -> Journey {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let users = self.permutation.len().max(1) as u64;
        let place = usize::try_from(number % users).unwrap_or_default();
        let shopper = self.permutation.get(place).copied().unwrap_or_default();
        let name = format!("{}-{}-{number}", self.scenario_seed, self.group.name);
        let random = self.seeds.stream(&number.to_string());
        Journey::new(self.stage.clone(), shopper, name, random, due)
    }

    /// Plays a journey due at `due`; answers whether it came to its end.
    async fn play(&self, due: Instant) -> bool {
        self.stage.recorder.begun();
        tokio::select! {
            biased;
            () = self.give_up.cancelled() => {
                self.stage.recorder.interrupted();
                false
            }
            ended = self.journey(due).play(&self.group.journey) => ended,
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
        let Ok(slot) = slots.clone().try_acquire_owned() else {
            crew.stage.recorder.dropped();
            continue;
        };
        crew.stage.recorder.began(Instant::now() - due);
        let crew = crew.clone();
        crew.journeys.clone().spawn(async move {
            crew.play(due).await;
            drop(slot);
        });
    }
}

/// The closed model: each virtual user starts over when it is through.
async fn virtual_users(crew: Arc<Crew>, vus: u32, duration: Duration) {
    for _ in 0..vus {
        let looped = crew.clone();
        crew.journeys.spawn(async move {
            let clock = &looped.stage.clock;
            let due = clock.reach(Duration::ZERO).await;
            looped.stage.recorder.began(Instant::now() - due);
            let mut next = Some(due);
            while let Some(due) = next {
                let came_to_its_end = looped.play(due).await;
                // The present moment, or the end of a pause.
                let reached = clock.elapsed();
                next = match came_to_its_end && reached < duration {
                    true => Some(clock.reach(reached).await.max(Instant::now())),
                    false => None,
                };
            }
        });
    }
    tokio::select! {
        biased;
        () = crew.stage.stop.cancelled() => {}
        _ = crew.stage.clock.reach(duration) => {}
    }
}
