//! Who is calling: JSON Web Tokens signed with HMAC-SHA-256 (RFC 7519, RFC 7515) and nothing else.
//!
//! The token's header is compared with the one header that we write, so that no algorithm is ever
//! chosen by the caller (`alg: none`, key confusion). Expiry is judged by the injected clock.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
pub use kernel::Role;
use kernel::{Timestamp, UserId};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// The claims of a token. `iat` and `exp` are seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// A user id, or the name of a service.
    pub sub: String,
    pub role: Role,
    pub iat: i64,
    pub exp: i64,
}

/// Why a token was refused. Callers are told no more than "sign in again".
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    #[error("the token is malformed")]
    Malformed,
    #[error("the token's signature does not hold")]
    Signature,
    #[error("the token has expired")]
    Expired,
}

/// The secret that signs tokens, shared by the services of one shop.
#[derive(Clone)]
pub struct Keys {
    secret: Arc<[u8]>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(…)")
    }
}

/// `{"alg":"HS256","typ":"JWT"}`
const HEADER: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9";
/// Longer texts are not looked at.
const TOKEN_BYTES_MAX: usize = 2048;

impl Keys {
    /// RFC 7518 asks for at least 256 bits.
    ///
    /// # Errors
    /// When the secret is shorter than 32 bytes.
    pub fn new(secret: &[u8]) -> Result<Self, String> {
        if secret.len() < 32 {
            return Err(format!("the JWT secret has {} bytes; at least 32 are needed", secret.len()));
        }
        Ok(Self { secret: secret.into() })
    }

    fn mac(&self, signed: &str) -> Option<Hmac<Sha256>> {
        // HMAC takes keys of any length, so this is always `Some`.
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(&self.secret).ok()?;
        mac.update(signed.as_bytes());
        Some(mac)
    }

    /// A token for `sub` that is valid for `ttl` from `now`.
    pub fn issue(&self, sub: &str, role: Role, ttl: Duration, now: Timestamp) -> String {
        let claims = Claims { sub: sub.to_owned(), role, iat: now.as_seconds(), exp: now.plus(ttl).as_seconds() };
        let body = serde_json::to_vec(&claims).unwrap_or_default();
        let signed = format!("{HEADER}.{}", URL_SAFE_NO_PAD.encode(body));
        let signature = self.mac(&signed).map(|mac| mac.finalize().into_bytes()).unwrap_or_default();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// # Errors
    /// When the token is not one of ours, was changed, or is out of date.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Claims, AuthError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(AuthError::Malformed);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(AuthError::Malformed)?;
        let (header, body) = signed.split_once('.').ok_or(AuthError::Malformed)?;
        if header != HEADER {
            return Err(AuthError::Malformed);
        }
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| AuthError::Malformed)?;
        let mac = self.mac(signed).ok_or(AuthError::Signature)?;
        mac.verify_slice(&signature).map_err(|_| AuthError::Signature)?;
        let body = URL_SAFE_NO_PAD.decode(body).map_err(|_| AuthError::Malformed)?;
        let claims: Claims = serde_json::from_slice(&body).map_err(|_| AuthError::Malformed)?;
        if claims.exp <= now.as_seconds() {
            return Err(AuthError::Expired);
        }
        Ok(claims)
    }
}

/// Who makes the current call, as verified by the receiving service itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    Anonymous,
    User { id: UserId, role: Role },
    Service { name: String },
}

impl Caller {
    pub fn from_claims(claims: &Claims) -> Result<Self, AuthError> {
        if claims.role == Role::Service {
            return Ok(Self::Service { name: claims.sub.clone() });
        }
        let id = claims.sub.parse().map_err(|_| AuthError::Malformed)?;
        Ok(Self::User { id, role: claims.role })
    }

    /// The caller of a gRPC request, as the server's guard left it.
    pub fn of<T>(request: &tonic::Request<T>) -> Self {
        request.extensions().get::<Self>().cloned().unwrap_or(Self::Anonymous)
    }

