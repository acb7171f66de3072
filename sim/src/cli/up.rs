//! `shopctl up`.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use chassis::Instruments;
use chassis::rng::Seeds;
use rand::Rng;

use super::args::UpArgs;
use super::deaths::Deaths;
use super::shelves::stands_on_servers;
use super::signals::Signals;
use super::{runtime, say};
use experiment::report::exit::{ExitCode, Failure};
use world::Admin;
use world::infra::{Ground, Infra};
use world::plan::{Plan, Shop};
use world::secret::Secret;

/// How often servers and processes are looked at.
const LOOK: Duration = Duration::from_millis(500);
/// The file in a data folder that holds what signs its tokens.
const SECRET_FILE: &str = "jwt.secret";

pub fn run(args: &UpArgs) -> Result<ExitCode, Failure> {
    args.infra.check().map_err(|why| Failure::invalid(format!("error: {why}")))?;
    if let (Infra::Embedded, Some(folder)) =
        (args.infra.infra, args.data.as_deref().filter(|dir| stands_on_servers(dir)))
    {
        let folder = folder.display();
        let why =
            format!("error: {folder} is of a shop on private servers: add --infra local, or choose another folder");
        return Err(Failure::invalid(why));
    }
    let admin = match args.infra.infra {
        Infra::Embedded | Infra::Local => Admin::from(&args.admin),
        Infra::External => args.admin.chosen()?,
    };
    let settings = admin.known_to(settings(args)?);
    let temporary = match &args.data {
        Some(_) => None,
        None => {
            Some(tempfile::tempdir().map_err(|error| Failure::shop(format!("error: no temporary folder: {error}")))?)
        }
    };
    let folder = match (&args.data, &temporary) {
        (Some(folder), _) => folder.clone(),
        (None, Some(temporary)) => temporary.path().to_owned(),
        (None, None) => return Err(Failure::shop("error: no folder")),
    };
    fs::create_dir_all(&folder).map_err(|error| Failure::invalid(format!("error: {}: {error}", folder.display())))?;
    let secret = match &args.data {
        Some(folder) => kept_secret(folder),
        None => Secret::fresh().map_err(|why| format!("error: {why}")),
    };
    let plan = Plan {
        settings,
        folder,
        listen: args.listen,
        seed: None,
        secret: secret.map_err(Failure::shop)?,
        chaos: args.chaos,
        crash: args.crash_at.clone(),
        servers: None,
        processes: args.infra.processes,
        instruments: Instruments::On,
    };
    runtime()?.block_on(until_stopped(plan, args))
}

async fn until_stopped(mut plan: Plan, args: &UpArgs) -> Result<ExitCode, Failure> {
    let mut signals = Signals::listen()?;
    let failed = |why: String| Failure::shop(format!("error: {why}"));
    let preparing = async { Ground::prepare(&args.infra, args.data.as_deref()).await.map_err(failed) };
    let ground = signals.unless_asked(preparing).await?;
    plan.servers = ground.servers();
    let putting_up = async { Shop::put_up(plan).await.map_err(|error| failed(error.to_string())) };
    let shop = signals.unless_asked(putting_up).await;
    let shop = shop.map_err(|why| if why.code == ExitCode::Stopped { why } else { why.after(&ground.dead()) })?;
    let gateway = &shop.surroundings().gateway;
    say(format_args!("the shop is up (in {} ms): http://{gateway}/api/v1", shop.started_in().as_millis()));
    if let Ground::Local { private, .. } = &ground {
        private.with(|servers| {
            for server in [&servers.postgres, &servers.nats, &servers.redis] {
                say(format_args!("  {:<12} {}", server.name(), server.address()));
            }
        });
    }
    match (args.infra.infra, &args.data) {
        (Infra::External, _) => say("data stays on the servers"),
        (_, Some(folder)) => say(format_args!("data stays in {}", folder.display())),
        (_, None) => say("data goes when it stops; keep it with --data DIR"),
    }
    for (role, address) in shop.addresses() {
        let ops = shop.surroundings().ops.get(role).map(String::as_str).unwrap_or_default();
        let protocol = if *role == gateway::ROLE { "http" } else { "grpc" };
        say(format_args!("  {role:<12} {protocol} {address:<22} http://{ops}/metrics"));
    }
    say(format_args!("fill it with: shopctl seed --target http://{gateway}     stop it with Ctrl-C"));
    let mut deaths = Deaths::of(&ground, &shop);
    let mut look = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            biased;
            _ = signals.next() => break,
            _ = look.tick() => deaths.news().iter().for_each(|why| complain(why)),
        }
    }
    let whole = deaths.all().is_empty();
    say("draining");
    shop.stop();
    Ok(if whole { ExitCode::Kept } else { ExitCode::ShopFailed })
}

/// Nothing is started again, but whoever looks at standard error knows why the shop answers 503.
fn complain(why: &str) {
    let _ = writeln!(std::io::stderr(), "error: {why}");
}

fn settings(args: &UpArgs) -> Result<BTreeMap<String, String>, Failure> {
    let known = scenario::known();
    let mut settings = BTreeMap::new();
    for one in &args.set {
        if !known.names.contains(&one.path) {
            let near = known
                .names
                .iter()
                .max_by(|a, b| strsim::jaro_winkler(a, &one.path).total_cmp(&strsim::jaro_winkler(b, &one.path)));
            let near = near.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default();
            return Err(Failure::invalid(format!("error: --set {}: there is no such setting{near}", one.path)));
        }
        (known.check)(&one.path, &one.value)
            .map_err(|why| Failure::invalid(format!("error: --set {}={}: {why}", one.path, one.value)))?;
        settings.insert(one.path.clone(), one.value.clone());
    }
    Ok(settings)
}

/// The secret of this folder, made on first use and readable by its owner alone, so that tokens
/// outlive a restart.
fn kept_secret(folder: &Path) -> Result<Secret, String> {
    let path = folder.join(SECRET_FILE);
    let named = |error: &dyn std::fmt::Display| format!("error: {}: {error}", path.display());
    match fs::metadata(&path) {
        Ok(_) => Ok(Secret::File(path)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let mut secret = [0; 32];
            let seeds = Seeds::from_entropy().map_err(|error| named(&error))?;
            seeds.stream("jwt-secret").fill_bytes(&mut secret);
            // Renamed into place when it is whole: a kill in between leaves no half of it.
            let draft = folder.join(format!("{SECRET_FILE}.new"));
            let mut file = fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&draft)
                .map_err(|error| named(&error))?;
            file.write_all(&secret).and_then(|()| file.sync_all()).map_err(|error| named(&error))?;
            fs::rename(&draft, &path).map_err(|error| named(&error))?;
            Ok(Secret::File(path))
        }
        Err(error) => Err(named(&error)),
    }
}
