//! TLS errors in words that name the cause and the remedy.

use super::TlsListener;
use crate::transport::INPUT_LEFT_MAX;
use candor_protocol::dialect::{ALPN, ALPN_PLAIN};
use rustls::{AlertDescription, Error, PeerIncompatible};
use std::fmt;

/// Why TLS ended.
#[derive(Debug, Clone, PartialEq)]
pub struct TlsFailure {
    pub(super) cause: Cause,
    /// What the listener carries, for advice about ALPN.
    pub(super) listener: TlsListener,
    /// The ALPN ids that the client offered, quoted for a text; empty for none.
    pub(super) offered: String,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cause {
    /// What the TLS library found.
    Library(Error),
    /// A handshake message that takes more than [`INPUT_LEFT_MAX`] with its records.
    HandshakeTooLarge,
    /// A handshake message split over records after the handshake. TLS allows it, no peer does it, and it would bind
    /// sending to what is in the input buffer.
    SplitAfterHandshake,
}

impl TlsFailure {
    /// Whether the listener speaks none of the protocols (ALPN) that the client offered.
    pub fn is_alpn_mismatch(&self) -> bool {
        self.cause == Cause::Library(Error::NoApplicationProtocol)
    }

    /// The TLS library's error, where it is one.
    pub fn library_error(&self) -> Option<&Error> {
        match &self.cause {
            Cause::Library(error) => Some(error),
            Cause::HandshakeTooLarge | Cause::SplitAfterHandshake => None,
        }
    }
}

impl fmt::Display for TlsFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = match &self.cause {
            Cause::HandshakeTooLarge => {
                return write!(f, "TLS: a message of the handshake takes more than {INPUT_LEFT_MAX} bytes with its records");
            }
            Cause::SplitAfterHandshake => return write!(f, "TLS: a message of the handshake layer is split over records"),
            Cause::Library(error) => error,
        };
        write!(f, "TLS: {error}")?;
        match error {
            Error::NoApplicationProtocol => {
                let offered = &self.offered;
                match self.listener {
                    TlsListener::Mqtt => write!(f, " (the client's ALPN offers {offered}; this listener has {ALPN} and {ALPN_PLAIN})"),
                    TlsListener::WebSocket => write!(f, " (the client's ALPN offers {offered}; a wss:// listener has http/1.1)"),
                }
            }
            Error::PeerIncompatible(
                PeerIncompatible::Tls12NotOffered
                | PeerIncompatible::Tls12NotOfferedOrEnabled
                | PeerIncompatible::SupportedVersionsExtensionRequired
                | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
                | PeerIncompatible::ServerDoesNotSupportTls12Or13,
            ) => write!(f, " (the client offers no version of TLS that this listener takes; tls_min = \"1.2\" takes TLS 1.2 beside 1.3)"),
            Error::NoCertificatesPresented => write!(f, " (this listener requires a client certificate)"),
            Error::AlertReceived(
                AlertDescription::UnknownCA
                | AlertDescription::BadCertificate
                | AlertDescription::CertificateUnknown
                | AlertDescription::CertificateExpired,
            ) => write!(f, " (the client does not accept this listener's certificate: its CA, its names or its dates)"),
            Error::InvalidCertificate(_) => write!(f, " (the client's certificate is not one that client_ca vouches for)"),
            _ => Ok(()),
        }
    }
}
