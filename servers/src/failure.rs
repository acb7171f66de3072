//! Why a server is not there: the error of this crate, and how a failure of the file system is told.

use std::io::{Error, ErrorKind};
use std::path::Path;

use rustix::process::geteuid;

/// Why a server is not there, in one line for a person.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct ServerError(pub String);

/// A failure of the file system: where, what, what to do.
pub(crate) fn failed(path: &Path, error: &Error) -> ServerError {
    let why = match error.kind() {
        ErrorKind::StorageFull => "no space is left on the disk",
        ErrorKind::PermissionDenied => "this user may not do that there",
        ErrorKind::ReadOnlyFilesystem => "the file system is read-only",
        ErrorKind::WouldBlock => {
            let path = path.display();
            return ServerError(format!("{path}: another process holds this lock; try again when it has ended"));
        }
        _ => return ServerError(format!("{}: {error}", path.display())),
    };
    ServerError(format!("{}: {why}; {}", path.display(), elsewhere(path)))
}

/// How another place is chosen than that of this path.
pub(crate) fn elsewhere(path: &Path) -> &'static str {
    let parent = parent_name();
    let is_throwaway = path.iter().any(|step| step.to_str() == Some(&parent));
    if is_throwaway { "set TMPDIR to another folder" } else { "choose another folder" }
}

/// The name of the folder that throwaway folders of this user lie in.
pub(crate) fn parent_name() -> String {
    format!("shopctl-{}", geteuid().as_raw())
}
