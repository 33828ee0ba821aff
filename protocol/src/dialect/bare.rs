//! A PUBLISH that says nothing but its message, with its map, as almost all do. What a server needs in order to hand it on can be seen where it was
//! read, and what a receiver gets are the same bytes under another identifier: it becomes a [`Message`] only where somebody keeps it.

use super::Dialect;
use crate::codec::dictionary::{Limits, check};
use crate::codec::frame::put_header;
use crate::packet::publish::MessageOnly;
use crate::packet::{Message, PacketId, Qos};
use bytes::{BufMut, Bytes, BytesMut};

/// Where the parts of such a PUBLISH stand in its frame. DUP and RETAIN are 0, and where the dialect has a dictionary, there is nothing
/// in it but the message map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bare {
    is_extended: bool,
    qos: Qos,
    id: Option<PacketId>,
    head_len: u8,
    topic_len: u16,
    /// Bytes of the message map, which stands before the payload.
    map_len: u16,
    payload_at: u32,
    len: u32,
}

impl Bare {
    /// Looks at the frame that `bytes` begin with. `None`: it is another packet, or not whole, or has more than `len_max` bytes (of
    /// 16,386, which two bytes of Remaining Length can say) or a map over `limits`, or is malformed. The topic name is not checked.
    #[inline(always)]
    pub fn see(dialect: Dialect, bytes: &[u8], len_max: usize, limits: Limits) -> Option<Self> {
        let &[first, low, ..] = bytes else { return None };
        if first & 0xF9 != 0x30 {
            return None;
        }
        let (head_len, remaining) = match low {
            0..0x80 => (2, usize::from(low)),
            _ => match *bytes.get(2)? {
                high @ 0..0x80 => (3, usize::from(low & 0x7F) | usize::from(high) << 7),
                _ => return None,
            },
        };
        let body = bytes.get(head_len..head_len + remaining)?;
        let len = head_len + remaining;
        let &[topic_high, topic_low, ..] = body else { return None };
        let topic_len = u16::from_be_bytes([topic_high, topic_low]);
        let qos = Qos::new(first >> 1 & 0x03)?;
        let mut at = 2 + usize::from(topic_len);
        let mut id = None;
        if qos != Qos::AtMostOnce {
            let &[high, low] = body.get(at..)?.first_chunk()?;
            id = Some(PacketId::new(u16::from_be_bytes([high, low]))?);
            at += 2;
        }
        let mut map_len = 0;
        if dialect.is_extended() {
            let len = *body.get(at)?;
            at += 1;
            if len > 0 {
                let (whole, map) = dictionary_of_map(body.get(at - 1..)?, limits)?;
                (at, map_len) = (at - 1 + whole, map as u16);
            }
        }
        let is_whole = at <= remaining && len <= len_max;
        is_whole.then_some(Self {
            is_extended: dialect.is_extended(),
            qos,
            id,
            head_len: head_len as u8,
            topic_len,
            map_len,
            payload_at: (head_len + at) as u32,
            len: len as u32,
        })
    }

    pub fn qos(&self) -> Qos {
        self.qos
    }

    /// There exactly when the QoS is above 0.
    pub fn id(&self) -> Option<PacketId> {
        self.id
    }

    /// Whether it has a message map.
    #[inline]
    pub fn has_map(&self) -> bool {
        self.map_len > 0
    }

    /// Bytes of the whole frame.
    #[inline]
    pub fn frame_len(&self) -> usize {
        self.len as usize
    }

    /// The most bytes of what a receiver gets, in whatever dialect and QoS.
    #[inline]
    pub(crate) fn len_max(&self) -> usize {
        const IDENTIFIER_DICTIONARY_AND_LENGTH: usize = 2 + 1 + 1;
        self.frame_len() + IDENTIFIER_DICTIONARY_AND_LENGTH
    }

