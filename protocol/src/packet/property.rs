//! The property keys: every registered key of a dictionary, written once.
//!
//! There are two registries. [`PACKET_KEYS`] are the keys of a packet's own dictionary; they concern this hop and are
//! consumed by the receiver. [`MESSAGE_KEYS`] are the keys of the map that travels under `message` from the publisher
//! to the subscribers, byte for byte. Even numbers may be ignored by a receiver that does not know them, odd ones may
//! not (`codec::dictionary::KeyRef::is_critical`). Names are those of MQTT 5 where the meaning is the same.

use super::kind::{Kind, Kinds};
use crate::codec::dictionary::{Dictionary, Item, MapBuilder, write_bool, write_bytes, write_head, write_text};
use crate::dialect::terms::{PACKET_SIZE_MAX, PACKET_SIZE_MIN};
use bytes::Bytes;
use std::fmt;
use std::marker::PhantomData;

/// A key with the type of its value.
pub struct Key<T> {
    pub number: i64,
    pub name: &'static str,
    value: PhantomData<fn() -> T>,
}

impl<T> Key<T> {
    /// A key of an experiment has a negative number.
    pub const fn new(name: &'static str, number: i64) -> Self {
        Self { number, name, value: PhantomData }
    }
}

impl<T> Clone for Key<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Key<T> {}

impl<T> fmt::Debug for Key<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.number)
    }
}

/// A type that a key can have.
pub trait KeyValue: Sized {
    const TYPE: ValueType;
    fn read(item: Item<'_>) -> Option<Self>;
    fn write(&self, out: &mut Vec<u8>);
}

/// The CBOR type of a key's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ValueType {
    Unsigned,
    Bool,
    Text,
    Bytes,
    TextArray,
    Map,
}

impl ValueType {
    /// The name in words; in CDDL terms the prelude's `uint`, `bool`, `tstr`, `bstr`.
    pub const fn name(self) -> &'static str {
        match self {
            ValueType::Unsigned => "unsigned integer",
            ValueType::Bool => "boolean",
            ValueType::Text => "text",
            ValueType::Bytes => "byte string",
            ValueType::TextArray => "array of text",
            ValueType::Map => "map",
        }
    }

    pub fn fits(self, item: Item<'_>) -> bool {
        match (self, item) {
            (ValueType::Unsigned, Item::Unsigned(_))
            | (ValueType::Bool, Item::Bool(_))
            | (ValueType::Text, Item::Text(_))
            | (ValueType::Bytes, Item::Bytes(_))
            | (ValueType::Map, Item::Map(_)) => true,
            (ValueType::TextArray, Item::Array(_)) => item.elements().all(|element| matches!(element, Item::Text(_))),
            _ => false,
        }
    }
}

impl KeyValue for u64 {
    const TYPE: ValueType = ValueType::Unsigned;
    fn read(item: Item<'_>) -> Option<Self> {
        if let Item::Unsigned(n) = item { Some(n) } else { None }
    }
    fn write(&self, out: &mut Vec<u8>) {
        write_head(out, 0, *self);
    }
}

impl KeyValue for bool {
    const TYPE: ValueType = ValueType::Bool;
    fn read(item: Item<'_>) -> Option<Self> {
        if let Item::Bool(value) = item { Some(value) } else { None }
    }
    fn write(&self, out: &mut Vec<u8>) {
        write_bool(out, *self);
    }
}

impl KeyValue for String {
    const TYPE: ValueType = ValueType::Text;
    fn read(item: Item<'_>) -> Option<Self> {
        if let Item::Text(text) = item { Some(text.to_owned()) } else { None }
    }
    fn write(&self, out: &mut Vec<u8>) {
        write_text(out, self);
    }
}

impl KeyValue for Bytes {
    const TYPE: ValueType = ValueType::Bytes;
    fn read(item: Item<'_>) -> Option<Self> {
        if let Item::Bytes(bytes) = item { Some(Bytes::copy_from_slice(bytes)) } else { None }
    }
    fn write(&self, out: &mut Vec<u8>) {
        write_bytes(out, self);
    }
}

