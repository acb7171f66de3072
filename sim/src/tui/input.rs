//! The keyboard: crossterm reads it by blocking, so a thread does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep};

use ratatui::crossterm::event::{self, Event, KeyEvent, KeyEventKind};
use tokio::sync::mpsc;
use tokio::time::Duration;

/// How often the thread looks whether it is still wanted.
const POLL: Duration = Duration::from_millis(50);
/// How many fifths of a poll its end is waited for.
const PATIENCE: u32 = 15;
/// Keys that wait; more than that nobody has typed on purpose.
const KEYS_MAX: usize = 64;

/// What the terminal tells.
#[derive(Debug, Clone, Copy)]
pub enum Told {
    Key(KeyEvent),
    /// Its size changed.
    Resized,
}

/// Reads until it is dropped.
pub struct Keyboard {
    told: mpsc::Receiver<Told>,
    unwanted: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Keyboard {
    #[expect(clippy::disallowed_methods, reason = "a terminal is read by blocking; there is none in virtual time")]
    pub fn listen() -> Self {
        let (tell, told) = mpsc::channel(KEYS_MAX);
        let unwanted = Arc::new(AtomicBool::new(false));
        let stop = unwanted.clone();
        let thread = std::thread::spawn(move || read(&tell, &stop));
        Self { told, unwanted, thread: Some(thread) }
    }

    /// Somebody who types this.
    #[cfg(test)]
    pub fn scripted(told: mpsc::Receiver<Told>) -> Self {
        Self { told, unwanted: Arc::default(), thread: None }
    }

    /// What is told next; `None` when the terminal cannot be read any more.
    pub async fn next(&mut self) -> Option<Told> {
        self.told.recv().await
    }
}

impl Drop for Keyboard {
    #[expect(clippy::disallowed_methods, reason = "a thread is waited for, and not for long")]
    fn drop(&mut self) {
        self.unwanted.store(true, Ordering::Relaxed);
        let Some(thread) = self.thread.take() else { return };
        // It ends within a poll, or never: reading from a terminal that was closed does not come back. Then
        // it ends with the process.
        for _ in 0..PATIENCE {
            if thread.is_finished() {
                let _ = thread.join();
                return;
            }
            sleep(POLL / 5);
        }
    }
}

fn read(tell: &mpsc::Sender<Told>, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let told = match event::poll(POLL) {
            Ok(false) => continue,
            Ok(true) => event::read(),
            Err(_) => return,
        };
        let told = match told {
            Ok(Event::Key(key)) if key.kind != KeyEventKind::Release => Told::Key(key),
            Ok(Event::Resize(..)) => Told::Resized,
            Ok(_) => continue,
            Err(_) => return,
        };
        // With that many waiting, a redraw is due anyway and one more key is none the wiser.
        if let Err(mpsc::error::TrySendError::Closed(_)) = tell.try_send(told) {
            return;
        }
    }
}
