//! `shopctl serve ROLE`: from its start to its end.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

use store::Servers;

use crate::harness::PATIENCE;
use crate::{SECRET, soon};

/// `shopctl serve acquirer`, which needs PostgreSQL alone.
fn acquirer(servers: &Servers) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shopctl"));
    command.args(["serve", "acquirer", "--namespace", &servers.namespace]);
    command
        .env("LISTEN", "127.0.0.1:0")
        .env("OPS_LISTEN", "127.0.0.1:0")
        .env("DATABASE_URL", &servers.postgres)
        .env("JWT_SECRET", SECRET)
        .env("SHOPCTL_LOG", "error");
    command
}

/// A role that is ready, and killed when the test ends, however it ends.
struct Serving {
    child: Child,
    out: BufReader<ChildStdout>,
    ops: SocketAddr,
}

impl Serving {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        assert!(line.starts_with("acquirer is ready: grpc://127.0.0.1:"), "{line}");
        let ops = line.trim().rsplit_once("http://").unwrap().1.trim_end_matches("/metrics").parse().unwrap();
        Self { child, out, ops }
    }

    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.ops).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn ended(mut self) -> ExitStatus {
        let status = soon(PATIENCE, || self.child.try_wait().unwrap());
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "", "it says one line when it is ready, and no more");
        status
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The one line that it says before it ends with that code.
#[track_caller]
fn refused(code: i32, command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(said.starts_with("error: serve acquirer: ") && said.lines().count() == 1, "{said}");
    said
}

#[test]
fn a_role_serves_until_it_is_terminated_and_leaves_in_good_order() {
    let borrowed = servers::for_test().unwrap();
    let serving = Serving::start(acquirer(&borrowed.connections).arg("--create"));
    assert!(serving.get("/readyz").starts_with("HTTP/1.1 200"));
    assert!(serving.get("/metrics").contains("# EOF"));
    assert!(serving.get("/chaos/faults").starts_with("HTTP/1.1 404"), "without --chaos there is no such thing");
    let pid = serving.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert_eq!(serving.ended().code(), Some(0));

    let again = Serving::start(acquirer(&borrowed.connections).arg("--chaos"));
    assert!(again.get("/chaos/faults").starts_with("HTTP/1.1 401"), "what is there needs a token");
}

#[test]
fn a_role_whose_starter_is_gone_stops() {
    let borrowed = servers::for_test().unwrap();
    let mut command = acquirer(&borrowed.connections);
    let mut serving = Serving::start(command.args(["--create", "--until-eof"]).stdin(Stdio::piped()));
    serving.child.stdin.as_mut().unwrap().write_all(b"still here\n").unwrap();
    assert!(serving.get("/healthz").starts_with("HTTP/1.1 200"));
    drop(serving.child.stdin.take());
    assert_eq!(serving.ended().code(), Some(0));
    let said = refused(104, command.stdin(Stdio::null()));
    assert!(said.contains("--until-eof"), "{said}");
}

#[test]
fn a_missing_database_is_created_only_when_that_is_asked_for() {
    let borrowed = servers::for_test().unwrap();
    let said = refused(115, &mut acquirer(&borrowed.connections));
    let database = borrowed.connections.database("acquirer_db");
    assert!(said.contains(&database) && said.contains("--create"), "{said}");
    drop(Serving::start(acquirer(&borrowed.connections).env("SHOP_CREATE", "true")));
    drop(Serving::start(&mut acquirer(&borrowed.connections)));
}

#[test]
fn a_refused_login_is_one_line_that_does_not_repeat_the_password() {
    let borrowed = servers::for_test().unwrap();
    let address = borrowed.connections.postgres.rsplit_once('@').unwrap().1;
    let url = format!("postgres://shop:hunter2@{address}");
    let said = refused(115, acquirer(&borrowed.connections).env("DATABASE_URL", url));
    assert!(said.contains("authentication failed") && said.contains(address), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
}

#[test]
fn an_address_in_use_is_named() {
    let borrowed = servers::for_test().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let said = refused(115, acquirer(&borrowed.connections).args(["--create", "--ops", &address]));
    assert!(said.contains(&address) && said.contains("--ops"), "{said}");
}
