//! A message inside the broker: what was published, and what the broker knows about it.

use crate::shard::report::Report;
use bytes::Bytes;
use candor_protocol::codec::dictionary::{Dictionary, KeyRef, MapBuilder};
use candor_protocol::packet::{Message, Qos, property};
use std::sync::Arc;

/// A message on its way from its publisher to queues and connections. A clone shares everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    pub message: Message,
    /// As it was published.
    pub qos: Qos,
    /// As it was published.
    pub retain: bool,
    /// When it is of no use any more, in milliseconds since 1970.
    pub expires_at_ms: Option<u64>,
    /// What is rare, behind one pointer.
    pub stamps: Option<Arc<Stamps>>,
    /// The experiments' keys of the publisher's hop, which a queue may rank by; and what became of a dead letter.
    pub hop: Dictionary,
}

/// As [`Envelope::critical_key`].
pub fn critical_key(message: &Message) -> Option<i64> {
    if message.map().is_empty() {
        return None;
    }
    let map = message.dictionary();
    map.entries().find_map(|(key, _)| match key {
        KeyRef::Number(number) if key.is_critical() => Some(number),
        _ => None,
    })
}

/// What the first server says about a message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stamps {
    pub publisher: Option<Arc<str>>,
    pub node: Option<Arc<str>>,
    /// Milliseconds since 1970.
    pub received_at_ms: u64,
    /// Names the message, where it may have to be found again.
    pub message_id: Option<[u8; 16]>,
    /// Who is told what becomes of it.
    pub report: Option<Arc<Report>>,
}

impl Stamps {
    /// Writes them down under their keys.
    pub fn put(&self, map: &mut MapBuilder) {
        map.set_some(property::PUBLISHER, self.publisher.as_deref().map(str::to_owned).as_ref());
        map.set_some(property::NODE, self.node.as_deref().map(str::to_owned).as_ref());
        map.set(property::RECEIVED_AT, &self.received_at_ms);
        map.set_some(property::MESSAGE_ID, self.message_id.map(|id| Bytes::copy_from_slice(&id)).as_ref());
    }

    /// The stamps that a message was handed out with.
    pub fn of_hop(hop: &Dictionary) -> Option<Self> {
        let text = |key| hop.value(key).map(|text: String| Arc::from(text));
        let received_at_ms = hop.value(property::RECEIVED_AT)?;
        let message_id = hop.value(property::MESSAGE_ID).and_then(|id| <[u8; 16]>::try_from(&id[..]).ok());
        Some(Self { publisher: text(property::PUBLISHER), node: text(property::NODE), received_at_ms, message_id, report: None })
    }
}

impl Envelope {
    /// A message of which nothing more is known.
    pub fn bare(message: Message, qos: Qos) -> Self {
        Self { message, qos, retain: false, expires_at_ms: None, stamps: None, hop: Dictionary::EMPTY }
    }

    /// The bytes that a queue counts for it.
    pub fn len(&self) -> usize {
        self.message.len()
    }

    pub fn is_empty(&self) -> bool {
        false
    }

    pub fn is_expired(&self, unix_ms: u64) -> bool {
        self.expires_at_ms.is_some_and(|at| unix_ms >= at)
    }

    /// Where it is noted what becomes of the message, if somebody asked.
    #[inline]
    pub fn report(&self) -> Option<&Arc<Report>> {
        self.stamps.as_ref().and_then(|stamps| stamps.report.as_ref())
    }

    /// At this time, in milliseconds since 1970, it is of no use any more, if not before.
    pub fn expire_by(&mut self, at_ms: u64) {
        self.expires_at_ms = Some(self.expires_at_ms.map_or(at_ms, |own_ms| own_ms.min(at_ms)));
    }

    /// The same message in memory of its own: for keeping longer than the buffer it was read into.
    pub fn compact(&self) -> Self {
        self.with_message(self.message.compact())
    }

    /// All that is known of it, of another copy of the message.
    pub fn with_message(&self, message: Message) -> Self {
        let Self { message: _, qos, retain, expires_at_ms, stamps, hop } = self;
        Self { message, qos: *qos, retain: *retain, expires_at_ms: *expires_at_ms, stamps: stamps.clone(), hop: hop.clone() }
    }

    /// The critical key of the message map, if it has one: it binds every recipient, and a plain one would not see it.
    pub fn critical_key(&self) -> Option<i64> {
        critical_key(&self.message)
    }

    /// Whether nothing is said of it on the next hop, as of almost every message.
    #[inline]
    pub fn has_no_hop(&self) -> bool {
        self.expires_at_ms.is_none() && self.stamps.is_none() && self.hop.is_empty()
    }

    /// The keys of the next hop: what is left of the expiry, and the stamps. Empty for almost every message.
    pub fn next_hop(&self, unix_ms: u64) -> Dictionary {
        if self.has_no_hop() {
            return Dictionary::EMPTY;
        }
        let mut map = MapBuilder::new();
        map.merge(&self.hop);
        if let Some(at) = self.expires_at_ms {
            // Rounded up: a message that is still of use is not sent with an interval of 0.
            map.set(property::MESSAGE_EXPIRY_INTERVAL, &at.saturating_sub(unix_ms).div_ceil(1000).max(1));
        }
        if let Some(stamps) = &self.stamps {
            stamps.put(&mut map);
        }
        map.finish()
    }
}
