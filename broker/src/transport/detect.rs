//! What a connection's first bytes look like when they are not what the listener speaks: so that the log says "TLS on
//! a plain listener" and not "malformed packet".

use super::url::Scheme;
use candor_protocol::dialect::{Dialect, level::name_and_level};
use std::fmt;

/// What the first bytes of a connection look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spoken {
    /// A TLS record that holds a handshake (RFC 8446, section 5.1).
    Tls,
    /// An MQTT CONNECT.
    Mqtt,
    /// An HTTP request of any version.
    Http,
    /// The header that load balancers put in front of a connection (PROXY protocol, version 1 or 2).
    ProxyHeader,
}

/// A client that speaks something else than the listener. Its text names both and what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mismatch {
    pub listener: Scheme,
    pub spoken: Spoken,
}

/// How many of a connection's first bytes [`detect`] needs for a sure answer about TLS, and for a likely one about MQTT
/// and HTTP.
pub const FIRST_BYTES_MIN: usize = 5;

/// Compares the first bytes of a connection with what the listener speaks. `None`: they fit, or are nothing known.
pub fn detect(listener: Scheme, first: &[u8]) -> Option<Mismatch> {
    let spoken = Spoken::of(first)?;
    let expected = match listener {
        Scheme::Mqtt => Spoken::Mqtt,
        Scheme::Mqtts | Scheme::Wss => Spoken::Tls,
        Scheme::Ws => Spoken::Http,
    };
    (spoken != expected).then_some(Mismatch { listener, spoken })
}

impl Spoken {
    /// What these bytes look like; `None` when they look like nothing known, or are too few.
    pub fn of(first: &[u8]) -> Option<Self> {
        const METHODS: [&[u8]; 10] =
            [b"GET ", b"HEAD ", b"POST ", b"PUT ", b"DELETE ", b"OPTIONS ", b"CONNECT ", b"PATCH ", b"TRACE ", b"PRI * HTTP/2"];
        const PROXY: [&[u8]; 2] = [b"PROXY ", b"\r\n\r\n\0\r\nQUIT\n"];
        if matches!(first, [0x16, 0x03, 0x00..=0x04, ..]) {
            return Some(Self::Tls);
        }
        if begins_like(first, &METHODS) {
            return Some(Self::Http);
        }
        if begins_like(first, &PROXY) {
            return Some(Self::ProxyHeader);
        }
        is_connect(first).then_some(Self::Mqtt)
    }
}

/// Whether the bytes are the start of one of these, or one of these and more.
fn begins_like(first: &[u8], known: &[&[u8]]) -> bool {
    known.iter().any(|known| {
        let both = first.len().min(known.len());
        both >= 4 && first[..both] == known[..both]
    })
}

