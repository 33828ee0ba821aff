//! WebSocket frames as a server reads and writes them (RFC 6455, section 5), without a buffer of their own: the payload
//! of a binary frame goes on as it comes in, whole or not, since packets are not aligned to frames ([MQTT-6.0.0-2]).

use bytes::{Buf, BufMut, BytesMut};
use std::fmt;
use std::io::Cursor;
use tungstenite::error::{Error as LibraryError, ProtocolError};
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};

/// The largest payload of a control frame, in bytes (RFC 6455, section 5.5).
const CONTROL_PAYLOAD_MAX: usize = 125;

/// How the peer broke the WebSocket protocol, or MQTT's rules for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BadFrame {
    /// A text frame: MQTT travels in binary frames only ([MQTT-6.0.0-1]).
    Text,
    /// A frame of a kind that RFC 6455 does not have.
    UnknownKind(u8),
    /// A frame larger than the limit.
    TooLarge { bytes: u64, bytes_max: u64 },
    /// A frame without a mask: a client must mask (RFC 6455, section 5.1).
    Unmasked,
    /// A reserved bit is set, and no extension was agreed on.
    ReservedBits,
    /// A continuation of nothing.
    UnexpectedContinuation,
    /// A new message inside a fragmented one.
    ExpectedContinuation,
    /// A control frame that is fragmented or has more than 125 bytes.
    BadControl,
    /// A close frame whose payload is a single byte, has a code that may not be sent, or a reason that is not UTF-8.
    BadClose,
}

impl BadFrame {
    /// The code that the peer is told in a close frame (RFC 6455, section 7.4.1).
    const fn close_code(self) -> CloseCode {
        match self {
            Self::Text => CloseCode::Unsupported,
            Self::TooLarge { .. } => CloseCode::Size,
            _ => CloseCode::Protocol,
        }
    }
}

impl fmt::Display for BadFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text => write!(f, "a text frame; MQTT travels in binary frames only"),
            Self::UnknownKind(opcode) => write!(f, "a WebSocket frame with the reserved opcode {opcode}"),
            Self::TooLarge { bytes, bytes_max } => write!(f, "a WebSocket frame of {bytes} bytes; at most {bytes_max} are taken"),
            Self::Unmasked => write!(f, "a WebSocket frame without a mask; clients must mask"),
            Self::ReservedBits => write!(f, "a WebSocket frame with reserved bits set, although no extension was agreed on"),
            Self::UnexpectedContinuation => write!(f, "a continuation frame without a message to continue"),
            Self::ExpectedContinuation => write!(f, "a new message before the fragmented one has ended"),
            Self::BadControl => write!(f, "a control frame that is fragmented or longer than {CONTROL_PAYLOAD_MAX} bytes"),
            Self::BadClose => write!(f, "a close frame with an illegal code or reason"),
        }
    }
}

/// Where reading stands between two calls.
#[derive(Debug, Default)]
pub(super) struct FrameReader {
    /// How much of the current binary frame's payload is still to come, in bytes.
    payload_left: u64,
    /// The current frame's mask, turned so that its first byte is for the next byte of payload.
    mask: [u8; 4],
    /// Whether a fragmented binary message is open.
    in_message: bool,
}

/// What reading came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// All that was there has been taken. The payload of the last ping among it is to be answered; earlier ones need not
    /// be (RFC 6455, section 5.5.3), so a flood of pings is not answered by a flood.
    More { ping: Option<BytesMut> },
    /// The peer sent a close frame; its code is to be sent back.
    Closed(Option<CloseCode>),
}

