//! TLS under a load: the same for every connection, resumed or not as the measurement wants it.

use super::BenchError;
use crate::address::Address;
use crate::options::TlsOptions;
use candor_protocol::dialect::ALPN_PLAIN;
use rustls::client::{ClientSessionMemoryCache, Resumption};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

/// Whether sessions are resumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resume {
    Never,
    Always,
}

/// What a TLS connection to a target is made with.
#[derive(Debug, Clone)]
pub(super) struct Tls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Tls {
    pub(super) fn new(options: &TlsOptions, address: &Address) -> Result<Self, BenchError> {
        let config = crate::transport::tls_config(options, &[ALPN_PLAIN], address).map_err(|error| BenchError::Usage(error.to_string()))?;
        let name = options.server_name.as_deref().unwrap_or(address.host());
        let name = ServerName::try_from(name.to_owned()).map_err(|error| BenchError::Usage(format!("`{name}`: {error}")))?;
        Ok(Self { config: Arc::new(config), name })
    }

    pub(super) fn resuming(&self, resume: Resume) -> Self {
        let mut config = (*self.config).clone();
        config.resumption = match resume {
            Resume::Never => Resumption::disabled(),
            Resume::Always => Resumption::store(Arc::new(ClientSessionMemoryCache::new(32))),
        };
        Self { config: Arc::new(config), name: self.name.clone() }
    }

    pub(super) fn connection(&self) -> Result<Box<ClientConnection>, BenchError> {
        let made = ClientConnection::new(Arc::clone(&self.config), self.name.clone());
        made.map(Box::new).map_err(|error| BenchError::System(format!("TLS: {error}")))
    }
}

/// Two configurations are the same when they are one.
impl PartialEq for Tls {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.config, &other.config) && self.name == other.name
    }
}

impl Eq for Tls {}

/// A socket, perhaps with TLS on it. Blocking or not is the socket's own matter.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) socket: TcpStream,
    tls: Option<Box<ClientConnection>>,
}

impl Stream {
    pub(super) fn new(socket: TcpStream, tls: Option<Box<ClientConnection>>) -> Self {
        Self { socket, tls }
    }

    pub(super) fn is_resumed(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.handshake_kind() == Some(rustls::HandshakeKind::Resumed))
    }

    /// Whether decrypted bytes or unsent records wait inside, where readiness of the socket does not tell of them.
    pub(super) fn has_more(&mut self) -> bool {
        let Some(tls) = &mut self.tls else { return false };
        tls.process_new_packets().is_ok_and(|state| state.plaintext_bytes_to_read() > 0)
    }

    /// Whether records wait to be written.
    pub(super) fn wants_write(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.wants_write())
    }

    /// Writes records that wait, as far as the kernel takes them.
    pub(super) fn push(&mut self) -> io::Result<()> {
        let Some(tls) = &mut self.tls else { return Ok(()) };
        while tls.wants_write() {
            tls.write_tls(&mut self.socket)?;
        }
        Ok(())
    }
}

impl Read for Stream {
    #[inline]
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return (&self.socket).read(into) };
        loop {
            match tls.reader().read(into) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return done,
            }
            // In a handshake an answer may have to go out before anything comes.
            while tls.wants_write() {
                tls.write_tls(&mut self.socket)?;
            }
            if tls.read_tls(&mut self.socket)? == 0 {
                return Ok(0);
            }
            tls.process_new_packets().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        }
    }
}

impl Write for Stream {
    #[inline]
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return (&self.socket).write(from) };
        while tls.wants_write() && !tls.is_handshaking() {
            tls.write_tls(&mut self.socket)?;
        }
        let taken = tls.writer().write(from)?;
        if !tls.is_handshaking() {
            match self.push() {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                _ => {}
            }
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.push()
    }
}
