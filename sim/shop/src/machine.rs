//! What processes and threads have used, as Linux tells it; `None` where nobody tells.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// A clock tick in `/proc/PID/stat`: Linux counts a hundred a second there on every machine that this
/// program is built for.
const TICK_US: u64 = 10_000;

/// Something that uses CPU and memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// A thread of this process, by [`this_thread`]'s id.
    Thread(String),
    /// A process, by its id, with all its threads.
    Process(u32),
    /// A process and all that descend from it: PostgreSQL has one for each connection.
    Tree(u32),
}

/// What a shop holds of a machine, by name: whoever wants to know how much looks there.
#[derive(Debug, Default)]
pub struct Holdings {
    pub parts: Vec<(String, Part)>,
    /// Where data lie; none of them is within another one.
    pub folders: Vec<(String, PathBuf)>,
}

/// What a part has used.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Used {
    /// CPU time in microseconds: of a thread or process since it started, of a tree since it was first
    /// looked at, because servers may be older than the run. `None` where nobody tells.
    pub cpu_us: Option<u64>,
    /// The most memory that it has held, in megabytes. Of a process its peak resident set. Of a tree the
    /// most that was seen at any one look: the sum of proportional set sizes, which count a page that
    /// several share once; where the kernel does not tell those (another user's processes), of
    /// resident sets, which count it for each. `None` for threads, whose memory is the process's.
    pub peak_mb: Option<f64>,
    /// What it held at the last look: of a process its resident set, of a tree as above.
    pub held_mb: Option<f64>,
    /// It is a part of this process.
    pub within: bool,
}

/// Measures parts by name. Looks when it is told to; what has ended keeps what was seen last.
#[derive(Debug, Default)]
pub struct Meter {
    parts: BTreeMap<String, Measured>,
}

#[derive(Debug)]
struct Measured {
    part: Part,
    /// When the process started, in ticks since boot: its number may be another's later.
    born: Option<u64>,
    /// What a tree had used before.
    before_us: u64,
    used: Used,
}

impl Meter {
    /// Looks at each part for the first time.
    pub fn new(parts: impl IntoIterator<Item = (String, Part)>) -> Self {
        let mut meter = Self::default();
        parts.into_iter().for_each(|(name, part)| meter.add(name, part));
        meter
    }

    /// One part more; one of that name is not measured any longer.
    pub fn add(&mut self, name: String, part: Part) {
        let (born, before_us) = match &part {
            Part::Thread(_) => (None, 0),
            Part::Process(pid) => (Stat::of(*pid).map(|stat| stat.born), 0),
            Part::Tree(pid) => (Stat::of(*pid).map(|stat| stat.born), tree(*pid).cpu_us()),
        };
        let used = Used { within: matches!(part, Part::Thread(_)), ..Used::default() };
        let mut measured = Measured { part, born, before_us, used };
        measured.look();
        self.parts.insert(name, measured);
    }

    /// Looks again. The more often, the nearer is a tree's peak to the truth; one look at PostgreSQL's
    /// processes costs milliseconds, so once in some seconds is often enough.
    pub fn look(&mut self) {
        self.parts.values_mut().for_each(Measured::look);
    }

    /// Looks once more, and answers what each part has used.
    pub fn used(&mut self) -> BTreeMap<String, Used> {
        self.look();
        self.parts.iter().map(|(name, measured)| (name.clone(), measured.used.clone())).collect()
    }
}

impl Measured {
    fn look(&mut self) {
        let same = |pid: u32| Stat::of(pid).filter(|stat| Some(stat.born) == self.born);
        match &self.part {
            Part::Thread(thread) => self.used.cpu_us = cpu_us_of_thread(thread).or(self.used.cpu_us),
            Part::Process(pid) => {
                let Some(stat) = same(*pid) else { return };
                self.used.cpu_us = Some(stat.own_ticks * TICK_US);
                self.used.peak_mb = peak_mb_of(&pid.to_string()).or(self.used.peak_mb);
                self.used.held_mb = resident_mb_of(*pid).or(self.used.held_mb);
            }
            Part::Tree(pid) => {
                if same(*pid).is_none() {
                    return;
                }
                let tree = tree(*pid);
                let cpu_us = tree.cpu_us().saturating_sub(self.before_us);
                self.used.cpu_us = self.used.cpu_us.max(Some(cpu_us));
                let held = tree.memory_mb();
                self.used.peak_mb = [self.used.peak_mb, held].into_iter().flatten().reduce(f64::max);
                self.used.held_mb = held.or(self.used.held_mb);
            }
        }
    }
}