impl FrameReader {
    /// Takes all frames, and parts of binary frames, that are there: payloads of binary frames are appended to `mqtt`.
    /// What remains in `input` is less than one header with a control frame's payload: 130 bytes at most.
    ///
    /// # Errors
    /// The peer broke the protocol; [`write_close_for`] tells it so.
    pub(super) fn read(&mut self, input: &mut BytesMut, mqtt: &mut BytesMut, frame_bytes_max: u64) -> Result<Reading, BadFrame> {
        let mut ping: Option<BytesMut> = None;
        loop {
            self.take_payload(input, mqtt);
            if self.payload_left > 0 {
                return Ok(Reading::More { ping });
            }
            let Some((header, header_len, len)) = parse_header(input)? else { return Ok(Reading::More { ping }) };
            let mask = check_header(&header, len, frame_bytes_max)?;
            if let OpCode::Control(control) = header.opcode {
                // At most 125, so that the sum cannot overflow.
                let end = header_len + len as usize;
                if input.len() < end {
                    return Ok(Reading::More { ping });
                }
                let mut frame = input.split_to(end);
                frame.advance(header_len);
                unmask(&mut frame, mask);
                match control {
                    Control::Close => return Ok(Reading::Closed(read_close(&frame)?)),
                    Control::Ping => ping = Some(frame),
                    Control::Pong => {}
                    Control::Reserved(opcode) => return Err(BadFrame::UnknownKind(opcode)),
                }
            } else {
                self.begin_data(&header)?;
                input.advance(header_len);
                self.payload_left = len;
                self.mask = mask;
            }
        }
    }

    fn take_payload(&mut self, input: &mut BytesMut, mqtt: &mut BytesMut) {
        let len = usize::try_from(self.payload_left).unwrap_or(usize::MAX).min(input.len());
        let at = mqtt.len();
        mqtt.extend_from_slice(&input[..len]);
        unmask(&mut mqtt[at..], self.mask);
        self.mask.rotate_left(len % 4);
        self.payload_left -= len as u64;
        input.advance(len);
    }

    fn begin_data(&mut self, header: &FrameHeader) -> Result<(), BadFrame> {
        match header.opcode {
            OpCode::Data(Data::Binary) if self.in_message => return Err(BadFrame::ExpectedContinuation),
            OpCode::Data(Data::Binary) => {}
            OpCode::Data(Data::Continue) if self.in_message => {}
            OpCode::Data(Data::Continue) => return Err(BadFrame::UnexpectedContinuation),
            OpCode::Data(Data::Text) => return Err(BadFrame::Text),
            OpCode::Data(Data::Reserved(opcode)) => return Err(BadFrame::UnknownKind(opcode)),
            OpCode::Control(_) => return Err(BadFrame::BadControl),
        }
        self.in_message = !header.is_final;
        Ok(())
    }
}

/// The next frame's header, its own length, and its payload's. `None`: it is not whole.
fn parse_header(input: &[u8]) -> Result<Option<(FrameHeader, usize, u64)>, BadFrame> {
    let mut cursor = Cursor::new(input);
    match FrameHeader::parse(&mut cursor) {
        Ok(Some((header, len))) => Ok(Some((header, cursor.position() as usize, len))),
        Ok(None) => Ok(None),
        Err(LibraryError::Protocol(ProtocolError::InvalidOpcode(opcode))) => Err(BadFrame::UnknownKind(opcode)),
        Err(_) => Err(BadFrame::BadControl),
    }
}

/// What holds for every frame from a client; returns the mask.
fn check_header(header: &FrameHeader, len: u64, frame_bytes_max: u64) -> Result<[u8; 4], BadFrame> {
    if header.rsv1 || header.rsv2 || header.rsv3 {
        return Err(BadFrame::ReservedBits);
    }
    let is_control = matches!(header.opcode, OpCode::Control(_));
    if is_control && (!header.is_final || len > CONTROL_PAYLOAD_MAX as u64) {
        return Err(BadFrame::BadControl);
    }
    let mask = header.mask.ok_or(BadFrame::Unmasked)?;
    // Told first, since it is the likelier cause of a client's trouble.
    if header.opcode == OpCode::Data(Data::Text) {
        return Err(BadFrame::Text);
    }
    if !is_control && len > frame_bytes_max {
        return Err(BadFrame::TooLarge { bytes: len, bytes_max: frame_bytes_max });
    }
    Ok(mask)
}

fn read_close(payload: &[u8]) -> Result<Option<CloseCode>, BadFrame> {
    match payload {
        [] => Ok(None),
        [high, low, reason @ ..] => {
            let code = CloseCode::from(u16::from_be_bytes([*high, *low]));
            let legal = code.is_allowed() && std::str::from_utf8(reason).is_ok();
            if legal { Ok(Some(code)) } else { Err(BadFrame::BadClose) }
        }
        [_] => Err(BadFrame::BadClose),
    }
}

