//! Who is calling, from the `Authorization` header.

use std::sync::Arc;

use chassis::auth::{AuthError, Caller, Keys};
use chassis::clock::SharedClock;

/// Why credentials were refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("a bearer token is expected")]
    NotBearer,
    #[error("{0}")]
    Token(#[from] AuthError),
    /// A service's token never leaves the shop: whoever sends one from outside has stolen it.
    #[error("the token is not a user's")]
    NotAUser,
}

/// A verified caller, and the token to pass on in their name.
#[derive(Debug, Clone)]
pub struct Identified {
    pub caller: Caller,
    pub token: Option<Arc<str>>,
}

impl Identified {
    /// Nobody in particular.
    pub const fn anonymous() -> Self {
        Self { caller: Caller::Anonymous, token: None }
    }
}

/// Verifies tokens; the services behind the gateway verify them once more.
#[derive(Clone)]
pub struct Authentication {
    keys: Keys,
    clock: SharedClock,
}

impl Authentication {
    pub fn new(keys: Keys, clock: SharedClock) -> Self {
        Self { keys, clock }
    }

    /// The caller behind an `Authorization` header; anonymous without one.
    ///
    /// # Errors
    /// When there is a header and it does not hold a user's valid token.
    pub fn identify(&self, authorization: Option<&[u8]>) -> Result<Identified, Refusal> {
        let Some(header) = authorization else { return Ok(Identified::anonymous()) };
        let text = std::str::from_utf8(header).map_err(|_| Refusal::NotBearer)?;
        // The scheme's name is case-insensitive (RFC 9110, section 11.1).
        let (scheme, token) = text.trim().split_once(' ').ok_or(Refusal::NotBearer)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(Refusal::NotBearer);
        }
        let token = token.trim_start();
        let claims = self.keys.verify(token, self.clock.now())?;
        let caller = Caller::from_claims(&claims)?;
        if matches!(caller, Caller::Service { .. }) {
            return Err(Refusal::NotAUser);
        }
        Ok(Identified { caller, token: Some(Arc::from(token)) })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chassis::Clock;
    use chassis::auth::Role;
    use kernel::{Timestamp, UserId};
    use uuid::Uuid;

    use super::*;

    struct Noon;

    impl Clock for Noon {
        fn now(&self) -> Timestamp {
            Timestamp::from_micros(43_200_000_000)
        }
    }

    const HOUR: Duration = Duration::from_secs(3600);
    const USER: Uuid = Uuid::from_u128(1);

    fn keys(byte: u8) -> Keys {
        Keys::new(&[byte; 32]).unwrap()
    }

    fn identify(header: &str) -> Result<Caller, Refusal> {
        let authentication = Authentication::new(keys(7), Arc::new(Noon));
        authentication.identify(Some(header.as_bytes())).map(|identified| identified.caller)
    }

    #[test]
    fn knows_a_user_by_their_token_whatever_the_case_of_the_scheme() {
        let token = keys(7).issue(&USER.to_string(), Role::Customer, HOUR, Noon.now());
        let expected = Ok(Caller::User { id: UserId::from_uuid(USER), role: Role::Customer });
        for header in [format!("Bearer {token}"), format!("bearer  {token}"), format!(" BEARER {token} ")] {
            assert_eq!(identify(&header), expected, "{header}");
        }
    }

    #[test]
    fn refuses_forged_expired_and_foreign_credentials() {
        let user = USER.to_string();
        let forged = keys(8).issue(&user, Role::Admin, HOUR, Noon.now());
        assert_eq!(identify(&format!("Bearer {forged}")), Err(Refusal::Token(AuthError::Signature)));
        let expired = keys(7).issue(&user, Role::Admin, Duration::ZERO, Noon.now());
        assert_eq!(identify(&format!("Bearer {expired}")), Err(Refusal::Token(AuthError::Expired)));
        let nobody = keys(7).issue("nobody", Role::Customer, HOUR, Noon.now());
        assert_eq!(identify(&format!("Bearer {nobody}")), Err(Refusal::Token(AuthError::Malformed)));
        for header in ["", "Bearer", "Basic dTpw", "token"] {
            assert_eq!(identify(header), Err(Refusal::NotBearer), "{header}");
        }
    }

    #[test]
    fn a_services_own_token_does_not_come_in_from_outside() {
        let token = keys(7).issue("order", Role::Service, HOUR, Noon.now());
        assert_eq!(identify(&format!("Bearer {token}")), Err(Refusal::NotAUser));
    }
}
