//! Annotations: what the bytes of a packet mean, field by field, in every dialect, for whole packets and broken ones.
//!
//! ```text
//! bytes -> packets() -> one Annotated a packet -> its annotations, in the order of the bytes
//!                                                   leaves   every byte in exactly one of them
//!                                                   bits     of the leaf before them, for flags
//!                                                   faults   what is wrong, where, and what would have been right
//! ```
//!
//! The reader of a connection (`dialect::read`) stops at the first fault, because nothing behind it may be acted on.
//! Here people want to see the whole: reading goes on for as long as it is known where the next field starts, so one
//! packet can have several faults; the one that the reader stops at is always among them. Limits are those of
//! [`Limits::default`](crate::codec::dictionary::Limits).
//!
//! Names, sections and statements are tables: [`FIELDS`] for the fields, `packet::reason`, `packet::property`,
//! `packet::problem` and `packet::profile` for what they hold.

mod connect;
mod dictionary;
mod fault;
mod field;

mod offer;
mod publish;
mod registry;
mod sheet;
mod source;
mod subscribe;
mod summary;
#[cfg(test)]
mod tests;
mod text;
mod walk;
mod words;

pub use fault::Fault;
pub use field::{FIELDS, Field};
pub use source::{Section, Source};
pub use summary::{summary, summary_of};
pub use words::instant;

use crate::dialect::Dialect;
use crate::packet::kind::Kind;
use crate::packet::legality::Role;
use std::borrow::Cow;
use std::ops::Range;

/// One thing to say about some bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Annotation {
    /// Which bytes of the input. A fault may concern a place between two bytes; its range is empty then.
    pub range: Range<usize>,
    /// How deep the field stands in others: 0 for the fields of the packet, 1 for the dictionary's map, and so on.
    pub depth: u8,
    pub part: Part,
    /// The standard's term for the field, a key's name, or the sort of fault.
    pub name: Cow<'static, str>,
    /// The value in words; of a fault, what is wrong.
    pub value: String,
    /// What the tables say of the value or key; of a fault, what was expected. May be empty.
    pub meaning: Cow<'static, str>,
    /// Where the field is defined; of a fault, the rule that is broken. `None` where nothing is said about the bytes.
    pub source: Option<Source>,
    /// What is known of the dictionary's key that the leaf begins with.
    pub entry: Option<Entry>,
    /// Whether the bytes are a secret that output should hide: a password.
    pub secret: bool,
}

/// What an annotation is to the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// A field. Every byte stands in exactly one.
    Leaf,
    /// Some bits of the leaf before it, which is one byte.
    Bits { mask: u8 },
    /// What is wrong with the leaf before it.
    Fault(Fault),
}

/// A key of a dictionary, or of a map inside one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key as CBOR's diagnostic notation has it: `16`, `-1`, `"mine"`.
    pub key: String,
    /// Whether a receiver that does not know the key must refuse the packet; `None` where the bit has no meaning.
    pub critical: Option<bool>,
    /// The type of the value in words.
    pub value_type: &'static str,
}

/// The annotations of one packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Annotated {
    /// Which bytes of the input.
    pub range: Range<usize>,
    /// `None` for the reserved type 0.
    pub kind: Option<Kind>,
    /// The dialect it was read in: a CONNECT says its own.
    pub dialect: Dialect,
    pub annotations: Vec<Annotation>,
}

impl Annotated {
    /// The leaves, which partition [`Annotated::range`].
    pub fn leaves(&self) -> impl Iterator<Item = &Annotation> {
        self.annotations.iter().filter(|row| row.part == Part::Leaf)
    }

    pub fn faults(&self) -> impl Iterator<Item = (Fault, &Annotation)> {
        self.annotations.iter().filter_map(|row| if let Part::Fault(fault) = row.part { Some((fault, row)) } else { None })
    }

    /// Whether nothing is wrong with it.
    pub fn is_well_formed(&self) -> bool {
        self.faults().next().is_none()
    }
}

/// Annotates every packet in `bytes`, which begin with one. The ranges of the packets partition `bytes`: the last one
/// may be incomplete, and where a fixed header does not tell the packet's length the last one takes all that follows.
/// `sender` is who sent them; without one, what depends on it is not judged.
///
/// ```
/// use candor_protocol::annotate::packets;
/// use candor_protocol::dialect::Dialect;
/// let packets = packets(Dialect::V311, None, &[0xC0, 0x00, 0x40, 0x02, 0x00, 0x09]);
/// assert_eq!(packets.len(), 2);
/// let id = packets[1].leaves().last().unwrap();
/// assert_eq!((&*id.name, &*id.value, id.range.clone()), ("Packet Identifier", "9", 4..6));
/// assert_eq!(id.source.unwrap().to_string(), "MQTT 3.1.1, section 3.4.2");
/// ```
pub fn packets(dialect: Dialect, sender: impl Into<Option<Role>>, bytes: &[u8]) -> Vec<Annotated> {
    let sender = sender.into();
    let mut packets = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let packet = packet_at(dialect, sender, bytes, at);
        at = packet.range.end;
        packets.push(packet);
    }
    packets
}

/// Annotates the packet that begins at `at`; its range tells where the next one begins.
///
/// With no byte at `at`, the packet is incomplete and has no leaf.
pub fn packet_at(dialect: Dialect, sender: impl Into<Option<Role>>, bytes: &[u8], at: usize) -> Annotated {
    walk::packet(dialect, sender.into(), bytes.get(at..).unwrap_or_default(), at)
}

/// The end that sends packets of this type, where only one does (table 2.1).
pub const fn sender_of(dialect: Dialect, kind: Kind) -> Option<Role> {
    match kind {
        Kind::Connect | Kind::Subscribe | Kind::Unsubscribe | Kind::PingReq => Some(Role::Client),
        Kind::ConnAck | Kind::SubAck | Kind::UnsubAck | Kind::PingResp => Some(Role::Server),
        Kind::Disconnect if !dialect.is_extended() => Some(Role::Client),
        _ => None,
    }
}

impl Annotation {
    fn new(range: Range<usize>, depth: u8, part: Part, name: Cow<'static, str>, value: String, source: Option<Source>) -> Self {
        Self { range, depth, part, name, value, meaning: Cow::Borrowed(""), source, entry: None, secret: false }
    }

    fn meaning(&mut self, meaning: impl Into<Cow<'static, str>>) -> &mut Self {
        self.meaning = meaning.into();
        self
    }
}
