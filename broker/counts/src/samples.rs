//! Packets and filters to count with.

use bytes::{Bytes, BytesMut};
use candor_broker::auth::Access;
use candor_broker::auth::rules::Rules;
use candor_broker::config::source::Source;
use candor_broker::router::{Router, Subscriber, Subscription};
use candor_protocol::codec::dictionary::{Dictionary, Limits, MapBuilder, write_bytes};
use candor_protocol::codec::frame::Frame;
use candor_protocol::dialect::Dialect;
use candor_protocol::dialect::write::to_bytes;
use candor_protocol::packet::legality::Role;
use candor_protocol::packet::{Message, Packet, PacketId, Publish, Qos, TopicFilter, TopicName, property};

/// The topic of every sample message.
pub const TOPIC: &str = "site/7/device/42/temperature";
/// A hundred topics, no two the same.
pub fn topics() -> &'static [String] {
    static TOPICS: std::sync::LazyLock<Vec<String>> =
        std::sync::LazyLock::new(|| (0..100).map(|n| format!("site/{}/device/{n}/temperature", n % 97)).collect());
    &TOPICS
}

/// Bytes of its payload.
pub const PAYLOAD_LEN: usize = 64;

/// A message map of 30 bytes, as an application would send it.
pub fn message_map() -> Dictionary {
    let mut map = MapBuilder::new();
    map.set(property::CONTENT_TYPE, &"text/plain; charset=utf8".to_owned());
    map.finish()
}

/// A message without metadata, or with [`message_map`].
pub fn message(with_map: bool) -> Message {
    let map = if with_map { message_map() } else { Dictionary::EMPTY };
    let payload = [b'x'; PAYLOAD_LEN];
    TopicName::new(TOPIC).map_or_else(|_| unreachable_topic(), |topic| Message::new(&topic, &map, &payload))
}

fn unreachable_topic() -> ! {
    // The topic is a constant of this file.
    std::process::abort()
}

/// `count` PUBLISH packets as they would come from a client.
pub fn publishes(dialect: Dialect, qos: Qos, with_map: bool, first_id: u16, count: u16) -> BytesMut {
    publishes_with(&Dictionary::EMPTY, dialect, qos, with_map, first_id, count)
}

/// As [`publishes`], with these keys beside the message map.
pub fn publishes_with(hop: &Dictionary, dialect: Dialect, qos: Qos, with_map: bool, first_id: u16, count: u16) -> BytesMut {
    let mut bytes = BytesMut::new();
    for n in 0..count {
        let id = if qos == Qos::AtMostOnce { None } else { PacketId::new(first_id + n) };
        let publish = Publish::new(message(with_map), qos, false, id, hop);
        bytes.extend_from_slice(&to_bytes(dialect, Role::Client, &Packet::Publish(publish)).unwrap_or_default());
    }
    bytes
}

/// A PUBLISH to each of `topics`, with the identifiers from 1 on.
pub fn publishes_to(topics: impl Iterator<Item = String>, dialect: Dialect, qos: Qos) -> BytesMut {
    let mut bytes = BytesMut::new();
    for (id, topic) in (1..).zip(topics) {
        let id = if qos == Qos::AtMostOnce { None } else { PacketId::new(id) };
        let Ok(topic) = TopicName::new(&topic) else { continue };
        let message = Message::new(&topic, &Dictionary::EMPTY, &[b'x'; PAYLOAD_LEN]);
        let publish = Publish::new(message, qos, false, id, &Dictionary::EMPTY);
        bytes.extend_from_slice(&to_bytes(dialect, Role::Client, &Packet::Publish(publish)).unwrap_or_default());
    }
    bytes
}

/// Rules that deny everybody the tree of [`TOPIC`].
pub fn denying() -> Access {
    let text = "default = \"allow\"\n[[rule]]\nname = \"not here\"\naction = \"deny\"\npublish = [\"site/#\"]\n";
    Rules::parse(&Source::new("rules", text)).map(|(rules, _)| Access::with_rules(rules)).unwrap_or_default()
}

/// One PUBLISH as a frame.
pub fn frame(dialect: Dialect, qos: Qos, with_map: bool) -> Option<Frame> {
    let mut bytes: Bytes = publishes(dialect, qos, with_map, 1, 1).freeze();
    Frame::split(&mut bytes, u32::MAX).ok().flatten()
}

/// The dictionary of a PUBLISH with [`message_map`], as it travels.
pub fn dictionary_bytes() -> Bytes {
    let mut map = MapBuilder::new();
    map.put(property::MESSAGE.number, |out| write_bytes(out, message_map().as_bytes()));
    map.finish().as_bytes().clone()
}

/// What a receiver allows by default.
pub fn limits() -> Limits {
    Limits::default()
}

/// A router with this many filters: half exact, a quarter with `+`, a quarter with `#`. One of them matches [`TOPIC`].
pub fn router(filters: u32) -> Router {
    let mut router = Router::new();
    for n in 0..filters {
        let text = match n % 4 {
            0 | 1 => format!("site/{}/device/{n}/temperature", n % 97),
            2 => format!("site/{}/device/{n}/+", n % 97),
            _ => format!("site/{}/device/{n}/#", n % 97),
        };
        add(&mut router, &text, n);
    }
    add(&mut router, TOPIC, filters);
    router
}

fn add(router: &mut Router, text: &str, slot: u32) {
    if let Ok(filter) = TopicFilter::new(text) {
        router.subscribe(&filter, Subscriber { shard: 0, slot }, Subscription::default());
    }
}
