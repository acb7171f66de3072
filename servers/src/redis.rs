//! Redis without persistence: what it holds can be had again from elsewhere.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;

use crate::binaries::Binaries;
use crate::server::{Recipe, Server};
use crate::{ServerError, secret};

pub(crate) fn prepare(binaries: &Binaries, folder: &Path) -> Result<Server, ServerError> {
    fs::create_dir_all(folder).map_err(|error| ServerError::at(folder, &error))?;
    let (password, address) = secret::kept(folder)?;
    let config = folder.join("redis.conf");
    let text = format!(
        "bind 127.0.0.1\nport {}\nrequirepass {password}\nsave \"\"\nappendonly no\ndaemonize no\n\
         dir \"{}\"\nmaxmemory 256mb\nmaxmemory-policy volatile-ttl\n",
        address.port(),
        folder.display()
    );
    secret::write(&config, &text)?;
    let login = format!("AUTH {password}\r\nPING\r\n");
    Ok(Server::new(Recipe {
        name: "redis",
        program: binaries.redis_server.clone(),
        arguments: vec![config.display().to_string()],
        folder: folder.to_owned(),
        address,
        url: format!("redis://:{password}@{address}"),
        stop_signal: Signal::TERM,
        is_ready: Box::new(move || answers(address, &login)),
    }))
}

fn answers(address: SocketAddr, login: &str) -> bool {
    let Ok(mut socket) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) else { return false };
    let expected = b"+OK\r\n+PONG\r\n";
    let mut answer = [0; 12];
    socket.set_read_timeout(Some(Duration::from_millis(200))).is_ok()
        && socket.write_all(login.as_bytes()).is_ok()
        && socket.read_exact(&mut answer).is_ok()
        && &answer == expected
}