impl KeyValue for Vec<String> {
    const TYPE: ValueType = ValueType::TextArray;
    fn read(item: Item<'_>) -> Option<Self> {
        if !Self::TYPE.fits(item) {
            return None;
        }
        item.elements().map(String::read).collect()
    }
    fn write(&self, out: &mut Vec<u8>) {
        write_head(out, 4, self.len() as u64);
        self.iter().for_each(|text| write_text(out, text));
    }
}

/// A map inside a dictionary; an empty one is written as an empty map.
impl KeyValue for Dictionary {
    const TYPE: ValueType = ValueType::Map;
    fn read(item: Item<'_>) -> Option<Self> {
        match item {
            // It stood inside a checked dictionary, so it is in deterministic form; only the empty map has another form here.
            Item::Map([0xA0]) => Some(Dictionary::EMPTY),
            Item::Map(raw) => {
                let limits = crate::codec::dictionary::Limits { len_max: u32::MAX, depth_max: u8::MAX };
                Dictionary::parse(Bytes::copy_from_slice(raw), limits).ok()
            }
            _ => None,
        }
    }
    fn write(&self, out: &mut Vec<u8>) {
        if self.is_empty() {
            write_head(out, 5, 0);
        } else {
            out.extend_from_slice(self.as_bytes());
        }
    }
}

impl Dictionary {
    /// The value under `key`, if it is there and has the key's type.
    pub fn value<T: KeyValue>(&self, key: Key<T>) -> Option<T> {
        if self.is_empty() {
            return None;
        }
        self.get(key.number).and_then(T::read)
    }

    /// A dictionary with one entry.
    pub fn with<T: KeyValue>(key: Key<T>, value: &T) -> Dictionary {
        let mut map = MapBuilder::new();
        map.set(key, value);
        map.finish()
    }
}

impl MapBuilder {
    pub fn set<T: KeyValue>(&mut self, key: Key<T>, value: &T) -> &mut Self {
        self.put(key.number, |out| value.write(out))
    }

    /// Sets `key` where there is a value.
    pub fn set_some<T: KeyValue>(&mut self, key: Key<T>, value: Option<&T>) -> &mut Self {
        if let Some(value) = value {
            self.set(key, value);
        }
        self
    }
}

/// Which end may write a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Writer {
    Both,
    Client,
    Server,
}

impl Writer {
    pub const fn name(self) -> &'static str {
        match self {
            Writer::Both => "both",
            Writer::Client => "client",
            Writer::Server => "server",
        }
    }
}

/// One row of a key registry.
#[derive(Debug, Clone, Copy)]
pub struct KeyInfo {
    pub number: i64,
    pub name: &'static str,
    pub value: ValueType,
    /// The packets that may carry it; for [`MESSAGE_KEYS`] that is PUBLISH, by way of `message`.
    pub packets: Kinds,
    /// Which end may write it.
    pub writer: Writer,
    /// What its value may be.
    pub range: Range,
    /// What it means, with its unit and, in words, its range.
    pub meaning: &'static str,
}

/// What a value may be beyond its type; both ends are included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Range {
    /// Whatever is of the type.
    Any,
    /// A number.
    Number(u64, u64),
    /// A text or byte string of so many bytes.
    Length(u64, u64),
}

impl Range {
    /// # Errors
    /// The bound that a value does not keep, and what it is instead.
    pub fn check(self, value: Item<'_>) -> Result<(), (u64, u64)> {
        let (min, max, seen) = match (self, value) {
            (Range::Number(min, max), Item::Unsigned(seen)) => (min, max, seen),
            (Range::Length(min, max), Item::Bytes(bytes)) => (min, max, bytes.len() as u64),
            (Range::Length(min, max), Item::Text(text)) => (min, max, text.len() as u64),
            _ => return Ok(()),
        };
        match seen {
            seen if seen < min => Err((min, seen)),
            seen if seen > max => Err((max, seen)),
            _ => Ok(()),
        }
    }
}

