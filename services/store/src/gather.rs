//! Group commit: one writer a store, that takes whatever waits.
//!
//! A command that finds nobody writing is written at once and alone. Those that come while a batch is
//! being written gather, and the next batch is all of them: no command ever waits for a timer, and the
//! busier the store, the fewer its transactions. The writer is a task that exists while there is
//! something to write; a caller that goes away takes nothing with it.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chassis::context::Context;
use chassis::metrics::Metrics;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use crate::error::StoreError;

/// Most commands of one batch.
pub const BATCH_MAX: usize = 256;
/// Most commands that are passed over when a batch is taken, because their key is in it already.
const LEFT_MAX: usize = 1024;
/// A writer that takes longer for a batch is given up: whoever is on the other side has gone without a word.
const WRITE_DEADLINE: Duration = Duration::from_secs(30);
/// So long the commands of a batch that failed are tried one by one; others wait meanwhile.
const SINGLY_DEADLINE: Duration = Duration::from_secs(5);
/// Most commands that wait; more are refused.
const WAITING_MAX: usize = 8192;

/// A command and the trace that it came in.
#[derive(Debug, Clone)]
pub struct Traced<C> {
    pub command: C,
    /// W3C `traceparent`.
    pub trace: Option<String>,
}

impl<C> Traced<C> {
    /// In the trace of the current request.
    pub fn now(command: C) -> Self {
        Self { command, trace: Context::current().trace.map(|trace| trace.to_string()) }
    }
}

/// Why it is not known of any command of a batch that it was written.
#[derive(Debug, Clone)]
pub enum Failed {
    /// One of the commands may be to blame, and nothing was committed: each is tried alone.
    OneOfThem(StoreError),
    /// None would fare better alone; or it was committed, or not, and nobody knows.
    All(StoreError),
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self::OneOfThem(error)
    }
}

impl Failed {
    pub fn into_inner(self) -> StoreError {
        match self {
            Self::OneOfThem(error) | Self::All(error) => error,
        }
    }
}

/// What writes the batches of one store.
#[async_trait]
pub trait Writer: Send + Sync + 'static {
    type Command: Send + Sync + 'static;
    type Answer: Send + 'static;
    /// What two commands of one batch must not have in common; `()` if they may be about anything.
    type Key: Ord + Send;

    /// Of the store, for metrics.
    fn name(&self) -> &'static str;

    /// `None` for a command that goes with every other.
    fn key(&self, command: &Self::Command) -> Option<Self::Key>;

    /// Writes all of them, in their order, or none. MUST answer each by itself, in that order. May be
    /// called again with commands that were written although it answered an error: such a command MUST
    /// find by its own key, version or epoch what became of it. May be dropped at any await, when it takes too
    /// long.
    async fn write(&self, batch: &[Traced<Self::Command>]) -> Result<Vec<Self::Answer>, Failed>;
}

/// The queue in front of a [`Writer`]. Cheap to clone.
pub struct Gather<W: Writer> {
    inner: Arc<Inner<W>>,
}

impl<W: Writer> Clone for Gather<W> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

struct Inner<W: Writer> {
    writer: W,
    batch_max: usize,
    metrics: Metrics,
    queue: Mutex<Queue<W>>,
}

struct Queue<W: Writer> {
    waiting: VecDeque<Waiting<W>>,
    /// Whether the writer's task exists.
    writing: bool,
}

/// Where a caller waits for the answer.
type Answered<W> = oneshot::Receiver<Result<<W as Writer>::Answer, StoreError>>;

struct Waiting<W: Writer> {
    traced: Traced<W::Command>,
    answer: oneshot::Sender<Result<W::Answer, StoreError>>,
}

impl<W: Writer> Gather<W> {
    /// Batches of at most `batch_max` commands, and at least one.
    pub fn new(writer: W, batch_max: usize, metrics: &Metrics) -> Self {
        let batch_max = batch_max.clamp(1, BATCH_MAX);
        let queue = Mutex::new(Queue { waiting: VecDeque::new(), writing: false });
        Self { inner: Arc::new(Inner { writer, batch_max, metrics: metrics.clone(), queue }) }
    }

    pub fn writer(&self) -> &W {
        &self.inner.writer
    }

    /// Has the command written, with whatever else waits.
    ///
    /// # Errors
    /// What the writer answered to all of its batch; `Unavailable` when too many wait (nothing was
    /// written then), or the writer broke down (nobody knows).
    pub async fn submit(&self, command: W::Command) -> Result<W::Answer, StoreError> {
        let lost = || Err(StoreError::Unavailable("there is no answer".into()));
        self.submit_all([command]).await.pop().unwrap_or_else(lost)
    }

    /// Has the commands written in their order, one answer each.
    pub async fn submit_all(
        &self,
        commands: impl IntoIterator<Item = W::Command>,
    ) -> Vec<Result<W::Answer, StoreError>> {
        let trace = Traced::now(()).trace;
        let commands = commands.into_iter().map(|command| Traced { command, trace: trace.clone() });
        let mut answers = Vec::new();
        let broke_down = |_| Err(StoreError::Unavailable("the writer broke down".into()));
        for answer in self.push(commands) {
            answers.push(match answer {
                Some(answer) => answer.await.unwrap_or_else(broke_down),
                None => Err(StoreError::Unavailable(format!("{WAITING_MAX} writes wait already"))),
            });
        }
        answers
    }

