//! When arrivals are due. Pure arithmetic: the same plan gives the same instants everywhere.

use std::time::Duration;

/// Arrivals whose rate moves along straight lines, whatever the shop does with them.
#[derive(Debug, Clone, PartialEq)]
pub struct ArrivalPlan {
    /// Arrivals per second at the start.
    pub start_rate_per_s: f64,
    pub stages: Vec<Stage>,
    /// How many journeys may be under way at once; an arrival beyond them is dropped and counted.
    pub max_vus: u32,
}

/// A stretch of time in which the rate moves in a straight line from where it was to its target.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stage {
    /// Zero is a jump to the target.
    pub duration: Duration,
    /// Arrivals per second at the end.
    pub target_per_s: f64,
}

impl ArrivalPlan {
    /// How long all stages take together.
    pub fn duration(&self) -> Duration {
        self.stages.iter().map(|stage| stage.duration).sum()
    }

    /// How many arrivals there are: the area under the rate, to the nearest whole.
    pub fn total(&self) -> u64 {
        let area: f64 = self.ramps().map(|ramp| ramp.area()).sum();
        (area + 0.5) as u64
    }

    /// The planned rate, in arrivals per second, at `offset` from the start; 0 after the end.
    pub fn rate_at(&self, offset: Duration) -> f64 {
        let mut begins = Duration::ZERO;
        for ramp in self.ramps() {
            let ends = begins + ramp.duration;
            if offset < ends {
                return ramp.rate_after((offset - begins).as_secs_f64());
            }
            begins = ends;
        }
        0.0
    }

    /// The instants at which arrivals are due, from the start of the load: arrival k (from 0) where
    /// the area under the rate reaches k + ½. They never decrease and never pass the end. Memory does
    /// not grow with their number.
    pub fn arrivals(&self) -> Arrivals {
        Arrivals {
            ramps: self.ramps().collect(),
            current: 0,
            begins: Duration::ZERO,
            area_before: 0.0,
            next: 0,
            total: self.total(),
            last: Duration::ZERO,
        }
    }

    fn ramps(&self) -> impl Iterator<Item = Ramp> + '_ {
        self.stages.iter().scan(self.start_rate_per_s, |rate, stage| {
            let from = std::mem::replace(rate, stage.target_per_s);
            Some(Ramp { from, to: stage.target_per_s, duration: stage.duration })
        })
    }
}

/// A number of virtual users that moves along straight lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VuPlan {
    pub start_vus: u32,
    pub stages: Vec<VuStage>,
}

/// A stretch of time in which virtual users come or go, evenly spaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VuStage {
    /// Zero is a jump to the target.
    pub duration: Duration,
    /// Virtual users at the end.
    pub target: u32,
}

impl VuPlan {
    /// How long all stages take together.
    pub fn duration(&self) -> Duration {
        self.stages.iter().map(|stage| stage.duration).sum()
    }

    /// The most virtual users at any time.
    pub fn most(&self) -> u32 {
        self.stages.iter().map(|stage| stage.target).fold(self.start_vus, u32::max)
    }

    /// When the number of virtual users changes, from the start of the load, and to what; the number at
    /// the start comes first. Each change is by one, the last of a stage at its end.
    pub fn changes(&self) -> impl Iterator<Item = (Duration, u32)> + '_ {
        let stages = self.stages.iter().scan((Duration::ZERO, self.start_vus), |(begins, vus), stage| {
            let begun = std::mem::replace(begins, *begins + stage.duration);
            let from = std::mem::replace(vus, stage.target);
            Some((begun, from, *stage))
        });
        let changes = stages.flat_map(|(begins, from, stage)| {
            let steps = from.abs_diff(stage.target);
            (1..=steps).map(move |step| {
                let vus = if stage.target > from { from + step } else { from - step };
                // Nanoseconds of a day times the most users there are stay far below 128 bits.
                let nanos = stage.duration.as_nanos() * u128::from(step) / u128::from(steps);
                (begins + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)), vus)
            })
        });
        std::iter::once((Duration::ZERO, self.start_vus)).chain(changes)
    }
}

/// A stage with the rate it starts from.
#[derive(Debug, Clone, Copy)]
struct Ramp {
    from: f64,
    to: f64,
    duration: Duration,
}

impl Ramp {
    fn area(&self) -> f64 {
        (self.from + self.to) / 2.0 * self.duration.as_secs_f64()
    }

    /// Per second and second; 0 for a jump.
    fn slope(&self) -> f64 {
        let seconds = self.duration.as_secs_f64();
        if seconds > 0.0 { (self.to - self.from) / seconds } else { 0.0 }
    }

    fn rate_after(&self, seconds: f64) -> f64 {
        self.from + self.slope() * seconds
    }

    /// When the area from this ramp's start reaches `area`.
    ///
    /// The root of `from·t + slope·t²/2 = area`, in the form that also holds for a slope of 0 and
    /// loses no digits where the two terms of the textbook form cancel.
    fn reaches(&self, area: f64) -> Duration {
        let root = (self.from * self.from + 2.0 * self.slope() * area).max(0.0).sqrt();
        let seconds = 2.0 * area / (self.from + root);
        // 0/0 where nothing happens: a ramp of rate 0, asked for an area of 0.
        let seconds = if seconds.is_finite() { seconds.max(0.0) } else { 0.0 };
        Duration::try_from_secs_f64(seconds).unwrap_or(self.duration).min(self.duration)
    }
}

