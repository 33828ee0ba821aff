//! Reading and writing the fields of a packet: the only code that moves an offset.

use super::error::Malformed;
use bytes::{BufMut, Bytes, BytesMut};

/// The largest value of a variable byte integer of four bytes (section 2.2.3).
pub const VARINT_MAX: u32 = 268_435_455;

/// Reads fields from the front of a packet's body.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    body: &'a Bytes,
    at: usize,
}

impl<'a> Reader<'a> {
    pub fn new(body: &'a Bytes) -> Self {
        Self { body, at: 0 }
    }

    /// The offset of the next field in the body.
    pub fn offset(&self) -> usize {
        self.at
    }

    pub fn is_at_end(&self) -> bool {
        self.at == self.body.len()
    }

    /// # Errors
    /// [`Malformed::TrailingBytes`] unless everything was read.
    pub fn end(self) -> Result<(), Malformed> {
        if self.is_at_end() { Ok(()) } else { Err(Malformed::TrailingBytes) }
    }

    /// Takes the next byte if it is this one.
    #[inline]
    pub fn takes(&mut self, byte: u8) -> bool {
        let is_next = self.body.get(self.at) == Some(&byte);
        self.at += usize::from(is_next);
        is_next
    }

    /// The next `len` bytes where they stand.
    pub fn raw(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let end = self.at.checked_add(len).ok_or(Malformed::Truncated)?;
        let raw = self.body.get(self.at..end).ok_or(Malformed::Truncated)?;
        self.at = end;
        Ok(raw)
    }

    /// The next `len` bytes, sharing the body's memory.
    pub fn slice(&mut self, len: usize) -> Result<Bytes, Malformed> {
        let at = self.at;
        self.raw(len)?;
        Ok(self.body.slice(at..self.at))
    }

    pub fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(self.raw(1)?[0])
    }

    pub fn u16(&mut self) -> Result<u16, Malformed> {
        let raw = self.raw(2)?;
        Ok(u16::from_be_bytes([raw[0], raw[1]]))
    }

    /// A variable byte integer (section 2.2.3).
    pub fn varint(&mut self) -> Result<u32, Malformed> {
        let mut value = 0;
        for shift in [0, 7, 14, 21] {
            let byte = self.u8()?;
            value |= u32::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed::RemainingLength)
    }

    /// Two bytes of length and that many bytes (section 1.5.3 without the rules for text).
    pub fn binary(&mut self) -> Result<Bytes, Malformed> {
        let len = usize::from(self.u16()?);
        self.slice(len)
    }

    /// Text: well-formed UTF-8 without U+0000 ([MQTT-1.5.3-1], [MQTT-1.5.3-2]).
    pub fn text(&mut self) -> Result<&'a str, Malformed> {
        let len = usize::from(self.u16()?);
        let text = std::str::from_utf8(self.raw(len)?).map_err(|_| Malformed::NotUtf8)?;
        if text.contains('\0') {
            return Err(Malformed::Nul);
        }
        Ok(text)
    }

    /// A packet identifier, which is never 0 ([MQTT-2.3.1-1]).
    pub fn packet_id(&mut self) -> Result<crate::packet::id::PacketId, Malformed> {
        crate::packet::id::PacketId::new(self.u16()?).ok_or(Malformed::PacketIdentifierZero)
    }
}

/// How many bytes `value` has as a variable byte integer.
pub const fn varint_len(value: u32) -> usize {
    match value {
        0..=0x7F => 1,
        0x80..=0x3FFF => 2,
        0x4000..=0x1F_FFFF => 3,
        _ => 4,
    }
}

/// Writes a variable byte integer of at most [`VARINT_MAX`].
pub fn put_varint(out: &mut BytesMut, mut value: u32) {
    while value > 0x7F {
        out.put_u8(value as u8 & 0x7F | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

/// Writes two bytes of length and the bytes; what does not fit into 65,535 bytes was refused where it was made.
pub fn put_binary(out: &mut BytesMut, bytes: &[u8]) {
    debug_assert!(bytes.len() <= usize::from(u16::MAX));
    let bytes = &bytes[..bytes.len().min(usize::from(u16::MAX))];
    out.put_u16(bytes.len() as u16);
    out.put_slice(bytes);
}
