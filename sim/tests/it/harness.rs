//! A scenario that takes three seconds, and the binary.

use std::io::{BufRead, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

use experiment::report::Summary;
use tempfile::TempDir;

/// How long a test waits for what has to happen. A machine that is slow and busy with other things takes longer than
/// any that one would think of; and a test that passes does not wait for the end of this.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// Sixty buyers, forty units, one card in five declined; a second group cancels what it ordered.
pub const TINY: &str = r#"
version: 1
name: tiny
about: sixty buyers fall on forty units
seed: 5
shop:
  users: 80
  catalog:
    generate: 2
    stock: 1000
    items:
      - { sku: LAMP, name: Lamp, price: 19.90 EUR, stock: 40 }
  settings:
    acquirer.decline_rate: 0.2
    acquirer.latency: 2ms..8ms
load:
  buyers:
    executor: constant-arrival-rate
    rate: 30
    duration: 2s
    max_vus: 60
    journey:
      - search: lamp
      - order: { items: [{ sku: LAMP, quantity: 1..2 }] }
      - retry_same_key
  undecided:
    executor: constant-arrival-rate
    rate: 10
    duration: 2s
    max_vus: 20
    journey:
      - order: { items: [{ sku: any, quantity: 1 }], wait: 0s }
      - cancel
      - await
expect:
  late_journeys: 1
  thresholds:
    order_errors: [rate<0.01]
warmup: 500ms
"#;

/// Where no server listens: only root may. A port that was free a moment ago may be another server's by now.
pub const NOBODY: &str = "127.0.0.1:1";
/// A setting: who orders and does not say how long they wait, waits as long as it takes.
pub const PATIENT: &str = "gateway.order_wait=30s";

/// Two dozen orders in a second and a half, in virtual time: enough for every step of the saga and for cancellations.
pub const SMALL: &str = r#"
version: 1
name: small
shop:
  users: 20
  catalog:
    generate: 2
    stock: 1000
    items:
      - { sku: LAMP, name: Lamp, price: 19.90 EUR, stock: 12 }
  settings:
    acquirer.decline_rate: 0.1
    acquirer.latency: 5ms..60ms
    gateway.rate_limit_per_minute: 6000
load:
  buyers:
    executor: constant-arrival-rate
    rate: 9
    duration: 1500ms
    max_vus: 30
    journey:
      - order: { items: [{ sku: LAMP, quantity: 1 }], copies: 2 }
      - retry_same_key
  undecided:
    executor: constant-arrival-rate
    rate: 6
    duration: 1500ms
    max_vus: 30
    journey:
      - order: { items: [{ sku: any, quantity: 1 }], wait: 0s }
      - think: 0ms..100ms
      - cancel
      - await
"#;

/// The scenario for a run in real time, with 80 orders at once and no haste: a machine that is slow and busy with other
/// things is no outage, so no call is too late, and there is time to come to rest. A charge takes so long that clients
/// who change their minds come in the middle of it.
pub fn unhurried(tiny: &str) -> String {
    let settings = "
  settings:
    gateway.peer_timeout: 30s
    order.step_timeout: 60s
    order.lease: 70s
    order.deadline: 10m
    payment.provider_timeout: 60s
    payment.breaker_slow_call: 60s
";
    let scenario = tiny
        .replace("\n  settings:\n", settings)
        .replace("acquirer.latency: 2ms..8ms", "acquirer.latency: 150ms..200ms")
        .replace("rate: 30\n    duration: 2s", "rate: 120\n    duration: 500ms")
        .replace("rate: 10\n    duration: 2s", "rate: 40\n    duration: 500ms")
        .replace("warmup: 500ms", "warmup: 100ms");
    format!("{scenario}graceful_stop: 2m\nquiescence_timeout: 2m\n")
}

/// A run in real time of the unhurried scenario, for all tests that look at what one leaves behind.
static PLAYED: LazyLock<Bench> = LazyLock::new(|| {
    let bench = Bench::new(&unhurried(TINY));
    let ended = bench.shopctl(&["run", "scenario.yaml", "-o", "json=copy.json", "-o", "md=copy.md"]).exits(0);
    std::fs::write(bench.path("stdout.txt"), ended.stdout()).unwrap();
    bench
});

/// A folder of its own for each test, with a scenario in it.
pub struct Bench {
    folder: TempDir,
}

impl Bench {
    pub fn new(scenario: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("scenario.yaml"), scenario).unwrap();
        Self { folder }
    }

    /// A folder in which the unhurried scenario has been run; what it said is in `stdout.txt`.
    pub fn played() -> Self {
        let folder = tempfile::tempdir().unwrap();
        copy_folder(PLAYED.folder.path(), folder.path());
        Self { folder }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs `shopctl` in this folder.
    pub fn shopctl(&self, arguments: &[&str]) -> Ended {
        self.shopctl_with(&[], arguments)
    }

    /// Runs `shopctl` in this folder with these environment variables.
    pub fn shopctl_with(&self, variables: &[(&str, &str)], arguments: &[&str]) -> Ended {
        let output = Command::new(env!("CARGO_BIN_EXE_shopctl"))
            .args(arguments)
            .current_dir(self.folder.path())
            .env_remove("SHOPCTL_LOG")
            .envs(variables.iter().copied())
            .output()
            .unwrap();
        Ended(output)
    }

    /// Starts `shopctl` in this folder and leaves it running.
    pub fn spawn(&self, arguments: &[&str]) -> Running {
        let mut child = Command::new(env!("CARGO_BIN_EXE_shopctl"))
            .args(arguments)
            .current_dir(self.folder.path())
            .env("SHOPCTL_LOG", "error")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Running { child, lines }
    }

    /// The folder of the only run.
    pub fn run_folder(&self) -> PathBuf {
        let mut runs = std::fs::read_dir(self.path("reports/runs")).unwrap();
        let folder = runs.next().unwrap().unwrap().path();
        assert!(runs.next().is_none(), "more than one run");
        folder
    }

    pub fn summary(&self) -> Summary {
        read_summary(&self.run_folder())
    }
}

pub fn read_summary(folder: &Path) -> Summary {
    serde_json::from_str(&std::fs::read_to_string(folder.join("summary.json")).unwrap()).unwrap()
}

/// A command that runs, and is killed when the test ends, however it ends.
pub struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    /// Reads on to the first line that contains `text`.
    pub fn says(&mut self, text: &str) -> String {
        let found = self.lines.by_ref().map_while(Result::ok).find(|line| line.contains(text));
        found.unwrap_or_else(|| panic!("it ended without saying `{text}`"))
    }
}

impl Running {
    /// `kill -9`.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// What Ctrl-C or a container's end does.
    pub fn stop(self) {
        assert_eq!(self.stop_with("-TERM"), 0);
    }

    /// Sends the signal; answers the exit code.
    pub fn stop_with(mut self, signal: &str) -> i32 {
        self.signal(signal);
        self.child.wait().unwrap().code().unwrap_or(-1)
    }

    pub fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A command that has ended.
pub struct Ended(Output);

impl Ended {
    pub fn code(&self) -> i32 {
        self.0.status.code().unwrap_or(-1)
    }

    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.0.stdout).into_owned()
    }

    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.0.stderr).into_owned()
    }

    /// Asserts the exit code, and shows what was said if it is another one.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code(), code, "stdout:\n{}\nstderr:\n{}", self.stdout(), self.stderr());
        self
    }
}

/// Copies a folder and everything in it.
pub fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_folder(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}
