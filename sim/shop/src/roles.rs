//! The registry: everything that the instrument has to know of each role, once. A new role is a row here; databases,
//! links, settings, fault targets and the order of starting follow from it.

use std::collections::BTreeMap;

use chassis::Env;
use chassis::chaos::Target;
use chassis::env::StartError;
use chassis::serve::{Building, Service};
use chassis::settings::{self, Described};
use eventlog::{Backing, DEAD_LETTERS, Stream};

type Settings = BTreeMap<String, String>;

/// A role of the shop.
#[derive(Debug, Clone, Copy)]
pub struct Role {
    pub name: &'static str,
    /// The database that it owns, in both families; `None` for a role that stores nothing.
    pub database: Option<&'static str>,
    pub needs: Needs,
    /// What it declares that can be broken in it.
    pub faults: Option<&'static Target>,
    described: fn(&'static str) -> Vec<Described>,
    check: fn(&'static str, &Settings) -> Result<(), String>,
    build: fn(&'static str, &Settings, Env, Backing) -> Building,
}

/// What a role cannot start without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// The roles that it calls.
    pub peers: &'static [&'static str],
    pub postgres: bool,
    pub nats: bool,
    pub redis: bool,
}

impl Needs {
    const fn of(peers: &'static [&'static str], [postgres, nats, redis]: [bool; 3]) -> Self {
        Self { peers, postgres, nats, redis }
    }
}

/// Every role, peers before those who call them. The servers that each needs are PostgreSQL, NATS, Redis.
pub const REGISTRY: [Role; 8] = [
    Role {
        name: acquirer::ROLE,
        database: Some(acquirer::DATABASE),
        needs: Needs::of(&[], [true, false, false]),
        faults: Some(&acquirer::FAULTS),
        described: settings::describe::<acquirer::Config>,
        check: check_as::<acquirer::Config>,
        build: |role, settings, env, backing| start(parsed(role, settings), env, backing, acquirer::build),
    },
    Role {
        name: user::ROLE,
        database: Some(user::DATABASE),
        needs: Needs::of(&[], [true, true, true]),
        faults: None,
        described: settings::describe::<user::Config>,
        check: check_as::<user::Config>,
        build: |role, settings, env, backing| start(parsed(role, settings), env, backing, user::build),
    },
    Role {
        name: product::ROLE,
        database: Some(product::DATABASE),
        needs: Needs::of(&[], [true, false, true]),
        faults: None,
        described: settings::describe::<product::Config>,
        check: check_as::<product::Config>,
        build: |role, settings, env, backing| start(parsed(role, settings), env, backing, product::build),
    },
    Role {
        name: inventory::ROLE,
        database: Some(inventory::DATABASE),
        needs: Needs::of(&[], [true, true, true]),
        faults: None,
        described: settings::describe::<inventory::Config>,
        check: check_as::<inventory::Config>,
        build: |role, settings, env, backing| start(parsed(role, settings), env, backing, inventory::build),
    },
    Role {
        name: payment::ROLE,
        database: Some(payment::DATABASE),
        needs: Needs::of(&[acquirer::ROLE], [true, true, false]),
        faults: Some(&payment::FAULTS),
        described: settings::describe::<payment::Config>,
        check: check_as::<payment::Config>,
        build: |role, settings, env, backing| start(parsed(role, settings), env, backing, payment::build),
    },
    Role {
        name: order::ROLE,
        database: Some(order::DATABASE),
        needs: Needs::of(&[product::ROLE, inventory::ROLE, payment::ROLE], [true, true, true]),
        faults: None,
        described: settings::describe::<order::Config>,
        check: check_as::<order::Config>,
        build: |role, settings, env, backing| start(parsed(role, settings), env, backing, order::build),
    },
    Role {
        name: notification::ROLE,
        database: Some(notification::DATABASE),
        needs: Needs::of(&[user::ROLE], [true, true, false]),
        faults: None,
        described: settings::describe::<notification::Config>,
        check: check_as::<notification::Config>,
        build: |role, settings, env, backing| start(parsed(role, settings), env, backing, notification::build),
    },
    Role {
        name: gateway::ROLE,
        database: None,
        needs: Needs::of(
            &[user::ROLE, product::ROLE, inventory::ROLE, payment::ROLE, order::ROLE],
            [false, false, true],
        ),
        faults: None,
        described: settings::describe::<gateway::Config>,
        check: check_as::<gateway::Config>,
        build: |role, settings, env, backing| start(parsed(role, settings), env, backing, gateway::build),
    },
];

/// The names of all roles, in the registry's order.
pub const ROLES: [&str; REGISTRY.len()] = {
    let mut names = [""; REGISTRY.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = REGISTRY[at].name;
        at += 1;
    }
    names
};

