//! NATS with JetStream, its store in the folder.

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

const NAME: &str = "nats";

pub(crate) fn prepare(binaries: &Binaries, place: &Place) -> Result<Server, ServerError> {
    let folder = place.path.join(NAME);
    fs::create_dir_all(&folder).map_err(|error| failed(&folder, &error))?;
    let token = secret::kept(&place.path, NAME)?;
    let (program, log) = (binaries.nats_server.clone(), place.log(NAME));
    Server::new(
        place.give_up.clone(),
        Box::new(move |address| {
            let config = folder.join("nats.conf");
            // Relative to its working directory. No port but this one is opened.
            let text = format!(
                "listen: \"{address}\"\nserver_name: shopctl\nauthorization {{ token: \"{token}\" }}\n\
             jetstream {{ store_dir: \"store\" }}\nmax_payload: 1MB\n"
            );
            secret::write(&config, &text)?;
            let login = format!("CONNECT {{\"verbose\":false,\"auth_token\":\"{token}\"}}\r\nPING\r\n");
            Ok(Recipe {
                name: NAME,
                program: program.clone(),
                called: None,
                arguments: vec!["--config".into(), config.into_os_string()],
                input: None,
                folder: folder.clone(),
                log: log.clone(),
                address,
                url: format!("nats://{token}@{address}"),
                // Writes out what it holds in memory.
                stop: Signal::TERM,
                quit: Signal::TERM,
                before_start: Box::new(|| ()),
                is_ready: Box::new(move |_| answers(address, &login)),
            })
        }),
    )
}

/// A NATS server speaks first; it answers a ping once the login has passed.
fn answers(address: SocketAddr, login: &str) -> bool {
    let ask = || {
        let mut socket = TcpStream::connect_timeout(&address, Duration::from_millis(200))?;
        socket.set_read_timeout(Some(Duration::from_millis(200)))?;
        socket.write_all(login.as_bytes())?;
        let (mut said, mut buffer) = (Vec::new(), [0; 4096]);
        while !said.ends_with(b"PONG\r\n") && said.len() < 64 << 10 {
            match socket.read(&mut buffer)? {
                0 => break,
                read => said.extend_from_slice(buffer.get(..read).unwrap_or_default()),
            }
        }
        Ok::<_, std::io::Error>(said.starts_with(b"INFO ") && said.ends_with(b"PONG\r\n"))
    };
    ask().unwrap_or(false)
}
