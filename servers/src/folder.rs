//! Where servers live. Throwaway folders lie in one folder of this user, `$TMPDIR/shopctl-<uid>`. Whoever
//! uses a folder holds its lock, which the operating system takes back when the process ends, however it
//! ends: so anybody can see that a folder is abandoned, and whoever starts servers next sweeps it away.

use std::fs::{self, DirBuilder, File, Permissions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::statvfs;
use rustix::process::geteuid;

use crate::failure::{ServerError, failed, parent_name};
use crate::give_up::GiveUp;
use crate::log::Log;
use crate::user::User;
use crate::{processes, secret, wait};

const LOCK: &str = "servers.lock";
const PREFIX: &str = "servers-";
/// Held while throwaway folders are made or claimed, so that nobody takes a new one for abandoned.
const GATE: &str = "gate.lock";
/// What an empty cluster, its log and an empty JetStream take, in bytes, and as much again.
const ROOM: u64 = 256 << 20;
/// The gate is held for milliseconds.
const GATE_DEADLINE: Duration = Duration::from_secs(10);

/// A folder that is ours alone as long as this lives.
pub(crate) struct Place {
    pub path: PathBuf,
    /// As whom PostgreSQL runs, if not as ourselves.
    pub user: Option<User>,
    /// Whether what is written outlives a power cut.
    pub durable: bool,
    pub give_up: GiveUp,
    /// Set: the folder goes with this value, and this one keeps what is still wanted then.
    parent: Option<PathBuf>,
    _lock: File,
}

impl Place {
    /// A folder that goes when this is dropped. What others have left behind is swept away before.
    pub(crate) fn throwaway(durable: bool, give_up: &GiveUp) -> Result<Self, ServerError> {
        let (user, parent) = ground()?;
        has_room(&parent)?;
        let (abandoned, path, lock) = {
            let _gate = gate(&parent)?;
            let abandoned = claim_abandoned(&parent);
            let path = parent.join(format!("{PREFIX}{}-{}", std::process::id(), &secret::fresh()?[..8]));
            make(&path, user.is_some())?;
            let lock = taken(&path.join(LOCK)).map_err(|error| failed(&path, &error.into()))?;
            (abandoned, path, lock)
        };
        abandoned.into_iter().for_each(finish);
        Ok(Self { path, user, durable, give_up: give_up.clone(), parent: Some(parent), _lock: lock })
    }

    /// A folder that stays; one process at a time has it.
    pub(crate) fn kept(folder: &Path, give_up: &GiveUp) -> Result<Self, ServerError> {
        sweep();
        let user = User::for_postgres()?;
        let missing = !folder.exists();
        let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty());
        if let Some(parent) = parent {
            fs::create_dir_all(parent).map_err(|error| failed(parent, &error))?;
        }
        if missing {
            make(folder, user.is_some())?;
        }
        let path = folder.canonicalize().map_err(|error| failed(folder, &error))?;
        if path.to_string_lossy().contains(char::is_control) {
            return Err(ServerError(format!("{}: choose a folder with an ordinary name", path.display())));
        }
        if let Some(user) = &user {
            user.can_reach(&path)?;
        }
        let lock = match taken(&path.join(LOCK)) {
            Ok(lock) => lock,
            Err(TryLockError::WouldBlock) => {
                return Err(ServerError(format!("{}: its servers are running; stop them first", path.display())));
            }
            Err(error) => return Err(failed(&path.join(LOCK), &error.into())),
        };
        // Left by an owner that was killed, and by us: there was a secret before there was a server.
        let had_servers = ["postgres", "nats", "redis"].iter().any(|name| secret::path(&path, name).exists());
        if had_servers && !processes::end_all_of(&path) {
            return Err(ServerError(format!("{}: servers of an earlier run do not end; kill them", path.display())));
        }
        has_room(&path)?;
        Ok(Self { path, user, durable: true, give_up: give_up.clone(), parent: None, _lock: lock })
    }

    pub(crate) fn is_throwaway(&self) -> bool {
        self.parent.is_some()
    }

    /// The log of the server of that name.
    pub(crate) fn log(&self, name: &str) -> Log {
        let copy = self.parent.as_ref().map(|parent| parent.join(format!("{name}-failed.log")));
        Log { path: self.path.join(format!("{name}.log")), copy }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.is_throwaway() {
            remove(&self.path);
        }
    }
}

