//! Lowering: from the model to a frame, a close, or nothing.

use super::Dialect;
use super::level;
use crate::codec::cursor::{put_binary, put_varint, varint_len};
use crate::codec::dictionary::Dictionary;
use crate::codec::frame::put_header;
use crate::packet::Packet;
use crate::packet::ack::Ack;
use crate::packet::connect::{ConnAck, Connect};
use crate::packet::id::{PacketId, Qos};
use crate::packet::kind::Kind;
use crate::packet::legality::Role;
use crate::packet::message::Message;
use crate::packet::property;
use crate::packet::publish::{MessageOnly, Publish, dictionary_of};
use crate::packet::reason::Reason;
use crate::packet::subscribe::{RequestedFilter, SubAck, UnsubAck};
use bytes::{BufMut, Bytes, BytesMut};

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Lowered {
    /// It was written.
    Frame,
    /// The dialect can say it only by closing the connection.
    Close,
    /// The dialect has no way to say it, and nothing is owed.
    Nothing,
}

/// Writes `packet` behind `out`, as `sender` says it in `dialect`.
///
/// What a plain peer gets: an acknowledgement of failure closes the connection ([MQTT-3.3.5-2]); a refused filter is
/// 0x80 in SUBACK, and a close in 3.1, which has no such code; a refused CONNECT gets its return code or a close; a
/// server's DISCONNECT is the close itself; a NOTICE is nothing.
pub fn lower(dialect: Dialect, sender: Role, packet: &Packet, out: &mut BytesMut) -> Lowered {
    match fate(dialect, sender, packet) {
        Lowered::Frame => {}
        other => return other,
    }
    let extended = dialect.is_extended();
    match packet {
        Packet::Connect(packet) => connect(packet, out),
        Packet::ConnAck(packet) => connack(dialect, packet, out),
        Packet::Publish(packet) => publish_packet(dialect, packet, out),
        Packet::PubAck(packet) => ack(extended, Kind::PubAck, packet, out),
        Packet::PubRec(packet) => ack(extended, Kind::PubRec, packet, out),
        Packet::PubRel(packet) => ack(extended, Kind::PubRel, packet, out),
        Packet::PubComp(packet) => ack(extended, Kind::PubComp, packet, out),
        Packet::Subscribe(packet) => {
            let items: usize = packet.items.iter().map(|item| 3 + filter_text(&item.filter).len()).sum();
            put_header(out, 0x82, 2 + dictionary_len(extended, &packet.dictionary) + items);
            out.put_u16(packet.id.value());
            put_dictionary(extended, &packet.dictionary, out);
            for item in &packet.items {
                put_binary(out, filter_text(&item.filter).as_bytes());
                out.put_u8(item.qos as u8);
            }
        }
        Packet::SubAck(packet) => suback(extended, packet, out),
        Packet::Unsubscribe(packet) => {
            let filters: usize = packet.filters.iter().map(|filter| 2 + filter_text(filter).len()).sum();
            put_header(out, 0xA2, 2 + dictionary_len(extended, &packet.dictionary) + filters);
            out.put_u16(packet.id.value());
            put_dictionary(extended, &packet.dictionary, out);
            packet.filters.iter().for_each(|filter| put_binary(out, filter_text(filter).as_bytes()));
        }
        Packet::UnsubAck(packet) => unsuback(extended, packet, out),
        Packet::PingReq(packet) => ping(extended, Kind::PingReq, &packet.dictionary, out),
        Packet::PingResp(packet) => ping(extended, Kind::PingResp, &packet.dictionary, out),
        Packet::Disconnect(packet) if extended => put_reason_packet(Kind::Disconnect, &[], packet.reason, &packet.dictionary, out),
        Packet::Disconnect(_) => put_header(out, 0xE0, 0),
        Packet::Notice(packet) => {
            put_header(out, 0xF0, 1 + dictionary_len(true, &packet.dictionary));
            out.put_u8(packet.reason.0);
            put_dictionary(true, &packet.dictionary, out);
        }
    }
    Lowered::Frame
}