/// The streams of the event log: one of each role that publishes, and the log's own.
pub const STREAMS: [Stream; 5] = [order::STREAM, payment::STREAM, inventory::STREAM, user::STREAM, DEAD_LETTERS];

/// What roles declare that faults can be told of. The world's own targets are in
/// [`vocabulary`](crate::fault::vocabulary).
pub const TARGETS: [&Target; 2] = [&acquirer::FAULTS, &payment::FAULTS];

/// The administrator's account is chosen where the shop is put up; no scenario sets it.
const NOT_FOR_SCENARIOS: [&str; 2] = ["user.admin_email", "user.admin_password"];

/// The role of that name.
pub fn role(name: &str) -> Option<&'static Role> {
    static ROWS: [Role; REGISTRY.len()] = REGISTRY;
    ROWS.iter().find(|role| role.name == name)
}

/// What `role` needs of others, and of the servers behind it.
pub fn needs(name: &str) -> Needs {
    role(name).map_or(Needs::of(&[], [false; 3]), |role| role.needs)
}

/// The databases of the embedded family: the roles' own, and the event log's.
pub fn databases() -> impl Iterator<Item = &'static str> {
    REGISTRY.into_iter().filter_map(|role| role.database).chain([eventlog::sqlite::DATABASE])
}

/// The environment variable that sets `setting` (`role.name`) under `shopctl serve`.
pub fn variable(setting: &str) -> String {
    setting.replace('.', "_").to_uppercase()
}

/// Builds the service of a role.
///
/// # Errors
/// When there is no such role, a setting is wrong, or the service's storage cannot be opened.
pub async fn build(name: &str, settings: &Settings, env: Env, backing: Backing) -> Result<Service, StartError> {
    match role(name) {
        Some(role) => (role.build)(role.name, settings, env, backing).await,
        None => Err(StartError(format!("there is no role `{name}`"))),
    }
}

fn start<C>(
    config: Result<C, StartError>,
    env: Env,
    backing: Backing,
    build: fn(C, Env, Backing) -> Building,
) -> Building {
    match config {
        Ok(config) => build(config, env, backing),
        Err(error) => Box::pin(std::future::ready(Err(error))),
    }
}

fn parsed<C: clap::Args>(role: &'static str, values: &Settings) -> Result<C, StartError> {
    settings::parse(role, values).map_err(StartError)
}

fn check_as<C: clap::Args>(role: &'static str, values: &Settings) -> Result<(), String> {
    settings::parse::<C>(role, values).map(drop)
}

/// Every setting of every role that a scenario may hold, for people.
pub fn described_settings() -> Vec<Described> {
    let all = REGISTRY.into_iter().flat_map(|role| (role.described)(role.name));
    all.filter(|setting| !NOT_FOR_SCENARIOS.contains(&setting.name.as_str())).collect()
}