/// As it stands in meanings and refusals: `1 to 65535`, `8 bytes`, `at most 32 bytes`.
impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Range::Any => f.write_str("any value"),
            Range::Number(min, max) => write!(f, "{min} to {max}"),
            Range::Length(min, max) if min == max => write!(f, "{max} bytes"),
            Range::Length(0, max) => write!(f, "at most {max} bytes"),
            Range::Length(min, max) => write!(f, "{min} to {max} bytes"),
        }
    }
}

impl KeyInfo {
    pub const fn is_critical(&self) -> bool {
        crate::codec::dictionary::KeyRef::Number(self.number).is_critical()
    }
}

macro_rules! keys {
    (range) => { Range::Any };
    (range $range:expr) => { $range };
    ($table:ident: $($name:ident: $type:ty = $number:literal $text:literal $writer:ident [$($kind:ident)*] $(in $range:expr)?; $meaning:literal)*) => {
        $(#[doc = $meaning] pub const $name: Key<$type> = Key::new($text, $number);)*
        pub const $table: &[KeyInfo] = &[
            $(KeyInfo {
                number: $number, name: $text, value: <$type as KeyValue>::TYPE,
                packets: Kinds::of(&[$(Kind::$kind),*]), writer: Writer::$writer,
                range: keys!(range $($range)?), meaning: $meaning,
            }),*
        ];
    };
}

/// The most bytes of a tag: it is kept until its message is settled, and repeated.
pub const TAG_LEN_MAX: usize = 32;
/// Seconds up to "never".
const SECONDS: u64 = u32::MAX as u64;

keys! { PACKET_KEYS:
    MESSAGE: Bytes = 0 "message" Both [Publish];
        "The message map: what the publisher tells the subscribers, one deterministic CBOR map with the message keys, forwarded byte for byte."
    ITEMS: Dictionary = 2 "items" Both [Subscribe SubAck Unsubscribe UnsubAck];
        "A map from the index of a topic filter in this packet (from 0) to a map of packet keys that concern that filter alone."
    WILL: Dictionary = 3 "will" Client [Connect];
        "The dictionary of the PUBLISH that the will becomes."
    PROBLEM: Dictionary = 4 "problem" Both [ConnAck PubAck PubRec SubAck UnsubAck Disconnect Notice PingResp];
        "Why it was refused: a map in the shape of RFC 9290 with this draft's keys."
    REQUIRE: Dictionary = 5 "require" Client [Connect Subscribe];
        "The least profile the client accepts, for the session or, within items, for a subscription; it is granted or refused, never lowered."
    PROFILE: Dictionary = 6 "profile" Server [ConnAck SubAck Notice PingResp];
        "What the server can and does keep on this connection."
    MINIMUM_DURABILITY: u64 = 7 "minimum-durability" Both [Publish] in Range::Number(0, 3);
        "The least durability at which this message may be acknowledged: 0 none, 1 memory, 2 disk, 3 quorum."
    RECEIPT: u64 = 8 "receipt" Both [PubAck PubRec] in Range::Number(0, 3);
        "The durability that the message really reached: 0 none, 1 memory, 2 disk, 3 quorum. Sent when receipt-request asked for it."
    RECEIPT_REQUEST: bool = 10 "receipt-request" Both [Publish];
        "Whether the acknowledgement shall say which durability the message reached."
    SESSION_EXPIRY_INTERVAL: u64 = 12 "session-expiry-interval" Both [Connect ConnAck Disconnect] in Range::Number(0, SECONDS);
        "Seconds, 0 to 4294967295, that the session is kept after the connection; 0 ends it with the connection, 4294967295 never expires."
    MESSAGE_EXPIRY_INTERVAL: u64 = 14 "message-expiry-interval" Both [Publish] in Range::Number(1, SECONDS);
        "Seconds, 1 to 4294967295, after which the message is of no use; a server forwards what is left of them."
    RECEIVE_MAXIMUM: u64 = 16 "receive-maximum" Both [Connect ConnAck] in Range::Number(1, 65_535);
        "How many messages above QoS 0 the sender of this key takes at once, 1 to 65535; 65535 when absent."
    MAXIMUM_PACKET_SIZE: u64 = 18 "maximum-packet-size" Both [Connect ConnAck] in Range::Number(PACKET_SIZE_MIN as u64, PACKET_SIZE_MAX as u64);
        "The most bytes of one packet that the sender of this key takes, fixed header included: 64 to 268435460, so that every acknowledgement fits."
    ASSIGNED_CLIENT_IDENTIFIER: String = 20 "assigned-client-identifier" Server [ConnAck];
        "The client identifier that the server chose because the client sent none."
    SERVER_KEEP_ALIVE: u64 = 22 "server-keep-alive" Server [ConnAck] in Range::Number(0, 65_535);
        "Seconds, 0 to 65535: the keep alive interval to use instead of the one in CONNECT."
    SESSION_INCARNATION: Bytes = 24 "session-incarnation" Both [Connect ConnAck] in Range::Length(8, 8);
        "8 bytes that name this life of the session: the same as long as nothing of the session was lost. In CONNECT the life that the client knows."
    SESSION_STATE: u64 = 26 "session-state" Server [ConnAck] in Range::Number(0, 4);
        "What became of the session: 0 resumed, 1 never existed or ended as asked, 2 expired, 3 evicted at a limit, 4 lost with a restart."
    TAG: Bytes = 28 "tag" Both [Publish PubAck PubRec Notice] in Range::Length(0, TAG_LEN_MAX as u64);
        "At most 32 bytes of the publisher's choice, repeated in what it is told about this message."
    EXTENSIONS: Vec<String> = 30 "extensions" Both [Connect ConnAck];
        "In CONNECT the names of the experiments that the client speaks, in CONNACK those that both ends speak and that are in force."
    PUBLISHER: String = 32 "publisher" Server [Publish];
        "The principal that published the message, as the first server authenticated it."
    NODE: String = 34 "node" Server [Publish ConnAck];
        "The name of the server, in PUBLISH of the first one that took the message."
    RECEIVED_AT: u64 = 36 "received-at" Server [Publish];
        "When the first server took the message: milliseconds since 1970-01-01T00:00:00Z."
    MESSAGE_ID: Bytes = 38 "message-id" Server [Publish PubAck PubRec] in Range::Length(16, 16);
        "16 bytes minted by the first server that name the message; it does not deduplicate."
    TOPIC: String = 40 "topic" Both [Notice];
        "The topic that a notice is about."
    COUNT: u64 = 42 "count" Both [Notice PingResp];
        "How many messages or packets a notice is about; 1 when absent. In PINGRESP how many questions have no answer; 0 when absent."
    DELAY: u64 = 44 "delay" Both [PubAck PubRec];
        "With reason modified: milliseconds after which the message may come again."
    REDELIVERY_COUNT: u64 = 46 "redelivery-count" Server [Publish];
        "How many times the message was handed out before; 0 when absent."
    BACKLOG: u64 = 48 "backlog" Server [PingResp];
        "How many messages wait for this session."
    SERVER_TIME: u64 = 50 "server-time" Server [ConnAck PingResp];
        "The server's clock: milliseconds since 1970-01-01T00:00:00Z."
    CONFIRM_HASH: Bytes = 52 "confirm" Client [Notice] in Range::Length(16, 16);
        "The hash of the accept that the client read, 16 bytes, as in the section on negotiation."
    SUBSCRIPTION_OPTIONS: u64 = 54 "options" Client [Subscribe] in Range::Number(0, 31);
        "Within items, bits, 0 to 31: 1 no local, 2 retain as published, 4 no retained messages on subscribing, 8 retained messages only if the subscription is new, 16 a message that was put off lets others pass."
    REASON: u64 = 56 "reason" Server [Notice PingResp] in Range::Number(0, 255);
        "The reason, 0 to 255, when a notice is about something that another packet would have been the place for; in PINGRESP that of the questions that have no answer."
    RETRY_AFTER: u64 = 58 "retry-after" Server [ConnAck Disconnect];
        "Milliseconds before the client connects again; the client adds a random part of up to half of it."
    COUNT_MARK: Bytes = 60 "count-mark" Server [ConnAck] in Range::Length(8, 8);
        "8 bytes that name the count of messages above QoS 0 that begins with this connection."
    HELD: Dictionary = 62 "held" Both [Connect ConnAck Notice];
        "What its sender holds of the other's messages, when a session is resumed; in NOTICE with reason confirm alone."
    DEAD_LETTER: Dictionary = 64 "dead-letter" Server [Publish];
        "In a dead letter: how often the message was rejected, the last rejections, and its QoS."
    REPORT_REQUEST: bool = 66 "report-request" Client [Publish];
        "Whether the publisher wants to be told what became of the message with those who were to get it."
    QUESTIONS: Dictionary = 80 "questions" Client [PingReq];
        "A map from an index of the client's choice to something that it would do: may I?"
    ANSWERS: Dictionary = 82 "answers" Server [PingResp];
        "A map from the index of each question to the answer that the client would get if it did so now."
    LOAD: u64 = 84 "load" Server [PingResp];
        "How much of what it can bear the server bears now, in per cent of the limit that is nearest; may be above 100."
}

keys! { MESSAGE_KEYS:
    PAYLOAD_FORMAT_INDICATOR: u64 = 0 "payload-format-indicator" Both [Publish] in Range::Number(0, 1);
        "0: bytes. 1: UTF-8 text."
    CONTENT_TYPE: String = 2 "content-type" Both [Publish];
        "The media type of the payload."
    RESPONSE_TOPIC: String = 4 "response-topic" Both [Publish];
        "The topic name an answer is expected on."
    CORRELATION_DATA: Bytes = 6 "correlation-data" Both [Publish];
        "What the answer shall repeat so that the question is known."
    SCHEMA: String = 8 "schema" Both [Publish];
        "The name or address of the payload's schema."
    TRACE_PARENT: String = 10 "traceparent" Both [Publish];
        "The W3C trace context of the publisher."
    TRACE_STATE: String = 12 "tracestate" Both [Publish];
        "The vendor's part of the W3C trace context."
    KEY_HINT: Bytes = 14 "key-hint" Both [Publish];
        "Which key the payload is encrypted with, for receivers that hold several."
}

/// The row of a packet key.
pub fn packet_key(number: i64) -> Option<&'static KeyInfo> {
    find(PACKET_KEYS, number)
}

