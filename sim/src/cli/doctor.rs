//! `shopctl doctor`.

use std::net::{Ipv4Addr, SocketAddr};

use chassis::net::BoundPort;
use servers::binaries::{self, Program};

use super::{runtime, say};
use experiment::report::exit::{ExitCode, Failure};
use shop::machine;
use world::infra::external::{self, DATABASE_URL, NATS_URL, REDIS_URL, Variable};

/// Something that a mode needs: how it is called, and what was found, or what to do.
struct Row {
    name: &'static str,
    found: Result<String, String>,
}

/// A variable of the environment: nothing if it is not set.
struct Server {
    variable: Variable,
    answer: Option<Result<String, String>>,
}

/// What was found on this machine.
struct Findings {
    own: Vec<Row>,
    programs: Vec<Row>,
    environment: [Server; 3],
}

/// The embedded mode alone decides the exit code: everything that it needs is in this binary but a
/// folder and a port.
pub fn run() -> Result<ExitCode, Failure> {
    say(format_args!("shopctl {}", env!("CARGO_PKG_VERSION")));
    say(format_args!("machine         {}", machine::machine()));
    say(format_args!("SQLite          {} (built in)", rusqlite::version()));
    let findings = Findings { own: own(), programs: programs(), environment: runtime()?.block_on(environment()) };
    for line in told(&findings) {
        say(line);
    }
    if good(&findings.own) { Ok(ExitCode::Kept) } else { Ok(ExitCode::ShopFailed) }
}

fn own() -> Vec<Row> {
    let folder = tempfile::tempdir().map(|folder| format!("{} can be written", folder.path().display()));
    let port = BoundPort::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    vec![
        Row { name: "folder", found: folder.map_err(|error| error.to_string()) },
        Row {
            name: "loopback",
            found: port.map(|_| "127.0.0.1 has free ports".to_owned()).map_err(|error| error.to_string()),
        },
    ]
}

fn programs() -> Vec<Row> {
    let row = |program: Program| {
        let found = program.check().map(|(path, version)| format!("{} ({})", version.text, path.display()));
        Row { name: program.name, found: found.map_err(|error| error.to_string()) }
    };
    let mut rows: Vec<Row> = binaries::needed().into_iter().map(row).collect();
    let ground = servers::throwaway_ground().map(|folder| format!("{} can be used", folder.display()));
    rows.push(Row { name: "their folder", found: ground.map_err(|error| error.to_string()) });
    rows
}

async fn environment() -> [Server; 3] {
    async fn asked(
        url: Option<String>,
        ask: impl AsyncFnOnce(&str) -> Result<String, String>,
    ) -> Option<Result<String, String>> {
        Some(ask(&url?).await)
    }
    let (postgres, nats, redis) = tokio::join!(
        asked(DATABASE_URL.value(), external::postgres),
        asked(NATS_URL.value(), external::nats),
        asked(REDIS_URL.value(), external::redis),
    );
    [(DATABASE_URL, postgres), (NATS_URL, nats), (REDIS_URL, redis)]
        .map(|(variable, answer)| Server { variable, answer })
}

fn good(rows: &[Row]) -> bool {
    rows.iter().all(|row| row.found.is_ok())
}

/// What is there, and then what that means for each mode.
fn told(findings: &Findings) -> Vec<String> {
    let row = |row: &Row| match &row.found {
        Ok(text) => format!("{:<15} {text}", row.name),
        Err(why) if why.starts_with("not found") => format!("{:<15} MISSING: {why}", row.name),
        Err(why) => format!("{:<15} UNUSABLE: {why}", row.name),
    };
    let mut lines: Vec<String> = findings.own.iter().chain(&findings.programs).map(row).collect();
    lines.extend(findings.environment.iter().map(server));
    let embedded = if good(&findings.own) { "ready: needs nothing else" } else { "NOT READY, see above" };
    let local = match good(&findings.programs) {
        true => "ready: starts private servers from these programs",
        false => "NOT READY, see above: starts private servers, PostgreSQL, NATS and Redis",
    };
    lines.extend([
        String::new(),
        format!("run, up           {embedded}"),
        "simulate          ready: needs nothing at all".to_owned(),
        format!("--infra local     {local}"),
        format!("--infra external  {}", external_mode(&findings.environment)),
    ]);
    lines
}