/// What [`lower`] would answer, without writing.
pub fn fate(dialect: Dialect, sender: Role, packet: &Packet) -> Lowered {
    if dialect.is_extended() {
        return Lowered::Frame;
    }
    match packet {
        Packet::PubAck(ack) | Packet::PubRec(ack) if ack.reason.is_error() => Lowered::Close,
        Packet::ConnAck(packet) if return_code(packet.reason).is_none() => Lowered::Close,
        Packet::SubAck(packet) if dialect == Dialect::V31 && packet.reasons.iter().any(|reason| reason.is_error()) => Lowered::Close,
        Packet::Disconnect(packet) if sender == Role::Server || packet.reason != Reason::SUCCESS => Lowered::Close,
        Packet::Notice(_) => Lowered::Nothing,
        _ => Lowered::Frame,
    }
}

/// The return code of a 3.1.1 CONNACK for a reason.
fn return_code(reason: Reason) -> Option<u8> {
    reason.known_or_class().info().and_then(|row| row.connack_v311)
}

/// The bytes of a packet that a dialect can write; `None` where it closes or says nothing.
pub fn to_bytes(dialect: Dialect, sender: Role, packet: &Packet) -> Option<Bytes> {
    let mut out = BytesMut::new();
    (lower(dialect, sender, packet, &mut out) == Lowered::Frame).then(|| out.freeze())
}

fn filter_text(filter: &RequestedFilter) -> &str {
    match filter {
        Ok(filter) => filter.as_str(),
        Err((text, _)) => text,
    }
}

fn dictionary_len(extended: bool, dictionary: &Dictionary) -> usize {
    let len = dictionary.as_bytes().len();
    if extended { varint_len(len as u32) + len } else { 0 }
}

fn put_dictionary(extended: bool, dictionary: &Dictionary, out: &mut BytesMut) {
    if extended {
        put_varint(out, dictionary.as_bytes().len() as u32);
        out.put_slice(dictionary.as_bytes());
    }
}

/// A packet that ends early when its reason is success and its dictionary is empty.
fn put_reason_packet(kind: Kind, fields: &[u8], reason: Reason, dictionary: &Dictionary, out: &mut BytesMut) {
    let first = (kind as u8) << 4 | kind.fixed_flags().unwrap_or(0);
    let extra = match (reason, dictionary.is_empty()) {
        (Reason::SUCCESS, true) => 0,
        (_, true) => 1,
        (_, false) => 1 + dictionary_len(true, dictionary),
    };
    put_header(out, first, fields.len() + extra);
    out.put_slice(fields);
    if extra > 0 {
        out.put_u8(reason.0);
    }
    if extra > 1 {
        put_dictionary(true, dictionary, out);
    }
}

fn ack(extended: bool, kind: Kind, packet: &Ack, out: &mut BytesMut) {
    let id = packet.id.value().to_be_bytes();
    if packet.reason == Reason::SUCCESS && packet.dictionary.is_empty() {
        // Almost every acknowledgement, the same in every dialect.
        let first = (kind as u8) << 4 | kind.fixed_flags().unwrap_or(0);
        out.put_slice(&[first, 2, id[0], id[1]]);
    } else if extended {
        put_reason_packet(kind, &id, packet.reason, &packet.dictionary, out);
    } else {
        // PUBREL and PUBCOMP end their exchange whatever their reason, so a plain peer gets the plain one.
        put_reason_packet(kind, &id, Reason::SUCCESS, &Dictionary::EMPTY, out);
    }
}

fn ping(extended: bool, kind: Kind, dictionary: &Dictionary, out: &mut BytesMut) {
    let extended = extended && !dictionary.is_empty();
    put_header(out, (kind as u8) << 4, dictionary_len(extended, dictionary));
    put_dictionary(extended, dictionary, out);
}

