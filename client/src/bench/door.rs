//! Opening connections: each waits for its CONNACK and SUBACK before the load begins.

use super::BenchError;
use super::plan::{DICTIONARY_LEN_MAX, PAYLOAD_LEN_MAX};
use super::target::Endpoint;
use super::tls::Stream;
use super::wire::{self, CONNACK, Hello, SUBACK};
use candor_protocol::dialect::Dialect;
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType};
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// For a CONNACK or SUBACK.
const PATIENCE: Duration = Duration::from_secs(20);
/// The longest answer that is read before the load begins.
const ANSWER_LEN_MAX: usize = 1 << 20;
/// The longest message: the longest payload, with what is before it.
const MESSAGE_LEN_MAX: usize = PAYLOAD_LEN_MAX + DICTIONARY_LEN_MAX + (64 << 10);
/// Filters in one SUBSCRIBE.
const FILTERS_A_PACKET: usize = 100;

/// A connection that was taken.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) stream: Stream,
    /// Whether the server had a session for it.
    pub(super) is_present: bool,
    dialect: Dialect,
}

/// A connection whose CONNECT is on its way.
#[derive(Debug)]
pub(super) struct Opening<'a> {
    endpoint: &'a Endpoint,
    door: Door,
    connect: Vec<u8>,
}

/// Connects as `client_id` with a clean session, or with one that stays.
pub(super) fn open(endpoint: &Endpoint, dialect: Dialect, client_id: &str, clean: bool) -> Result<Door, BenchError> {
    Opening::begin(endpoint, dialect, client_id, clean)?.finish()
}

/// Ends a session that stays: a clean one of the same name takes its place, and goes.
pub(super) fn end_session(endpoint: &Endpoint, dialect: Dialect, client_id: &str) -> Result<(), BenchError> {
    open(endpoint, dialect, client_id, true)?.leave()
}

impl<'a> Opening<'a> {
    /// Sends what can be sent without an answer: CONNECT, or over TLS the first flight of the handshake.
    pub(super) fn begin(endpoint: &'a Endpoint, dialect: Dialect, client_id: &str, clean: bool) -> Result<Self, BenchError> {
        let bad = |error: io::Error| BenchError::Connect(format!("{endpoint}: {}", why(&error)));
        let socket = TcpStream::connect_timeout(&endpoint.address, PATIENCE).map_err(bad)?;
        Self::on(socket, endpoint, dialect, client_id, clean)
    }

    /// The same with a clean session and a receive buffer of so many bytes, which the system may round.
    pub(super) fn begin_narrow(
        endpoint: &'a Endpoint,
        dialect: Dialect,
        client_id: &str,
        receive_buffer: usize,
    ) -> Result<Self, BenchError> {
        let bad = |error: Errno| BenchError::Connect(format!("{endpoint}: {}", why(&io::Error::from(error))));
        let family = if endpoint.address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
        let socket = net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None).map_err(bad)?;
        // Before the connection is there: the window that is offered at first follows from it.
        net::sockopt::set_socket_recv_buffer_size(&socket, receive_buffer).map_err(bad)?;
        // How long connecting may take, on Linux.
        net::sockopt::set_socket_timeout(&socket, net::sockopt::Timeout::Send, Some(PATIENCE)).map_err(bad)?;
        net::connect(&socket, &endpoint.address).map_err(bad)?;
        Self::on(TcpStream::from(socket), endpoint, dialect, client_id, true)
    }

    fn on(socket: TcpStream, endpoint: &'a Endpoint, dialect: Dialect, client_id: &str, clean: bool) -> Result<Self, BenchError> {
        let bad = |error: io::Error| BenchError::Connect(format!("{endpoint}: {error}"));
        socket.set_nodelay(true).map_err(bad)?;
        socket.set_read_timeout(Some(PATIENCE)).map_err(bad)?;
        socket.set_write_timeout(Some(PATIENCE)).map_err(bad)?;
        let tls = endpoint.tls.as_ref().map(super::tls::Tls::connection).transpose()?;
        let (user_name, password) = (endpoint.user_name.as_deref(), endpoint.password.as_deref());
        let mut connect = wire::connect(&Hello { dialect, client_id, clean, user_name, password });
        let mut stream = Stream::new(socket, tls);
        if endpoint.is_tls() {
            stream.push().map_err(bad)?;
        } else {
            stream.write_all(&connect).map_err(bad)?;
            connect.clear();
        }
        Ok(Self { endpoint, door: Door { stream, dialect, is_present: false }, connect })
    }

    /// Waits until the server has taken the connection.
    pub(super) fn finish(self) -> Result<Door, BenchError> {
        let Self { endpoint, mut door, connect } = self;
        // A server that knows another dialect, or another layer below, has no other way to say so.
        let hint = match (door.dialect.is_extended(), endpoint.is_tls()) {
            (true, _) => "; perhaps it does not speak the extended dialect",
            (false, true) => "; perhaps it does not speak TLS at this port",
            (false, false) => "; perhaps it speaks TLS at this port, or something else than MQTT",
        };
        let bad = |error: io::Error| {
            BenchError::Connect(format!("{endpoint}: CONNECT: {}{}", why(&error), if is_closed(&error) { hint } else { "" }))
        };
        door.stream.write_all(&connect).map_err(bad)?;
        let (first, body) = read_packet(&mut door.stream, ANSWER_LEN_MAX).map_err(bad)?;
        match (first, body.get(1)) {
            (CONNACK, Some(0)) => {
                door.is_present = body.first().is_some_and(|flags| flags & 1 == 1);
                Ok(door)
            }
            (CONNACK, Some(&code)) => {
                let said = wire::refusal(door.dialect, wire::Frame { first, body: &body }).unwrap_or_else(|| meaning(code).to_owned());
                Err(BenchError::Connect(format!("{endpoint} refused the connection with code {code}: {said}")))
            }
            _ => Err(BenchError::Connect(format!("{endpoint} answered CONNECT with a packet that begins with {first:#04x}"))),
        }
    }
}

