//! SUBSCRIBE, SUBACK, UNSUBSCRIBE and UNSUBACK (sections 3.8 to 3.11).

use super::id::{PacketId, Qos};
use super::property::{ITEMS, Key, KeyValue};
use super::reason::Reason;
use super::topic::{InvalidTopic, TopicFilter};
use crate::codec::dictionary::{Dictionary, KeyRef, MapBuilder};

/// A topic filter as a peer sent it. In the plain dialect a bad one closes the connection; in the extended dialect
/// it is refused for itself, so it is carried on with what is wrong with it.
pub type RequestedFilter = Result<TopicFilter, (String, InvalidTopic)>;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Subscribe {
    pub id: PacketId,
    /// At least one ([MQTT-3.8.3-3]).
    pub items: Vec<SubscribeItem>,
    pub dictionary: Dictionary,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SubscribeItem {
    pub filter: RequestedFilter,
    pub qos: Qos,
}

/// One reason a filter, in the order of the filters ([MQTT-3.9.3-1]): 0x00 to 0x02 is the QoS granted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SubAck {
    pub id: PacketId,
    pub reasons: Vec<Reason>,
    pub dictionary: Dictionary,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Unsubscribe {
    pub id: PacketId,
    /// At least one ([MQTT-3.10.3-2]).
    pub filters: Vec<RequestedFilter>,
    pub dictionary: Dictionary,
}

/// One reason a filter; the plain dialect has none.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UnsubAck {
    pub id: PacketId,
    pub reasons: Vec<Reason>,
    pub dictionary: Dictionary,
    /// What stands behind the packet identifier of a plain UNSUBACK: the accept of an offer (see `dialect::offer`),
    /// else nothing.
    pub accept: bytes::Bytes,
}

/// The bits of `subscription-options`.
pub mod options {
    /// Not the messages of the subscriber itself.
    pub const NO_LOCAL: u64 = 1;
    /// The retain flag stays as the publisher set it.
    pub const RETAIN_AS_PUBLISHED: u64 = 1 << 1;
    /// No retained messages on subscribing.
    pub const NO_RETAINED: u64 = 1 << 2;
    /// Retained messages only where there was no such subscription yet.
    pub const RETAINED_IF_NEW: u64 = 1 << 3;
    /// A message that is put off lets others pass.
    pub const UNORDERED: u64 = 1 << 4;
}

impl Dictionary {
    /// What `items` says about the filter at `index`.
    pub fn item(&self, index: usize) -> Dictionary {
        self.value(ITEMS).and_then(|items| items.value(Key::new("index", index as i64))).unwrap_or_default()
    }

    /// What `items` says about each of the filters from 0 on, without end: in one pass over all of them.
    pub fn items(&self) -> impl Iterator<Item = Dictionary> {
        let items = self.value(ITEMS).unwrap_or_default();
        let mut said: Vec<(i64, Dictionary)> = Vec::new();
        for (key, item) in items.entries() {
            if let (KeyRef::Number(index @ 0..), Some(item)) = (key, Dictionary::read(item)) {
                said.push((index, item));
            }
        }
        // Keys of a map ascend.
        let mut said = said.into_iter().peekable();
        (0..).map(move |index| said.next_if(|(next, _)| *next == index).map(|(_, item)| item).unwrap_or_default())
    }
}

/// Builds `items`: a map from index to what concerns that filter; empty ones are left out.
pub fn items_of(items: impl IntoIterator<Item = Dictionary>) -> Dictionary {
    let mut map = MapBuilder::new();
    for (index, item) in items.into_iter().enumerate().filter(|(_, item)| !item.is_empty()) {
        map.put(index as i64, |out| item.write(out));
    }
    match map.is_empty() {
        true => Dictionary::EMPTY,
        false => Dictionary::with(ITEMS, &map.finish()),
    }
}
