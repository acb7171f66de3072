//! `shopctl simulate --seeds`: many seeds in processes, what they add up to, and what becomes of those that
//! fail.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, Once, PoisonError};
use std::time::UNIX_EPOCH;

use tokio::time::{Duration, Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::args::SimulateArgs;
use super::git::commit;
use super::signals::Signals;
use super::{runtime, say};
use crate::campaign::crew::{Answer, Assignment, Crew, Ending, Launch, Next};
use crate::campaign::play::{Changes, Played, Source, play};
use crate::campaign::results::{Failed, Fingerprint, Results};
use crate::campaign::seeds::SeedRange;
use crate::campaign::shrink;
use crate::campaign::swarm;
use experiment::report::exit::{ExitCode, Failure};
use scenario::{Known, ScenarioErrors};

/// After so many lost processes in a row there is something wrong with all of them.
const LOST_MAX: u32 = 20;
/// The longest that one seed may take, in real time.
const LONGEST: Duration = Duration::from_secs(300);
/// How many failing seeds are told in full.
const TOLD_MAX: usize = 10;
/// How many more are listed.
const LISTED_MAX: usize = 100;
/// How many different violations of a campaign are shrunk.
const SHRUNK_MAX: usize = 3;
const TICK: Duration = Duration::from_secs(1);
/// How often a line of progress is printed where it does not replace the one before.
const LINE_EVERY: Duration = Duration::from_secs(15);
/// How often the results are written while seeds are played.
const SAVE_EVERY: Duration = Duration::from_secs(10);
/// Names of scenarios have a bound, which a shrunk one's must keep.
const NAME_MAX: usize = 48;

/// The scenario at `path` as the arguments want its seeds.
///
/// # Errors
/// When it is none, or `--set` does not fit.
pub fn source(args: &SimulateArgs, path: &Path, calm: bool, known: &Known) -> Result<Source, ScenarioErrors> {
    let changes =
        Changes { overrides: args.scenario.overrides(None), scale: args.scale, calm, crash_points: args.crash_points };
    Source::read(path, &changes, known)
}

/// The command that plays it again: a seed, or the scenario as it is written.
pub fn command(args: &SimulateArgs, path: &Path, seed: Option<u64>) -> String {
    let mut command = format!("shopctl simulate {}", path.display());
    let mut add = |text: String| command.push_str(&text);
    if let Some(seed) = seed {
        add(format!(" --replay {seed}"));
    }
    if let Some(scale) = args.scale {
        add(format!(" --scale {scale}"));
    }
    if args.calm && seed.is_some() {
        add(" --calm".into());
    }
    if args.crash_points {
        add(" --crash-points".into());
    }
    for set in &args.scenario.set {
        add(format!(" --set '{}={}'", set.path, set.value));
    }
    command
}

fn crew(args: &SimulateArgs, path: &Path) -> Result<Crew, Failure> {
    let program = program().map_err(|error| Failure::shop(format!("error: this program: {error}")))?;
    let mut arguments: Vec<OsString> = vec!["simulate".into(), path.into(), "--job".into()];
    if let Some(scale) = args.scale {
        arguments.push(format!("--scale={scale}").into());
    }
    arguments.extend(args.calm.then(|| "--calm".into()));
    arguments.extend(args.crash_points.then(|| "--crash-points".into()));
    for set in &args.scenario.set {
        arguments.push(format!("--set={}={}", set.path, set.value).into());
    }
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let jobs = args.jobs.map_or(cores, usize::from);
    Ok(Crew::new(Launch { program, arguments, longest: LONGEST }, jobs))
}

/// This program, also where its file has been replaced by a newer one meanwhile.
fn program() -> io::Result<PathBuf> {
    let running = PathBuf::from("/proc/self/exe");
    if running.exists() { Ok(running) } else { std::env::current_exe() }
}

/// The first panic of this process that nobody has asked for. tokio catches those of tasks, so that nobody else would notice.
static PANICKED: Mutex<Option<String>> = Mutex::new(None);

pub fn watch_for_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panicked| {
            let said = panicked.to_string().lines().collect::<Vec<_>>().join(" ");
            PANICKED.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(said);
            before(panicked);
        }));
    });
}