/// What `/proc/PID/stat` says of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stat {
    parent: u32,
    own_ticks: u64,
    /// Of children who have ended and were waited for, and of theirs.
    children_ticks: u64,
    /// In ticks since boot.
    born: u64,
}

impl Stat {
    fn of(pid: u32) -> Option<Self> {
        Self::read(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    fn read(text: &str) -> Option<Self> {
        // The name comes before, in brackets, and may hold anything.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
        Some(Self {
            parent: u32::try_from(number(1)?).ok()?,
            own_ticks: number(11)? + number(12)?,
            children_ticks: number(13)? + number(14)?,
            born: number(19)?,
        })
    }
}

/// A process and its descendants.
struct Tree(BTreeMap<u32, Stat>);

/// None at all if there is no such process.
fn tree(root: u32) -> Tree {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let mut all: BTreeMap<u32, Stat> = pids.filter_map(|pid| Some((pid, Stat::of(pid)?))).collect();
    let mut found: BTreeSet<u32> = all.keys().copied().filter(|pid| *pid == root).collect();
    loop {
        let known = found.len();
        let children: Vec<u32> =
            all.iter().filter(|(_, stat)| found.contains(&stat.parent)).map(|(pid, _)| *pid).collect();
        found.extend(children);
        if found.len() == known {
            break;
        }
    }
    all.retain(|pid, _| found.contains(pid));
    Tree(all)
}

impl Tree {
    /// Also of those that have ended: whoever waited for them has it on its own account.
    fn cpu_us(&self) -> u64 {
        self.0.values().map(|stat| (stat.own_ticks + stat.children_ticks) * TICK_US).sum()
    }

    fn memory_mb(&self) -> Option<f64> {
        let each: Vec<f64> = self.0.keys().filter_map(|pid| memory_mb_of(*pid)).collect();
        (!each.is_empty()).then(|| each.iter().sum())
    }
}

/// What a process holds now: its proportional set size, or its resident set where that is not told.
fn memory_mb_of(pid: u32) -> Option<f64> {
    let proportional = || megabytes(&fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?, "Pss:");
    proportional().or_else(|| resident_mb_of(pid))
}

fn resident_mb_of(pid: u32) -> Option<f64> {
    megabytes(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?, "VmRSS:")
}

fn peak_mb_of(process: &str) -> Option<f64> {
    megabytes(&fs::read_to_string(format!("/proc/{process}/status")).ok()?, "VmHWM:")
}

/// A line such as `VmHWM:  1024 kB`.
fn megabytes(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib / 1024.0)
}

/// The id of the calling thread, for [`cpu_us_of_thread`].
pub fn this_thread() -> Option<String> {
    let link = fs::read_link("/proc/thread-self").ok()?;
    Some(link.file_name()?.to_str()?.to_owned())
}

/// CPU time that a thread of this process has used, in microseconds.
pub fn cpu_us_of_thread(thread: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/self/task/{thread}/schedstat")).ok()?;
    let nanoseconds: u64 = text.split_whitespace().next()?.parse().ok()?;
    Some(nanoseconds / 1000)
}

/// The most memory that this process has held so far, in megabytes.
pub fn peak_rss_mb() -> Option<f64> {
    peak_mb_of("self")
}

/// What a folder and all in it take of the disk, in megabytes; what comes or goes meanwhile may be counted or not.
pub fn disk_mb(folder: &Path) -> f64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let each = entries.map(|entry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => disk_mb(&entry.path()),
        // In units of 512 bytes, whatever the file system's own are (stat(2)).
        Ok(meta) => meta.blocks() as f64 * 512.0 / 1024.0 / 1024.0,
        Err(_) => 0.0,
    });
    each.sum()
}

