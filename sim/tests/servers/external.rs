//! Somebody else's servers: whether they will do.

use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use chassis::hazard::Hazards;
use store::Servers;
use store::gather::BATCH_MAX;
use world::infra::external::{self, check};

use crate::harness::{NOBODY, PATIENCE};

/// What is put into a URL instead of its password.
const WRONG: &str = "not-the-password";

fn with_password(url: &str, password: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap();
    let (login, place) = rest.rsplit_once('@').unwrap();
    let user = login.rsplit_once(':').map(|(user, _)| format!("{user}:")).unwrap_or_default();
    format!("{scheme}://{user}{password}@{place}")
}

#[tokio::test]
async fn servers_that_will_do_tell_their_versions() {
    let borrowed = servers::for_test().unwrap();
    let versions = check(&borrowed.connections).await.unwrap();
    for version in [&versions.postgres, &versions.nats, &versions.redis] {
        assert!(version.contains('.') && version.starts_with(|first: char| first.is_ascii_digit()), "{versions}");
    }
}

#[tokio::test]
async fn a_wrong_password_is_a_refused_login_and_is_not_repeated() {
    let borrowed = servers::for_test().unwrap();
    let right = &borrowed.connections;
    let mut wrong = [right.clone(), right.clone(), right.clone()];
    wrong[0].postgres = with_password(&right.postgres, WRONG);
    wrong[1].nats = with_password(&right.nats, WRONG);
    wrong[2].redis = with_password(&right.redis, WRONG);
    for (servers, variable) in wrong.iter().zip(["DATABASE_URL", "NATS_URL", "REDIS_URL"]) {
        let said = check(servers).await.unwrap_err();
        assert!(said.starts_with(&format!("{variable}: 127.0.0.1:")), "{said}");
        assert!(said.contains("refuses the login") && !said.contains(WRONG) && !said.contains('\n'), "{said}");
    }
    let mut none = right.clone();
    none.redis = format!("redis://{}", borrowed.servers.redis.address());
    assert!(check(&none).await.unwrap_err().contains("refuses the login"));
    none = right.clone();
    none.nats = format!("nats://{}", borrowed.servers.nats.address());
    assert!(check(&none).await.unwrap_err().contains("refuses the login"));
}

#[tokio::test]
async fn a_place_where_nobody_listens_is_told() {
    let place = NOBODY;
    let login = format!("user:{WRONG}@{place}");
    for (said, variable) in [
        (external::postgres(&format!("postgres://{login}")).await, "DATABASE_URL"),
        (external::nats(&format!("nats://{login}")).await, "NATS_URL"),
        (external::redis(&format!("redis://{login}")).await, "REDIS_URL"),
    ] {
        assert_eq!(said.unwrap_err(), format!("{variable}: nobody listens on {place}"));
    }
}

#[tokio::test]
async fn what_is_no_url_is_answered_with_an_example() {
    for text in ["", "127.0.0.1:5432", "http://127.0.0.1:5432", "nats://", "postgres://u:p:q:r@", "redis://a:b"] {
        for (said, example) in [
            (external::postgres(text).await, "postgres://user:password@127.0.0.1:5432"),
            (external::nats(text).await, "nats://token@127.0.0.1:4222"),
            (external::redis(text).await, "redis://:password@127.0.0.1:6379"),
        ] {
            let said = said.unwrap_err();
            assert!(said.contains(example) || text.starts_with(example.split(':').next().unwrap()), "{text}: {said}");
            assert!(!said.contains('\n'), "{said}");
        }
    }
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_given_up() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let said = external::postgres(&format!("postgres://u:{WRONG}@{}", silent.local_addr().unwrap())).await.unwrap_err();
    assert!(said.ends_with("did not answer within 5s") && !said.contains(WRONG), "{said}");
}

#[tokio::test]
async fn nats_without_jetstream_will_not_do() {
    let nats = OwnNats::start("").await;
    let said = external::nats(&format!("nats://{}", nats.address)).await.unwrap_err();
    assert!(said.starts_with("NATS_URL: ") && said.contains("has JetStream off"), "{said}");
    let nats = OwnNats::start(
        "jetstream { store_dir: store }\naccounts { SHOP { users: [ { user: shop, password: secret } ] } }",
    )
    .await;
    let said = external::nats(&format!("nats://shop:secret@{}", nats.address)).await.unwrap_err();
    assert!(said.contains("refuses JetStream to this login") && !said.contains("secret"), "{said}");
}

