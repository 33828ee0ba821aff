//! Listeners: what is served where, and under which policy.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;

/// How clients speak on a listener: MQTT on TCP or inside WebSocket, with or without TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    Mqtt,
    Mqtts,
    Ws,
    Wss,
}

impl Scheme {
    pub const ALL: [Scheme; 4] = [Scheme::Mqtt, Scheme::Mqtts, Scheme::Ws, Scheme::Wss];

    pub const fn name(self) -> &'static str {
        match self {
            Scheme::Mqtt => "mqtt",
            Scheme::Mqtts => "mqtts",
            Scheme::Ws => "ws",
            Scheme::Wss => "wss",
        }
    }

    /// 1883 and 8883 are registered with IANA for MQTT; 8083 and 8084 are what other brokers use for WebSocket.
    pub const fn default_port(self) -> u16 {
        match self {
            Scheme::Mqtt => 1883,
            Scheme::Mqtts => 8883,
            Scheme::Ws => 8083,
            Scheme::Wss => 8084,
        }
    }

    pub const fn is_tls(self) -> bool {
        matches!(self, Scheme::Mqtts | Scheme::Wss)
    }

    pub const fn is_websocket(self) -> bool {
        matches!(self, Scheme::Ws | Scheme::Wss)
    }
}

/// Where a listener is bound: a URL such as `mqtt://127.0.0.1:1883` or `wss://[::]:8084/mqtt`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    pub scheme: Scheme,
    /// An IP address without brackets, or a name.
    pub host: String,
    /// 0: any free one.
    pub port: u16,
    /// The path of a WebSocket handshake, with its leading `/`; empty without WebSocket.
    pub path: String,
}

/// What [`Address::parse`] takes, in words.
pub const FORM: &str =
    "mqtt://HOST:PORT, mqtts://HOST:PORT, ws://HOST:PORT/PATH or wss://HOST:PORT/PATH; IPv6 in brackets; port 0: any free one";

/// The path of a WebSocket listener whose URL has none.
const DEFAULT_PATH: &str = "/mqtt";

impl Address {
    /// Reads a URL. Without a port it is the scheme's own.
    ///
    /// # Errors
    /// What is wrong with the text, as the end of a sentence about it.
    pub fn parse(url: &str) -> Result<Self, String> {
        let (scheme, rest) = url.split_once("://").ok_or_else(|| "has no scheme: begin with mqtt://".to_owned())?;
        let scheme = Scheme::ALL.into_iter().find(|known| known.name().eq_ignore_ascii_case(scheme));
        let scheme = scheme.ok_or_else(|| format!("has the scheme `{}`", url.split(':').next().unwrap_or_default()))?;
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        if authority.contains('@') {
            return Err("names a user; users belong into the password file".into());
        }
        if rest.contains(['?', '#']) {
            return Err("has a query or a fragment, which a listener has no use for".into());
        }
        let (host, port) = host_and_port(authority)?;
        let port = port.map_or(Ok(scheme.default_port()), parse_port)?;
        let path = match (scheme.is_websocket(), path) {
            (true, "" | "/") => DEFAULT_PATH.to_owned(),
            (true, path) if path.chars().all(|c| c.is_ascii_graphic()) => path.to_owned(),
            (true, _) => return Err("has a path with a character that no URL may hold".into()),
            (false, "" | "/") => String::new(),
            (false, _) => return Err(format!("has a path, which {}:// has no use for", scheme.name())),
        };
        Ok(Self { scheme, host, port, path })
    }

    /// Whether only this machine reaches it, as far as the host tells: a loopback address, or the name `localhost`.
    pub fn is_loopback(&self) -> bool {
        match self.host.parse::<IpAddr>() {
            Ok(ip) => ip.to_canonical().is_loopback(),
            Err(_) => self.host.eq_ignore_ascii_case("localhost"),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "{}://{open}{}{close}:{}{}", self.scheme.name(), self.host, self.port, self.path)
    }
}

