//! Transports: how MQTT's bytes travel. A transport is a state machine between two buffers, without a socket:
//!
//! ```text
//! socket -> input  -> receive -> mqtt -> codec
//! socket <- output <- send    <- mqtt <- codec
//!              '<- receive, close (handshakes, pongs, alerts, close frames)
//! ```
//!
//! So one loop serves all four schemes, a connection moves to another thread as data, and what is written in one turn
//! becomes one TLS record, one WebSocket frame, one write.
//!
//! - [`url`] and [`bind`]: where listeners listen.
//! - [`tls`]: TLS and its settings, reloaded while running; [`development`]: a certificate to try it with.
//! - [`websocket`]: the opening request and frames.
//! - [`detect`]: telling a client that speaks the wrong protocol.
//!
//! # The loop
//! Read into `input`; call [`Transport::receive`]; write `output` if it is not empty; take packets from `mqtt`. What is
//! left in `input` is an incomplete record, request or frame header: keep it, append to it, and give the buffer back to
//! the pool when it is empty. For a plain connection ([`Transport::is_plain`]) read into `mqtt` itself, write from where
//! the packets are, and call nothing.
//!
//! # Memory
//! `mqtt` never grows by more than `input` shrinks. What stays in `input` is bounded by [`INPUT_LEFT_MAX`]. `receive`
//! appends to `output` at most handshake messages, one pong (none when much waits there already), and one farewell. An idle connection holds its state alone: about 3.6 KB for TLS, keys included, 70 bytes for
//! WebSocket, nothing for TCP (measured by `tests/transport_memory.rs`).

pub mod bind;
pub mod detect;
pub mod development;
mod error;
mod http;
pub mod tls;
pub mod url;
pub mod websocket;

pub use error::TransportError;
pub use tls::{TlsListener, TlsSettings, TlsVersion};
pub use url::{ListenUrl, Scheme};

use bytes::BytesMut;
use std::sync::Arc;
use tls::Tls;
use websocket::WebSocket;

/// The most that [`Transport::receive`] leaves in `input`, in bytes. Only a handshake with a long chain of client
/// certificates comes near; after it, it is an incomplete TLS record (18 KiB), HTTP request or frame header.
pub const INPUT_LEFT_MAX: usize = 64 * 1024;

/// Bounds of what a peer may send before MQTT's own limits apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The largest head of the HTTP request that opens a WebSocket, in bytes. Time is the connection loop's to bound.
    pub upgrade_request_bytes_max: usize,
    /// The largest WebSocket frame, in bytes of payload. Frames are not gathered, so this bounds no memory: it is there
    /// to refuse what cannot be MQTT. A frame may hold many packets.
    pub frame_bytes_max: u64,
}

impl Limits {
    /// 8 KiB for the request; for a frame the largest MQTT packet there can be (MQTT 3.1.1, section 2.2.3).
    pub const DEFAULT: Limits = Limits { upgrade_request_bytes_max: 8 * 1024, frame_bytes_max: 5 + 268_435_455 };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Where a connection stands after [`Transport::receive`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// No MQTT yet, and none can be sent.
    Handshaking,
    Open,
    /// The peer has ended its side in order (TLS close_notify, WebSocket close frame): as the end of a TCP stream.
    PeerClosed,
}

/// What the transport tells about the other end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Peer {
    pub tls: Option<TlsInfo>,
    /// The client offered the extended dialect by its ALPN id or WebSocket subprotocol, and got it.
    pub extended_offered: bool,
}

/// What TLS tells about the other end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsInfo {
    pub version: TlsVersion,
    /// Whether the handshake was shortened by a ticket.
    pub resumed: bool,
    /// The ALPN id that was selected; `None` if the client offered none.
    pub alpn: Option<String>,
    /// The server name (SNI) that the client asked for; `None` if it asked by address.
    pub server_name: Option<String>,
    /// Whether the client showed a certificate, which was then verified.
    pub client_certified: bool,
    /// The name in the client's certificate: its common name; without one, its first alternative name that is a DNS name,
    /// mail address or URI. `None` if it has neither, or several common names.
    pub client_name: Option<String>,
}

/// A connection's transport. It is `Send`: hand it to another thread together with the socket and its buffers.
#[derive(Debug)]
pub struct Transport(Layers);

#[derive(Debug)]
enum Layers {
    Tcp,
    Tls(Box<Tls>),
    WebSocket(Box<WebSocket>),
    WebSocketTls(Box<WebSocketTls>),
}

#[derive(Debug)]
struct WebSocketTls {
    tls: Tls,
    /// Decrypted bytes of an incomplete request or frame header; without memory when empty.
    plain: BytesMut,
    websocket: WebSocket,
}