/// A line about the machine: processor and cores, memory, kernel.
pub fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let model = model.trim_start_matches([' ', '\t', ':']);
    let meminfo = read("/proc/meminfo");
    let memory = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap_or_default();
    let kib: u64 = memory.split_whitespace().next().and_then(|kib| kib.parse().ok()).unwrap_or_default();
    let kernel = read("/proc/sys/kernel/osrelease");
    let os = format!("{} {}", std::env::consts::OS, kernel.trim());
    format!("{cores} × {model}, {} GiB, {}", kib / 1024 / 1024, os.trim())
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// A shell that does `work`, says so, and waits until it is killed.
    struct Shell(Child);

    impl Shell {
        fn after(work: &str) -> Self {
            let script = format!("{work}; echo; read -r never");
            let mut child =
                Command::new("sh").args(["-c", &script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
            child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
            Self(child)
        }
    }

    impl Drop for Shell {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    /// Some tenths of a second of it.
    const WORK: &str = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";

    fn only(meter: &mut Meter) -> Used {
        meter.used().into_values().next().unwrap()
    }

    #[test]
    fn reads_the_kernel_s_line_about_a_process_whatever_its_name() {
        let text = "7 (a) b) S 1 7 7 0 -1 4194560 9 8 0 0 11 12 13 14 20 0 1 0 555 1000 100\n";
        assert_eq!(Stat::read(text), Some(Stat { parent: 1, own_ticks: 23, children_ticks: 27, born: 555 }));
        assert_eq!(Stat::read("7 (cut"), None);
        assert_eq!(megabytes("Name:\tx\nVmHWM:\t  2048 kB\n", "VmHWM:"), Some(2.0));
    }

    #[test]
    fn a_process_is_measured_since_its_start_and_keeps_its_last_when_it_has_ended() {
        let shell = Shell::after(WORK);
        let mut meter = Meter::new([("sh".to_owned(), Part::Process(shell.0.id()))]);
        let used = only(&mut meter);
        assert!(used.cpu_us.unwrap() > 0 && used.peak_mb.unwrap() > 0.1 && !used.within, "{used:?}");
        drop(shell);
        assert_eq!(only(&mut meter), used);
    }

    #[test]
    fn a_tree_counts_children_that_have_ended_and_not_what_came_before_the_first_look() {
        let mut shell = Shell::after(&format!("{WORK}; echo; read -r go; ({WORK})"));
        let mut meter = Meter::new([("sh".to_owned(), Part::Tree(shell.0.id()))]);
        assert_eq!(only(&mut meter).cpu_us, Some(0), "what it did before");
        shell.0.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
        shell.0.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        let (all, own) = (only(&mut meter).cpu_us.unwrap(), Stat::of(shell.0.id()).unwrap());
        assert!(all > 0 && all <= own.children_ticks * TICK_US + TICK_US, "{all}, {own:?}");
    }

    #[test]
    fn a_tree_s_memory_is_that_of_all_its_processes() {
        let shell = Shell::after("sleep 1000 & trap 'kill $!' EXIT");
        let pid = shell.0.id();
        let tree = tree(pid);
        assert_eq!(tree.0.len(), 2, "the shell and what it has started");
        let one = memory_mb_of(pid).unwrap();
        assert!(tree.memory_mb().unwrap() > one);
        for child in tree.0.keys().filter(|child| **child != pid) {
            Command::new("kill").arg(child.to_string()).status().unwrap();
        }
    }

    #[test]
    fn a_folder_takes_what_its_files_take_however_deep_they_lie() {
        let folder = tempfile::tempdir().unwrap();
        let (deep, before) = (folder.path().join("a/b"), disk_mb(folder.path()));
        fs::create_dir_all(&deep).unwrap();
        for path in [folder.path().join("x"), deep.join("y")] {
            fs::write(path, vec![1; 1 << 20]).unwrap();
        }
        let grown = disk_mb(folder.path()) - before;
        assert!((2.0..2.1).contains(&grown), "{grown} MB");
        assert!(disk_mb(&folder.path().join("none")) < 1e-9);
    }

    #[test]
    fn a_thread_has_no_memory_of_its_own() {
        let thread = Part::Thread(this_thread().unwrap());
        let used = only(&mut Meter::new([("here".to_owned(), thread)]));
        assert!(used.cpu_us.is_some() && used.peak_mb.is_none() && used.within);
    }

    #[test]
    fn nobody_uses_nothing() {
        for part in [Part::Process(u32::MAX), Part::Tree(u32::MAX), Part::Thread("none".into())] {
            let used = only(&mut Meter::new([("none".to_owned(), part)]));
            assert!(used.cpu_us.is_none() && used.peak_mb.is_none());
        }
    }
}
