//! Raising: from a frame to the model. One reader serves every dialect; what differs is which parts a packet has
//! (`packet::legality`), and that is asked of the dialect once.

use super::Dialect;
use super::level;
use crate::codec::cursor::Reader;
use crate::codec::dictionary::{BadDictionary, Dictionary, Limits, MapBuilder, head};
use crate::codec::error::{FILTERS_MAX, Malformed};
use crate::codec::frame::Frame;
use crate::packet::Packet;
use crate::packet::ack::{Ack, Disconnect, Notice, Ping};
use crate::packet::connect::{ConnAck, Connect, Will};
use crate::packet::id::Qos;
use crate::packet::kind::Kind;
use crate::packet::message::Message;
use crate::packet::property;
use crate::packet::publish::{MessageOnly, Publish};
use crate::packet::reason::Reason;
use crate::packet::subscribe::{RequestedFilter, SubAck, Subscribe, SubscribeItem, UnsubAck, Unsubscribe};
use crate::packet::topic::{InvalidTopic, TopicFilter, TopicName, check_name};
use bytes::Bytes;
use std::ops::Range;

/// Why the first packet is not a CONNECT that can be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadConnect {
    Malformed(Malformed),
    /// The name is known, the level is not: CONNACK 0x01, then close ([MQTT-3.1.2-2]).
    UnsupportedLevel(u8),
}

impl From<Malformed> for BadConnect {
    fn from(error: Malformed) -> Self {
        Self::Malformed(error)
    }
}

/// The packet type of a frame, with its flags checked.
fn kind_of(frame: &Frame, dialect: Dialect) -> Result<Kind, Malformed> {
    let kind = Kind::of_first_byte(frame.first).ok_or(Malformed::PacketType(0))?;
    if kind == Kind::Notice && !dialect.is_extended() {
        return Err(Malformed::PacketType(15));
    }
    match kind.fixed_flags() {
        Some(flags) if frame.first & 0x0F == flags => Ok(kind),
        // MQTT 3.1 has DUP on PUBREL, SUBSCRIBE and UNSUBSCRIBE.
        Some(flags) if dialect == Dialect::V31 && frame.first & 0x0F & !0x08 == flags => Ok(kind),
        Some(_) => Err(Malformed::Flags),
        None => Ok(kind),
    }
}

/// Raises the first frame of a connection.
///
/// # Errors
/// The frame is not a CONNECT, is malformed, or asks for a level that is not served.
pub fn raise_connect(frame: &Frame, limits: Limits) -> Result<Connect, BadConnect> {
    match Kind::of_first_byte(frame.first) {
        Some(Kind::Connect) if frame.first & 0x0F == 0 => {}
        Some(Kind::Connect) => return Err(Malformed::Flags.into()),
        _ => return Err(Malformed::PacketType(frame.first >> 4).into()),
    }
    let mut reader = Reader::new(&frame.body);
    let dialect = level::dialect_of(&mut reader)?;
    connect(dialect, reader, limits).map_err(BadConnect::Malformed)
}

