//! What the kernel tells of processes, and how those of a folder are ended.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::{guardian, wait};

/// Processes with another name are nobody that this crate has started: an editor, say, on a log.
const NAMES: [&str; 5] = ["postgres", "initdb", "nats-server", "redis-server", "setpriv"];
/// How long servers get to end by themselves; PostgreSQL itself kills its children after 5 s.
const GENTLE: Duration = Duration::from_secs(6);
const KILLED: Duration = Duration::from_secs(2);

/// One line of the table of processes.
struct Seen {
    pid: i32,
    name: String,
    parent: i32,
}

fn all() -> Vec<Seen> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(seen).collect()
}

/// `None` for one that is gone, or has ended and only waits to be counted.
fn seen(pid: i32) -> Option<Seen> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name is in brackets and may hold any.
    let (before, after) = stat.rsplit_once(')')?;
    let name = before.split_once('(')?.1.to_owned();
    let fields: Vec<&str> = after.split_whitespace().collect();
    let [state, parent, ..] = fields.as_slice() else { return None };
    if matches!(*state, "Z" | "X") {
        return None;
    }
    Some(Seen { pid, name, parent: parent.parse().ok()? })
}

/// A process and all that descend from it.
pub(crate) fn tree(root: u32) -> Vec<u32> {
    let all = all();
    let root = root.cast_signed();
    let mut found: BTreeSet<i32> = all.iter().map(|one| one.pid).filter(|pid| *pid == root).collect();
    while found.len() < add_children(&all, &mut found) {}
    found.into_iter().map(i32::cast_unsigned).collect()
}

/// How many there are then.
fn add_children(all: &[Seen], found: &mut BTreeSet<i32>) -> usize {
    let children: Vec<i32> = all.iter().filter(|one| found.contains(&one.parent)).map(|one| one.pid).collect();
    found.extend(children);
    found.len()
}

/// The command line, a space before and after each argument.
fn arguments(pid: i32) -> String {
    let text = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    format!(" {} ", String::from_utf8_lossy(&text).replace('\0', " "))
}

/// The servers of a folder: processes of their programs that were started on exactly this folder or work
/// in it, and the children of those.
pub(crate) fn servers_of(folder: &Path) -> BTreeMap<i32, String> {
    let named = |name: &str| NAMES.iter().any(|known| name.contains(known));
    let all: Vec<Seen> = all().into_iter().filter(|one| named(&one.name)).collect();
    let marks = ["postgres/data", "postgres/data.new", "nats/nats.conf", "redis/redis-server"]
        .map(|mark| format!(" {} ", folder.join(mark).to_string_lossy()));
    let places = ["postgres/data", "postgres/data.new", "nats", "redis"].map(|place| folder.join(place));
    let belongs = |pid: i32| {
        let arguments = arguments(pid);
        // PostgreSQL's children have titles instead of arguments, but a place that they work in.
        marks.iter().any(|mark| arguments.contains(mark))
            || fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|place| places.contains(&place))
    };
    let mut found: BTreeSet<i32> = all.iter().map(|one| one.pid).filter(|pid| belongs(*pid)).collect();
    while found.len() < add_children(&all, &mut found) {}
    all.into_iter().filter(|one| found.contains(&one.pid)).map(|one| (one.pid, one.name)).collect()
}

/// Ends what still runs in a folder whose owner is gone, its guardian first: that one must not meet the
/// servers that are started here next. Whether nothing runs there any more.
pub(crate) fn end_all_of(folder: &Path) -> bool {
    let guardian = format!(" /bin/sh {} ", guardian::script(folder).to_string_lossy());
    for one in all().into_iter().filter(|one| arguments(one.pid).contains(&guardian)) {
        send(one.pid, Signal::KILL);
    }
    let servers = servers_of(folder);
    if servers.is_empty() {
        return true;
    }
    for (pid, name) in &servers {
        send(*pid, soonest(name));
        // Paused ones hear nothing until then.
        send(*pid, Signal::CONT);
    }
    if wait::until(GENTLE, || servers_of(folder).is_empty()) {
        return true;
    }
    for pid in servers_of(folder).into_keys() {
        send(pid, Signal::KILL);
    }
    wait::until(KILLED, || servers_of(folder).is_empty())
}

/// What ends a process of that name soonest, if it is to leave nothing behind.
fn soonest(name: &str) -> Signal {
    match name {
        name if name.contains("postgres") => Signal::QUIT,
        // It would finish its step, which nobody needs any more.
        name if name.contains("initdb") => Signal::KILL,
        _ => Signal::TERM,
    }
}

/// Whether a process of that number runs.
pub(crate) fn runs(pid: i32) -> bool {
    seen(pid).is_some()
}

/// To one that may be gone already.
pub(crate) fn send(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = kill_process(pid, signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_of_its_own_tree_and_of_its_parents() {
        let own = std::process::id();
        assert!(
            tree(own).contains(&own)
                && tree(rustix::process::getppid().unwrap().as_raw_nonzero().get().cast_unsigned()).contains(&own)
        );
    }

    #[test]
    fn nothing_runs_in_a_folder_of_another_name() {
        assert!(servers_of(Path::new("/nowhere")).is_empty());
        assert!(end_all_of(Path::new("/nowhere")));
    }
}
