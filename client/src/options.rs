//! What a client asks for when it connects. Every option has a default; a URL is enough.

use crate::address::{Address, Url};
use crate::error::Misuse;
use crate::memory::{InProcess, Memory};
use crate::properties::Properties;
use crate::reconnect::Reconnect;
use crate::store::SessionStore;
use bytes::Bytes;
use candor_protocol::dialect::terms::{PACKET_SIZE_MAX, PACKET_SIZE_MIN};
use candor_protocol::extension::Registry;
use candor_protocol::packet::{Message, Qos, Requirement, TopicName};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Which dialects a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Policy {
    /// The extension where the server has it, else MQTT 3.1.1; what is missing then is told as an event.
    #[default]
    Prefer,
    /// The extension or nothing.
    Require,
    /// MQTT 3.1.1; the extension is not asked for.
    Plain,
    /// MQTT 3.1, for servers that know nothing else.
    Plain31,
}

/// How incoming messages above QoS 0 are acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Settlement {
    /// When [`Messages::next`](crate::Messages::next) hands a message out.
    #[default]
    Automatic,
    /// When the application says so, with [`Incoming::accept`](crate::Incoming::accept) and its like.
    Manual,
}

/// TLS of `mqtts://` and `wss://`. The default verifies the server by the system's roots.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct TlsOptions {
    /// PEM file with the roots that are trusted, instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// PEM files with this client's certificate chain and key.
    pub client_identity: Option<(PathBuf, PathBuf)>,
    /// The name that the certificate must hold, where it is not the URL's host.
    pub server_name: Option<String>,
    /// Danger: takes any certificate, so anybody can be the server. Nothing that such a server says is remembered.
    pub dangerously_accept_any_certificate: bool,
}

/// What the server publishes when this client is gone without leave.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WillOptions {
    pub(crate) topic: TopicName,
    pub(crate) payload: Bytes,
    pub(crate) qos: Qos,
    pub(crate) retain: bool,
    pub(crate) properties: Properties,
}

impl WillOptions {
    /// A will at QoS 0 that is not retained.
    ///
    /// # Errors
    /// The topic name is not valid, or the payload has more than 65,535 bytes, which CONNECT cannot hold.
    pub fn new(topic: &str, payload: impl Into<Bytes>) -> Result<Self, Misuse> {
        let name = TopicName::new(topic).map_err(|wrong| Misuse::Topic { text: topic.to_owned(), wrong })?;
        let payload = payload.into();
        if payload.len() > usize::from(u16::MAX) {
            return Err(Misuse::Option { name: "will payload", wrong: format!("{} bytes; at most 65535 fit", payload.len()) });
        }
        Ok(Self { topic: name, payload, qos: Qos::AtMostOnce, retain: false, properties: Properties::default() })
    }

    pub fn qos(mut self, qos: Qos) -> Self {
        self.qos = qos;
        self
    }

    pub fn retain(mut self, retain: bool) -> Self {
        self.retain = retain;
        self
    }

    /// Carried by an extended CONNECT only; where the connection begins with a plain one, their loss is told.
    pub fn properties(mut self, properties: Properties) -> Self {
        self.properties = properties;
        self
    }

    pub(crate) fn message(&self) -> Message {
        Message::new(&self.topic, &self.properties.message_map(), &self.payload)
    }
}

/// What a client asks for. See the methods for the defaults.
#[derive(Debug, Clone)]
pub struct Options {
    pub(crate) address: Address,
    pub(crate) client_id: String,
    pub(crate) clean_start: bool,
    pub(crate) session_expiry_s: u32,
    pub(crate) keep_alive_s: u16,
    pub(crate) will: Option<WillOptions>,
    pub(crate) user_name: Option<String>,
    pub(crate) password: Option<Bytes>,
    pub(crate) policy: Policy,
    pub(crate) requirement: Requirement,
    pub(crate) receive_maximum: u16,
    pub(crate) packet_size_max: u32,
    pub(crate) tls: TlsOptions,
    pub(crate) connect_timeout: Duration,
    pub(crate) reconnect: Reconnect,
    pub(crate) registry: Registry,
    pub(crate) memory: Arc<dyn Memory>,
    pub(crate) settlement: Settlement,
    pub(crate) queue_limit: usize,
    pub(crate) queue_bytes: usize,
    pub(crate) resubscribe: bool,
    pub(crate) store: Option<Arc<dyn SessionStore>>,
}

