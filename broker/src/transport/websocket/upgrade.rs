//! The HTTP request that opens a WebSocket (RFC 6455, section 4) and its answer.

use crate::transport::http;
use bytes::{BufMut, BytesMut};
use candor_protocol::dialect::{ALPN, ALPN_PLAIN};
use candor_protocol::scheme::WEBSOCKET_PATH;
use std::fmt;
use std::sync::Arc;
use tungstenite::error::{Error as LibraryError, ProtocolError};
use tungstenite::handshake::machine::TryParse;
use tungstenite::handshake::server::{Request, create_response, write_response};
use tungstenite::http::header::{HeaderValue, SEC_WEBSOCKET_PROTOCOL};

/// A request is judged early, before its end is there, once it has so many bytes: enough to tell noise from HTTP.
const EARLY_LOOK_BYTES: usize = 8;
/// How much of what a peer sent is repeated in an error, in characters.
const QUOTED_CHARS_MAX: usize = 120;

/// What MQTT travels as inside the WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subprotocol {
    /// The extended dialect's own.
    Extended,
    /// What [MQTT-6.0.0-3] and [MQTT-6.0.0-4] ask for.
    Mqtt,
    /// What clients of MQTT 3.1 offered, and many of 3.1.1 still do.
    MqttV31,
}

impl Subprotocol {
    /// In the order of our preference, whatever the client's is.
    const ALL: [Subprotocol; 3] = [Subprotocol::Extended, Subprotocol::Mqtt, Subprotocol::MqttV31];

    const fn name(self) -> &'static str {
        match self {
            Self::Extended => ALPN,
            Self::Mqtt => ALPN_PLAIN,
            Self::MqttV31 => "mqttv3.1",
        }
    }
}

/// Why a request does not open a WebSocket for MQTT. Its text is also the body of the HTTP answer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BadUpgrade {
    /// The request's head did not end within the limit.
    TooLarge { bytes_max: usize },
    /// Not HTTP, or not HTTP/1.1.
    NotHttp(String),
    /// A method other than GET.
    Method,
    /// An ordinary HTTP request: it asks for no upgrade to a WebSocket.
    NotWebSocket,
    /// Another version of WebSocket than 13.
    Version,
    /// Sec-WebSocket-Key is missing or is not 16 bytes in base64.
    Key,
    /// Another path than the listener's.
    Path { asked: String, served: Arc<str> },
    /// None of our subprotocols is offered ([MQTT-6.0.0-3]).
    NoSubprotocol { offered: Option<String> },
}

impl BadUpgrade {
    /// The HTTP status that the peer is told.
    pub const fn status(&self) -> (u16, &'static str) {
        match self {
            Self::TooLarge { .. } => (431, "Request Header Fields Too Large"),
            Self::Method => (405, "Method Not Allowed"),
            Self::Path { .. } => (404, "Not Found"),
            Self::NotWebSocket | Self::Version => (426, "Upgrade Required"),
            Self::NotHttp(_) | Self::Key | Self::NoSubprotocol { .. } => (400, "Bad Request"),
        }
    }

    /// Header lines that belong to the status.
    const fn header(&self) -> &'static str {
        match self {
            Self::Method => "Allow: GET\r\n",
            Self::NotWebSocket | Self::Version => "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
            _ => "",
        }
    }
}

impl fmt::Display for BadUpgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { bytes_max } => write!(f, "the HTTP request's head is larger than {bytes_max} bytes"),
            Self::NotHttp(what) => write!(f, "this is not an HTTP/1.1 request: {what}"),
            Self::Method => write!(f, "a WebSocket is opened with the method GET"),
            Self::NotWebSocket => write!(
                f,
                "this port speaks MQTT over WebSocket, and the request does not ask for one (Upgrade: websocket); use an MQTT client"
            ),
            Self::Version => write!(f, "Sec-WebSocket-Version must be 13"),
            Self::Key => write!(f, "Sec-WebSocket-Key must be 16 bytes in base64"),
            Self::Path { asked, served } => {
                write!(f, "there is no MQTT at the path {asked:?}; this listener serves it at {served:?}")?;
                if **served == *WEBSOCKET_PATH { write!(f, " and at \"/\"") } else { Ok(()) }
            }
            Self::NoSubprotocol { offered } => {
                let [extended, mqtt, old] = Subprotocol::ALL.map(Subprotocol::name);
                match offered {
                    None => write!(f, "Sec-WebSocket-Protocol is missing")?,
                    Some(offered) => write!(f, "Sec-WebSocket-Protocol offers {offered:?}")?,
                }
                write!(f, "; this server speaks {mqtt}, {old} and {extended}, and the client must offer one of them")
            }
        }
    }
}

