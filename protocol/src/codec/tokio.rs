//! An adapter for `tokio_util::codec`: whole packets of one dialect from and to a byte stream. It needs no runtime.

use super::dictionary::Limits;
use super::error::Malformed;
use super::frame::Frame;
use crate::dialect::{Dialect, Lowered, read, write};
use crate::packet::Packet;
use crate::packet::legality::Role;
use bytes::BytesMut;
use tokio_util::codec::{Decoder, Encoder};

/// Why a packet could not be read or written.
#[derive(Debug)]
pub enum Error {
    Io(std::io::Error),
    Malformed(Malformed),
    /// The dialect cannot say this packet.
    NotInDialect,
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Malformed(error) => error.fmt(f),
            Self::NotInDialect => f.write_str("this dialect cannot say this packet"),
        }
    }
}

impl std::error::Error for Error {}

/// Reads and writes the packets of one end.
#[derive(Debug, Clone)]
pub struct PacketCodec {
    /// May be changed when a negotiation has ended.
    pub dialect: Dialect,
    /// This end: what it writes is said by it.
    pub role: Role,
    /// The most bytes of a packet that is read.
    pub size_max: u32,
    pub limits: Limits,
}

impl Decoder for PacketCodec {
    type Item = Packet;
    type Error = Error;

    fn decode(&mut self, bytes: &mut BytesMut) -> Result<Option<Packet>, Error> {
        match Frame::split_mut(bytes, self.size_max).map_err(Error::Malformed)? {
            Some(frame) => read::raise(self.dialect, &frame, self.limits).map(Some).map_err(Error::Malformed),
            None => Ok(None),
        }
    }
}

impl Encoder<&Packet> for PacketCodec {
    type Error = Error;

    fn encode(&mut self, packet: &Packet, out: &mut BytesMut) -> Result<(), Error> {
        match write::lower(self.dialect, self.role, packet, out) {
            Lowered::Frame => Ok(()),
            Lowered::Close | Lowered::Nothing => Err(Error::NotInDialect),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{Message, Publish, Qos};

    #[test]
    fn packets_come_out_of_any_split_as_they_went_in() {
        let mut codec = PacketCodec { dialect: Dialect::V311, role: Role::Client, size_max: 1000, limits: Limits::default() };
        let packet =
            Packet::Publish(Publish::new(Message::publish("a/b", "hello").unwrap(), Qos::AtMostOnce, false, None, &Default::default()));
        let mut whole = BytesMut::new();
        codec.encode(&packet, &mut whole).unwrap();
        let mut arriving = BytesMut::new();
        for (at, byte) in whole.iter().enumerate() {
            arriving.extend_from_slice(&[*byte]);
            let decoded = codec.decode(&mut arriving).unwrap();
            assert_eq!(decoded, (at + 1 == whole.len()).then(|| packet.clone()));
        }
    }
}
