//! A shard with clients, and no socket: bytes go in, bytes come out.

use crate::samples;
use bytes::BytesMut;
use candor_broker::access::{Current, Door};
use candor_broker::config::listener::Anonymous;
use candor_broker::shard::{Admission, Answer, Authenticate, ConnectionKey, ListenerSettings, Now, Peer, Settings, Shard, Shared};
use candor_protocol::codec::dictionary::Dictionary;
use candor_protocol::dialect::Dialect;
use candor_protocol::dialect::write::to_bytes;
use candor_protocol::packet::legality::Role;
use candor_protocol::packet::{Ack, Connect, Packet, PacketId, Qos, Subscribe, SubscribeItem, TopicFilter, property};
use candor_protocol::session::ServerPolicy;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

/// A publisher whose messages are refused, and the packets of a round that has not been run.
#[derive(Debug)]
pub struct Refused {
    fleet: Fleet,
    /// Packets that went in.
    round: BytesMut,
}

/// What is refused, and how its client hears of it.
#[derive(Debug, Clone, Copy)]
pub struct RefusedPlan {
    pub dialect: Dialect,
    pub qos: Qos,
    /// It listens to `$feedback/#`.
    pub listens: bool,
    /// Each message goes to a topic of its own.
    pub is_ever_new: bool,
}

impl Refused {
    /// Connects the publisher and runs two rounds, so that what is counted is not the first of its kind.
    pub fn new(plan: RefusedPlan) -> Self {
        let listener = ListenerSettings {
            name: "counts".into(),
            policy: Arc::new(ServerPolicy::default()),
            // The other answer of a plain dialect is the end of the connection.
            acknowledges_refused: true,
            authenticate: Arc::new(Denying(Door { access: Arc::new(Current::new(samples::denying())), anonymous: Anonymous::Always })),
        };
        let mut fleet = Fleet::empty();
        fleet.publisher = fleet.connect(&Arc::new(listener), plan.dialect, "publisher");
        if plan.listens {
            fleet.subscribe_to(fleet.publisher, plan.dialect, "$feedback/#", Qos::AtMostOnce);
        }
        let mut refused = Self { fleet, round: BytesMut::new() };
        for first in [0, 100, 200] {
            refused.run();
            let topics = (first..first + 100).map(|n| format!("{}/{:07}", samples::TOPIC, if plan.is_ever_new { n } else { 0 }));
            refused.round = samples::publishes_to(topics, plan.dialect, plan.qos);
        }
        refused
    }

    /// A hundred messages in, and all that is told of them out, with as many turns as it takes; how many bytes went out.
    pub fn run(&mut self) -> usize {
        let fleet = &mut self.fleet;
        let mut round = std::mem::take(&mut self.round);
        // A second later, so that nothing waits to be told with others.
        fleet.now.ms += 1001;
        fleet.shard.begin_turn(fleet.now);
        fleet.shard.receive(fleet.publisher, &mut round);
        let mut written = fleet.turn();
        while fleet.shard.has_waiting() {
            fleet.shard.begin_turn(fleet.now);
            fleet.shard.begin_slice();
            while fleet.shard.take_up().is_some() {}
            written += fleet.turn();
        }
        written
    }
}

/// Everybody is somebody by name, whom the ledger knows.
#[derive(Debug)]
struct Denying(Door);

impl Authenticate for Denying {
    fn authenticate(&self, connect: &Connect, client_id: &Arc<str>, peer: &Peer) -> Answer {
        match self.0.authenticate(connect, client_id, peer) {
            Answer::Now(answer) => Answer::Now(answer.map(|admission| Admission { principal: "hostile".into(), ..admission })),
            later => later,
        }
    }
}

/// One publisher, its subscribers, and the packets of a round that has not been run.
#[derive(Debug)]
pub struct Fleet {
    shard: Shard,
    publisher: ConnectionKey,
    subscribers: Vec<ConnectionKey>,
    touched: Vec<ConnectionKey>,
    now: Now,
    publishes: BytesMut,
    /// What the subscribers answer, in the order in which it goes in.
    answers: Vec<BytesMut>,
    /// What the publisher says after that.
    releases: BytesMut,
}

