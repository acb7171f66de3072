//! The processes that play seeds: each reads what it is to play from its standard input, plays one after
//! the other, and writes a line of JSON for each.
//!
//! A process that dies, or takes too long, is its seed's ending; the next one gets a new process. They end
//! with this process however it ends.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::pipe;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Duration, timeout};

use super::play::Played;

/// The longest line that a process may write.
const LINE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// The last words are looked for in so much of what a process has said.
const SAID_BYTES: u64 = 16 * 1024;
/// A process that has played so much makes room for a new one: what it holds of the past is bounded.
const PLAYS_MAX: u32 = 500;
/// How often a seed that takes too long is played.
const TRIES_MAX: u32 = 2;
/// Most processes.
pub const JOBS_MAX: usize = 256;

/// How a process is started.
#[derive(Debug, Clone)]
pub struct Launch {
    pub program: PathBuf,
    pub arguments: Vec<OsString>,
    /// The longest that one seed may take, in real time.
    pub longest: Duration,
}

/// What is to be played: a seed, or a text that needs none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// Names it in its answer.
    pub number: u64,
    pub seed: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// How an assignment ended.
#[derive(Debug, Clone)]
pub enum Ending {
    Played(Box<Played>),
    /// Its process died or took too long: why, in a line.
    Lost(String),
}

/// What a process answers.
#[derive(Debug, Serialize, Deserialize)]
pub struct Answer {
    pub number: u64,
    pub played: Played,
}

/// Processes that wait for work. They end when this is dropped.
pub struct Crew {
    assign: mpsc::Sender<Assignment>,
    ended: mpsc::Receiver<(Assignment, Ending)>,
    jobs: usize,
    _workers: JoinSet<()>,
}

impl Crew {
    /// Processes are started when there is something to do for them.
    pub fn new(launch: Launch, jobs: usize) -> Self {
        let (assign, assigned) = mpsc::channel(1);
        let (tell, ended) = mpsc::channel(jobs.max(1));
        let (launch, assigned) = (Arc::new(launch), Arc::new(Mutex::new(assigned)));
        let mut workers = JoinSet::new();
        for _ in 0..jobs.max(1) {
            workers.spawn(work(launch.clone(), assigned.clone(), tell.clone()));
        }
        Self { assign, ended, jobs, _workers: workers }
    }

    pub fn jobs(&self) -> usize {
        self.jobs
    }

    /// Waits until a process can take it.
    pub async fn assign(&self, assignment: Assignment) {
        // The workers live as long as this.
        let _ = self.assign.send(assignment).await;
    }

    /// The next ending, or room for one more assignment if that is wanted.
    pub async fn next_or_room(&mut self, wants_room: bool) -> Next {
        let Self { assign, ended, .. } = self;
        tokio::select! {
            biased;
            Some((assignment, ending)) = ended.recv() => Next::Ended(assignment, ending),
            Ok(_) = assign.reserve(), if wants_room => Next::Room,
            else => Next::Over,
        }
    }

    /// Plays all of them at once, as far as there are processes; the endings are in their order.
    pub async fn all(&mut self, assignments: Vec<Assignment>) -> Vec<Ending> {
        let mut endings: Vec<Option<Ending>> = assignments.iter().map(|_| None).collect();
        let mut waiting =
            assignments.into_iter().enumerate().map(|(index, one)| Assignment { number: index as u64, ..one });
        let (mut next, mut left) = (waiting.next(), endings.len());
        while left > 0 {
            match self.next_or_room(next.is_some()).await {
                Next::Room => {
                    if let Some(assignment) = next.take() {
                        self.assign(assignment).await;
                    }
                    next = waiting.next();
                }
                Next::Ended(assignment, ending) => {
                    let place = usize::try_from(assignment.number).ok().and_then(|index| endings.get_mut(index));
                    if let Some(place) = place {
                        *place = Some(ending);
                    }
                    left -= 1;
                }
                Next::Over => break,
            }
        }
        endings.into_iter().map(|ending| ending.unwrap_or_else(|| Ending::Lost("it was not played".into()))).collect()
    }
}

/// What [`Crew::next_or_room`] came to.
pub enum Next {
    Ended(Assignment, Ending),
    Room,
    /// Nobody works any more.
    Over,
}

async fn work(
    launch: Arc<Launch>,
    assigned: Arc<Mutex<mpsc::Receiver<Assignment>>>,
    tell: mpsc::Sender<(Assignment, Ending)>,
) {
    let mut job: Option<Job> = None;
    loop {
        let next = assigned.lock().await.recv().await;
        let Some(assignment) = next else { return };
        let ending = end(&launch, &mut job, &assignment).await;
        if tell.send((assignment, ending)).await.is_err() {
            return;
        }
    }
}

/// Has a process play it. One that took too long may have stood still with the whole machine: then
/// another one tries once more.
async fn end(launch: &Launch, job: &mut Option<Job>, assignment: &Assignment) -> Ending {
    for _ in 0..TRIES_MAX {
        if let Some(ending) = end_in_time(launch, job, assignment).await {
            return ending;
        }
    }
    Ending::Lost(format!("it was still playing after {} s, {TRIES_MAX} times", launch.longest.as_secs()))
}

/// One that failed is not used again. `None` if it took too long.
async fn end_in_time(launch: &Launch, job: &mut Option<Job>, assignment: &Assignment) -> Option<Ending> {
    let mut own = match job.take() {
        Some(job) => job,
        None => match Job::start(launch) {
            Ok(job) => job,
            Err(error) => return Some(Ending::Lost(format!("no process: {error}"))),
        },
    };
    match timeout(launch.longest, own.play(assignment)).await {
        Ok(Ok(played)) => {
            *job = Some(own).filter(|own| own.plays < PLAYS_MAX);
            Some(Ending::Played(Box::new(played)))
        }
        Ok(Err(why)) => Some(Ending::Lost(own.last_words(&why))),
        Err(_) => None,
    }
}

