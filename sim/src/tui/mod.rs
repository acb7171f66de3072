//! The live screen of `shopctl run`.
//!
//! What happens (an event of the run, a key) goes into [`update`](update::update), which changes the
//! [`State`](state::State) and may ask something of the run; [`view`] draws the state and nothing else.
//! Only the loop here does IO. A screen can be had as a picture, too: [`render_svg`].

mod history;
mod input;
mod picture;
pub mod state;
mod terminal;
#[cfg(test)]
mod tests;
pub mod theme;
pub mod update;
pub mod view;

use std::collections::VecDeque;
use std::future::{Future, pending};
use std::io;
use std::pin::pin;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::time::{Duration, Instant, sleep_until};

use experiment::report::Summary;
use experiment::report::exit::{ExitCode, Failure};
use experiment::run::glance::Control;
use experiment::run::progress::{Event, Sink};
use input::{Keyboard, Told};
pub use picture::render_svg;
use scenario::Scenario;
use state::{Ending, State};
use terminal::Screen;
use theme::Theme;
use update::{Action, Input, update};

/// Events that wait to be shown. Nearly all are ticks, and those leave half of it to the others.
const EVENTS_MAX: usize = 1024;
/// Controls that wait because the run is busy; a person does not type more.
const CONTROLS_MAX: usize = 64;
/// Between two drawings at least; a change is seen within this time.
const REDRAW: Duration = Duration::from_millis(70);

/// The terminal, taken over; given back when this is dropped.
pub struct Dashboard {
    // Dropped in this order: nobody reads keys from a terminal that was given back.
    keyboard: Option<Keyboard>,
    screen: Option<Screen>,
    tell: mpsc::Sender<Event>,
    events: mpsc::Receiver<Event>,
    state: State,
    waiting: VecDeque<Control>,
}

/// What came of a run, and of the wish to see more.
pub struct Shown {
    pub outcome: Result<Summary, Failure>,
    /// The viewer wants no further run.
    pub no_more: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    TheScreen,
    ForGood,
}

/// What the loop woke up for.
enum Woken<'a, T> {
    Ended(T),
    /// The run has room for a control, or no longer listens: then it is ending.
    Listens(Option<mpsc::Permit<'a, Control>>),
    Terminal(Option<Told>),
    Event(Option<Event>),
    Redraw,
}

impl Dashboard {
    /// Takes over the terminal and shows that the scenario is about to run.
    ///
    /// # Errors
    /// When standard output is no terminal, or it cannot be put into raw mode.
    pub fn start(scenario: &Scenario) -> io::Result<Self> {
        let state = State::new(scenario, Theme::from_env());
        let mut screen = Screen::take()?;
        screen.draw(&state)?;
        Ok(Self::with(state, Some(screen), Some(Keyboard::listen())))
    }

    fn with(state: State, screen: Option<Screen>, keyboard: Option<Keyboard>) -> Self {
        let (tell, events) = mpsc::channel(EVENTS_MAX);
        Self { keyboard, screen, tell, events, state, waiting: VecDeque::new() }
    }

    /// Where the run's events go. It never blocks; ticks that come faster than they can be shown are
    /// left out.
    pub fn sink(&self) -> Sink {
        sink_into(self.tell.clone())
    }

