//! `shopctl serve ROLE` where there is nothing to serve on: what it asks for, and how it refuses.

use crate::harness::{Bench, TINY};

const SECRET: (&str, &str) = ("JWT_SECRET", "a secret of more than thirty-two bytes");
const PEERS: (&str, &str) = ("PEERS", "product=127.0.0.1:1,inventory=127.0.0.1:1,payment=127.0.0.1:1");
/// Nobody listens on port 1; the password must not be shown.
const SERVERS: [(&str, &str); 3] = [
    ("DATABASE_URL", "postgres://shop:hunter2@127.0.0.1:1"),
    ("NATS_URL", "nats://hunter2@127.0.0.1:1"),
    ("REDIS_URL", "redis://:hunter2@127.0.0.1:1"),
];

/// Runs it, asserts the exit code, and answers the one line that it says.
#[track_caller]
fn line(code: i32, variables: &[(&str, &str)], arguments: &[&str]) -> String {
    let ended = Bench::new(TINY).shopctl_with(variables, &[&["serve"], arguments].concat()).exits(code);
    let said = ended.stderr();
    assert!(said.starts_with("error: serve ") && said.lines().count() == 1, "{said}");
    assert!(!said.contains("hunter2"), "a password is shown: {said}");
    said
}

#[test]
fn help_lists_a_role_s_settings_its_variables_and_what_only_the_environment_may_say() {
    let bench = Bench::new(TINY);
    let order = bench.shopctl(&["serve", "order", "--help"]).exits(0).stdout();
    for text in ["--attempts", "ORDER_ATTEMPTS", "--peer", "PEERS", "DATABASE_URL", "NATS_URL", "JWT_SECRET_FILE"] {
        assert!(order.contains(text), "{text} is not in {order}");
    }
    let acquirer = bench.shopctl(&["serve", "acquirer", "--help"]).exits(0).stdout();
    assert!(acquirer.contains("DATABASE_URL") && !acquirer.contains("NATS_URL"), "{acquirer}");
}

#[test]
fn a_bad_flag_or_variable_is_one_line_that_says_where_the_value_came_from() {
    let said = line(104, &[], &["order", "--attempts", "many"]);
    assert!(said.contains("--attempts") && !said.contains("ORDER_ATTEMPTS"), "{said}");
    let said = line(104, &[("ORDER_ATTEMPTS", "many")], &["order"]);
    assert!(said.contains("(from ORDER_ATTEMPTS)"), "{said}");
    let said = line(104, &[("SHOP_CHAOS", "ture")], &["order"]);
    assert!(said.contains("(from SHOP_CHAOS)"), "{said}");
    let said = line(104, &[("PEERS", "oder=host:1")], &["order"]);
    assert!(said.contains("no role `oder`") && said.contains("(from PEERS)"), "{said}");
    line(104, &[], &["order", "--namespace", "No!"]);
    line(104, &[], &["order", "--fly"]);
    Bench::new(TINY).shopctl(&["serve", "flying"]).exits(104);
}

#[test]
fn a_missing_peer_is_named_and_only_peers_that_the_role_calls_are_missed() {
    let said = line(104, &[SECRET], &["order", "--peer", "product=127.0.0.1:1", "--peer", "payment=127.0.0.1:1"]);
    assert!(said.contains("the inventory service") && said.contains("--peer inventory=HOST:PORT"), "{said}");
    let said = line(104, &[SECRET], &["acquirer"]);
    assert!(said.contains("DATABASE_URL"), "{said}");
}

#[test]
fn the_secret_has_no_default_and_is_long_enough() {
    let bench = Bench::new(TINY);
    let said = line(104, &[], &["acquirer"]);
    assert!(said.contains("JWT_SECRET_FILE"), "{said}");
    let said = line(104, &[("JWT_SECRET", "hunter2")], &["acquirer"]);
    assert!(said.contains("JWT_SECRET") && said.contains("at least 32"), "{said}");
    let file = bench.path("secret");
    std::fs::write(&file, "hunter2\n").unwrap();
    let file = file.display().to_string();
    let said = line(104, &[], &["acquirer", "--jwt-secret-file", &file]);
    assert!(said.contains(&file) && said.contains("has 7 bytes"), "{said}");
    let said = line(104, &[SECRET], &["acquirer", "--jwt-secret-file", &file]);
    assert!(said.contains("keep one"), "{said}");
    line(104, &[], &["acquirer", "--jwt-secret", "a secret of more than thirty-two bytes"]);
}

#[test]
fn only_servers_that_the_role_needs_are_asked_for() {
    let [database, nats, _] = SERVERS;
    let said = line(104, &[SECRET, PEERS, database], &["order"]);
    assert!(said.contains("NATS_URL is not set") && said.contains("nats://"), "{said}");
    let said = line(104, &[SECRET, PEERS, database, nats], &["order"]);
    assert!(said.contains("REDIS_URL is not set"), "{said}");
    let said = line(104, &[SECRET, ("DATABASE_URL", "mysql://shop:hunter2@host")], &["acquirer"]);
    assert!(said.contains("DATABASE_URL") && said.contains("postgres://"), "{said}");
}

#[test]
fn settings_that_contradict_each_other_are_refused_before_anybody_is_asked() {
    let given = [&[SECRET, PEERS], SERVERS.as_slice()].concat();
    let said = line(104, &given, &["order", "--lease", "1s"]);
    assert!(said.contains("order.lease"), "{said}");
}

#[test]
fn a_server_that_cannot_be_reached_is_one_line_that_says_where_it_was_looked_for() {
    let given = [&[SECRET, PEERS], SERVERS.as_slice()].concat();
    for role in ["acquirer", "order", "inventory"] {
        let said = line(115, &given, &[role]);
        assert!(said.contains("PostgreSQL at 127.0.0.1:1"), "{said}");
    }
}
