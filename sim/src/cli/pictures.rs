//! Pictures of the dashboard at moments of a run, for documents and for those who were not there.

use std::fs::File;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Duration;

use super::files::{open_untouched, write_whole};
use crate::tui::render_svg;
use crate::tui::state::{State, Tab};
use crate::tui::theme::Theme;
use crate::tui::update::{Input, update};
use experiment::run::progress::{Event, Sink};
use scenario::Scenario;

/// In characters.
const SIZE: (u16, u16) = (120, 40);

/// A picture that is wanted: `6s=dashboard.svg`, `6s,saga=saga.svg`.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// Since the load's start.
    pub at: Duration,
    pub tab: Tab,
    pub file: PathBuf,
}

impl FromStr for Wanted {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let form = || "write it as AT=FILE or AT,SCREEN=FILE, for example 6s,saga=saga.svg".to_owned();
        let (when, file) = text.split_once('=').filter(|(_, file)| !file.is_empty()).ok_or_else(form)?;
        let (at, tab) = when.split_once(',').unwrap_or((when, "overview"));
        let tab = match tab {
            "overview" => Tab::Overview,
            "saga" => Tab::Saga,
            "breaker" => Tab::Breaker,
            other => return Err(format!("there is no screen `{other}`; there are overview, saga and breaker")),
        };
        Ok(Self { at: chassis::settings::duration(at)?, tab, file: file.into() })
    }
}

struct Inner {
    state: State,
    /// Each with its open file.
    wanted: Vec<(Wanted, File)>,
    failures: Vec<String>,
}

/// Takes the pictures as the run's events come by.
#[derive(Clone)]
pub struct Pictures {
    inner: Arc<Mutex<Inner>>,
}

impl Pictures {
    /// Opens the files: a path that cannot be written is better known before the load than afterwards.
    ///
    /// # Errors
    /// One line that names the file.
    pub fn open(scenario: &Scenario, wanted: &[Wanted]) -> Result<Self, String> {
        let open = |one: &Wanted| Ok((one.clone(), open_untouched(&one.file)?));
        let wanted = wanted.iter().map(open).collect::<Result<_, String>>()?;
        let state = State::new(scenario, Theme::COLOURS);
        Ok(Self { inner: Arc::new(Mutex::new(Inner { state, wanted, failures: Vec::new() })) })
    }

    /// A sink that hands every event on.
    pub fn beside(&self, sink: Sink) -> Sink {
        if self.lock().wanted.is_empty() {
            return sink;
        }
        let pictures = self.clone();
        Arc::new(move |event| {
            pictures.lock().take(event);
            sink(event);
        })
    }

    /// What became of no picture, each in a line.
    pub fn finish(&self) -> Vec<String> {
        let mut inner = self.lock();
        let missed = std::mem::take(&mut inner.wanted);
        let missed = missed
            .iter()
            .map(|(one, _)| format!("error: {}: the load was over before {:?}", one.file.display(), one.at));
        let missed: Vec<String> = missed.collect();
        inner.failures.drain(..).chain(missed).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn take(&mut self, event: &Event) {
        update(&mut self.state, Input::Run(event.clone()));
        let Event::Tick(tick) = event else { return };
        let (due, later): (Vec<_>, Vec<_>) = self.wanted.drain(..).partition(|(one, _)| one.at <= tick.elapsed);
        self.wanted = later;
        for (Wanted { tab, file: path, .. }, mut file) in due {
            self.state.view.tab = tab;
            let picture = render_svg(&self.state, SIZE.0, SIZE.1);
            if let Err(error) = write_whole(&mut file, &picture) {
                self.failures.push(format!("error: {}: {error}", path.display()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_names_its_moment_its_screen_and_its_file() {
        let wanted: Wanted = "1.5s,saga=x.svg".parse().unwrap();
        assert_eq!((wanted.at, wanted.tab), (Duration::from_millis(1500), Tab::Saga));
        assert_eq!("6s=x=y.svg".parse::<Wanted>().unwrap().file, PathBuf::from("x=y.svg"));
        for text in ["x.svg", "6=x.svg", "6s,moon=x.svg", "6s="] {
            assert!(text.parse::<Wanted>().is_err(), "{text}");
        }
    }
}
