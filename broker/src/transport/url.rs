//! URLs of listeners: `mqtt://127.0.0.1:1883`.
//!
//! | scheme | carries | default port |
//! | --- | --- | --- |
//! | `mqtt` | MQTT over TCP | 1883 |
//! | `mqtts` | MQTT over TLS | 8883 |
//! | `ws` | MQTT over WebSocket | 8083 |
//! | `wss` | MQTT over WebSocket over TLS | 8084 |
//!
//! The first two ports are registered for MQTT; 8083 and 8084 are what MQTT brokers commonly use, since 80 and 443 need
//! privileges and belong to a web server. Port 0 asks the system for any free port.
//!
//! A WebSocket URL may have a path, `/mqtt` if it has none. The opening request must name it; where it is `/mqtt`, `/` is
//! taken too, because these are the two that clients use.

pub use candor_protocol::scheme::Scheme;
use candor_protocol::scheme::WEBSOCKET_PATH;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// What is taken as the URL of a listener, in words.
pub const FORM: &str =
    "mqtt://HOST:PORT, mqtts://HOST:PORT, ws://HOST:PORT/PATH or wss://HOST:PORT/PATH; IPv6 in brackets; port 0: any free one";

/// The port of a URL that names none. 1883 and 8883 are registered for MQTT; 80 and 443, which the URL of a WebSocket means for a client,
/// need privileges and belong to a web server.
const fn default_port(scheme: Scheme) -> u16 {
    match scheme {
        Scheme::Mqtt => 1883,
        Scheme::Mqtts => 8883,
        Scheme::Ws => 8083,
        Scheme::Wss => 8084,
    }
}

/// Where a listener listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// A name to resolve when the listener is bound.
    Name(String),
    V4(Ipv4Addr),
    V6(Ipv6Addr),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Name(name) => f.write_str(name),
            Host::V4(address) => write!(f, "{address}"),
            Host::V6(address) => write!(f, "[{address}]"),
        }
    }
}

/// The URL of a listener. Its text always has the port, and the path of a WebSocket: `ws://127.0.0.1:8083/mqtt`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ListenUrl {
    pub scheme: Scheme,
    pub host: Host,
    /// 0: any free port.
    pub port: u16,
    /// The path of the request that opens a WebSocket, with its leading `/`; empty without WebSocket.
    pub path: String,
}

impl fmt::Display for ListenUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}{}", self.scheme, self.host, self.port, self.path)
    }
}

impl ListenUrl {
    /// Whether only this machine reaches it, as far as the host tells: a loopback address, or the name `localhost`.
    pub fn is_loopback(&self) -> bool {
        match &self.host {
            Host::V4(address) => address.is_loopback(),
            Host::V6(address) => IpAddr::V6(*address).to_canonical().is_loopback(),
            Host::Name(name) => name.eq_ignore_ascii_case("localhost"),
        }
    }
}

/// Why a text is not the URL of a listener. Its text quotes the URL, and says what is allowed in the place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadUrl {
    /// The text as given.
    pub url: String,
    /// Where in the text the trouble is, in bytes.
    pub at: std::ops::Range<usize>,
    pub problem: UrlProblem,
}

/// What is wrong with the place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum UrlProblem {
    /// There is no `://`.
    NoScheme,
    /// The scheme is none of [`Scheme::ALL`].
    UnknownScheme,
    /// A user name or password: a listener has none.
    UserInfo,
    /// Nothing where the host should be.
    NoHost,
    /// A host that is neither a name nor an address.
    BadHost,
    /// Brackets without an IPv6 address in them, or an IPv6 address without brackets.
    BadV6,
    /// The port is not a number of 0 to 65,535.
    BadPort,
    /// A path on a listener without WebSocket.
    Path,
    /// A path with a character that no URL may hold.
    BadPath,
    /// A query or a fragment.
    Query,
}

impl FromStr for ListenUrl {
    type Err = BadUrl;

    fn from_str(url: &str) -> Result<Self, BadUrl> {
        let bad = |at, problem| BadUrl { url: url.to_owned(), at, problem };
        let Some(scheme_end) = url.find("://") else { return Err(bad(0..url.len(), UrlProblem::NoScheme)) };
        let scheme = Scheme::of_name(&url[..scheme_end]);
        let scheme = scheme.ok_or_else(|| bad(0..scheme_end, UrlProblem::UnknownScheme))?;

        let start = scheme_end + 3;
        let end = url[start..].find(['/', '?', '#']).map_or(url.len(), |at| start + at);
        let path = parse_path(scheme, &url[end..]).map_err(|(at, problem)| bad(end + at..url.len(), problem))?;
        if let Some(at) = url[start..end].rfind('@') {
            return Err(bad(start..start + at + 1, UrlProblem::UserInfo));
        }
        let (host_end, port) = split_port(&url[start..end]).map_err(|(at, problem)| bad(start + at.start..start + at.end, problem))?;
        let host = &url[start..start + host_end];
        let host = parse_host(host).map_err(|problem| bad(start..start + host.len(), problem))?;
        Ok(Self { scheme, host, port: port.unwrap_or(default_port(scheme)), path })
    }
}

