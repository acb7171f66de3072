//! The services' log: JSON lines on standard error, or in a run's folder, where it does not disturb
//! whoever watches.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Where lines go; standard error if there is none.
static FILE: Mutex<Option<File>> = Mutex::new(None);

/// How a line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For programs.
    Json,
    /// For people.
    Text,
}

/// Begins to log JSON lines: warnings, unless `SHOPCTL_LOG` asks for more (`info`, `shop::http=info`,
/// `order=debug` …).
pub fn start() {
    start_as(Format::Json);
}

/// Begins to log lines of that format.
pub fn start_as(format: Format) {
    let asked = std::env::var("SHOPCTL_LOG").ok().and_then(|text| text.parse::<Targets>().ok());
    let filter = asked.unwrap_or_else(|| Targets::new().with_default(tracing::Level::WARN));
    let lines = tracing_subscriber::fmt::layer().with_writer(|| Lines);
    let lines = match format {
        Format::Json => lines.json().with_filter(filter).boxed(),
        Format::Text => lines.with_filter(filter).boxed(),
    };
    // There is no other subscriber yet.
    let _ = tracing_subscriber::registry().with(lines).try_init();
}

/// From now on lines go to a file of this name.
///
/// # Errors
/// When it cannot be created; lines go where they went before.
pub fn into_file(path: &Path) -> io::Result<()> {
    let file = File::create(path)?;
    *FILE.lock().unwrap_or_else(PoisonError::into_inner) = Some(file);
    Ok(())
}

struct Lines;

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut *FILE.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(file) => file.write(bytes),
            None => io::stderr().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
