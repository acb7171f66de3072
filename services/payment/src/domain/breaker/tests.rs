use super::*;
use proptest::prelude::*;

const QUICK: Duration = Duration::from_millis(1);
const SLOW: Duration = Duration::from_millis(100);

fn settings() -> Settings {
    Settings {
        window_calls: 10,
        window_time: Duration::from_secs(10),
        minimum_calls: 4,
        failure_rate: 0.5,
        slow_call: SLOW,
        slow_rate: 0.75,
        open_for: Duration::from_secs(1),
        probes: 3,
        probe_timeout: Duration::from_secs(2),
    }
}

fn at(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Makes one call that ends at once; `None` if it was refused.
fn call(breaker: &mut Breaker, ended: Ended, took: Duration, now: Duration) -> Option<Option<Transition>> {
    let (permit, _) = breaker.admit(now);
    permit.map(|permit| breaker.report(permit, ended, took, now))
}

/// A breaker that opened at time zero.
fn opened() -> Breaker {
    let mut breaker = Breaker::new(settings());
    for _ in 0..4 {
        call(&mut breaker, Ended::Failed, QUICK, at(0));
    }
    assert_eq!(breaker.state(), State::Open);
    breaker
}

#[test]
fn opens_at_the_failure_rate_once_there_are_enough_calls() {
    let mut breaker = Breaker::new(settings());
    for _ in 0..3 {
        assert_eq!(call(&mut breaker, Ended::Failed, QUICK, at(0)), Some(None));
    }
    let why = Why::Failures { failed: 4, calls: 4 };
    let expected = Transition { from: State::Closed, to: State::Open, at: at(5), why };
    assert_eq!(call(&mut breaker, Ended::Failed, QUICK, at(5)), Some(Some(expected)));
}

#[test]
fn stays_closed_below_the_rate() {
    let mut breaker = Breaker::new(settings());
    for round in 0..100 {
        let ended = if round % 3 == 2 { Ended::Failed } else { Ended::Succeeded };
        call(&mut breaker, ended, QUICK, at(round));
    }
    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn opens_when_calls_succeed_but_slowly() {
    let mut breaker = Breaker::new(settings());
    for _ in 0..4 {
        call(&mut breaker, Ended::Succeeded, SLOW, at(0));
    }
    assert_eq!(breaker.state(), State::Open);
}

#[test]
fn forgets_calls_by_age_and_by_count() {
    let mut by_age = Breaker::new(settings());
    for _ in 0..3 {
        call(&mut by_age, Ended::Failed, QUICK, at(0));
    }
    call(&mut by_age, Ended::Failed, QUICK, at(10_001));
    assert_eq!(by_age.state(), State::Closed);

    let mut by_count = Breaker::new(Settings { minimum_calls: 10, ..settings() });
    for (ended, times) in [(Ended::Failed, 4), (Ended::Succeeded, 6), (Ended::Failed, 4)] {
        for _ in 0..times {
            call(&mut by_count, ended, QUICK, at(0));
        }
    }
    assert_eq!(by_count.state(), State::Closed, "four of the last ten failed, not eight of fourteen");
}

#[test]
fn refuses_until_it_was_open_for_long_enough_and_then_probes() {
    let mut breaker = opened();
    assert_eq!(breaker.admit(at(999)), (None, None));
    let (permit, transition) = breaker.admit(at(1000));
    assert!(permit.is_some());
    assert_eq!(transition.map(|transition| transition.to), Some(State::HalfOpen));
}

#[test]
fn closes_when_all_probes_have_succeeded() {
    let mut breaker = opened();
    for _ in 0..2 {
        assert_eq!(call(&mut breaker, Ended::Succeeded, QUICK, at(1000)), Some(None));
    }
    let last = call(&mut breaker, Ended::Succeeded, QUICK, at(1001)).flatten();
    assert_eq!(last.map(|transition| (transition.to, transition.why)), Some((State::Closed, Why::ProbesSucceeded)));
}

#[test]
fn opens_again_when_too_many_probes_fail_and_waits_anew() {
    let mut breaker = opened();
    call(&mut breaker, Ended::Failed, QUICK, at(1000));
    call(&mut breaker, Ended::Failed, QUICK, at(1500));
    assert_eq!(breaker.state(), State::Open);
    assert_eq!(breaker.admit(at(2499)), (None, None));
    assert!(breaker.admit(at(2500)).0.is_some());
}

#[test]
fn a_probe_that_never_reports_has_failed() {
    let mut breaker = opened();
    let lost: Vec<_> = (0..3).filter_map(|_| breaker.admit(at(1000)).0).collect();
    assert_eq!(lost.len(), 3);
    assert_eq!(breaker.admit(at(2999)), (None, None), "all places are taken");
    let (permit, transition) = breaker.admit(at(3000));
    assert_eq!((permit, transition.map(|transition| transition.to)), (None, Some(State::Open)));
    for permit in lost {
        assert_eq!(breaker.report(permit, Ended::Succeeded, QUICK, at(3001)), None, "too late to count");
    }
    assert_eq!(breaker.state(), State::Open);
}

#[test]
fn a_released_probe_leaves_its_place_to_another() {
    let mut breaker = opened();
    for _ in 0..10 {
        let (permit, _) = breaker.admit(at(1000));
        breaker.release(permit.unwrap());
    }
    assert_eq!(breaker.state(), State::HalfOpen);
}

#[test]
fn a_call_begun_before_it_opened_is_no_probe() {
    let mut breaker = Breaker::new(settings());
    let (early, _) = breaker.admit(at(0));
    for _ in 0..4 {
        call(&mut breaker, Ended::Failed, QUICK, at(0));
    }
    let (_probe, _) = breaker.admit(at(1000));
    assert_eq!(breaker.report(early.unwrap(), Ended::Failed, QUICK, at(1001)), None);
    assert_eq!(breaker.state(), State::HalfOpen);
}

#[test]
fn a_call_begun_before_it_opened_does_not_count_after_it_closed() {
    let mut breaker = Breaker::new(settings());
    let early: Vec<_> = (0..4).filter_map(|_| breaker.admit(at(0)).0).collect();
    breaker.force(Some(Forced::Open), at(1));
    breaker.force(None, at(1));
    for _ in 0..3 {
        call(&mut breaker, Ended::Succeeded, QUICK, at(2));
    }
    assert_eq!(breaker.state(), State::Closed);
    for permit in early {
        assert_eq!(breaker.report(permit, Ended::Failed, QUICK, at(3)), None);
    }
    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn forced_open_refuses_for_as_long_as_it_is_forced() {
    let mut breaker = Breaker::new(settings());
    assert!(breaker.force(Some(Forced::Open), at(0)).is_some());
    assert_eq!(breaker.admit(at(1_000_000)), (None, None));
    let lifted = breaker.force(None, at(1_000_000));
    assert_eq!(lifted.map(|transition| transition.to), Some(State::HalfOpen));
}

#[test]
fn forced_closed_lets_everything_through() {
    let mut breaker = opened();
    assert!(breaker.force(Some(Forced::Closed), at(1)).is_some());
    for _ in 0..100 {
        assert_eq!(call(&mut breaker, Ended::Failed, QUICK, at(1)), Some(None));
    }
    assert_eq!(breaker.force(None, at(2)), None);
    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn the_window_counts_what_is_not_too_old_and_changes_nothing() {
    let mut breaker = Breaker::new(Settings { minimum_calls: 10, ..settings() });
    call(&mut breaker, Ended::Failed, QUICK, at(0));
    call(&mut breaker, Ended::Succeeded, SLOW, at(5_000));
    call(&mut breaker, Ended::Failed, SLOW, at(6_000));
    let counts = |now| {
        let Window { calls, failed, slow, .. } = breaker.window(at(now));
        (calls, failed, slow)
    };
    assert_eq!(counts(6_000), (3, 2, 2));
    assert_eq!(counts(10_000), (3, 2, 2), "as old as it may be");
    assert_eq!(counts(10_001), (2, 1, 2));
    assert_eq!(counts(60_000), (0, 0, 0));
    assert_eq!(counts(6_000), (3, 2, 2), "it was only looked at");
}

#[test]
fn the_window_tells_how_long_it_stays_open_and_how_the_probes_are_doing() {
    let mut breaker = opened();
    assert_eq!(breaker.window(at(400)), Window { open_for_left: Some(at(600)), ..Window::default() });
    assert_eq!(breaker.window(at(5_000)).open_for_left, Some(Duration::ZERO), "nobody has asked for leave since");
    breaker.force(Some(Forced::Open), at(5_000));
    assert_eq!(breaker.window(at(5_000)), Window::default(), "for as long as it is forced");

    let mut breaker = opened();
    call(&mut breaker, Ended::Succeeded, QUICK, at(1_000));
    let (_lost, _) = breaker.admit(at(1_000));
    assert_eq!(breaker.window(at(2_999)), Window { probes_reported: 1, ..Window::default() });
    assert_eq!(breaker.window(at(3_000)).probes_reported, 2);
}

#[test]
fn settings_that_could_never_open_are_refused() {
    assert!(settings().check().is_ok());
    assert!(Settings { minimum_calls: 11, ..settings() }.check().is_err());
    assert!(Settings { minimum_calls: 0, ..settings() }.check().is_err());
    assert!(Settings { probes: 0, ..settings() }.check().is_err());
}

#[derive(Debug, Clone)]
enum Op {
    Admit,
    /// Ends one of the calls under way.
    Report {
        which: usize,
        failed: bool,
        slow: bool,
    },
    Release {
        which: usize,
    },
    Force(Option<Forced>),
    Wait(u64),
}

fn any_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => Just(Op::Admit),
        8 => (any::<usize>(), prop::bool::weighted(0.6), prop::bool::weighted(0.2))
            .prop_map(|(which, failed, slow)| Op::Report { which, failed, slow }),
        1 => any::<usize>().prop_map(|which| Op::Release { which }),
        1 => prop::sample::select(vec![None, None, Some(Forced::Open), Some(Forced::Closed)]).prop_map(Op::Force),
        3 => (0..1500_u64).prop_map(Op::Wait),
    ]
}

/// Drives a breaker and watches it from outside.
struct Watched {
    breaker: Breaker,
    now: Duration,
    under_way: Vec<Permit>,
    last: State,
    opened_at: Option<Duration>,
    /// When each probe of the current half-open phase was let through, by its permit's number.
    probes: BTreeMap<u64, Duration>,
}

impl Watched {
    fn note(&mut self, transition: Option<Transition>) -> Result<(), TestCaseError> {
        let Some(Transition { from, to, at, why }) = transition else { return Ok(()) };
        prop_assert_eq!((from, at), (self.last, self.now));
        let by_itself = matches!(
            (from, to),
            (State::Closed, State::Open)
                | (State::Open, State::HalfOpen)
                | (State::HalfOpen, State::Open | State::Closed)
        );
        prop_assert!(by_itself || why == Why::Forced, "{:?} to {:?}: {}", from, to, why);
        if (from, why) == (State::Open, Why::OpenLongEnough) {
            let opened_at = self.opened_at.unwrap_or_default();
            prop_assert!(at - opened_at >= self.breaker.settings.open_for);
        }
        self.last = to;
        self.opened_at = (to == State::Open).then_some(at);
        self.probes.clear();
        Ok(())
    }

    fn step(&mut self, op: Op) -> Result<(), TestCaseError> {
        match op {
            Op::Wait(millis) => self.now += at(millis),
            Op::Force(forced) => {
                let transition = self.breaker.force(forced, self.now);
                self.note(transition)?;
            }
            Op::Admit => {
                let (permit, transition) = self.breaker.admit(self.now);
                self.note(transition)?;
                prop_assert!(permit.is_none() || self.last != State::Open, "open, and let a call through");
                if let Some(permit) = permit {
                    if self.last == State::HalfOpen {
                        self.probes.insert(permit.number, self.now);
                    }
                    self.under_way.push(permit);
                }
                let timeout = self.breaker.settings.probe_timeout;
                let in_flight = self.probes.values().filter(|since| self.now - **since < timeout).count();
                prop_assert!(in_flight <= self.breaker.settings.probes, "{} probes in flight", in_flight);
            }
            Op::Report { which, failed, slow } if !self.under_way.is_empty() => {
                let permit = self.under_way.swap_remove(which % self.under_way.len());
                self.probes.remove(&permit.number);
                let ended = if failed { Ended::Failed } else { Ended::Succeeded };
                let transition = self.breaker.report(permit, ended, if slow { SLOW } else { QUICK }, self.now);
                self.note(transition)?;
            }
            Op::Release { which } if !self.under_way.is_empty() => {
                let permit = self.under_way.swap_remove(which % self.under_way.len());
                self.probes.remove(&permit.number);
                self.breaker.release(permit);
            }
            Op::Report { .. } | Op::Release { .. } => {}
        }
        if let Mode::Closed(calls) = &self.breaker.mode {
            prop_assert!(calls.len() <= self.breaker.settings.window_calls);
        }
        prop_assert_eq!(self.breaker.state(), self.last, "a transition was not told");
        Ok(())
    }
}

proptest! {
    #[test]
    fn keeps_its_promises_whatever_happens_and_heals_in_the_end(ops in prop::collection::vec(any_op(), 0..120)) {
        let mut watched = Watched {
            breaker: Breaker::new(settings()),
            now: Duration::ZERO,
            under_way: Vec::new(),
            last: State::Closed,
            opened_at: None,
            probes: BTreeMap::new(),
        };
        for op in ops {
            watched.step(op)?;
        }
        // The faults are lifted and the provider is well again: no call may be lost for ever.
        let Watched { mut breaker, mut now, .. } = watched;
        breaker.force(None, now);
        for _ in 0..20 {
            now += Duration::from_secs(2);
            call(&mut breaker, Ended::Succeeded, QUICK, now);
        }
        prop_assert_eq!(breaker.state(), State::Closed);
    }
}
