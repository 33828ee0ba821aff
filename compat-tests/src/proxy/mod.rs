//! A man in the middle: a TCP proxy that understands packets, and does one wrong thing a connection.
//!
//! It runs on a thread with a runtime of its own, because TLS in both directions at once needs one.

pub mod fault;
mod pump;

pub use fault::{Fault, Side};

use crate::outcome::{Checked, Stop};
use crate::wire::patience;
use pump::Pumps;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// What the client speaks to.
#[derive(Debug, Clone, Default)]
pub enum Front {
    #[default]
    Tcp,
    /// TLS ends here. A configuration without ALPN makes a front that strips it.
    Tls(Arc<rustls::ServerConfig>),
}

/// What the server is spoken to with.
#[derive(Debug, Clone, Default)]
pub enum Back {
    #[default]
    Tcp,
    /// TLS to a server called `localhost`.
    Tls(Arc<rustls::ClientConfig>),
}

/// A running proxy; it ends with everything it carries when it is dropped.
pub struct Proxy {
    address: SocketAddr,
    seen: Arc<Seen>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proxy").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Proxy {
    /// A proxy between plain TCP and plain TCP. The first connection gets the first fault, and so on; connections after
    /// the last one are passed on.
    ///
    /// # Errors
    /// It cannot listen.
    pub fn start(server: SocketAddr, faults: Vec<Fault>) -> Checked<Self> {
        Self::between(Front::Tcp, Back::Tcp, server, faults)
    }

    /// A proxy that ends TLS on either side.
    ///
    /// # Errors
    /// It cannot listen.
    pub fn between(front: Front, back: Back, server: SocketAddr, faults: Vec<Fault>) -> Checked<Self> {
        let socket = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        let seen = Arc::<Seen>::default();
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let work = Work { front, back, server, faults, seen: seen.clone() };
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = work.accept(socket) => {}
                    _ = stopped => {}
                }
            });
        });
        Ok(Self { address, seen, stop: Some(stop), thread: Some(thread) })
    }

    /// Where clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The packets that one side has sent so far on a connection, before anything was done to them; connections count
    /// from 0.
    pub fn packets(&self, connection: usize, from: Side) -> Vec<Vec<u8>> {
        self.seen.lock().connections.get(connection).map(|seen| seen.packets(from).clone()).unwrap_or_default()
    }

    /// How many connections there were so far.
    pub fn connections(&self) -> usize {
        self.seen.lock().connections.len()
    }

    /// Waits until a connection was cut or closed.
    ///
    /// # Errors
    /// It is still open after [`patience`].
    pub fn ended(&self, connection: usize) -> Checked {
        self.wait_for(&format!("connection {connection} of the proxy to end"), |connections| {
            connections.get(connection).is_some_and(|seen| seen.ended).then_some(())
        })
    }

    /// Waits until a packet of this type (the upper four bits of its first byte) was sent, and returns it.
    ///
    /// # Errors
    /// None is within [`patience`].
    pub fn saw(&self, connection: usize, from: Side, kind: u8) -> Checked<Vec<u8>> {
        self.wait_for(&format!("a packet of type {kind} on connection {connection} of the proxy"), |connections| {
            connections.get(connection)?.packets(from).iter().find(|packet| packet[0] >> 4 == kind).cloned()
        })
    }

    fn wait_for<T>(&self, what: &str, look: impl Fn(&[Connection]) -> Option<T>) -> Checked<T> {
        let deadline = Instant::now() + patience();
        let mut recorded = self.seen.lock();
        loop {
            if let Some(found) = look(&recorded.connections) {
                return Ok(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Stop::failed(format!("expected {what}; there were {} connections", recorded.connections.len())));
            }
            recorded = self.seen.changed.wait_timeout(recorded, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Either end may be gone already; the thread ends in any case.
        let _ = self.stop.take().map(|stop| stop.send(()));
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}

/// What went through.
#[derive(Debug, Default)]
struct Seen {
    recorded: Mutex<Recorded>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Recorded {
    connections: Vec<Connection>,
}

#[derive(Debug, Default)]
struct Connection {
    client: Vec<Vec<u8>>,
    server: Vec<Vec<u8>>,
    ended: bool,
}

impl Connection {
    fn packets(&self, from: Side) -> &Vec<Vec<u8>> {
        match from {
            Side::Client => &self.client,
            Side::Server => &self.server,
        }
    }
}

impl Seen {
    fn lock(&self) -> MutexGuard<'_, Recorded> {
        self.recorded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) -> usize {
        let mut recorded = self.lock();
        recorded.connections.push(Connection::default());
        recorded.connections.len() - 1
    }

    fn note(&self, connection: usize, from: Side, packet: &[u8]) {
        if let Some(seen) = self.lock().connections.get_mut(connection) {
            match from {
                Side::Client => seen.client.push(packet.to_vec()),
                Side::Server => seen.server.push(packet.to_vec()),
            }
        }
        self.changed.notify_all();
    }

    fn end(&self, connection: usize) {
        if let Some(seen) = self.lock().connections.get_mut(connection) {
            seen.ended = true;
        }
        self.changed.notify_all();
    }
}

struct Work {
    front: Front,
    back: Back,
    server: SocketAddr,
    faults: Vec<Fault>,
    seen: Arc<Seen>,
}

impl Work {
    async fn accept(self, socket: std::net::TcpListener) {
        let Ok(listener) = TcpListener::from_std(socket) else { return };
        let work = Arc::new(self);
        while let Ok((client, _)) = listener.accept().await {
            let connection = work.seen.open();
            let work = work.clone();
            tokio::spawn(async move {
                // A handshake that fails is seen by the ends.
                let _ = work.carry(connection, client).await;
                work.seen.end(connection);
            });
        }
    }

    async fn carry(&self, connection: usize, client: TcpStream) -> std::io::Result<()> {
        let server = TcpStream::connect(self.server).await?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let fault = self.faults.get(connection).cloned().unwrap_or(Fault::Pass);
        let pumps = Pumps::new(connection, fault, self.seen.clone());
        match (&self.front, &self.back) {
            (Front::Tcp, Back::Tcp) => pumps.run(client, server).await,
            (Front::Tls(config), Back::Tcp) => pumps.run(TlsAcceptor::from(config.clone()).accept(client).await?, server).await,
            (Front::Tcp, Back::Tls(config)) => pumps.run(client, connect(config, server).await?).await,
            (Front::Tls(front), Back::Tls(back)) => {
                let client = TlsAcceptor::from(front.clone()).accept(client).await?;
                pumps.run(client, connect(back, server).await?).await
            }
        }
        Ok(())
    }
}

async fn connect(config: &Arc<rustls::ClientConfig>, server: TcpStream) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let name = rustls::pki_types::ServerName::try_from("localhost").map_err(std::io::Error::other)?;
    TlsConnector::from(config.clone()).connect(name, server).await
}

#[cfg(test)]
mod tests;
