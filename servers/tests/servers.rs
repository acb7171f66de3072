//! The three servers, really started: what they do for their owner, and that they go when it goes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use servers::{LocalServers, Server};

/// How long a test waits for what has to happen: longer than a slow machine takes that is busy with other things.
/// A test that passes does not wait for the end of it.
const PATIENCE: Duration = Duration::from_secs(120);

/// A condition that other processes bring about.
#[expect(clippy::disallowed_methods, reason = "processes live in real time")]
fn eventually(what: &str, mut met: impl FnMut() -> bool) {
    let began = std::time::Instant::now();
    while !met() {
        assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn pids(servers: &LocalServers) -> Vec<u32> {
    [&servers.postgres, &servers.nats, &servers.redis].into_iter().flat_map(Server::processes).collect()
}

/// Whether it runs; one that only waits to be counted does not.
fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

/// What Redis answers to commands, after the login.
fn redis(server: &Server, commands: &str) -> String {
    let password = server.url().split_once("redis://:").unwrap().1.split_once('@').unwrap().0;
    let mut socket = TcpStream::connect(server.address()).unwrap();
    socket.write_all(format!("AUTH {password}\r\n{commands}\r\nQUIT\r\n").as_bytes()).unwrap();
    let mut said = String::new();
    socket.read_to_string(&mut said).unwrap();
    said
}

/// The number that PostgreSQL answers.
fn postgres(server: &Server, sql: &'static str) -> i32 {
    use sqlx::{Connection as _, Row as _};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut connection = sqlx::PgConnection::connect(&format!("{}/postgres", server.url())).await.unwrap();
        let row = sqlx::raw_sql(sql).fetch_one(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        row.get(0)
    })
}

/// Another process that starts servers and then only waits: this program again, told to be `owner`.
struct Owner {
    process: Child,
    folder: PathBuf,
    pids: Vec<u32>,
}

const KEPT: &str = "SERVERS_TEST_KEPT";
const OWNER: &str = "SERVERS_TEST_OWNER";
const SECRETIVE: &str = "SERVERS_TEST_SECRETIVE";

/// Does nothing, unless it is the process that other tests start and kill.
#[test]
fn owner() {
    if std::env::var_os(OWNER).is_none() {
        return;
    }
    if std::env::var_os(SECRETIVE).is_some() {
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    }
    let servers = match std::env::var_os(KEPT) {
        Some(folder) => LocalServers::start(Path::new(&folder)),
        None => LocalServers::throwaway(),
    };
    let servers = servers.unwrap();
    let pids: Vec<String> = pids(&servers).iter().map(u32::to_string).collect();
    println!("\nowns {} {}", pids.join(","), servers.folder().display());
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

impl Owner {
    /// With throwaway folders in `temporary`, where no other test sweeps.
    fn start(temporary: &tempfile::TempDir) -> Self {
        Self::start_with(&[("TMPDIR", temporary.path())])
    }

    fn start_on(kept: &Path) -> Self {
        Self::start_with(&[(KEPT, kept)])
    }

    fn start_with(variables: &[(&str, &Path)]) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "owner", "--nocapture"]).env(OWNER, "1").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.envs(variables.iter().copied()).spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let line = lines.map(Result::unwrap).find(|line| line.starts_with("owns ")).unwrap();
        let (pids, folder) = line.trim_start_matches("owns ").split_once(' ').unwrap();
        let pids = pids.split(',').map(|pid| pid.parse().unwrap()).collect();
        Self { process, folder: folder.into(), pids }
    }

    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    fn its_servers_run(&self) -> bool {
        self.pids.iter().any(|pid| runs(*pid))
    }

    fn kill_its_guardian(&self) {
        let guardian = self.guardian().unwrap();
        assert!(Command::new("kill").args(["-KILL", &guardian.to_string()]).status().unwrap().success());
        eventually("the guardian is gone", || !runs(guardian));
    }

    /// The process that watches over the folder.
    fn guardian(&self) -> Option<u32> {
        let mark = self.folder.join("guardian.sh").display().to_string();
        let pids =
            std::fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.into_iter().find(|pid: &u32| {
            std::fs::read(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| String::from_utf8_lossy(&line).contains(&mark))
        })
    }
}

#[test]
fn the_three_start_soon_and_leave_nothing_behind() {
    let servers = LocalServers::throwaway().unwrap();
    let folder = servers.folder().to_owned();
    let pids = pids(&servers);
    assert!(pids.len() > 5, "PostgreSQL has children: {pids:?}");
    assert!(servers.started_in().iter().all(|(_, took)| !took.is_zero()));
    println!("started in {:?}", servers.started_in());
    drop(servers);
    assert!(!folder.exists());
    assert!(!pids.into_iter().any(runs));
}