/// What is known of a request so far.
#[derive(Debug, Default)]
pub(super) struct RequestReader {
    /// How many bytes have been searched for the end of the head.
    searched: usize,
    looked_early: bool,
    /// The path that is served; `None`: any.
    path: Option<Arc<str>>,
}

impl RequestReader {
    /// Only this path is served.
    pub(super) fn serve_at(&mut self, path: &Arc<str>) {
        self.path = Some(Arc::clone(path));
    }

    /// Looks at all that has been received. With the whole request there, the answer is appended to `output`, and how
    /// long the request was is returned. `None`: more is needed.
    ///
    /// # Errors
    /// The request is refused; the HTTP answer is in `output`.
    pub(super) fn read(
        &mut self,
        input: &[u8],
        bytes_max: usize,
        output: &mut BytesMut,
    ) -> Result<Option<(usize, Subprotocol)>, BadUpgrade> {
        let outcome = self.advance(input, bytes_max, output);
        if let Err(bad) = &outcome {
            refuse(bad, output);
        }
        outcome
    }

    fn advance(&mut self, input: &[u8], bytes_max: usize, output: &mut BytesMut) -> Result<Option<(usize, Subprotocol)>, BadUpgrade> {
        let end = head_end(input, self.searched);
        // An end may begin in the last three bytes.
        self.searched = input.len().saturating_sub(3);
        if end.unwrap_or(input.len()) > bytes_max {
            return Err(BadUpgrade::TooLarge { bytes_max });
        }
        let Some(end) = end else {
            // Parsing at every byte would be quadratic: only once, so that noise is not waited for.
            if !self.looked_early && input.len() >= EARLY_LOOK_BYTES {
                self.looked_early = true;
                Request::try_parse(input).map_err(why)?;
            }
            return Ok(None);
        };
        let (len, request) = Request::try_parse(&input[..end]).map_err(why)?.ok_or_else(|| BadUpgrade::NotHttp("it has no end".into()))?;
        let mut response = create_response(&request).map_err(why)?;
        if let Some(served) = self.path.as_ref().filter(|served| !is_served(served, request.uri().path())) {
            return Err(BadUpgrade::Path { asked: shortened(request.uri().path()), served: Arc::clone(served) });
        }
        let subprotocol = choose(&request)?;
        response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(subprotocol.name()));
        write_response(output.writer(), &response).map_err(why)?;
        Ok(Some((len, subprotocol)))
    }
}

/// Whether a request for the path `asked` is for what is served at `served`. A query says nothing here, and where nobody
/// chose another path, clients that name none are taken too.
fn is_served(served: &str, asked: &str) -> bool {
    asked == served || (served == WEBSOCKET_PATH && asked == "/")
}

/// Where the head ends: behind an empty line. Bare line feeds are taken, as the parser takes them.
fn head_end(input: &[u8], from: usize) -> Option<usize> {
    input[from..].iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| from + at).find_map(|at| match &input[at + 1..] {
        [b'\n', ..] => Some(at + 2),
        [b'\r', b'\n', ..] => Some(at + 3),
        _ => None,
    })
}

