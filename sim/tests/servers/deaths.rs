//! Servers and roles that end by themselves: whoever runs them is told, and told which.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::harness::{Bench, PATIENCE, TINY};
use crate::processes::ONE_SHOP;
use crate::soon;

/// A command with servers of its own; it ends with the test, however that ends.
struct Watched {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    bench: Bench,
}

impl Watched {
    fn start(arguments: &[&str]) -> Self {
        let bench = Bench::new(TINY);
        let mut child = Command::new(env!("CARGO_BIN_EXE_shopctl"))
            .args(arguments)
            .current_dir(bench.path(""))
            .env("SHOPCTL_LOG", "off")
            .stdout(Stdio::piped())
            .stderr(File::create(bench.path("stderr.txt")).unwrap())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines, bench }
    }

    fn stderr(&self) -> String {
        fs::read_to_string(self.bench.path("stderr.txt")).unwrap()
    }

    /// Reads on to the first line that contains `text`.
    fn says(&mut self, text: &str) -> String {
        let found = self.lines.by_ref().map_while(Result::ok).find(|line| line.contains(text));
        found.unwrap_or_else(|| panic!("it ended without saying `{text}`:\n{}", self.stderr()))
    }

    /// Kills the child of the command whose command line contains `part`.
    fn kill(&self, part: &str) {
        let parent = self.child.id().to_string();
        let of_it = |pid: &String| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let after_name = stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().nth(1));
            after_name == Some(Some(&parent)) && String::from_utf8_lossy(&line).replace('\0', " ").contains(part)
        };
        let entries = fs::read_dir("/proc").unwrap().flatten();
        let mut pids = entries.filter_map(|entry| entry.file_name().into_string().ok()).filter(of_it);
        let pid = pids.next().unwrap_or_else(|| panic!("no child `{part}`"));
        assert!(Command::new("kill").args(["-9", &pid]).status().unwrap().success());
    }

    fn code(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn a_server_that_dies_in_a_run_is_named_at_once_and_in_the_end() {
    let _one = ONE_SHOP.lock().await;
    let mut run = Watched::start(&["run", "scenario.yaml", "--infra", "local", "--headless"]);
    run.says("journeys");
    run.kill("nats-server");
    assert!(run.says("nats ended").contains("signal: 9"));
    while run.lines.by_ref().map_while(Result::ok).next().is_some() {}
    assert_eq!(run.code(), Some(115), "{}", run.stderr());
    let stderr = run.stderr();
    assert!(stderr.starts_with("error: nats ended (signal: 9") && stderr.contains("after that: "), "{stderr}");
    assert_eq!(stderr.matches("nats ended").count(), 1, "{stderr}");
}

#[tokio::test]
async fn a_shop_that_lost_a_role_or_a_server_says_so_while_it_stays_up() {
    let _one = ONE_SHOP.lock().await;
    let mut up = Watched::start(&["up", "--infra", "local", "--processes", "--listen", "127.0.0.1:0"]);
    up.says("fill it with");
    for (part, said) in [("serve order", "error: order ended by itself (signal: 9"), ("redis-server", "redis ended")] {
        up.kill(part);
        soon(PATIENCE, || up.stderr().contains(said).then_some(()));
    }
    let pid = up.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert_eq!(up.code(), Some(115), "it was not whole when it was stopped");
}