    /// The topic name, as it stands in the frame.
    #[inline]
    pub fn topic<'a>(&self, frame: &'a [u8]) -> &'a [u8] {
        frame.get(usize::from(self.head_len) + 2..self.topic_end()).unwrap_or_default()
    }

    /// What stands behind Remaining Length.
    #[inline]
    pub fn body<'a>(&self, frame: &'a [u8]) -> &'a [u8] {
        frame.get(usize::from(self.head_len)..).unwrap_or_default()
    }

    /// The message, over a body in memory that may be kept; its topic name was checked.
    #[inline]
    pub fn message(&self, body: Bytes) -> Message {
        let payload_at = self.payload_at as usize - usize::from(self.head_len);
        let map = if self.has_map() { payload_at - usize::from(self.map_len)..payload_at } else { 0..0 };
        Message::of_body(body, 2..2 + usize::from(self.topic_len), map, payload_at)
    }

    /// Writes it as a receiver gets it: in its dialect, which may know no map, at its QoS, and under its identifier, which is there
    /// exactly when that is above 0.
    #[inline]
    pub fn write(&self, frame: &[u8], dialect: Dialect, qos: Qos, id: Option<PacketId>, out: &mut BytesMut) {
        if qos != self.qos || dialect.is_extended() != self.is_extended {
            // By itself, so that what is written as it is does not pay for it.
            return self.write_otherwise(frame, dialect, qos, id, out);
        }
        let at = out.len() + self.topic_end();
        out.extend_from_slice(frame);
        put_id(id, at, out);
    }

    /// Where the topic name ends in the frame, and the identifier stands, if there is one.
    #[inline]
    fn topic_end(&self) -> usize {
        usize::from(self.head_len) + 2 + usize::from(self.topic_len)
    }

    /// Writes it for the other dialect, under its own identifier. Without a map, and with a Remaining Length that has one byte in both, that is
    /// the same frame but for the byte that says that there is no dictionary.
    #[inline]
    fn write_across(&self, frame: &[u8], out: &mut BytesMut) {
        let payload_at = self.payload_at as usize;
        let (head_len, grows) = if self.is_extended { (payload_at - 1, u8::MAX) } else { (payload_at, 1) };
        let length_at = out.len() + 1;
        out.reserve(frame.len() + 1);
        out.extend_from_slice(frame.get(..head_len).unwrap_or_default());
        if !self.is_extended {
            out.put_u8(0);
        }
        out.extend_from_slice(frame.get(payload_at..).unwrap_or_default());
        if let Some(remaining) = out.get_mut(length_at) {
            *remaining = remaining.wrapping_add(grows);
        }
    }

    #[inline(never)]
    fn write_otherwise(&self, frame: &[u8], dialect: Dialect, qos: Qos, id: Option<PacketId>, out: &mut BytesMut) {
        if qos == self.qos && !self.has_map() && self.head_len == 2 && self.frame_len() <= 0x80 {
            let at = out.len() + self.topic_end();
            self.write_across(frame, out);
            return put_id(id, at, out);
        }
        let topic_end = self.topic_end();
        let dictionary_at = topic_end + 2 * usize::from(self.id.is_some());
        let payload_at = self.payload_at as usize;
        // The length of the topic name stands before it.
        let topic = frame.get(usize::from(self.head_len)..topic_end).unwrap_or_default();
        let payload = frame.get(payload_at..).unwrap_or_default();
        let dictionary = match (dialect.is_extended(), self.is_extended) {
            (true, true) => frame.get(dictionary_at..payload_at).unwrap_or_default(),
            (true, false) => &[0],
            (false, _) => &[],
        };
        put_header(out, 0x30 | (qos as u8) << 1, topic.len() + 2 * usize::from(id.is_some()) + dictionary.len() + payload.len());
        out.extend_from_slice(topic);
        if let Some(id) = id {
            out.put_u16(id.value());
        }
        match *dictionary {
            [] => {}
            // Almost always: the length of none.
            [only] => out.put_u8(only),
            _ => out.extend_from_slice(dictionary),
        }
        out.extend_from_slice(payload);
    }
}

#[inline]
fn put_id(id: Option<PacketId>, at: usize, out: &mut BytesMut) {
    if let (Some(id), Some(place)) = (id, out.get_mut(at..at + 2)) {
        place.copy_from_slice(&id.value().to_be_bytes());
    }
}

