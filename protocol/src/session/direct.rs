//! The shortest way of the packets that almost all traffic is made of: a PUBLISH, and an acknowledgement of success. They come to the
//! same as in [`receive`](super::Session::receive), without what only a negotiation, an experiment or another packet needs, and what
//! follows from them is handed over at once where it is one thing.

use super::outbound::Stage;
use super::{Admitted, Outcome, Output, Phase, Record, Session, Ticket, Token};
use crate::codec::dictionary::Dictionary;
use crate::codec::frame::Frame;
use crate::dialect::{Bare, read};
use crate::packet::id::{PacketId, Qos};
use crate::packet::kind::Kind;
use crate::packet::{Ack, Connect, Message, Packet, Publish, Reason};
use std::sync::Arc;

/// PUBACK, PUBREC, PUBREL and PUBCOMP as they begin in every dialect.
const ACKS: [u8; 4] = [0x40, 0x50, 0x62, 0x70];
/// Bytes of such a packet.
pub const ACK_LEN: usize = 4;

/// What an input came to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Direct {
    /// To what [`Session::poll`] gives.
    Outputs,
    /// As [`Output::Connect`].
    Connect(Arc<Connect>),
    /// As [`Output::Message`].
    Message { ticket: Option<Ticket>, publish: Publish },
    /// As [`Output::Settled`] with success and nothing more.
    Settled(Token),
    /// As [`Output::Record`].
    Record(Record),
}

impl Session {
    /// Whether the connection is open and nothing but the packet itself decides what follows from it.
    #[inline]
    pub(super) fn is_ordinary(&self) -> bool {
        matches!(self.phase, Phase::Open) && self.terms.experiments == 0
    }

    /// As [`Session::receive`], for a frame that is of no more use.
    pub fn take(&mut self, frame: Frame, now_ms: u64) -> Direct {
        if frame.first >> 4 != Kind::Publish as u8 || !self.is_ordinary() {
            if self.awaits_connect() && self.outputs.is_empty() {
                self.clock.heard(now_ms);
                return self.take_connect(&frame).map_or(Direct::Outputs, Direct::Connect);
            }
            self.receive(&frame, now_ms);
            return Direct::Outputs;
        }
        self.clock.heard(now_ms);
        match read::raise_publish(self.terms.dialect, frame, self.limits()) {
            Ok(publish) => match self.check_dictionary(Kind::Publish, &publish.dictionary) {
                Ok(()) => match self.arrived(&publish) {
                    Some(ticket) if self.outputs.is_empty() => return Direct::Message { ticket, publish },
                    Some(ticket) => self.outputs.push_back(Output::Message { ticket, publish }),
                    None => {}
                },
                Err(refusal) => self.refuse_packet(Packet::Publish(publish), refusal),
            },
            Err(error) => self.malformed(error),
        }
        Direct::Outputs
    }

    /// The PUBLISH that `bytes` begin with, if it says nothing but its message, has at most `len_max` bytes, and nothing but itself
    /// decides what follows from it; nothing is done yet.
    // On the way of every message, where a call would cost as much as it does.
    #[inline(always)]
    pub fn see_bare(&self, bytes: &[u8], len_max: usize) -> Option<Bare> {
        let len_max = len_max.min(self.terms.receive_size_max as usize);
        Bare::see(self.terms.dialect, bytes, len_max, self.limits()).filter(|_| self.is_ordinary())
    }

    /// Takes what [`Session::see_bare`] saw, for an owner that accepts it at once: the acknowledgement, above QoS 0. `None`: it cannot
    /// be had so, and nothing was done.
    #[inline]
    pub fn take_bare(&mut self, bare: &Bare, now_ms: u64) -> Option<Option<[u8; 4]>> {
        if !self.outputs.is_empty() {
            return None;
        }
        let qos = bare.qos();
        if bare.id().is_some_and(|id| !self.inbound.is_alone(id, qos)) {
            return None;
        }
        self.clock.heard(now_ms);
        Some(bare.id().map(|id| {
            self.uncounted_if_plain();
            self.inbound.arrive_settled(id, qos);
            acceptance(id, qos)
        }))
    }

    /// As [`Session::admit_as`], for a message that stands where it was read.
    #[inline]
    pub fn admit_bare(&mut self, bare: &Bare, qos: Qos, token: Token, own: impl FnOnce() -> Message) -> Admitted {
        if !self.is_ready() {
            return Admitted::Later;
        }
        if bare.len_max() > self.terms.send_size_max as usize {
            return Admitted::TooLarge;
        }
        if qos == Qos::AtMostOnce {
            return Admitted::Now(None);
        }
        self.take_up(qos, false, &Dictionary::EMPTY, token, own)
    }

