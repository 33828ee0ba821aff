//! What TLS listeners share: certificate, key, ALPN ids, ticket keys and counters, reloaded without a restart.

use super::certificate;
use super::files::{self, TlsSettingsError};
use candor_protocol::dialect::{ALPN, ALPN_PLAIN};
use rustls::crypto::CryptoProvider;
use rustls::server::{
    ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert, UnbufferedServerConnection, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use std::cell::RefCell;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// The ALPN id of what WebSocket runs on (RFC 7301). Browsers offer it, and only it, for `wss:`.
const ALPN_HTTP: &str = "http/1.1";
/// How many TLS 1.3 tickets a client gets. One connection at a time needs no more, and each costs bytes and work.
const TICKETS: usize = 1;

/// The least version of TLS that is spoken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TlsVersion {
    V1_2,
    #[default]
    V1_3,
}

impl TlsVersion {
    pub const fn name(self) -> &'static str {
        match self {
            Self::V1_2 => "1.2",
            Self::V1_3 => "1.3",
        }
    }

    /// The versions from this one on.
    fn and_later(self) -> &'static [&'static SupportedProtocolVersion] {
        static BOTH: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS13, &rustls::version::TLS12];
        match self {
            Self::V1_2 => &BOTH,
            Self::V1_3 => &BOTH[..1],
        }
    }
}

impl fmt::Display for TlsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text that is not a version of TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadTlsVersion(pub String);

impl fmt::Display for BadTlsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not a version of TLS that can be the least one; use \"1.3\" or \"1.2\"", self.0)
    }
}

impl std::error::Error for BadTlsVersion {}

impl FromStr for TlsVersion {
    type Err = BadTlsVersion;

    fn from_str(text: &str) -> Result<Self, BadTlsVersion> {
        [Self::V1_2, Self::V1_3].into_iter().find(|version| version.name() == text).ok_or_else(|| BadTlsVersion(text.to_owned()))
    }
}

/// Options of TLS, as the operator gives them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsOptions {
    /// PEM file: the server's certificate, then intermediate ones.
    pub certificate: PathBuf,
    /// PEM file: the certificate's private key.
    pub key: PathBuf,
    /// PEM file: CAs that vouch for client certificates. Without it clients are not asked for one.
    pub client_ca: Option<PathBuf>,
    /// Refuse clients without a certificate. Needs `client_ca`.
    pub client_certificate_required: bool,
    pub tls_min: TlsVersion,
}

/// What a TLS listener carries, which decides the ALPN ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TlsListener {
    /// MQTT: [`ALPN`], else [`ALPN_PLAIN`].
    Mqtt,
    /// WebSocket: `http/1.1`; the subprotocol tells the dialect later.
    WebSocket,
}

impl TlsListener {
    fn alpn(self) -> Vec<Vec<u8>> {
        let ids: &[&str] = match self {
            // In the order of our preference.
            Self::Mqtt => &[ALPN, ALPN_PLAIN],
            Self::WebSocket => &[ALPN_HTTP],
        };
        ids.iter().map(|id| id.as_bytes().to_vec()).collect()
    }
}

/// TLS as listeners use it. Shared by all of them and by all shards; connections already made keep what they began with.
#[derive(Debug)]
pub struct TlsSettings {
    loaded: RwLock<Arc<Loaded>>,
    counters: Arc<Counters>,
}

/// What one loading of the files came to.
#[derive(Debug)]
struct Loaded {
    options: TlsOptions,
    mqtt: Arc<ServerConfig>,
    websocket: Arc<ServerConfig>,
    ticketer: Arc<dyn ProducesTickets>,
    client_roots: Option<RootCertStore>,
    certificate_expires_s: Option<i64>,
}

/// Files that were read and are good, and are not in force yet.
#[derive(Debug)]
#[must_use = "what is not installed has no effect"]
pub struct Prepared(Loaded);

#[derive(Debug, Default)]
pub(super) struct Counters {
    full: AtomicU64,
    resumed: AtomicU64,
    failed: AtomicU64,
}

impl Counters {
    pub(super) fn handshake(&self, resumed: bool) {
        let counter = if resumed { &self.resumed } else { &self.full };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn failure(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }
}

/// How many handshakes there have been, over all listeners of the settings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TlsHandshakes {
    /// With the certificate and its signature.
    pub full: u64,
    /// From a ticket.
    pub resumed: u64,
    /// Begun and refused, by either side.
    pub failed: u64,
}

impl TlsSettings {
    /// Reads the files.
    ///
    /// # Errors
    /// The first file or option that is wrong, with what is expected of it.
    pub fn load(options: TlsOptions) -> Result<Self, TlsSettingsError> {
        let loaded = Loaded::new(options, None)?;
        Ok(Self { loaded: RwLock::new(Arc::new(loaded)), counters: Arc::default() })
    }

    /// Reads the files again, for connections from now on. Tickets given before stay good, unless the demands on client
    /// certificates have changed: a ticket stands for the certificate that its first handshake showed, or for none.
    ///
    /// # Errors
    /// As [`TlsSettings::load`]; what was in force stays so.
    pub fn reload(&self) -> Result<(), TlsSettingsError> {
        self.prepare().map(|prepared| self.install(prepared))
    }

    /// Reads the files again without changing anything, for [`TlsSettings::install`].
    ///
    /// # Errors
    /// As [`TlsSettings::load`].
    pub fn prepare(&self) -> Result<Prepared, TlsSettingsError> {
        let loaded = self.loaded();
        Loaded::new(loaded.options.clone(), Some(&loaded)).map(Prepared)
    }

