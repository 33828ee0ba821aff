//! Packets as the load generator writes and reads them: prebuilt where they are many, cut out of what was read without a copy.

use candor_protocol::codec::dictionary::{Dictionary, Limits};
use candor_protocol::codec::frame;
use candor_protocol::dialect::{Dialect, read, write};
use candor_protocol::packet::legality::Role;
use candor_protocol::packet::property::{PROBLEM, SESSION_EXPIRY_INTERVAL};
use candor_protocol::packet::{Connect, Packet, PacketId, Problem, Qos, Refusal, Subscribe, SubscribeItem, TopicFilter};

pub(super) const CONNACK: u8 = 0x20;
pub(super) const PUBLISH: u8 = 0x30;
pub(super) const PUBACK: u8 = 0x40;
pub(super) const PUBREC: u8 = 0x50;
pub(super) const PUBREL: u8 = 0x62;
pub(super) const PUBCOMP: u8 = 0x70;
pub(super) const SUBACK: u8 = 0x90;
pub(super) const NOTICE: u8 = 0xF0;
pub(super) const DISCONNECT: &[u8] = &[0xE0, 0];
pub(super) const PINGREQ: &[u8] = &[0xC0, 0];
pub(super) const PINGRESP: &[u8] = &[0xD0, 0];
/// Stream, number and lane: what every payload begins with, and so the shortest payload.
pub(super) const STAMP_LEN: usize = 16;

/// A packet as it was read: its first byte, and what follows the remaining length.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame<'a> {
    pub(super) first: u8,
    pub(super) body: &'a [u8],
}

/// The next whole packet of `bytes` and its length; `None` when more bytes are needed.
///
/// # Errors
/// The remaining length has more than four bytes.
#[inline]
pub(super) fn next_frame(bytes: &[u8]) -> Result<Option<(Frame<'_>, usize)>, &'static str> {
    let Some((&first, rest)) = bytes.split_first() else { return Ok(None) };
    let Some((length, used)) = varint(rest)? else { return Ok(None) };
    let start = 1 + used;
    match bytes.get(start..start + length) {
        Some(body) => Ok(Some((Frame { first, body }, start + length))),
        None => Ok(None),
    }
}

/// A variable byte integer and how many bytes it has.
#[inline]
pub(super) fn varint(bytes: &[u8]) -> Result<Option<(usize, usize)>, &'static str> {
    let mut value = 0;
    for (at, &byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7F) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok(Some((value, at + 1)));
        }
    }
    if bytes.len() >= 4 { Err("a remaining length of more than four bytes") } else { Ok(None) }
}

/// The packet as a whole, where there are so few that it may take its time; `None` where it makes no sense.
pub(super) fn raise(dialect: Dialect, packet: Frame<'_>) -> Option<Packet> {
    let mut bytes = vec![packet.first];
    put_varint(&mut bytes, packet.body.len());
    bytes.extend_from_slice(packet.body);
    let frame = frame::Frame::split(&mut bytes.into(), u32::MAX).ok()??;
    read::raise(dialect, &frame, Limits::default()).ok()
}

/// What a packet says that refuses something, for people; `None` where it refuses nothing.
pub(super) fn refusal(dialect: Dialect, packet: Frame<'_>) -> Option<String> {
    let packet = raise(dialect, packet)?;
    let reason = match &packet {
        Packet::ConnAck(answer) => answer.reason,
        Packet::Disconnect(goodbye) => goodbye.reason,
        Packet::Notice(notice) => notice.reason,
        Packet::SubAck(answer) => *answer.reasons.iter().find(|reason| reason.is_error())?,
        Packet::PubAck(ack) | Packet::PubRec(ack) => ack.reason,
        _ => return None,
    };
    let problem = packet.dictionary().value(PROBLEM).map(|map| Problem::of_dictionary(&map)).unwrap_or_default();
    reason.is_error().then(|| Refusal::new(reason, problem).to_string())
}

/// Who a message is: which stream it belongs to, which of the stream's messages it is, and which of those to this receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) stream: u32,
    pub(super) number: u64,
    pub(super) lane: u32,
}

/// A PUBLISH as a subscriber sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Delivery {
    pub(super) qos: u8,
    pub(super) id: [u8; 2],
    pub(super) stamp: Stamp,
}

/// Reads a PUBLISH; `None` where it is not one of this load.
#[inline]
pub(super) fn delivery(frame: Frame<'_>, extended: bool) -> Option<Delivery> {
    let qos = frame.first >> 1 & 0x03;
    let (topic_len, rest) = frame.body.split_first_chunk::<2>()?;
    let mut rest = rest.get(usize::from(u16::from_be_bytes(*topic_len))..)?;
    let mut id = [0; 2];
    if qos > 0 {
        (id, rest) = rest.split_first_chunk::<2>().map(|(id, rest)| (*id, rest))?;
    }
    if extended {
        let (length, used) = varint(rest).ok()??;
        rest = rest.get(used + length..)?;
    }
    Some(Delivery { qos, id, stamp: read_stamp(rest)? })
}

/// Takes a packet to a subscriber and puts the answer to it into `out`; `None` where it makes no sense, and `Some(None)` where it is no
/// message.
#[inline]
pub(super) fn take(frame: Frame<'_>, extended: bool, out: &mut Vec<u8>) -> Option<Option<Stamp>> {
    if frame.first == PUBREL {
        put_ack(PUBCOMP, *frame.body.first_chunk::<2>()?, out);
        return Some(None);
    }
    if frame.first & 0xF0 != PUBLISH {
        return Some(None);
    }
    let delivery = delivery(frame, extended)?;
    match delivery.qos {
        0 => {}
        1 => put_ack(PUBACK, delivery.id, out),
        _ => put_ack(PUBREC, delivery.id, out),
    }
    Some(Some(delivery.stamp))
}

