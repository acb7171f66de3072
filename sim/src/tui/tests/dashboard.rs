//! The loop, with somebody who types from a script and no screen.

use std::future::{pending, ready};

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};

use super::fixture::{Story, events, scenario, secs, summary};
use crate::tui::Dashboard;
use crate::tui::input::{Keyboard, Told};
use crate::tui::state::State;
use crate::tui::theme::Theme;
use experiment::report::exit::{ExitCode, Failure};
use experiment::run::glance::Control;

struct Script {
    keys: mpsc::Sender<Told>,
    dashboard: Dashboard,
}

fn script() -> Script {
    let (keys, told) = mpsc::channel(16);
    let state = State::new(&scenario(Story::Calm), Theme::COLOURS);
    Script { keys, dashboard: Dashboard::with(state, None, Some(Keyboard::scripted(told))) }
}

impl Script {
    fn types(&self, code: KeyCode, modifiers: KeyModifiers) {
        self.keys.try_send(Told::Key(KeyEvent::new(code, modifiers))).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_typed_reaches_the_run_and_the_verdict_waits_for_a_key() {
    let script = script();
    let (controls, mut asked) = mpsc::channel(1);
    let sink = script.dashboard.sink();
    let keys = script.keys.clone();
    let run = async move {
        events(Story::Calm, 3.0).iter().for_each(|event| sink(event));
        let type_in = |code| keys.try_send(Told::Key(KeyEvent::new(code, KeyModifiers::NONE))).unwrap();
        sleep(secs(1.0)).await;
        ['p', 'p', 'q', 'y'].into_iter().map(KeyCode::Char).for_each(type_in);
        let mut got = Vec::new();
        for _ in 0..3 {
            sleep(secs(5.0)).await;
            got.push(timeout(secs(60.0), asked.recv()).await.expect("it is told in time").unwrap());
        }
        assert_eq!(got, [Control::Pause, Control::Resume, Control::StopGently], "in order, though the run is slow");
        Ok(summary(true))
    };
    let (ended, mut has_ended) = oneshot::channel();
    let shown = async {
        let outcome = script.dashboard.run(controls, run).await.outcome;
        ended.send(()).unwrap();
        outcome
    };
    let viewer = async {
        sleep(secs(60.0)).await;
        assert!(has_ended.try_recv().is_err(), "nobody has pressed a key yet");
        script.keys.try_send(Told::Key(KeyEvent::new(KeyCode::Enter, KeyModifiers::NONE))).unwrap();
    };
    let (outcome, ()) = tokio::join!(shown, viewer);
    assert_eq!(outcome.unwrap().exit_code, 0);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_does_not_even_end_at_once_can_be_left() {
    let script = script();
    for _ in 0..3 {
        script.types(KeyCode::Char('c'), KeyModifiers::CONTROL);
    }
    let (controls, mut asked) = mpsc::channel(8);
    let outcome = script.dashboard.run(controls, pending()).await.outcome;
    assert_eq!(outcome.unwrap_err().code, ExitCode::Stopped);
    assert_eq!([asked.recv().await, asked.recv().await], [Some(Control::StopGently), Some(Control::StopNow)]);
}

#[tokio::test(start_paused = true)]
async fn without_a_terminal_the_outcome_is_handed_on_all_the_same() {
    let state = State::new(&scenario(Story::Calm), Theme::COLOURS);
    let (controls, _asked) = mpsc::channel(8);
    let failed = || Failure::shop("error: the shop did not start");
    let outcome = Dashboard::with(state, None, None).run(controls, ready(Err(failed()))).await.outcome;
    assert_eq!(outcome.unwrap_err().message, failed().message);
}
