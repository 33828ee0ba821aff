//! An application message: what travels from publisher to subscribers, whatever the hop.

use super::publish::MessageOnly;
use super::topic::{InvalidTopic, TopicName};
use crate::codec::cursor::varint_len;
use crate::codec::dictionary::Dictionary;
use bytes::{Bytes, BytesMut};
use std::fmt;
use std::hash::{Hash, Hasher};

/// Topic name, message map and payload of a PUBLISH, as ranges of one piece of shared memory: a clone is one counter
/// more, and a message that was read from a connection stands where it was read.
#[derive(Clone)]
pub struct Message {
    body: Bytes,
    topic_at: u32,
    topic_len: u16,
    map_at: u32,
    map_len: u32,
    payload_at: u32,
}

impl Message {
    /// # Errors
    /// What is wrong with the topic name.
    pub fn publish(topic: impl AsRef<str>, payload: impl AsRef<[u8]>) -> Result<Self, InvalidTopic> {
        Ok(Self::new(&TopicName::new(topic)?, &Dictionary::EMPTY, payload.as_ref()))
    }

    /// Copies the parts together. `map` is the message map, with the keys of the message registry.
    pub fn new(topic: &TopicName, map: &Dictionary, payload: &[u8]) -> Self {
        Self::assemble(topic.as_str().as_bytes(), map.as_bytes(), payload)
    }

    fn assemble(topic: &[u8], map: &[u8], payload: &[u8]) -> Self {
        let mut body = Vec::with_capacity(topic.len() + map.len() + payload.len());
        body.extend_from_slice(topic);
        body.extend_from_slice(map);
        body.extend_from_slice(payload);
        Self::of_body(body.into(), 0..topic.len(), topic.len()..topic.len() + map.len(), topic.len() + map.len())
    }

    /// Takes the ranges of a body that was checked: the topic name is valid, the map is empty or a checked map.
    pub(crate) fn of_body(body: Bytes, topic: std::ops::Range<usize>, map: std::ops::Range<usize>, payload_at: usize) -> Self {
        // A packet has at most 268,435,460 bytes and a topic 65,535, so the offsets fit.
        Self {
            topic_at: topic.start as u32,
            topic_len: topic.len() as u16,
            map_at: map.start as u32,
            map_len: map.len() as u32,
            payload_at: payload_at as u32,
            body,
        }
    }

    /// The topic name's bytes: valid UTF-8 that obeys section 4.7.
    pub fn topic(&self) -> &[u8] {
        &self.body[self.topic_at as usize..][..usize::from(self.topic_len)]
    }

    /// The topic name as text. Off the hot path: it is checked again.
    pub fn topic_str(&self) -> &str {
        std::str::from_utf8(self.topic()).unwrap_or_default()
    }

    /// The message map as it travels: no byte, or one CBOR map.
    pub fn map(&self) -> &[u8] {
        &self.body[self.map_at as usize..][..self.map_len as usize]
    }

    /// Whether it has a message map.
    #[inline]
    pub fn has_map(&self) -> bool {
        self.map_len > 0
    }

    /// The message map, to be read.
    pub fn dictionary(&self) -> Dictionary {
        let at = self.map_at as usize;
        let raw = self.body.slice(at..at + self.map_len as usize);
        // It was checked when the message was made or read; the receiver's limits held then.
        Dictionary::parse(raw, crate::codec::dictionary::Limits { len_max: u32::MAX, depth_max: u8::MAX }).unwrap_or_default()
    }

    pub fn payload(&self) -> &[u8] {
        &self.body[self.payload_at as usize..]
    }

    /// The payload, sharing the message's memory.
    pub fn payload_bytes(&self) -> Bytes {
        self.body.slice(self.payload_at as usize..)
    }

    /// The whole body of a PUBLISH at QoS 0 whose dictionary holds nothing but the message map, if it stands in the message's memory
    /// as it was read.
    pub(crate) fn read_body(&self, is_extended: bool) -> Option<&[u8]> {
        let topic_end = 2 + u32::from(self.topic_len);
        let is_as_read = match (is_extended, self.map_len) {
            (false, 0) => self.payload_at == topic_end,
            (false, _) => false,
            // Between topic and payload stands the length of the dictionary alone.
            (true, 0) => self.payload_at == topic_end + 1 && self.body.get(topic_end as usize) == Some(&0),
            // Before the map stands as much as a dictionary of nothing else has there, and that can be nothing else. Behind it stands
            // the payload.
            (true, len) => {
                let head = MessageOnly::len_before(len as usize);
                let length = varint_len(head as u32 + len) as u32;
                self.map_at == topic_end + length + head as u32 && self.payload_at == self.map_at + len
            }
        };
        (self.topic_at == 2 && is_as_read).then_some(&self.body[..])
    }

    /// The message in memory of its own: for messages that are kept longer than the buffer they were read into.
    pub fn compact(&self) -> Self {
        Self::assemble(self.topic(), self.map(), self.payload())
    }

    /// The bytes that [`Message::compact_in`] writes.
    pub fn compact_len(&self) -> usize {
        if self.is_nearly_compact() { self.body.len() } else { self.len() }
    }

    /// Whether what stands around the parts is so little that leaving it out costs more: a packet identifier, lengths.
    #[inline]
    fn is_nearly_compact(&self) -> bool {
        const LITTLE: usize = 16;
        self.body.len() <= self.len() + LITTLE
    }

    /// As [`Message::compact`], in memory that it shares with the messages before and behind it: it is written to `buffer`, and cut off.
    pub fn compact_in(&self, buffer: &mut BytesMut) -> Self {
        if self.is_nearly_compact() {
            buffer.extend_from_slice(&self.body);
            return Self { body: buffer.split().freeze(), ..*self };
        }
        let (topic, map, payload) = (self.topic(), self.map(), self.payload());
        buffer.reserve(self.len());
        buffer.extend_from_slice(topic);
        buffer.extend_from_slice(map);
        buffer.extend_from_slice(payload);
        Self::of_body(buffer.split().freeze(), 0..topic.len(), topic.len()..topic.len() + map.len(), topic.len() + map.len())
    }

    /// Bytes of topic, map and payload: what a queue counts.
    pub fn len(&self) -> usize {
        usize::from(self.topic_len) + self.map_len as usize + self.body.len().saturating_sub(self.payload_at as usize)
    }

    /// Never: a topic name has at least one byte.
    pub fn is_empty(&self) -> bool {
        false
    }
}

impl PartialEq for Message {
    fn eq(&self, other: &Self) -> bool {
        (self.topic(), self.map(), self.payload()) == (other.topic(), other.map(), other.payload())
    }
}

impl Eq for Message {}

impl Hash for Message {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.topic(), self.map(), self.payload()).hash(state);
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.topic_str())?;
        if self.map_len > 0 {
            write!(f, " {:?}", self.dictionary())?;
        }
        match std::str::from_utf8(self.payload()) {
            Ok(text) if text.len() <= 64 && !text.contains(|c: char| c.is_control()) => write!(f, " {text:?}"),
            _ => write!(f, " {} bytes", self.payload().len()),
        }
    }
}
