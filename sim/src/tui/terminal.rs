//! The terminal, taken over and given back: also when something goes wrong.

use std::io::{self, Stdout, Write, stdout};
use std::mem::ManuallyDrop;
use std::sync::{Arc, Mutex, Once, PoisonError};

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};

use super::state::State;
use super::view;

type Restore = Arc<dyn Fn() + Send + Sync>;

/// How to give the terminal back, while somebody has it.
static HELD: Mutex<Option<Restore>> = Mutex::new(None);
static HOOK: Once = Once::new();

/// Gives the terminal back when it is dropped; or before the message of a panic, wherever that is.
struct Guard;

impl Guard {
    fn hold(restore: Restore) -> Self {
        HOOK.call_once(|| {
            let previous = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |info| {
                Self::give_back();
                previous(info);
            }));
        });
        *HELD.lock().unwrap_or_else(PoisonError::into_inner) = Some(restore);
        Self
    }

    fn is_held() -> bool {
        HELD.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    fn give_back() {
        let restore = HELD.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(restore) = restore {
            restore();
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        Self::give_back();
    }
}

fn enter(out: &mut impl Write) -> io::Result<()> {
    execute!(out, EnterAlternateScreen, Hide)
}

fn leave(out: &mut impl Write) -> io::Result<()> {
    execute!(out, LeaveAlternateScreen, Show)
}

/// The whole terminal, in raw mode and on its alternate screen.
pub struct Screen {
    /// Never dropped: it would show the cursor, which the guard does, and panic where the terminal is gone and
    /// standard error with it.
    terminal: ManuallyDrop<Terminal<CrosstermBackend<Stdout>>>,
    _guard: Guard,
}

impl Screen {
    /// # Errors
    /// When this is no terminal, or it refuses.
    pub fn take() -> io::Result<Self> {
        enable_raw_mode()?;
        // From here on whatever happens gives it back.
        let guard = Guard::hold(Arc::new(|| {
            // There is nobody left to tell.
            let _ = leave(&mut stdout());
            let _ = disable_raw_mode();
        }));
        enter(&mut stdout())?;
        let terminal = Terminal::new(CrosstermBackend::new(stdout()))?;
        Ok(Self { terminal: ManuallyDrop::new(terminal), _guard: guard })
    }

    /// Shows the state, at whatever size the terminal has now.
    ///
    /// # Errors
    /// When the terminal is gone, or was given back because something panicked.
    pub fn draw(&mut self, state: &State) -> io::Result<()> {
        if !Guard::is_held() {
            return Err(io::Error::other("the terminal was given back"));
        }
        self.terminal.draw(|frame| view::draw(state, frame)).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn the_terminal_is_given_back_once_however_it_ends() {
        let given_back = Arc::new(AtomicU32::new(0));
        let hold = || {
            let count = given_back.clone();
            Guard::hold(Arc::new(move || {
                count.fetch_add(1, Ordering::SeqCst);
            }))
        };
        drop(hold());
        assert_eq!(given_back.load(Ordering::SeqCst), 1, "dropped");

        let guard = hold();
        let seen = Arc::new(AtomicU32::new(0));
        let looks = Looks { at: given_back.clone(), seen: seen.clone() };
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _guard = guard;
            let _looks = looks;
            panic!("on purpose");
        }));
        assert!(panicked.is_err());
        assert_eq!(seen.load(Ordering::SeqCst), 2, "before anything unwinds");
        assert_eq!(given_back.load(Ordering::SeqCst), 2, "by the panic, and not again by the drop");
        assert!(!Guard::is_held());
    }

    /// Looks when it is dropped: while the panic unwinds, and before the guard is.
    struct Looks {
        at: Arc<AtomicU32>,
        seen: Arc<AtomicU32>,
    }

    impl Drop for Looks {
        fn drop(&mut self) {
            self.seen.store(self.at.load(Ordering::SeqCst), Ordering::SeqCst);
        }
    }

    #[test]
    fn leaving_undoes_what_entering_did() {
        let (mut entered, mut left) = (Vec::new(), Vec::new());
        enter(&mut entered).unwrap();
        leave(&mut left).unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        assert_eq!(text(&entered).replace("?1049h", "?1049l").replace("?25l", "?25h"), text(&left));
        assert_ne!(entered, left);
    }
}
