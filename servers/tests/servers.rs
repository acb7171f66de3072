//! The three servers, really started.

#[test]
fn the_three_start_and_stop() {
    let servers = servers::LocalServers::throwaway().unwrap();
    let folder = servers.folder().to_owned();
    let pids = [servers.postgres.pid(), servers.nats.pid(), servers.redis.pid()].map(Option::unwrap);
    drop(servers);
    assert!(!folder.exists());
    for pid in pids {
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    }
}
