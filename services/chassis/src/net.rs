//! Sockets, injected: the machine's own, or the simulator's.

use std::io;
use std::net::SocketAddr;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::hazard::Hazards;

/// A connected byte stream.
pub trait Socket: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Socket for T {}

/// Accepts connections.
#[async_trait]
pub trait Listener: Send + 'static {
    async fn accept(&mut self) -> io::Result<Box<dyn Socket>>;
}

/// Opens connections. `authority` is `host:port`.
#[async_trait]
pub trait Network: Send + Sync + 'static {
    async fn connect(&self, authority: &str) -> io::Result<Box<dyn Socket>>;

    /// What may befall whoever calls over this network.
    fn hazards(&self) -> Hazards {
        Hazards::default()
    }
}

/// The machine's own network.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemNetwork;

#[async_trait]
impl Network for SystemNetwork {
    #[expect(clippy::disallowed_methods, reason = "this adapter owns the machine's sockets")]
    async fn connect(&self, authority: &str) -> io::Result<Box<dyn Socket>> {
        let stream = tokio::net::TcpStream::connect(authority).await?;
        stream.set_nodelay(true)?;
        Ok(Box::new(stream))
    }
}

/// The machine's own network, of a role that something may befall.
#[derive(Debug, Clone)]
pub struct ExposedNetwork(pub Hazards);

#[async_trait]
impl Network for ExposedNetwork {
    async fn connect(&self, authority: &str) -> io::Result<Box<dyn Socket>> {
        SystemNetwork.connect(authority).await
    }

    fn hazards(&self) -> Hazards {
        self.0.clone()
    }
}

/// A bound port of the machine. It is bound before any runtime exists, so that every service can
/// be told every address before the first one starts.
#[derive(Debug)]
pub struct BoundPort {
    listener: std::net::TcpListener,
}

impl BoundPort {
    /// Port 0 asks for any free port.
    ///
    /// # Errors
    /// When the address is in use or not ours.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener })
    }

    /// # Errors
    /// When the operating system has forgotten the socket.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Hands the port to the runtime that this is called in.
    ///
    /// # Errors
    /// When called outside a runtime with IO.
    pub fn listen(self) -> io::Result<Box<dyn Listener>> {
        Ok(Box::new(SystemListener(tokio::net::TcpListener::from_std(self.listener)?)))
    }
}

struct SystemListener(tokio::net::TcpListener);

#[async_trait]
impl Listener for SystemListener {
    async fn accept(&mut self) -> io::Result<Box<dyn Socket>> {
        let (stream, _) = self.0.accept().await?;
        stream.set_nodelay(true)?;
        Ok(Box::new(stream))
    }
}
