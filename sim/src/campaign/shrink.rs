//! Makes a failing scenario smaller while it breaks the same invariant: first the faults, then the
//! journeys, by delta debugging (Zeller & Hildebrandt, *Simplifying and isolating failure-inducing input*,
//! 2002); then the load's time, its products and its users, where that is easy.
//!
//! Every candidate is a whole text that needs no seed and draws nothing. What fails is what is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::crew::{Assignment, Crew, Ending};
use super::play::Played;
use scenario::{Draft, Executor, Known, PlannedFault, Scenario};

/// Most plays for one scenario.
pub const TRIES_MAX: u32 = 400;
/// Ends of the load are rounded up to this.
const GRAIN: Duration = Duration::from_millis(100);

/// A journey: its group and its number.
type Journey = (String, u64);

/// How big a failing scenario is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    pub faults: usize,
    pub journeys: usize,
    pub load: Duration,
}

/// What is left of a scenario.
#[derive(Debug, Clone)]
pub struct Shrunk {
    pub draft: Draft,
    /// How it failed the last time.
    pub played: Played,
    pub before: Size,
    pub after: Size,
    pub tries: u32,
    /// Whether it was ended before its time: by its bound, or by the user.
    pub cut_off: bool,
}

/// Told after each batch of tries: how many there were, and what is left by now.
pub type Tell<'a> = &'a mut dyn FnMut(u32, &str);

struct Shrinker<'a> {
    crew: &'a mut Crew,
    known: &'a Known,
    invariant: &'a str,
    stop: &'a CancellationToken,
    tell: Tell<'a>,
    tries: u32,
    best: Draft,
    played: Played,
}

/// Shrinks `draft`, which breaks `invariant`.
///
/// # Errors
/// One line: the text does not break it by itself.
pub async fn shrink(
    crew: &mut Crew,
    draft: Draft,
    invariant: &str,
    known: &Known,
    stop: &CancellationToken,
    tell: Tell<'_>,
) -> Result<Shrunk, String> {
    let (tries, played) = (0, Played::failed(experiment::report::exit::ExitCode::Kept, String::new()));
    let mut shrinker = Shrinker { crew, known, invariant, stop, tell, tries, best: draft.clone(), played };
    if shrinker.first_failing(vec![draft]).await.is_none() {
        return Err(format!("it does not break {invariant} once its faults are written down"));
    }
    let before = shrinker.size();
    shrinker.faults().await;
    shrinker.journeys().await;
    shrinker.time().await;
    shrinker.products().await;
    shrinker.users().await;
    // With less going on, a fault may have become needless.
    shrinker.faults().await;
    let (after, cut_off) = (shrinker.size(), shrinker.is_over());
    let Shrinker { best, played, tries, .. } = shrinker;
    Ok(Shrunk { draft: best, played, before, after, tries, cut_off })
}

