//! Sockets between roles that die, stand still, and lose each other.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use async_trait::async_trait;
use chassis::hazard::Hazards;
use chassis::net::{Listener, Network, Socket};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::{Flags, Perils};
use shop::MAIN_PORT;
use shop::fault::vocabulary::Place;

/// The network as one role sees it.
pub(super) struct PerilousNetwork {
    pub perils: Perils,
    pub from: &'static str,
}

impl PerilousNetwork {
    /// What lies between here and there, if there is a link that has a name.
    ///
    /// # Errors
    /// When nobody can be reached there.
    fn way(&self, authority: &str) -> io::Result<Option<Way>> {
        let (host, port) = authority.rsplit_once(':').unwrap_or((authority, ""));
        let Some(to) = shop::ROLES.into_iter().find(|role| *role == host) else { return Ok(None) };
        let mut state = self.perils.lock();
        // The machine is there, the process is not.
        if state.life(to).is_some_and(|life| life.is_dead()) {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        if port != MAIN_PORT.to_string() {
            return Ok(None);
        }
        let place = Place::Link { from: self.from, to };
        if state.active.iter().any(|active| active.place == place && active.kind == "down") {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let mut expires = None;
        for active in state.active.iter_mut().filter(|active| active.place == place) {
            if active.kind == "reset_peer" {
                expires = Some(Box::pin(sleep(active.duration("after"))));
            }
        }
        let link = state.links.get(&(self.from, to));
        Ok(link.map(|link| Way { hole: link.hole.clone(), cut: Box::pin(link.cut.clone().cancelled_owned()), expires }))
    }

    fn end(&self, inner: turmoil::net::TcpStream, way: Option<Way>) -> Box<dyn Socket> {
        Box::new(self.perils.end(self.from, inner, way))
    }
}

impl Perils {
    fn end(&self, role: &'static str, inner: turmoil::net::TcpStream, way: Option<Way>) -> PerilousSocket {
        let flags = self.lock().life(role).map(|life| life.flags.clone()).unwrap_or_default();
        PerilousSocket { inner, perils: self.clone(), role, flags, way, resumed: None }
    }

    /// Waits while `role` stands still; for ever, if it is dead.
    pub(super) async fn awake(&self, role: &'static str) {
        loop {
            let standing = {
                let state = self.lock();
                match state.life(role) {
                    Some(life) if life.is_dead() => None,
                    Some(life) if life.flags.paused.load(Ordering::Relaxed) => Some(life.resumed.clone()),
                    _ => return,
                }
            };
            match standing {
                Some(resumed) => resumed.cancelled().await,
                None => std::future::pending().await,
            }
        }
    }
}

#[async_trait]
impl Network for PerilousNetwork {
    async fn connect(&self, authority: &str) -> io::Result<Box<dyn Socket>> {
        self.perils.awake(self.from).await;
        let way = self.way(authority)?;
        Ok(self.end(turmoil::net::TcpStream::connect(authority).await?, way))
    }

    fn hazards(&self) -> Hazards {
        self.perils.hazards(self.from)
    }
}

/// A listener of one role.
pub(super) struct PerilousListener {
    pub perils: Perils,
    pub role: &'static str,
    pub listener: turmoil::net::TcpListener,
}

#[async_trait]
impl Listener for PerilousListener {
    async fn accept(&mut self) -> io::Result<Box<dyn Socket>> {
        let (stream, _) = self.listener.accept().await?;
        self.perils.awake(self.role).await;
        Ok(Box::new(self.perils.end(self.role, stream, None)))
    }
}

/// What lies between the two ends of a connection, seen from the one that made it.
struct Way {
    /// Nothing comes through.
    hole: Arc<AtomicBool>,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    expires: Option<Pin<Box<Sleep>>>,
}

/// One end of a connection.
struct PerilousSocket {
    inner: turmoil::net::TcpStream,
    perils: Perils,
    role: &'static str,
    flags: Arc<Flags>,
    way: Option<Way>,
    resumed: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

/// What is to become of bytes.
enum Gate {
    Open,
    /// They are taken, and never arrive.
    Swallows,
}

impl PerilousSocket {
    fn gate(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Gate>> {
        if self.flags.dead.load(Ordering::Relaxed) {
            // Nobody is left to be woken.
            return Poll::Pending;
        }
        if self.flags.paused.load(Ordering::Relaxed) {
            let (perils, role) = (&self.perils, self.role);
            let resumed = self.resumed.get_or_insert_with(|| {
                let resumed = perils.lock().life(role).map(|life| life.resumed.clone()).unwrap_or_default();
                Box::pin(resumed.cancelled_owned())
            });
            if resumed.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
        }
        self.resumed = None;
        let Some(way) = &mut self.way else { return Poll::Ready(Ok(Gate::Open)) };
        let expired = way.expires.as_mut().is_some_and(|expires| expires.as_mut().poll(context).is_ready());
        if expired || way.cut.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        match way.hole.load(Ordering::Relaxed) {
            true => Poll::Ready(Ok(Gate::Swallows)),
            false => Poll::Ready(Ok(Gate::Open)),
        }
    }
}

impl AsyncRead for PerilousSocket {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let socket = self.get_mut();
        match std::task::ready!(socket.gate(context))? {
            Gate::Open => Pin::new(&mut socket.inner).poll_read(context, buffer),
            // The link's end wakes it.
            Gate::Swallows => Poll::Pending,
        }
    }
}

impl AsyncWrite for PerilousSocket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let socket = self.get_mut();
        match std::task::ready!(socket.gate(context))? {
            Gate::Open => Pin::new(&mut socket.inner).poll_write(context, bytes),
            Gate::Swallows => Poll::Ready(Ok(bytes.len())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let socket = self.get_mut();
        match std::task::ready!(socket.gate(context))? {
            Gate::Open => Pin::new(&mut socket.inner).poll_shutdown(context),
            Gate::Swallows => Poll::Ready(Ok(())),
        }
    }
}