/// What a task of the play that has just ended said when it panicked, if one did.
pub fn panicked() -> Option<String> {
    PANICKED.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// One of the processes: plays what it reads.
pub fn job(args: &SimulateArgs) -> Result<ExitCode, Failure> {
    // Whoever wants the answers may be killed while a seed is played.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    watch_for_panics();
    let known = scenario::known();
    let [path] = args.scenario.scenarios.as_slice() else {
        return Err(Failure::invalid("error: a job plays one scenario"));
    };
    let source = source(args, path, args.calm, &known).map_err(Failure::invalid)?;
    for line in io::stdin().lock().lines() {
        let read = line.map_err(|error| error.to_string());
        let assignment: Result<Assignment, _> =
            read.and_then(|line| serde_json::from_str(&line).map_err(|error| error.to_string()));
        let assignment = assignment.map_err(|why| Failure::invalid(format!("error: no assignment: {why}")))?;
        let mut played = play(match &assignment.text {
            Some(text) => scenario::parse(text, &source.scenario.origin, &[], &known),
            None => source.seeded(assignment.seed, &known),
        });
        if let Some(panicked) = panicked() {
            played = Played::failed(ExitCode::ShopFailed, panicked);
        }
        let answer = serde_json::to_string(&Answer { number: assignment.number, played });
        let answer = answer.map_err(|error| Failure::shop(format!("error: {error}")))?;
        let mut output = io::stdout().lock();
        if writeln!(output, "{answer}").and_then(|()| output.flush()).is_err() {
            break;
        }
    }
    Ok(ExitCode::Kept)
}

/// Plays the seeds of every scenario in turn; the most severe exit code counts.
pub fn run(args: &SimulateArgs) -> Result<ExitCode, Failure> {
    let known = scenario::known();
    let Some(range) = args.seeds else { return Err(Failure::invalid("error: no seeds")) };
    let mut sources = Vec::new();
    for path in &args.scenario.scenarios {
        let source = source(args, path, args.calm, &known).map_err(Failure::invalid)?;
        if sources.iter().any(|other: &Source| other.scenario.name == source.scenario.name) {
            let name = &source.scenario.name;
            return Err(Failure::invalid(format!("error: two scenarios are called {name}: their results would mix")));
        }
        sources.push(source);
    }
    runtime()?.block_on(async {
        let mut signals = Signals::listen()?;
        let mut worst = ExitCode::Kept;
        for source in &sources {
            let mut campaign = Campaign::begin(args, source, &known, range)?;
            let code = campaign.play(&mut signals).await?;
            if code.severity() < worst.severity() {
                worst = code;
            }
            if campaign.stopped {
                if ExitCode::Stopped.severity() < worst.severity() {
                    worst = ExitCode::Stopped;
                }
                break;
            }
        }
        Ok(worst)
    })
}

/// The seeds of one scenario.
struct Campaign<'a> {
    args: &'a SimulateArgs,
    source: &'a Source,
    known: &'a Known,
    range: SeedRange,
    file: PathBuf,
    results: Results,
    /// Seeds of this call: those that had to be played, and those that have been.
    wanted: u64,
    done: u64,
    virtual_ms_before: u64,
    began: Instant,
    stopped: bool,
}

impl<'a> Campaign<'a> {
    fn begin(args: &'a SimulateArgs, source: &'a Source, known: &'a Known, range: SeedRange) -> Result<Self, Failure> {
        let name = &source.scenario.name;
        let file = Results::path(&args.out, name);
        let (results, anew) = Results::continued(&file, name, fingerprint(args, source)?);
        if let Some(why) = anew {
            let _ = writeln!(io::stderr(), "{why}");
        }
        // A folder that cannot be written is better known now than afterwards.
        results.save(&file).map_err(Failure::invalid)?;
        let wanted = (range.first..=range.last).filter(|seed| !results.played.contains(*seed)).count() as u64;
        let virtual_ms_before = results.coverage.virtual_ms;
        let began = Instant::now();
        let (done, stopped) = (0, false);
        Ok(Self { args, source, known, range, file, results, wanted, done, virtual_ms_before, began, stopped })
    }