impl Transport {
    /// The transport of a connection just accepted on a listener of this scheme; a WebSocket of any path.
    ///
    /// # Errors
    /// The TLS library refuses a new connection; `tls` is `None` and the scheme needs it.
    pub fn accept(scheme: Scheme, tls: Option<&TlsSettings>, limits: Limits) -> Result<Self, TransportError> {
        let tls = |listener| tls.ok_or(TransportError::NoTlsSettings(scheme)).and_then(|settings| Tls::new(settings, listener));
        Ok(Self(match scheme {
            Scheme::Mqtt => Layers::Tcp,
            Scheme::Mqtts => Layers::Tls(Box::new(tls(TlsListener::Mqtt)?)),
            Scheme::Ws => Layers::WebSocket(Box::new(WebSocket::new(scheme, limits))),
            Scheme::Wss => Layers::WebSocketTls(Box::new(WebSocketTls {
                tls: tls(TlsListener::WebSocket)?,
                plain: BytesMut::new(),
                websocket: WebSocket::new(scheme, limits),
            })),
        }))
    }

    /// Lets a WebSocket be opened by requests for this path alone (see [`url`]); elsewhere it has no meaning.
    pub fn at_path(mut self, path: &Arc<str>) -> Self {
        match &mut self.0 {
            Layers::Tcp | Layers::Tls(_) => {}
            Layers::WebSocket(websocket) => websocket.serve_at(path),
            Layers::WebSocketTls(both) => both.websocket.serve_at(path),
        }
        self
    }

    /// The transport of plain TCP, which passes bytes through.
    pub const fn tcp() -> Self {
        Self(Layers::Tcp)
    }

    /// Whether bytes pass through unchanged, so that the loop can do without this type.
    pub const fn is_plain(&self) -> bool {
        matches!(self.0, Layers::Tcp)
    }

    /// Takes bytes from the socket: appends MQTT's bytes to `mqtt`, and what is to be written back to `output`. What it
    /// leaves in `input` must be there, in front of further bytes, at the next call.
    ///
    /// # Errors
    /// The connection is to be closed, after writing `output`, which tells the peer why where its protocol has words for
    /// it. `mqtt` may have grown by packets that came before the trouble.
    pub fn receive(&mut self, input: &mut BytesMut, mqtt: &mut BytesMut, output: &mut BytesMut) -> Result<Progress, TransportError> {
        match &mut self.0 {
            Layers::Tcp => {
                pass(input, mqtt);
                Ok(Progress::Open)
            }
            Layers::Tls(tls) => tls.receive(input, mqtt, output),
            Layers::WebSocket(websocket) => {
                let waiting = output.len();
                websocket.receive(input, mqtt, output, waiting)
            }
            Layers::WebSocketTls(both) => both.receive(input, mqtt, output),
        }
    }

    /// Appends to `output` what carries all of `mqtt`, which is then empty. Call it once a turn: what is in `mqtt` becomes
    /// one WebSocket frame and as few TLS records as its size allows. While handshaking nothing happens.
    ///
    /// # Errors
    /// The connection is closed on this side, or its keys are used up. What `output` holds is to be written all the same:
    /// it may be the farewell.
    pub fn send(&mut self, mqtt: &mut BytesMut, output: &mut BytesMut) -> Result<(), TransportError> {
        match &mut self.0 {
            Layers::Tcp => {
                pass(mqtt, output);
                Ok(())
            }
            Layers::Tls(tls) => tls.send(mqtt, output),
            Layers::WebSocket(websocket) => websocket.send(mqtt, output),
            Layers::WebSocketTls(both) => both.send(mqtt, output),
        }
    }

    /// Ends this side in order: appends a WebSocket close frame and TLS's close_notify. [`Transport::receive`] may go on.
    pub fn close(&mut self, output: &mut BytesMut) {
        match &mut self.0 {
            Layers::Tcp => {}
            Layers::Tls(tls) => tls.close(output),
            Layers::WebSocket(websocket) => websocket.close(output),
            Layers::WebSocketTls(both) => both.close(output),
        }
    }

    /// Whether MQTT has to wait for TLS or for the opening of the WebSocket.
    pub fn is_handshaking(&self) -> bool {
        match &self.0 {
            Layers::Tcp => false,
            Layers::Tls(tls) => tls.is_handshaking(),
            Layers::WebSocket(websocket) => websocket.is_handshaking(),
            Layers::WebSocketTls(both) => both.tls.is_handshaking() || both.websocket.is_handshaking(),
        }
    }