/// Raises a frame of an established connection.
///
/// # Errors
/// What is wrong with its bytes. Keys are judged later, by the session, which can answer.
pub fn raise(dialect: Dialect, frame: &Frame, limits: Limits) -> Result<Packet, Malformed> {
    let kind = kind_of(frame, dialect)?;
    let body = &frame.body;
    let mut reader = Reader::new(body);
    let parts = Parts { dialect, kind, limits };
    let packet = match kind {
        Kind::Publish => return publish(frame.first, body.clone(), &parts).map(Packet::Publish),
        Kind::Connect => {
            // A second CONNECT is judged by the session; whether it is well formed is judged here.
            return match raise_connect(frame, limits) {
                Ok(connect) => Ok(Packet::Connect(Box::new(connect))),
                Err(BadConnect::Malformed(error)) => Err(error),
                Err(BadConnect::UnsupportedLevel(_)) => Err(Malformed::ProtocolName),
            };
        }
        Kind::PubAck => Packet::PubAck(ack(&mut reader, &parts)?),
        Kind::PubRec => Packet::PubRec(ack(&mut reader, &parts)?),
        Kind::PubRel => Packet::PubRel(ack(&mut reader, &parts)?),
        Kind::PubComp => Packet::PubComp(ack(&mut reader, &parts)?),
        Kind::ConnAck => Packet::ConnAck(Box::new(connack(&mut reader, &parts)?)),
        Kind::Subscribe => Packet::Subscribe(Box::new(subscribe(&mut reader, &parts)?)),
        Kind::SubAck => Packet::SubAck(Box::new(suback(&mut reader, &parts)?)),
        Kind::Unsubscribe => Packet::Unsubscribe(Box::new(unsubscribe(&mut reader, &parts)?)),
        Kind::UnsubAck => Packet::UnsubAck(Box::new(unsuback(&mut reader, &parts)?)),
        Kind::PingReq => Packet::PingReq(Ping { dictionary: parts.dictionary(&mut reader)? }),
        Kind::PingResp => Packet::PingResp(Ping { dictionary: parts.dictionary(&mut reader)? }),
        Kind::Disconnect => {
            let (reason, dictionary) = parts.reason_and_dictionary(&mut reader)?;
            Packet::Disconnect(Disconnect { reason, dictionary })
        }
        Kind::Notice => {
            let (reason, dictionary) = parts.reason_and_dictionary(&mut reader)?;
            Packet::Notice(Notice { reason, dictionary })
        }
    };
    reader.end()?;
    Ok(packet)
}

/// As [`raise`], for a frame that is a PUBLISH and of no more use: the message takes over its memory.
///
/// # Errors
/// As [`raise`].
pub fn raise_publish(dialect: Dialect, frame: Frame, limits: Limits) -> Result<Publish, Malformed> {
    let parts = Parts { dialect, kind: Kind::Publish, limits };
    publish(frame.first, frame.body, &parts)
}

/// What the dialect adds to one packet.
struct Parts {
    dialect: Dialect,
    kind: Kind,
    limits: Limits,
}

impl Parts {
    fn extended(&self) -> bool {
        self.dialect.is_extended()
    }

    /// Whether the packet stops here although parts could follow.
    fn ends_early(&self, reader: &Reader<'_>) -> bool {
        !self.extended() || self.kind.parts().may_end_early && reader.is_at_end()
    }

    fn dictionary_bytes<'a>(&self, reader: &mut Reader<'a>) -> Result<&'a [u8], Malformed> {
        if self.ends_early(reader) {
            return Ok(&[]);
        }
        let len = reader.varint().map_err(|error| match error {
            Malformed::RemainingLength => BadDictionary::Length.into(),
            other => other,
        })?;
        if len > self.limits.len_max {
            return Err(BadDictionary::TooLong.into());
        }
        reader.raw(len as usize)
    }

    fn dictionary(&self, reader: &mut Reader<'_>) -> Result<Dictionary, Malformed> {
        let raw = self.dictionary_bytes(reader)?;
        if raw.is_empty() {
            return Ok(Dictionary::EMPTY);
        }
        // Dictionaries of control packets are small and may be kept: they get memory of their own.
        Ok(Dictionary::parse(Bytes::copy_from_slice(raw), self.limits)?)
    }

    fn reason(&self, code: u8) -> Result<Reason, Malformed> {
        let reason = Reason(code);
        if reason.allowed_in(self.kind) { Ok(reason) } else { Err(Malformed::ReasonNotAllowed(code)) }
    }

    fn reason_and_dictionary(&self, reader: &mut Reader<'_>) -> Result<(Reason, Dictionary), Malformed> {
        if self.ends_early(reader) {
            return Ok((Reason::SUCCESS, Dictionary::EMPTY));
        }
        let reason = self.reason(reader.u8()?)?;
        Ok((reason, self.dictionary(reader)?))
    }
}

