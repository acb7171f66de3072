//! `shopctl fault`: breaks a running shop, and mends it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use chassis::chaos::Target as Breakable;
use chassis::net::{Network, SystemNetwork};
use serde::Deserialize;

use super::args::{FaultCommand, Injection, TargetArgs};
use super::target::Target;
use super::{runtime, say};
use experiment::report::exit::{ExitCode, Failure};
use shop::fault::vocabulary::{self, How};
use world::probe::faults::{FaultApi, Told};

pub fn run(command: &FaultCommand) -> Result<ExitCode, Failure> {
    runtime()?.block_on(async {
        match command {
            FaultCommand::Kinds => kinds(),
            FaultCommand::List { shop } => list(shop).await,
            FaultCommand::Inject(injection) => inject(injection).await,
            FaultCommand::Clear { names, shop } => clear(names, shop).await,
        }
    })
}

#[derive(Deserialize)]
struct Role {
    role: String,
    ops: Option<String>,
}

/// Signs in and finds the roles' ops ports.
async fn connect(shop: &TargetArgs) -> Result<FaultApi, Failure> {
    let target = Target::sign_in(&shop.target, &shop.admin).await?;
    let answer = target.get("/api/v1/admin/roles").await?;
    let roles: Vec<Role> = target.understood("ask where the roles are", &answer)?;
    let ops: Vec<(String, String)> = roles.into_iter().filter_map(|Role { role, ops }| Some((role, ops?))).collect();
    within_reach(&shop.target, &ops).map_err(failed)?;
    let network: Arc<dyn Network> = Arc::new(SystemNetwork);
    Ok(FaultApi::new(&network, ops, &target.token))
}

/// Ops ports that only the shop's own machine reaches are for commands that run there too: from anywhere
/// else the same addresses are somebody else's, who must not be sent the token.
///
/// # Errors
/// One line: the shop is elsewhere.
fn within_reach(shop: &str, ops: &[(String, String)]) -> Result<(), String> {
    let uri: Option<http::Uri> = shop.parse().ok();
    if uri.as_ref().and_then(http::Uri::host).is_some_and(is_here) {
        return Ok(());
    }
    let host = |address: &str| address.rsplit_once(':').map_or(address, |(host, _)| host).to_owned();
    match ops.iter().find(|(_, address)| is_here(&host(address))) {
        Some((role, address)) => Err(format!(
            "{shop}: the ops ports of that shop listen on its own machine only ({role}: {address}); \
             run this there, with --target http://127.0.0.1:PORT"
        )),
        None => Ok(()),
    }
}

/// Whether a host's name or address is this machine whoever asks.
fn is_here(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    address.map_or(host.eq_ignore_ascii_case("localhost"), |ip| {
        let ip = ip.to_canonical();
        ip.is_loopback() || ip.is_unspecified()
    })
}

fn failed(why: impl std::fmt::Display) -> Failure {
    Failure { code: ExitCode::FaultFailed, message: format!("error: {why}") }
}

/// The matrix: each target's kinds, and what they are in which world.
fn kinds() -> Result<ExitCode, Failure> {
    let (mut target, mut whys) = ("", Vec::new());
    for row in vocabulary::matrix() {
        if row.target != target {
            target = row.target;
            say(target);
        }
        let head = format!("{} {}", row.kind, row.parameters);
        say(format_args!("  {head:<44} {}", row.meaning));
        let worlds = [("simulate", row.simulate), ("run", row.embedded), ("run on servers", row.servers)];
        let told: Vec<String> =
            worlds.iter().map(|(world, how)| format!("{world}: {}", noted(*how, &mut whys))).collect();
        say(format_args!("  {:<44} {}", "", told.join(" · ")));
    }
    say("");
    for (number, why) in whys.iter().enumerate() {
        say(format_args!("[{}] {why}", number + 1));
    }
    for (pattern, words) in vocabulary::PATTERNS {
        let names: Vec<&str> = vocabulary::named_by(pattern).collect();
        say(format_args!("\n{pattern}: {words}"));
        names.chunks(4).for_each(|line| say(format_args!("  {}", line.join("  "))));
    }
    Ok(ExitCode::Kept)
}

/// `emulated [1]`: the word, and which of the notes says more.
fn noted(how: How, whys: &mut Vec<&'static str>) -> String {
    let (How::Emulated(why) | How::NotApplicable(why)) = how else { return how.word().to_owned() };
    let place = whys.iter().position(|one| *one == why).unwrap_or_else(|| {
        whys.push(why);
        whys.len() - 1
    });
    format!("{} [{}]", how.word(), place + 1)
}

