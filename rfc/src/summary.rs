//! Packets in one line each, with the names of the tables: what stands above the arrows of a ladder.

use bytes::Bytes;
use candor_protocol::codec::dictionary::{Dictionary, Entries, Item, KeyRef, Limits};
use candor_protocol::codec::frame::Frame;
use candor_protocol::dialect::Dialect;
use candor_protocol::dialect::read::{raise, raise_connect};
use candor_protocol::packet::kind::Kind;
use candor_protocol::packet::problem::PROBLEM_KEYS;
use candor_protocol::packet::profile::PROFILE_CLAUSES;
use candor_protocol::packet::property::{self, message_key, packet_key};
use candor_protocol::packet::subscribe::RequestedFilter;
use candor_protocol::packet::{ConnAck, Connect, Packet, Publish, Reason};

/// One line for every packet in `bytes`, and one for what follows the last whole packet.
pub fn packets(dialect: Dialect, bytes: &[u8]) -> Vec<String> {
    let mut rest = Bytes::copy_from_slice(bytes);
    let mut lines = Vec::new();
    loop {
        match Frame::split(&mut rest, u32::MAX) {
            Ok(Some(frame)) => lines.push(frame_line(dialect, &frame)),
            Ok(None) if rest.is_empty() => return lines,
            Ok(None) => {
                lines.push(format!("{} of a packet that is not complete", bytes_of(rest.len())));
                return lines;
            }
            Err(error) => {
                lines.push(format!("{} that are not a packet: {error}", bytes_of(rest.len())));
                return lines;
            }
        }
    }
}

fn bytes_of(len: usize) -> String {
    format!("{len} byte{}", if len == 1 { "" } else { "s" })
}

fn frame_line(dialect: Dialect, frame: &Frame) -> String {
    let packet = match Kind::of_first_byte(frame.first) {
        Some(Kind::Connect) => match raise_connect(frame, Limits::default()) {
            Ok(connect) => Ok(Packet::Connect(Box::new(connect))),
            Err(error) => Err(format!("{error:?}")),
        },
        _ => raise(dialect, frame, Limits::default()).map_err(|error| error.to_string()),
    };
    match packet {
        Ok(packet) => packet_line(&packet),
        Err(error) => format!("{} that is malformed: {error}", Kind::of_first_byte(frame.first).map_or("a packet", Kind::name)),
    }
}

fn packet_line(packet: &Packet) -> String {
    let said = match packet {
        Packet::Connect(connect) => connect_words(connect),
        Packet::ConnAck(connack) => connack_words(connack),
        Packet::Publish(publish) => publish_words(publish),
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => format!(" {}: {}", ack.id, ack.reason),
        Packet::Subscribe(subscribe) => {
            let items = subscribe.items.iter().map(|item| format!("{:?} {}", filter_text(&item.filter), item.qos));
            format!(" {}: {}", subscribe.id, items.collect::<Vec<_>>().join(", "))
        }
        Packet::SubAck(suback) => format!(" {}: {}", suback.id, reasons(&suback.reasons)),
        Packet::Unsubscribe(unsubscribe) => {
            let filters = unsubscribe.filters.iter().map(|filter| format!("{:?}", filter_text(filter)));
            format!(" {}: {}", unsubscribe.id, filters.collect::<Vec<_>>().join(", "))
        }
        Packet::UnsubAck(unsuback) => match (unsuback.reasons.is_empty(), unsuback.accept.len()) {
            (true, 0) => format!(" {}", unsuback.id),
            (true, len) => format!(" {}, accept of {}", unsuback.id, bytes_of(len)),
            (false, _) => format!(" {}: {}", unsuback.id, reasons(&unsuback.reasons)),
        },
        Packet::PingReq(_) | Packet::PingResp(_) => String::new(),
        Packet::Disconnect(disconnect) => format!(": {}", disconnect.reason),
        Packet::Notice(notice) => format!(": {}", notice.reason),
    };
    let dictionary = packet.dictionary();
    let dictionary = if dictionary.is_empty() { String::new() } else { format!(" {}", map(dictionary.entries(), Names::Packet)) };
    format!("{}{said}{dictionary}", packet.kind())
}

fn connect_words(connect: &Connect) -> String {
    let mut words = format!(" ({}), client {:?}", connect.dialect, connect.client_id);
    if connect.clean_session {
        words += ", clean session";
    }
    words += &format!(", keep alive {} s", connect.keep_alive_s);
    if let Some(will) = &connect.will {
        words += &format!(", will {:?} {}", will.message, will.qos);
    }
    if let Some(user_name) = &connect.user_name {
        words += &format!(", user {user_name:?}");
    }
    words
}

fn connack_words(connack: &ConnAck) -> String {
    format!(": {}{}", connack.reason, if connack.session_present { ", session present" } else { "" })
}

