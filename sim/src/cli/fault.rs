//! `shopctl fault`: breaks a running shop, and mends it.

use std::collections::BTreeMap;
use std::sync::Arc;

use chassis::chaos::Target as Breakable;
use chassis::net::{Network, SystemNetwork};
use serde::Deserialize;

use super::args::{FaultCommand, Injection, TargetArgs};
use super::exit::{ExitCode, Failure};
use super::target::Target;
use super::{runtime, say};
use crate::fault::api::{FaultApi, Told};
use crate::world::shop;

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
    let ops = roles.into_iter().filter_map(|Role { role, ops }| Some((role, ops?)));
    let network: Arc<dyn Network> = Arc::new(SystemNetwork);
    Ok(FaultApi::new(&network, ops, &target.token))
}

fn failed(why: impl std::fmt::Display) -> Failure {
    Failure { code: ExitCode::FaultFailed, message: format!("error: {why}") }
}

fn kinds() -> Result<ExitCode, Failure> {
    for target in shop::TARGETS {
        say(target.name);
        for kind in target.kinds {
            let parameter = |one: &chassis::chaos::Parameter| match one.default {
                Some(default) => format!("[{}={default}]", one.name),
                None => format!("{}=…", one.name),
            };
            let parameters: Vec<String> = kind.parameters.iter().map(parameter).collect();
            let head = format!("{} {}", kind.name, parameters.join(" "));
            say(format_args!("  {head:<30} {}", kind.meaning));
        }
    }
    Ok(ExitCode::Kept)
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
    let parameters: BTreeMap<String, String> =
        injection.parameters.iter().map(|one| (one.path.clone(), one.value.clone())).collect();
    let name = injection.name.clone().unwrap_or_else(|| injection.kind.replace('_', "-"));
    target.fault(&name, &injection.kind, &parameters).map_err(|unfit| match unfit.hint() {
        Some(hint) => format!("{unfit}; {hint}"),
        None => unfit.to_string(),
    })
}

fn target(name: &str) -> Result<&'static Breakable, String> {
    let known = shop::TARGETS.into_iter().find(|target| target.name == name);
    known.ok_or_else(|| {
        let names: Vec<&str> = shop::TARGETS.iter().map(|target| target.name).collect();
        format!("nothing here is called `{name}`; there are {} (see shopctl fault kinds)", names.join(" and "))
    })
}

/// Lifts the named faults, or all.
async fn clear(names: &[String], shop: &TargetArgs) -> Result<ExitCode, Failure> {
    let api = connect(shop).await?;
    let mut lifted = Vec::new();
    for target in shop::TARGETS {
        let active = api.list(target).await.map_err(failed)?.active;
        for told in active.iter().filter(|told| names.is_empty() || names.contains(&told.name)) {
            let last = api.lift(target, &told.name).await.map_err(failed)?;
            say(format_args!("lifted {}: {}", told.name, words(last.as_ref().unwrap_or(told))));
            lifted.push(told.name.clone());
        }
    }
    if let Some(missing) = names.iter().find(|name| !lifted.contains(name)) {
        return Err(failed(format!("no fault called `{missing}` is active; see shopctl fault list")));
    }
    if lifted.is_empty() {
        say("nothing is broken on purpose");
    }
    Ok(ExitCode::Kept)
}

#[cfg(test)]
mod tests {
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
        ] {
            let why = read(words).unwrap_err();
            assert!(why.contains(said), "{words}: {why}");
        }
    }
}
