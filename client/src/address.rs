//! Where a server is: `mqtt://`, `mqtts://`, `ws://` and `wss://` URLs.

pub use candor_protocol::scheme::Scheme;
use candor_protocol::scheme::WEBSOCKET_PATH;
use std::fmt;
use std::str::FromStr;

/// The port where a URL names none: those registered for MQTT, and for WebSocket those of RFC 6455, section 3.
pub(crate) const fn default_port(scheme: Scheme) -> u16 {
    match scheme {
        Scheme::Mqtt => 1883,
        Scheme::Mqtts => 8883,
        Scheme::Ws => 80,
        Scheme::Wss => 443,
    }
}

/// A server's address: scheme, host, port, and a path for WebSocket.
///
/// ```
/// use candor_client::Address;
/// let address: Address = "mqtts://broker.example".parse().unwrap();
/// assert_eq!((address.host(), address.port()), ("broker.example", 8883));
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Address {
    pub(crate) scheme: Scheme,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) path: String,
}

impl Address {
    pub fn new(scheme: Scheme, host: impl Into<String>, port: u16) -> Self {
        let path = if scheme.is_websocket() { WEBSOCKET_PATH.to_owned() } else { String::new() };
        Self { scheme, host: host.into(), port, path }
    }

    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// A name or an address, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// With the leading `/`; empty where the scheme has no path.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The host as it stands in a URL: an IPv6 address in brackets.
    pub(crate) fn host_in_url(&self) -> String {
        if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() }
    }
}

/// Without credentials, so that it can be logged.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}{}", self.scheme.name(), self.host_in_url(), self.port, self.path)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a string is not a URL of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BadAddress {
    Scheme(String),
    Host(String),
    Port(String),
    /// `mqtt` and `mqtts` have no path.
    Path(String),
    /// A `%` without two hexadecimal digits, or bytes that are not UTF-8.
    Escape(String),
}

impl fmt::Display for BadAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scheme(url) => write!(f, "`{url}` does not begin with a scheme that is known: mqtt://, mqtts://, ws:// or wss://"),
            Self::Host(url) => write!(f, "`{url}` has no host; the form is SCHEME://[USER[:PASSWORD]@]HOST[:PORT][/PATH]"),
            Self::Port(port) => write!(f, "`{port}` is not a port; allowed: 1 to 65535"),
            Self::Path(path) => write!(f, "the path `{path}` means nothing here; only ws:// and wss:// have one"),
            Self::Escape(text) => write!(f, "`{text}` is not percent-encoded UTF-8"),
        }
    }
}

impl std::error::Error for BadAddress {}

/// A URL in its parts: the address, and the credentials that it may hold.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Url {
    pub(crate) address: Address,
    pub(crate) user_name: Option<String>,
    pub(crate) password: Option<String>,
}

impl FromStr for Url {
    type Err = BadAddress;

    fn from_str(url: &str) -> Result<Self, BadAddress> {
        let bad_scheme = || BadAddress::Scheme(url.to_owned());
        let (scheme, rest) = url.split_once("://").ok_or_else(bad_scheme)?;
        let scheme = Scheme::of_name(scheme).ok_or_else(bad_scheme)?;
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let (credentials, host_port) = authority.rsplit_once('@').map_or((None, authority), |(before, after)| (Some(before), after));
        let (host, port) = split_port(host_port).ok_or_else(|| BadAddress::Host(redacted(url)))?;
        let port = match port {
            None => default_port(scheme),
            Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or_else(|| BadAddress::Port(port.to_owned()))?,
        };
        let mut address = Address::new(scheme, host, port);
        match path {
            "" | "/" if !scheme.is_websocket() => {}
            "" => {}
            path if scheme.is_websocket() => path.clone_into(&mut address.path),
            path => return Err(BadAddress::Path(path.to_owned())),
        }
        let (user_name, password) = match credentials.map(|text| text.split_once(':').map_or((text, None), |(u, p)| (u, Some(p)))) {
            None => (None, None),
            Some((user, password)) => (Some(unescape(user)?), password.map(unescape).transpose()?),
        };
        Ok(Self { address, user_name, password })
    }
}

impl FromStr for Address {
    type Err = BadAddress;

    /// Reads a URL; credentials in it are not part of the address.
    fn from_str(url: &str) -> Result<Self, BadAddress> {
        url.parse::<Url>().map(|url| url.address)
    }
}

/// `HOST[:PORT]`, with an IPv6 host in brackets.
fn split_port(text: &str) -> Option<(&str, Option<&str>)> {
    let (host, rest) = match text.strip_prefix('[') {
        Some(bracketed) => bracketed.split_once(']')?,
        None => text.find(':').map_or((text, ""), |at| text.split_at(at)),
    };
    let port = match rest {
        "" => None,
        rest => Some(rest.strip_prefix(':')?),
    };
    (!host.is_empty()).then_some((host, port))
}

/// A URL without what stands before `@`, for messages.
fn redacted(url: &str) -> String {
    match (url.find("://"), url.rfind('@')) {
        (Some(start), Some(at)) if start < at => format!("{}://{}", &url[..start], &url[at + 1..]),
        _ => url.to_owned(),
    }
}

fn unescape(text: &str) -> Result<String, BadAddress> {
    let bad = || BadAddress::Escape(text.to_owned());
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let digits = [bytes.next().ok_or_else(bad)?, bytes.next().ok_or_else(bad)?];
        let digits = std::str::from_utf8(&digits).ok().filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        out.push(digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).ok_or_else(bad)?);
    }
    String::from_utf8(out).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_its_parts_and_its_scheme_the_defaults() {
        let read = |url: &str| url.parse::<Url>().map(|url| (url.address.to_string(), url.user_name, url.password)).unwrap();
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(read("mqtt://localhost"), ("mqtt://localhost:1883".into(), None, None));
        assert_eq!(read("MQTTS://a.example/"), ("mqtts://a.example:8883".into(), None, None));
        assert_eq!(read("ws://a"), ("ws://a:80/mqtt".into(), None, None));
        assert_eq!(read("wss://u:p@a:8084/x/y?z"), ("wss://a:8084/x/y?z".into(), some("u"), some("p")));
        assert_eq!(read("mqtt://me%40home:a%3Ab@[::1]:2"), ("mqtt://[::1]:2".into(), some("me@home"), some("a:b")));
        assert_eq!(read("mqtt://token@h"), ("mqtt://h:1883".into(), some("token"), None));
        assert_eq!("mqtt://[::1]".parse::<Address>().unwrap().host(), "::1");
    }

    #[test]
    fn what_is_wrong_with_a_url_is_named() {
        let error = |url: &str| url.parse::<Address>().unwrap_err();
        assert_eq!(error("localhost"), BadAddress::Scheme("localhost".into()));
        assert_eq!(error("http://localhost"), BadAddress::Scheme("http://localhost".into()));
        assert_eq!(error("mqtt://user:secret@"), BadAddress::Host("mqtt://".into()));
        assert_eq!(error("mqtt://h:0"), BadAddress::Port("0".into()));
        assert_eq!(error("mqtt://h:70000"), BadAddress::Port("70000".into()));
        assert_eq!(error("mqtt://h/topic"), BadAddress::Path("/topic".into()));
        assert_eq!(error("mqtt://a%2@h"), BadAddress::Escape("a%2".into()));
    }
}
