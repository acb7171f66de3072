//! `shopctl doctor` where servers are.

use std::process::Command;

fn doctor(urls: &[(&str, &str)]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_shopctl"))
        .arg("doctor")
        .env_remove("DATABASE_URL")
        .env_remove("NATS_URL")
        .env_remove("REDIS_URL")
        .envs(urls.iter().copied())
        .output()
        .unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn this_machine_has_what_private_servers_need() {
    let said = doctor(&[]);
    for program in ["postgres ", "initdb ", "nats-server ", "redis-server "] {
        let line = said.lines().find(|line| line.starts_with(program)).unwrap();
        assert!(!line.contains("MISSING"), "{line}");
    }
    assert!(said.contains("--infra local     ready") && said.contains("--infra external  not set up"), "{said}");
}

#[test]
fn servers_that_the_environment_names_are_asked_and_no_secret_is_shown() {
    let borrowed = servers::for_test().unwrap();
    let urls = &borrowed.connections;
    let right = [("DATABASE_URL", &*urls.postgres), ("NATS_URL", &*urls.nats), ("REDIS_URL", &*urls.redis)];
    let said = doctor(&right);
    assert!(said.contains("--infra external  ready"), "{said}");
    let wrong = urls.nats.replace("nats://", "nats://wrong");
    let said_then = doctor(&[right[0], ("NATS_URL", &wrong), right[2]]);
    assert!(said_then.contains("NATS_URL        set, but WRONG: 127.0.0.1:"), "{said_then}");
    assert!(said_then.contains("--infra external  NOT READY"), "{said_then}");
    for (_, url) in right {
        let secret = url.split_once("://").unwrap().1.split('@').next().unwrap();
        let secret = secret.rsplit(':').next().unwrap();
        assert!(!said.contains(secret) && !said_then.contains(secret), "{said}{said_then}");
    }
}