    fn refusal(&self, what: &str) -> tonic::Status {
        match self {
            Self::Anonymous => tonic::Status::unauthenticated("sign in first"),
            _ => tonic::Status::permission_denied(format!("only {what} may do this")),
        }
    }

    /// Staff, admins and services.
    ///
    /// # Errors
    /// `UNAUTHENTICATED` or `PERMISSION_DENIED`.
    pub fn require_staff(&self) -> Result<(), tonic::Status> {
        match self {
            Self::User { role: Role::Staff | Role::Admin, .. } | Self::Service { .. } => Ok(()),
            _ => Err(self.refusal("staff")),
        }
    }

    /// Admins only.
    ///
    /// # Errors
    /// `UNAUTHENTICATED` or `PERMISSION_DENIED`.
    pub fn require_admin(&self) -> Result<(), tonic::Status> {
        match self {
            Self::User { role: Role::Admin, .. } => Ok(()),
            _ => Err(self.refusal("admins")),
        }
    }

    /// One of our own services.
    ///
    /// # Errors
    /// `UNAUTHENTICATED` or `PERMISSION_DENIED`.
    pub fn require_service(&self) -> Result<(), tonic::Status> {
        match self {
            Self::Service { .. } => Ok(()),
            _ => Err(self.refusal("services")),
        }
    }

    /// The user whose data it is, or staff.
    ///
    /// # Errors
    /// `UNAUTHENTICATED` or `PERMISSION_DENIED`.
    pub fn require_owner_or_staff(&self, owner: UserId) -> Result<(), tonic::Status> {
        match self {
            Self::User { id, .. } if *id == owner => Ok(()),
            _ => self.require_staff().map_err(|_| self.refusal("the owner")),
        }
    }

    /// A signed-in user.
    ///
    /// # Errors
    /// `UNAUTHENTICATED`, or `PERMISSION_DENIED` for a service.
    pub fn require_user(&self) -> Result<UserId, tonic::Status> {
        match self {
            Self::User { id, .. } => Ok(*id),
            _ => Err(self.refusal("a user")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(byte: u8) -> Keys {
        Keys::new(&[byte; 32]).unwrap()
    }

    const NOW: Timestamp = Timestamp::from_micros(1_000_000_000);
    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn accepts_its_own_token_until_it_expires() {
        let token = keys(1).issue("someone", Role::Staff, HOUR, NOW);
        assert_eq!(keys(1).verify(&token, NOW).map(|claims| claims.sub), Ok("someone".to_owned()));
        assert_eq!(keys(1).verify(&token, NOW.plus(HOUR)), Err(AuthError::Expired));
    }

    #[test]
    fn refuses_a_foreign_key_a_changed_body_and_no_algorithm() {
        let token = keys(1).issue("someone", Role::Staff, HOUR, NOW);
        assert_eq!(keys(2).verify(&token, NOW), Err(AuthError::Signature));

        let admin = URL_SAFE_NO_PAD.encode(r#"{"sub":"someone","role":"admin","iat":0,"exp":9999999999}"#);
        let signature = token.rsplit_once('.').unwrap().1;
        assert_eq!(keys(1).verify(&format!("{HEADER}.{admin}.{signature}"), NOW), Err(AuthError::Signature));

        let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
        assert_eq!(keys(1).verify(&format!("{none}.{admin}."), NOW), Err(AuthError::Malformed));
    }

    #[test]
    fn agrees_with_an_independent_implementation() {
        // Signed with Python's hmac module over the same header and body.
        let token = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJ4Iiwicm9sZSI6ImFkbWluIiwiaWF0IjowLCJleHAiOjk5OTk5OTk5OTl9.LdUGamJNM9jg4z83cytIPzBVl7g3-unNPXX9C60v4Bs";
        assert_eq!(keys(b'k').verify(token, NOW).map(|claims| claims.role), Ok(Role::Admin));
    }

    #[test]
    fn a_short_secret_is_no_secret() {
        assert!(Keys::new(b"secret").is_err());
    }
}