/// What a fleet is made of.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub publisher: Dialect,
    pub subscriber: Dialect,
    pub qos: Qos,
    pub with_map: bool,
    /// Each message says when it is of no use any more: it is for the server too.
    pub expires: bool,
    pub subscribers: usize,
    /// Messages of one round, at most 100.
    pub messages: u16,
}

impl Fleet {
    /// Connects everybody and runs one round, so that what is counted is not the first of its kind.
    pub fn new(plan: Plan) -> Self {
        let policy = Arc::new(ServerPolicy::default());
        let listener =
            Arc::new(ListenerSettings { name: "counts".into(), policy, acknowledges_refused: false, authenticate: Arc::new(Door::open()) });
        let mut fleet = Self::empty();
        fleet.publisher = fleet.connect(&listener, plan.publisher, "publisher");
        for n in 0..plan.subscribers {
            let key = fleet.connect(&listener, plan.subscriber, &format!("subscriber-{n}"));
            fleet.subscribe_to(key, plan.subscriber, samples::TOPIC, plan.qos);
            fleet.subscribers.push(key);
        }
        fleet.prepare(plan, 1);
        fleet.round();
        fleet.prepare(plan, 1 + plan.messages);
        fleet
    }

    fn empty() -> Self {
        let settings = Settings::default();
        Self {
            shard: Shard::new(0, Arc::new(settings), Arc::new(Shared::default()), 1),
            publisher: 0,
            subscribers: Vec::new(),
            touched: Vec::new(),
            now: Now { ms: 1_000_000, unix_ms: 1_700_000_000_000 },
            publishes: BytesMut::new(),
            answers: Vec::new(),
            releases: BytesMut::new(),
        }
    }

    fn connect(&mut self, listener: &Arc<ListenerSettings>, dialect: Dialect, id: &str) -> ConnectionKey {
        self.shard.begin_turn(self.now);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let key = self.shard.accepted(address, Arc::clone(listener));
        let connect = Connect {
            dialect,
            clean_session: true,
            keep_alive_s: 60,
            client_id: id.to_owned(),
            will: None,
            user_name: None,
            password: None,
            dictionary: Dictionary::EMPTY,
        };
        let mut bytes = packet(dialect, &Packet::Connect(Box::new(connect)));
        self.shard.receive(key, &mut bytes);
        for key in self.shard.take_authenticate() {
            if let (Some(answer), Some(of)) = (self.shard.ask(key, None), self.shard.asks(key)) {
                self.shard.authenticated(key, of, answer.wait());
            }
        }
        self.turn();
        key
    }

    fn subscribe_to(&mut self, key: ConnectionKey, dialect: Dialect, filter: &str, qos: Qos) {
        let Ok(filter) = TopicFilter::new(filter) else { return };
        let items = vec![SubscribeItem { filter: Ok(filter), qos }];
        let subscribe = Subscribe { id: PacketId::MIN, items, dictionary: Dictionary::EMPTY };
        let mut bytes = packet(dialect, &Packet::Subscribe(Box::new(subscribe)));
        self.shard.begin_turn(self.now);
        self.shard.receive(key, &mut bytes);
        self.turn();
    }

    /// Encodes everything that goes in during a round.
    fn prepare(&mut self, plan: Plan, first_id: u16) {
        let hop = if plan.expires { Dictionary::with(property::MESSAGE_EXPIRY_INTERVAL, &3600) } else { Dictionary::EMPTY };
        self.publishes = samples::publishes_with(&hop, plan.publisher, plan.qos, plan.with_map, first_id, plan.messages);
        let acks = |dialect: Dialect, make: fn(Ack) -> Packet| {
            let mut bytes = BytesMut::new();
            for id in (first_id..first_id + plan.messages).filter_map(PacketId::new) {
                bytes.extend_from_slice(&packet(dialect, &make(Ack::success(id))));
            }
            bytes
        };
        let (answers, releases) = match plan.qos {
            Qos::AtMostOnce => (vec![], BytesMut::new()),
            Qos::AtLeastOnce => (vec![acks(plan.subscriber, Packet::PubAck)], BytesMut::new()),
            Qos::ExactlyOnce => {
                let answers = vec![acks(plan.subscriber, Packet::PubRec), acks(plan.subscriber, Packet::PubComp)];
                (answers, acks(plan.publisher, Packet::PubRel))
            }
        };
        self.answers = answers.iter().flat_map(|answer| vec![answer.clone(); self.subscribers.len()]).collect();
        self.releases = releases;
    }