fn connect(packet: &Connect, out: &mut BytesMut) {
    let (name, level) = level::name_and_level(packet.dialect);
    let extended = packet.dialect.is_extended();
    let mut body = BytesMut::new();
    put_binary(&mut body, name.as_bytes());
    body.put_u8(level);
    let will_flags = packet.will.as_ref().map_or(0, |will| 0x04 | (will.qos as u8) << 3 | u8::from(will.retain) << 5);
    let flags = u8::from(packet.clean_session) << 1 | u8::from(packet.user_name.is_some()) << 7 | u8::from(packet.password.is_some()) << 6;
    body.put_u8(flags | will_flags);
    body.put_u16(packet.keep_alive_s);
    put_binary(&mut body, packet.client_id.as_bytes());
    let mut dictionary = packet.dictionary.clone();
    if let Some(will) = &packet.will {
        put_binary(&mut body, will.message.topic());
        put_binary(&mut body, will.message.payload());
        let hop = dictionary_of(&will.message, &will.dictionary);
        if extended && !hop.is_empty() {
            let mut map = crate::codec::dictionary::MapBuilder::new();
            dictionary = map.merge(&dictionary).set(property::WILL, &hop).finish();
        }
    }
    if let Some(user_name) = &packet.user_name {
        put_binary(&mut body, user_name.as_bytes());
    }
    if let Some(password) = &packet.password {
        put_binary(&mut body, password);
    }
    put_dictionary(extended, &dictionary, &mut body);
    put_header(out, 0x10, body.len());
    out.put_slice(&body);
}

fn connack(dialect: Dialect, packet: &ConnAck, out: &mut BytesMut) {
    let extended = dialect.is_extended();
    let code = if extended { packet.reason.0 } else { return_code(packet.reason).unwrap_or(0x80) };
    put_header(out, 0x20, 2 + dictionary_len(extended, &packet.dictionary));
    // A refusal has no session ([MQTT-3.2.2-4]).
    out.put_u8(u8::from(packet.session_present && !packet.reason.is_error() && dialect.tells_session_present()));
    out.put_u8(code);
    put_dictionary(extended, &packet.dictionary, out);
}

fn suback(extended: bool, packet: &SubAck, out: &mut BytesMut) {
    put_header(out, 0x90, 2 + dictionary_len(extended, &packet.dictionary) + packet.reasons.len());
    out.put_u16(packet.id.value());
    put_dictionary(extended, &packet.dictionary, out);
    for reason in &packet.reasons {
        out.put_u8(if extended { reason.0 } else { granted_code(*reason) });
    }
}

/// The return code of a plain SUBACK, which has no others ([MQTT-3.9.3-2]). What a peer may not know counts as its class.
fn granted_code(reason: Reason) -> u8 {
    match reason {
        Reason::SUCCESS | Reason::GRANTED_QOS_1 | Reason::GRANTED_QOS_2 => reason.0,
        reason if reason.is_error() => 0x80,
        _ => 0x00,
    }
}

fn unsuback(extended: bool, packet: &UnsubAck, out: &mut BytesMut) {
    if !extended {
        put_header(out, 0xB0, 2 + packet.accept.len());
        out.put_u16(packet.id.value());
        out.put_slice(&packet.accept);
        return;
    }
    put_header(out, 0xB0, 2 + dictionary_len(true, &packet.dictionary) + packet.reasons.len());
    out.put_u16(packet.id.value());
    put_dictionary(true, &packet.dictionary, out);
    packet.reasons.iter().for_each(|reason| out.put_u8(reason.0));
}

fn publish_packet(dialect: Dialect, packet: &Publish, out: &mut BytesMut) {
    let first = publish_first(packet.dup, packet.qos, packet.retain);
    publish_head(dialect, first, packet.id, &packet.message, &packet.dictionary, out);
    out.put_slice(packet.message.payload());
}

fn publish_first(dup: bool, qos: Qos, retain: bool) -> u8 {
    0x30 | u8::from(dup) << 3 | (qos as u8) << 1 | u8::from(retain)
}

/// Writes all of a PUBLISH but the payload and tells where its packet identifier stands in `out`; the payload of a
/// large message can so follow in memory of its own. `dictionary` is the whole dictionary of the packet.
pub fn publish_head(
    dialect: Dialect,
    first: u8,
    id: Option<PacketId>,
    message: &Message,
    dictionary: &Dictionary,
    out: &mut BytesMut,
) -> Option<usize> {
    let extended = dialect.is_extended();
    let id_at = publish_fields(first, id, message, dictionary_len(extended, dictionary), out);
    put_dictionary(extended, dictionary, out);
    id_at
}