/// The path, from what stands behind the port; an error says from where on it is wrong.
fn parse_path(scheme: Scheme, text: &str) -> Result<String, (usize, UrlProblem)> {
    if let Some(at) = text.find(['?', '#']) {
        return Err((at, UrlProblem::Query));
    }
    match (scheme.is_websocket(), text) {
        // A lone slash is what many programs add of themselves; anything more would look as if it had an effect.
        (true, "" | "/") => Ok(WEBSOCKET_PATH.to_owned()),
        (false, "" | "/") => Ok(String::new()),
        (false, _) => Err((0, UrlProblem::Path)),
        (true, path) if path.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(path.to_owned()),
        (true, _) => Err((0, UrlProblem::BadPath)),
    }
}

/// Where the host ends, and the port behind it.
fn split_port(authority: &str) -> Result<(usize, Option<u16>), (std::ops::Range<usize>, UrlProblem)> {
    let whole = 0..authority.len();
    let host_end = match authority.strip_prefix('[') {
        Some(inner) => inner.find(']').map(|at| at + 2).ok_or((whole, UrlProblem::BadV6))?,
        None if authority.matches(':').count() > 1 => return Err((whole, UrlProblem::BadV6)),
        None => authority.find(':').unwrap_or(authority.len()),
    };
    match authority[host_end..].strip_prefix(':') {
        None if host_end == authority.len() => Ok((host_end, None)),
        None => Err((host_end..authority.len(), UrlProblem::BadPort)),
        Some(port) => {
            // `parse` alone would let a sign through.
            let digits = port.bytes().all(|byte| byte.is_ascii_digit());
            let port = if digits { port.parse().ok() } else { None };
            port.map(|port| (host_end, Some(port))).ok_or((host_end + 1..authority.len(), UrlProblem::BadPort))
        }
    }
}

fn parse_host(host: &str) -> Result<Host, UrlProblem> {
    if host.is_empty() {
        return Err(UrlProblem::NoHost);
    }
    if let Some(inner) = host.strip_prefix('[') {
        let address = inner.strip_suffix(']').and_then(|inner| inner.parse().ok());
        return address.map(Host::V6).ok_or(UrlProblem::BadV6);
    }
    if let Ok(address) = host.parse() {
        return Ok(Host::V4(address));
    }
    // Four numbers that are no IPv4 address are a slip, not a name.
    let numbers_only = host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    if numbers_only || host.len() > 253 || !host.bytes().all(allowed) {
        return Err(UrlProblem::BadHost);
    }
    Ok(Host::Name(host.to_owned()))
}

impl BadUrl {
    /// What is wrong and what to do, without the URL itself: for a message that shows it in its own way.
    pub fn cause(&self) -> impl fmt::Display + '_ {
        Cause(self)
    }
}

struct Cause<'a>(&'a BadUrl);

impl fmt::Display for Cause<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.0.url.get(self.0.at.clone()).unwrap_or_default();
        match self.0.problem {
            UrlProblem::NoScheme => {
                write!(f, "it has no scheme; write mqtt://, mqtts://, ws:// or wss:// in front, as in mqtt://127.0.0.1:1883")
            }
            UrlProblem::UnknownScheme => write!(f, "scheme {place:?} is not known; use mqtt, mqtts, ws or wss"),
            UrlProblem::UserInfo => {
                write!(f, "a listener has no user name or password (the part before '@'); users stand in the password file")
            }
            UrlProblem::NoHost => {
                write!(f, "the host is missing; write 127.0.0.1 for this machine only, 0.0.0.0 or [::] for every interface")
            }
            UrlProblem::BadHost => {
                write!(f, "host {place:?} is neither a name (letters, digits, '-', '.', '_') nor an address; ")?;
                write!(f, "write 0.0.0.0 or [::] for every interface")
            }
            UrlProblem::BadV6 => {
                write!(f, "{place:?} is not an IPv6 address in brackets; write it as in [::1]:1883, without a zone")
            }
            UrlProblem::BadPort => {
                write!(f, "port {place:?} is not a number of 0 to 65535; 0 asks for any free port, none means the default")
            }
            UrlProblem::Path => write!(f, "only ws:// and wss:// have a path (found {place:?}); leave it out"),
            UrlProblem::BadPath => write!(f, "path {place:?} has a character that no URL may hold; use letters, digits and /"),
            UrlProblem::Query => write!(f, "a listener takes no query or fragment (found {place:?}); leave it out"),
        }
    }
}

