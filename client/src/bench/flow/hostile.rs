//! Clients that go on publishing what they may not, at a rate that no answer slows down, and what they are told of it.

use super::aim::Aim;
use super::turn::Marks;
use crate::bench::link::Link;
use crate::bench::plan::FORBIDDEN;
use crate::bench::wire::{self, Frame, Shape, Stamp, Template};
use candor_protocol::codec::dictionary::Limits;
use candor_protocol::codec::frame;
use candor_protocol::dialect::{self, Dialect};
use candor_protocol::packet::{Packet, property};
use serde_json::Value;
use std::time::Duration;

/// Bytes that wait to be written before such a client waits: it should not measure its own memory.
const BACKLOG_MAX: usize = 64 * 1024;
/// Messages above QoS 0 of one client that are not answered, at most: what every server takes.
const UNANSWERED_MAX: u64 = 20;
/// Topics of those that use a new one each time.
const TOPICS: usize = 1_000_000;

/// One of them.
#[derive(Debug)]
pub(super) struct Hostile {
    link: usize,
    dialect: Dialect,
    qos: u8,
    template: Template,
    aim: Aim,
    sent: u64,
    /// How many of its messages it knows to be refused.
    told: u64,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    clients: Vec<Hostile>,
    /// Messages a second over all.
    rate: f64,
    /// How long they have sent.
    elapsed: Duration,
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
    pub(super) fn new(at: usize, link: usize, dialect: Dialect, qos: u8, payload_len: usize) -> Self {
        let (topic, aim) = Aim::numbered(FORBIDDEN, if (at / 3).is_multiple_of(2) { 1 } else { TOPICS });
        let dictionary = dialect.is_extended().then_some(&[][..]);
        let template = Template::new(Shape { topic: &topic, qos, retain: false, payload_len, dictionary });
        Self { link, dialect, qos, template, aim, sent: 0, told: 0 }
    }

    /// Sends what is due; true when there was any.
    fn fill(&mut self, due: u64, link: &mut Link) -> bool {
        let first = self.sent;
        let end = if self.qos == 0 { due } else { due.min(self.told + UNANSWERED_MAX) };
        while self.sent < end && link.backlog() < BACKLOG_MAX {
            let lane = self.aim.aim(self.sent, &mut self.template);
            let id = (self.sent % UNANSWERED_MAX) as u16 + 1;
            self.template.put(id, Stamp { stream: u32::MAX, number: self.sent, lane }, &mut link.out);
            self.sent += 1;
        }
        self.sent > first
    }

    /// How many refusals a packet tells of.
    fn refusals(&self, frame: Frame<'_>) -> Result<u64, &'static str> {
        match frame.first {
            wire::PUBACK if frame.body.get(2).is_none_or(|reason| *reason < 0x80) => {
                Err("the server takes what hostile clients publish; give it rules that deny them `forbidden/#`")
            }
            wire::PUBACK => Ok(1),
            first if first & 0xF0 == wire::PUBLISH && !self.dialect.is_extended() => {
                counted_as_text(frame.body).ok_or("feedback that makes no sense")
            }
            wire::NOTICE => counted(self.dialect, frame).ok_or("a NOTICE that makes no sense"),
            _ => Ok(0),
        }
    }
}

/// What a NOTICE says.
fn counted(dialect: Dialect, packet: Frame<'_>) -> Option<u64> {
    let mut bytes = vec![packet.first];
    wire::put_varint(&mut bytes, packet.body.len());
    bytes.extend_from_slice(packet.body);
    let frame = frame::Frame::split(&mut bytes.into(), u32::MAX).ok()??;
    match dialect::read::raise(dialect, &frame, Limits::default()).ok()? {
        Packet::Notice(notice) => Some(notice.dictionary.value(property::COUNT).unwrap_or(1)),
        _ => None,
    }
}

/// What a message on the client's own `$feedback/` says.
fn counted_as_text(body: &[u8]) -> Option<u64> {
    let (topic_len, rest) = body.split_first_chunk::<2>()?;
    let payload = rest.get(usize::from(u16::from_be_bytes(*topic_len))..)?;
    serde_json::from_slice::<Value>(payload).ok()?["count"].as_u64()
}

impl Crowd {
    pub(super) fn new(clients: Vec<Hostile>, rate: u32) -> Self {
        Self { clients, rate: f64::from(rate), elapsed: Duration::ZERO }
    }

    /// Sends what is due after so much time, from each its share.
    pub(super) fn fill(&mut self, elapsed: Duration, links: &mut [Link], touched: &mut Marks) {
        self.elapsed = elapsed;
        let due = (elapsed.as_secs_f64() * self.rate / self.clients.len().max(1) as f64) as u64;
        for client in &mut self.clients {
            if let Some(link) = links.get_mut(client.link)
                && client.fill(due, link)
            {
                touched.set(client.link);
            }
        }
    }

    /// Takes a packet to the client at this place; the result is how many refusals it tells of.
    ///
    /// # Errors
    /// It makes no sense, or what should be refused is not.
    pub(super) fn take(&mut self, at: usize, frame: Frame<'_>) -> Result<u64, &'static str> {
        let Some(client) = self.clients.get_mut(at) else { return Ok(0) };
        let refusals = client.refusals(frame)?;
        client.told += refusals;
        Ok(refusals)
    }

    /// Whether every refusal was told.
    pub(super) fn is_told(&self) -> bool {
        self.clients.iter().all(|client| client.told >= client.sent)
    }

    pub(super) fn facts(&self) -> Vec<(&'static str, f64)> {
        let sum = |of: fn(&Hostile) -> u64| self.clients.iter().map(of).sum::<u64>() as f64;
        let (sent, told) = (sum(|client| client.sent), sum(|client| client.told));
        if self.clients.is_empty() {
            return Vec::new();
        }
        let per_second = sent / self.elapsed.as_secs_f64().max(1e-9);
        vec![("hostile_sent", sent), ("hostile_told", told), ("hostile_per_s", per_second)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candor_protocol::codec::dictionary::Dictionary;
    use candor_protocol::dialect::write;
    use candor_protocol::packet::legality::Role;
    use candor_protocol::packet::{Notice, Reason};

    fn client(at: usize) -> Hostile {
        let (dialect, qos) = Hostile::kind(at);
        Hostile::new(at, 0, dialect, qos, 16)
    }

    #[test]
    fn refusals_are_counted_in_whatever_way_they_are_told() {
        let plain = client(0);
        let mut body = vec![0, 1, b'f'];
        body.extend_from_slice(br#"{"title":"no","count":7}"#);
        assert_eq!(plain.refusals(Frame { first: wire::PUBLISH, body: &body }), Ok(7));
        assert!(plain.refusals(Frame { first: wire::PUBLISH, body: &body[..5] }).is_err());
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
