//! Raw socket scripts: one end of a connection whose every byte is under control, with a deadline on each step. What a
//! step sees goes into a transcript that comes with every failure.

mod expect;
pub mod hex;
pub mod listener;
pub mod packet;
pub mod speak;
pub mod websocket;

pub use listener::Listener;
pub use packet::Delivery;

use crate::ensure;
use crate::outcome::{Checked, Stop};
use bytes::{Bytes, BytesMut};
use candor_protocol::codec::dictionary::Limits;
use candor_protocol::codec::frame::Frame;
use candor_protocol::dialect::{Dialect, read, write};
use candor_protocol::packet::Packet;
use candor_protocol::packet::legality::Role;
use std::cell::Cell;
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a step waits for what it expects before it fails. What is promised comes in milliseconds; the rest is for a
/// machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(15);

thread_local! {
    static OWN_PATIENCE: Cell<Duration> = const { Cell::new(PATIENCE) };
}

/// How long a step on this thread waits for what it expects: 15 seconds, unless [`with_patience`] says otherwise.
pub fn patience() -> Duration {
    OWN_PATIENCE.get()
}

/// Runs `work` with another patience: less for what is known to fail.
pub fn with_patience<T>(patience: Duration, work: impl FnOnce() -> T) -> T {
    let before = OWN_PATIENCE.replace(patience);
    let done = work();
    OWN_PATIENCE.set(before);
    done
}

/// How many lines of a conversation a failure shows.
const TRANSCRIPT_MAX: usize = 60;

/// The most bytes of one packet that a script reads.
const PACKET_MAX: usize = 8 << 20;

/// One end of a connection.
pub struct Wire {
    stream: Box<dyn Duplex>,
    /// The same socket, for its deadlines.
    socket: TcpStream,
    who: String,
    incoming: Vec<u8>,
    /// Packets that were read while another was waited for.
    early: VecDeque<Vec<u8>>,
    closed: bool,
    transcript: VecDeque<String>,
    alpn: Option<String>,
}

/// What a peer did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    Packet(Vec<u8>),
    Closed,
    /// Nothing, and the connection is open.
    Silence,
}

/// Both directions of a byte stream.
pub trait Duplex: Read + Write + Send {}
impl<T: Read + Write + Send> Duplex for T {}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wire").field("who", &self.who).field("closed", &self.closed).finish_non_exhaustive()
    }
}

impl Wire {
    /// Connects; `who` names this end in failures.
    ///
    /// # Errors
    /// The connection is refused, or not accepted within [`patience`].
    pub fn connect(address: SocketAddr, who: &str) -> Checked<Self> {
        let socket = TcpStream::connect_timeout(&address, patience())
            .map_err(|error| Stop::failed(format!("{who}: cannot connect to {address}: {error}")))?;
        Self::over(socket.try_clone()?, socket, who)
    }

    /// Connects and completes a TLS handshake with a server called `localhost`.
    ///
    /// # Errors
    /// As [`Wire::connect`], or the handshake's.
    pub fn connect_tls(address: SocketAddr, config: Arc<rustls::ClientConfig>, who: &str) -> Checked<Self> {
        let plain = Self::connect(address, who)?;
        let name = rustls::pki_types::ServerName::try_from("localhost").map_err(|error| Stop::failed(error.to_string()))?;
        let mut session = rustls::ClientConnection::new(config, name).map_err(|error| Stop::failed(format!("{who}: TLS: {error}")))?;
        let mut socket = plain.socket.try_clone()?;
        socket.set_read_timeout(Some(patience()))?;
        while session.is_handshaking() {
            session.complete_io(&mut socket).map_err(|error| Stop::failed(format!("{who}: TLS handshake: {error}")))?;
        }
        let alpn = session.alpn_protocol().map(|id| String::from_utf8_lossy(id).into_owned());
        Ok(Self { alpn, ..Self::over(rustls::StreamOwned::new(session, socket), plain.socket, who)? })
    }

    /// Speaks over `stream`, whose socket is `socket`.
    ///
    /// # Errors
    /// The socket does not take its options.
    pub fn over(stream: impl Duplex + 'static, socket: TcpStream, who: &str) -> Checked<Self> {
        socket.set_nodelay(true)?;
        socket.set_write_timeout(Some(patience()))?;
        let transcript = VecDeque::new();
        Ok(Self {
            stream: Box::new(stream),
            socket,
            who: who.to_owned(),
            incoming: vec![],
            early: VecDeque::new(),
            closed: false,
            transcript,
            alpn: None,
        })
    }

    /// The ALPN protocol id that the server selected, if there was TLS and it did.
    pub fn alpn(&self) -> Option<String> {
        self.alpn.clone()
    }

    /// Puts the byte stream into another one, such as WebSocket frames; only before the first packet.
    ///
    /// # Errors
    /// Those of `wrap`.
    pub fn wrapped(self, wrap: impl FnOnce(Box<dyn Duplex>) -> Checked<Box<dyn Duplex>>) -> Checked<Self> {
        self.socket.set_read_timeout(Some(patience()))?;
        Ok(Self { stream: wrap(self.stream)?, ..self })
    }