impl Door {
    /// Subscribes to all of `filters`.
    pub(super) fn subscribe(&mut self, filters: &[String], qos: u8) -> Result<(), BenchError> {
        for (at, filters) in filters.chunks(FILTERS_A_PACKET).enumerate() {
            let id = (at % 65_535) as u16 + 1;
            let lost = |error: io::Error| BenchError::Lost(format!("SUBSCRIBE: {}", why(&error)));
            self.stream.write_all(&wire::subscribe(self.dialect, id, filters, qos)).map_err(lost)?;
            let (first, body) = read_packet(&mut self.stream, ANSWER_LEN_MAX).map_err(lost)?;
            let codes = body.get(body.len().saturating_sub(filters.len())..).unwrap_or_default();
            if first != SUBACK || codes.len() != filters.len() {
                return Err(BenchError::Lost(format!("SUBSCRIBE was answered by a packet that begins with {first:#04x}")));
            }
            if let Some((filter, code)) = filters.iter().zip(codes).find(|(_, code)| **code != qos) {
                let text = match code {
                    0..=2 => format!("QoS {code} was granted to `{filter}`, where {qos} was asked for"),
                    _ => format!("the subscription to `{filter}` was refused with code {code:#04x}"),
                };
                return Err(BenchError::Connect(text));
            }
        }
        Ok(())
    }
}

/// Reads one packet of at most `len_max` bytes, and not a byte more.
fn read_packet(socket: &mut Stream, len_max: usize) -> io::Result<(u8, Vec<u8>)> {
    let mut head = [0; 5];
    socket.read_exact(&mut head[..2])?;
    let mut have = 2;
    let length = loop {
        let invalid = |text| io::Error::new(ErrorKind::InvalidData, text);
        match wire::varint(&head[1..have]).map_err(invalid)? {
            Some((length, _)) if length > len_max => return Err(invalid("it answers with a packet longer than any that was asked for")),
            Some((length, _)) => break length,
            None => {
                socket.read_exact(&mut head[have..=have])?;
                have += 1;
            }
        }
    };
    let mut body = vec![0; length];
    socket.read_exact(&mut body)?;
    Ok((head[0], body))
}

/// What a return code of CONNACK means (section 3.2.2.3).
fn meaning(code: u8) -> &'static str {
    match code {
        1 => "it does not speak this version of the protocol",
        2 => "it does not take this client identifier",
        3 => "it cannot serve now",
        4 => "user name or password are wrong",
        5 => "not authorized; a URL may say who connects: mqtt://USER:PASSWORD@HOST",
        _ => "a code that 3.1.1 does not have",
    }
}

fn is_closed(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset)
}

fn is_late(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) || Errno::from_io_error(error) == Some(Errno::INPROGRESS)
}

fn why(error: &io::Error) -> String {
    match error {
        error if is_late(error) => format!("no answer within {} s", PATIENCE.as_secs()),
        error if is_closed(error) => "the server closed the connection".to_owned(),
        error => error.to_string(),
    }
}

impl Door {
    pub(super) fn is_resumed(&self) -> bool {
        self.stream.is_resumed()
    }

    pub(super) fn ping(&mut self) -> Result<(), BenchError> {
        self.stream.write_all(wire::PINGREQ).map_err(|error| BenchError::Lost(format!("PINGREQ: {error}")))
    }

    /// Waits for the answer to [`Door::ping`].
    pub(super) fn pong(&mut self) -> Result<(), BenchError> {
        match read_packet(&mut self.stream, ANSWER_LEN_MAX) {
            Ok((0xD0, _)) => Ok(()),
            Ok((first, _)) => Err(BenchError::Lost(format!("PINGREQ was answered by a packet that begins with {first:#04x}"))),
            Err(error) => Err(BenchError::Lost(format!("PINGREQ: {}", why(&error)))),
        }
    }

    /// Takes and acknowledges so many messages, or what comes of them before nothing has come for `stall`; tells how many.
    pub(super) fn collect(&mut self, wanted: u64, stall: Duration) -> Result<u64, BenchError> {
        let lost = |error: io::Error| BenchError::Lost(format!("a session that came back: {}", why(&error)));
        self.stream.socket.set_read_timeout(Some(stall)).map_err(lost)?;
        let mut got = 0;
        while got < wanted {
            let (first, body) = match read_packet(&mut self.stream, MESSAGE_LEN_MAX) {
                Ok(packet) => packet,
                Err(error) if is_late(&error) => break,
                Err(error) => return Err(lost(error)),
            };
            let mut answer = Vec::new();
            let bad = || lost(io::Error::new(ErrorKind::InvalidData, "a packet that makes no sense"));
            let taken = wire::take(wire::Frame { first, body: &body }, self.dialect.is_extended(), &mut answer).ok_or_else(bad)?;
            got += u64::from(taken.is_some());
            self.stream.write_all(&answer).map_err(lost)?;
        }
        Ok(got)
    }

    /// Says goodbye.
    pub(super) fn leave(mut self) -> Result<(), BenchError> {
        // Whoever is gone already needs no goodbye.
        let _ = self.stream.write_all(wire::DISCONNECT);
        Ok(())
    }
}