/// Whether a role accepts `value` for the setting `name` (`role.name`).
///
/// # Errors
/// One line: there is no such role, or the value does not fit.
pub fn check(name: &str, value: &str) -> Result<(), String> {
    let one = BTreeMap::from([(name.to_owned(), value.to_owned())]);
    let owner = name.split('.').next().unwrap_or_default();
    let role = role(owner).ok_or_else(|| format!("there is no role `{owner}`"))?;
    (role.check)(role.name, &one)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use chassis::auth::Keys;
    use chassis::clock::SystemClock;
    use chassis::context::Tracer;
    use chassis::metrics::Metrics;
    use chassis::net::SystemNetwork;
    use chassis::rng::Seeds;
    use eventlog::Embedded;
    use eventlog::sqlite::SqliteEventLog;
    use store::sqlite::Storage;

    use super::*;

    async fn starts_with(role: &'static str, peers: &[&'static str]) -> bool {
        let storage = Storage::Memory(format!("needs-{role}-{}", peers.len()));
        let clock = Arc::new(SystemClock);
        let log = Arc::new(SqliteEventLog::open(&storage, clock.clone()).unwrap());
        let backing = Backing::Embedded(Embedded { storage, log });
        let seeds = Seeds::from_number(1);
        let env = Env {
            role,
            clock,
            tracer: Tracer::new(&seeds),
            seeds,
            network: Arc::new(SystemNetwork),
            peers: Arc::new(peers.iter().map(|peer| (*peer, "127.0.0.1:1".to_owned())).collect()),
            ops: Arc::default(),
            chaos: false,
            keys: Keys::new(&[1; 32]).unwrap(),
            metrics: Metrics::new(role),
            shutdown: Default::default(),
        };
        build(role, &BTreeMap::new(), env, backing).await.is_ok()
    }

    /// What the role's configuration is, in words.
    fn config_of(role: &str, settings: &Settings) -> Result<String, String> {
        match role {
            acquirer::ROLE => settings::parse::<acquirer::Config>(acquirer::ROLE, settings).map(|it| format!("{it:?}")),
            user::ROLE => settings::parse::<user::Config>(user::ROLE, settings).map(|it| format!("{it:?}")),
            product::ROLE => settings::parse::<product::Config>(product::ROLE, settings).map(|it| format!("{it:?}")),
            inventory::ROLE => {
                settings::parse::<inventory::Config>(inventory::ROLE, settings).map(|it| format!("{it:?}"))
            }
            payment::ROLE => settings::parse::<payment::Config>(payment::ROLE, settings).map(|it| format!("{it:?}")),
            order::ROLE => settings::parse::<order::Config>(order::ROLE, settings).map(|it| format!("{it:?}")),
            notification::ROLE => {
                settings::parse::<notification::Config>(notification::ROLE, settings).map(|it| format!("{it:?}"))
            }
            gateway::ROLE => settings::parse::<gateway::Config>(gateway::ROLE, settings).map(|it| format!("{it:?}")),
            other => panic!("{other}"),
        }
    }

    #[test]
    fn every_setting_of_a_scenario_changes_its_role_s_configuration_and_no_other_s() {
        let settings = described_settings();
        assert!(settings.len() > 40, "{} settings", settings.len());
        for Described { name, .. } in settings {
            // Every planted bug has an exhibit of its own that shows what it does.
            if name.ends_with(".planted_bug") {
                continue;
            }
            let role = name.split('.').next().unwrap();
            let changes = |value: &&str| {
                let set = Settings::from([(name.clone(), (*value).to_owned())]);
                let accepted = check(&name, value).is_ok();
                accepted
                    && config_of(role, &set).is_ok_and(|config| config != config_of(role, &Settings::new()).unwrap())
            };
            let values = ["17", "4096", "0.25", "17ms", "3s", "17ms..19ms", "optimistic"];
            let value = values.iter().find(|value| changes(value));
            let value = value.unwrap_or_else(|| panic!("{name}: none of {values:?} makes a difference"));
            let set = Settings::from([(name.clone(), (*value).to_owned())]);
            for other in ROLES.into_iter().filter(|other| *other != role) {
                assert_eq!(config_of(other, &set), config_of(other, &Settings::new()), "{name} reaches {other}");
            }
        }
    }

    #[test]
    fn each_role_is_once_in_the_registry_behind_its_peers_and_its_faults_are_targets() {
        for (at, row) in REGISTRY.into_iter().enumerate() {
            assert!(ROLES[..at].iter().all(|before| *before != row.name), "{} is there twice", row.name);
            for peer in row.needs.peers {
                assert!(ROLES[..at].contains(peer), "{} comes before {peer}", row.name);
            }
            assert_eq!(role(row.name).map(|found| found.name), Some(row.name));
        }
        let declared: Vec<&str> = REGISTRY.into_iter().filter_map(|row| Some(row.faults?.name)).collect();
        assert_eq!(declared, TARGETS.map(|target| target.name));
    }

    #[test]
    fn every_stream_that_a_role_consumes_is_published_by_another() {
        let consumed = [(order::ROLE, order::CONSUMED), (notification::ROLE, notification::CONSUMED)];
        for (role, stream) in consumed.into_iter().flat_map(|(role, streams)| streams.map(|stream| (role, stream))) {
            assert!(STREAMS.contains(&stream), "{role} consumes {stream:?}, which no role publishes");
        }
    }

    #[test]
    fn the_streams_are_those_of_the_logs_that_have_been_written_so_far() {
        let streams = STREAMS.map(|stream| (stream.name(), stream.subject("1")));
        let named = [
            ("ORDERS", "events.order.1"),
            ("PAYMENTS", "events.payment.1"),
            ("INVENTORY", "events.inventory.1"),
            ("USERS", "events.user.1"),
            ("DEAD_LETTERS", "events.dead.1"),
        ];
        assert_eq!(streams, named.map(|(name, subject)| (name, subject.to_owned())));
    }

    #[tokio::test]
    async fn a_role_starts_with_the_peers_that_it_needs_and_not_with_one_less() {
        for role in ROLES {
            let peers = needs(role).peers;
            assert!(starts_with(role, peers).await, "{role} needs more than {peers:?}");
            for left_out in 0..peers.len() {
                let fewer = [&peers[..left_out], &peers[left_out + 1..]].concat();
                assert!(!starts_with(role, &fewer).await, "{role} does not need {}", peers[left_out]);
            }
        }
    }
}
