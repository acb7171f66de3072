//! Where the machine keeps its server programs, and which versions they are.

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Signal, geteuid};

use crate::failure::ServerError;
use crate::{processes, wait};

/// How long a program may take to say its version.
const VERSION_DEADLINE: Duration = Duration::from_secs(5);
/// How much of what it says is read.
const VERSION_BYTES: u64 = 4096;

/// A program that the local servers need.
#[derive(Debug, Clone, Copy)]
pub struct Program {
    pub name: &'static str,
    /// The Debian package that has it.
    pub package: &'static str,
    /// The oldest version that is known to work.
    pub oldest: (u32, u32),
}

pub const POSTGRES: Program = Program { name: "postgres", package: "postgresql", oldest: (14, 0) };
pub const INITDB: Program = Program { name: "initdb", package: "postgresql", oldest: (14, 0) };
pub const NATS_SERVER: Program = Program { name: "nats-server", package: "nats-server", oldest: (2, 9) };
pub const REDIS_SERVER: Program = Program { name: "redis-server", package: "redis-server", oldest: (6, 0) };
/// Runs PostgreSQL as another user than root.
pub const SETPRIV: Program = Program { name: "setpriv", package: "util-linux", oldest: (2, 32) };

/// Those that this user needs.
pub fn needed() -> Vec<Program> {
    let mut needed = vec![POSTGRES, INITDB, NATS_SERVER, REDIS_SERVER];
    if geteuid().is_root() {
        needed.push(SETPRIV);
    }
    needed
}

/// What a program says of its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Major and minor.
    pub number: (u32, u32),
    /// As written, such as `15.16` or `2.9.10`.
    pub text: String,
}

impl Version {
    /// Finds the version in what `--version` prints: the first word that begins with a number, a `v`
    /// before it or not.
    pub fn parse(said: &str) -> Option<Self> {
        said.split_whitespace().find_map(|word| {
            let word = word.trim_start_matches("v=").trim_start_matches('v');
            let mut numbers = word.split('.').map(|part| {
                let digits = part.len() - part.trim_start_matches(|letter: char| letter.is_ascii_digit()).len();
                part.get(..digits)?.parse::<u32>().ok()
            });
            let major = numbers.next()??;
            let minor = numbers.next().flatten().unwrap_or_default();
            Some(Self { number: (major, minor), text: word.to_owned() })
        })
    }
}

impl Program {
    /// Where it is: on the `PATH`, in the system's own folders, or where Debian keeps each version of
    /// PostgreSQL, the newest first.
    pub fn locate(&self) -> Option<PathBuf> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let system = ["/usr/local/bin", "/usr/bin", "/usr/local/sbin", "/usr/sbin"].map(PathBuf::from);
        let mut folders: Vec<PathBuf> = std::env::split_paths(&path).filter(|folder| folder.is_absolute()).collect();
        folders.extend(system);
        folders.extend(versioned(Path::new("/usr/lib/postgresql")));
        folders.into_iter().map(|folder| folder.join(self.name)).find(|path| can_be_run(path))
    }

    /// Where it is and which version.
    ///
    /// # Errors
    /// What to do: it is missing, cannot be run, or is too old.
    pub fn check(&self) -> Result<(PathBuf, Version), ServerError> {
        let path = self
            .locate()
            .ok_or_else(|| ServerError(format!("not found; on Debian: apt-get install {}", self.package)))?;
        let version = version(&path)?;
        if version.number < self.oldest {
            let ((major, minor), path) = (self.oldest, path.display());
            let text = &version.text;
            return Err(ServerError(format!("{path} is version {text}; install {major}.{minor} or newer")));
        }
        Ok((path, version))
    }
}

/// The programs that the local servers are started from.
#[derive(Debug, Clone)]
pub struct Binaries {
    pub postgres: PathBuf,
    pub initdb: PathBuf,
    pub nats_server: PathBuf,
    pub redis_server: PathBuf,
    /// Needed by root only.
    pub setpriv: PathBuf,
}

