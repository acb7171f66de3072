//! PostgreSQL: a cluster of its own, made with `initdb`.

use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use crate::binaries::{self, Binaries};
use crate::failure::{ServerError, failed};
use crate::folder::Place;
use crate::server::{Recipe, Server, given_up};
use crate::user::User;
use crate::{processes, secret, wait};

const NAME: &str = "postgres";
/// The superuser of the private cluster.
const USER: &str = "shop";
/// About a second on a machine with nothing else to do.
const INITDB_DEADLINE: Duration = Duration::from_secs(60);
const ORPHANS_DEADLINE: Duration = Duration::from_secs(5);

/// `meanwhile` is called again and again while the cluster is made, which takes its time.
pub(crate) fn prepare(binaries: &Binaries, place: &Place, meanwhile: &mut dyn FnMut()) -> Result<Server, ServerError> {
    let folder = place.path.join(NAME);
    let data = folder.join("data");
    let is_new = !data.exists();
    if !is_new {
        check_is_ours(binaries, place, &data)?;
    }
    fs::create_dir_all(&folder).map_err(|error| failed(&folder, &error))?;
    if let Some(user) = &place.user {
        user.give(&folder)?;
    }
    let password = secret::kept(&place.path, NAME)?;
    if is_new {
        initialise(binaries, place, &data, &password, meanwhile)?;
    }
    let (program, mut arguments) = run_as(place.user, binaries, &binaries.postgres);
    arguments.extend([OsString::from("-D"), data.clone().into_os_string()]);
    let (log, home) = (place.log(NAME), place.path.clone());
    let (sync, throwaway) = (if place.durable { "on" } else { "off" }, place.is_throwaway());
    let socket = socket(place);
    Server::new(
        place.give_up.clone(),
        Box::new(move |address| {
            let mut settings = vec![
                ("listen_addresses", "127.0.0.1".to_owned()),
                ("port", address.port().to_string()),
                ("unix_socket_directories", socket.clone().unwrap_or_default()),
                ("max_connections", "200".to_owned()),
                // Taken when it is used.
                ("shared_buffers", "256MB".to_owned()),
                ("fsync", sync.to_owned()),
                ("full_page_writes", sync.to_owned()),
                // In the folder, and gone with it.
                ("dynamic_shared_memory_type", "mmap".to_owned()),
                ("timezone", "UTC".to_owned()),
                ("log_timezone", "UTC".to_owned()),
            ];
            if throwaway {
                // Checkpoints that are far apart: after each the whole page is logged for the first key that comes to it,
                // and keys lie anywhere in their indices. Not where a log so long might have to be replayed at a start.
                settings.extend([("max_wal_size", "4GB".to_owned()), ("checkpoint_timeout", "15min".to_owned())]);
            }
            let settings = settings.into_iter().flat_map(|(name, value)| ["-c".to_owned(), format!("{name}={value}")]);
            let status = data.join("postmaster.pid");
            let (stale, home) = (status.clone(), home.clone());
            Ok(Recipe {
                name: NAME,
                program: program.clone(),
                called: None,
                arguments: arguments.iter().cloned().chain(settings.map(OsString::from)).collect(),
                input: None,
                folder: folder.clone(),
                log: log.clone(),
                address,
                url: format!("postgres://{USER}:{password}@{address}"),
                // Fast shutdown: sessions are ended, the state is checkpointed.
                stop: Signal::INT,
                // Immediate shutdown: the next start recovers.
                quit: Signal::QUIT,
                before_start: Box::new(move || {
                    await_orphans(&home);
                    forget_stale(&stale);
                }),
                is_ready: Box::new(move |pid| is_ready(&status, pid)),
            })
        }),
    )
}

/// The folder with the server's socket, which spares both sides much of what TCP costs; `None` where its
/// path would be too long (`sun_path` takes 108 bytes), or is no plain word in a URL and a list of folders.
pub fn socket(place: &Place) -> Option<String> {
    const NAME_MAX: usize = "/.s.PGSQL.65535.lock".len();
    let folder = place.path.join(NAME).to_str()?.to_owned();
    let plain = folder.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/-_.".contains(&byte));
    (plain && folder.len() + NAME_MAX < 108).then_some(folder)
}

/// The server notes its process in the first line and its state in the eighth; the file of one that was
/// killed stays behind.
fn is_ready(status: &Path, pid: u32) -> bool {
    let text = fs::read_to_string(status).unwrap_or_default();
    let line = |number: usize| text.lines().nth(number).unwrap_or_default().trim().to_owned();
    line(0) == pid.to_string() && line(7) == "ready"
}

/// The children of a server that was killed hold on to its memory until they notice.
fn await_orphans(home: &Path) {
    wait::until(ORPHANS_DEADLINE, || !processes::servers_of(home).values().any(|name| name.contains(NAME)));
}