impl Shrinker<'_> {
    fn is_over(&self) -> bool {
        self.tries >= TRIES_MAX || self.stop.is_cancelled()
    }

    fn scenario(&self) -> Option<Scenario> {
        self.best.parse("shrunk", self.known).ok()
    }

    fn size(&self) -> Size {
        let journeys = self.played.journeys.values().map(BTreeSet::len).sum();
        let scenario = self.scenario();
        let load = scenario.as_ref().map(Scenario::duration).unwrap_or_default();
        Size { faults: scenario.map_or(0, |scenario| scenario.faults.len()), journeys, load }
    }

    /// Plays the candidates, as many at once as there are processes, up to the first in their order
    /// that still fails; that one is the best from then on.
    async fn first_failing(&mut self, candidates: Vec<Draft>) -> Option<usize> {
        let at_once = self.crew.jobs().max(1);
        let mut first = 0;
        for batch in candidates.chunks(at_once) {
            if self.is_over() {
                return None;
            }
            // What is impossible does not fail.
            let possible = |draft: &&Draft| draft.parse("shrunk", self.known).is_ok();
            let played: Vec<(usize, &Draft)> = batch.iter().enumerate().filter(|(_, draft)| possible(draft)).collect();
            let assignments =
                played.iter().map(|(_, draft)| Assignment { number: 0, seed: 0, text: Some(draft.text()) });
            let endings = self.crew.all(assignments.collect()).await;
            self.tries += u32::try_from(played.len()).unwrap_or(u32::MAX);
            let failing = played.into_iter().zip(endings).find_map(|((index, draft), ending)| match ending {
                Ending::Played(played) if played.breaks(self.invariant) => Some((index, draft.clone(), *played)),
                _ => None,
            });
            if let Some((index, draft, played)) = failing {
                (self.best, self.played) = (draft, played);
                self.report();
                return Some(first + index);
            }
            self.report();
            first += batch.len();
        }
        None
    }

    fn report(&mut self) {
        let Size { faults, journeys, load } = self.size();
        (self.tell)(self.tries, &format!("{faults} faults, {journeys} journeys, {:.1} s", load.as_secs_f64()));
    }

    /// The fewest of `kept` with which it still fails: none can be left out by itself. All of them
    /// together fail.
    async fn fewest<T: Clone>(&mut self, mut kept: Vec<T>, with: impl Fn(&Draft, &[T]) -> Draft) -> Vec<T> {
        let mut parts = 2;
        while kept.len() >= 2 && !self.is_over() {
            let chunk = kept.len().div_ceil(parts);
            let mut fewer: Vec<Vec<T>> = kept.chunks(chunk).map(<[T]>::to_vec).collect();
            let subsets = fewer.len();
            if subsets > 2 {
                for left_out in 0..subsets {
                    let rest = kept.chunks(chunk).enumerate().filter(|(index, _)| *index != left_out);
                    fewer.push(rest.flat_map(|(_, part)| part.to_vec()).collect());
                }
            }
            let candidates = fewer.iter().map(|some| with(&self.best, some)).collect();
            match self.first_failing(candidates).await {
                Some(index) => {
                    parts = if index < subsets { 2 } else { (subsets - 1).max(2) };
                    kept = fewer.swap_remove(index);
                }
                None if chunk == 1 => break,
                None => parts = (parts * 2).min(kept.len()),
            }
        }
        kept
    }

    async fn faults(&mut self) {
        let faults = self.scenario().map(|scenario| scenario.faults).unwrap_or_default();
        if faults.is_empty() {
            return;
        }
        let with = |best: &Draft, some: &[PlannedFault]| {
            let mut draft = best.clone();
            draft.set_faults(some);
            draft
        };
        let without = with(&self.best, &[]);
        if self.first_failing(vec![without]).await.is_none() {
            self.fewest(faults, with).await;
        }
    }

    async fn journeys(&mut self) {
        let Some(scenario) = self.scenario() else { return };
        let groups: Vec<String> = scenario.load.iter().map(|group| group.name.clone()).collect();
        let with = |best: &Draft, some: &[Journey]| {
            let mut chosen: BTreeMap<&str, BTreeSet<u64>> = BTreeMap::new();
            for (group, number) in some {
                chosen.entry(group).or_default().insert(*number);
            }
            let mut draft = best.clone();
            // Those that stay come first: the last group cannot be taken out.
            for group in groups.iter().filter(|group| chosen.contains_key(group.as_str())) {
                draft.set_only(group, &chosen[group.as_str()]);
            }
            for group in groups.iter().filter(|group| !chosen.contains_key(group.as_str())) {
                draft.set_only(group, &BTreeSet::new());
            }
            draft
        };
        let ordering: Vec<Journey> = pairs(&self.played.journeys);
        let candidate = with(&self.best, &ordering);
        if !ordering.is_empty() && self.first_failing(vec![candidate]).await.is_some() {
            self.fewest(ordering, with).await;
            return;
        }
        // Journeys that order nothing matter too: all of them, as far as they can be counted beforehand.
        let mut all: Vec<Journey> = Vec::new();
        for group in &scenario.load {
            let Executor::Arrivals(plan) = &group.executor else { return };
            all.extend((0..plan.total()).filter(|number| group.plays(*number)).map(|n| (group.name.clone(), n)));
        }
        let candidate = with(&self.best, &all);
        if self.first_failing(vec![candidate]).await.is_some() {
            self.fewest(all, with).await;
        }
    }

    /// Ends the load after its last journey: with the last fault lifted then, or else by itself.
    async fn time(&mut self) {
        let Some(scenario) = self.scenario() else { return };
        let last = scenario.load.iter().map(|group| match &group.executor {
            Executor::Arrivals(plan) => {
                let played = (0_u64..).zip(plan.arrivals()).filter(|(number, _)| group.plays(*number));
                played.last().map(|(_, due)| due).unwrap_or_default()
            }
            other => other.duration(),
        });
        let last = last.max().unwrap_or_default();
        let begun = scenario.faults.iter().map(|fault| fault.at).max().unwrap_or_default();
        let lifted = scenario.faults.iter().map(|fault| fault.at + fault.lasts).max().unwrap_or_default();
        let candidates = [last.max(begun), last.max(lifted)].into_iter().filter_map(|end| {
            let mut draft = self.best.clone();
            draft.end_load_at(rounded(end), &scenario).then_some(draft)
        });
        let candidates = candidates.collect();
        self.first_failing(candidates).await;
    }

    async fn products(&mut self) {
        let mut draft = self.best.clone();
        if draft.keep_named_products() {
            self.first_failing(vec![draft]).await;
        }
    }

    async fn users(&mut self) {
        let Some(scenario) = self.scenario() else { return };
        let journeys = u32::try_from(self.size().journeys).unwrap_or(u32::MAX).max(1);
        let fewer = [1, journeys, journeys.saturating_mul(2)];
        let fewer: BTreeSet<u32> = fewer.into_iter().filter(|users| *users < scenario.shop.users).collect();
        let candidates = fewer.into_iter().map(|users| {
            let mut draft = self.best.clone();
            draft.set_users(users);
            draft
        });
        let candidates = candidates.collect();
        self.first_failing(candidates).await;
    }
}