fn server(server: &Server) -> String {
    let name = server.variable.name;
    match &server.answer {
        None => format!("{name:<15} not set"),
        Some(Ok(version)) => format!("{name:<15} set; version {version} answers and takes the login"),
        // The line names the variable again.
        Some(Err(why)) => format!("{name:<15} set, but WRONG: {}", why.trim_start_matches(&format!("{name}: "))),
    }
}

fn external_mode(environment: &[Server; 3]) -> String {
    let unset: Vec<&Server> = environment.iter().filter(|server| server.answer.is_none()).collect();
    if let [first, ..] = unset.as_slice() {
        let names: Vec<&str> = unset.iter().map(|server| server.variable.name).collect();
        let (name, example) = (first.variable.name, first.variable.example);
        return format!("not set up: set {}; an example: {name}={example}", names.join(", "));
    }
    let answers = environment.iter().all(|server| matches!(server.answer, Some(Ok(_))));
    if answers { "ready: uses the servers that the variables name".into() } else { "NOT READY, see above".into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings() -> Findings {
        let row = |name, text: &str| Row { name, found: Ok(text.to_owned()) };
        let answers = |variable| Server { variable, answer: Some(Ok("1.2".into())) };
        Findings {
            own: vec![row("folder", "/tmp can be written"), row("loopback", "127.0.0.1 has free ports")],
            programs: vec![row("nats-server", "2.9.10 (/usr/sbin/nats-server)")],
            environment: [DATABASE_URL, NATS_URL, REDIS_URL].map(answers),
        }
    }

    /// The line that begins with that.
    fn line(findings: &Findings, start: &str) -> String {
        told(findings).into_iter().find(|line| line.starts_with(start)).unwrap()
    }

    #[test]
    fn a_machine_that_has_everything_is_ready_for_every_mode() {
        let findings = findings();
        for mode in ["run, up", "simulate", "--infra local", "--infra external"] {
            assert!(line(&findings, mode).contains(" ready: "), "{}", line(&findings, mode));
        }
        assert_eq!(line(&findings, "nats-server"), "nats-server     2.9.10 (/usr/sbin/nats-server)");
        assert_eq!(line(&findings, "NATS_URL"), "NATS_URL        set; version 1.2 answers and takes the login");
    }

    #[test]
    fn a_missing_program_concerns_the_private_servers_only() {
        let mut findings = findings();
        findings.programs[0].found = Err("not found; on Debian: apt-get install nats-server".into());
        assert!(line(&findings, "nats-server").ends_with("MISSING: not found; on Debian: apt-get install nats-server"));
        assert!(line(&findings, "--infra local").contains("NOT READY, see above"));
        for mode in ["run, up", "simulate", "--infra external"] {
            assert!(line(&findings, mode).contains(" ready: "), "{}", line(&findings, mode));
        }
    }

    #[test]
    fn variables_that_are_not_set_are_named_with_an_example() {
        let mut findings = findings();
        findings.environment[1].answer = None;
        findings.environment[2].answer = None;
        assert_eq!(line(&findings, "NATS_URL"), "NATS_URL        not set");
        assert_eq!(
            line(&findings, "--infra external"),
            "--infra external  not set up: set NATS_URL, REDIS_URL; an example: NATS_URL=nats://token@127.0.0.1:4222"
        );
    }

    #[test]
    fn a_server_that_will_not_do_says_why() {
        let mut findings = findings();
        findings.environment[2].answer = Some(Err("REDIS_URL: nobody listens on cache:6379".into()));
        assert_eq!(line(&findings, "REDIS_URL"), "REDIS_URL       set, but WRONG: nobody listens on cache:6379");
        assert!(line(&findings, "--infra external").ends_with("NOT READY, see above"));
    }

    #[test]
    fn without_a_folder_nothing_but_a_simulation_runs() {
        let mut findings = findings();
        findings.own[0].found = Err("no space left on device".into());
        assert!(line(&findings, "run, up").contains("NOT READY") && line(&findings, "simulate").contains("ready"));
    }
}
