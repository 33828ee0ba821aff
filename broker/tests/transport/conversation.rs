//! A client and a server transport that talk over memory: the client is rustls and tungstenite, the server is ours.

use bytes::BytesMut;
use candor_broker::transport::{Limits, Progress, Scheme, TlsSettings, Transport, TransportError};
use rustls::ClientConnection;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::rc::Rc;
use tungstenite::client::IntoClientRequest;
use tungstenite::handshake::HandshakeError;
use tungstenite::handshake::client::{ClientHandshake, Response};
use tungstenite::http::HeaderValue;
use tungstenite::{Message, WebSocket};

/// The client's stream: bytes, through TLS where there is TLS.
#[derive(Clone)]
pub(crate) struct Stream(Rc<RefCell<StreamState>>);

struct StreamState {
    tls: Option<ClientConnection>,
    to_server: Vec<u8>,
    plain: VecDeque<u8>,
    /// What TLS made of the server's bytes, if it did not like them.
    error: Option<rustls::Error>,
    /// The server ended its side with close_notify.
    ended: bool,
}

impl Stream {
    fn new(tls: Option<ClientConnection>) -> Self {
        let state = StreamState { tls, to_server: Vec::new(), plain: VecDeque::new(), error: None, ended: false };
        Self(Rc::new(RefCell::new(state)))
    }

    /// Everything that is to go to the server.
    fn drain(&self) -> Vec<u8> {
        let state = &mut *self.0.borrow_mut();
        if let Some(tls) = &mut state.tls {
            while tls.wants_write() {
                tls.write_tls(&mut state.to_server).unwrap();
            }
        }
        std::mem::take(&mut state.to_server)
    }

    /// Bytes from the server.
    fn give(&self, mut bytes: &[u8]) {
        let state = &mut *self.0.borrow_mut();
        let Some(tls) = &mut state.tls else {
            state.plain.extend(bytes);
            return;
        };
        while !bytes.is_empty() {
            tls.read_tls(&mut bytes).unwrap();
            match tls.process_new_packets() {
                Ok(io) => {
                    let mut plain = vec![0; io.plaintext_bytes_to_read()];
                    tls.reader().read_exact(&mut plain).unwrap();
                    state.plain.extend(plain);
                    state.ended |= io.peer_has_closed();
                }
                Err(error) => {
                    state.error = Some(error);
                    return;
                }
            }
        }
    }
}

