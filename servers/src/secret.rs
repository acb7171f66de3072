//! Passwords that nobody chooses.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rand::TryRng;
use rand::rngs::SysRng;

use crate::failure::{ServerError, failed};

/// 128 bits from the operating system, in hexadecimal.
pub(crate) fn fresh() -> Result<String, ServerError> {
    let mut bytes = [0_u8; 16];
    SysRng.try_fill_bytes(&mut bytes).map_err(|error| ServerError(format!("no randomness: {error}")))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Where the secret of a server in that folder is.
pub(crate) fn path(folder: &Path, server: &str) -> PathBuf {
    folder.join(format!("{server}.secret"))
}

/// The secret of a server in that folder: that of an earlier run if there was one.
pub(crate) fn kept(folder: &Path, server: &str) -> Result<String, ServerError> {
    let path = path(folder, server);
    match fs::read_to_string(&path) {
        Ok(secret) => Ok(secret.trim().to_owned()),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let secret = fresh()?;
            // Renamed into place when it is whole: a kill in between leaves no half of it.
            let draft = path.with_extension("secret.new");
            write(&draft, &secret)?;
            fs::rename(&draft, &path).map_err(|error| failed(&path, &error))?;
            Ok(secret)
        }
        Err(error) => Err(failed(&path, &error)),
    }
}

/// Writes a file that its owner alone can read.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), ServerError> {
    let write = || {
        let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        // One that was there before keeps its mode otherwise.
        file.set_permissions(PermissionsExt::from_mode(0o600))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|error| failed(path, &error))
}