/// Applies or takes off a mask (RFC 6455, section 5.3), eight bytes at a time.
fn unmask(bytes: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = bytes.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

/// One binary frame with all of `payload`.
pub(super) fn write_binary(payload: &[u8], output: &mut BytesMut) {
    write_frame(OpCode::Data(Data::Binary), payload, output);
}

/// The answer to a ping.
pub(super) fn write_pong(payload: &[u8], output: &mut BytesMut) {
    write_frame(OpCode::Control(Control::Pong), payload, output);
}

/// A close frame with a code, and a reason for people.
pub(super) fn write_close(code: Option<CloseCode>, reason: &str, output: &mut BytesMut) {
    let mut payload = Vec::new();
    if let Some(code) = code {
        payload.extend_from_slice(&u16::from(code).to_be_bytes());
        let fits = (0..=reason.len().min(CONTROL_PAYLOAD_MAX - 2)).rev().find(|at| reason.is_char_boundary(*at));
        payload.extend_from_slice(&reason.as_bytes()[..fits.unwrap_or(0)]);
    }
    write_frame(OpCode::Control(Control::Close), &payload, output);
}

/// The close frame that tells the peer what it did.
pub(super) fn write_close_for(bad: BadFrame, output: &mut BytesMut) {
    write_close(Some(bad.close_code()), &bad.to_string(), output);
}

fn write_frame(opcode: OpCode, payload: &[u8], output: &mut BytesMut) {
    let len = payload.len();
    output.reserve(10 + len);
    output.put_u8(0x80 | u8::from(opcode));
    match (u8::try_from(len), u16::try_from(len)) {
        (Ok(len), _) if len < 126 => output.put_u8(len),
        (_, Ok(len)) => {
            output.put_u8(126);
            output.put_u16(len);
        }
        _ => {
            output.put_u8(127);
            output.put_u64(len as u64);
        }
    }
    output.put_slice(payload);
}

#[cfg(test)]
mod tests {
    use super::*;
    use tungstenite::protocol::frame::Frame;

    const BYTES_MAX: u64 = 1000;
    const MASK: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

    /// A frame as a client sends it, made by the library.
    fn frame(opcode: OpCode, is_final: bool, payload: &[u8]) -> Vec<u8> {
        let header = FrameHeader { is_final, opcode, mask: Some(MASK), ..FrameHeader::default() };
        let mut bytes = Vec::new();
        Frame::from_payload(header, payload.to_vec().into()).format(&mut bytes).unwrap();
        bytes
    }

    fn binary(payload: &[u8]) -> Vec<u8> {
        frame(OpCode::Data(Data::Binary), true, payload)
    }

    fn read(bytes: &[u8]) -> (Result<Reading, BadFrame>, BytesMut, BytesMut) {
        let (mut input, mut mqtt) = (BytesMut::from(bytes), BytesMut::new());
        let reading = FrameReader::default().read(&mut input, &mut mqtt, BYTES_MAX);
        (reading, mqtt, input)
    }

    #[test]
    fn the_masked_hello_of_rfc_6455_is_read() {
        // Section 5.7, with opcode 2 for 1.
        let (reading, mqtt, rest) = read(&[0x82, 0x85, 0x37, 0xFA, 0x21, 0x3D, 0x7F, 0x9F, 0x4D, 0x51, 0x58]);
        assert_eq!((reading, &mqtt[..], rest.len()), (Ok(Reading::More { ping: None }), &b"Hello"[..], 0));
    }

    #[test]
    fn payloads_go_on_byte_for_byte_wherever_frames_are_split() {
        let payload: Vec<u8> = (0..=255).cycle().take(700).collect();
        let bytes = [
            binary(&payload[..5]),
            binary(&[]),
            frame(OpCode::Data(Data::Binary), false, &payload[5..310]),
            frame(OpCode::Control(Control::Pong), true, b"unasked"),
            frame(OpCode::Data(Data::Continue), false, &payload[310..311]),
            frame(OpCode::Data(Data::Continue), true, &payload[311..]),
        ]
        .concat();
        for step in [1, 2, 3, 5, 7, 64, 1000] {
            let (mut reader, mut input, mut mqtt) = (FrameReader::default(), BytesMut::new(), BytesMut::new());
            for part in bytes.chunks(step) {
                input.extend_from_slice(part);
                assert_eq!(reader.read(&mut input, &mut mqtt, BYTES_MAX), Ok(Reading::More { ping: None }));
                assert!(input.len() <= 130);
            }
            assert_eq!((&mqtt[..], input.len()), (&payload[..], 0), "in steps of {step}");
        }
    }

    #[test]
    fn the_last_ping_of_many_is_to_be_answered() {
        let pings: Vec<u8> = (0..50_u8).flat_map(|n| frame(OpCode::Control(Control::Ping), true, &[n; 125])).collect();
        let (reading, ..) = read(&pings);
        assert_eq!(reading, Ok(Reading::More { ping: Some(BytesMut::from(&[49; 125][..])) }));
        let mut output = BytesMut::new();
        write_pong(b"hi", &mut output);
        assert_eq!(&output[..], [0x8A, 0x02, b'h', b'i']);
    }

    #[test]
    fn each_breach_has_its_name_and_close_code() {
        let mut unmasked = binary(b"x");
        unmasked[1] &= 0x7F;
        let mut reserved = binary(b"x");
        reserved[0] |= 0x40;
        let too_large = binary(&[0; 1001]);
        let text = frame(OpCode::Data(Data::Text), true, b"{}");
        for (bytes, bad, code) in [
            (text, BadFrame::Text, 1003),
            (vec![0x83, 0x80, 0, 0, 0, 0], BadFrame::UnknownKind(3), 1002),
            (too_large, BadFrame::TooLarge { bytes: 1001, bytes_max: BYTES_MAX }, 1009),
            (unmasked, BadFrame::Unmasked, 1002),
            (reserved, BadFrame::ReservedBits, 1002),
            (frame(OpCode::Data(Data::Continue), true, b"x"), BadFrame::UnexpectedContinuation, 1002),
            ([frame(OpCode::Data(Data::Binary), false, b"x"), binary(b"y")].concat(), BadFrame::ExpectedContinuation, 1002),
            (frame(OpCode::Control(Control::Ping), false, b""), BadFrame::BadControl, 1002),
            (frame(OpCode::Control(Control::Ping), true, &[0; 126]), BadFrame::BadControl, 1002),
            (frame(OpCode::Control(Control::Close), true, b"\x03"), BadFrame::BadClose, 1002),
            (frame(OpCode::Control(Control::Close), true, b"\x03\xED"), BadFrame::BadClose, 1002),
            (frame(OpCode::Control(Control::Close), true, b"\x03\xE8\xFF"), BadFrame::BadClose, 1002),
        ] {
            let (reading, ..) = read(&bytes);
            assert_eq!(reading, Err(bad));
            let mut output = BytesMut::new();
            write_close_for(bad, &mut output);
            assert_eq!((output[0], u16::from_be_bytes([output[2], output[3]])), (0x88, code), "{bad}");
            assert!(output.len() <= 127 && usize::from(output[1]) == output.len() - 2);
        }
    }

    #[test]
    fn a_frame_too_large_is_refused_by_its_header_alone() {
        let (reading, mqtt, _) = read(&[0x82, 0xFF, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0]);
        assert_eq!(reading, Err(BadFrame::TooLarge { bytes: i64::MAX as u64, bytes_max: BYTES_MAX }));
        assert!(mqtt.is_empty());
    }

    #[test]
    fn a_close_frame_gives_its_code() {
        for (payload, code) in [(&b""[..], None), (b"\x03\xE8bye", Some(CloseCode::Normal)), (b"\x0F\xA0", Some(CloseCode::Library(4000)))]
        {
            let (reading, ..) = read(&frame(OpCode::Control(Control::Close), true, payload));
            assert_eq!(reading, Ok(Reading::Closed(code)));
        }
    }

    #[test]
    fn written_lengths_take_the_shortest_form() {
        for (len, head) in [
            (125, &[0x82, 125][..]),
            (126, &[0x82, 126, 0, 126]),
            (65_535, &[0x82, 126, 0xFF, 0xFF]),
            (65_536, &[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let mut output = BytesMut::new();
            write_binary(&vec![7; len], &mut output);
            assert_eq!(&output[..head.len()], head);
            assert_eq!(output.len(), head.len() + len);
        }
    }

    #[test]
    fn a_reason_is_cut_at_a_character() {
        let mut output = BytesMut::new();
        write_close(Some(CloseCode::Away), &"é".repeat(100), &mut output);
        assert_eq!(usize::from(output[1]), output.len() - 2);
        assert_eq!(std::str::from_utf8(&output[4..]).unwrap(), "é".repeat(61));
    }
}
