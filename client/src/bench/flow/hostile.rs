//! Clients that go on publishing what they may not, at a rate that no answer slows down, and what they are told of it.

use super::aim::Aim;
use crate::bench::link::Link;
use crate::bench::plan::FORBIDDEN;
use crate::bench::wire::{self, Frame, Shape, Stamp, Template};
use candor_protocol::dialect::Dialect;
use candor_protocol::packet::{Packet, property};

/// Bytes that wait to be written before such a client waits: it should not measure its own memory.
const BACKLOG_MAX: usize = 64 * 1024;
/// Messages above QoS 0 of one client that are not answered, at most: what every server takes.
pub(super) const UNANSWERED_MAX: u64 = 20;
/// Topics of those that use a new one each time.
const TOPICS: usize = 1_000_000;

/// One of them.
#[derive(Debug)]
pub(super) struct Hostile {
    pub(super) link: Link,
    dialect: Dialect,
    qos: u8,
    template: Template,
    aim: Aim,
    pub(super) sent: u64,
    /// How many of its messages it knows to be refused.
    pub(super) told: u64,
}

impl Hostile {
    /// What the one at this place speaks, and at which QoS: in 3.1.1 at QoS 0, as a higher one ends the connection, and extended at
    /// QoS 0 and 1.
    pub(super) fn kind(at: usize) -> (Dialect, u8) {
        match at % 3 {
            0 => (Dialect::V311, 0),
            1 => (Dialect::Extended, 0),
            _ => (Dialect::Extended, 1),
        }
    }

    /// Of each kind one repeats itself and one never does, in turn.
    pub(super) fn new(at: usize, link: Link, dialect: Dialect, qos: u8, payload_len: usize) -> Self {
        let (topic, aim) = Aim::numbered(FORBIDDEN, if (at / 3).is_multiple_of(2) { 1 } else { TOPICS });
        let dictionary = dialect.is_extended().then_some(&[][..]);
        let template = Template::new(Shape { topic: &topic, qos, retain: false, payload_len, dictionary });
        Self { link, dialect, qos, template, aim, sent: 0, told: 0 }
    }

    /// Whether it may send so many messages more: it does not wait for the answers to others, nor for its socket.
    pub(super) fn may_send(&self, count: u64) -> bool {
        (self.qos == 0 || self.sent + count <= self.told + UNANSWERED_MAX) && self.link.backlog() < BACKLOG_MAX
    }

    /// Writes so many messages more into what it sends.
    pub(super) fn fill(&mut self, count: u64) {
        for _ in 0..count {
            let lane = self.aim.aim(self.sent, &mut self.template);
            let id = (self.sent % UNANSWERED_MAX) as u16 + 1;
            self.template.put(id, Stamp { stream: u32::MAX, number: self.sent, lane }, &mut self.link.out);
            self.sent += 1;
        }
    }