async fn list(shop: &TargetArgs) -> Result<ExitCode, Failure> {
    let api = connect(shop).await?;
    let mut lines = Vec::new();
    for target in shop::TARGETS {
        let listing = api.list(target).await.map_err(failed)?;
        lines.extend(listing.active.iter().map(|told| format!("{:<24} {}", told.name, words(told))));
    }
    if lines.is_empty() {
        say("nothing is broken on purpose");
    }
    lines.into_iter().for_each(say);
    Ok(ExitCode::Kept)
}

/// `payment-provider latency(latency=300ms), touched 12 calls`
fn words(told: &Told) -> String {
    let parameters: Vec<String> = told.parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let parameters = if parameters.is_empty() { String::new() } else { format!("({})", parameters.join(", ")) };
    let until = told.until_us.map(|until| kernel::Timestamp::from_micros(until).to_string());
    let until = until.map(|until| format!(", until {until}")).unwrap_or_default();
    format!("{} {}{parameters}, touched {} calls{until}", told.target, told.kind, told.hits)
}

async fn inject(injection: &Injection) -> Result<ExitCode, Failure> {
    let fault = fault(injection).map_err(|why| Failure::invalid(format!("error: {why}")))?;
    let api = connect(&injection.shop).await?;
    let told = api.inject(&fault, injection.lasts).await.map_err(failed)?;
    say(format_args!("{}: {}", told.name, words(&told)));
    say(format_args!("lift it with: shopctl fault clear {}", told.name));
    Ok(ExitCode::Kept)
}

fn fault(injection: &Injection) -> Result<chassis::chaos::Fault, String> {
    let target = target(&injection.on)?;
    let mut parameters = BTreeMap::new();
    for one in &injection.parameters {
        if parameters.insert(one.path.clone(), one.value.clone()).is_some() {
            return Err(format!("`{}` is given twice", one.path));
        }
    }
    let name = injection.name.clone().unwrap_or_else(|| injection.kind.replace('_', "-"));
    target.fault(&name, &injection.kind, &parameters).map_err(|unfit| match unfit.hint() {
        Some(hint) => format!("{unfit}; {hint}"),
        None => unfit.to_string(),
    })
}

fn target(name: &str) -> Result<&'static Breakable, String> {
    let known = shop::TARGETS.into_iter().find(|target| target.name == name);
    known.ok_or_else(|| {
        if vocabulary::targets().iter().any(|target| target.name == name) {
            return format!("`{name}` can be broken in simulate only; no role of a running shop is told of it");
        }
        let names: Vec<&str> = shop::TARGETS.iter().map(|target| target.name).collect();
        format!("nothing here is called `{name}`; there are {} (see shopctl fault kinds)", names.join(" and "))
    })
}

/// Lifts the named faults, or all. A target that cannot be asked keeps none of the others broken.
async fn clear(names: &[String], shop: &TargetArgs) -> Result<ExitCode, Failure> {
    let (lifted, failures) = lift(&connect(shop).await?, names).await;
    if !failures.is_empty() {
        return Err(failed(failures.join("\nerror: ")));
    }
    if let Some(missing) = names.iter().find(|name| !lifted.contains(name)) {
        return Err(failed(format!("no fault called `{missing}` is active; see shopctl fault list")));
    }
    if lifted.is_empty() {
        say("nothing is broken on purpose");
    }
    Ok(ExitCode::Kept)
}

/// Lifts the named faults, or all, of every target; answers their names, and a line for each failure.
async fn lift(api: &FaultApi, names: &[String]) -> (Vec<String>, Vec<String>) {
    let (mut lifted, mut failures) = (Vec::new(), Vec::new());
    for target in shop::TARGETS {
        let active = match api.list(target).await {
            Ok(listing) => listing.active,
            Err(why) => {
                failures.push(format!("{}: {why}", target.name));
                continue;
            }
        };
        for told in active.iter().filter(|told| names.is_empty() || names.contains(&told.name)) {
            match api.lift(target, &told.name).await {
                Ok(last) => {
                    say(format_args!("lifted {}: {}", told.name, words(last.as_ref().unwrap_or(told))));
                    lifted.push(told.name.clone());
                }
                Err(why) => failures.push(format!("{}: `{}` may still be active: {why}", target.name, told.name)),
            }
        }
    }
    (lifted, failures)
}

#[cfg(test)]
mod tests {
    use std::io;

    use async_trait::async_trait;
    use chassis::net::Socket;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::cli::args::{Arguments, Command};
    use clap::Parser as _;

