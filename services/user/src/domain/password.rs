//! Passwords and what is kept of them.

use std::fmt;

/// Why a password was refused; it is never repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    #[error("a password has at least {chars_min} characters")]
    TooShort { chars_min: usize },
    #[error("a password has at most {} characters", Password::CHARS_MAX)]
    TooLong,
}

/// What somebody typed. It is not shown by `Debug` and has no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// The longest password, in characters: hashing takes time in proportion.
    pub const CHARS_MAX: usize = 128;

    /// Its length in characters, as people count.
    pub fn chars(&self) -> usize {
        self.0.chars().count()
    }

    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl From<&str> for Password {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl From<String> for Password {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// What a new password must be like.
#[derive(Debug, Clone, Copy)]
pub struct PasswordPolicy {
    /// The fewest characters.
    pub chars_min: usize,
}

impl PasswordPolicy {
    /// # Errors
    /// `TooShort` or `TooLong`.
    pub fn check(self, password: &Password) -> Result<(), PasswordError> {
        if password.chars() > Password::CHARS_MAX {
            return Err(PasswordError::TooLong);
        }
        if password.chars() < self.chars_min {
            return Err(PasswordError::TooShort { chars_min: self.chars_min });
        }
        Ok(())
    }
}

/// A salted hash as a PHC string, `$argon2id$…`. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

impl PasswordHash {
    pub const fn from_phc(text: String) -> Self {
        Self(text)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const POLICY: PasswordPolicy = PasswordPolicy { chars_min: 6 };

    #[test]
    fn length_is_judged_in_characters_below_and_above() {
        assert_eq!(POLICY.check(&"12345".into()), Err(PasswordError::TooShort { chars_min: 6 }));
        assert_eq!(POLICY.check(&"ääääää".into()), Ok(()));
        assert_eq!(POLICY.check(&"x".repeat(128).into()), Ok(()));
        assert_eq!(POLICY.check(&"ä".repeat(128).into()), Ok(()));
        assert_eq!(POLICY.check(&"ä".repeat(129).into()), Err(PasswordError::TooLong));
    }

    proptest! {
        #[test]
        fn no_password_shows_in_debug_output_or_in_its_refusal(text in "[a-z0-9]{5}|[a-z0-9]{12,140}") {
            let password = Password::from(text.as_str());
            let shown = format!("{password:?} {:?}", PasswordHash::from_phc(text.clone()));
            prop_assert!(!shown.contains(&text));
            if let Err(refusal) = POLICY.check(&password) {
                prop_assert!(!refusal.to_string().contains(&text));
            }
        }
    }
}
