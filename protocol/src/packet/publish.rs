//! PUBLISH (section 3.3).

use super::id::{PacketId, Qos};
use super::message::Message;
use super::property::MESSAGE;
use crate::codec::dictionary::{Dictionary, HEAD_LEN_MAX, MapBuilder, head_bytes, head_len, shortest_head, write_bytes};

/// One sending of a message over one hop.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Publish {
    pub dup: bool,
    pub qos: Qos,
    pub retain: bool,
    /// There exactly when the QoS is above 0 ([MQTT-2.3.1-1], [MQTT-2.3.1-5]).
    pub id: Option<PacketId>,
    pub message: Message,
    /// The whole dictionary of the packet, `message` included.
    pub dictionary: Dictionary,
}

impl Publish {
    /// A first sending with the keys of `hop` beside the message map.
    pub fn new(message: Message, qos: Qos, retain: bool, id: Option<PacketId>, hop: &Dictionary) -> Self {
        let dictionary = dictionary_of(&message, hop);
        Self { dup: false, qos, retain, id, message, dictionary }
    }
}

/// The dictionary of a PUBLISH: the keys of this hop, and the message map under `message`.
pub fn dictionary_of(message: &Message, hop: &Dictionary) -> Dictionary {
    if message.map().is_empty() && hop.get(MESSAGE.number).is_none() {
        return hop.clone();
    }
    if hop.is_empty() {
        let head = MessageOnly::of(message);
        return Dictionary::of_checked([head.as_bytes(), message.map()].concat());
    }
    let mut map = MapBuilder::new();
    map.merge(hop).remove(MESSAGE.number);
    if !message.map().is_empty() {
        map.put(MESSAGE.number, |out| write_bytes(out, message.map()));
    }
    map.finish()
}

/// What stands before the message map in a dictionary that holds nothing else, which is the dictionary of almost every message
/// that has one: the head of a map of one entry, key 0, and the head of a byte string.
#[derive(Debug, Clone, Copy)]
pub struct MessageOnly {
    bytes: [u8; MESSAGE_ONLY.len() + HEAD_LEN_MAX],
    len: usize,
}

/// A map of one entry, then key 0.
const MESSAGE_ONLY: [u8; 2] = [0xA1, MESSAGE.number as u8];
/// The major type of a byte string.
const BYTES: u8 = 2;

impl MessageOnly {
    pub fn of(message: &Message) -> Self {
        let (head, len) = head_bytes(BYTES, message.map().len() as u64);
        let mut bytes = [0; MESSAGE_ONLY.len() + HEAD_LEN_MAX];
        bytes[..MESSAGE_ONLY.len()].copy_from_slice(&MESSAGE_ONLY);
        bytes[MESSAGE_ONLY.len()..].copy_from_slice(&head);
        Self { bytes, len: MESSAGE_ONLY.len() + len }
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// How many bytes stand before a map of `map_len` bytes.
    pub fn len_before(map_len: usize) -> usize {
        MESSAGE_ONLY.len() + head_len(map_len as u64)
    }

    /// Where the message map begins in bytes that are a dictionary of nothing else, in its shortest form; `None`: they are not, or
    /// the map has 64 KiB and is not worth a short way. What is inside is not looked at.
    #[inline]
    pub fn map_at(raw: &[u8]) -> Option<usize> {
        let value = raw.strip_prefix(&MESSAGE_ONLY)?;
        let (head_len, map_len) = match *value {
            [head @ 0x40..=0x57, ..] => (1, u64::from(head & 0x1F)),
            [0x58, len @ 24..=255, ..] => (2, u64::from(len)),
            _ => shortest_head(value).ok().filter(|head| head.major == BYTES && head.len <= 3).map(|head| (head.len, head.argument))?,
        };
        ((value.len() - head_len) as u64 == map_len).then_some(MESSAGE_ONLY.len() + head_len)
    }

    /// Whether a checked dictionary holds the message map and nothing else: nothing in it concerns this hop.
    pub fn is(dictionary: &Dictionary) -> bool {
        matches!(dictionary.as_bytes().get(..3), Some([map, key, value]) if [*map, *key] == MESSAGE_ONLY && value >> 5 == BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::dictionary::Limits;

    #[test]
    fn a_dictionary_of_the_message_map_alone_is_the_one_that_a_builder_makes() {
        let topic = super::super::TopicName::new("t").unwrap();
        for len in [0, 1, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 200, 251, 252, 253, 254, 255, 256, 65_529, 65_530, 65_536] {
            let map = MapBuilder::new().set(super::super::property::CONTENT_TYPE, &"x".repeat(len)).finish();
            let message = Message::new(&topic, &map, b"");
            let built = MapBuilder::new().put(MESSAGE.number, |out| write_bytes(out, message.map())).finish();
            let made = dictionary_of(&message, &Dictionary::EMPTY);
            assert_eq!(made, built, "{len}");
            assert!(MessageOnly::is(&made));
            let at = made.as_bytes().len() - message.map().len();
            assert_eq!(MessageOnly::map_at(made.as_bytes()), Some(at).filter(|at| *at < 7), "{len}");
            assert_eq!(MessageOnly::map_at(&made.as_bytes()[..made.as_bytes().len() - 1]), None);
            assert_eq!(Dictionary::parse(made.as_bytes().clone(), Limits { len_max: u32::MAX, depth_max: 8 }), Ok(made));
        }
        let more = MapBuilder::new().set(super::super::property::MESSAGE_EXPIRY_INTERVAL, &1).finish();
        assert!(!MessageOnly::is(&more) && !MessageOnly::is(&Dictionary::EMPTY));
    }
}