    async fn play(&mut self, signals: &mut Signals) -> Result<ExitCode, Failure> {
        let mut crew = crew(self.args, &self.source.path)?;
        say(format_args!(
            "{}: seeds {}, {} of them to play, {} at a time",
            self.source.scenario.name,
            self.range,
            self.wanted,
            crew.jobs()
        ));
        let outcome = self.seeds(&mut crew, signals).await;
        self.results.save(&self.file).map_err(Failure::invalid)?;
        outcome?;
        self.report();
        if self.args.shrink && !self.stopped {
            self.shrink(&mut crew, signals).await?;
        }
        Ok(self.results.code())
    }

    async fn seeds(&mut self, crew: &mut Crew, signals: &mut Signals) -> Result<(), Failure> {
        let before = self.results.played.clone();
        let mut missing = (self.range.first..=self.range.last).filter(|seed| !before.contains(*seed));
        let (mut next, mut under_way) = (missing.next(), 0_u64);
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let (mut shown, mut saved, mut lost) = (Instant::now(), Instant::now(), 0);
        let on_terminal = io::stderr().is_terminal();
        while next.is_some() || under_way > 0 {
            tokio::select! {
                biased;
                _ = signals.next() => {
                    self.stopped = true;
                    break;
                }
                _ = tick.tick() => {
                    if on_terminal || shown.elapsed() >= LINE_EVERY {
                        self.progress(on_terminal);
                        shown = Instant::now();
                    }
                    if saved.elapsed() >= SAVE_EVERY {
                        self.results.save(&self.file).map_err(Failure::invalid)?;
                        saved = Instant::now();
                    }
                }
                step = crew.next_or_room(next.is_some()) => match step {
                    Next::Room => {
                        if let Some(seed) = next {
                            crew.assign(Assignment { number: seed, seed, text: None }).await;
                            under_way += 1;
                        }
                        next = missing.next();
                    }
                    Next::Ended(assignment, ending) => {
                        under_way -= 1;
                        self.done += 1;
                        lost = if let Ending::Lost(_) = &ending { lost + 1 } else { 0 };
                        self.results.take(assignment.seed, ending);
                        if lost >= LOST_MAX {
                            let _ = writeln!(io::stderr(), "{lost} processes were lost in a row: the rest is not played");
                            break;
                        }
                    }
                    Next::Over => break,
                }
            }
        }
        if on_terminal {
            self.progress(true);
            let _ = writeln!(io::stderr());
        }
        Ok(())
    }

    /// Seeds a minute, and simulated seconds a second, in this call.
    fn pace(&self) -> (f64, f64) {
        let seconds = self.began.elapsed().as_secs_f64().max(1e-3);
        let simulated_ms = self.results.coverage.virtual_ms - self.virtual_ms_before;
        (self.done as f64 * 60.0 / seconds, simulated_ms as f64 / 1e3 / seconds)
    }

    fn progress(&self, replaces: bool) {
        let (reached, all) = self.results.coverage.reached(&self.source.scenario);
        let line = format!(
            "{}: {} of {} seeds, {:.0} a minute; {} failed, {} prove nothing; {reached} of {all} reached",
            self.source.scenario.name,
            self.done,
            self.wanted,
            self.pace().0,
            self.results.failed.len(),
            self.results.inconclusive.len(),
        );
        let mut output = io::stderr().lock();
        let _ = if replaces { write!(output, "\r{line}\x1b[K") } else { writeln!(output, "{line}") };
        let _ = output.flush();
    }