fn connect(dialect: Dialect, mut reader: Reader<'_>, limits: Limits) -> Result<Connect, Malformed> {
    let parts = Parts { dialect, kind: Kind::Connect, limits };
    let flags = reader.u8()?;
    if flags & 0x01 != 0 {
        return Err(Malformed::ConnectReservedFlag);
    }
    let keep_alive_s = reader.u16()?;
    let client_id = reader.text()?.to_owned();
    let will_fields = match (flags & 0x04 != 0, Qos::new(flags >> 3 & 0x03)) {
        (true, Some(qos)) => {
            let topic = TopicName::new(reader.text()?)?;
            Some((topic, reader.binary()?, qos))
        }
        (false, Some(Qos::AtMostOnce)) if flags & 0x20 == 0 => None,
        _ => return Err(Malformed::WillFlags),
    };
    if flags & 0xC0 == 0x40 {
        return Err(Malformed::PasswordWithoutUserName);
    }
    // In MQTT 3.1 the remaining length takes precedence over the flags: the packet may end before a user name or a
    // password whose flag is set (MQTT 3.1, section 3.1). 3.1.1 demands them ([MQTT-3.1.2-19], [MQTT-3.1.2-21]).
    let stands = |flag: u8, reader: &Reader<'_>| flags & flag != 0 && !(dialect == Dialect::V31 && reader.is_at_end());
    let user_name = if stands(0x80, &reader) { Some(reader.text()?.to_owned()) } else { None };
    let password = if stands(0x40, &reader) { Some(Bytes::copy_from_slice(&reader.binary()?)) } else { None };
    let dictionary = parts.dictionary(&mut reader)?;
    reader.end()?;
    let will = will_fields.map(|(topic, payload, qos)| {
        let whole = dictionary.value(property::WILL).unwrap_or_default();
        let map = whole.value(property::MESSAGE).map(|raw| Dictionary::parse(raw, limits)).transpose()?.unwrap_or_default();
        let hop = MapBuilder::new().merge(&whole).remove(property::MESSAGE.number).finish();
        Ok::<_, Malformed>(Will { message: Message::new(&topic, &map, &payload), qos, retain: flags & 0x20 != 0, dictionary: hop })
    });
    Ok(Connect {
        dialect,
        clean_session: flags & 0x02 != 0,
        keep_alive_s,
        client_id,
        will: will.transpose()?,
        user_name,
        password,
        dictionary,
    })
}

fn connack(reader: &mut Reader<'_>, parts: &Parts) -> Result<ConnAck, Malformed> {
    let flags = match (reader.u8()?, parts.dialect) {
        // In MQTT 3.1 the byte is reserved and not used: whatever stands there says nothing.
        (_, dialect) if !dialect.tells_session_present() => 0,
        (flags @ (0 | 1), _) => flags,
        _ => return Err(Malformed::ConnAckFlags),
    };
    let code = reader.u8()?;
    let reason =
        if parts.extended() { parts.reason(code)? } else { level::reason_of_return_code(code).ok_or(Malformed::ReturnCode(code))? };
    // A refusal has no session, whatever its flag says ([MQTT-3.2.2-4]): its reason is worth more than a close for the flag.
    Ok(ConnAck { session_present: flags == 1 && !reason.is_error(), reason, dictionary: parts.dictionary(reader)? })
}

#[inline]
fn publish(first: u8, body: Bytes, parts: &Parts) -> Result<Publish, Malformed> {
    let qos = Qos::new(first >> 1 & 0x03).ok_or(Malformed::QosThree)?;
    let dup = first & 0x08 != 0;
    if dup && qos == Qos::AtMostOnce {
        return Err(Malformed::DupOnQosZero);
    }
    let mut reader = Reader::new(&body);
    let topic_len = usize::from(reader.u16()?);
    let topic_at = reader.offset();
    check_name(reader.raw(topic_len)?)?;
    let id = if qos == Qos::AtMostOnce { None } else { Some(reader.packet_id()?) };
    let (mut map, mut dictionary) = (0..0, Dictionary::EMPTY);
    // Almost always there is none, and one byte says so.
    if parts.extended() && !reader.takes(0) {
        let raw = parts.dictionary_bytes(&mut reader)?;
        if !raw.is_empty() {
            let at = reader.offset() - raw.len();
            let whole = body.slice(at..reader.offset());
            if let Some(map_at) = MessageOnly::map_at(raw) {
                // Almost every dictionary: what stands around the message map is right, so the map alone is looked through.
                crate::codec::dictionary::check(raw.get(map_at..).unwrap_or_default(), parts.limits)?;
                (dictionary, map) = (Dictionary::of_checked_bytes(whole), at + map_at..reader.offset());
            } else {
                dictionary = Dictionary::parse(whole, parts.limits)?;
                map = message_map(&dictionary, parts.limits)?.map_or(0..0, |inner| at + inner.start..at + inner.end);
            }
        }
    }
    let (topic, payload_at) = (topic_at..topic_at + topic_len, reader.offset());
    Ok(Publish { dup, qos, retain: first & 0x01 != 0, id, message: Message::of_body(body, topic, map, payload_at), dictionary })
}

