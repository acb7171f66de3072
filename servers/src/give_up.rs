//! Giving up a start.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Tells whoever starts servers that nobody wants them any more. What runs by then is killed, not asked to
/// stop: it has nothing yet that could be lost.
#[derive(Debug, Clone, Default)]
pub struct GiveUp(Arc<AtomicBool>);

impl GiveUp {
    /// Asks for it; the start then fails within moments.
    pub fn ask(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
