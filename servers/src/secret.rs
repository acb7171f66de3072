//! Passwords that nobody chooses.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rand::TryRng;
use rand::rngs::SysRng;

use crate::ServerError;
use crate::server::free_port;

/// 128 bits from the operating system, in hexadecimal.
pub(crate) fn fresh() -> Result<String, ServerError> {
    let mut bytes = [0_u8; 16];
    SysRng.try_fill_bytes(&mut bytes).map_err(|error| ServerError(format!("no randomness: {error}")))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The secret and the port of the server in this folder: those of an earlier run if there was one.
pub(crate) fn kept(folder: &Path) -> Result<(String, SocketAddr), ServerError> {
    let path = folder.join("secret");
    let secret = match fs::read_to_string(&path) {
        Ok(secret) => secret.trim().to_owned(),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let secret = fresh()?;
            write(&path, &secret)?;
            secret
        }
        Err(error) => return Err(ServerError::at(&path, &error)),
    };
    let seed = u32::from_str_radix(&fresh()?[..8], 16).unwrap_or_default();
    Ok((secret, free_port(seed)?))
}

/// Writes a file that its owner alone can read.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), ServerError> {
    let failed = |error: std::io::Error| ServerError::at(path, &error);
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(path).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)
}