    /// What is known of the other end; complete once [`Transport::is_handshaking`] is false. Reads a client certificate
    /// anew each time.
    pub fn peer(&self) -> Peer {
        match &self.0 {
            Layers::Tcp => Peer::default(),
            Layers::Tls(tls) => Peer { tls: tls.info(), extended_offered: tls.is_extended() },
            Layers::WebSocket(websocket) => Peer { tls: None, extended_offered: websocket.is_extended() },
            Layers::WebSocketTls(both) => Peer { tls: both.tls.info(), extended_offered: both.websocket.is_extended() },
        }
    }
}

impl WebSocketTls {
    fn receive(&mut self, input: &mut BytesMut, mqtt: &mut BytesMut, output: &mut BytesMut) -> Result<Progress, TransportError> {
        let below = self.tls.receive(input, &mut self.plain, output)?;
        if below == Progress::Handshaking {
            return Ok(below);
        }
        let mut answer = BytesMut::new();
        let above = self.websocket.receive(&mut self.plain, mqtt, &mut answer, output.len());
        if self.plain.is_empty() {
            self.plain = BytesMut::new();
        }
        // An answer that cannot go any more is owed to a peer that has been told of the end.
        let answered = self.tls.send(&mut answer, output);
        match above {
            Err(error) => {
                self.tls.close(output);
                Err(error)
            }
            Ok(_) if below == Progress::PeerClosed => Ok(below),
            Ok(above) => answered.map(|()| above),
        }
    }

    fn send(&mut self, mqtt: &mut BytesMut, output: &mut BytesMut) -> Result<(), TransportError> {
        let mut frame = BytesMut::new();
        self.websocket.send(mqtt, &mut frame)?;
        self.tls.send(&mut frame, output)
    }

    fn close(&mut self, output: &mut BytesMut) {
        let mut frame = BytesMut::new();
        self.websocket.close(&mut frame);
        // Fails only where TLS has ended already, and then nobody waits for the frame.
        let _ = self.tls.send(&mut frame, output);
        self.tls.close(output);
    }
}

/// Moves all bytes on; without a copy when nothing waits there.
fn pass(from: &mut BytesMut, to: &mut BytesMut) {
    if to.is_empty() {
        std::mem::swap(from, to);
    } else {
        to.extend_from_slice(from);
        from.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transport_moves_between_threads_and_is_two_words() {
        fn is_send<T: Send + 'static>() {}
        is_send::<Transport>();
        assert_eq!(size_of::<Transport>(), 2 * size_of::<usize>());
    }

    #[test]
    fn idle_connections_have_small_states() {
        for (name, bytes, bytes_max) in [
            ("TLS", size_of::<Tls>(), 1200),
            ("WebSocket", size_of::<WebSocket>(), 80),
            ("WebSocket over TLS", size_of::<WebSocketTls>(), 1300),
        ] {
            println!("{name}: {bytes} bytes");
            assert!(bytes <= bytes_max, "{name}: {bytes} bytes");
        }
    }

    #[test]
    fn plain_bytes_pass_without_a_copy() {
        let mut transport = Transport::tcp();
        assert!(transport.is_plain() && !transport.is_handshaking());
        let (mut input, mut mqtt, mut output) = (BytesMut::from(&b"\xC0\0"[..]), BytesMut::new(), BytesMut::new());
        let place = input.as_ptr();
        assert_eq!(transport.receive(&mut input, &mut mqtt, &mut output), Ok(Progress::Open));
        assert_eq!((mqtt.as_ptr(), &mqtt[..], input.len(), output.len()), (place, &b"\xC0\0"[..], 0, 0));
        transport.send(&mut mqtt, &mut output).unwrap();
        assert_eq!((output.as_ptr(), mqtt.len()), (place, 0));
        // With bytes of an incomplete packet before them they are appended.
        input.extend_from_slice(b"\xD0");
        mqtt.extend_from_slice(b"\x30\x05");
        transport.receive(&mut input, &mut mqtt, &mut output).unwrap();
        assert_eq!((&mqtt[..], input.len()), (&b"\x30\x05\xD0"[..], 0));
        transport.close(&mut output);
        assert_eq!((&output[..], transport.peer()), (&b"\xC0\0"[..], Peer::default()));
    }

    #[test]
    fn tls_without_settings_is_refused_by_name() {
        let error = Transport::accept(Scheme::Wss, None, Limits::DEFAULT).unwrap_err();
        assert_eq!(error, TransportError::NoTlsSettings(Scheme::Wss));
        assert!(error.to_string().contains("wss"));
    }
}