/// The row of a message key.
pub fn message_key(number: i64) -> Option<&'static KeyInfo> {
    find(MESSAGE_KEYS, number)
}

fn find(table: &'static [KeyInfo], number: i64) -> Option<&'static KeyInfo> {
    table.binary_search_by_key(&number, |row| row.number).ok().map(|at| &table[at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registries_are_ascending_and_named_once() {
        for table in [PACKET_KEYS, MESSAGE_KEYS] {
            assert!(table.windows(2).all(|pair| pair[0].number < pair[1].number));
            let mut names: Vec<_> = table.iter().map(|row| row.name).collect();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), table.len());
        }
    }

    #[test]
    fn a_meaning_tells_the_range_that_is_enforced() {
        for row in PACKET_KEYS.iter().chain(MESSAGE_KEYS).filter(|row| row.range != Range::Any) {
            let (meaning, range) = (row.meaning.to_lowercase(), row.range.to_string());
            let lists = matches!(row.range, Range::Number(0, max) if (0..=max).all(|n| meaning.contains(&n.to_string())));
            assert!(lists || meaning.contains(&range), "{}: {range} is not in {meaning:?}", row.name);
        }
    }

    #[test]
    fn a_typed_key_reads_what_it_wrote_and_nothing_else() {
        let mut map = MapBuilder::new();
        map.set(TAG, &Bytes::from_static(b"t1")).set(EXTENSIONS, &vec!["a".to_owned(), "b".to_owned()]).set(RECEIPT_REQUEST, &true);
        let dictionary = map.finish();
        assert_eq!(dictionary.value(TAG).as_deref(), Some(&b"t1"[..]));
        assert_eq!(dictionary.value(EXTENSIONS), Some(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(dictionary.value(RECEIPT_REQUEST), Some(true));
        assert_eq!(dictionary.value(RECEIPT), None);
        assert_eq!(dictionary.value(Key::<String>::new("wrong type", TAG.number)), None);
    }
}