    fn report(&self) {
        let results = &self.results;
        let (a_minute, a_second) = self.pace();
        say(format_args!(
            "\n{}: {} seeds played now, {} in all; {} failed, {} prove nothing",
            results.scenario,
            self.done,
            results.played.len(),
            results.failed.len(),
            results.inconclusive.len()
        ));
        if self.done > 0 {
            say(format_args!("{a_minute:.0} seeds a minute, {a_second:.0} simulated seconds a second"));
        }
        for (why, seeds) in results.inconclusive_because.iter().take(TOLD_MAX) {
            say(format_args!("  {seeds:>8} prove nothing: {why}"));
        }
        say(format_args!("\n{}", results.coverage.render(&self.source.scenario)));
        for failed in results.failures.values().take(TOLD_MAX) {
            self.tell(failed);
        }
        let rest: Vec<String> = results.failed.iter().skip(TOLD_MAX).take(LISTED_MAX).map(|s| s.to_string()).collect();
        if !rest.is_empty() {
            let more = results.failed.len().saturating_sub((TOLD_MAX + LISTED_MAX) as u64);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            say(format_args!("seeds that failed as well: {}{more}", rest.join(", ")));
        }
        for (invariant, seeds) in &results.broken {
            say(format_args!("{invariant} was broken by {seeds} seeds"));
        }
        if self.stopped {
            say("stopped: the same command plays the rest");
        }
        say(format_args!("results: {}", self.file.display()));
    }

    fn tell(&self, failed: &Failed) {
        say(format_args!("seed {} failed: {}", failed.seed, failed.because));
        if let Some(history) = &failed.history {
            let told: String = history.text.lines().map(|line| format!("  {line}\n")).collect();
            say(format_args!("  {}: {}\n\n{told}", history.invariant, history.example));
        }
        let others: Vec<String> =
            failed.broken.iter().map(|broken| format!("{} ({} times)", broken.invariant, broken.violations)).collect();
        if !others.is_empty() {
            say(format_args!("broken: {}", others.join(", ")));
        }
        say(format_args!("replay it with: {}\n", command(self.args, &self.source.path, Some(failed.seed))));
    }

    /// The first failing seed of each violation, as far as there is patience.
    async fn shrink(&self, crew: &mut Crew, signals: &mut Signals) -> Result<(), Failure> {
        let mut shrunk: BTreeSet<&str> = BTreeSet::new();
        for failed in self.results.failures.values() {
            let Some(history) = &failed.history else { continue };
            if shrunk.len() >= SHRUNK_MAX || !shrunk.insert(&history.invariant) {
                continue;
            }
            let one = Shrinking { args: self.args, source: self.source, known: self.known, crew: &mut *crew };
            one.keep(failed.seed, &history.invariant, signals).await?;
        }
        Ok(())
    }
}

/// Shrinks one seed of the scenario at `path`, and keeps what is left.
pub fn shrink_one(args: &SimulateArgs, path: &Path, seed: u64, invariant: &str) -> Result<(), Failure> {
    let known = scenario::known();
    let source = source(args, path, args.calm, &known).map_err(Failure::invalid)?;
    runtime()?.block_on(async {
        let mut signals = Signals::listen()?;
        let mut crew = crew(args, path)?;
        let one = Shrinking { args, source: &source, known: &known, crew: &mut crew };
        one.keep(seed, invariant, &mut signals).await
    })
}

struct Shrinking<'a> {
    args: &'a SimulateArgs,
    source: &'a Source,
    known: &'a Known,
    crew: &'a mut Crew,
}