    /// Shows the run until it has ended and the viewer has seen how; then gives the terminal back and
    /// answers what `ended` answered, or that the viewer gave up waiting for it after asking for an end at
    /// once. Should the terminal fail, the run goes on unseen.
    pub async fn run(
        mut self,
        controls: mpsc::Sender<Control>,
        ended: impl Future<Output = Result<Summary, Failure>>,
    ) -> Shown {
        let mut ended = pin!(ended);
        let mut outcome = None;
        let mut redraw = Redraw::default();
        loop {
            redraw.now_if_due(|| self.draw());
            // Without a terminal there is nobody who could press a key to go on.
            if let Some(outcome) = outcome.take_if(|_| self.keyboard.is_none()) {
                return Shown { outcome, no_more: false };
            }
            let woken = tokio::select! {
                biased;
                answer = &mut ended, if outcome.is_none() => Woken::Ended(answer),
                permit = controls.reserve(), if !self.waiting.is_empty() => Woken::Listens(permit.ok()),
                told = next_of(&mut self.keyboard) => Woken::Terminal(told),
                event = self.events.recv() => Woken::Event(event),
                () = sleep_until(redraw.due), if redraw.wanted => Woken::Redraw,
            };
            let input = match woken {
                Woken::Ended(answer) => {
                    self.catch_up();
                    let ending = ending(&answer);
                    outcome = Some(answer);
                    Some(Input::Ended(ending))
                }
                Woken::Listens(permit) => {
                    match (permit, self.waiting.pop_front()) {
                        (Some(permit), Some(control)) => permit.send(control),
                        _ => self.waiting.clear(),
                    }
                    None
                }
                Woken::Terminal(Some(Told::Key(key))) => Some(Input::Key(key)),
                Woken::Terminal(None) => {
                    self.keyboard = None;
                    None
                }
                Woken::Event(Some(event)) => Some(Input::Run(event)),
                Woken::Terminal(Some(Told::Resized)) | Woken::Event(None) | Woken::Redraw => None,
            };
            redraw.wanted = true;
            let left = input.and_then(|input| self.take_in(input));
            if let Some(left) = left {
                let gave_up =
                    Failure { code: ExitCode::Stopped, message: "stopped at once; there is no verdict".into() };
                return Shown { outcome: outcome.unwrap_or(Err(gave_up)), no_more: left == Left::ForGood };
            }
        }
    }

    /// Answers how the viewer leaves, if at all.
    fn take_in(&mut self, input: Input) -> Option<Left> {
        let mut left = None;
        for action in update(&mut self.state, input) {
            match action {
                Action::Leave => left = Some(Left::TheScreen),
                Action::Quit => left = Some(Left::ForGood),
                Action::Tell(control) if self.waiting.len() < CONTROLS_MAX => self.waiting.push_back(control),
                // An end at once is not kept waiting by what was asked before it.
                Action::Tell(control @ Control::StopNow) => self.waiting = VecDeque::from([control]),
                Action::Tell(_) => {}
            }
        }
        left
    }

    /// What the run told before it ended.
    fn catch_up(&mut self) {
        while let Ok(event) = self.events.try_recv() {
            self.take_in(Input::Run(event));
        }
    }

    fn draw(&mut self) {
        let Some(screen) = &mut self.screen else { return };
        if screen.draw(&self.state).is_err() {
            self.keyboard = None;
            self.screen = None;
        }
    }
}

/// When the screen is drawn again.
struct Redraw {
    wanted: bool,
    due: Instant,
}

impl Default for Redraw {
    fn default() -> Self {
        Self { wanted: true, due: Instant::now() }
    }
}

impl Redraw {
    fn now_if_due(&mut self, draw: impl FnOnce()) {
        if self.wanted && Instant::now() >= self.due {
            draw();
            self.wanted = false;
            self.due = Instant::now() + REDRAW;
        }
    }
}

async fn next_of(keyboard: &mut Option<Keyboard>) -> Option<Told> {
    match keyboard {
        Some(keyboard) => keyboard.next().await,
        None => pending().await,
    }
}

fn ending(answer: &Result<Summary, Failure>) -> Ending {
    match answer {
        Ok(summary) => Ending::Verdict(Box::new(summary.clone())),
        Err(failure) => Ending::Failed(failure.clone()),
    }
}

fn sink_into(tell: mpsc::Sender<Event>) -> Sink {
    Arc::new(move |event| {
        let is_tick = matches!(event, Event::Tick(_));
        if is_tick && tell.capacity() <= EVENTS_MAX / 2 {
            return;
        }
        // Closed when the screen is gone; the run goes on.
        let _ = tell.try_send(event.clone());
    })
}
