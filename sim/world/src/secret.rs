//! What signs a shop's tokens.

use std::fs;
use std::path::PathBuf;

use chassis::auth::Keys;
use chassis::rng::Seeds;
use rand::Rng as _;

/// What signs tokens. It reaches processes by file or environment, which only their owner can read.
#[derive(Clone)]
pub enum Secret {
    /// At least 32 bytes of text.
    Text(String),
    File(PathBuf),
}

impl Secret {
    /// One that nobody knows, and that is kept nowhere.
    ///
    /// # Errors
    /// When the operating system has no randomness.
    pub fn fresh() -> Result<Self, String> {
        let mut secret = [0_u8; 32];
        let seeds = Seeds::from_entropy().map_err(|error| format!("no randomness: {error}"))?;
        seeds.stream("jwt-secret").fill_bytes(&mut secret);
        Ok(Self::Text(secret.iter().map(|byte| format!("{byte:02x}")).collect()))
    }

    /// # Errors
    /// One line: the file cannot be read, or the secret is too short.
    pub fn keys(&self) -> Result<Keys, String> {
        let path = match self {
            Self::Text(text) => return Keys::new(text.as_bytes()),
            Self::File(path) => path,
        };
        let named = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
        let bytes = fs::read(path).map_err(|error| named(&error))?;
        // An editor ends a text with a line break that is no part of the secret.
        let secret = match std::str::from_utf8(&bytes) {
            Ok(text) => text.trim_end_matches(['\r', '\n']).as_bytes(),
            Err(_) => &bytes,
        };
        Keys::new(secret).map_err(|why| named(&why))
    }
}
