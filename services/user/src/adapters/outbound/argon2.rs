//! Argon2id (RFC 9106), computed inline, with salts from the injected random stream.

use std::sync::{Mutex, PoisonError};

use argon2::password_hash::{Error as PhcError, PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};
use chassis::rng::Stream;
use rand::Rng;

use crate::application::ports::{HashError, PasswordHasher};
use crate::domain::{Password, PasswordHash};

const SALT_BYTES: usize = 16;

pub struct Argon2id {
    argon2: Argon2<'static>,
    salts: Mutex<Stream>,
}

impl Argon2id {
    /// One lane, since there is one thread.
    ///
    /// # Errors
    /// When argon2 knows no such parameters.
    pub fn new(memory_kib: u32, iterations: u32, salts: Stream) -> Result<Self, HashError> {
        let params = Params::new(memory_kib, iterations, 1, None).map_err(|error| HashError(error.to_string()))?;
        Ok(Self { argon2: Argon2::new(Algorithm::Argon2id, Version::V0x13, params), salts: Mutex::new(salts) })
    }
}

impl PasswordHasher for Argon2id {
    fn hash(&self, password: &Password) -> Result<PasswordHash, HashError> {
        let mut salt = [0; SALT_BYTES];
        self.salts.lock().unwrap_or_else(PoisonError::into_inner).fill_bytes(&mut salt);
        let hash = self.argon2.hash_password_with_salt(password.as_bytes(), &salt);
        hash.map(|hash| PasswordHash::from_phc(hash.to_string())).map_err(|error| HashError(error.to_string()))
    }

    fn verify(&self, password: &Password, hash: &PasswordHash) -> Result<bool, HashError> {
        let parsed = argon2::PasswordHash::new(hash.as_str()).map_err(|error| HashError(error.to_string()))?;
        match self.argon2.verify_password(password.as_bytes(), &parsed) {
            Ok(()) => Ok(true),
            Err(PhcError::PasswordInvalid) => Ok(false),
            Err(error) => Err(HashError(error.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use chassis::rng::Seeds;

    use super::*;

    fn hasher(memory_kib: u32) -> Argon2id {
        Argon2id::new(memory_kib, 1, Seeds::from_number(1).stream("salts")).unwrap()
    }

    #[test]
    fn accepts_the_password_and_no_other() {
        let hasher = hasher(64);
        let hash = hasher.hash(&"secret".into()).unwrap();
        assert!(hasher.verify(&"secret".into(), &hash).unwrap());
        assert!(!hasher.verify(&"Secret".into(), &hash).unwrap());
    }

    #[test]
    fn two_hashes_of_one_password_differ_and_a_seed_repeats_them() {
        let (first, again) = (hasher(64), hasher(64));
        let hash = first.hash(&"secret".into()).unwrap();
        assert_ne!(hash, first.hash(&"secret".into()).unwrap());
        assert_eq!(hash, again.hash(&"secret".into()).unwrap());
    }

    #[test]
    fn older_hashes_are_verified_with_their_own_parameters() {
        let hash = hasher(64).hash(&"secret".into()).unwrap();
        assert!(hash.as_str().starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{}", hash.as_str());
        assert!(hasher(128).verify(&"secret".into(), &hash).unwrap());
    }

    #[test]
    fn agrees_with_the_reference_implementation() {
        // A vector of the reference implementation's own test suite.
        let hash = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
        assert!(hasher(64).verify(&"password".into(), &PasswordHash::from_phc(hash.to_owned())).unwrap());
    }

    #[test]
    fn a_damaged_hash_is_an_error_not_a_wrong_password() {
        assert!(hasher(64).verify(&"secret".into(), &PasswordHash::from_phc("md5:…".to_owned())).is_err());
    }
}
