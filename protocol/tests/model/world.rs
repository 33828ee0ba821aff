//! The state of everything: a publisher, a broker with its store, a subscriber, and two connections.

use super::Scenario;
use super::mutant::Mutant;
use super::party::{End, HOLD_MS, Link, frame};
use bytes::BytesMut;
use candor_protocol::codec::dictionary::{Dictionary, Limits};
use candor_protocol::dialect::write::PublishFrame;
use candor_protocol::dialect::{Lowered, read};
use candor_protocol::packet::{Message, Packet, PacketId, Publish, Qos};
use candor_protocol::session::inbound::Inbound;
use candor_protocol::session::outbound::Outbound;
use candor_protocol::session::{
    Acceptance, Cause, Delivered, Delivery, Mark, Output, Parked, Record, Restored, ServerPolicy, Session, SessionState, Ticket, Token,
};
use candor_protocol::sim::Way;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// A client, and the broker's half of its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Side {
    Publisher,
    Subscriber,
}

pub(crate) const SIDES: [Side; 2] = [Side::Publisher, Side::Subscriber];

/// Which end of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum At {
    Client,
    Broker,
}

/// What the broker has asked its store to keep.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Keeping {
    /// A message that is owed, with the identifier that it takes.
    Message {
        payload: u8,
        taken: Option<PacketId>,
        ticket: Ticket,
    },
    Received {
        token: Token,
        id: PacketId,
    },
    Settled {
        token: Token,
    },
    Released {
        id: PacketId,
    },
}

