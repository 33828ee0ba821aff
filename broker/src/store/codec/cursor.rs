//! Reading and writing fields: the only code that moves an offset.

use candor_protocol::packet::{PacketId, Qos};
use std::sync::Arc;

/// What is wrong with the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bad(pub &'static str);

/// Reads fields from the front of bytes.
#[derive(Debug, Clone)]
pub struct Cursor<'a> {
    all: &'a [u8],
    at: usize,
}

const ENDS: Bad = Bad("the bytes end inside a record");

impl<'a> Cursor<'a> {
    pub fn new(all: &'a [u8]) -> Self {
        Self { all, at: 0 }
    }

    pub fn offset(&self) -> usize {
        self.at
    }

    pub fn is_at_end(&self) -> bool {
        self.at == self.all.len()
    }

    pub fn rest(&mut self) -> &'a [u8] {
        let rest = &self.all[self.at..];
        self.at = self.all.len();
        rest
    }

    pub fn raw(&mut self, len: usize) -> Result<&'a [u8], Bad> {
        let end = self.at.checked_add(len).ok_or(ENDS)?;
        let raw = self.all.get(self.at..end).ok_or(ENDS)?;
        self.at = end;
        Ok(raw)
    }

    pub fn u8(&mut self) -> Result<u8, Bad> {
        Ok(self.raw(1)?[0])
    }

    pub fn number(&mut self) -> Result<u64, Bad> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7F);
            if bits << shift >> shift != bits {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Bad("a number has more than 64 bits"))
    }

    pub fn u32(&mut self) -> Result<u32, Bad> {
        u32::try_from(self.number()?).map_err(|_| Bad("a number has more than 32 bits"))
    }

    /// How many bytes or items follow: never more than there are bytes.
    pub fn count(&mut self) -> Result<usize, Bad> {
        let len = usize::try_from(self.number()?).map_err(|_| ENDS)?;
        if len > self.all.len() - self.at { Err(ENDS) } else { Ok(len) }
    }

    pub fn bytes(&mut self) -> Result<&'a [u8], Bad> {
        let len = self.count()?;
        self.raw(len)
    }

    pub fn str(&mut self) -> Result<&'a str, Bad> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Bad("a text is not UTF-8"))
    }

    pub fn text(&mut self) -> Result<Arc<str>, Bad> {
        Ok(self.str()?.into())
    }

    pub fn packet_id(&mut self) -> Result<PacketId, Bad> {
        let raw = self.raw(2)?;
        PacketId::new(u16::from_le_bytes([raw[0], raw[1]])).ok_or(Bad("a packet identifier is 0"))
    }
}

/// The low two bits as a QoS.
pub(super) fn qos(bits: u8) -> Result<Qos, Bad> {
    Qos::new(bits & 3).ok_or(Bad("a QoS is 3"))
}

pub(super) fn put_number(out: &mut Vec<u8>, mut value: u64) {
    while value > 0x7F {
        out.push(value as u8 & 0x7F | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

pub(super) fn put_id(out: &mut Vec<u8>, id: PacketId) {
    out.extend_from_slice(&id.value().to_le_bytes());
}

/// Flags, the first in the lowest bit.
pub(super) fn bits(flags: &[bool]) -> u8 {
    flags.iter().rev().fold(0, |bits, flag| bits << 1 | u8::from(*flag))
}