impl Read for Stream {
    fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        match self.0.borrow_mut().plain.read(space) {
            Ok(0) if !space.is_empty() => Err(io::ErrorKind::WouldBlock.into()),
            outcome => outcome,
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let state = &mut *self.0.borrow_mut();
        match &mut state.tls {
            Some(tls) => tls.writer().write(bytes),
            None => state.to_server.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What the client has above its stream.
enum Above {
    Nothing,
    Opening(tungstenite::handshake::MidHandshake<ClientHandshake<Stream>>),
    Open(Box<WebSocket<Stream>>),
}

/// A client and a server in conversation.
pub(crate) struct Conversation {
    pub(crate) stream: Stream,
    above: Above,
    pub(crate) server: Transport,
    /// The server's three buffers.
    pub(crate) input: BytesMut,
    pub(crate) mqtt: BytesMut,
    pub(crate) output: BytesMut,
    /// How many bytes the server gets at a time.
    step: usize,
    /// The HTTP answer that opened the WebSocket, or refused to.
    pub(crate) response: Option<Result<Response, tungstenite::Error>>,
    /// Everything that the server has put on the wire.
    pub(crate) wire: Vec<u8>,
}

/// What the client of a conversation is.
pub(crate) struct Client {
    pub(crate) scheme: Scheme,
    pub(crate) tls: Option<ClientConnection>,
    /// The value of Sec-WebSocket-Protocol.
    pub(crate) subprotocols: Option<&'static str>,
    pub(crate) step: usize,
    pub(crate) limits: Limits,
}

impl Client {
    pub(crate) fn new(scheme: Scheme, tls: Option<ClientConnection>) -> Self {
        Self { scheme, tls, subprotocols: Some("mqtt"), step: usize::MAX, limits: Limits::DEFAULT }
    }

    pub(crate) fn step(self, step: usize) -> Self {
        Self { step, ..self }
    }

    pub(crate) fn subprotocols(self, subprotocols: Option<&'static str>) -> Self {
        Self { subprotocols, ..self }
    }

    pub(crate) fn limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// A client that opens no WebSocket of its own, so that a test can write what it likes.
    pub(crate) fn raw(self, settings: Option<&TlsSettings>) -> Conversation {
        let server = Transport::accept(self.scheme, settings, self.limits).unwrap();
        Conversation {
            stream: Stream::new(self.tls),
            above: Above::Nothing,
            server,
            input: BytesMut::new(),
            mqtt: BytesMut::new(),
            output: BytesMut::new(),
            step: self.step,
            response: None,
            wire: Vec::new(),
        }
    }

    /// Opens all layers.
    pub(crate) fn connect(self, settings: Option<&TlsSettings>) -> (Conversation, Result<Progress, TransportError>) {
        let (scheme, subprotocols) = (self.scheme, self.subprotocols);
        let mut conversation = self.raw(settings);
        if scheme.is_websocket() {
            let mut request = format!("{scheme}://localhost/mqtt").into_client_request().unwrap();
            if let Some(subprotocols) = subprotocols {
                request.headers_mut().insert("Sec-WebSocket-Protocol", HeaderValue::from_static(subprotocols));
            }
            let opening = ClientHandshake::start(conversation.stream.clone(), request, None).unwrap();
            conversation.above = Above::Opening(opening);
        }
        let progress = conversation.pump();
        (conversation, progress)
    }

    /// Opens all layers, which must succeed.
    pub(crate) fn connected(self, settings: Option<&TlsSettings>) -> Conversation {
        let (conversation, progress) = self.connect(settings);
        assert_eq!(progress, Ok(Progress::Open), "{:?}", conversation.stream.0.borrow().error);
        assert!(!conversation.server.is_handshaking());
        conversation
    }
}

impl Conversation {
    /// Carries bytes to and fro until nobody has anything to say.
    pub(crate) fn pump(&mut self) -> Result<Progress, TransportError> {
        let mut outcome = if self.server.is_handshaking() { Ok(Progress::Handshaking) } else { Ok(Progress::Open) };
        loop {
            self.advance_opening();
            let bytes = self.stream.drain();
            if bytes.is_empty() && self.output.is_empty() {
                return outcome;
            }
            for part in bytes.chunks(self.step) {
                self.input.extend_from_slice(part);
                outcome = self.server.receive(&mut self.input, &mut self.mqtt, &mut self.output);
                if outcome.is_err() {
                    break;
                }
            }
            self.carry_output();
            if outcome.is_err() {
                self.advance_opening();
                return outcome;
            }
        }
    }

    fn carry_output(&mut self) {
        let bytes = self.output.split();
        self.wire.extend_from_slice(&bytes);
        self.stream.give(&bytes);
    }

    fn advance_opening(&mut self) {
        self.above = match std::mem::replace(&mut self.above, Above::Nothing) {
            Above::Opening(opening) => match opening.handshake() {
                Ok((websocket, response)) => {
                    self.response = Some(Ok(response));
                    Above::Open(Box::new(websocket))
                }
                Err(HandshakeError::Interrupted(opening)) => Above::Opening(opening),
                Err(HandshakeError::Failure(error)) => {
                    self.response = Some(Err(error));
                    Above::Nothing
                }
            },
            above => above,
        };
    }

    /// The client writes MQTT, in the layers that are open.
    pub(crate) fn client_sends(&mut self, mqtt: &[u8]) -> Result<Progress, TransportError> {
        match &mut self.above {
            Above::Open(websocket) => websocket.send(Message::binary(mqtt.to_vec())).unwrap(),
            _ => self.stream.write_all(mqtt).unwrap(),
        }
        self.pump()
    }

    /// The client writes MQTT, which is not carried yet.
    pub(crate) fn client_writes(&mut self, mqtt: &[u8]) {
        self.stream.write_all(mqtt).unwrap();
    }

    /// As [`Conversation::pump`], with the bytes of the client counted; those of the server are in `wire`.
    pub(crate) fn counted_pump(&mut self, sent: &mut u64) {
        loop {
            let bytes = self.stream.drain();
            if bytes.is_empty() && self.output.is_empty() {
                return;
            }
            *sent += bytes.len() as u64;
            self.input.extend_from_slice(&bytes);
            // What a client still says to a server that has closed is lost.
            let _ = self.server.receive(&mut self.input, &mut self.mqtt, &mut self.output);
            self.carry_output();
        }
    }

    /// The server writes MQTT. Returns what that put on the wire.
    pub(crate) fn server_sends(&mut self, mqtt: &[u8]) -> Vec<u8> {
        let mut mqtt = BytesMut::from(mqtt);
        self.server.send(&mut mqtt, &mut self.output).unwrap();
        assert!(mqtt.is_empty());
        let wire = self.output.to_vec();
        self.carry_output();
        wire
    }

    /// The server ends its side.
    pub(crate) fn server_closes(&mut self) {
        self.server.close(&mut self.output);
        self.carry_output();
    }

    /// The client's WebSocket.
    pub(crate) fn websocket(&mut self) -> &mut WebSocket<Stream> {
        match &mut self.above {
            Above::Open(websocket) => websocket,
            _ => panic!("the WebSocket is not open"),
        }
    }

    /// The client's TLS connection.
    pub(crate) fn with_client_tls<T>(&mut self, act: impl FnOnce(&mut ClientConnection) -> T) -> T {
        act(self.stream.0.borrow_mut().tls.as_mut().unwrap())
    }

    pub(crate) fn into_client_tls(self) -> (ClientConnection, Transport) {
        let tls = self.stream.0.borrow_mut().tls.take().unwrap();
        (tls, self.server)
    }

    pub(crate) fn client_error(&self) -> Option<rustls::Error> {
        self.stream.0.borrow().error.clone()
    }

    pub(crate) fn client_saw_the_end(&self) -> bool {
        self.stream.0.borrow().ended
    }

    /// What the client wrote that has not been carried yet.
    pub(crate) fn client_bytes(&mut self) -> Vec<u8> {
        self.stream.drain()
    }

    /// The MQTT that has come to the client.
    pub(crate) fn client_received(&mut self) -> Vec<u8> {
        let mut received = Vec::new();
        match &mut self.above {
            Above::Open(websocket) => loop {
                match websocket.read() {
                    Ok(Message::Binary(payload)) => received.extend_from_slice(&payload),
                    Ok(other) => panic!("{other}"),
                    Err(tungstenite::Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => panic!("{error}"),
                }
            },
            _ => {
                let plain = &mut self.stream.0.borrow_mut().plain;
                received.extend(plain.drain(..));
            }
        }
        received
    }

    /// The MQTT that has come to the server.
    pub(crate) fn server_received(&mut self) -> Vec<u8> {
        self.mqtt.split().to_vec()
    }
}
