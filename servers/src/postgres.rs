//! PostgreSQL. As root it runs as the system's user `postgres`, because it refuses to be root.

use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::Command;

use rustix::process::{Signal, geteuid};

use crate::binaries::Binaries;
use crate::server::{Recipe, Server};
use crate::{ServerError, secret};

/// The superuser of the private cluster.
const USER: &str = "shop";

pub(crate) fn prepare(binaries: &Binaries, folder: &Path) -> Result<Server, ServerError> {
    fs::create_dir_all(folder).map_err(|error| ServerError::at(folder, &error))?;
    let (password, address) = secret::kept(folder)?;
    let data = folder.join("data");
    let owner = owner()?;
    if let Some((uid, gid)) = owner {
        chown(folder, Some(uid), Some(gid)).map_err(|error| ServerError::at(folder, &error))?;
    }
    if !data.join("PG_VERSION").is_file() {
        initialise(binaries, folder, &data, &password, owner)?;
    }
    let status = data.join("postmaster.pid");
    let settings = [
        ("listen_addresses", "127.0.0.1".to_owned()),
        ("port", address.port().to_string()),
        ("unix_socket_directories", String::new()),
        ("max_connections", "200".to_owned()),
        ("shared_buffers", "64MB".to_owned()),
    ];
    let mut command = as_owner(&binaries.postgres.display().to_string(), owner);
    command.extend(["-D".to_owned(), data.display().to_string()]);
    for (name, value) in settings {
        command.extend(["-c".to_owned(), format!("{name}={value}")]);
    }
    let program = command.remove(0).into();
    Ok(Server::new(Recipe {
        name: "postgres",
        program,
        arguments: command,
        folder: folder.to_owned(),
        address,
        url: format!("postgres://{USER}:{password}@{address}"),
        // Fast shutdown: sessions are ended, the state is checkpointed.
        stop_signal: Signal::INT,
        // The server notes its state in the eighth line.
        is_ready: Box::new(move || {
            let text = fs::read_to_string(&status).unwrap_or_default();
            text.lines().nth(7).is_some_and(|line| line.trim() == "ready")
        }),
    }))
}

fn initialise(
    binaries: &Binaries,
    folder: &Path,
    data: &Path,
    password: &str,
    owner: Option<(u32, u32)>,
) -> Result<(), ServerError> {
    let password_file = folder.join("password");
    secret::write(&password_file, password)?;
    if let Some((uid, gid)) = owner {
        chown(&password_file, Some(uid), Some(gid)).map_err(|error| ServerError::at(&password_file, &error))?;
    }
    let mut command = as_owner(&binaries.initdb.display().to_string(), owner);
    let flags = ["--no-sync", "--no-instructions", "-E", "UTF8", "--locale=C", "--wal-segsize=16"];
    command.extend(flags.map(str::to_owned));
    command.extend(["-A", "scram-sha-256", "-U", USER, "--pwfile"].map(str::to_owned));
    command.extend([password_file.display().to_string(), "-D".into(), data.display().to_string()]);
    let program = command.remove(0);
    let output = Command::new(&program).args(&command).current_dir(folder).output();
    let output = output.map_err(|error| ServerError(format!("{program}: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    let last = words.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    Err(ServerError(format!("initdb: {last}")))
}

/// The user that PostgreSQL runs as, where that is not ourselves.
fn owner() -> Result<Option<(u32, u32)>, ServerError> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let found = users.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        match fields.as_slice() {
            ["postgres", _, uid, gid, ..] => Some((uid.parse().ok()?, gid.parse().ok()?)),
            _ => None,
        }
    });
    let missing = || ServerError("PostgreSQL does not run as root, and there is no user `postgres`".into());
    found.map(Some).ok_or_else(missing)
}

/// The program's command line, run as that user.
fn as_owner(program: &str, owner: Option<(u32, u32)>) -> Vec<String> {
    match owner {
        None => vec![program.to_owned()],
        Some((uid, gid)) => {
            let user = [format!("--reuid={uid}"), format!("--regid={gid}")];
            let mut command = vec!["setpriv".to_owned()];
            command.extend(user);
            command.extend(["--init-groups", "--reset-env", program].map(str::to_owned));
            command
        }
    }
}
