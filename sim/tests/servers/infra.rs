//! `shopctl infra`: private servers for as long as it runs.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use world::infra::external;

/// A running `shopctl infra` and what it printed for a shell.
struct Infra {
    child: Child,
    urls: [String; 3],
}

impl Infra {
    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_shopctl"))
            .arg("infra")
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let urls = ["DATABASE_URL", "NATS_URL", "REDIS_URL"].map(|name| {
            let line = lines.next().unwrap();
            let value = line.strip_prefix(&format!("export {name}='")).unwrap();
            value.strip_suffix('\'').unwrap().to_owned()
        });
        Self { child, urls }
    }

    fn password(&self) -> &str {
        self.urls[0].split('@').next().unwrap()
    }

    /// As Ctrl-C does, and waits.
    fn interrupt(mut self) {
        assert!(Command::new("kill").args(["-INT", &self.child.id().to_string()]).status().unwrap().success());
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Infra {
    fn drop(&mut self) {
        // One that was interrupted has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn three_lines_for_a_shell_name_servers_that_go_with_ctrl_c() {
    let infra = Infra::start(&[]);
    let [postgres, nats, redis] = infra.urls.clone();
    external::postgres(&postgres).await.unwrap();
    external::nats(&nats).await.unwrap();
    external::redis(&redis).await.unwrap();
    infra.interrupt();
    assert!(external::postgres(&postgres).await.unwrap_err().contains("nobody listens"));
    assert!(external::nats(&nats).await.unwrap_err().contains("nobody listens"));
    assert!(external::redis(&redis).await.unwrap_err().contains("nobody listens"));
}

#[tokio::test]
async fn a_folder_of_ones_own_is_taken_up_again() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o711)).unwrap();
    let data = folder.path().join("servers");
    let arguments = ["--data", data.to_str().unwrap()];
    let first = Infra::start(&arguments);
    let password = first.password().to_owned();
    first.interrupt();
    assert!(Path::new(&data).exists());
    let second = Infra::start(&arguments);
    assert_eq!(second.password(), password);
    second.interrupt();
}
