//! What may befall a role in a simulated world: a crash at an exact point, a call that is lost or made
//! twice, a store that refuses. On a real machine nothing does, and asking costs a look at an `Option`; but
//! a process may be told to kill itself at a crash point.
//!
//! A *crash point* is a named place just before or just after something that others can see: a commit, a
//! call, an answer, an event. A role that dies at one has done everything before it and does nothing after it:
//! from then on its stores refuse, its sockets are silent, and whoever passes a point stays there.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// What befell the role's storage, in words: it refuses, or the answer to a commit is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct StorageFault(pub &'static str);

/// What becomes of whoever passes a crash point.
#[derive(Debug, Clone)]
pub enum Passage {
    On,
    /// The role is dead, perhaps since this very point.
    Dead,
    /// It stands still until this is cancelled.
    Wait(CancellationToken),
}

/// Where a call gets lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// It never arrives.
    Request,
    /// It has been served; its answer never arrives.
    Reply,
}

/// What becomes of one call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CallFate {
    /// How much longer it takes to arrive. It arrives although its caller may have given up.
    pub delay: Duration,
    pub lost: Option<Lost>,
    /// It is made a second time, so much later than the first; nobody hears that answer.
    pub again: Option<Duration>,
    /// Held as long as it is on its way, so that whoever waits for the last one knows.
    pub on_its_way: Option<Arc<()>>,
}

impl CallFate {
    /// Whether nothing befalls it.
    pub fn is_plain(&self) -> bool {
        self.delay.is_zero() && self.lost.is_none() && self.again.is_none()
    }

    /// Makes the call that this befalls; `send` makes it once. What is on its way goes on when its caller has
    /// given up: hence tasks of their own.
    ///
    /// # Errors
    /// When no answer came within `longest`, or the call was cut off.
    pub async fn befall<T, F>(self, longest: Duration, send: impl Fn() -> F) -> Result<T, NoAnswer>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let sent = |after: Duration| {
            let (call, on_its_way) = (send(), self.on_its_way.clone());
            tokio::spawn(async move {
                sleep(after).await;
                let answer = call.await;
                drop(on_its_way);
                answer
            })
        };
        if let Some(later) = self.again {
            drop(sent(self.delay + later));
        }
        let first = (self.lost != Some(Lost::Request)).then(|| sent(self.delay));
        // From here on only what is on its way is so.
        drop(self.on_its_way);
        let answered = async {
            match first.filter(|_| self.lost.is_none()) {
                Some(first) => first.await,
                None => std::future::pending().await,
            }
        };
        match timeout(longest, answered).await {
            Ok(answer) => answer.map_err(|_| NoAnswer::CutOff),
            Err(_) => Err(NoAnswer::InTime),
        }
    }
}

/// Why a call that something befell has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoAnswer {
    InTime,
    CutOff,
}

/// Who decides what befalls one role. Answers at once, and MUST NOT depend on anything but seeds, virtual
/// time and what it was asked before.
pub trait Fate: Send + Sync + 'static {
    fn pass(&self, point: &str) -> Passage;
    fn is_dead(&self) -> bool;
    /// Of a call to the role `to`.
    fn call(&self, to: &str) -> CallFate;
    /// Why the role's database does not take a write or, if `write` is false, does not answer a read.
    fn storage_refuses(&self, write: bool) -> Option<&'static str>;
    /// Whether the answer to a commit that has happened is lost.
    fn storage_loses_answer(&self) -> bool;
}

/// A role's own handle on what may befall it. Cheap to clone; the default is a world without hazards.
#[derive(Clone, Default)]
pub struct Hazards(Option<Arc<dyn Fate>>);

impl fmt::Debug for Hazards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Hazards" } else { "NoHazards" })
    }
}

/// The same if the same fate decides.
impl PartialEq for Hazards {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }
}

impl Eq for Hazards {}

impl Hazards {
    pub fn new(fate: Arc<dyn Fate>) -> Self {
        Self(Some(fate))
    }

    /// Whether nothing can ever befall.
    pub fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// Passes a crash point where nobody can wait; answers whether the role lives on.
    pub fn survives(&self, point: impl FnOnce() -> String) -> bool {
        match &self.0 {
            Some(fate) => !matches!(fate.pass(&point()), Passage::Dead),
            None => true,
        }
    }

    /// Passes a crash point. Does not return if the role dies there: its runtime is about to go.
    pub async fn pass(&self, point: impl FnOnce() -> String) {
        let Some(fate) = &self.0 else { return };
        match fate.pass(&point()) {
            Passage::On => {}
            Passage::Dead => std::future::pending().await,
            Passage::Wait(over) => {
                over.cancelled().await;
                if fate.is_dead() {
                    std::future::pending().await
                }
            }
        }
    }

    /// What becomes of a call to the role `to`.
    pub fn call(&self, to: &str) -> CallFate {
        self.0.as_ref().map(|fate| fate.call(to)).unwrap_or_default()
    }

    /// # Errors
    /// When the role's database does not answer.
    pub fn storage(&self, write: bool) -> Result<(), StorageFault> {
        let refusal = self.0.as_ref().and_then(|fate| fate.storage_refuses(write));
        refusal.map_or(Ok(()), |why| Err(StorageFault(why)))
    }

    /// # Errors
    /// When the commit that has just happened is not heard of.
    pub fn storage_answer(&self) -> Result<(), StorageFault> {
        match &self.0 {
            Some(fate) if fate.storage_loses_answer() => Err(StorageFault("the connection was lost during the commit")),
            _ => Ok(()),
        }
    }
}
