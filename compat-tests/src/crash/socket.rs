//! An actor on a real socket that never blocks.

use super::actor::Actor;
use super::ledger::Ledger;
use bytes::Buf;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

#[derive(Debug)]
pub struct Online {
    pub actor: Actor,
    stream: Option<TcpStream>,
}

impl Online {
    pub fn new(actor: Actor) -> Self {
        Self { actor, stream: None }
    }

    pub fn is_connected(&self) -> bool {
        self.stream.is_some()
    }

    /// Connects if the broker listens.
    pub fn connect(&mut self, address: SocketAddr, now_ms: u64, ledger: &mut Ledger) {
        let connected = TcpStream::connect(address).and_then(|stream| {
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            Ok(stream)
        });
        if let Ok(stream) = connected {
            self.stream = Some(stream);
            self.actor.connect(now_ms, ledger);
        }
    }

    /// Ends the connection without a word.
    pub fn drop_connection(&mut self, ledger: &mut Ledger) {
        self.stream = None;
        self.actor.lost(ledger);
    }

    /// Reads and writes what can be; whether anything was.
    pub fn pump(&mut self, now_ms: u64, ledger: &mut Ledger) -> bool {
        let Some(stream) = &mut self.stream else { return false };
        let mut buffer = [0; 16 << 10];
        let (mut moved, mut is_over) = match stream.read(&mut buffer) {
            Ok(0) => (false, true),
            Ok(len) => (true, !self.actor.receive(&buffer[..len], now_ms, ledger)),
            Err(error) => (false, !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)),
        };
        while !is_over && !self.actor.out.is_empty() {
            match stream.write(&self.actor.out) {
                Ok(len) => {
                    self.actor.out.advance(len);
                    moved = true;
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => break,
                Err(_) => is_over = true,
            }
        }
        if is_over {
            self.drop_connection(ledger);
        }
        moved
    }
}
