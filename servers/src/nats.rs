//! NATS with JetStream, its store in the folder.

use std::fs;
use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;

use crate::binaries::Binaries;
use crate::server::{Recipe, Server};
use crate::{ServerError, secret};

pub(crate) fn prepare(binaries: &Binaries, folder: &Path) -> Result<Server, ServerError> {
    fs::create_dir_all(folder).map_err(|error| ServerError::at(folder, &error))?;
    let (token, address) = secret::kept(folder)?;
    let config = folder.join("nats.conf");
    let text = format!(
        "listen: \"{address}\"\nserver_name: shopctl\nauthorization {{ token: \"{token}\" }}\n\
         jetstream {{ store_dir: \"{}\" }}\nmax_payload: 1MB\n",
        folder.join("store").display()
    );
    secret::write(&config, &text)?;
    Ok(Server::new(Recipe {
        name: "nats",
        program: binaries.nats_server.clone(),
        arguments: vec!["--config".into(), config.display().to_string()],
        folder: folder.to_owned(),
        address,
        url: format!("nats://{token}@{address}"),
        stop_signal: Signal::TERM,
        is_ready: Box::new(move || greets(address)),
    }))
}

/// A NATS server speaks first.
fn greets(address: SocketAddr) -> bool {
    let Ok(mut socket) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) else { return false };
    let mut greeting = [0; 5];
    socket.set_read_timeout(Some(Duration::from_millis(200))).is_ok()
        && socket.read_exact(&mut greeting).is_ok()
        && &greeting == b"INFO "
}