impl Options {
    /// Options for the server at `url`: `mqtt://`, `mqtts://`, `ws://` or `wss://`, with `USER:PASSWORD@` if wanted. The
    /// default ports are 1883, 8883, 80 and 443, the default path of a WebSocket is `/mqtt`.
    ///
    /// # Errors
    /// The URL is none.
    pub fn new(url: &str) -> Result<Self, Misuse> {
        let Url { address, user_name, password } = url.parse()?;
        let mut options = Self::at(address);
        (options.user_name, options.password) = (user_name, password.map(Bytes::from));
        Ok(options)
    }

    /// Options for the server at `address`.
    pub fn at(address: Address) -> Self {
        Self {
            address,
            client_id: random_client_id(),
            clean_start: true,
            session_expiry_s: 0,
            keep_alive_s: 60,
            will: None,
            user_name: None,
            password: None,
            policy: Policy::Prefer,
            requirement: Requirement::default(),
            receive_maximum: 1000,
            packet_size_max: PACKET_SIZE_MAX,
            tls: TlsOptions::default(),
            connect_timeout: Duration::from_secs(10),
            reconnect: Reconnect::default(),
            registry: Registry::default(),
            memory: InProcess::shared(),
            settlement: Settlement::Automatic,
            queue_limit: 1000,
            queue_bytes: 64 << 20,
            resubscribe: true,
            store: None,
        }
    }

    /// The server's URL without credentials: the name under which a [`Memory`] keeps it.
    pub fn address_text(&self) -> String {
        self.address.to_string()
    }

    /// The name of the session; default `candor-` and 16 random characters. Empty: the server chooses.
    pub fn client_id(mut self, client_id: impl Into<String>) -> Self {
        self.client_id = client_id.into();
        self
    }

    /// Whether the first connection forgets a stored session; default true. Reconnects resume what is kept.
    pub fn clean_start(mut self, clean_start: bool) -> Self {
        self.clean_start = clean_start;
        self
    }

    /// Seconds that the server shall keep the session after a connection; 0, the default, ends it with the connection,
    /// `u32::MAX` never does. MQTT 3.1.1 knows only 0 and an end of the server's choice.
    pub fn session_expiry_s(mut self, seconds: u32) -> Self {
        self.session_expiry_s = seconds;
        self
    }

    /// Seconds; 0: none. Default 60. A server that is not heard for one and a half of them is taken for lost.
    pub fn keep_alive_s(mut self, seconds: u16) -> Self {
        self.keep_alive_s = seconds;
        self
    }

    pub fn will(mut self, will: WillOptions) -> Self {
        self.will = Some(will);
        self
    }

    pub fn user_name(mut self, name: impl Into<String>) -> Self {
        self.user_name = Some(name.into());
        self
    }

    pub fn password(mut self, password: impl Into<Bytes>) -> Self {
        self.password = Some(password.into());
        self
    }

    /// Default [`Policy::Prefer`].
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// The least profile that is good enough. It needs the extension, so that a client with a requirement never takes a
    /// plain connection.
    pub fn require(mut self, requirement: Requirement) -> Self {
        self.requirement = requirement;
        self
    }

    /// How many messages above QoS 0 may wait for their settlement, at least 1; default 1000. A plain server is not told and is
    /// held back by its transport instead.
    pub fn receive_maximum(mut self, messages: u16) -> Self {
        self.receive_maximum = messages;
        self
    }

    /// The most bytes of one packet, at least 64; default what the framing can express. A larger one from a plain server ends the connection.
    pub fn packet_size_max(mut self, bytes: u32) -> Self {
        self.packet_size_max = bytes;
        self
    }

    pub fn tls(mut self, tls: TlsOptions) -> Self {
        self.tls = tls;
        self
    }

