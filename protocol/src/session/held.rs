//! What one end holds of the other's messages, as it travels under `held` when an extended session is resumed.

use crate::codec::dictionary::{Dictionary, Item, KeyRef, MapBuilder, write_bool, write_head, write_number};
use crate::packet::property::{Key, ValueType};
use crate::packet::{Problem, Reason, Refusal, Retry, property};
use bytes::Bytes;
use std::collections::BTreeMap;

/// Names a count of first transmissions: both ends began it on the same connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mark(pub [u8; 8]);

impl Mark {
    pub(super) fn of(bytes: &Bytes) -> Option<Self> {
        <[u8; 8]>::try_from(&bytes[..]).ok().map(Self)
    }

    pub(super) fn to_bytes(self) -> Bytes {
        Bytes::copy_from_slice(&self.0)
    }
}

/// One row of the map under `held`.
#[derive(Debug, Clone, Copy)]
pub struct HeldInfo {
    pub number: i64,
    pub name: &'static str,
    pub value: ValueType,
    pub meaning: &'static str,
}

const MARK: Key<Bytes> = Key::new("count", 0);
const RECEIVED: Key<u64> = Key::new("received", 1);
const UNFINISHED: Key<Dictionary> = Key::new("unfinished", 2);

/// The map under `held`.
pub const HELD_KEYS: &[HeldInfo] = &[
    HeldInfo { number: MARK.number, name: MARK.name, value: ValueType::Bytes, meaning: "Byte string: the count this refers to." },
    HeldInfo {
        number: RECEIVED.number,
        name: RECEIVED.name,
        value: ValueType::Unsigned,
        meaning: "Unsigned: how many messages above QoS 0 were received since the count began, repetitions not counted.",
    },
    HeldInfo {
        number: UNFINISHED.number,
        name: UNFINISHED.name,
        value: ValueType::Map,
        meaning: "Map: from the number of a message that its sender may believe unfinished to the reason of its acknowledgement, or false if it has none yet.",
    },
];

/// The most bytes of the map: what is larger is not sent, and the session is resumed without an exchange.
pub const HELD_LEN_MAX: usize = 8 * 1024;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Held {
    pub mark: Mark,
    /// First transmissions that were received.
    pub received: u64,
    /// By number: what the sender may believe unfinished, with its outcome if it has one. What is not here is finished.
    pub unfinished: BTreeMap<u64, Option<Reason>>,
}

impl Held {
    /// `None`: it is larger than [`HELD_LEN_MAX`].
    pub fn to_dictionary(&self) -> Option<Dictionary> {
        let mut map = MapBuilder::new();
        map.set(MARK, &self.mark.to_bytes()).set(RECEIVED, &self.received);
        if !self.unfinished.is_empty() {
            map.put(UNFINISHED.number, |out| {
                write_head(out, 5, self.unfinished.len() as u64);
                for (number, outcome) in &self.unfinished {
                    write_head(out, 0, *number);
                    match outcome {
                        Some(reason) => write_number(out, i64::from(reason.0)),
                        None => write_bool(out, false),
                    }
                }
            });
        }
        let dictionary = map.finish();
        (dictionary.as_bytes().len() <= HELD_LEN_MAX).then_some(dictionary)
    }

    /// # Errors
    /// What it lacks, or which number stands for no message, as the refusal of the whole packet.
    pub fn of_dictionary(map: &Dictionary) -> Result<Self, Refusal> {
        let mark = map.value(MARK).and_then(|bytes| Mark::of(&bytes)).ok_or_else(|| lie("held names no count", "count"))?;
        let received = map.value(RECEIVED).ok_or_else(|| lie("held has no number of received messages", "received"))?;
        let mut unfinished = BTreeMap::new();
        for (key, value) in map.value(UNFINISHED).unwrap_or_default().entries() {
            let KeyRef::Number(number @ 1..) = key else { return Err(lie("a number in held is none", &format!("unfinished: {key:?}"))) };
            let outcome = match value {
                Item::Bool(false) => None,
                Item::Unsigned(reason) => Some(Reason(
                    u8::try_from(reason).map_err(|_| lie("an outcome in held is no reason", &format!("unfinished: {number}")))?,
                )),
                _ => return Err(lie("an outcome in held is no reason", &format!("unfinished: {number}"))),
            };
            unfinished.insert(number as u64, outcome);
        }
        Ok(Self { mark, received, unfinished })
    }
}

/// The refusal of what a peer cannot hold.
pub(super) fn lie(title: &str, place: &str) -> Refusal {
    let problem = Problem::titled(title).field(format!("{}: {place}", property::HELD.name)).retry(Retry::Changed);
    Refusal::new(Reason::PROTOCOL_ERROR, problem)
}

/// Whether a refusal is about what this end said it holds.
pub(super) fn is_about_held(problem: &Problem) -> bool {
    problem.field.as_deref().is_some_and(|field| field.starts_with(property::HELD.name))
}
