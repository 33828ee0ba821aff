//! The binary form of records and facts. Numbers are LEB128, texts and bytes have their length in front, and every entry begins
//! with a tag. What the tags and fields mean belongs to a format number, which stands in the header of every segment.
//!
//! Decoding takes any bytes: it never panics, and allocates no more than a small multiple of what it was given.

mod cursor;
mod envelope;
mod fact;
mod record;
mod session;

#[cfg(test)]
mod tests;

pub use cursor::{Bad, Cursor};
pub use envelope::{decode_envelope, encode_envelope};

use super::record::Record;
use super::state::Fact;
use std::ops::Range;

/// What a log consists of.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    Step(Record),
    Fact(Fact),
}

/// A message's checked bytes: where they stand, from the checksum in front on.
pub type Stored = Range<usize>;

/// Bytes of the checksum in front of a message.
pub const CHECKSUM_LEN: usize = 4;

/// Appends a record, and says where the message stands in `out`, if it is one.
pub fn encode_record(record: &Record, out: &mut Vec<u8>) -> Option<Stored> {
    record::encode(record, out)
}

pub fn encode_fact(fact: &Fact, out: &mut Vec<u8>) {
    fact::encode(fact, out);
}

/// Appends a message that is owed to nobody here, from the bytes (with their checksum) that it was found in.
pub fn encode_moved(message: super::MessageNumber, stored: &[u8], out: &mut Vec<u8>) -> Stored {
    record::encode_moved(message, stored, out)
}

/// The next entry, and where its message stands in all that the cursor was made for.
///
/// # Errors
/// The bytes are no entry.
pub fn decode(cursor: &mut Cursor<'_>) -> Result<(Entry, Option<Stored>), Bad> {
    match cursor.u8()? {
        tag if tag < fact::TAG_MIN => record::decode(tag, cursor).map(|(record, stored)| (Entry::Step(record), stored)),
        tag => Ok((Entry::Fact(fact::decode(tag, cursor)?), None)),
    }
}

/// A message out of its stored bytes.
///
/// # Errors
/// The bytes are not those that were written.
pub fn open_stored(stored: &[u8]) -> Result<crate::message::Envelope, Bad> {
    let (checksum, envelope) = stored.split_first_chunk::<CHECKSUM_LEN>().ok_or(Bad("a message without its checksum"))?;
    if crc32fast::hash(envelope) != u32::from_le_bytes(*checksum) {
        return Err(Bad("the checksum of a message does not agree"));
    }
    decode_envelope(envelope)
}
