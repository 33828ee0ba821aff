//! What both ends agreed on when a connection was opened, in plain values.

use crate::negotiate::Door;
use crate::transport::TlsFacts;
use bytes::Bytes;
use candor_protocol::dialect::{Dialect, Terms};
use candor_protocol::packet::Profile;
use candor_protocol::session::SessionState;
use candor_protocol::shown::Shown;
use std::fmt;

/// The agreement of one connection.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Agreement {
    pub dialect: Dialect,
    /// How the client asked.
    pub door: Door,
    /// The client identifier in force, the server's choice included.
    pub client_id: String,
    /// Whether the server had kept the session.
    pub session_present: bool,
    /// What became of the session; a plain server says only whether it is there.
    pub session_state: Option<SessionState>,
    /// Names this life of the session.
    pub incarnation: Option<Bytes>,
    /// What the server declares that it keeps; a plain server declares nothing.
    pub profile: Option<Profile>,
    /// Windows, sizes, keep alive and session expiry in force; of a plain connection what MQTT 3.1.1 implies.
    pub terms: Terms,
    /// The experiments in force.
    pub experiments: Vec<String>,
    /// The server's name.
    pub node: Option<String>,
    /// TLS as it was agreed; `None` on clear connections.
    pub tls: Option<TlsFacts>,
    /// Whether the WebSocket subprotocol, or TLS's ALPN, that the server selected was the extension's.
    pub transport_selected: Option<String>,
}

/// The name of a session state, as text output and JSON print it.
pub const fn state_name(state: SessionState) -> &'static str {
    match state {
        SessionState::Resumed => "resumed",
        SessionState::New => "new",
        SessionState::Expired => "expired",
        SessionState::Evicted => "evicted",
        SessionState::LostWithRestart => "lost with a restart",
    }
}

impl Agreement {
    /// What became of the session, as far as it is known.
    pub fn session(&self) -> &'static str {
        match self.session_state {
            Some(state) => state_name(state),
            None if self.session_present => "resumed",
            None => "not there",
        }
    }
}

impl fmt::Display for Agreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "connected as `{}`, MQTT {}, session {}", Shown::new(&self.client_id), self.dialect, self.session())?;
        match &self.profile {
            Some(profile) => write!(f, ", messages kept at `{}`", profile.durability),
            None => f.write_str(", the server declares nothing"),
        }
    }
}