fn publish_words(publish: &Publish) -> String {
    let id = publish.id.map_or(String::new(), |id| format!(" {id}"));
    let flags = format!("{}{}", if publish.dup { ", DUP" } else { "" }, if publish.retain { ", retain" } else { "" });
    let payload = match std::str::from_utf8(publish.message.payload()) {
        Ok(text) if text.len() <= 32 && !text.contains(|c: char| c.is_control()) => format!("{text:?}"),
        _ => bytes_of(publish.message.payload().len()),
    };
    format!("{id}: {:?} {}{flags}, payload {payload}", publish.message.topic_str(), publish.qos)
}

fn filter_text(filter: &RequestedFilter) -> &str {
    match filter {
        Ok(filter) => filter.as_str(),
        Err((text, _)) => text,
    }
}

fn reasons(reasons: &[Reason]) -> String {
    reasons.iter().map(Reason::to_string).collect::<Vec<_>>().join(", ")
}

/// Which table names the keys of a map.
#[derive(Clone, Copy)]
enum Names {
    Packet,
    Message,
    Problem,
    Profile,
    /// The keys are indices of filters, and the values maps of packet keys.
    Items,
    None,
}

impl Names {
    fn name(self, number: i64) -> String {
        let found = match self {
            Names::Packet => packet_key(number).map(|row| row.name),
            Names::Message => message_key(number).map(|row| row.name),
            Names::Problem => PROBLEM_KEYS.iter().find(|row| row.number == number).map(|row| row.name),
            Names::Profile => PROFILE_CLAUSES.iter().find(|row| row.number == number).map(|row| row.name),
            Names::Items | Names::None => None,
        };
        found.map_or_else(|| number.to_string(), str::to_owned)
    }

    /// The table that names the keys of the map under `key`.
    fn below(self, key: KeyRef<'_>) -> Names {
        match (self, key) {
            (Names::Items, _) => Names::Packet,
            (Names::Packet, KeyRef::Number(number)) => match number {
                n if n == property::ITEMS.number => Names::Items,
                n if n == property::WILL.number => Names::Packet,
                n if n == property::PROBLEM.number => Names::Problem,
                n if n == property::REQUIRE.number || n == property::PROFILE.number => Names::Profile,
                n if n == property::MESSAGE.number => Names::Message,
                _ => Names::None,
            },
            _ => Names::None,
        }
    }
}

fn map(entries: Entries<'_>, names: Names) -> String {
    let entries = entries.map(|(key, item)| {
        let name = if let KeyRef::Number(number) = key { names.name(number) } else { format!("{key:?}") };
        format!("{name}: {}", value(item, names.below(key)))
    });
    format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
}

fn value(item: Item<'_>, names: Names) -> String {
    match item {
        Item::Map(_) => map(item.entries(), names),
        // The message map is a map inside a byte string.
        Item::Bytes(bytes) if matches!(names, Names::Message) => {
            match Dictionary::parse(Bytes::copy_from_slice(bytes), Limits::default()) {
                Ok(inner) => format!("<<{}>>", map(inner.entries(), names)),
                Err(_) => format!("{item:?}"),
            }
        }
        _ => format!("{item:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(dialect: Dialect, hex: &str) -> Vec<String> {
        let digits: String = hex.split_whitespace().collect();
        let bytes: Vec<u8> = (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect();
        packets(dialect, &bytes)
    }

    #[test]
    fn a_packet_is_told_with_the_names_of_the_tables() {
        assert_eq!(
            lines(Dialect::Extended, "40 0a 0007 87 06 a1 04 a1 00 6161"),
            ["PUBACK 7: not authorized (0x87) {problem: {rule: \"a\"}}"]
        );
        assert_eq!(
            lines(Dialect::Extended, "32 13 0003 612f62 0001 09 a1 00 46 a1 02 63 612f62 6869"),
            ["PUBLISH 1: \"a/b\" QoS 1, payload \"hi\" {message: <<{content-type: \"a/b\"}>>}"]
        );
        assert_eq!(lines(Dialect::V311, "c000 d000"), ["PINGREQ", "PINGRESP"]);
        assert_eq!(
            lines(Dialect::V311, "10 0d 0004 4d515454 04 02 003c 0001 63"),
            ["CONNECT (3.1.1), client \"c\", clean session, keep alive 60 s"]
        );
        assert_eq!(
            lines(Dialect::Extended, "90 0f 0001 0a a1 02 a1 01 a1 04 a1 02 187b 00 87"),
            ["SUBACK 1: success (0x00), not authorized (0x87) {items: {1: {problem: {seen: 123}}}}"]
        );
    }

    #[test]
    fn what_is_not_a_packet_is_told_as_such() {
        assert_eq!(lines(Dialect::V311, "c000 30"), ["PINGREQ", "1 byte of a packet that is not complete"]);
        assert_eq!(lines(Dialect::V311, "f000"), ["NOTICE that is malformed: packet type 15 does not exist here"]);
        assert_eq!(lines(Dialect::V311, "00"), ["1 byte that are not a packet: packet type 0 does not exist here"]);
    }
}