/// Everything that stands before the dictionary.
fn publish_fields(first: u8, id: Option<PacketId>, message: &Message, dictionary_len: usize, out: &mut BytesMut) -> Option<usize> {
    let topic = message.topic();
    let id_len = if id.is_some() { 2 } else { 0 };
    put_header(out, first, 2 + topic.len() + id_len + dictionary_len + message.payload().len());
    put_binary(out, topic);
    id.map(|id| {
        let at = out.len();
        out.put_u16(id.value());
        at
    })
}

/// Writes a PUBLISH at QoS 0 with no key of this hop as it was read, in one piece; `false`: its message was not read from such a one.
pub fn publish_as_read(dialect: Dialect, retain: bool, message: &Message, out: &mut BytesMut) -> bool {
    let Some(body) = message.read_body(dialect.is_extended()) else { return false };
    put_header(out, publish_first(false, Qos::AtMostOnce, retain), body.len());
    out.put_slice(body);
    true
}

/// As [`publish_head`], for a message and the keys of this hop; nothing is allocated for a message that has no such keys.
pub fn message_head(
    dialect: Dialect,
    first: u8,
    id: Option<PacketId>,
    message: &Message,
    hop: &Dictionary,
    out: &mut BytesMut,
) -> Option<usize> {
    if !dialect.is_extended() {
        return publish_head(dialect, first, id, message, &Dictionary::EMPTY, out);
    }
    if hop.is_empty() && !message.has_map() {
        return publish_head(dialect, first, id, message, &Dictionary::EMPTY, out);
    }
    if !hop.is_empty() {
        return publish_head(dialect, first, id, message, &dictionary_of(message, hop), out);
    }
    let (head, map) = (MessageOnly::of(message), message.map());
    let len = head.as_bytes().len() + map.len();
    let id_at = publish_fields(first, id, message, varint_len(len as u32) + len, out);
    put_varint(out, len as u32);
    out.put_slice(head.as_bytes());
    out.put_slice(map);
    id_at
}

/// A PUBLISH that was encoded once and is sent to many: only the packet identifier and DUP differ.
#[derive(Debug, Clone)]
pub struct PublishFrame {
    bytes: BytesMut,
    id_at: Option<usize>,
}

impl PublishFrame {
    /// Encodes `message` for every receiver that has this dialect, QoS and retain flag. `hop` are the keys of this hop.
    pub fn new(dialect: Dialect, qos: Qos, retain: bool, message: &Message, hop: &Dictionary) -> Self {
        let mut bytes = BytesMut::new();
        let id = (qos != Qos::AtMostOnce).then_some(PacketId::MIN);
        let id_at = message_head(dialect, publish_first(false, qos, retain), id, message, hop, &mut bytes);
        bytes.put_slice(message.payload());
        Self { bytes, id_at }
    }