    /// How many refusals a packet tells of.
    ///
    /// # Errors
    /// It makes no sense, or what should be refused is not.
    pub(super) fn refusals(&self, frame: Frame<'_>) -> Result<u64, &'static str> {
        match frame.first {
            wire::PUBACK if frame.body.get(2).is_none_or(|reason| *reason < 0x80) => {
                Err("the server takes what hostile clients publish; give it rules that deny them `forbidden/#`")
            }
            wire::PUBACK => Ok(1),
            first if first & 0xF0 == wire::PUBLISH && !self.dialect.is_extended() => {
                counted_as_text(frame.body).ok_or("feedback that makes no sense")
            }
            wire::NOTICE => counted(self.dialect, frame).ok_or("a NOTICE that makes no sense, or tells of no refusal"),
            _ => Ok(0),
        }
    }
}

/// What a NOTICE says.
fn counted(dialect: Dialect, packet: Frame<'_>) -> Option<u64> {
    match wire::raise(dialect, packet)? {
        Packet::Notice(notice) if notice.reason.is_error() => Some(notice.dictionary.value(property::COUNT).unwrap_or(1)),
        _ => None,
    }
}

/// What a message on the client's own `$feedback/` says. It is not read as a whole, as there are too many: quotes within a text are
/// escaped, so that a name in quotes is a name.
fn counted_as_text(body: &[u8]) -> Option<u64> {
    let (topic_len, rest) = body.split_first_chunk::<2>()?;
    let payload = rest.get(usize::from(u16::from_be_bytes(*topic_len))..)?;
    let (count, rest) = number_behind(payload, b"\"count\":")?;
    let (code, _) = number_behind(rest, b"\"code\":")?;
    (code >= 0x80).then_some(count)
}

/// The number that follows a name, and what follows that.
fn number_behind<'a>(text: &'a [u8], name: &[u8]) -> Option<(u64, &'a [u8])> {
    let at = text.windows(name.len()).position(|part| part == name)? + name.len();
    let rest = text.get(at..)?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let number = rest.get(..digits).filter(|digits| !digits.is_empty())?;
    Some((number.iter().fold(0, |number: u64, digit| number.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'))), &rest[digits..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::link::Poll;
    use crate::bench::tls::Stream;
    use candor_protocol::codec::dictionary::Dictionary;
    use candor_protocol::dialect::write;
    use candor_protocol::packet::legality::Role;
    use candor_protocol::packet::{Notice, Reason};
    use std::net::{TcpListener, TcpStream};

    fn client(at: usize) -> Hostile {
        let (dialect, qos) = Hostile::kind(at);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        Hostile::new(at, Link::new(&Poll::new().unwrap(), Stream::new(socket, None), at).unwrap(), dialect, qos, 16)
    }

    #[test]
    fn refusals_are_counted_in_whatever_way_they_are_told() {
        let plain = client(0);
        let mut body = vec![0, 1, b'f'];
        body.extend_from_slice(br#"{"count":7,"detail":"a \"count\":9 b","reason":{"code":135,"name":"not authorized"}}"#);
        assert_eq!(plain.refusals(Frame { first: wire::PUBLISH, body: &body }), Ok(7));
        assert!(plain.refusals(Frame { first: wire::PUBLISH, body: &body[..5] }).is_err());
        let taken = [&[0, 1, b'f'], &br#"{"count":7,"reason":{"code":16}}"#[..]].concat();
        assert!(plain.refusals(Frame { first: wire::PUBLISH, body: &taken }).is_err(), "it was no refusal");
        let extended = client(1);
        for (dictionary, expected) in [(Dictionary::EMPTY, 1), (Dictionary::with(property::COUNT, &300), 300)] {
            let notice = Packet::Notice(Notice { reason: Reason::NOT_AUTHORIZED, dictionary });
            let bytes = write::to_bytes(Dialect::Extended, Role::Server, &notice).unwrap();
            let (frame, _) = wire::next_frame(&bytes).unwrap().unwrap();
            assert_eq!(extended.refusals(frame), Ok(expected));
        }
        assert_eq!(extended.refusals(Frame { first: wire::PUBACK, body: &[0, 1, 0x87, 0] }), Ok(1));
        assert!(extended.refusals(Frame { first: wire::PUBACK, body: &[0, 1] }).is_err(), "it was taken");
    }

    #[test]
    fn half_of_them_repeat_themselves() {
        let topics = |at: usize| {
            let mut client = client(at);
            let topic = |number: u64| {
                client.aim.aim(number, &mut client.template);
                let mut bytes = Vec::new();
                client.template.put(1, Stamp { stream: 0, number: 0, lane: 0 }, &mut bytes);
                bytes
            };
            (0..5).map(topic).collect::<std::collections::BTreeSet<_>>().len()
        };
        assert_eq!((0..6).map(topics).collect::<Vec<_>>(), [1, 1, 1, 5, 5, 5]);
    }
}