/// The arrivals of an [`ArrivalPlan`], each as the time since the load's start.
#[derive(Debug, Clone)]
pub struct Arrivals {
    ramps: Vec<Ramp>,
    current: usize,
    begins: Duration,
    area_before: f64,
    next: u64,
    total: u64,
    last: Duration,
}

impl Iterator for Arrivals {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        if self.next == self.total {
            return None;
        }
        let area = self.next as f64 + 0.5;
        // Rounding may leave the last arrival a hair past the last ramp: it is due at its end.
        while self.current + 1 < self.ramps.len() && area > self.area_before + self.ramps.get(self.current)?.area() {
            let ramp = self.ramps.get(self.current)?;
            self.area_before += ramp.area();
            self.begins += ramp.duration;
            self.current += 1;
        }
        let ramp = self.ramps.get(self.current)?;
        // Two neighbours may round to a decrease of a nanosecond.
        self.last = self.last.max(self.begins + ramp.reaches(area - self.area_before));
        self.next += 1;
        Some(self.last)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::try_from(self.total - self.next).unwrap_or(usize::MAX);
        (left, Some(left))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plan(start: f64, stages: &[(u64, f64)]) -> ArrivalPlan {
        let stage = |&(ms, target_per_s): &(u64, f64)| Stage { duration: Duration::from_millis(ms), target_per_s };
        ArrivalPlan { start_rate_per_s: start, stages: stages.iter().map(stage).collect(), max_vus: 1 }
    }

    #[test]
    fn the_flash_sale_has_two_thousand_buyers() {
        let plan = plan(20.0, &[(4000, 245.0), (6000, 245.0)]);
        assert_eq!(plan.total(), 2000);
        assert_eq!(plan.arrivals().filter(|due| *due < Duration::from_secs(4)).count(), 530);
        assert_eq!(plan.arrivals().count(), 2000);
    }

    #[test]
    fn a_constant_rate_is_evenly_spaced() {
        let due: Vec<_> = plan(2.0, &[(2000, 2.0)]).arrivals().map(|due| due.as_millis()).collect();
        assert_eq!(due, [250, 750, 1250, 1750]);
    }

    #[test]
    fn a_ramp_up_and_the_same_ramp_down_mirror_each_other() {
        let (up, down) = (plan(0.0, &[(10_000, 20.0)]), plan(20.0, &[(10_000, 0.0)]));
        let mirrored: Vec<_> = down.arrivals().map(|due| 10_000 - due.as_millis().min(10_000)).collect();
        let rising: Vec<_> = up.arrivals().map(|due| due.as_millis()).collect();
        assert_eq!(rising.len(), 100);
        for (rise, fall) in rising.iter().zip(mirrored.iter().rev()) {
            assert!(rise.abs_diff(*fall) <= 1, "{rise} {fall}");
        }
    }

    #[test]
    fn a_stage_without_duration_is_a_jump() {
        let plan = plan(0.0, &[(1000, 0.0), (0, 4.0), (1000, 4.0), (0, 0.0)]);
        let due: Vec<_> = plan.arrivals().map(|due| due.as_millis()).collect();
        assert_eq!(due, [1125, 1375, 1625, 1875]);
        let rates = [999, 1000, 1999, 2000].map(|ms| plan.rate_at(Duration::from_millis(ms)) as u32);
        assert_eq!(rates, [0, 4, 4, 0]);
    }

    #[test]
    fn the_planned_rate_follows_the_line() {
        let plan = plan(20.0, &[(4000, 245.0), (6000, 245.0)]);
        assert!((plan.rate_at(Duration::from_secs(2)) - 132.5).abs() < 1e-9);
        assert!((plan.rate_at(Duration::from_secs(9)) - 245.0).abs() < 1e-9);
    }

    #[test]
    fn virtual_users_come_and_go_one_by_one() {
        let stage = |ms, target| VuStage { duration: Duration::from_millis(ms), target };
        let plan = VuPlan { start_vus: 1, stages: vec![stage(1000, 3), stage(500, 3), stage(0, 5), stage(1000, 4)] };
        let changes: Vec<_> = plan.changes().map(|(at, vus)| (at.as_millis(), vus)).collect();
        assert_eq!(changes, [(0, 1), (500, 2), (1000, 3), (1500, 4), (1500, 5), (2500, 4)]);
        assert_eq!((plan.duration().as_millis(), plan.most()), (2500, 5));
    }

    proptest! {
        #[test]
        fn arrivals_are_ordered_counted_and_in_time(
            start in 0.0..500.0_f64,
            stages in prop::collection::vec((0..4000_u64, prop_oneof![Just(0.0), 0.0..500.0_f64]), 1..6),
        ) {
            let plan = plan(start, &stages);
            let due: Vec<_> = plan.arrivals().collect();
            prop_assert_eq!(due.len() as u64, plan.total());
            prop_assert!(due.is_sorted());
            prop_assert!(due.iter().all(|due| *due <= plan.duration()));
        }

        #[test]
        fn each_arrival_stands_where_the_area_says(start in 0.0..100.0_f64, target in 0.0..100.0_f64, ms in 1000..9000_u64) {
            let plan = plan(start, &[(ms, target)]);
            let slope = (target - start) / (ms as f64 / 1000.0);
            for (k, due) in plan.arrivals().enumerate() {
                let t = due.as_secs_f64();
                let area = start * t + slope * t * t / 2.0;
                prop_assert!((area - (k as f64 + 0.5)).abs() < 1e-4, "{k}: {area}");
            }
        }
    }
}