    /// Puts in force what was prepared, for connections from now on.
    pub fn install(&self, prepared: Prepared) {
        *self.loaded.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(prepared.0);
    }

    /// As [`TlsSettings::reload`], with other options.
    ///
    /// # Errors
    /// As [`TlsSettings::load`]; what was in force stays so.
    pub fn replace(&self, options: TlsOptions) -> Result<(), TlsSettingsError> {
        let loaded = Loaded::new(options, Some(&*self.loaded()))?;
        self.install(Prepared(loaded));
        Ok(())
    }

    pub fn handshakes(&self) -> TlsHandshakes {
        let Counters { full, resumed, failed } = &*self.counters;
        let [full, resumed, failed] = [full, resumed, failed].map(|counter| counter.load(Ordering::Relaxed));
        TlsHandshakes { full, resumed, failed }
    }

    /// The last second of the server certificate in force, in seconds since 1970 (UTC); `None` if it cannot be told.
    /// An expired certificate is served all the same: clients refuse it, and the operator is to be told beforehand.
    pub fn certificate_expires_s(&self) -> Option<i64> {
        self.loaded().certificate_expires_s
    }

    fn loaded(&self) -> Arc<Loaded> {
        self.loaded.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    pub(super) fn connection(&self, listener: TlsListener) -> Result<UnbufferedServerConnection, rustls::Error> {
        let loaded = self.loaded();
        let config = match listener {
            TlsListener::Mqtt => &loaded.mqtt,
            TlsListener::WebSocket => &loaded.websocket,
        };
        UnbufferedServerConnection::new(Arc::clone(config))
    }
}

impl Loaded {
    fn new(options: TlsOptions, before: Option<&Loaded>) -> Result<Self, TlsSettingsError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = Arc::new(files::certified_key(&options.certificate, &options.key, &provider)?);
        let client_roots = match &options.client_ca {
            Some(path) => Some(files::client_roots(path)?),
            None if options.client_certificate_required => return Err(TlsSettingsError::RequiredWithoutCa),
            None => None,
        };
        let ticketer = match before {
            Some(before) if before.demands_the_same(&options, client_roots.as_ref()) => Arc::clone(&before.ticketer),
            _ => rustls::crypto::aws_lc_rs::Ticketer::new()?,
        };
        let config = |listener| server_config(&options, listener, &provider, client_roots.as_ref(), &key, &ticketer);
        Ok(Self {
            mqtt: Arc::new(config(TlsListener::Mqtt)?),
            websocket: Arc::new(config(TlsListener::WebSocket)?),
            certificate_expires_s: key.cert.first().and_then(|der| certificate::not_after_s(der)),
            ticketer,
            client_roots,
            options,
        })
    }

    /// Whether what is demanded of clients' certificates is what these options demand.
    fn demands_the_same(&self, options: &TlsOptions, client_roots: Option<&RootCertStore>) -> bool {
        let before = self.client_roots.as_ref();
        self.options.client_certificate_required == options.client_certificate_required
            && before.map(|roots| &roots.roots) == client_roots.map(|roots| &roots.roots)
    }
}

fn server_config(
    options: &TlsOptions,
    listener: TlsListener,
    provider: &Arc<CryptoProvider>,
    client_roots: Option<&RootCertStore>,
    key: &Arc<CertifiedKey>,
    ticketer: &Arc<dyn ProducesTickets>,
) -> Result<ServerConfig, TlsSettingsError> {
    let builder = ServerConfig::builder_with_provider(Arc::clone(provider)).with_protocol_versions(options.tls_min.and_later())?;
    let builder = match client_roots {
        None => builder.with_no_client_auth(),
        Some(roots) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots.clone()), Arc::clone(provider));
            let verifier = if options.client_certificate_required { verifier } else { verifier.allow_unauthenticated() };
            builder.with_client_cert_verifier(verifier.build().map_err(|error| TlsSettingsError::Library(error.to_string()))?)
        }
    };
    let mut config = builder.with_cert_resolver(Arc::new(Resolver { key: Arc::clone(key) }));
    config.alpn_protocols = listener.alpn();
    config.ticketer = Arc::clone(ticketer);
    config.send_tls13_tickets = TICKETS;
    // Tickets hold all that is needed: no table of sessions.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    // 0-RTT is off: a PUBLISH in it could be replayed.
    config.max_early_data_size = 0;
    Ok(config)
}

/// What a ClientHello said that the TLS library does not keep.
#[derive(Debug, Default)]
pub(super) struct Hello {
    pub(super) server_name: Option<Box<str>>,
    /// ALPN ids, quoted and shortened for a text.
    pub(super) alpn: String,
}

thread_local! {
    /// The ClientHello that the running call has read. The library shows it to the resolver alone, which is shared by
    /// all connections; the call runs on one thread from the bytes to here, so this cannot be another connection's.
    static HELLO: RefCell<Option<Hello>> = const { RefCell::new(None) };
}

/// The ClientHello read since the last call of this.
pub(super) fn take_hello() -> Option<Hello> {
    HELLO.take()
}

#[derive(Debug)]
struct Resolver {
    key: Arc<CertifiedKey>,
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        const QUOTED_IDS_MAX: usize = 8;
        let quoted = |id: &[u8]| format!("{:?}", String::from_utf8_lossy(&id[..id.len().min(32)]));
        let alpn: Vec<String> = hello.alpn().into_iter().flatten().take(QUOTED_IDS_MAX).map(quoted).collect();
        HELLO.set(Some(Hello { server_name: hello.server_name().map(Box::from), alpn: alpn.join(", ") }));
        Some(Arc::clone(&self.key))
    }
}