impl Shrinking<'_> {
    async fn keep(self, seed: u64, invariant: &str, signals: &mut Signals) -> Result<(), Failure> {
        let Self { args, source, known, crew } = self;
        let name = shrunk_name(&source.scenario.name, seed);
        let path = args.out.join(format!("{name}.yaml"));
        let mut draft = source.draft(seed, known).map_err(Failure::invalid)?;
        draft.set("name", &name);
        draft.set(
            "about",
            format!("Shows how {invariant} is broken; shrunk from seed {seed} of {}", source.scenario.name),
        );
        let stop = CancellationToken::new();
        let on_terminal = io::stderr().is_terminal();
        let mut tell = |tries: u32, left: &str| {
            let line = format!("shrinking seed {seed}: {tries} tries, {left}");
            let mut output = io::stderr().lock();
            let _ = if on_terminal { write!(output, "\r{line}\x1b[K") } else { writeln!(output, "{line}") };
            let _ = output.flush();
        };
        let shrinking = shrink::shrink(crew, draft, invariant, known, &stop, &mut tell);
        let mut shrinking = std::pin::pin!(shrinking);
        let shrunk = loop {
            tokio::select! {
                biased;
                _ = signals.next() => {
                    if stop.is_cancelled() {
                        let (code, message) = (ExitCode::Stopped, format!("seed {seed} is not shrunk: stopped"));
                        return Err(Failure { code, message });
                    }
                    stop.cancel();
                }
                shrunk = &mut shrinking => break shrunk,
            }
        };
        if on_terminal {
            let _ = writeln!(io::stderr());
        }
        let shrunk = match shrunk {
            Ok(shrunk) => shrunk,
            Err(why) => {
                say(format_args!("seed {seed} is not shrunk: {why}"));
                return Ok(());
            }
        };
        let (scenario, shown) = (source.path.display().to_string(), path.display().to_string());
        let found = shrink::Found { scenario: &scenario, seed, invariant, path: &shown };
        let failed = |error: io::Error| Failure::invalid(format!("error: {}: {error}", path.display()));
        fs::create_dir_all(&args.out).map_err(failed)?;
        fs::write(&path, shrink::file(&shrunk, &found)).map_err(failed)?;
        let (before, after) = (shrunk.before, shrunk.after);
        say(format_args!(
            "seed {seed}: {} of {} faults and {} of {} journeys that order still break {invariant}, after {} tries",
            after.faults, before.faults, after.journeys, before.journeys, shrunk.tries
        ));
        say(format_args!("play it with: shopctl simulate {shown}"));
        Ok(())
    }
}

/// A name for what is left of a seed; the scenario's own may be as long as names can be.
fn shrunk_name(scenario: &str, seed: u64) -> String {
    let seed = seed.to_string();
    let room = NAME_MAX.saturating_sub(seed.len() + 1);
    format!("{}-{seed}", scenario.chars().take(room).collect::<String>())
}

fn fingerprint(args: &SimulateArgs, source: &Source) -> Result<Fingerprint, Failure> {
    let text = fs::read_to_string(&source.path);
    let text = text.map_err(|error| Failure::invalid(format!("error: {}: {error}", source.path.display())))?;
    Ok(Fingerprint {
        program: build(),
        scenario: scenario::hash(&text, &[]),
        set: args.scenario.set.iter().map(|set| format!("{}={}", set.path, set.value)).collect(),
        scale: args.scale.map(|scale| scale.to_string()),
        calm: args.calm,
        crash_points: args.crash_points,
        swarm: swarm::VERSION,
    })
}

/// The commit of the working folder. Of code that is not committed the commit says too little: then it is
/// the build as well.
fn build() -> String {
    let changed = std::process::Command::new("git").args(["status", "--porcelain", "--untracked-files=no"]).output();
    let clean = changed.is_ok_and(|output| output.status.success() && output.stdout.is_empty());
    let commit = commit();
    match commit {
        Some(commit) if clean => commit,
        commit => {
            let build = std::env::current_exe().and_then(fs::metadata);
            let build = build.map_or_else(
                |_| "unknown".to_owned(),
                |file| {
                    let since = file.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
                    format!("{}-{}", file.len(), since.unwrap_or_default().as_millis())
                },
            );
            format!("{} build {build}", commit.as_deref().unwrap_or("no commit"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use scenario::is_name;

    #[test]
    fn a_shrunk_scenario_s_name_is_one() {
        for name in ["x".to_owned(), "x".repeat(48)] {
            let shrunk = shrunk_name(&name, u64::MAX);
            assert!(is_name(&shrunk) && shrunk.ends_with(&u64::MAX.to_string()), "{shrunk}");
        }
    }
}