    /// Takes the acknowledgement of success that `bytes`, which are whole frames, begin with; its length is [`ACK_LEN`]. `None`: something
    /// else stands there.
    #[inline]
    pub fn take_ack(&mut self, bytes: &[u8], now_ms: u64) -> Option<Direct> {
        let &[first, 2, high, low] = bytes.first_chunk::<ACK_LEN>()? else { return None };
        let id = PacketId::new(u16::from_be_bytes([high, low]))?;
        if !ACKS.contains(&first) || !self.is_ordinary() {
            return None;
        }
        self.clock.heard(now_ms);
        Some(self.take_success(first, id).unwrap_or_else(|| {
            let ack = Ack::success(id);
            match first {
                0x40 => self.receive_final(&ack, Qos::AtLeastOnce),
                0x50 => self.receive_pubrec(&ack),
                0x62 => self.receive_pubrel(&ack),
                _ => self.receive_final(&ack, Qos::ExactlyOnce),
            }
            Direct::Outputs
        }))
    }

    /// The next step of an exchange, where it is the one that was waited for. `None`: it is not, and nothing was done.
    #[inline]
    fn take_success(&mut self, first: u8, id: PacketId) -> Option<Direct> {
        // What waits to be sent again may go when something ends.
        if !self.outputs.is_empty() || self.outbound.has_waiting() {
            return None;
        }
        match first {
            0x40 => self.outbound.finish_if(id, Qos::AtLeastOnce, Stage::Published).map(Direct::Settled),
            0x50 => self.outbound.record_if(id).then_some(Direct::Record(Record::Received(id))),
            0x62 => self.inbound.release(id).then_some(Direct::Record(Record::Released(id))),
            _ => self.outbound.finish_if(id, Qos::ExactlyOnce, Stage::Received).map(Direct::Settled),
        }
    }

    /// As [`Session::settle`], for a success that is answered at once: the acknowledgement. `None`: it is not, and nothing was done.
    #[inline]
    pub fn settle_directly(&mut self, ticket: Ticket, outcome: &Outcome) -> Option<[u8; 4]> {
        let is_bare = outcome.reason == Reason::SUCCESS && outcome.problem.is_none() && outcome.delay_ms.is_none();
        if is_bare { self.accept_directly(ticket) } else { None }
    }

    /// As [`Session::settle_directly`] with success, however durable: a message whose sender asked for that is none of these.
    #[inline]
    pub fn accept_directly(&mut self, ticket: Ticket) -> Option<[u8; 4]> {
        if !self.is_ordinary() || !self.outputs.is_empty() {
            return None;
        }
        let (id, qos) = self.inbound.settle_only(ticket)?;
        Some(acceptance(id, qos))
    }

    /// As [`Session::recorded`], for a packet that leaves at once. `None`: it does not, and nothing was done.
    #[inline]
    pub fn recorded_directly(&mut self, record: Record) -> Option<[u8; 4]> {
        if !self.is_ordinary() || !self.outputs.is_empty() {
            return None;
        }
        match record {
            Record::Released(id) => self.inbound.released(id).then(|| packet(0x70, id)),
            Record::Received(id) => self.outbound.recorded(id).then(|| packet(0x62, id)),
        }
    }
}

/// PUBACK or PUBREC.
#[inline]
fn acceptance(id: PacketId, qos: Qos) -> [u8; 4] {
    packet(if qos == Qos::AtLeastOnce { 0x40 } else { 0x50 }, id)
}

