//! Where the machine keeps its server programs.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::ServerError;

/// The programs that the local servers are started from.
#[derive(Debug, Clone)]
pub struct Binaries {
    pub postgres: PathBuf,
    pub initdb: PathBuf,
    pub nats_server: PathBuf,
    pub redis_server: PathBuf,
}

/// A program, and the Debian package that has it.
pub const PROGRAMS: [(&str, &str); 4] = [
    ("postgres", "postgresql"),
    ("initdb", "postgresql"),
    ("nats-server", "nats-server"),
    ("redis-server", "redis-server"),
];

impl Binaries {
    /// # Errors
    /// One line that names every missing program and what to install.
    pub fn find() -> Result<Self, ServerError> {
        let missing: Vec<(&str, &str)> =
            PROGRAMS.into_iter().filter(|(program, _)| locate(program).is_none()).collect();
        if missing.is_empty()
            && let (Some(postgres), Some(initdb), Some(nats_server), Some(redis_server)) =
                (locate("postgres"), locate("initdb"), locate("nats-server"), locate("redis-server"))
        {
            return Ok(Self { postgres, initdb, nats_server, redis_server });
        }
        let programs: Vec<&str> = missing.iter().map(|(program, _)| *program).collect();
        let mut packages: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
        packages.dedup();
        Err(ServerError(format!(
            "not found: {}; on Debian: apt-get install {}",
            programs.join(", "),
            packages.join(" ")
        )))
    }
}

/// The program of that name: on the `PATH`, in the system's own folders, or where Debian keeps each
/// version of PostgreSQL, the newest first.
pub fn locate(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = versioned(Path::new("/usr/lib/postgresql"));
    folders.extend(std::env::split_paths(&path));
    folders.extend(["/usr/sbin", "/usr/local/sbin", "/usr/local/bin", "/usr/bin"].map(PathBuf::from));
    folders.into_iter().map(|folder| folder.join(program)).find(|path| path.is_file())
}

fn versioned(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut versions: Vec<(u32, PathBuf)> = entries
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    versions.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    versions.into_iter().map(|(_, path)| path).collect()
}

/// What the program says of its version, in one line.
///
/// # Errors
/// When it cannot be run.
pub fn version(program: &Path) -> Result<String, ServerError> {
    let output = Command::new(program).arg("--version").output().map_err(|error| ServerError::at(program, &error))?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}
