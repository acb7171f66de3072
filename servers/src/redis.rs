//! Redis without persistence: what it holds can be had again from elsewhere.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use rustix::process::Signal;

use crate::binaries::Binaries;
use crate::failure::{ServerError, failed};
use crate::folder::Place;
use crate::secret;
use crate::server::{Recipe, Server};

const NAME: &str = "redis";

pub(crate) fn prepare(binaries: &Binaries, place: &Place) -> Result<Server, ServerError> {
    let folder = place.path.join(NAME);
    fs::create_dir_all(&folder).map_err(|error| failed(&folder, &error))?;
    let password = secret::kept(&place.path, NAME)?;
    let (program, log) = (binaries.redis_server.clone(), place.log(NAME));
    Server::new(
        place.give_up.clone(),
        Box::new(move |address| {
            let config = folder.join("redis.conf");
            let port = address.port();
            let text = format!(
                "bind 127.0.0.1\nport {port}\nrequirepass {password}\nsave \"\"\nappendonly no\ndaemonize no\n\
             maxmemory 256mb\nmaxmemory-policy volatile-ttl\n"
            );
            secret::write(&config, &text)?;
            let login = format!("AUTH {password}\r\nPING\r\n");
            Ok(Recipe {
                name: NAME,
                program: program.clone(),
                // It replaces its command line by this and the address: so that one still sees whose it is.
                called: Some(folder.join("redis-server")),
                // Redis takes the path of a configuration for a pattern. Where that matches nothing it would listen to
                // the world, and without a password.
                arguments: vec!["-".into()],
                input: Some(config),
                folder: folder.clone(),
                log: log.clone(),
                address,
                url: format!("redis://:{password}@{address}"),
                stop: Signal::TERM,
                quit: Signal::TERM,
                before_start: Box::new(|| ()),
                is_ready: Box::new(move |_| answers(address, &login)),
            })
        }),
    )
}

fn answers(address: SocketAddr, login: &str) -> bool {
    let ask = || {
        let mut socket = TcpStream::connect_timeout(&address, Duration::from_millis(200))?;
        socket.set_read_timeout(Some(Duration::from_millis(200)))?;
        socket.write_all(login.as_bytes())?;
        let mut answer = [0; 12];
        socket.read_exact(&mut answer)?;
        Ok::<_, std::io::Error>(&answer == b"+OK\r\n+PONG\r\n")
    };
    ask().unwrap_or(false)
}
