//! A wire to PostgreSQL that breaks at a commit.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use chassis::net::{BoundPort, Network, Socket, SystemNetwork};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;

/// Where the wire breaks when the next write comes along, which is a commit as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Break {
    /// The server never hears of the commit.
    BeforeCommit,
    /// The server has committed, and nobody hears of it.
    AfterCommit,
}

/// It breaks once and is whole for new connections; it is gone when this is dropped.
pub struct Wire {
    pub address: SocketAddr,
    next: Arc<Mutex<Option<Break>>>,
    carrier: JoinHandle<()>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.carrier.abort();
    }
}

impl Wire {
    /// A wire to the server at `to`.
    pub fn to(to: SocketAddr) -> Self {
        let port = BoundPort::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = port.address().unwrap();
        let mut listener = port.listen().unwrap();
        let next: Arc<Mutex<Option<Break>>> = Arc::default();
        let order = next.clone();
        let carrier = tokio::spawn(async move {
            while let Ok(client) = listener.accept().await {
                let server = SystemNetwork.connect(&to.to_string()).await.unwrap();
                tokio::spawn(carry(client, server, order.clone()));
            }
        });
        Self { address, next, carrier }
    }

    pub fn break_at_next(&self, place: Break) {
        *self.next.lock().unwrap() = Some(place);
    }

    /// Whether it broke where it was told to.
    pub fn has_broken(&self) -> bool {
        self.next.lock().unwrap().is_none()
    }
}

/// Whether it has a statement run that commits what it writes: the events of payments and the lines of the provider's
/// ledger have names that nothing else has that is sent with the values of a statement (`B`, "bind").
fn writes(said: &[u8]) -> bool {
    let holds = |mark: &[u8]| said.windows(mark.len()).any(|part| part == mark);
    said.first() == Some(&b'B') && (holds(b"Payment") || holds(b"capture"))
}

/// Carries until one of the ends hangs up, or it breaks.
async fn carry(mut client: Box<dyn Socket>, mut server: Box<dyn Socket>, next: Arc<Mutex<Option<Break>>>) {
    let (mut said, mut answered) = (vec![0; 16 * 1024], vec![0; 16 * 1024]);
    loop {
        tokio::select! {
            biased;
            length = client.read(&mut said) => {
                let Ok(length @ 1..) = length else { return };
                let said = &said[..length];
                let place = if writes(said) { next.lock().unwrap().take() } else { None };
                if place == Some(Break::BeforeCommit) || server.write_all(said).await.is_err() {
                    return;
                }
                if place == Some(Break::AfterCommit) {
                    let _ = server.read(&mut answered).await;
                    return;
                }
            }
            length = server.read(&mut answered) => {
                let Ok(length @ 1..) = length else { return };
                if client.write_all(&answered[..length]).await.is_err() {
                    return;
                }
            }
        }
    }
}