#[inline]
fn read_stamp(payload: &[u8]) -> Option<Stamp> {
    let (stream, rest) = payload.split_first_chunk::<4>()?;
    let (number, rest) = rest.split_first_chunk::<8>()?;
    let (lane, _) = rest.split_first_chunk::<4>()?;
    Some(Stamp { stream: u32::from_be_bytes(*stream), number: u64::from_be_bytes(*number), lane: u32::from_be_bytes(*lane) })
}

/// A PUBLISH that is written once; for each message only its identifier and stamp change.
#[derive(Debug, Clone)]
pub(super) struct Template {
    bytes: Vec<u8>,
    topic_at: usize,
    id_at: Option<usize>,
    stamp_at: usize,
}

/// What a [`Template`] is made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape<'a> {
    pub(super) topic: &'a str,
    pub(super) qos: u8,
    pub(super) retain: bool,
    /// Bytes, at least [`STAMP_LEN`]; 0: none at all, and no stamp.
    pub(super) payload_len: usize,
    /// The whole dictionary in the extended dialect; `None` in the plain ones.
    pub(super) dictionary: Option<&'a [u8]>,
}

impl Template {
    pub(super) fn new(shape: Shape<'_>) -> Self {
        let mut body = (shape.topic.len() as u16).to_be_bytes().to_vec();
        body.extend_from_slice(shape.topic.as_bytes());
        let id_at = (shape.qos > 0).then_some(body.len());
        if shape.qos > 0 {
            body.extend_from_slice(&[0, 0]);
        }
        if let Some(dictionary) = shape.dictionary {
            put_varint(&mut body, dictionary.len());
            body.extend_from_slice(dictionary);
        }
        let stamp_at = body.len();
        if shape.payload_len > 0 {
            body.resize(stamp_at + shape.payload_len.max(STAMP_LEN), b'x');
        }
        let mut bytes = vec![PUBLISH | shape.qos << 1 | u8::from(shape.retain)];
        put_varint(&mut bytes, body.len());
        let header_len = bytes.len();
        bytes.extend_from_slice(&body);
        Self { bytes, topic_at: header_len + 2, id_at: id_at.map(|at| at + header_len), stamp_at: stamp_at + header_len }
    }

    /// Overwrites a part of the topic, which keeps its length.
    pub(super) fn set_topic(&mut self, at: usize, text: &[u8]) {
        let start = self.topic_at + at;
        self.bytes[start..start + text.len()].copy_from_slice(text);
    }

    /// Appends the message to `out`.
    #[inline]
    pub(super) fn put(&mut self, id: u16, stamp: Stamp, out: &mut Vec<u8>) {
        if let Some(at) = self.id_at {
            self.bytes[at..at + 2].copy_from_slice(&id.to_be_bytes());
        }
        if let Some(place) = self.bytes.get_mut(self.stamp_at..self.stamp_at + STAMP_LEN) {
            place[..4].copy_from_slice(&stamp.stream.to_be_bytes());
            place[4..12].copy_from_slice(&stamp.number.to_be_bytes());
            place[12..].copy_from_slice(&stamp.lane.to_be_bytes());
        }
        out.extend_from_slice(&self.bytes);
    }
}

pub(super) fn put_varint(out: &mut Vec<u8>, mut value: usize) {
    while value > 0x7F {
        out.push(value as u8 & 0x7F | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// An acknowledgement of success: the same bytes in every dialect.
#[inline]
pub(super) fn put_ack(first: u8, id: [u8; 2], out: &mut Vec<u8>) {
    out.extend_from_slice(&[first, 2, id[0], id[1]]);
}

/// Who connects, and how.
#[derive(Debug, Clone)]
pub(super) struct Hello<'a> {
    pub(super) dialect: Dialect,
    pub(super) client_id: &'a str,
    pub(super) clean: bool,
    pub(super) user_name: Option<&'a str>,
    pub(super) password: Option<&'a str>,
}

pub(super) fn connect(hello: &Hello<'_>) -> Vec<u8> {
    let keeps = hello.dialect.is_extended() && !hello.clean;
    let packet = Connect {
        dialect: hello.dialect,
        clean_session: hello.clean,
        // Some brokers take none of 0; the longest never runs out during a run.
        keep_alive_s: 1200,
        client_id: hello.client_id.to_owned(),
        will: None,
        user_name: hello.user_name.map(str::to_owned),
        password: hello.password.map(|text| text.to_owned().into()),
        dictionary: if keeps { Dictionary::with(SESSION_EXPIRY_INTERVAL, &3600) } else { Dictionary::EMPTY },
    };
    bytes(hello.dialect, &Packet::Connect(Box::new(packet)))
}

/// A SUBSCRIBE with all of `filters` at one QoS.
pub(super) fn subscribe(dialect: Dialect, id: u16, filters: &[String], qos: u8) -> Vec<u8> {
    let qos = Qos::new(qos).unwrap_or_default();
    let item = |filter: &String| SubscribeItem { filter: TopicFilter::new(filter.clone()).map_err(|error| (filter.clone(), error)), qos };
    let packet = Subscribe {
        id: PacketId::new(id).unwrap_or(PacketId::MIN),
        items: filters.iter().map(item).collect(),
        dictionary: Dictionary::EMPTY,
    };
    bytes(dialect, &Packet::Subscribe(Box::new(packet)))
}

fn bytes(dialect: Dialect, packet: &Packet) -> Vec<u8> {
    write::to_bytes(dialect, Role::Client, packet).map(|bytes| bytes.to_vec()).unwrap_or_default()
}