impl fmt::Display for BadUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problem {
            // What stands there may be a password, and this text goes to a log.
            UrlProblem::UserInfo => {
                let place = self.url.get(self.at.clone()).unwrap_or_default();
                write!(f, "{:?} is not the URL of a listener: {}", self.url.replacen(place, "***@", 1), self.cause())
            }
            _ => write!(f, "{:?} is not the URL of a listener: {}", self.url, self.cause()),
        }
    }
}

impl std::error::Error for BadUrl {}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(url: &str) -> ListenUrl {
        url.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    fn refused(url: &str) -> (UrlProblem, String, String) {
        let error = url.parse::<ListenUrl>().unwrap_err();
        (error.problem, error.url[error.at.clone()].to_owned(), error.to_string())
    }

    #[test]
    fn every_scheme_has_its_default_port() {
        for (url, text) in [
            ("mqtt://localhost", "mqtt://localhost:1883"),
            ("mqtts://localhost", "mqtts://localhost:8883"),
            ("ws://localhost", "ws://localhost:8083/mqtt"),
            ("wss://localhost/", "wss://localhost:8084/mqtt"),
            ("ws://h:0/live/x", "ws://h:0/live/x"),
            ("MQTT://0.0.0.0:0", "mqtt://0.0.0.0:0"),
            ("mqtt://[::1]", "mqtt://[::1]:1883"),
            ("mqtts://[::]:65535", "mqtts://[::]:65535"),
            ("ws://my-host_1.example.org:80", "ws://my-host_1.example.org:80/mqtt"),
        ] {
            assert_eq!(parsed(url).to_string(), text);
            assert_eq!(parsed(text), parsed(url), "the text of a URL is that URL");
        }
        assert_eq!(parsed("mqtt://127.0.0.1").host, Host::V4(Ipv4Addr::LOCALHOST));
        assert_eq!(parsed("mqtt://[::1]").host, Host::V6(Ipv6Addr::LOCALHOST));
    }

    #[test]
    fn a_bad_url_names_the_place_and_what_is_allowed() {
        for (url, problem, place, allowed) in [
            ("localhost:1883", UrlProblem::NoScheme, "localhost:1883", "mqtt://, mqtts://, ws:// or wss://"),
            ("tcp://localhost", UrlProblem::UnknownScheme, "tcp", "mqtt, mqtts, ws or wss"),
            ("mqtt://ann:secret@localhost", UrlProblem::UserInfo, "ann:secret@", "password file"),
            ("mqtt://:1883", UrlProblem::NoHost, "", "0.0.0.0 or [::]"),
            ("mqtt://", UrlProblem::NoHost, "", "0.0.0.0 or [::]"),
            ("mqtt://*:1883", UrlProblem::BadHost, "*", "0.0.0.0 or [::]"),
            ("mqtt://127.0.0.256", UrlProblem::BadHost, "127.0.0.256", "address"),
            ("mqtt://a\0b", UrlProblem::BadHost, "a\0b", "letters"),
            ("mqtt://bröker", UrlProblem::BadHost, "bröker", "letters"),
            ("mqtt://::1:1883", UrlProblem::BadV6, "::1:1883", "[::1]:1883"),
            ("mqtt://[::1", UrlProblem::BadV6, "[::1", "[::1]:1883"),
            ("mqtt://[fe80::1%eth0]", UrlProblem::BadV6, "[fe80::1%eth0]", "without a zone"),
            ("mqtt://[127.0.0.1]", UrlProblem::BadV6, "[127.0.0.1]", "[::1]:1883"),
            ("mqtt://localhost:", UrlProblem::BadPort, "", "0 to 65535"),
            ("mqtt://localhost:65536", UrlProblem::BadPort, "65536", "0 to 65535"),
            ("mqtt://localhost:+1", UrlProblem::BadPort, "+1", "0 to 65535"),
            ("mqtt://[::1]1883", UrlProblem::BadPort, "1883", "0 to 65535"),
            ("mqtt://localhost:1883/mqtt", UrlProblem::Path, "/mqtt", "only ws:// and wss://"),
            ("ws://localhost/a b", UrlProblem::BadPath, "/a b", "letters"),
            ("ws://localhost/a?b", UrlProblem::Query, "?b", "leave it out"),
            ("mqtt://localhost?tls", UrlProblem::Query, "?tls", "leave it out"),
        ] {
            let (found, at, text) = refused(url);
            assert_eq!((found, at.as_str()), (problem, place), "{url}");
            assert!(text.contains(allowed), "{text}");
            assert_eq!(text.contains(&format!("{url:?}")), problem != UrlProblem::UserInfo, "{text}");
        }
    }

    #[test]
    fn a_password_in_a_url_is_not_repeated() {
        let (.., text) = refused("mqtt://ann:secret@localhost");
        assert!(text.starts_with("\"mqtt://***@localhost\" is not"), "{text}");
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
            assert_eq!(parsed(&format!("mqtt://{host}")).is_loopback(), loopback, "{host}");
        }
    }
}