    fn push(&self, commands: impl Iterator<Item = Traced<W::Command>>) -> Vec<Option<Answered<W>>> {
        let mut queue = self.inner.lock();
        let answers: Vec<_> = commands
            .map(|traced| {
                if queue.waiting.len() >= WAITING_MAX {
                    return None;
                }
                let (answer, answered) = oneshot::channel();
                queue.waiting.push_back(Waiting { traced, answer });
                Some(answered)
            })
            .collect();
        if !queue.writing && !queue.waiting.is_empty() {
            queue.writing = true;
            // A runtime that is about to end drops the task at once, and that asks for the queue.
            drop(queue);
            tokio::spawn(AtWork { inner: self.inner.clone(), ended: false }.write_all());
        }
        answers
    }
}

impl<W: Writer> Inner<W> {
    fn lock(&self) -> MutexGuard<'_, Queue<W>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All that wait and go together, in their order; `None`, and the task is to end, when nothing waits.
    fn next_batch(&self) -> Option<Batch<W>> {
        let mut queue = self.lock();
        if queue.waiting.is_empty() {
            queue.writing = false;
            return None;
        }
        let (mut keys, mut batch) = (BTreeSet::new(), Batch { commands: Vec::new(), answers: Vec::new() });
        let mut left = VecDeque::new();
        while batch.commands.len() < self.batch_max && left.len() < LEFT_MAX {
            let Some(waiting) = queue.waiting.pop_front() else { break };
            // One that has to wait is in nobody's way, and is the first of its key in the next batch.
            if self.writer.key(&waiting.traced.command).is_some_and(|key| !keys.insert(key)) {
                left.push_back(waiting);
                continue;
            }
            batch.commands.push(waiting.traced);
            batch.answers.push(waiting.answer);
        }
        left.append(&mut queue.waiting);
        queue.waiting = left;
        self.metrics.gathered(self.writer.name(), batch.commands.len(), queue.waiting.len());
        Some(batch)
    }

    /// The batch together; if that fails and one of them may be to blame, each alone.
    async fn write(&self, commands: &[Traced<W::Command>]) -> Vec<Result<W::Answer, StoreError>> {
        let failed = match self.write_in_time(commands).await {
            Ok(answers) => return answers.into_iter().map(Ok).collect(),
            Err(failed) => failed,
        };
        let (store, size) = (self.writer.name(), commands.len());
        match failed {
            Failed::OneOfThem(error) if size > 1 => {
                tracing::warn!(store, %error, commands = size, "a batch failed and is written singly");
            }
            Failed::OneOfThem(error) | Failed::All(error) => return repeat(error, size).collect(),
        }
        let mut answers = Vec::with_capacity(size);
        let began = Instant::now();
        for command in commands {
            if began.elapsed() > SINGLY_DEADLINE {
                let slow = StoreError::Unavailable("the store is too slow".into());
                answers.extend(repeat(slow, size - answers.len()));
                break;
            }
            match self.write_in_time(std::slice::from_ref(command)).await {
                Ok(answered) => answers.extend(answered.into_iter().map(Ok)),
                Err(Failed::OneOfThem(error)) => answers.push(Err(error)),
                Err(Failed::All(error)) => {
                    answers.extend(repeat(error, size - answers.len()));
                    break;
                }
            }
        }
        answers
    }

    async fn write_in_time(&self, commands: &[Traced<W::Command>]) -> Result<Vec<W::Answer>, Failed> {
        let gone = |_| Failed::All(StoreError::Unavailable(format!("no answer within {WRITE_DEADLINE:?}")));
        let answers = timeout(WRITE_DEADLINE, self.writer.write(commands)).await.map_err(gone)??;
        // Nobody must be given another's answer.
        match answers.len() == commands.len() {
            true => Ok(answers),
            false => Err(Failed::All(StoreError::Corrupt("the writer did not answer every command".into()))),
        }
    }
}

fn repeat<T>(error: StoreError, times: usize) -> impl Iterator<Item = Result<T, StoreError>> {
    std::iter::repeat_with(move || Err(error.clone())).take(times)
}

/// Commands that are written together, and who waits for them.
struct Batch<W: Writer> {
    commands: Vec<Traced<W::Command>>,
    answers: Vec<oneshot::Sender<Result<W::Answer, StoreError>>>,
}

/// The writer's task. If it is cut off, nobody is left waiting for it.
struct AtWork<W: Writer> {
    inner: Arc<Inner<W>>,
    ended: bool,
}

impl<W: Writer> AtWork<W> {
    async fn write_all(mut self) {
        loop {
            // Whoever is ready to submit does so first.
            tokio::task::yield_now().await;
            let Some(batch) = self.inner.next_batch() else { break };
            let answers = self.inner.write(&batch.commands).await;
            for (waiting, answer) in batch.answers.into_iter().zip(answers) {
                // Who went away does not want to know.
                let _ = waiting.send(answer);
            }
        }
        self.ended = true;
    }
}

impl<W: Writer> Drop for AtWork<W> {
    fn drop(&mut self) {
        if !self.ended {
            let mut queue = self.inner.lock();
            queue.writing = false;
            queue.waiting.clear();
        }
    }
}
