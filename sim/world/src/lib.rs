//! Where the shop runs: the real machine, or virtual time. [`infra`] is what it stands on, [`probe`] what its roles
//! report and accept on their ops ports.

pub mod infra;
pub mod lock;
mod peril;
pub mod plan;
pub mod probe;
pub mod processes;
pub mod real;
pub mod secret;
pub mod simulated;
pub mod trace;

use std::collections::BTreeMap;
use std::sync::Arc;

use chassis::chaos::{Fault, Target};
use chassis::clock::SharedClock;
use chassis::net::Network;
use chassis::rng::Seeds;

use audit::shelf::BookShelf;

/// Breaks what no role can be told to break, where the world allows it. Answers at once.
pub trait Hand: Send + Sync {
    /// # Errors
    /// One line: this is not for this hand.
    fn inject(&self, fault: &Fault) -> Result<(), String>;
    /// Answers how often it struck, also if it was lifted before; `None` if there was none of that name.
    fn lift(&self, name: &str) -> Option<u64>;
    /// Lifts everything, starts what is down, lets go on what stands still.
    fn heal(&self);
    /// Whether every role is there, and no late call is on its way any more.
    fn is_whole(&self) -> bool;
    /// Whether the role that would be told of `target` is there.
    fn is_up(&self, target: &Target) -> bool;
    /// Which life that role lives, from 1 on: in a new one it has forgotten what it was told.
    fn lives(&self, target: &Target) -> u32;
    /// Whether that role was down, stood still or had a wrong clock at any time.
    fn was_disturbed(&self, target: &Target) -> bool;
    /// How often each crash point was passed.
    fn points(&self) -> BTreeMap<String, u64>;
}

/// What an experiment needs of the world that it is conducted in.
#[derive(Clone)]
pub struct Surroundings {
    pub network: Arc<dyn Network>,
    pub clock: SharedClock,
    /// The generator's own random streams.
    pub seeds: Seeds,
    /// `host:port` of the gateway.
    pub gateway: String,
    /// Role → `host:port` of its ops port.
    pub ops: BTreeMap<&'static str, String>,
    /// Where the books are.
    pub books: BookShelf,
    /// What breaks the world itself; `None` where nothing can.
    pub hand: Option<Arc<dyn Hand>>,
}

/// The account that seeds and resolves.
#[derive(Clone)]
pub struct Admin {
    pub email: String,
    pub password: String,
}

impl Admin {
    /// The administrator of shops that live as long as one run.
    pub fn embedded() -> Self {
        Self { email: "admin@example.test".into(), password: "embedded-admin".into() }
    }

    /// Settings that make a shop know this administrator.
    pub fn known_to(&self, mut settings: BTreeMap<String, String>) -> BTreeMap<String, String> {
        settings.insert("user.admin_email".into(), self.email.clone());
        settings.insert("user.admin_password".into(), self.password.clone());
        settings
    }
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Admin({})", self.email)
    }
}

/// Why a shop did not start, in a line for a person.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the shop did not start: {0}")]
pub struct WorldError(pub String);
