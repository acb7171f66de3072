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
    /// Takes the folder for a shop, or for an audit that must not meet one.
    ///
    /// # Errors
    /// One line, when another process has it.
    pub fn take(folder: &Path) -> Result<Self, String> {
        let path = folder.join(FILE);
        let named = |error: std::io::Error| format!("{}: {error}", path.display());
        let file = fs::OpenOptions::new().write(true).create(true).truncate(false).open(&path).map_err(named)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => {
                Err(format!("{}: a shop is running on this folder; stop it first", folder.display()))
            }
            Err(TryLockError::Error(error)) => Err(named(error)),
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
}