/// PostgreSQL clears up after one that was killed, but not if that one's number belongs to a process
/// again. Whoever has it is no server of this folder: those have ended.
fn forget_stale(status: &Path) {
    let text = fs::read_to_string(status).unwrap_or_default();
    let noted = text.lines().next().and_then(|line| line.trim().parse().ok());
    if noted.is_some_and(processes::runs) {
        // If it stays, the server says why it does not start.
        let _ = fs::remove_file(status);
    }
}

/// Whether the data there are ours to take up, and this program's to read.
fn check_is_ours(binaries: &Binaries, place: &Place, data: &Path) -> Result<(), ServerError> {
    let secret = secret::path(&place.path, NAME);
    if !secret.is_file() {
        let (data, secret) = (data.display(), secret.display());
        return Err(ServerError(format!("{data}: its password, {secret}, is missing; choose another folder")));
    }
    let path = data.join("PG_VERSION");
    let made_by = fs::read_to_string(&path).map_err(|error| failed(&path, &error))?;
    let made_by: u32 = made_by.trim().parse().unwrap_or_default();
    let (ours, _) = binaries::version(&binaries.postgres)?.number;
    if made_by == ours {
        return Ok(());
    }
    Err(ServerError(format!(
        "{}: made by PostgreSQL {made_by}, which {} (version {ours}) cannot read; choose another folder",
        data.display(),
        binaries.postgres.display()
    )))
}

/// Makes the cluster beside its place and moves it there when it is whole.
fn initialise(
    binaries: &Binaries,
    place: &Place,
    data: &Path,
    password: &str,
    meanwhile: &mut dyn FnMut(),
) -> Result<(), ServerError> {
    let draft = data.with_extension("new");
    match fs::remove_dir_all(&draft) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(&draft, &error)),
        _ => {}
    }
    let password_file = data.with_extension("password");
    secret::write(&password_file, password)?;
    if let Some(user) = &place.user {
        user.give(&password_file)?;
    }
    let (program, mut arguments) = run_as(place.user, binaries, &binaries.initdb);
    let flags = ["--no-instructions", "-E", "UTF8", "--locale=C", "-A", "scram-sha-256", "-U", USER, "--pwfile"];
    arguments.extend(flags.map(OsString::from));
    arguments.extend([password_file.clone().into_os_string(), "-D".into(), draft.clone().into_os_string()]);
    if place.is_throwaway() {
        arguments.push("--no-sync".into());
    }
    let outcome = run(&program, &arguments, place, meanwhile);
    let tidied = fs::remove_file(&password_file).map_err(|error| failed(&password_file, &error));
    outcome?;
    tidied?;
    fs::rename(&draft, data).map_err(|error| failed(data, &error))
}

/// Runs `initdb` to its end.
fn run(program: &Path, arguments: &[OsString], place: &Place, meanwhile: &mut dyn FnMut()) -> Result<(), ServerError> {
    let log = place.log(NAME);
    let (file, since) = log.open()?;
    let failed = |error: std::io::Error| ServerError(format!("initdb ({}): {error}", program.display()));
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .current_dir(place.path.join(NAME))
        .stdin(Stdio::null())
        .stdout(file.try_clone().map_err(failed)?)
        .stderr(file)
        .process_group(0)
        .spawn()
        .map_err(failed)?;
    let mut status = None;
    let ended = wait::until(INITDB_DEADLINE, || {
        meanwhile();
        status = child.try_wait().ok().flatten();
        status.is_some() || place.give_up.is_asked()
    });
    if status.is_none() {
        // It has children, which would go on with what it has begun.
        for pid in processes::tree(child.id()) {
            processes::send(pid.cast_signed(), Signal::KILL);
        }
        let _ = child.wait();
    }
    if !ended {
        return Err(log.explain(&format!("initdb did not end within {INITDB_DEADLINE:?}"), since));
    }
    match status {
        Some(status) if status.success() => Ok(()),
        None => Err(given_up()),
        _ => Err(log.explain("initdb failed", since)),
    }
}

/// The program and its first arguments, run as that user.
fn run_as(user: Option<User>, binaries: &Binaries, program: &Path) -> (PathBuf, Vec<OsString>) {
    match user {
        None => (program.to_owned(), Vec::new()),
        Some(user) => {
            let mut arguments = user.setpriv();
            arguments.push(program.into());
            (binaries.setpriv.clone(), arguments)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_file_counts_only_if_the_process_has_written_it() {
        let folder = tempfile::tempdir().unwrap();
        let status = folder.path().join("postmaster.pid");
        assert!(!is_ready(&status, 17));
        fs::write(&status, "17\n/data\n1\n5432\n\n127.0.0.1\n 1 2\nready   \n").unwrap();
        assert!(is_ready(&status, 17) && !is_ready(&status, 18));
    }

    #[test]
    fn the_status_file_of_a_killed_server_goes_only_if_its_number_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let status = folder.path().join("postmaster.pid");
        fs::write(&status, format!("{}\n", std::process::id())).unwrap();
        forget_stale(&status);
        assert!(!status.exists());
        fs::write(&status, format!("{}\n", i32::MAX)).unwrap();
        forget_stale(&status);
        assert!(status.exists());
    }
}
