//! An example experiment, complete: message priority. A publisher gives a message a priority, and a server that runs the
//! experiment hands out the messages that wait for a session by priority, not by age.
//!
//! The protocol's half is here: the key, and that it is only sent where the experiment is in force. The broker's half,
//! the rank in a queue, is in the broker.

use super::Extension;
use crate::codec::dictionary::MapBuilder;
use crate::packet::kind::{Kind, Kinds};
use crate::packet::property::{Key, KeyInfo, KeyValue, Range, Writer};

/// 0 to 9; a message without one has 4.
pub const PRIORITY: Key<u64> = Key::new("x-priority", -1);
/// The highest priority.
pub const PRIORITY_MAX: u64 = 9;
/// The priority of a message that has none.
pub const PRIORITY_DEFAULT: u64 = 4;

const KEYS: &[KeyInfo] = &[KeyInfo {
    number: PRIORITY.number,
    name: PRIORITY.name,
    value: <u64 as KeyValue>::TYPE,
    packets: Kinds::of(&[Kind::Publish]),
    writer: Writer::Both,
    range: Range::Number(0, PRIORITY_MAX),
    meaning: "How urgent the message is, 0 to 9; 4 when absent. Messages that wait for a session are handed out by priority, then by age.",
}];

#[derive(Debug)]
pub struct Priority;

impl Extension for Priority {
    fn name(&self) -> &'static str {
        "x-priority"
    }

    fn keys(&self) -> &'static [KeyInfo] {
        KEYS
    }
}

/// The keys of this hop with a priority beside them.
pub fn with_priority(hop: &crate::codec::dictionary::Dictionary, priority: u64) -> crate::codec::dictionary::Dictionary {
    MapBuilder::new().merge(hop).set(PRIORITY, &priority).finish()
}