/// CONNECT's first byte, a Remaining Length of one to four bytes, and as much of a known protocol name as there is.
fn is_connect(first: &[u8]) -> bool {
    let [0x10, rest @ ..] = first else { return false };
    let Some(length_end) = rest.iter().take(4).position(|byte| byte & 0x80 == 0) else { return false };
    let name = &rest[length_end + 1..];
    let known = Dialect::ALL.into_iter().map(|dialect| name_and_level(dialect).0.as_bytes());
    known.into_iter().any(|known| match name {
        [0, len, text @ ..] if usize::from(*len) == known.len() => {
            let both = text.len().min(known.len());
            both >= 1 && text[..both] == known[..both]
        }
        _ => false,
    })
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let listener = self.listener;
        let kind = match listener {
            Scheme::Mqtt => "plain MQTT",
            Scheme::Mqtts => "TLS",
            Scheme::Ws => "plain WebSocket",
            Scheme::Wss => "WebSocket over TLS",
        };
        let (seen, advice) = match (self.spoken, listener) {
            (Spoken::Tls, Scheme::Ws) => ("this looks like TLS", "the client should use ws://, or connect to a wss:// listener"),
            (Spoken::Tls, _) => ("this looks like TLS", "the client should use mqtt://, or connect to an mqtts:// listener"),
            (Spoken::Mqtt, Scheme::Mqtts) => ("plain MQTT", "the client should use mqtts:// (TLS), or connect to an mqtt:// listener"),
            (Spoken::Mqtt, _) => ("plain MQTT", "the client should use a WebSocket, or connect to an mqtt:// or mqtts:// listener"),
            (Spoken::Http, Scheme::Wss) => ("plain HTTP", "the client should use wss:// (TLS), or connect to a ws:// listener"),
            (Spoken::Http, _) => ("HTTP", "browsers and WebSocket clients need a ws:// or wss:// listener"),
            (Spoken::ProxyHeader, _) => ("a PROXY protocol header", "turn it off at the load balancer for this port"),
        };
        write!(f, "{seen} on a {kind} listener ({listener}://): {advice}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT_HELLO: &[u8] = &[0x16, 0x03, 0x01, 0x02, 0x00, 0x01];
    const CONNECT: &[u8] = b"\x10\x0E\x00\x04MQTT\x04\x02\x00\x3C\x00\x02id";

    #[test]
    fn what_fits_the_listener_is_no_mismatch() {
        assert_eq!(detect(Scheme::Mqtt, CONNECT), None);
        assert_eq!(detect(Scheme::Mqtts, CLIENT_HELLO), None);
        assert_eq!(detect(Scheme::Wss, CLIENT_HELLO), None);
        assert_eq!(detect(Scheme::Ws, b"GET /mqtt HTTP/1.1\r\n"), None);
    }

    #[test]
    fn each_mismatch_is_told_with_both_sides_and_a_way_out() {
        let said = |listener, first: &[u8]| detect(listener, first).unwrap().to_string();
        assert_eq!(
            said(Scheme::Mqtt, CLIENT_HELLO),
            "this looks like TLS on a plain MQTT listener (mqtt://): the client should use mqtt://, or connect to an mqtts:// listener"
        );
        assert_eq!(
            said(Scheme::Mqtts, CONNECT),
            "plain MQTT on a TLS listener (mqtts://): the client should use mqtts:// (TLS), or connect to an mqtt:// listener"
        );
        assert_eq!(
            said(Scheme::Mqtt, b"GET / HTTP/1.1\r\n"),
            "HTTP on a plain MQTT listener (mqtt://): browsers and WebSocket clients need a ws:// or wss:// listener"
        );
        assert!(said(Scheme::Ws, CLIENT_HELLO).contains("wss:// listener"));
        assert!(said(Scheme::Ws, CONNECT).contains("plain MQTT on a plain WebSocket listener"));
        assert!(said(Scheme::Wss, b"GET / HTTP/1.1\r\n").contains("plain HTTP on a WebSocket over TLS listener"));
        assert!(said(Scheme::Mqtt, b"PROXY TCP4 ").contains("load balancer"));
    }

    #[test]
    fn five_bytes_are_enough() {
        for (first, spoken) in [
            (CLIENT_HELLO, Spoken::Tls),
            (CONNECT, Spoken::Mqtt),
            (b"\x10\x80\x01\x00\x04MQTT", Spoken::Mqtt),
            (b"\x10\x10\x00\x06MQIsdp\x03", Spoken::Mqtt),
            (b"\x10\x10\x00\x06CANDOR\x01", Spoken::Mqtt),
            (b"GET / HTTP/1.1", Spoken::Http),
            (b"OPTIONS * HTTP/1.1", Spoken::Http),
            (b"PRI * HTTP/2.0", Spoken::Http),
            (b"\r\n\r\n\0\r\nQUIT\n", Spoken::ProxyHeader),
        ] {
            // With a Remaining Length of two bytes the name's first letter is the sixth.
            let enough = if first.starts_with(b"\x10\x80") { FIRST_BYTES_MIN + 1 } else { FIRST_BYTES_MIN };
            assert_eq!(Spoken::of(&first[..enough]), Some(spoken), "{first:x?}");
            assert_eq!(Spoken::of(first), Some(spoken), "{first:x?}");
        }
    }

    #[test]
    fn noise_looks_like_nothing() {
        for noise in [&b""[..], b"\x10", b"\x10\xFF\xFF\xFF\xFF", b"\x10\x0E\x00\x04HTTP", b"\x16\x04\x01", b"GETS", b"\0\0\0\0\0\0"] {
            assert_eq!(Spoken::of(noise), None, "{noise:x?}");
        }
    }
}
