//! One shop at a time in a data folder.

use std::fs::{self, File, TryLockError};
use std::path::Path;

/// The lock's file. It stays behind; what counts is who holds it.
const FILE: &str = "shop.lock";

/// Held as long as a shop uses the folder; the operating system lets go of it when the process ends,
/// however it ends.
#[derive(Debug)]
pub struct FolderLock {
    _file: File,
}

impl FolderLock {
    /// Takes the folder for an audit, which must not meet a shop. Writes nothing: a folder that no shop
    /// has ever locked, or that cannot be written, can be audited.
    ///
    /// # Errors
    /// One line, when a shop has it.
    pub fn take_for_reading(folder: &Path) -> Result<Option<Self>, String> {
        let path = folder.join(FILE);
        match File::open(&path) {
            Ok(file) => Self::held(file.try_lock_shared(), file, folder).map(Some),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(format!("{}: {error}", path.display())),
        }
    }

    /// Whether a shop has the folder at this moment. Takes nothing: reading one order meets a shop
    /// without harm.
    pub fn is_taken(folder: &Path) -> bool {
        let file = File::open(folder.join(FILE));
        file.is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }

    /// Takes the folder for a shop.
    ///
    /// # Errors
    /// One line, when another process has it.
    pub fn take(folder: &Path) -> Result<Self, String> {
        let path = folder.join(FILE);
        let named = |error: std::io::Error| format!("{}: {error}", path.display());
        let file = fs::OpenOptions::new().write(true).create(true).truncate(false).open(&path).map_err(named)?;
        Self::held(file.try_lock(), file, folder)
    }

    fn held(outcome: Result<(), TryLockError>, file: File, folder: &Path) -> Result<Self, String> {
        match outcome {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => {
                Err(format!("{}: a shop is running on this folder; stop it first", folder.display()))
            }
            Err(TryLockError::Error(error)) => Err(format!("{}: {error}", folder.join(FILE).display())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_taken_by_one_at_a_time_and_free_again_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let held = FolderLock::take(folder.path()).unwrap();
        assert!(FolderLock::take(folder.path()).unwrap_err().contains("a shop is running"));
        drop(held);
        assert!(FolderLock::take(folder.path()).is_ok());
    }

    #[test]
    fn an_audit_leaves_no_trace_and_does_not_meet_a_shop() {
        let folder = tempfile::tempdir().unwrap();
        assert!(FolderLock::take_for_reading(folder.path()).unwrap().is_none());
        assert!(!FolderLock::is_taken(folder.path()));
        assert!(!folder.path().join(FILE).exists());
        let _held = FolderLock::take(folder.path()).unwrap();
        assert!(FolderLock::take_for_reading(folder.path()).is_err());
        assert!(FolderLock::is_taken(folder.path()));
    }
}
