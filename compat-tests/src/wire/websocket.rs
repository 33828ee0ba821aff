//! WebSocket by hand (RFC 6455), as far as MQTT's section 6 can be seen through it: the handshake, binary and other
//! frames, packets cut across frames.

use super::Duplex;
use crate::ensure;
use crate::outcome::{Checked, Stop};
use std::io::{Read, Write};

/// RFC 6455, section 1.3: the sample nonce, whose accept value is given there.
const NONCE: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// The longest response head and the longest frame that are read.
const HEAD_MAX: usize = 8 << 10;
const FRAME_MAX: u64 = 8 << 20;

pub const BINARY: u8 = 2;
pub const TEXT: u8 = 1;
const CONTINUATION: u8 = 0;
const CLOSE: u8 = 8;

/// The answer to an upgrade.
#[derive(Debug, Clone)]
pub struct Upgraded {
    /// `Sec-WebSocket-Protocol` of the answer.
    pub protocol: Option<String>,
}

/// Sends the opening handshake and reads the answer.
///
/// # Errors
/// The server does not switch protocols, or with a wrong accept value.
pub fn upgrade(stream: &mut dyn Duplex, path: &str, protocols: &str) -> Checked<Upgraded> {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {NONCE}\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: {protocols}\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    stream.flush()?;
    let mut head = vec![];
    while !head.ends_with(b"\r\n\r\n") {
        ensure!(head.len() < HEAD_MAX, "the answer to the WebSocket handshake is longer than {HEAD_MAX} bytes");
        let mut byte = [0];
        stream.read_exact(&mut byte).map_err(|error| Stop::failed(format!("no answer to the WebSocket handshake: {error}")))?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    ensure!(head.starts_with("HTTP/1.1 101"), "the server does not switch to WebSocket: {:?}", head.lines().next().unwrap_or_default());
    ensure!(field(&head, "sec-websocket-accept").as_deref() == Some(ACCEPT), "a wrong Sec-WebSocket-Accept in {head:?}");
    Ok(Upgraded { protocol: field(&head, "sec-websocket-protocol") })
}

fn field(head: &str, name: &str) -> Option<String> {
    let mut fields = head.lines().filter_map(|line| line.split_once(':'));
    fields.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
}

/// A client's frame: final, masked with zeros, so that the payload can be read off the wire.
pub fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0x80 | opcode];
    match payload.len() {
        len @ 0..=125 => out.push(0x80 | len as u8),
        len @ 126..=0xFFFF => {
            out.push(0x80 | 126);
            out.extend((len as u16).to_be_bytes());
        }
        len => {
            out.push(0x80 | 127);
            out.extend((len as u64).to_be_bytes());
        }
    }
    out.extend([0; 4]);
    out.extend_from_slice(payload);
    out
}

/// How what is written becomes frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// One binary frame a write.
    Whole,
    /// Binary frames of this many bytes.
    Chunks(usize),
    /// What is written is already frames.
    Raw,
}

/// A byte stream inside WebSocket frames.
pub struct WebSocket {
    inner: Box<dyn Duplex>,
    framing: Framing,
    /// Payload that was received and not yet read.
    payload: Vec<u8>,
    /// Received bytes that are not yet a whole frame.
    partial: Vec<u8>,
    ended: bool,
}

impl std::fmt::Debug for WebSocket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebSocket").field("framing", &self.framing).finish_non_exhaustive()
    }
}

impl WebSocket {
    pub fn new(inner: Box<dyn Duplex>, framing: Framing) -> Self {
        Self { inner, framing, payload: vec![], partial: vec![], ended: false }
    }

    /// Takes the whole frames out of what was received.
    fn unframe(&mut self) -> std::io::Result<()> {
        while let Some((opcode, head, len)) = frame_head(&self.partial)? {
            if self.partial.len() < head + len {
                break;
            }
            let frame: Vec<u8> = self.partial.drain(..head + len).collect();
            match opcode {
                BINARY | CONTINUATION => self.payload.extend_from_slice(&frame[head..]),
                CLOSE => self.ended = true,
                TEXT => return Err(std::io::Error::other("the server sent a text frame [MQTT-6.0.0-1]")),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Opcode, length of the head, length of the payload of a server's frame.
fn frame_head(bytes: &[u8]) -> std::io::Result<Option<(u8, usize, usize)>> {
    let (Some(&first), Some(&second)) = (bytes.first(), bytes.get(1)) else { return Ok(None) };
    if second & 0x80 != 0 {
        return Err(std::io::Error::other("the server masks its frames (RFC 6455, section 5.1)"));
    }
    let (head, len) = match (second, bytes) {
        (126, [_, _, high, low, ..]) => (4, u64::from(u16::from_be_bytes([*high, *low]))),
        (127, [_, _, a, b, c, d, e, f, g, h, ..]) => (10, u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h])),
        (126 | 127, _) => return Ok(None),
        (len, _) => (2, u64::from(len)),
    };
    if len > FRAME_MAX {
        return Err(std::io::Error::other(format!("a WebSocket frame of {len} bytes; at most {FRAME_MAX} are read")));
    }
    Ok(Some((first & 0x0F, head, len as usize)))
}

impl Read for WebSocket {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        while self.payload.is_empty() && !self.ended {
            let mut chunk = [0; 16 << 10];
            let len = self.inner.read(&mut chunk)?;
            self.ended = len == 0;
            self.partial.extend_from_slice(&chunk[..len]);
            self.unframe()?;
        }
        let len = out.len().min(self.payload.len());
        self.payload.drain(..len).zip(out).for_each(|(byte, place)| *place = byte);
        Ok(len)
    }
}

impl Write for WebSocket {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self.framing {
            Framing::Whole => self.inner.write_all(&frame(BINARY, bytes))?,
            Framing::Chunks(len) => {
                for chunk in bytes.chunks(len.max(1)) {
                    self.inner.write_all(&frame(BINARY, chunk))?;
                }
            }
            Framing::Raw => self.inner.write_all(bytes)?,
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    #[test]
    fn frames_of_every_length_form_are_read() {
        for len in [0usize, 1, 125, 126, 65_535, 65_536] {
            let mut stream: VecDeque<u8> = VecDeque::new();
            // As a server sends: without the mask bit and key.
            let mut bytes = frame(BINARY, &vec![5; len]);
            let head = bytes.len() - len - 4;
            bytes.drain(head..head + 4);
            bytes[1] &= 0x7F;
            stream.extend(bytes);
            stream.extend([0x88, 0]);
            let mut seen = vec![];
            WebSocket::new(Box::new(stream), Framing::Whole).read_to_end(&mut seen).unwrap();
            assert_eq!(seen, vec![5; len], "{len}");
        }
    }

    #[test]
    fn a_text_frame_from_the_server_is_an_error() {
        let stream: VecDeque<u8> = [0x81, 1, b'x'].into();
        assert!(WebSocket::new(Box::new(stream), Framing::Whole).read(&mut [0; 4]).is_err());
    }
}