/// One process. Killed when it is dropped.
struct Job {
    child: Child,
    to: pipe::Sender,
    from: BufReader<pipe::Receiver>,
    said: File,
    plays: u32,
}

impl Job {
    fn start(launch: &Launch) -> std::io::Result<Self> {
        let said = tempfile::tempfile()?;
        let mut child = Command::new(&launch.program)
            .args(&launch.arguments)
            // Ctrl-C is for the process that has started them.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(said.try_clone()?)
            .spawn()?;
        let pipes = (child.stdin.take().map(ChildStdin::into), child.stdout.take().map(ChildStdout::into));
        let (Some(to), Some(from)): (Option<OwnedFd>, Option<OwnedFd>) = pipes else {
            return Err(std::io::Error::other("it has no pipes"));
        };
        let (to, from) = (pipe::Sender::from_owned_fd(to)?, pipe::Receiver::from_owned_fd(from)?);
        Ok(Self { child, to, from: BufReader::new(from), said, plays: 0 })
    }

    async fn play(&mut self, assignment: &Assignment) -> Result<Played, String> {
        self.plays += 1;
        let mut line = serde_json::to_vec(assignment).map_err(|error| error.to_string())?;
        line.push(b'\n');
        self.to.write_all(&line).await.map_err(|error| format!("it takes no work: {error}"))?;
        let mut line = Vec::new();
        let read = (&mut self.from).take(LINE_BYTES_MAX).read_until(b'\n', &mut line).await;
        read.map_err(|error| error.to_string())?;
        if line.is_empty() {
            return Err("it ended".into());
        }
        let answer: Answer = serde_json::from_slice(&line).map_err(|error| format!("its answer is none: {error}"))?;
        if answer.number != assignment.number {
            return Err(format!("it answered {} to {}", answer.number, assignment.number));
        }
        Ok(answer.played)
    }

    /// How it ended, and the last line that it said.
    fn last_words(&mut self, why: &str) -> String {
        let _ = self.child.kill();
        let ended = match self.child.wait() {
            Ok(status) if status.signal() == Some(9) => why.to_owned(),
            Ok(status) => format!("its process ended ({status})"),
            Err(error) => error.to_string(),
        };
        let mut said = String::new();
        let length = self.said.metadata().map_or(0, |metadata| metadata.len());
        let mut bytes = Vec::new();
        if self.said.seek(SeekFrom::Start(length.saturating_sub(SAID_BYTES))).is_ok() {
            let _ = (&self.said).take(SAID_BYTES).read_to_end(&mut bytes);
        }
        said.push_str(&String::from_utf8_lossy(&bytes));
        let mut lines = said.lines().rev().filter(|line| !line.trim().is_empty() && !line.starts_with("note: "));
        match lines.next() {
            Some(last) => format!("{ended}: {}", last.trim()),
            None => ended,
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use experiment::report::exit::ExitCode;

    /// A process that reads lines and does `what` with the number in each.
    fn launch(what: &str, longest: Duration) -> Launch {
        let script = format!(
            "while read -r line; do n=${{line#*number\\\":}}; n=${{n%%,*}}; seed=${{line#*seed\\\":}}; seed=${{seed%%\\}}*}}; {what}; done"
        );
        Launch { program: "sh".into(), arguments: vec!["-c".into(), script.into()], longest }
    }

    fn answer() -> String {
        let played = serde_json::to_string(&Played::failed(ExitCode::Kept, "well".into())).unwrap();
        let inner = played.replace('"', "\\\"");
        format!("echo \"{{\\\"number\\\":$n,\\\"played\\\":{inner}}}\"")
    }

    fn seeds(count: u64) -> Vec<Assignment> {
        (1..=count).map(|seed| Assignment { number: 0, seed, text: None }).collect()
    }

    fn told(endings: &[Ending]) -> Vec<String> {
        let told = endings.iter().map(|ending| match ending {
            Ending::Played(played) => played.because.clone(),
            Ending::Lost(why) => why.clone(),
        });
        told.collect()
    }

    #[tokio::test]
    async fn a_process_that_dies_costs_its_seed_and_no_other() {
        let what = format!("[ $seed = 3 ] && {{ echo 'no memory' >&2; exit 7; }}; {}", answer());
        let mut crew = Crew::new(launch(&what, Duration::from_secs(60)), 2);
        let told = told(&crew.all(seeds(6)).await);
        assert_eq!(told[2], "its process ended (exit status: 7): no memory");
        assert!(told.iter().enumerate().all(|(index, why)| index == 2 || why == "well"), "{told:?}");
    }

    #[tokio::test]
    async fn a_process_that_hangs_is_given_up_and_the_others_go_on() {
        let what = format!("[ $seed = 2 ] && exec sleep 600; {}", answer());
        let mut crew = Crew::new(launch(&what, Duration::from_secs(2)), 1);
        let told = told(&crew.all(seeds(3)).await);
        assert_eq!((told[0].as_str(), told[2].as_str()), ("well", "well"));
        assert!(told[1].contains("still playing"), "{told:?}");
    }

    #[tokio::test]
    async fn an_answer_that_is_none_is_told() {
        let mut crew = Crew::new(launch("echo hello", Duration::from_secs(60)), 1);
        let told = told(&crew.all(seeds(1)).await);
        assert!(told[0].contains("its answer is none"), "{told:?}");
    }
}