    /// Sends bytes in one write. A connection that the peer has closed is no error here: the next expectation sees it.
    ///
    /// # Errors
    /// The peer takes nothing for [`patience`].
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> Checked {
        let bytes = bytes.as_ref();
        self.note('>', bytes);
        match self.stream.write_all(bytes).and_then(|()| self.stream.flush()) {
            Err(error) if !is_closed(error.kind()) => Err(self.failure(format!("cannot send: {error}"))),
            _ => Ok(()),
        }
    }

    /// Sends bytes written as hex.
    ///
    /// # Errors
    /// As [`Wire::send`], or what is not hex.
    pub fn send_hex(&mut self, text: &str) -> Checked {
        self.send(hex::parse(text)?)
    }

    /// Sends a packet of the model as `sender` says it in `dialect`.
    ///
    /// # Errors
    /// As [`Wire::send`], or the dialect cannot say it.
    pub fn send_packet(&mut self, dialect: Dialect, sender: Role, packet: &Packet) -> Checked {
        let bytes = write::to_bytes(dialect, sender, packet)
            .ok_or_else(|| Stop::failed(format!("the dialect {dialect} has no frame for {}", packet.kind())))?;
        self.send(bytes)
    }

    /// The next packet, as bytes.
    ///
    /// # Errors
    /// None comes within [`patience`], or the peer closes.
    #[allow(clippy::should_implement_trait, reason = "an event that may fail, with a deadline, is no iterator item")]
    pub fn next(&mut self) -> Checked<Vec<u8>> {
        self.next_within(patience())?.ok_or_else(|| self.failure("expected a packet, the peer closed the connection".into()))
    }

    /// The next packet, as bytes; `None`: the peer closed instead.
    ///
    /// # Errors
    /// Neither comes within `patience`.
    pub fn next_within(&mut self, patience: Duration) -> Checked<Option<Vec<u8>>> {
        match self.look(patience)? {
            Seen::Packet(packet) => Ok(Some(packet)),
            Seen::Closed => Ok(None),
            Seen::Silence => Err(self.failure("nothing came in time, the connection is open".into())),
        }
    }

    /// What the peer does within `patience`.
    ///
    /// # Errors
    /// The socket's, or a packet that is larger than a script reads.
    pub fn look(&mut self, patience: Duration) -> Checked<Seen> {
        let deadline = Instant::now() + patience;
        if let Some(packet) = self.early.pop_front() {
            return Ok(Seen::Packet(packet));
        }
        loop {
            if let Some(len) = whole_packet(&self.incoming) {
                let packet: Vec<u8> = self.incoming.drain(..len).collect();
                self.note('<', &packet);
                return Ok(Seen::Packet(packet));
            }
            ensure!(self.incoming.len() <= PACKET_MAX, "{}: a packet of more than {PACKET_MAX} bytes", self.who);
            if self.closed {
                self.transcript.push_back("  < closed".into());
                return Ok(Seen::Closed);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Seen::Silence);
            }
            self.fill(left)?;
        }
    }

    /// The next packet as the model has it, read in `dialect`.
    ///
    /// # Errors
    /// As [`Wire::next`], or it is malformed.
    pub fn next_packet(&mut self, dialect: Dialect) -> Checked<Packet> {
        let packet = self.next()?;
        let frame = Frame { first: packet[0], body: Bytes::copy_from_slice(packet::body(&packet)) };
        read::raise(dialect, &frame, Limits::default()).map_err(|error| self.failure(format!("malformed: {error}")))
    }

    /// A client's fence: everything sent so far was processed and nothing else was waiting, because PINGRESP is next.
    ///
    /// # Errors
    /// Another packet comes first, or none.
    pub fn ping(&mut self) -> Checked {
        self.send(packet::PINGREQ)?;
        self.expect(packet::PINGRESP)
    }

    /// Sends DISCONNECT and sees the server close.
    ///
    /// # Errors
    /// As [`Wire::expect_close`].
    pub fn disconnect(mut self) -> Checked {
        self.send(packet::DISCONNECT)?;
        // Deliveries that were on their way may still come.
        self.until_close().map(|_| ())
    }

    /// Ends the connection as a network failure does: a reset, without DISCONNECT.
    pub fn reset(self) {
        // Without the option the close is an ordinary one, which is no DISCONNECT either.
        let _ = socket2::SockRef::from(&self.socket).set_linger(Some(Duration::ZERO));
    }

    /// Shuts down the sending direction: the peer sees the end, and may still send.
    ///
    /// # Errors
    /// The socket's.
    pub fn finish_sending(&self) -> Checked {
        Ok(self.socket.shutdown(std::net::Shutdown::Write)?)
    }

    /// Gives the socket up, for what speaks over it without packets.
    pub fn into_socket(self) -> TcpStream {
        self.socket
    }

    /// A failure with the conversation so far.
    pub fn failure(&self, what: String) -> Stop {
        let lines: String = self.transcript.iter().map(|line| format!("\n    {line}")).collect();
        Stop::failed(format!("{}: {what}{lines}", self.who))
    }

    fn fill(&mut self, patience: Duration) -> Checked {
        self.socket.set_read_timeout(Some(patience))?;
        let mut chunk = [0; 16 << 10];
        match self.stream.read(&mut chunk) {
            Ok(0) => self.closed = true,
            Ok(len) => self.incoming.extend_from_slice(&chunk[..len]),
            Err(error) if is_closed(error.kind()) => self.closed = true,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {}
            Err(error) => return Err(self.failure(format!("cannot receive: {error}"))),
        }
        Ok(())
    }

    fn note(&mut self, direction: char, bytes: &[u8]) {
        if self.transcript.len() == TRANSCRIPT_MAX {
            self.transcript.pop_front();
        }
        self.transcript.push_back(format!("  {direction} {}", described(bytes)));
    }
}