    /// All messages of the round from the publisher's bytes to the subscribers' bytes, with every acknowledgement; tells how
    /// many bytes went out.
    pub fn round(&mut self) -> usize {
        let mut written = 0;
        self.shard.begin_turn(self.now);
        let mut publishes = std::mem::take(&mut self.publishes);
        self.shard.receive(self.publisher, &mut publishes);
        written += self.turn();
        let answers = std::mem::take(&mut self.answers);
        for (n, mut answer) in answers.into_iter().enumerate() {
            let key = self.subscribers.get(n % self.subscribers.len().max(1)).copied().unwrap_or_default();
            self.shard.begin_turn(self.now);
            self.shard.receive(key, &mut answer);
            written += self.turn();
        }
        let mut releases = std::mem::take(&mut self.releases);
        if !releases.is_empty() {
            self.shard.begin_turn(self.now);
            self.shard.receive(self.publisher, &mut releases);
            written += self.turn();
        }
        written
    }

    /// Ends a turn as the driver does; the kernel takes everything.
    fn turn(&mut self) -> usize {
        self.shard.end_turn();
        let mut touched = std::mem::take(&mut self.touched);
        self.shard.take_touched(&mut touched);
        let mut written = 0;
        for key in touched.drain(..) {
            if let Some(out) = self.shard.out(key) {
                written += out.len();
                out.advance(out.len());
            }
            self.shard.flushed(key);
        }
        self.touched = touched;
        written
    }
}

fn packet(dialect: Dialect, packet: &Packet) -> BytesMut {
    BytesMut::from(&to_bytes(dialect, Role::Client, packet).unwrap_or_default()[..])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is counted must be the whole work: every message is refused, and whoever hears of it hears of each.
    #[test]
    fn a_round_of_refusals_is_told_of_to_its_end() {
        for (dialect, qos, listens, least) in [
            (Dialect::V311, Qos::AtMostOnce, true, 100 * 200),
            (Dialect::V311, Qos::AtLeastOnce, false, 100 * 4),
            (Dialect::Extended, Qos::AtMostOnce, false, 100),
            (Dialect::Extended, Qos::AtLeastOnce, false, 100 * 100),
        ] {
            for is_ever_new in [false, true] {
                let written = Refused::new(RefusedPlan { dialect, qos, listens, is_ever_new }).run();
                assert!(written >= least, "{dialect} {qos:?} {is_ever_new}: {written}");
            }
        }
        let silent = RefusedPlan { dialect: Dialect::V311, qos: Qos::AtMostOnce, listens: false, is_ever_new: false };
        assert_eq!(Refused::new(silent).run(), 0);
    }

    /// What is counted must be the whole work: every message comes out to everybody, and every exchange ends.
    #[test]
    fn a_round_hands_every_message_to_every_subscriber() {
        for qos in Qos::ALL {
            for dialect in [Dialect::V311, Dialect::Extended] {
                let plan =
                    Plan { publisher: dialect, subscriber: dialect, qos, with_map: false, expires: false, subscribers: 3, messages: 50 };
                let mut fleet = Fleet::new(plan);
                let publish = samples::publishes(dialect, qos, false, 1, 1).len();
                let acks = match qos {
                    Qos::AtMostOnce => 0,
                    Qos::AtLeastOnce => 4,
                    // PUBREC and PUBCOMP to the publisher, PUBREL to each subscriber.
                    Qos::ExactlyOnce => 8 + 3 * 4,
                };
                assert_eq!(fleet.round(), 50 * (3 * publish + acks), "{dialect} {qos:?}");
            }
        }
    }
}