#[test]
fn a_server_comes_back_on_the_same_port_with_what_it_kept() {
    let mut servers = LocalServers::throwaway().unwrap();
    postgres(&servers.postgres, "CREATE TABLE kept AS SELECT 17 AS number; SELECT 0");
    for server in [&mut servers.postgres, &mut servers.nats, &mut servers.redis] {
        let (url, before) = (server.url().to_owned(), server.pid());
        server.restart().unwrap();
        assert!(server.url() == url && server.pid() != before);
        let processes = server.processes();
        server.kill();
        assert!(!processes.into_iter().any(runs), "{} has left children", server.name());
        assert!(server.pid().is_none() && TcpStream::connect(server.address()).is_err());
        server.start().unwrap();
        assert_eq!(server.url(), url);
        server.start().unwrap();
    }
    assert_eq!(postgres(&servers.postgres, "SELECT number FROM kept"), 17);
}

#[test]
fn a_paused_server_keeps_its_connections_and_answers_again_when_it_goes_on() {
    let mut servers = LocalServers::throwaway().unwrap();
    servers.redis.pause();
    let mut socket = TcpStream::connect(servers.redis.address()).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    socket.write_all(b"PING\r\n").unwrap();
    assert!(socket.read(&mut [0; 64]).is_err(), "nobody answers");
    servers.redis.resume();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    assert!(socket.read(&mut [0; 64]).unwrap() > 0);
    // One that is paused can be stopped and dropped all the same.
    servers.postgres.pause();
    servers.nats.pause();
}

#[test]
fn a_server_that_ends_by_itself_is_noticed() {
    let mut servers = LocalServers::throwaway().unwrap();
    assert!(servers.ended().is_none());
    redis(&servers.redis, "SHUTDOWN NOSAVE");
    let mut why = None;
    eventually("Redis has ended", || {
        why = servers.ended();
        why.is_some()
    });
    let why = why.unwrap().to_string();
    assert!(why.starts_with("redis ended (exit status: 0)") && why.contains("redis") && !why.contains('\n'), "{why}");
    servers.redis.start().unwrap();
}

#[test]
fn no_secret_is_on_a_command_line_in_an_environment_or_open_to_others() {
    use std::os::unix::fs::PermissionsExt;
    let servers = LocalServers::throwaway().unwrap();
    let secret = |server: &Server| {
        let url = server.url();
        let secret = url.split_once("://").unwrap().1.split_once('@').unwrap().0;
        secret.rsplit(':').next().unwrap().to_owned()
    };
    let secrets = [&servers.postgres, &servers.nats, &servers.redis].map(secret);
    let holds = |bytes: &[u8]| secrets.iter().any(|secret| String::from_utf8_lossy(bytes).contains(secret.as_str()));
    for pid in pids(&servers) {
        for file in ["cmdline", "environ"] {
            assert!(!holds(&std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default()), "{pid} {file}");
        }
    }
    let mut found = 0;
    let mut folders = vec![servers.folder().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if holds(&std::fs::read(&path).unwrap_or_default()) {
                found += 1;
                assert!(path.extension().is_none_or(|extension| extension != "log"), "{}", path.display());
                assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{}", path.display());
            }
        }
    }
    assert!(found >= 5, "three secrets and two configurations, found {found}");
}

#[test]
fn the_servers_of_a_killed_process_go_at_once() {
    let temporary = folder();
    let mut owner = Owner::start(&temporary);
    assert!(owner.its_servers_run() && owner.folder.starts_with(temporary.path()));
    owner.kill();
    eventually("everything is gone", || !owner.its_servers_run() && !owner.folder.exists());
    eventually("the guardian is gone", || owner.guardian().is_none());
}

#[test]
fn servers_that_not_even_a_guardian_ended_go_when_others_start() {
    let temporary = folder();
    let mut owner = Owner::start(&temporary);
    owner.kill_its_guardian();
    owner.kill();
    assert!(owner.its_servers_run(), "nobody is there to end them");
    // Two at once.
    let others: Vec<Owner> = std::thread::scope(|scope| {
        let threads = [(); 2].map(|()| scope.spawn(|| Owner::start(&temporary)));
        threads.map(|thread| thread.join().unwrap()).into()
    });
    eventually("everything is gone", || !owner.its_servers_run() && !owner.folder.exists());
    for mut other in others {
        assert!(other.pids.iter().all(|pid| runs(*pid)) && other.folder.exists(), "what has an owner stays");
        other.kill();
        eventually("everything is gone", || !other.its_servers_run() && !other.folder.exists());
    }
}