/// A message in the store.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Kept {
    pub(crate) payload: u8,
    pub(crate) sent: Option<PacketId>,
    pub(crate) is_received: bool,
    pub(crate) is_settled: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Client {
    pub(crate) end: End,
    /// The broker's half.
    pub(crate) served: End,
    pub(crate) is_known: bool,
    pub(crate) link: Link,
    /// At the end that receives: which message last came under an identifier.
    pub(crate) under: BTreeMap<PacketId, u8>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct World {
    pub(crate) clients: [Client; 2],
    /// How many messages the application has published.
    pub(crate) published: u8,
    /// What the publisher was told is taken.
    pub(crate) acknowledged: BTreeSet<Token>,
    /// What reached the subscriber's application.
    pub(crate) delivered: Vec<u8>,
    pub(crate) keeping: VecDeque<Keeping>,
    pub(crate) kept: Vec<Kept>,
    pub(crate) taken: BTreeSet<PacketId>,
    pub(crate) queue: VecDeque<Token>,
    pub(crate) cuts: [u8; 2],
    pub(crate) crashes: [u8; 3],
    pub(crate) marks: u8,
    /// An honest end refused an honest end.
    pub(crate) quarrel: Option<String>,
    /// Two open messages were under one identifier.
    pub(crate) has_clash: bool,
}

fn delivery(payload: u8, qos: Qos) -> Delivery {
    let message = Message::publish("t", vec![payload]).expect("a topic");
    Delivery { message, qos, retain: false, hop: Dictionary::EMPTY }
}

fn payload_of(publish: &Publish) -> u8 {
    publish.message.payload()[0]
}

impl World {
    pub(crate) fn client(&self, side: Side) -> &Client {
        &self.clients[side as usize]
    }

    pub(crate) fn client_mut(&mut self, side: Side) -> &mut Client {
        &mut self.clients[side as usize]
    }

    fn end(&mut self, side: Side, at: At) -> &mut End {
        let client = self.client_mut(side);
        if at == At::Client { &mut client.end } else { &mut client.served }
    }

    fn is_receiver(side: Side, at: At) -> bool {
        matches!((side, at), (Side::Publisher, At::Broker) | (Side::Subscriber, At::Client))
    }

    pub(crate) fn connect(&mut self, scenario: &Scenario, side: Side, way: Way) {
        let mut settings = way.settings(if side == Side::Publisher { "p" } else { "s" });
        settings.connect.clean_session = false;
        settings.connect.keep_alive_s = 0;
        settings.receive_window = scenario.window;
        let policy = ServerPolicy { receive_window: scenario.window, send_window: scenario.window, ..ServerPolicy::default() };
        if scenario.mutant == Some(Mutant::IdentifiersExchanged) {
            super::mutant::exchange_identifiers(self, side);
        }
        let client = self.client_mut(side);
        let parked = std::mem::take(&mut client.end.parked);
        client.end.session = Some(Session::client(Arc::new(settings), parked, 0));
        client.end.is_attached = true;
        client.served.session = Some(Session::server(Arc::new(policy), 0));
        self.drain(scenario, side, At::Client);
    }

    pub(crate) fn carry(&mut self, scenario: &Scenario, side: Side, to: At) {
        let link = &mut self.client_mut(side).link;
        let Some(bytes) = (if to == At::Broker { link.up.pop_front() } else { link.down.pop_front() }) else { return };
        let frame = frame(&bytes);
        if Self::is_receiver(side, to) && bytes[0] >> 4 == 3 {
            self.look_at(side, to, &bytes);
        }
        if let Some(session) = &mut self.end(side, to).session {
            session.receive(&frame, 0);
        }
        self.drain(scenario, side, to);
    }

    /// A QoS 2 message under an identifier that another one still holds would be taken for that one.
    fn look_at(&mut self, side: Side, to: At, bytes: &[u8]) {
        let Some(session) = self.end(side, to).session.clone() else { return };
        let Ok(Packet::Publish(publish)) = read::raise(session.terms().dialect, &frame(bytes), Limits::default()) else { return };
        let Some(id) = publish.id else { return };
        let is_taken = session.received().taken().any(|(taken, _)| taken == id);
        let other = self.client(side).under.get(&id).is_some_and(|payload| *payload != payload_of(&publish));
        self.has_clash |= is_taken && other;
    }

    /// The store has kept the oldest of what it was asked to; what waited for that follows.
    pub(crate) fn keep(&mut self, scenario: &Scenario) {
        let Some(keeping) = self.keeping.pop_front() else { return };
        match keeping {
            Keeping::Message { payload, taken, ticket } => {
                self.taken.extend(taken);
                self.queue.push_back(self.kept.len() as Token);
                self.kept.push(Kept { payload, sent: None, is_received: false, is_settled: false });
                self.end(Side::Publisher, At::Broker).settle(ticket);
            }
            Keeping::Received { token, id } => {
                self.kept[token as usize].is_received = true;
                if scenario.mutant != Some(Mutant::RecordsNotAnnounced) {
                    self.end(Side::Subscriber, At::Broker).recorded(Record::Received(id));
                }
            }
            Keeping::Released { id } => {
                self.taken.remove(&id);
                self.end(Side::Publisher, At::Broker).recorded(Record::Released(id));
            }
            Keeping::Settled { token } => self.kept[token as usize].is_settled = true,
        }
        SIDES.into_iter().for_each(|side| self.drain(scenario, side, At::Broker));
    }

    pub(crate) fn end_hold(&mut self, scenario: &Scenario, side: Side) {
        if let Some(session) = &mut self.end(side, At::Broker).session {
            session.tick(HOLD_MS);
        }
        self.drain(scenario, side, At::Broker);
    }

    pub(crate) fn cut(&mut self, side: Side) {
        let client = self.client_mut(side);
        client.link = Link::default();
        client.end.lose();
        client.served.lose();
    }

    pub(crate) fn crash_client(&mut self, scenario: &Scenario, side: Side) {
        self.cut(side);
        self.client_mut(side).end.restore(scenario.clients_keep_count);
        if scenario.mutant == Some(Mutant::DedupeForgotten) && side == Side::Subscriber {
            self.client_mut(side).end.parked = Parked::default();
        }
        if scenario.mutant == Some(Mutant::InFlightForgotten) && side == Side::Publisher {
            self.client_mut(side).end.parked = Parked::default();
        }
    }

    pub(crate) fn crash_broker(&mut self, scenario: &Scenario) {
        SIDES.into_iter().for_each(|side| self.cut(side));
        self.keeping.clear();
        let open = |kept: &Kept| !kept.is_settled;
        let sent = self.kept.iter().zip(0..).filter(|(kept, _)| open(kept));
        let restored = sent.clone().filter_map(|(kept, token)| {
            let delivery = delivery(kept.payload, scenario.qos);
            Some(Restored { id: kept.sent?, token, delivery, received: kept.is_received, number: None })
        });
        let mut outbound = Outbound::restore(restored.collect::<Vec<_>>(), None).expect("identifiers in their order");
        let (was_sent, waits): (Vec<_>, Vec<_>) = sent.partition(|(kept, _)| kept.sent.is_some());
        self.queue = waits.iter().map(|(_, token)| *token).collect();
        if scenario.mutant == Some(Mutant::SentBehindWaiting) {
            outbound = Outbound::new(1);
            self.queue.extend(was_sent.iter().map(|(_, token)| *token));
        }
        let mut inbound = Inbound::default();
        self.taken.iter().for_each(|id| inbound.restore(*id));
        // What this store does not keep is the count, so no mark is restored.
        let marks = if scenario.mutant == Some(Mutant::MarkWithoutCount) {
            [Side::Publisher, Side::Subscriber].map(|side| self.client(side).served.parked.mark)
        } else {
            [None, None]
        };
        let mut parked = [
            Parked { inbound, was_extended: true, mark: marks[0], ..Parked::default() },
            Parked { outbound, was_extended: true, mark: marks[1], ..Parked::default() },
        ];
        if marks.iter().any(Option::is_some) {
            parked.iter_mut().for_each(super::mutant::count_from_nothing);
        }
        for (client, parked) in self.clients.iter_mut().zip(parked) {
            client.served.parked = parked;
        }
    }

    /// Takes every output of an end, then hands it what its owner wants to send.
    fn drain(&mut self, scenario: &Scenario, side: Side, at: At) {
        loop {
            while let Some(output) = self.end(side, at).session.as_mut().and_then(Session::poll) {
                self.act(scenario, side, at, output);
            }
            let has_sent = match (side, at) {
                (Side::Publisher, At::Client) => !scenario.publishes_late && self.publish(scenario),
                (Side::Subscriber, At::Broker) => self.deliver(scenario),
                _ => false,
            };
            if !has_sent {
                return;
            }
        }
    }

    pub(crate) fn may_publish(&self, scenario: &Scenario) -> bool {
        let session = self.client(Side::Publisher).end.session.as_ref();
        self.published < scenario.messages && session.is_some_and(|session| session.credit() > 0)
    }

    pub(crate) fn publish_now(&mut self, scenario: &Scenario) {
        self.publish(scenario);
        self.drain(scenario, Side::Publisher, At::Client);
    }

    fn publish(&mut self, scenario: &Scenario) -> bool {
        let payload = self.published;
        if payload >= scenario.messages {
            return false;
        }
        let delivery = delivery(payload, scenario.qos);
        let Some(session) = &mut self.client_mut(Side::Publisher).end.session else { return false };
        let Delivered::Now(id) = session.deliver(delivery.clone(), Token::from(payload)) else { return false };
        self.published += 1;
        self.write_publish(Side::Publisher, At::Client, &delivery, id, false);
        true
    }

    /// The identifier is kept before the packet leaves, in the same step: nothing else happens between.
    fn deliver(&mut self, scenario: &Scenario) -> bool {
        let Some(token) = self.queue.front().copied() else { return false };
        let delivery = delivery(self.kept[token as usize].payload, scenario.qos);
        let Some(session) = &mut self.client_mut(Side::Subscriber).served.session else { return false };
        let Delivered::Now(id) = session.deliver(delivery.clone(), token) else { return false };
        self.queue.pop_front();
        self.kept[token as usize].sent = id;
        self.write_publish(Side::Subscriber, At::Broker, &delivery, id, false);
        true
    }

    fn write(&mut self, side: Side, at: At, bytes: &[u8]) {
        let link = &mut self.client_mut(side).link;
        let pipe = if at == At::Client { &mut link.up } else { &mut link.down };
        pipe.push_back(bytes.to_vec());
    }

    fn write_publish(&mut self, side: Side, at: At, delivery: &Delivery, id: Option<PacketId>, dup: bool) {
        let Some(dialect) = self.end(side, at).session.as_ref().map(|session| session.terms().dialect) else { return };
        let mut bytes = BytesMut::new();
        PublishFrame::new(dialect, delivery.qos, delivery.retain, &delivery.message, &delivery.hop).write(id, dup, &mut bytes);
        self.write(side, at, &bytes);
    }

    fn act(&mut self, scenario: &Scenario, side: Side, at: At, output: Output) {
        match output {
            Output::Send(packet) => {
                let mut bytes = BytesMut::new();
                let fate = self.end(side, at).session.as_ref().map(|session| session.lower(&packet, &mut bytes));
                assert_eq!(fate, Some(Lowered::Frame), "{packet:?}");
                self.write(side, at, &bytes);
            }
            Output::Publish(sending) => {
                if let (At::Broker, Some(id)) = (at, sending.id)
                    && let Some(token) = self.end(side, at).outbound().get(id).map(|message| message.token)
                {
                    self.kept[token as usize].sent = Some(id);
                }
                self.write_publish(side, at, &sending.delivery, sending.id, sending.dup);
            }
            Output::Connect(_) => self.accept(side),
            Output::Message { ticket: Some(ticket), publish } => self.take(scenario, side, at, ticket, &publish),
            Output::Record(record) => self.record(scenario, side, at, record),
            Output::Settled { token, outcome, .. } if at == At::Client => {
                assert!(!outcome.reason.is_error(), "{outcome:?}");
                self.acknowledged.insert(token);
            }
            Output::Settled { token, .. } => self.keeping.push_back(Keeping::Settled { token }),
            Output::Closed { cause, .. } if cause != Cause::Lost => self.quarrel = Some(format!("{side:?} {at:?}: {cause:?}")),
            Output::Opened(opened) if !opened.lost.is_empty() => self.quarrel = Some(format!("{side:?} lost {:?}", opened.lost)),
            _ => {}
        }
    }

    fn accept(&mut self, side: Side) {
        self.marks += 1;
        let count_mark = Some(Mark([self.marks; 8]));
        let client = self.client_mut(side);
        let parked = std::mem::replace(&mut client.is_known, true).then(|| std::mem::take(&mut client.served.parked));
        let state = if parked.is_some() { SessionState::Resumed } else { SessionState::New };
        client.served.is_attached = true;
        if let Some(session) = &mut client.served.session {
            session.accept(Acceptance { state, count_mark, ..Acceptance::default() }, parked, 0);
        }
    }

    /// A message was handed on: a subscriber's application takes it as it comes, the broker keeps it first.
    fn take(&mut self, scenario: &Scenario, side: Side, at: At, ticket: Ticket, publish: &Publish) {
        let payload = payload_of(publish);
        if let Some(id) = publish.id {
            self.client_mut(side).under.insert(id, payload);
        }
        if at == At::Client {
            self.delivered.push(payload);
            self.end(side, at).settle(ticket);
            return;
        }
        let taken = publish.id.filter(|_| publish.qos == Qos::ExactlyOnce);
        self.keeping.push_back(Keeping::Message { payload, taken, ticket });
        if scenario.mutant == Some(Mutant::AcknowledgedBeforeKept) {
            self.end(side, at).settle(ticket);
        }
    }

    fn record(&mut self, scenario: &Scenario, side: Side, at: At, record: Record) {
        let is_kept_at_once = at == At::Client || scenario.mutant == Some(Mutant::ReleasedBeforeRecorded);
        if at == At::Broker {
            let keeping = match record {
                Record::Released(id) => Some(Keeping::Released { id }),
                Record::Received(id) => {
                    let token = self.end(side, at).outbound().get(id).map(|message| message.token);
                    token.map(|token| Keeping::Received { token, id })
                }
            };
            self.keeping.extend(keeping);
        }
        if is_kept_at_once {
            self.end(side, at).recorded(record);
        }
    }
}