fn pairs(journeys: &BTreeMap<String, BTreeSet<u64>>) -> Vec<Journey> {
    journeys.iter().flat_map(|(group, numbers)| numbers.iter().map(|number| (group.clone(), *number))).collect()
}

/// Beyond the moment itself, so that what is due then still is.
fn rounded(end: Duration) -> Duration {
    let grains = u32::try_from(end.as_millis() / GRAIN.as_millis() + 1).unwrap_or(u32::MAX);
    GRAIN.saturating_mul(grains)
}

/// What a shrunk scenario says of itself before its first key.
pub struct Found<'a> {
    /// The scenario that was played, as it was called.
    pub scenario: &'a str,
    pub seed: u64,
    pub invariant: &'a str,
    /// Where the shrunk one goes.
    pub path: &'a str,
}

/// The file of a shrunk scenario.
pub fn file(shrunk: &Shrunk, found: &Found<'_>) -> String {
    let Found { scenario, seed, invariant, path } = found;
    let (before, after) = (shrunk.before, shrunk.after);
    let mut lines = vec![
        format!("Shows how {invariant} is broken. Found by seed {seed} of {scenario}, and made smaller while it"),
        "still showed that. It draws no faults and fails by itself:".to_owned(),
        String::new(),
        format!("  shopctl simulate {path}"),
        format!("  shopctl run {path}    # in real time the interleaving is not fixed, and it may pass"),
        String::new(),
        format!(
            "{} of {} faults are left, {} of {} journeys that order, {:.1} of {:.1} s of load; {} tries{}.",
            after.faults,
            before.faults,
            after.journeys,
            before.journeys,
            after.load.as_secs_f64(),
            before.load.as_secs_f64(),
            shrunk.tries,
            if shrunk.cut_off { ", then it was ended" } else { "" }
        ),
    ];
    if let Some(history) = &shrunk.played.history {
        lines.push(String::new());
        lines.push(history.example.clone());
        lines.push(String::new());
        lines.extend(history.text.lines().map(str::to_owned));
    }
    let comment: String = lines.iter().map(|line| format!("{}\n", format!("# {line}").trim_end())).collect();
    format!("{comment}\n{}", shrunk.draft.text())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_rounded_beyond_the_moment() {
        for (ms, end) in [(0, 100), (99, 100), (100, 200), (1234, 1300)] {
            assert_eq!(rounded(Duration::from_millis(ms)), Duration::from_millis(end));
        }
    }
}