/// Where the message map stands inside the dictionary of a PUBLISH. It is the first key if it is there at all.
fn message_map(dictionary: &Dictionary, limits: Limits) -> Result<Option<Range<usize>>, Malformed> {
    let whole = dictionary.as_bytes();
    // The dictionary was checked, so that what fails here is only that there is none, or no entry of this kind.
    let Ok(outer) = head(whole) else { return Ok(None) };
    let key_at = outer.len;
    let Some((&key, value)) = whole.get(key_at..).and_then(<[u8]>::split_first) else { return Ok(None) };
    // A value of another type is an illegal one, and the session says so.
    let Some(bytes) = head(value).ok().filter(|bytes| i64::from(key) == property::MESSAGE.number && bytes.major == 2) else {
        return Ok(None);
    };
    let at = key_at + 1 + bytes.len;
    let map = whole.get(at..at + bytes.argument as usize).unwrap_or_default();
    crate::codec::dictionary::check(map, limits)?;
    Ok(Some(at..at + map.len()))
}

fn ack(reader: &mut Reader<'_>, parts: &Parts) -> Result<Ack, Malformed> {
    let id = reader.packet_id()?;
    let (reason, dictionary) = parts.reason_and_dictionary(reader)?;
    Ok(Ack { id, reason, dictionary })
}

/// A topic filter: in the plain dialect a bad one is malformed, in the extended one it is carried on to be refused.
fn filter(reader: &mut Reader<'_>, parts: &Parts) -> Result<RequestedFilter, Malformed> {
    let text = reader.text()?;
    match TopicFilter::new(text) {
        Ok(filter) => Ok(Ok(filter)),
        // $share is no part of 3.1.1: there its form is an ordinary refusal in every dialect.
        Err(error) if parts.extended() || error == InvalidTopic::BadShare => Ok(Err((text.to_owned(), error))),
        Err(error) => Err(error.into()),
    }
}

fn subscribe(reader: &mut Reader<'_>, parts: &Parts) -> Result<Subscribe, Malformed> {
    let id = reader.packet_id()?;
    let dictionary = parts.dictionary(reader)?;
    let mut items = Vec::new();
    while !reader.is_at_end() {
        let filter = filter(reader, parts)?;
        let qos = Qos::new(reader.u8()?).ok_or(Malformed::RequestedQosBits)?;
        if items.len() == FILTERS_MAX {
            return Err(Malformed::TooManyFilters);
        }
        items.push(SubscribeItem { filter, qos });
    }
    if items.is_empty() {
        return Err(Malformed::NoTopicFilter);
    }
    Ok(Subscribe { id, items, dictionary })
}

fn suback(reader: &mut Reader<'_>, parts: &Parts) -> Result<SubAck, Malformed> {
    let id = reader.packet_id()?;
    let dictionary = parts.dictionary(reader)?;
    let mut reasons = Vec::new();
    while !reader.is_at_end() {
        let code = reader.u8()?;
        reasons.push(match (parts.extended(), code) {
            (true, code) => parts.reason(code)?,
            (false, 0x00..=0x02 | 0x80) => Reason(code),
            (false, code) => return Err(Malformed::ReturnCode(code)),
        });
    }
    Ok(SubAck { id, reasons, dictionary })
}

fn unsubscribe(reader: &mut Reader<'_>, parts: &Parts) -> Result<Unsubscribe, Malformed> {
    let id = reader.packet_id()?;
    let dictionary = parts.dictionary(reader)?;
    let mut filters = Vec::new();
    while !reader.is_at_end() {
        let filter = filter(reader, parts)?;
        if filters.len() == FILTERS_MAX {
            return Err(Malformed::TooManyFilters);
        }
        filters.push(filter);
    }
    if filters.is_empty() {
        return Err(Malformed::NoTopicFilter);
    }
    Ok(Unsubscribe { id, filters, dictionary })
}