#[test]
fn an_onlooker_is_no_server() {
    let temporary = folder();
    let mut owner = Owner::start(&temporary);
    let mut onlooker = Command::new("tail");
    let log = owner.folder.join("postgres.log");
    let mut onlooker = onlooker.arg("-f").arg(log).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    owner.kill();
    eventually("everything is gone", || !owner.its_servers_run() && !owner.folder.exists());
    assert!(onlooker.try_wait().unwrap().is_none());
    onlooker.kill().unwrap();
    onlooker.wait().unwrap();
}

#[test]
fn several_start_at_once() {
    let started: Vec<LocalServers> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..3).map(|_| scope.spawn(LocalServers::throwaway)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap().unwrap()).collect()
    });
    let mut urls: Vec<&str> = started.iter().map(|servers| servers.postgres.url()).collect();
    urls.dedup();
    assert_eq!(urls.len(), 3);
}

/// A folder that the user `postgres` can reach.
fn folder() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o711)).unwrap();
    folder
}

#[test]
fn a_kept_folder_has_one_owner_and_is_taken_up_again_with_its_secrets() {
    let folder = folder();
    let kept = folder.path().join("deep").join("kept");
    let first = LocalServers::start(&kept).unwrap();
    let said = LocalServers::start(&kept).err().unwrap().to_string();
    assert_eq!(said, format!("{}: its servers are running; stop them first", kept.display()));
    let password = |servers: &LocalServers| servers.postgres.url().split('@').next().unwrap().to_owned();
    let before = password(&first);
    postgres(&first.postgres, "CREATE TABLE kept AS SELECT 17 AS number; SELECT 0");
    let pids = pids(&first);
    drop(first);
    assert!(!pids.into_iter().any(runs) && kept.exists());
    let second = LocalServers::start(&kept).unwrap();
    assert_eq!(password(&second), before);
    assert_eq!(postgres(&second.postgres, "SELECT number FROM kept"), 17);
}

#[test]
fn a_folder_whose_name_is_a_pattern_is_a_folder_like_any_other() {
    let folder = folder();
    // To Redis, which expands it as it stands, this is `kept`: a configuration that is not there.
    let servers = LocalServers::start(&folder.path().join("kep[t]")).unwrap();
    assert!(redis(&servers.redis, "PING").contains("+PONG"));
}

#[test]
fn servers_start_for_somebody_who_hides_new_files_from_everybody() {
    let folder = folder();
    let kept = folder.path().join("kept");
    let owner = Owner::start_with(&[(KEPT, kept.as_path()), (SECRETIVE, Path::new("1"))]);
    assert!(owner.its_servers_run());
}

#[test]
fn the_data_of_a_killed_process_stay_and_can_be_taken_up_at_once() {
    let folder = folder();
    let kept = folder.path().join("kept");
    let mut owner = Owner::start_on(&kept);
    owner.kill();
    // Its guardian may be at work, or not yet.
    let servers = LocalServers::start(&kept).unwrap();
    assert!(!owner.its_servers_run());
    drop(servers);
    let mut owner = Owner::start_on(&kept);
    owner.kill_its_guardian();
    owner.kill();
    assert!(owner.its_servers_run(), "nobody is there to end them");
    let servers = LocalServers::start(&kept).unwrap();
    assert!(!owner.its_servers_run());
    assert!(pids(&servers).into_iter().all(runs), "an old guardian has not ended the new servers");
}

#[test]
fn data_of_another_version_or_without_their_password_are_refused_in_one_line() {
    let folder = folder();
    let kept = folder.path().join("kept");
    drop(LocalServers::start(&kept).unwrap());
    std::fs::write(kept.join("postgres/data/PG_VERSION"), "9\n").unwrap();
    let said = LocalServers::start(&kept).err().unwrap().to_string();
    assert!(said.contains("made by PostgreSQL 9") && said.ends_with("choose another folder"), "{said}");
    std::fs::remove_file(kept.join("postgres.secret")).unwrap();
    let said = LocalServers::start(&kept).err().unwrap().to_string();
    assert!(said.contains("its password") && !said.contains('\n'), "{said}");
}

#[test]
fn a_server_that_does_not_start_says_why_and_where_its_log_is() {
    let folder = folder();
    let kept = folder.path().join("kept");
    drop(LocalServers::start(&kept).unwrap());
    std::fs::write(kept.join("postgres/data/postgresql.conf"), "no_such_setting = 1\n").unwrap();
    let said = LocalServers::start(&kept).err().unwrap().to_string();
    assert!(said.contains("postgresql.conf") && said.contains("kept/postgres.log") && !said.contains('\n'), "{said}");
}

#[test]
fn tests_of_a_process_share_servers_and_have_a_namespace_each() {
    let (first, second) = (servers::for_test().unwrap(), servers::for_test().unwrap());
    assert_eq!(first.servers.folder(), second.servers.folder());
    assert_ne!(first.connections.namespace, second.connections.namespace);
}