/// Our most preferred subprotocol among those offered, which may be in several header lines.
fn choose(request: &Request) -> Result<Subprotocol, BadUpgrade> {
    let lines: Vec<String> = request
        .headers()
        .get_all(SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .map(|line| String::from_utf8_lossy(line.as_bytes()).into_owned())
        .collect();
    let offers = |wanted: &Subprotocol| lines.iter().flat_map(|line| line.split(',')).any(|name| name.trim() == wanted.name());
    Subprotocol::ALL
        .into_iter()
        .find(offers)
        .ok_or_else(|| BadUpgrade::NoSubprotocol { offered: (!lines.is_empty()).then(|| shortened(&lines.join(", "))) })
}

/// The library's error in our words.
fn why(error: LibraryError) -> BadUpgrade {
    match error {
        LibraryError::Protocol(error) => match error {
            ProtocolError::WrongHttpMethod => BadUpgrade::Method,
            ProtocolError::MissingConnectionUpgradeHeader | ProtocolError::MissingUpgradeWebSocketHeader => BadUpgrade::NotWebSocket,
            ProtocolError::MissingSecWebSocketVersionHeader => BadUpgrade::Version,
            ProtocolError::MissingSecWebSocketKey | ProtocolError::InvalidSecWebSocketKey => BadUpgrade::Key,
            other => BadUpgrade::NotHttp(shortened(&other.to_string())),
        },
        other => BadUpgrade::NotHttp(shortened(&other.to_string())),
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(QUOTED_CHARS_MAX) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text.to_owned(),
    }
}

fn refuse(bad: &BadUpgrade, output: &mut BytesMut) {
    http::refuse(bad.status(), bad.header(), &bad.to_string(), output);
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES_MAX: usize = 8192;

    fn request(lines: &[&str]) -> Vec<u8> {
        let mut text = String::from("GET /any/path?really HTTP/1.1\r\nHost: broker.example\r\n");
        for line in lines {
            text += line;
            text += "\r\n";
        }
        (text + "\r\n").into_bytes()
    }

    const UPGRADE: [&str; 4] =
        ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="];

    fn offering(protocols: &[&str]) -> Vec<u8> {
        request(&[&UPGRADE[..], protocols].concat())
    }

    fn answered(request: &[u8]) -> (Result<Option<(usize, Subprotocol)>, BadUpgrade>, String) {
        let mut output = BytesMut::new();
        let outcome = RequestReader::default().read(request, BYTES_MAX, &mut output);
        (outcome, String::from_utf8(output.to_vec()).unwrap())
    }

    #[test]
    fn the_most_preferred_subprotocol_is_selected_whatever_the_clients_order() {
        for (lines, selected) in [
            (&["Sec-WebSocket-Protocol: mqtt"][..], Subprotocol::Mqtt),
            (&["Sec-WebSocket-Protocol: mqtt, x-candor-1"], Subprotocol::Extended),
            (&["Sec-WebSocket-Protocol: x-candor-1,mqtt"], Subprotocol::Extended),
            (&["Sec-WebSocket-Protocol: mqttv3.1,  mqtt"], Subprotocol::Mqtt),
            (&["Sec-WebSocket-Protocol: chat, mqttv3.1"], Subprotocol::MqttV31),
            (&["Sec-WebSocket-Protocol: chat", "Sec-WebSocket-Protocol: mqtt"], Subprotocol::Mqtt),
        ] {
            let bytes = offering(lines);
            let (outcome, answer) = answered(&bytes);
            assert_eq!(outcome, Ok(Some((bytes.len(), selected))));
            assert!(answer.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{answer}");
            // The accept value for this key is given in RFC 6455, section 1.3.
            assert!(answer.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{answer}");
            let protocol = answer.lines().find(|line| line.to_ascii_lowercase().starts_with("sec-websocket-protocol")).unwrap();
            assert!(protocol.ends_with(&format!(": {}", selected.name())), "{protocol}");
            assert!(answer.ends_with("\r\n\r\n"));
        }
    }

    #[test]
    fn a_refused_request_is_told_why_in_http() {
        let plain = |bytes: &[u8]| answered(bytes);
        for (bytes, refusal, status, said) in [
            (
                offering(&[]),
                BadUpgrade::NoSubprotocol { offered: None },
                "400 Bad Request",
                "Sec-WebSocket-Protocol is missing; this server speaks mqtt, mqttv3.1 and x-candor-1",
            ),
            (
                offering(&["Sec-WebSocket-Protocol: chat"]),
                BadUpgrade::NoSubprotocol { offered: Some("chat".into()) },
                "400 Bad Request",
                "offers \"chat\"",
            ),
            (request(&[]), BadUpgrade::NotWebSocket, "426 Upgrade Required", "speaks MQTT over WebSocket"),
            (request(&UPGRADE[..2]), BadUpgrade::Version, "426 Upgrade Required", "must be 13"),
            (request(&UPGRADE[..3]), BadUpgrade::Key, "400 Bad Request", "Sec-WebSocket-Key"),
            (b"POST /mqtt HTTP/1.1\r\nContent-Length: 0\r\n\r\n".to_vec(), BadUpgrade::Method, "405 Method Not Allowed", "GET"),
        ] {
            let (outcome, answer) = plain(&bytes);
            assert_eq!(outcome, Err(refusal));
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{answer}");
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            assert!(body.contains(said), "{body}");
            assert!(head.contains(&format!("Content-Length: {}\r\nConnection: close", body.len())), "{head}");
        }
    }

    #[test]
    fn the_path_must_be_the_listeners_and_the_default_one_may_be_left_out() {
        let at = |served: &str, asked: &str| {
            let mut reader = RequestReader::default();
            reader.serve_at(&served.into());
            let text = String::from_utf8(offering(&["Sec-WebSocket-Protocol: mqtt"])).unwrap().replace("/any/path?really", asked);
            let mut output = BytesMut::new();
            let outcome = reader.read(text.as_bytes(), BYTES_MAX, &mut output);
            (outcome.is_ok(), String::from_utf8(output.to_vec()).unwrap())
        };
        for (served, asked, taken) in [
            ("/mqtt", "/mqtt", true),
            ("/mqtt", "/", true),
            ("/mqtt", "/mqtt?token=1", true),
            ("/mqtt", "http://broker.example/mqtt", true),
            ("/mqtt", "/mqtt2", false),
            ("/mqtt", "/live/mqtt", false),
            ("/live", "/live", true),
            ("/live", "/", false),
            ("/live", "/mqtt", false),
        ] {
            let (is_taken, answer) = at(served, asked);
            assert_eq!(is_taken, taken, "{asked} at {served}: {answer}");
            assert_eq!(answer.starts_with("HTTP/1.1 404 Not Found\r\n"), !taken, "{answer}");
        }
        assert!(at("/live", "/x").1.contains("there is no MQTT at the path \"/x\"; this listener serves it at \"/live\"\n"));
        assert!(at("/mqtt", "/x").1.contains("serves it at \"/mqtt\" and at \"/\"\n"));
    }

    #[test]
    fn noise_is_refused_before_its_end() {
        let (outcome, answer) = answered(b"\x10\x0E\x00\x04MQTT\x04\x02\x00\x3C");
        assert!(matches!(outcome, Err(BadUpgrade::NotHttp(_))), "{outcome:?}");
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
        let (outcome, _) = answered(b"GET / HTTP/1.0\r\n\r\n");
        assert!(matches!(outcome, Err(BadUpgrade::NotHttp(_))), "{outcome:?}");
    }

    #[test]
    fn an_endless_request_is_bounded() {
        let mut reader = RequestReader::default();
        let mut output = BytesMut::new();
        let mut bytes = b"GET / HTTP/1.1\r\n".to_vec();
        while bytes.len() < BYTES_MAX {
            assert_eq!(reader.read(&bytes, BYTES_MAX, &mut output), Ok(None));
            bytes.extend_from_slice(b"X-Padding: abcdefghijklmnopqrstuvwxyz\r\n");
        }
        assert_eq!(reader.read(&bytes, BYTES_MAX, &mut output), Err(BadUpgrade::TooLarge { bytes_max: BYTES_MAX }));
        assert!(output.starts_with(b"HTTP/1.1 431 "), "{output:?}");
    }

    #[test]
    fn a_request_larger_than_the_limit_is_refused_although_its_end_is_there() {
        let padding = format!("X-Padding: {}", "a".repeat(BYTES_MAX));
        let (outcome, _) = answered(&offering(&["Sec-WebSocket-Protocol: mqtt", &padding]));
        assert_eq!(outcome, Err(BadUpgrade::TooLarge { bytes_max: BYTES_MAX }));
    }

    #[test]
    fn the_end_is_found_wherever_the_bytes_are_split() {
        let bytes = offering(&["Sec-WebSocket-Protocol: mqtt"]);
        let mut reader = RequestReader::default();
        let mut output = BytesMut::new();
        for end in 0..bytes.len() {
            assert_eq!(reader.read(&bytes[..end], BYTES_MAX, &mut output), Ok(None), "at {end}");
            assert!(output.is_empty());
        }
        assert_eq!(reader.read(&bytes, BYTES_MAX, &mut output), Ok(Some((bytes.len(), Subprotocol::Mqtt))));
    }

    #[test]
    fn bytes_behind_the_request_are_not_part_of_it() {
        let bytes = offering(&["Sec-WebSocket-Protocol: mqtt"]);
        let (outcome, _) = answered(&[&bytes[..], b"\x82\x80\0\0\0\0"].concat());
        assert_eq!(outcome, Ok(Some((bytes.len(), Subprotocol::Mqtt))));
    }

    #[test]
    fn what_a_peer_sent_is_quoted_in_short_and_escaped() {
        let (outcome, answer) = answered(&offering(&[&format!("Sec-WebSocket-Protocol: {}", "x".repeat(4000))]));
        let Err(BadUpgrade::NoSubprotocol { offered: Some(offered) }) = outcome else { panic!("{outcome:?}") };
        assert!(offered.len() < 130 && answer.len() < 500);
    }
}