fn unsuback(reader: &mut Reader<'_>, parts: &Parts) -> Result<UnsubAck, Malformed> {
    let id = reader.packet_id()?;
    if !parts.extended() {
        // A plain UNSUBACK ends here, unless it accepts an offer; the session knows whether it made one.
        let rest = frame_rest(reader)?;
        return Ok(UnsubAck { id, reasons: Vec::new(), dictionary: Dictionary::EMPTY, accept: rest });
    }
    let dictionary = parts.dictionary(reader)?;
    let mut reasons = Vec::new();
    while !reader.is_at_end() {
        reasons.push(parts.reason(reader.u8()?)?);
    }
    Ok(UnsubAck { id, reasons, dictionary, accept: Bytes::new() })
}

fn frame_rest(reader: &mut Reader<'_>) -> Result<Bytes, Malformed> {
    let mut rest = Vec::new();
    while !reader.is_at_end() {
        rest.push(reader.u8()?);
    }
    Ok(rest.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(first: u8, body: &[&[u8]]) -> Frame {
        Frame { first, body: body.concat().into() }
    }

    #[test]
    fn a_connect_of_3_1_may_end_before_a_user_name_or_password_whose_flag_is_set() {
        let read = |name_and_level: &[u8], rest: &[u8]| {
            let fields: &[&[u8]] = &[name_and_level, &[0xC2, 0, 60, 0, 1, b'c'], rest];
            raise_connect(&frame(0x10, fields), Limits::default()).map(|connect| (connect.user_name, connect.password))
        };
        let (v31, v311) = (b"\0\x06MQIsdp\x03", b"\0\x04MQTT\x04");
        let user = Some("u".to_owned());
        assert_eq!(read(v31, b""), Ok((None, None)));
        assert_eq!(read(v31, b"\0\x01u"), Ok((user.clone(), None)));
        assert_eq!(read(v31, b"\0\x01u\0\x01p"), Ok((user, Some(Bytes::from_static(b"p")))));
        assert_eq!(read(v31, b"\0"), Err(Malformed::Truncated.into()));
        assert_eq!(read(v311, b""), Err(Malformed::Truncated.into()));
        assert_eq!(read(v311, b"\0\x01u"), Err(Malformed::Truncated.into()));
    }

    #[test]
    fn the_reserved_byte_of_a_connack_of_3_1_says_nothing() {
        let read = |dialect, flags: u8| raise(dialect, &frame(0x20, &[&[flags, 0]]), Limits::default());
        let accepted = |session_present| {
            let connack = ConnAck { session_present, reason: Reason::SUCCESS, dictionary: Dictionary::EMPTY };
            Ok(Packet::ConnAck(Box::new(connack)))
        };
        assert_eq!(read(Dialect::V31, 0x01), accepted(false));
        assert_eq!(read(Dialect::V31, 0x80), accepted(false));
        assert_eq!(read(Dialect::V311, 0x01), accepted(true));
        assert_eq!(read(Dialect::V311, 0x80), Err(Malformed::ConnAckFlags));
    }

    #[test]
    fn a_bad_length_of_a_dictionary_is_not_blamed_on_remaining_length() {
        let read = |len: &[u8]| raise(Dialect::Extended, &frame(0xC0, &[len]), Limits::default());
        assert_eq!(read(&[0x80, 0x80, 0x80, 0x80, 0x01]), Err(BadDictionary::Length.into()));
        assert_eq!(read(&[0x80, 0x80, 0x80]), Err(Malformed::Truncated));
        assert_eq!(read(&[0xFF, 0xFF, 0xFF, 0x7F]), Err(BadDictionary::TooLong.into()));
    }

    #[test]
    fn the_dictionary_of_a_will_holds_the_keys_of_the_hop_alone() {
        // CONNECT with a will on "w" of no payload, and { 3: { 0: h'a10001', 14: 60 } }.
        let fields: &[&[u8]] = &[b"\0\x06CANDOR\x01\x06\0\0\0\0", b"\0\x01w\0\0", b"\x0b\xa1\x03\xa2\0\x43\xa1\0\x01\x0e\x18\x3c"];
        let connect = raise_connect(&frame(0x10, fields), Limits::default()).unwrap();
        let will = connect.will.unwrap();
        assert_eq!(format!("{:?} {:?}", will.message.dictionary(), will.dictionary), "{0: 1} {14: 60}");
    }
}