    fn read(words: &str) -> Result<String, String> {
        let arguments = ["shopctl", "fault", "inject"].into_iter().chain(words.split(' '));
        match Arguments::try_parse_from(arguments).map_err(|error| error.to_string())?.command {
            Command::Fault(FaultCommand::Inject(injection)) => fault(&injection).map(|fault| fault.to_string()),
            _ => Err("another command".into()),
        }
    }

    #[test]
    fn a_fault_is_read_from_its_words() {
        assert_eq!(
            read("payment-provider latency latency=300ms..600ms").unwrap(),
            "payment-provider latency(latency=300ms..600ms)"
        );
        assert_eq!(read("breaker force_open").unwrap(), "breaker force_open");
    }

    #[test]
    fn what_does_not_fit_is_told_what_would() {
        for (words, said) in [
            ("payment latency", "there are payment-provider and breaker"),
            ("payment-provider outge", "did you mean `outage`"),
            ("payment-provider latency", "`latency` needs `latency`"),
            ("payment-provider error_rate rate=2", "`rate`"),
            ("payment-provider outage rate=1", "has no parameter `rate`"),
            ("payment-provider error_rate rate=0.5 rate=0.6", "`rate` is given twice"),
            ("payment-provider outage --for 0s", "from 1ms to"),
        ] {
            let why = read(words).unwrap_err();
            assert!(why.contains(said), "{words}: {why}");
        }
    }

    #[test]
    fn a_token_goes_to_the_shop_s_machine_and_never_to_the_one_that_it_is_sent_from() {
        let ops = |address: &str| vec![("payment".to_owned(), address.to_owned())];
        for (shop, address) in [
            ("http://127.0.0.1:8080", "127.0.0.1:9001"),
            ("http://localhost:8080", "127.0.0.1:9001"),
            ("http://LocalHost", "localhost:9001"),
            ("http://[::1]:8080", "[::1]:9001"),
            ("http://127.0.0.2:8080", "0.0.0.0:9001"),
            ("http://shop.example:8080", "shop.example:9001"),
            ("http://10.0.0.5:8080", "10.0.0.6:9001"),
            ("http://127.0.0.1:8080", "payment.internal:9001"),
        ] {
            assert_eq!(within_reach(shop, &ops(address)), Ok(()), "{shop} {address}");
        }
        for (shop, address) in [
            ("http://shop.example:8080", "127.0.0.1:9001"),
            ("http://10.0.0.5:8080", "localhost:9001"),
            ("http://10.0.0.5", "[::1]:9001"),
            ("http://10.0.0.5", "[::ffff:127.0.0.1]:9001"),
            ("http://localhost.example", "0.0.0.0:9001"),
        ] {
            let mut roles = ops("shop.example:9000");
            roles.extend(ops(address));
            let why = within_reach(shop, &roles).unwrap_err();
            assert!(why.contains(shop) && why.contains(address) && why.contains("its own machine only"), "{why}");
            assert_eq!(why.lines().count(), 1);
        }
    }

    /// Where the acquirer is gone and the payment role has a fault.
    struct OneIsGone;

    #[async_trait]
    impl Network for OneIsGone {
        async fn connect(&self, authority: &str) -> io::Result<Box<dyn Socket>> {
            if authority != "payment:1" {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            let (ours, mut theirs) = tokio::io::duplex(4096);
            tokio::spawn(async move {
                let mut request = vec![0; 4096];
                let length = theirs.read(&mut request).await.unwrap();
                let told = r#"{"name":"open","target":"breaker","kind":"force_open","parameters":{},
                               "injected_at_us":1,"hits":3}"#;
                let listed = request[..length].starts_with(b"GET ");
                let body = if listed { format!(r#"{{"active":[{told}]}}"#) } else { told.to_owned() };
                let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
                theirs.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
            });
            Ok(Box::new(ours))
        }
    }

    #[tokio::test]
    async fn what_can_be_lifted_is_lifted_although_one_role_does_not_answer() {
        let network: Arc<dyn Network> = Arc::new(OneIsGone);
        let ops = [("acquirer", "acquirer:1".to_owned()), ("payment", "payment:1".to_owned())];
        let (lifted, failures) = lift(&FaultApi::new(&network, ops, "token"), &[]).await;
        assert_eq!(lifted, ["open"]);
        assert_eq!(failures.len(), 1);
        assert!(failures[0].contains("payment-provider") && failures[0].contains("acquirer"), "{failures:?}");
    }
}
