//! Why a connection's transport failed.

use super::detect::Mismatch;
use super::tls::TlsFailure;
use super::url::Scheme;
use super::websocket::{BadFrame, BadUpgrade};
use std::fmt;

/// Why bytes cannot go on; the connection is then to be closed. What the peer is told of it (a TLS alert, an HTTP
/// answer, a WebSocket close frame) has been appended to the output already: write that first.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum TransportError {
    /// The peer speaks something else than this listener does.
    WrongProtocol(Mismatch),
    /// The peer broke TLS, or has nothing in common with this listener.
    Tls(TlsFailure),
    /// The peer's HTTP request is not one that opens a WebSocket for MQTT.
    Upgrade(BadUpgrade),
    /// The peer broke the WebSocket protocol, or MQTT's rules for it.
    WebSocket(BadFrame),
    /// Misuse by the caller: the scheme needs TLS settings, and there are none.
    NoTlsSettings(Scheme),
    /// Misuse by the caller: there is nothing to send any more after `close`, a peer's orderly end or an error.
    Closed,
    /// Misuse by the caller: bytes that were left in the input buffer were not there at the next call.
    InputLost,
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongProtocol(mismatch) => mismatch.fmt(f),
            Self::Tls(failure) => failure.fmt(f),
            Self::Upgrade(bad) => bad.fmt(f),
            Self::WebSocket(bad) => bad.fmt(f),
            Self::NoTlsSettings(scheme) => write!(f, "a {scheme}:// listener needs a certificate and a key"),
            Self::Closed => f.write_str("the connection's transport is closed: nothing more can be sent"),
            Self::InputLost => f.write_str("bytes left in the input buffer were taken away before they were understood"),
        }
    }
}

impl std::error::Error for TransportError {}

impl From<Mismatch> for TransportError {
    fn from(mismatch: Mismatch) -> Self {
        Self::WrongProtocol(mismatch)
    }
}

impl From<TlsFailure> for TransportError {
    fn from(failure: TlsFailure) -> Self {
        Self::Tls(failure)
    }
}

impl From<BadUpgrade> for TransportError {
    fn from(bad: BadUpgrade) -> Self {
        Self::Upgrade(bad)
    }
}

impl From<BadFrame> for TransportError {
    fn from(bad: BadFrame) -> Self {
        Self::WebSocket(bad)
    }
}