fn host_and_port(authority: &str) -> Result<(String, Option<&str>), String> {
    if let Some(inner) = authority.strip_prefix('[') {
        let (host, behind) = inner.split_once(']').ok_or_else(|| "has a `[` without its `]`".to_owned())?;
        if host.parse::<Ipv6Addr>().is_err() {
            return Err(format!("has `{host}` in brackets, which is not an IPv6 address"));
        }
        return match behind.strip_prefix(':') {
            Some(port) => Ok((host.to_owned(), Some(port))),
            None if behind.is_empty() => Ok((host.to_owned(), None)),
            None => Err("has something other than a port behind the brackets".into()),
        };
    }
    let (host, port) = authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port)));
    if port.is_some_and(|port| port.contains(':')) {
        return Err("has more than one `:` in its host; write an IPv6 address in brackets, as in mqtt://[::1]:1883".into());
    }
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if host.is_empty() {
        return Err("has no host; 0.0.0.0 stands for every IPv4 address of this machine, [::] for every address".into());
    }
    match host.chars().find(|&c| !good(c)) {
        Some(bad) => Err(format!("has the character {bad:?} in its host")),
        None if host.len() > 253 => Err("has a host of more than 253 characters".into()),
        None => Ok((host.to_owned(), port)),
    }
}

fn parse_port(text: &str) -> Result<u16, String> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten().ok_or_else(|| format!("has the port `{text}`, which is not a number from 0 to 65535"))
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

/// How much of a problem goes to the client. The log always has all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Disclosure {
    /// Reason and problem.
    #[default]
    Full,
    /// The reason only.
    Code,
    /// Only whether it is an error: reasons from 0x80 on become 0x80.
    Opaque,
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
    pub address: Address,
    pub anonymous: Anonymous,
    pub disclosure: Disclosure,
    pub extended: Extended,
    pub refused_publish_plain: RefusedPublish,
    /// `Some` exactly where the scheme is one with TLS.
    pub tls: Option<Tls>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(url: &str) -> String {
        Address::parse(url).map(|address| address.to_string()).unwrap_err()
    }

    #[test]
    fn a_url_is_read_and_completed() {
        let cases = [
            ("mqtt://127.0.0.1:1883", "mqtt://127.0.0.1:1883"),
            ("mqtt://localhost", "mqtt://localhost:1883"),
            ("MQTTS://0.0.0.0", "mqtts://0.0.0.0:8883"),
            ("ws://[::1]", "ws://[::1]:8083/mqtt"),
            ("wss://broker.example/", "wss://broker.example:8084/mqtt"),
            ("ws://h:0/live/x", "ws://h:0/live/x"),
            ("mqtt://[::]:0", "mqtt://[::]:0"),
        ];
        for (url, complete) in cases {
            assert_eq!(Address::parse(url).map(|address| address.to_string()), Ok(complete.to_owned()), "{url}");
        }
    }

    #[test]
    fn a_wrong_url_is_told_what_is_wrong_with_it() {
        assert_eq!(refused("127.0.0.1:1883"), "has no scheme: begin with mqtt://");
        assert_eq!(refused("http://x"), "has the scheme `http`");
        assert_eq!(refused("mqtt://"), "has no host; 0.0.0.0 stands for every IPv4 address of this machine, [::] for every address");
        assert_eq!(refused("mqtt://u:p@h"), "names a user; users belong into the password file");
        assert_eq!(refused("mqtt://h:65536"), "has the port `65536`, which is not a number from 0 to 65535");
        assert_eq!(refused("mqtt://h:+1"), "has the port `+1`, which is not a number from 0 to 65535");
        assert_eq!(refused("mqtt://h:"), "has the port ``, which is not a number from 0 to 65535");
        assert_eq!(refused("mqtt://::1"), "has more than one `:` in its host; write an IPv6 address in brackets, as in mqtt://[::1]:1883");
        assert_eq!(refused("mqtt://[::1"), "has a `[` without its `]`");
        assert_eq!(refused("mqtt://[::1]x"), "has something other than a port behind the brackets");
        assert_eq!(refused("mqtt://[nine]:1"), "has `nine` in brackets, which is not an IPv6 address");
        assert_eq!(refused("mqtt://h/x"), "has a path, which mqtt:// has no use for");
        assert_eq!(refused("ws://h/a?b"), "has a query or a fragment, which a listener has no use for");
        assert_eq!(refused("ws://h/a b"), "has a path with a character that no URL may hold");
        assert_eq!(refused("mqtt://a b"), "has the character ' ' in its host");
        assert_eq!(refused("mqtt://a\0b"), "has the character '\\0' in its host");
        assert_eq!(refused(&format!("mqtt://{}", "a".repeat(300))), "has a host of more than 253 characters");
    }

    #[test]
    fn loopback_is_told_from_the_host() {
        for (host, loopback) in [
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("[::1]", true),
            ("[::ffff:127.0.0.1]", true),
            ("localhost", true),
            ("0.0.0.0", false),
            ("[::]", false),
        ] {
            assert_eq!(Address::parse(&format!("mqtt://{host}")).map(|a| a.is_loopback()), Ok(loopback), "{host}");
        }
    }
}