    /// The length of the packet.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Writes one copy. `id` is there exactly when the frame was made for a QoS above 0.
    pub fn write(&self, id: Option<PacketId>, dup: bool, out: &mut BytesMut) {
        let at = out.len();
        out.extend_from_slice(&self.bytes);
        if let (Some(id), Some(id_at)) = (id, self.id_at) {
            out[at + id_at..at + id_at + 2].copy_from_slice(&id.value().to_be_bytes());
        }
        if dup {
            out[at] |= 0x08;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::dictionary::MapBuilder;

    #[test]
    fn a_plain_suback_has_only_the_four_return_codes() {
        let reasons = [0x00, 0x01, 0x02, 0x10, 0x55, 0x80, 0x87, 0xDF].map(Reason).to_vec();
        let suback = SubAck { id: PacketId::MIN, reasons, dictionary: Dictionary::EMPTY };
        let bytes = to_bytes(Dialect::V311, Role::Server, &Packet::SubAck(Box::new(suback))).unwrap();
        assert_eq!(&bytes[..], [0x90, 10, 0, 1, 0x00, 0x01, 0x02, 0x00, 0x00, 0x80, 0x80, 0x80]);
    }

    #[test]
    fn what_is_written_as_it_was_read_is_what_would_be_written_anew() {
        let topic = crate::packet::TopicName::new("a/topic").unwrap();
        let map = |len| MapBuilder::new().set(property::CONTENT_TYPE, &"x".repeat(len)).finish();
        // Lengths around those at which the heads in front of them grow.
        let maps: Vec<Dictionary> = [Dictionary::EMPTY].into_iter().chain([1, 19, 21, 22, 119, 120, 121, 251, 252, 300].map(map)).collect();
        for (read_in, written_in) in [
            (Dialect::V311, Dialect::V311),
            (Dialect::Extended, Dialect::Extended),
            (Dialect::V311, Dialect::Extended),
            (Dialect::Extended, Dialect::V311),
        ] {
            for qos in Qos::ALL {
                for (payload, map) in
                    [&b""[..], b"\0", b"\0payload"].into_iter().flat_map(|payload| maps.iter().map(move |map| (payload, map)))
                {
                    let made = Message::new(&topic, map, payload);
                    let message = as_read(read_in, qos, &made, &Dictionary::EMPTY);
                    let (mut same, mut anew) = (BytesMut::new(), BytesMut::new());
                    let is_written = publish_as_read(written_in, true, &message, &mut same);
                    message_head(written_in, 0x31, None, &made, &Dictionary::EMPTY, &mut anew);
                    anew.put_slice(payload);
                    assert!(!is_written || same == anew, "{read_in} {written_in} {qos:?} {same:?} {anew:?}");
                    assert!(is_written || qos != Qos::AtMostOnce || read_in != written_in);
                }
            }
        }
    }

    /// The message of a PUBLISH, from the bytes that it was read from.
    fn as_read(dialect: Dialect, qos: Qos, made: &Message, hop: &Dictionary) -> Message {
        let id = (qos != Qos::AtMostOnce).then_some(PacketId::MIN);
        let sent = Packet::Publish(Publish::new(made.clone(), qos, false, id, hop));
        let mut bytes = to_bytes(dialect, Role::Client, &sent).unwrap();
        let frame = crate::codec::frame::Frame::split(&mut bytes, u32::MAX).unwrap().unwrap();
        super::super::read::raise_publish(dialect, frame, crate::codec::dictionary::Limits::default()).unwrap().message
    }

    #[test]
    fn what_concerned_the_hop_it_was_read_from_is_not_written_on() {
        let topic = crate::packet::TopicName::new("a/topic").unwrap();
        let hop = MapBuilder::new().set(property::MESSAGE_EXPIRY_INTERVAL, &60).finish();
        for map in [Dictionary::EMPTY, MapBuilder::new().set(property::CONTENT_TYPE, &"text".to_owned()).finish()] {
            for payload in [&b""[..], b"payload"] {
                let message = as_read(Dialect::Extended, Qos::AtMostOnce, &Message::new(&topic, &map, payload), &hop);
                let mut out = BytesMut::new();
                assert!(!publish_as_read(Dialect::Extended, false, &message, &mut out) && out.is_empty(), "{message:?}");
            }
        }
    }

    #[test]
    fn a_refused_connect_has_no_session() {
        let connack = |reason| ConnAck { session_present: true, reason, dictionary: Dictionary::EMPTY };
        let write = |dialect, reason| to_bytes(dialect, Role::Server, &Packet::ConnAck(Box::new(connack(reason)))).unwrap();
        assert_eq!(&write(Dialect::V311, Reason::SUCCESS)[..], [0x20, 2, 1, 0]);
        assert_eq!(&write(Dialect::V311, Reason::NOT_AUTHORIZED)[..], [0x20, 2, 0, 5]);
        assert_eq!(&write(Dialect::Extended, Reason::NOT_AUTHORIZED)[..], [0x20, 3, 0, 0x87, 0]);
    }
}
