//! Whoever does not want to wait for servers need not.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::harness::{Bench, PATIENCE, TINY};
use crate::soon;

/// Shorter than any of the deadlines that a start has: who is heard so soon was not given up on.
const AT_ONCE: Duration = Duration::from_secs(20);

/// A folder with a `nats-server` of this version, which starts and then never answers.
fn silent_nats(version: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let (program, started) = (folder.path().join("nats-server"), folder.path().join("started"));
    let text = format!(
        "#!/bin/sh\n[ \"$1\" = --version ] && {{ echo 'nats-server: v{version}'; exit; }}\n\
         : > {}\nexec sleep 600\n",
        started.display()
    );
    fs::write(&program, text).unwrap();
    fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    folder
}

/// `shopctl` where that is the first `nats-server` to be found, with throwaway folders of its own.
fn shopctl(bench: &Bench, programs: &Path, arguments: &[&str]) -> Command {
    let temporary = temporary(bench);
    let path = std::env::var("PATH").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_shopctl"));
    command.args(arguments).current_dir(bench.path("")).stdin(Stdio::null());
    command.env("TMPDIR", temporary).env("SHOPCTL_LOG", "off").env("PATH", format!("{}:{path}", programs.display()));
    command
}

fn temporary(bench: &Bench) -> PathBuf {
    let folder = bench.path("tmp");
    fs::create_dir_all(&folder).unwrap();
    for folder in [bench.path(""), folder.clone()] {
        fs::set_permissions(&folder, PermissionsExt::from_mode(0o755)).unwrap();
    }
    folder
}

/// What still runs with that folder in its command line.
fn left_in(folder: &Path) -> Vec<String> {
    let mark = folder.display().to_string();
    let lines = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
        entry.file_name().to_str()?.parse::<u32>().ok()?;
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&line).replace('\0', " "))
    });
    lines.filter(|line| line.contains(&mark)).collect()
}

struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn ctrl_c_is_heard_while_servers_are_started_and_leaves_nothing() {
    for arguments in [&["infra"][..], &["up", "--infra", "local"], &["run", "scenario.yaml", "--infra", "local"]] {
        let (bench, programs) = (Bench::new(TINY), silent_nats("2.10.0"));
        let command = shopctl(&bench, programs.path(), arguments).stdout(Stdio::null()).spawn();
        let mut waiting = Ended(command.unwrap());
        soon(PATIENCE, || programs.path().join("started").exists().then_some(()));
        let pid = waiting.0.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
        let status = soon(AT_ONCE, || waiting.0.try_wait().unwrap());
        assert_eq!(status.code(), Some(105), "{arguments:?}");
        soon(PATIENCE, || left_in(&bench.path("tmp")).is_empty().then_some(()));
        let throwaway = fs::read_dir(bench.path("tmp")).unwrap().flatten();
        let mut servers = throwaway.flat_map(|folder| fs::read_dir(folder.path()).unwrap().flatten());
        assert!(!servers.any(|entry| entry.file_name().to_string_lossy().starts_with("servers-")), "{arguments:?}");
    }
}

#[test]
fn servers_that_are_too_old_are_not_started() {
    let (bench, programs) = (Bench::new(TINY), silent_nats("2.8.4"));
    let output = shopctl(&bench, programs.path(), &["infra"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("nats-server is version 2.8.4; install 2.9 or newer"), "{said}");
    assert_eq!(output.status.code(), Some(115));
    assert!(!programs.path().join("started").exists());
    let told = shopctl(&bench, programs.path(), &["doctor"]).output().unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    assert!(told.contains("nats-server     UNUSABLE: "), "{told}");
}
