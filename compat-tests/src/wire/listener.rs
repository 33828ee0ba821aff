//! The other side: a script that is the server.

use super::{Wire, patience};
use crate::outcome::{Checked, Stop};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

/// A listening socket on loopback.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    who: String,
}

impl Listener {
    /// Listens on a free port; `who` names this end in failures.
    ///
    /// # Errors
    /// The socket's.
    pub fn bind(who: &str) -> Checked<Self> {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        Ok(Self { address: socket.local_addr()?, socket, who: who.to_owned() })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next connection.
    ///
    /// # Errors
    /// None comes within [`patience`].
    pub fn accept(&self) -> Checked<Wire> {
        self.accept_within(patience())?
            .ok_or_else(|| Stop::failed(format!("{}: nobody connected to {} in {} s", self.who, self.address, patience().as_secs())))
    }

    /// The next connection; `None`: none came in time.
    ///
    /// # Errors
    /// The socket's.
    pub fn accept_within(&self, patience: Duration) -> Checked<Option<Wire>> {
        // The receive timeout bounds accept() too; std has no accept with a deadline.
        socket2::SockRef::from(&self.socket).set_read_timeout(Some(patience))?;
        match self.socket.accept() {
            Ok((socket, _)) => Wire::over(socket.try_clone()?, socket, &self.who).map(Some),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_accept_ends_at_its_deadline() {
        let listener = Listener::bind("server").unwrap();
        assert!(listener.accept_within(Duration::from_millis(10)).unwrap().is_none());
        let _client = Wire::connect(listener.address(), "client").unwrap();
        assert!(listener.accept_within(patience()).unwrap().is_some());
    }
}
