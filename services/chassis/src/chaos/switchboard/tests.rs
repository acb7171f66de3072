use tokio::time::{Instant, sleep, timeout};

use super::super::{Kind, Parameter, Shape};
use super::*;
use crate::Clock;

static WEATHER: Target = Target {
    name: "weather",
    role: "sky",
    kinds: &[
        Kind { name: "fog", meaning: "nobody sees far", parameters: &[] },
        Kind {
            name: "rain",
            meaning: "everybody gets wet",
            parameters: &[Parameter { name: "rate", shape: Shape::Share, default: Some("1"), meaning: "how much" }],
        },
    ],
};

/// A wall clock that goes with the paused time.
struct Sundial(Instant);

impl Clock for Sundial {
    fn now(&self) -> Timestamp {
        Timestamp::default().plus(self.0.elapsed())
    }
}

/// The names of the active faults as the role was told, change by change.
type Told = Arc<Mutex<Vec<String>>>;

fn switchboard() -> (Arc<Switchboard>, Told) {
    let told = Told::default();
    let telling = told.clone();
    let tell = move |active: &[Arc<Active>]| {
        let names: Vec<&str> = active.iter().map(|active| active.fault.name.as_str()).collect();
        telling.lock().unwrap().push(names.join(" "));
    };
    (Switchboard::new(&WEATHER, Arc::new(Sundial(Instant::now())), CancellationToken::new(), tell), told)
}

fn fog(board: &Arc<Switchboard>, name: &str, lasts: Option<u64>) -> Result<Arc<Active>, NotInjected> {
    board.inject(name, "fog", &BTreeMap::new(), lasts.map(Duration::from_millis))
}

fn names(board: &Switchboard) -> Vec<String> {
    board.snapshot().0.iter().map(|active| active.fault.name.clone()).collect()
}

async fn pass(millis: u64) {
    sleep(Duration::from_millis(millis)).await;
}

#[tokio::test(start_paused = true)]
async fn a_fault_lifts_by_itself_when_its_time_is_over_and_not_before() {
    let (board, told) = switchboard();
    let active = fog(&board, "a", Some(100)).unwrap();
    assert_eq!(active.until, Some(Timestamp::from_micros(100_000)));
    pass(99).await;
    assert_eq!(names(&board), ["a"]);
    pass(2).await;
    let (active, history) = board.snapshot();
    assert!(active.is_empty());
    assert_eq!(history.len(), 1);
    assert_eq!((history[0].because, history[0].at), (Because::TimeOver, Timestamp::from_micros(100_000)));
    assert_eq!(*told.lock().unwrap(), ["a", ""]);
}

#[tokio::test(start_paused = true)]
async fn an_old_timer_does_not_lift_a_new_fault_of_the_same_name() {
    let (board, told) = switchboard();
    fog(&board, "a", Some(100)).unwrap();
    pass(50).await;
    assert_eq!(board.lift("a").map(|lifted| lifted.because), Some(Because::Asked));
    fog(&board, "a", None).unwrap();
    pass(1000).await;
    assert_eq!(names(&board), ["a"], "it has no end of its own");
    assert_eq!(*told.lock().unwrap(), ["a", "", "a"]);
}

