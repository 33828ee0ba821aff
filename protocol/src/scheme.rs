//! The schemes of URLs that servers listen at and clients connect to. Here are names only: who opens a socket knows what it does.
//!
//! | scheme | carries |
//! | --- | --- |
//! | `mqtt` | MQTT over TCP |
//! | `mqtts` | MQTT over TLS |
//! | `ws` | MQTT over WebSocket |
//! | `wss` | MQTT over WebSocket over TLS |

use std::fmt;

/// The path of a WebSocket URL that names none.
pub const WEBSOCKET_PATH: &str = "/mqtt";

/// How MQTT travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scheme {
    /// TCP.
    Mqtt,
    /// TLS over TCP.
    Mqtts,
    /// WebSocket over TCP.
    Ws,
    /// WebSocket over TLS.
    Wss,
}

impl Scheme {
    pub const ALL: [Scheme; 4] = [Scheme::Mqtt, Scheme::Mqtts, Scheme::Ws, Scheme::Wss];

    /// As it stands in a URL.
    pub const fn name(self) -> &'static str {
        match self {
            Scheme::Mqtt => "mqtt",
            Scheme::Mqtts => "mqtts",
            Scheme::Ws => "ws",
            Scheme::Wss => "wss",
        }
    }

    /// The scheme of this name, whatever the case of its letters (RFC 3986, section 3.1).
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scheme| scheme.name().eq_ignore_ascii_case(name))
    }

    /// Whether connections are TLS, so that a server needs a certificate.
    pub const fn is_tls(self) -> bool {
        matches!(self, Scheme::Mqtts | Scheme::Wss)
    }

    /// Whether MQTT travels in WebSocket frames.
    pub const fn is_websocket(self) -> bool {
        matches!(self, Scheme::Ws | Scheme::Wss)
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
