//! Listeners: what is served where, and under which policy.

use crate::transport::url::ListenUrl;
pub use candor_protocol::packet::Disclosure;
use candor_protocol::packet::Durability;
use std::path::PathBuf;

/// Reads the URL of a listener.
///
/// # Errors
/// What is wrong with the text, as the end of a sentence about it.
pub fn parse_url(text: &str) -> Result<ListenUrl, String> {
    text.parse().map_err(|bad: crate::transport::url::BadUrl| format!("is not the URL of a listener: {}", bad.cause()))
}

/// Who may connect without credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Anonymous {
    /// Clients whose own address is a loopback address.
    #[default]
    Loopback,
    Never,
    Always,
}

/// Whether the extension is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Extended {
    /// Extended and plain clients side by side.
    #[default]
    On,
    /// Plain 3.1.1 only.
    Off,
    /// Extended clients only.
    Required,
}

/// What a plain client gets for a PUBLISH above QoS 0 that is refused; 3.1.1 leaves these two ([MQTT-3.3.5-2]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum RefusedPublish {
    /// The connection is closed: no success is pretended.
    #[default]
    Close,
    /// An acknowledgement, although the message is dropped; the operator takes that upon himself.
    AcknowledgeAndDrop,
}

/// The oldest TLS version that is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub enum TlsMin {
    V1_2,
    #[default]
    V1_3,
}

/// The TLS options of a listener as they were written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsOptions {
    pub cert: Option<PathBuf>,
    pub key: Option<PathBuf>,
    pub development: Option<PathBuf>,
    pub min: TlsMin,
    pub client_ca: Option<PathBuf>,
    pub client_required: bool,
}

/// What may differ from listener to listener.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    pub durability: Durability,
    pub anonymous: Anonymous,
    pub disclosure: Disclosure,
    pub extended: Extended,
    pub refused_publish_plain: RefusedPublish,
    pub tls: TlsOptions,
}

/// Where the certificate of a TLS listener comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// PEM files: the certificate chain, and its private key.
    Files { cert: PathBuf, key: PathBuf },
    /// A folder in which a certificate authority of our own, for trying out, is made and kept.
    Development { dir: PathBuf },
}

/// The TLS settings of a listener, complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    pub identity: Identity,
    pub min: TlsMin,
    /// Clients may show a certificate of this authority, and are then known by its name.
    pub client_ca: Option<PathBuf>,
    /// Clients must show one.
    pub client_required: bool,
}

/// One listener, complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    pub url: ListenUrl,
    /// What is promised to those who connect here.
    pub durability: Durability,
    pub anonymous: Anonymous,
    pub disclosure: Disclosure,
    pub extended: Extended,
    pub refused_publish_plain: RefusedPublish,
    /// `Some` exactly where the scheme is one with TLS.
    pub tls: Option<Tls>,
}