    /// Until a connection is open, all its steps together; default 10 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    pub fn reconnect(mut self, reconnect: Reconnect) -> Self {
        self.reconnect = reconnect;
        self
    }

    /// The experiments that this client runs.
    pub fn experiments(mut self, registry: Registry) -> Self {
        self.registry = registry;
        self
    }

    /// Where is remembered what servers could do; default: in this process.
    pub fn memory(mut self, memory: Arc<dyn Memory>) -> Self {
        self.memory = memory;
        self
    }

    pub fn settlement(mut self, settlement: Settlement) -> Self {
        self.settlement = settlement;
        self
    }

    /// How many messages, and bytes of them, may wait to be sent; default 1000 and 64 MiB. Without a connection the next one is
    /// refused, with one it waits.
    pub fn queue_limit(mut self, messages: usize, bytes: usize) -> Self {
        (self.queue_limit, self.queue_bytes) = (messages, bytes);
        self
    }

    /// Whether subscriptions are asked for again when a reconnect finds no session; default true.
    pub fn resubscribe(mut self, resubscribe: bool) -> Self {
        self.resubscribe = resubscribe;
        self
    }

    /// Where the session is kept beyond this client; default: nowhere. It decides alone about a clean start: a client whose store is empty
    /// starts clean, since what a server may still know under its identifier is not this session, and every other resumes. It needs a
    /// session expiry above 0 and a client identifier that stays the same.
    pub fn store(mut self, store: Arc<dyn SessionStore>) -> Self {
        self.store = Some(store);
        self
    }

    /// Checks what cannot be checked one by one.
    pub(crate) fn check(&self) -> Result<(), Misuse> {
        let wrong = |name, wrong: &str| Err(Misuse::Option { name, wrong: wrong.to_owned() });
        let too_long = |text: &str| text.len() > usize::from(u16::MAX) || text.contains('\0');
        if too_long(&self.client_id) {
            return wrong("client id", "at most 65535 bytes, without U+0000");
        }
        if self.client_id.is_empty() && (!self.clean_start || self.session_expiry_s > 0) {
            return wrong("client id", "a stored session needs one");
        }
        if self.store.is_some() && (self.session_expiry_s == 0 || self.client_id.is_empty()) {
            return wrong(
                "store",
                "a session that is kept needs a client identifier, and a session expiry above 0 so that the server keeps it too",
            );
        }
        if self.user_name.as_deref().is_some_and(too_long) {
            return wrong("user name", "at most 65535 bytes, without U+0000");
        }
        if self.password.as_ref().is_some_and(|password| password.len() > usize::from(u16::MAX)) {
            return wrong("password", "at most 65535 bytes");
        }
        if self.password.is_some() && self.user_name.is_none() {
            return wrong("password", "MQTT 3.1.1 has no password without a user name [MQTT-3.1.2-22]");
        }
        if self.receive_maximum == 0 || self.queue_limit == 0 {
            return wrong("receive maximum or queue limit", "at least 1");
        }
        if self.packet_size_max < PACKET_SIZE_MIN {
            return wrong("packet size", "at least 64 bytes");
        }
        if !self.requirement.is_empty() && matches!(self.policy, Policy::Plain | Policy::Plain31) {
            return wrong("policy", "a requirement needs the extension, and this policy never asks for it");
        }
        Ok(())
    }

    /// Whether a plain connection would be no use.
    pub(crate) fn needs_extension(&self) -> bool {
        self.policy == Policy::Require || !self.requirement.is_empty()
    }

    /// Whether the extension is asked for at all.
    pub(crate) fn asks_extension(&self) -> bool {
        matches!(self.policy, Policy::Prefer | Policy::Require)
    }
}

/// `candor-` and 16 characters of base32 over 10 random bytes: 23 bytes, which every server takes (section 3.1.3.1).
fn random_client_id() -> String {
    const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let bits = crate::random::bytes::<10>().into_iter().fold(0u128, |bits, byte| bits << 8 | u128::from(byte));
    let digits = (0..16).rev().map(|at| char::from(BASE32[(bits >> (5 * at)) as usize & 31]));
    "candor-".chars().chain(digits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_random_client_id_fits_every_server_and_is_not_repeated() {
        let (one, two) = (random_client_id(), random_client_id());
        assert_eq!(one.len(), 23);
        assert_ne!(one, two);
    }

    #[test]
    fn options_that_exclude_each_other_are_refused_before_anything_is_sent() {
        let options = || Options::new("mqtt://localhost").unwrap();
        assert_eq!(options().check(), Ok(()));
        let name = |options: Options| match options.check() {
            Err(Misuse::Option { name, .. }) => name,
            other => panic!("{other:?}"),
        };
        assert_eq!(name(options().client_id("").session_expiry_s(1)), "client id");
        assert_eq!(name(options().password("x")), "password");
        let requirement = Requirement { qos_max: Some(2), ..Requirement::default() };
        assert_eq!(name(options().require(requirement).policy(Policy::Plain)), "policy");
    }

    #[test]
    fn credentials_of_the_url_are_taken_over() {
        let options = Options::new("mqtt://me:secret@localhost").unwrap();
        assert_eq!((options.user_name.as_deref(), options.password.as_deref()), (Some("me"), Some(&b"secret"[..])));
    }
}