#[tokio::test(start_paused = true)]
async fn faults_are_told_oldest_first_and_lifted_by_name_or_all() {
    let (board, told) = switchboard();
    for name in ["b", "a", "c"] {
        fog(&board, name, None).unwrap();
    }
    assert!(board.lift("d").is_none());
    assert!(board.lift("a").is_some());
    let lifted: Vec<String> = board.lift_all().into_iter().map(|lifted| lifted.active.fault.name.clone()).collect();
    assert_eq!(lifted, ["b", "c"]);
    assert!(board.lift_all().is_empty());
    assert_eq!(*told.lock().unwrap(), ["b", "b a", "b a c", "b c", ""], "what changes nothing is not told");
    let history: Vec<String> = board.snapshot().1.iter().map(|lifted| lifted.active.fault.name.clone()).collect();
    assert_eq!(history, ["a", "b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_active_is_refused_until_it_is_lifted() {
    let (board, _) = switchboard();
    fog(&board, "a", None).unwrap();
    assert_eq!(fog(&board, "a", Some(1)).unwrap_err(), NotInjected::Active("a".to_owned()));
    pass(10).await;
    assert_eq!(names(&board), ["a"], "what was refused has no timer");
    board.lift("a").unwrap();
    assert!(fog(&board, "a", None).is_ok());
}

#[tokio::test(start_paused = true)]
async fn nothing_grows_without_bound() {
    let (board, _) = switchboard();
    for number in 0..ACTIVE_MAX {
        fog(&board, &format!("fog-{number}"), None).unwrap();
    }
    assert_eq!(fog(&board, "one-more", None).unwrap_err(), NotInjected::TooMany);
    board.lift_all();
    for number in 0..HISTORY_MAX {
        fog(&board, &format!("later-{number}"), None).unwrap();
        board.lift_all();
    }
    let history = board.snapshot().1;
    assert_eq!(history.len(), HISTORY_MAX);
    assert_eq!(history[0].active.fault.name, "later-0", "the oldest are forgotten");
}

#[tokio::test(start_paused = true)]
async fn a_duration_of_nothing_or_of_more_than_a_day_is_refused() {
    let (board, _) = switchboard();
    for lasts in [0, 24 * 3_600_000 + 1] {
        assert_eq!(fog(&board, "a", Some(lasts)).unwrap_err(), NotInjected::Lasts(Duration::from_millis(lasts)));
    }
    assert!(fog(&board, "a", Some(24 * 3_600_000)).is_ok());
}

#[tokio::test(start_paused = true)]
async fn what_does_not_fit_says_what_would() {
    let (board, _) = switchboard();
    let refusal = |name: &str, kind: &str, parameters: &[(&str, &str)]| {
        let owned = parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        match board.inject(name, kind, &owned, None) {
            Err(NotInjected::Unfit(unfit)) => (unfit.to_string(), unfit.hint()),
            other => panic!("{other:?}"),
        }
    };
    let (text, hint) = refusal("a", "fgo", &[]);
    assert!(text.contains("it has fog, rain"), "{text}");
    assert_eq!(hint.as_deref(), Some("did you mean `fog`?"));
    assert_eq!(refusal("a", "thunderstorm", &[]).1, None);
    assert_eq!(refusal("a", "rain", &[("rat", "1")]).1.as_deref(), Some("did you mean `rate`?"));
    assert_eq!(refusal("a", "rain", &[("colour", "1")]).1.as_deref(), Some("it takes rate"));
    assert_eq!(refusal("a", "fog", &[("rate", "1")]).1.as_deref(), Some("it takes none"));
    assert!(refusal("a", "rain", &[("rate", "1.5")]).0.contains("`rate`: `1.5` is not a share"));
    assert!(refusal("A fog", "fog", &[]).0.contains("`A fog`"));
    assert!(names(&board).is_empty());
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_the_end_of_a_fault_is_let_go() {
    let (board, _) = switchboard();
    let active = fog(&board, "a", Some(100)).unwrap();
    active.hit();
    assert!(timeout(Duration::from_millis(99), active.lifted()).await.is_err());
    assert!(timeout(Duration::from_millis(2), active.lifted()).await.is_ok());
    assert_eq!(board.snapshot().1[0].active.hits(), 1);

    let stopping = CancellationToken::new();
    let board = Switchboard::new(&WEATHER, board.clock.clone(), stopping.clone(), |_| {});
    let active = fog(&board, "a", None).unwrap();
    stopping.cancel();
    assert!(timeout(Duration::from_millis(1), active.lifted()).await.is_ok());
}
