//! E-mail addresses.

use std::fmt;
use std::str::FromStr;

use kernel::UserId;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Why an address was refused. The address itself is not repeated: it may be somebody's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EmailError {
    #[error("an e-mail address has at most 254 bytes")]
    TooLong,
    #[error("this is not an e-mail address: write it like ada@example.test")]
    Malformed,
}

/// An address in lower case, so that two spellings are one account. ASCII only, at most 254 bytes
/// (RFC 5321), one `@`; whether mail arrives there is not known.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Email(String);

impl Email {
    /// The longest address, in bytes.
    pub const BYTES_MAX: usize = 254;
    /// The longest part before the `@`, in bytes.
    const LOCAL_BYTES_MAX: usize = 64;
    /// The namespace of user ids; changing it would change every id.
    const NAMESPACE: Uuid = Uuid::from_u128(0x7573_6572_2d69_5fd3_8c1e_7368_6f70_6374);

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id of the account that is registered with this address: a version 5 UUID (RFC 9562), so
    /// that registering twice is recognised. An account keeps its id when its address changes.
    pub fn user_id(&self) -> UserId {
        UserId::from_uuid(Uuid::new_v5(&Self::NAMESPACE, self.0.as_bytes()))
    }
}

fn is_local(part: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_graphic() && !b"\"(),:;<>@[\\]".contains(&byte);
    (1..=Email::LOCAL_BYTES_MAX).contains(&part.len()) && part.bytes().all(allowed)
}

fn is_domain(part: &str) -> bool {
    part.split('.').all(|label| {
        let inner = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        (1..=63).contains(&label.len()) && inner && !label.starts_with('-') && !label.ends_with('-')
    })
}

impl FromStr for Email {
    type Err = EmailError;
    fn from_str(text: &str) -> Result<Self, EmailError> {
        if text.len() > Self::BYTES_MAX {
            return Err(EmailError::TooLong);
        }
        match text.split_once('@') {
            Some((local, domain)) if is_local(local) && is_domain(domain) => Ok(Self(text.to_ascii_lowercase())),
            _ => Err(EmailError::Malformed),
        }
    }
}

impl TryFrom<String> for Email {
    type Error = EmailError;
    fn try_from(text: String) -> Result<Self, EmailError> {
        text.parse()
    }
}

impl From<Email> for String {
    fn from(email: Email) -> Self {
        email.0
    }
}

impl fmt::Display for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn two_spellings_are_one_address_and_one_account() {
        let (loud, quiet): (Email, Email) = ("Ada@Example.TEST".parse().unwrap(), "ada@example.test".parse().unwrap());
        assert_eq!(loud, quiet);
        assert_eq!(loud.user_id(), quiet.user_id());
        assert_ne!(loud.user_id(), "bob@example.test".parse::<Email>().unwrap().user_id());
    }

    #[test]
    fn user_ids_stay_what_they_were_in_earlier_releases() {
        let ada: Email = "ada@example.test".parse().unwrap();
        assert_eq!(ada.user_id().to_string(), "c7e5990a-a0e0-51cd-b73d-6952cb3cb995");
    }

    #[test]
    fn refuses_what_no_mail_server_would_take() {
        let long_local = format!("{}@example.test", "x".repeat(65));
        for text in [
            "",
            "@",
            "ada",
            "ada@",
            "@example.test",
            "a@b@c",
            "a b@c",
            "a@b c",
            "a@.b",
            "a@b.",
            "a@b..c",
            "a@-b",
            "ä@example.test",
            "<a>@example.test",
            "a@b\n",
            &long_local,
        ] {
            assert_eq!(text.parse::<Email>(), Err(EmailError::Malformed), "{text}");
        }
        assert_eq!(format!("a@{}", "b".repeat(253)).parse::<Email>(), Err(EmailError::TooLong));
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_becomes_a_stable_address(text in "\\PC{0,12}@?\\PC{0,12}@?[a-zA-Z.-]{0,12}") {
            if let Ok(email) = text.parse::<Email>() {
                prop_assert_eq!(email.as_str().matches('@').count(), 1);
                prop_assert!(email.as_str().len() <= Email::BYTES_MAX);
                prop_assert_eq!(email.as_str().parse(), Ok(email.clone()));
            }
        }
    }
}
