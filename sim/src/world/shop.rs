//! The roles that make up the shop, and how each is built from its settings.

use std::collections::BTreeMap;

use chassis::Env;
use chassis::env::StartError;
use chassis::serve::Service;
use chassis::settings::{self, Described};
use eventlog::{Backing, DEAD_LETTERS, Stream};

use crate::fault::vocabulary;
use crate::scenario::Known;

/// Every role, peers before those who call them.
pub const ROLES: [&str; 8] = [
    acquirer::ROLE,
    user::ROLE,
    product::ROLE,
    inventory::ROLE,
    payment::ROLE,
    order::ROLE,
    notification::ROLE,
    gateway::ROLE,
];

/// The databases of the embedded family.
pub const DATABASES: [&str; 8] = [
    "acquirer_db",
    "user_db",
    "product_db",
    "inventory_db",
    "payment_db",
    "order_db",
    notification::DATABASE,
    "event_log",
];

/// The streams of the event log: one of each role that publishes, and the log's own.
pub const STREAMS: [Stream; 5] = [order::STREAM, payment::STREAM, inventory::STREAM, user::STREAM, DEAD_LETTERS];

/// What roles declare that faults can be told of. The world's own targets are in [`vocabulary`].
pub const TARGETS: [&chassis::chaos::Target; 2] = [&acquirer::FAULTS, &payment::FAULTS];

/// What a role cannot start without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// The roles that it calls.
    pub peers: &'static [&'static str],
    pub postgres: bool,
    pub nats: bool,
    pub redis: bool,
}

/// What `role` needs of others, and of the servers behind it.
pub fn needs(role: &str) -> Needs {
    let needs = |peers, [postgres, nats, redis]: [bool; 3]| Needs { peers, postgres, nats, redis };
    match role {
        acquirer::ROLE => needs(&[], [true, false, false]),
        user::ROLE => needs(&[], [true, true, true]),
        product::ROLE => needs(&[], [true, false, true]),
        inventory::ROLE => needs(&[], [true, true, true]),
        payment::ROLE => needs(&[acquirer::ROLE], [true, true, false]),
        order::ROLE => needs(&[product::ROLE, inventory::ROLE, payment::ROLE], [true, true, true]),
        notification::ROLE => needs(&[user::ROLE], [true, true, false]),
        gateway::ROLE => {
            needs(&[user::ROLE, product::ROLE, inventory::ROLE, payment::ROLE, order::ROLE], [false, false, true])
        }
        _ => needs(&[], [false; 3]),
    }
}

/// The environment variable that sets `setting` (`role.name`) where the environment is asked: under
/// `shopctl serve`.
pub fn variable(setting: &str) -> String {
    setting.replace('.', "_").to_uppercase()
}

type Settings = BTreeMap<String, String>;

/// Builds the service of `role`.
///
/// # Errors
/// When a setting is wrong or the service's storage cannot be opened.
pub async fn build(role: &str, settings: &Settings, env: Env, backing: Backing) -> Result<Service, StartError> {
    match role {
        acquirer::ROLE => acquirer::build(configured(acquirer::ROLE, settings)?, env, backing).await,
        user::ROLE => user::build(configured(user::ROLE, settings)?, env, backing).await,
        product::ROLE => product::build(configured(product::ROLE, settings)?, env, backing).await,
        inventory::ROLE => inventory::build(configured(inventory::ROLE, settings)?, env, backing).await,
        payment::ROLE => payment::build(configured(payment::ROLE, settings)?, env, backing).await,
        order::ROLE => order::build(configured(order::ROLE, settings)?, env, backing).await,
        notification::ROLE => notification::build(configured(notification::ROLE, settings)?, env, backing).await,
        gateway::ROLE => gateway::build(configured(gateway::ROLE, settings)?, env, backing).await,
        other => Err(StartError(format!("there is no role `{other}`"))),
    }
}

fn configured<C: clap::Args>(role: &'static str, values: &Settings) -> Result<C, StartError> {
    settings::parse(role, values).map_err(StartError)
}

/// The administrator is whoever puts the shop up; no scenario chooses one.
const NOT_FOR_SCENARIOS: [&str; 2] = ["user.admin_email", "user.admin_password"];

/// Every setting of every role that a scenario may hold, for people.
pub fn described_settings() -> Vec<Described> {
    let mut settings = [
        settings::describe::<acquirer::Config>(acquirer::ROLE),
        settings::describe::<user::Config>(user::ROLE),
        settings::describe::<product::Config>(product::ROLE),
        settings::describe::<inventory::Config>(inventory::ROLE),
        settings::describe::<payment::Config>(payment::ROLE),
        settings::describe::<order::Config>(order::ROLE),
        settings::describe::<notification::Config>(notification::ROLE),
        settings::describe::<gateway::Config>(gateway::ROLE),
    ]
    .concat();
    settings.retain(|setting| !NOT_FOR_SCENARIOS.contains(&setting.name.as_str()));
    settings
}

/// Every setting, and how to check a value: what `shop.settings` may hold.
pub fn known() -> Known {
    let names = described_settings().into_iter().map(|setting| setting.name).collect();
    Known { names, check: Box::new(check), targets: vocabulary::targets() }
}

fn check(name: &str, value: &str) -> Result<(), String> {
    let one = BTreeMap::from([(name.to_owned(), value.to_owned())]);
    let role = name.split('.').next().unwrap_or_default();
    match role {
        acquirer::ROLE => settings::parse::<acquirer::Config>(acquirer::ROLE, &one).map(drop),
        user::ROLE => settings::parse::<user::Config>(user::ROLE, &one).map(drop),
        product::ROLE => settings::parse::<product::Config>(product::ROLE, &one).map(drop),
        inventory::ROLE => settings::parse::<inventory::Config>(inventory::ROLE, &one).map(drop),
        payment::ROLE => settings::parse::<payment::Config>(payment::ROLE, &one).map(drop),
        order::ROLE => settings::parse::<order::Config>(order::ROLE, &one).map(drop),
        notification::ROLE => settings::parse::<notification::Config>(notification::ROLE, &one).map(drop),
        gateway::ROLE => settings::parse::<gateway::Config>(gateway::ROLE, &one).map(drop),
        other => Err(format!("there is no role `{other}`")),
    }
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
        let known = known();
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
                let accepted = (known.check)(&name, value).is_ok();
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