/// An acknowledgement of success, the same in every dialect.
#[inline]
fn packet(first: u8, id: PacketId) -> [u8; 4] {
    let [high, low] = id.value().to_be_bytes();
    [first, 2, high, low]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::Dialect;
    use crate::dialect::write::to_bytes;
    use crate::packet::legality::Role;
    use crate::session::{Acceptance, Delivered, Delivery, Mark, Parked, ServerPolicy, SessionState};
    use bytes::BytesMut;
    use std::collections::BTreeSet;
    use std::sync::Arc;

    /// What is under way between an owner and its session.
    struct Table {
        session: Session,
        tickets: Vec<Ticket>,
        records: Vec<Record>,
        /// Which short ways were taken.
        ways: BTreeSet<&'static str>,
        seed: u64,
    }

    impl Table {
        fn below(&mut self, end: u64) -> u64 {
            self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.seed >> 33) % end
        }

        fn id(&mut self) -> PacketId {
            PacketId::new(self.below(4) as u16 + 1).unwrap()
        }

        fn qos(&mut self) -> Qos {
            Qos::ALL[self.below(3) as usize]
        }

        /// Goes both ways from here; they must come to the same words and the same state.
        fn both(&mut self, usual: impl FnOnce(&mut Session), direct: impl FnOnce(&mut Session) -> Vec<String>) {
            let mut other = self.session.clone();
            usual(&mut self.session);
            let mut said = direct(&mut other);
            let mut expected = vec![];
            while let Some(output) = self.session.poll() {
                match &output {
                    Output::Message { ticket, .. } => self.tickets.extend(ticket),
                    Output::Record(record) => self.records.push(*record),
                    _ => {}
                }
                expected.push(words(&self.session, &output));
            }
            while let Some(output) = other.poll() {
                said.push(words(&other, &output));
            }
            assert_eq!(said, expected, "from {:#?}", self.session);
            assert_eq!(other, self.session);
        }

        fn comes(&mut self, packet: &Packet) {
            let bytes = to_bytes(self.session.terms().dialect, Role::Client, packet).unwrap();
            let frame = Frame::split(&mut bytes.clone(), u32::MAX).unwrap().unwrap();
            let usual = frame.clone();
            let mut way = None;
            self.both(
                |session| session.receive(&usual, 1),
                |session| {
                    let direct = session.take_ack(&bytes, 1).unwrap_or_else(|| session.take(frame, 1));
                    let (name, output) = match direct {
                        Direct::Outputs => return vec![],
                        Direct::Connect(connect) => ("connect", Output::Connect(connect)),
                        Direct::Message { ticket, publish } => ("message", Output::Message { ticket, publish }),
                        Direct::Settled(token) => ("settled", Output::Settled { token, outcome: Outcome::accepted(), returned: None }),
                        Direct::Record(record) => ("record", Output::Record(record)),
                    };
                    way = Some(name);
                    vec![words(session, &output)]
                },
            );
            self.ways.extend(way);
        }

        /// A PUBLISH comes, and its owner accepts it at once.
        fn is_accepted(&mut self, publish: Publish) {
            let bytes = to_bytes(self.session.terms().dialect, Role::Client, &Packet::Publish(publish)).unwrap();
            let before = self.session.clone();
            let Some(packet) = self.session.see_bare(&bytes, bytes.len()).and_then(|bare| self.session.take_bare(&bare, 1)) else {
                return assert_eq!(self.session, before, "nothing was done");
            };
            let mut usual = before.clone();
            let frame = Frame::split(&mut bytes.clone(), u32::MAX).unwrap().unwrap();
            let Direct::Message { ticket, .. } = usual.take(frame, 1) else { panic!("from {before:#?}") };
            assert_eq!(packet, ticket.and_then(|ticket| usual.accept_directly(ticket)), "from {before:#?}");
            assert_eq!(self.session, usual);
            self.ways.insert("accepted");
        }

        fn step(&mut self) {
            let (id, qos) = (self.id(), self.qos());
            match self.below(13) {
                12 => {
                    let message = Message::publish("t", self.below(100).to_string()).unwrap();
                    let id = (qos != Qos::AtMostOnce).then_some(id);
                    let dup = id.is_some() && self.below(8) == 0;
                    let retain = self.below(8) == 0;
                    self.is_accepted(Publish { dup, ..Publish::new(message, qos, retain, id, &Dictionary::EMPTY) });
                }
                0..=2 => {
                    let message = Message::publish("t", self.below(100).to_string()).unwrap();
                    let id = (qos != Qos::AtMostOnce).then_some(id);
                    let dup = id.is_some() && self.below(4) == 0;
                    self.comes(&Packet::Publish(Publish { dup, ..Publish::new(message, qos, false, id, &Dictionary::EMPTY) }));
                }
                3..=4 if qos != Qos::AtMostOnce => {
                    let delivery = Delivery { message: Message::publish("t", "x").unwrap(), qos, retain: false, hop: Dictionary::EMPTY };
                    let token = self.below(100);
                    assert!(!matches!(self.session.deliver(delivery, token), Delivered::TooLarge(_)));
                }
                5 => self.comes(&Packet::PubAck(Ack::success(id))),
                6 => self.comes(&Packet::PubRec(Ack::success(id))),
                7 => self.comes(&Packet::PubRel(Ack::success(id))),
                8 => self.comes(&Packet::PubComp(Ack::success(id))),
                9 | 10 if !self.tickets.is_empty() => {
                    let (any, is_first) = (self.below(self.tickets.len() as u64) as usize, self.below(2) == 0);
                    let ticket = self.tickets.remove(if is_first { 0 } else { any });
                    let outcome = match self.below(5) {
                        0 => Outcome { reason: Reason::NO_MATCHING_SUBSCRIBERS, ..Outcome::accepted() },
                        1 => Outcome::kept(crate::packet::Durability::Memory),
                        _ => Outcome::accepted(),
                    };
                    let (usual, mut way) = (outcome.clone(), None);
                    self.both(
                        |session| session.settle(ticket, usual),
                        |session| match session.settle_directly(ticket, &outcome) {
                            Some(packet) => {
                                way = Some("acknowledged");
                                vec![format!("{packet:?}")]
                            }
                            None => {
                                session.settle(ticket, outcome);
                                vec![]
                            }
                        },
                    );
                    self.ways.extend(way);
                }
                11 if self.below(20) == 0 => self.reconnect(),
                _ if !self.records.is_empty() => {
                    let (record, mut way) = (self.records.remove(0), None);
                    self.both(
                        |session| session.recorded(record),
                        |session| match session.recorded_directly(record) {
                            Some(packet) => {
                                way = Some("recorded");
                                vec![format!("{packet:?}")]
                            }
                            None => {
                                session.recorded(record);
                                vec![]
                            }
                        },
                    );
                    self.ways.extend(way);
                }
                _ => {}
            }
        }

        /// The connection ends, and the next one takes the session up as it was.
        fn reconnect(&mut self) {
            let dialect = self.session.terms().dialect;
            self.session.lost();
            while self.session.poll().is_some() {}
            let parked = self.session.take_parked();
            self.session = open(dialect, Some(parked));
        }
    }

    /// An acknowledgement as it travels; everything else in full.
    fn words(session: &Session, output: &Output) -> String {
        let Output::Send(packet) = output else { return format!("{output:?}") };
        let mut bytes = BytesMut::new();
        assert_eq!(session.lower(packet, &mut bytes), crate::dialect::Lowered::Frame);
        format!("{:?}", &bytes[..])
    }

    fn open(dialect: Dialect, parked: Option<Parked>) -> Session {
        let mut session = Session::server(Arc::new(ServerPolicy::default()), 0);
        let connect = Connect {
            dialect,
            clean_session: parked.is_none(),
            keep_alive_s: 60,
            client_id: "c".to_owned(),
            will: None,
            user_name: None,
            password: None,
            dictionary: Dictionary::EMPTY,
        };
        let mut bytes = to_bytes(dialect, Role::Client, &Packet::Connect(Box::new(connect))).unwrap();
        session.receive(&Frame::split(&mut bytes, u32::MAX).unwrap().unwrap(), 0);
        while session.poll().is_some() {}
        let state = if parked.is_some() { SessionState::Resumed } else { SessionState::New };
        session.accept(Acceptance { state, count_mark: Some(Mark(*b"counting")), ..Acceptance::default() }, parked, 0);
        while session.poll().is_some() {}
        session
    }

    #[test]
    fn the_first_frame_comes_to_the_same_either_way() {
        let frames: [&[u8]; 5] = [
            b"\x10\x0D\0\x04MQTT\x04\x02\0\x3C\0\x01c",
            b"\x10\x0D\0\x04MQTT\x09\x02\0\x3C\0\x01c",
            b"\x10\x0D\0\x04MQTT\x04\x01\0\x3C\0\x01c",
            b"\x10\x0C\0\x04MQTT\x04\0\0\x3C\0\0",
            b"\xC0\0",
        ];
        let mut ways = vec![];
        for bytes in frames {
            let mut usual = Session::server(Arc::new(ServerPolicy::default()), 0);
            let mut direct = usual.clone();
            let frame = Frame::split(&mut bytes::Bytes::from_static(bytes), u32::MAX).unwrap().unwrap();
            usual.receive(&frame, 1);
            let said = match direct.take(frame, 1) {
                Direct::Connect(connect) => vec![Output::Connect(connect)],
                _ => vec![],
            };
            ways.push(!said.is_empty());
            let said: Vec<Output> = said.into_iter().chain(std::iter::from_fn(|| direct.poll())).collect();
            assert_eq!(said, std::iter::from_fn(|| usual.poll()).collect::<Vec<_>>(), "{bytes:02X?}");
            assert_eq!(direct, usual, "{bytes:02X?}");
        }
        assert_eq!(ways, [true, false, false, false, false]);
    }

    /// The short way is taken where it comes to the same, and nowhere else.
    #[test]
    fn what_is_taken_directly_comes_to_the_same_words_and_the_same_state() {
        for dialect in [Dialect::V311, Dialect::Extended] {
            let mut ways = BTreeSet::new();
            for seed in 0..60 {
                println!("seed {seed} {dialect}");
                let mut table = Table { session: open(dialect, None), tickets: vec![], records: vec![], ways, seed };
                for _ in 0..200 {
                    table.step();
                    if table.session.is_closed() {
                        break;
                    }
                }
                ways = table.ways;
            }
            assert_eq!(ways, BTreeSet::from(["accepted", "acknowledged", "message", "record", "recorded", "settled"]), "{dialect}");
        }
    }
}