/// Bytes of a dictionary of nothing but a message map, its length included, and those of the map.
#[inline]
fn dictionary_of_map(bytes: &[u8], limits: Limits) -> Option<(usize, usize)> {
    // A length that is longer than it needs to be is made short for the receivers, elsewhere.
    let (len, at) = match *bytes {
        [len @ 1..0x80, ..] => (usize::from(len), 1),
        [low @ 0x80..=0xFF, high @ 1..0x80, ..] => (usize::from(low & 0x7F) | usize::from(high) << 7, 2),
        _ => return None,
    };
    let raw = bytes.get(at..at + len).filter(|_| len <= limits.len_max as usize)?;
    let map = raw.get(MessageOnly::map_at(raw)?..).filter(|map| !map.is_empty())?;
    check(map, limits).ok()?;
    Some((at + len, map.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::dictionary::{Dictionary, MapBuilder};
    use crate::codec::frame::Frame;
    use crate::dialect::read;
    use crate::dialect::write::to_bytes;
    use crate::packet::legality::Role;
    use crate::packet::{Packet, Publish, TopicName, property};

    const LIMITS: Limits = Limits { len_max: 1000, depth_max: 4 };

    fn frame(dialect: Dialect, publish: &Publish) -> Bytes {
        to_bytes(dialect, Role::Client, &Packet::Publish(publish.clone())).unwrap()
    }

    fn publish(qos: Qos, id: u16, with_map: bool, payload: &str) -> Publish {
        let id = PacketId::new(id).filter(|_| qos != Qos::AtMostOnce);
        let map = match with_map {
            true => MapBuilder::new().set(property::CONTENT_TYPE, &"text".to_owned()).finish(),
            false => Dictionary::EMPTY,
        };
        Publish::new(Message::new(&TopicName::new("a/b").unwrap(), &map, payload.as_bytes()), qos, false, id, &Dictionary::EMPTY)
    }

    /// Every dialect and QoS, with a message map where there is one.
    fn everywhere() -> impl Iterator<Item = (Dialect, Qos, bool)> {
        let all = Dialect::ALL.into_iter().flat_map(|dialect| Qos::ALL.map(|qos| (dialect, qos)));
        all.flat_map(|(dialect, qos)| [false, true].map(|with_map| (dialect, qos, with_map && dialect.is_extended())))
    }

    /// Where it is seen, it is what the reader makes of it, and each receiver gets what the writer would write.
    #[test]
    fn it_is_what_the_reader_reads_and_what_the_writer_writes() {
        for payload_len in [0, 1, 100, 119, 120, 121, 122, 123, 124, 125, 300, 16_000] {
            for (dialect, qos, with_map) in everywhere() {
                let read = publish(qos, 77, with_map, &"x".repeat(payload_len));
                let bytes = frame(dialect, &read);
                let behind = [&bytes[..], b"more"].concat();
                let bare = Bare::see(dialect, &behind, bytes.len(), LIMITS).unwrap();
                assert_eq!((bare.qos(), bare.id(), bare.frame_len(), bare.has_map()), (qos, read.id, bytes.len(), with_map));
                assert_eq!(bare.topic(&bytes), b"a/b");
                assert_eq!(bare.message(Bytes::copy_from_slice(bare.body(&bytes))), read.message);
                assert_eq!(Bare::see(dialect, &bytes, bytes.len() - 1, LIMITS), None, "too large");
                assert!((0..bytes.len()).all(|len| Bare::see(dialect, &bytes[..len], 20_000, LIMITS).is_none()), "not whole");
                for (to, qos) in Dialect::ALL.into_iter().flat_map(|to| Qos::ALL.map(|qos| (to, qos))) {
                    let expected = frame(to, &publish(qos, 513, with_map, &"x".repeat(payload_len)));
                    let mut out = BytesMut::from("before");
                    bare.write(&bytes, to, qos, PacketId::new(513).filter(|_| qos != Qos::AtMostOnce), &mut out);
                    assert_eq!(out[6..], expected[..], "{dialect} to {to} at {qos:?}");
                    assert!(expected.len() <= bare.len_max());
                }
            }
        }
    }

    /// A Remaining Length of more bytes than it needs is made short where the frame is not handed on as it is.
    #[test]
    fn a_long_remaining_length_is_made_short_in_the_other_dialect() {
        for (dialect, to) in [(Dialect::V311, Dialect::Extended), (Dialect::Extended, Dialect::V311)] {
            for qos in Qos::ALL {
                let short = frame(dialect, &publish(qos, 7, false, "xy"));
                let long = [&[short[0], short[1] | 0x80, 0], &short[2..]].concat();
                let bare = Bare::see(dialect, &long, 1000, LIMITS).unwrap();
                let mut out = BytesMut::new();
                bare.write(&long, to, qos, bare.id(), &mut out);
                assert_eq!(out[..], frame(to, &publish(qos, 7, false, "xy"))[..], "{dialect} to {to} at {qos:?}");
            }
        }
    }

    /// Whatever else stands there, it sees only what the reader takes and finds nothing more in.
    #[test]
    fn it_sees_nothing_that_the_reader_refuses_or_finds_more_in() {
        let mut seen = 0;
        for (dialect, qos, with_map) in everywhere() {
            let bytes = frame(dialect, &publish(qos, 1, with_map, "xy"));
            for (at, value) in (0..bytes.len()).flat_map(|at| (0..=255).map(move |value| (at, value))) {
                let mut other = bytes.to_vec();
                other[at] = value;
                let Some(bare) = Bare::see(dialect, &other, 1000, LIMITS) else { continue };
                let frame = Frame::split(&mut Bytes::copy_from_slice(&other), 1000).unwrap().unwrap();
                match read::raise(dialect, &frame, LIMITS) {
                    Ok(Packet::Publish(read)) => {
                        assert!(!read.dup && !read.retain, "{other:?}");
                        assert!(read.dictionary.is_empty() || MessageOnly::is(&read.dictionary), "{other:?}");
                        assert_eq!((read.qos, read.id), (bare.qos(), bare.id()));
                        assert_eq!(read.message, bare.message(frame.body));
                        seen += 1;
                    }
                    refused => assert!(crate::packet::topic::check_name(bare.topic(&other)).is_err(), "{refused:?} {other:?}"),
                }
            }
        }
        assert!(seen > 1000, "{seen}");
    }
}