impl Binaries {
    /// # Errors
    /// One line that names every missing program and what to install, or the first that is too old or
    /// cannot be run.
    pub fn find() -> Result<Self, ServerError> {
        let missing: Vec<Program> = needed().into_iter().filter(|program| program.locate().is_none()).collect();
        if !missing.is_empty() {
            return Err(ServerError(what_is_missing(&missing)));
        }
        let checked = |program: Program| program.check().map(|(path, _)| path);
        Ok(Self {
            postgres: checked(POSTGRES)?,
            initdb: checked(INITDB)?,
            nats_server: checked(NATS_SERVER)?,
            redis_server: checked(REDIS_SERVER)?,
            setpriv: if geteuid().is_root() { checked(SETPRIV)? } else { SETPRIV.name.into() },
        })
    }
}

fn what_is_missing(missing: &[Program]) -> String {
    let programs: Vec<&str> = missing.iter().map(|program| program.name).collect();
    let mut packages: Vec<&str> = missing.iter().map(|program| program.package).collect();
    packages.dedup();
    format!("not found: {}; on Debian: apt-get install {}", programs.join(", "), packages.join(" "))
}

fn can_be_run(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

fn versioned(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut versions: Vec<(u32, PathBuf)> = entries
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    versions.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    versions.into_iter().map(|(_, path)| path).collect()
}

/// What the program says of its version.
///
/// # Errors
/// When it cannot be run, or says nothing that can be understood.
pub fn version(program: &Path) -> Result<Version, ServerError> {
    let failed = |why: &dyn std::fmt::Display| ServerError(format!("{} --version: {why}", program.display()));
    let asked = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn();
    let mut child = asked.map_err(|error| failed(&error))?;
    // It says a line, which the pipe holds until it is read.
    if !wait::until(VERSION_DEADLINE, || !matches!(child.try_wait(), Ok(None))) {
        for pid in processes::tree(child.id()) {
            processes::send(pid.cast_signed(), Signal::KILL);
        }
        let _ = child.wait();
        return Err(failed(&format_args!("no answer within {VERSION_DEADLINE:?}")));
    }
    let mut said = Vec::new();
    if let Some(output) = child.stdout.take() {
        output.take(VERSION_BYTES).read_to_end(&mut said).map_err(|error| failed(&error))?;
    }
    let said = String::from_utf8_lossy(&said);
    Version::parse(&said).ok_or_else(|| failed(&format_args!("`{}` is no version", said.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_each_program_says() {
        for (said, number, text) in [
            ("postgres (PostgreSQL) 15.16 (Debian 15.16-0+deb12u1)\n", (15, 16), "15.16"),
            ("initdb (PostgreSQL) 17beta1", (17, 0), "17beta1"),
            ("nats-server: v2.9.10\n", (2, 9), "2.9.10"),
            ("Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=1", (7, 0), "7.0.15"),
            ("setpriv from util-linux 2.38.1", (2, 38), "2.38.1"),
        ] {
            assert_eq!(Version::parse(said), Some(Version { number, text: text.into() }), "{said}");
        }
        assert_eq!(Version::parse("nothing of the kind"), None);
    }

    #[test]
    fn everything_that_is_missing_is_named_once() {
        assert_eq!(
            what_is_missing(&[POSTGRES, INITDB, NATS_SERVER]),
            "not found: postgres, initdb, nats-server; on Debian: apt-get install postgresql nats-server"
        );
    }

    #[test]
    fn a_program_that_never_says_its_version_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("silent");
        std::fs::write(&program, "#!/bin/sh\nexec sleep 600\n").unwrap();
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
        let said = version(&program).unwrap_err().to_string();
        assert!(said.ends_with("--version: no answer within 5s"), "{said}");
    }

    #[test]
    fn a_program_that_nobody_has_is_not_found() {
        let unknown = Program { name: "no-such-server", package: "some-package", oldest: (1, 0) };
        let said = unknown.check().unwrap_err().to_string();
        assert_eq!(said, "not found; on Debian: apt-get install some-package");
        let future = Program { oldest: (1000, 0), name: "cargo", package: "cargo" };
        assert!(future.check().unwrap_err().to_string().ends_with("install 1000.0 or newer"));
    }
}