/// A disk that is nearly full makes each server fail in another way, none of which says so.
fn has_room(folder: &Path) -> Result<(), ServerError> {
    let there = statvfs(folder).map_err(|error| failed(folder, &error.into()))?;
    let free = there.f_bavail.saturating_mul(there.f_frsize);
    if free >= ROOM {
        return Ok(());
    }
    let (folder, free, room) = (folder.display(), free >> 20, ROOM >> 20);
    Err(ServerError(format!(
        "{folder}: {free} MiB are free on that disk, and the servers need {room}; free some space, or choose another \
         folder (with --data, or TMPDIR where there is none)"
    )))
}

/// The folder in which throwaway servers get theirs.
///
/// # Errors
/// One line: why there can be none.
pub fn throwaway_ground() -> Result<PathBuf, ServerError> {
    ground().map(|(_, parent)| parent)
}

/// As whom PostgreSQL runs, and a folder that this user can reach.
fn ground() -> Result<(Option<User>, PathBuf), ServerError> {
    let user = User::for_postgres()?;
    let parent = parent()?;
    if let Some(user) = &user {
        user.can_reach(&parent)?;
    }
    Ok((user, parent))
}

/// Sweeps throwaway folders away whose owner is gone. Nothing depends on it, so it cannot fail.
pub fn sweep() {
    let abandoned = parent().and_then(|parent| {
        let _gate = gate(&parent)?;
        Ok(claim_abandoned(&parent))
    });
    match abandoned {
        Ok(abandoned) => abandoned.into_iter().for_each(finish),
        Err(error) => tracing::debug!(%error, "no throwaway folders to sweep"),
    }
}

/// The folder that holds this user's throwaway folders, made if it is missing.
fn parent() -> Result<PathBuf, ServerError> {
    let temporary = std::env::temp_dir();
    let missing = |error| ServerError(format!("{}: {error}; set TMPDIR to another folder", temporary.display()));
    let parent = temporary.canonicalize().map_err(missing)?.join(parent_name());
    match DirBuilder::new().mode(0o711).create(&parent) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(failed(&parent, &error)),
        _ => {}
    }
    // Not followed: somebody else could have put a link here.
    let found = fs::symlink_metadata(&parent).map_err(|error| failed(&parent, &error))?;
    if !found.is_dir() || found.uid() != geteuid().as_raw() {
        let parent = parent.display();
        return Err(ServerError(format!("{parent} is not a folder of this user; remove it, or set TMPDIR")));
    }
    // PostgreSQL's user passes through; nobody looks inside.
    if found.mode() & 0o777 != 0o711 {
        fs::set_permissions(&parent, Permissions::from_mode(0o711)).map_err(|error| failed(&parent, &error))?;
    }
    Ok(parent)
}

fn make(path: &Path, passable: bool) -> Result<(), ServerError> {
    let mode = if passable { 0o711 } else { 0o700 };
    DirBuilder::new().mode(mode).create(path).map_err(|error| failed(path, &error))?;
    // Whatever the umask takes away.
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(|error| failed(path, &error))
}

/// Opens a lock's file, made if it is missing, and locks it. Whoever can read the file could hold it against us.
fn taken(path: &Path) -> Result<File, TryLockError> {
    let file = File::options().write(true).create(true).truncate(false).mode(0o600).open(path);
    let file = file.map_err(TryLockError::Error)?;
    file.try_lock().map(|()| file)
}

fn gate(parent: &Path) -> Result<File, ServerError> {
    let path = parent.join(GATE);
    let mut gate = Err(TryLockError::WouldBlock);
    wait::until(GATE_DEADLINE, || {
        gate = taken(&path);
        !matches!(gate, Err(TryLockError::WouldBlock))
    });
    gate.map_err(|error| failed(&path, &error.into()))
}

/// The folders that nobody holds, with their locks, which are ours now. Only with the gate held.
fn claim_abandoned(parent: &Path) -> Vec<(PathBuf, File)> {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX));
    folders.filter_map(|entry| Some((entry.path(), taken(&entry.path().join(LOCK)).ok()?))).collect()
}

fn finish((folder, lock): (PathBuf, File)) {
    tracing::debug!(folder = %folder.display(), "sweeping up after a process that is gone");
    if processes::end_all_of(&folder) {
        remove(&folder);
    }
    drop(lock);
}

/// Removes a folder in which a process may still be ending.
fn remove(folder: &Path) {
    let mut outcome = Ok(());
    let gone = wait::until(Duration::from_secs(2), || {
        outcome = fs::remove_dir_all(folder);
        !matches!(&outcome, Err(error) if error.kind() != ErrorKind::NotFound)
    });
    if let (false, Err(error)) = (gone, outcome) {
        tracing::warn!(%error, folder = %folder.display(), "cannot be removed; the next start tries again");
    }
}