/// A packet's name and bytes.
fn described(bytes: &[u8]) -> String {
    format!("{} {}", packet::name(bytes), hex::show(bytes))
}

fn is_closed(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::ConnectionReset
            | ErrorKind::BrokenPipe
            | ErrorKind::ConnectionAborted
            | ErrorKind::NotConnected
            | ErrorKind::UnexpectedEof
    )
}

/// The length of the packet at the front, if it is whole.
pub(crate) fn whole_packet(bytes: &[u8]) -> Option<usize> {
    let len_bytes = bytes.iter().skip(1).take(4).position(|byte| byte & 0x80 == 0)? + 1;
    let remaining = (0..len_bytes).fold(0, |sum, at| sum | usize::from(bytes[1 + at] & 0x7F) << (7 * at));
    let total = 1 + len_bytes + remaining;
    (bytes.len() >= total).then_some(total)
}

/// All packets of a byte stream that holds nothing else.
///
/// # Errors
/// The last one is not whole.
pub fn split_packets(mut bytes: &[u8]) -> Checked<Vec<Vec<u8>>> {
    let mut packets = vec![];
    while !bytes.is_empty() {
        let len = whole_packet(bytes).ok_or_else(|| Stop::failed(format!("half a packet: {}", hex::show(bytes))))?;
        packets.push(bytes[..len].to_vec());
        bytes = &bytes[len..];
    }
    Ok(packets)
}

/// The bytes of several packets, to be sent in one write.
pub fn together(packets: &[&[u8]]) -> Vec<u8> {
    let mut out = BytesMut::new();
    packets.iter().for_each(|packet| out.extend_from_slice(packet));
    out.to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Wire, Wire) {
        let listener = Listener::bind("server").unwrap();
        let client = Wire::connect(listener.address(), "client").unwrap();
        (client, listener.accept().unwrap())
    }

    #[test]
    fn packets_are_found_in_any_split_of_the_bytes() {
        let (mut client, mut server) = pair();
        let long = packet::publish("t", vec![7; 200], 0, 0);
        for byte in packet::PINGREQ.iter().chain(&long) {
            client.send([*byte]).unwrap();
        }
        server.expect(packet::PINGREQ).unwrap();
        assert_eq!(server.expect_publish().unwrap().payload, vec![7; 200]);
    }

    #[test]
    fn a_failed_expectation_shows_the_conversation() {
        let (mut client, mut server) = pair();
        client.send(packet::PINGREQ).unwrap();
        server.send(packet::ack(packet::PUBACK, 1)).unwrap();
        let Err(Stop::Failed(why)) = client.expect(packet::PINGRESP) else { panic!("it must fail") };
        assert_eq!(why, "client: expected PINGRESP d0 00, got PUBACK 40 02 00 01\n      > PINGREQ c0 00\n      < PUBACK 40 02 00 01");
    }

    #[test]
    fn a_close_is_told_from_silence_and_from_a_packet() {
        let (mut client, server) = pair();
        let silent = client.expect_close_within(Duration::from_millis(20));
        assert!(silent.unwrap_err().to_string().contains("nothing came in time"));
        server.reset();
        client.expect_close().unwrap();
        client.send(packet::PINGREQ).unwrap();
        client.expect_close().unwrap();
    }

    #[test]
    fn packets_of_the_model_go_both_ways() {
        let (mut client, mut server) = pair();
        let ping = Packet::PingReq(Default::default());
        client.send_packet(Dialect::V311, Role::Client, &ping).unwrap();
        assert_eq!(server.next_packet(Dialect::V311).unwrap(), ping);
    }

    #[test]
    fn a_stream_is_split_into_its_packets() {
        let both = together(&[&packet::PINGREQ, &packet::ack(packet::PUBACK, 9)]);
        assert_eq!(split_packets(&both).unwrap(), [packet::PINGREQ.to_vec(), packet::ack(packet::PUBACK, 9)]);
        assert!(split_packets(&both[..5]).is_err());
    }
}