#[tokio::test]
async fn a_login_of_special_characters_is_taken_as_it_was_meant() {
    let nats =
        OwnNats::start("authorization { user: joe, password: \"s3/p@s\" }\njetstream { store_dir: store }").await;
    external::nats(&format!("nats://joe:s3%2Fp%40s@{}", nats.address)).await.unwrap();
    let said = external::nats(&format!("nats://joe:s3%2Fp@{}", nats.address)).await.unwrap_err();
    assert!(said.contains("refuses the login"), "{said}");
}

#[tokio::test]
async fn a_stream_that_is_missing_or_another_programs_or_forgets_is_told_before_a_shop_starts() {
    let nats = OwnNats::start("jetstream { store_dir: store }").await;
    let url = format!("nats://{}", nats.address);
    let servers = |namespace: &str, create: bool| Servers {
        postgres: String::new(),
        nats: url.clone(),
        redis: String::new(),
        namespace: namespace.to_owned(),
        create,
        batch_max: BATCH_MAX,
        hazards: Hazards::default(),
    };
    let said = external::streams(&servers("none", false)).await.unwrap_err();
    assert!(
        said.starts_with("NATS_URL: NATS: the stream NONE_ORDERS is missing") && said.contains("--create"),
        "{said}"
    );
    external::streams(&servers("none", true)).await.unwrap();
    external::streams(&servers("none", false)).await.unwrap();

    let jetstream = async_nats::jetstream::new(async_nats::connect(&url).await.unwrap());
    let stream = |name: &str, subject: &str, max_messages: i64| async_nats::jetstream::stream::Config {
        name: name.to_owned(),
        subjects: vec![subject.to_owned()],
        allow_direct: true,
        max_messages,
        ..Default::default()
    };
    jetstream.create_stream(stream("FOREIGN_ORDERS", "foreign.>", -1)).await.unwrap();
    let said = external::streams(&servers("foreign", true)).await.unwrap_err();
    assert!(said.contains("FOREIGN_ORDERS needs the subject foreign.events.order.>"), "{said}");
    jetstream.create_stream(stream("SHORT_ORDERS", "short.events.order.>", 50)).await.unwrap();
    let said = external::streams(&servers("short", true)).await.unwrap_err();
    assert!(said.contains("SHORT_ORDERS forgets events"), "{said}");
}

/// A NATS server with a configuration of its own; it ends with the test, however that ends.
struct OwnNats {
    child: Child,
    address: SocketAddr,
    folder: tempfile::TempDir,
}

impl OwnNats {
    async fn start(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // It chooses a port, and tells in a file which.
        let listen = "listen: \"127.0.0.1:-1\"\nports_file_dir: \".\"";
        std::fs::write(folder.path().join("nats.conf"), format!("{listen}\n{config}\n")).unwrap();
        let mut command = Command::new(servers::binaries::NATS_SERVER.locate().unwrap());
        command.args(["--config", "nats.conf"]).current_dir(folder.path()).stderr(Stdio::null());
        let (child, address) = (command.spawn().unwrap(), NOBODY.parse().unwrap());
        let mut started = Self { child, address, folder };
        let deadline = tokio::time::Instant::now() + PATIENCE;
        started.address = loop {
            if let Some(address) = started.told() {
                break address;
            }
            assert!(tokio::time::Instant::now() < deadline, "NATS did not start");
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        started
    }

    /// Where it listens, if it does.
    fn told(&self) -> Option<SocketAddr> {
        let file = self.folder.path().join(format!("nats-server_{}.ports", self.child.id()));
        let ports: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(file).ok()?).ok()?;
        let address = ports["nats"][0].as_str()?.strip_prefix("nats://")?.parse().ok()?;
        std::net::TcpStream::connect(address).is_ok().then_some(address)
    }
}

impl Drop for OwnNats {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
