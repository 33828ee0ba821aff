//! A shard with clients, and no socket: bytes go in, bytes come out.

use crate::samples;
use bytes::BytesMut;
use candor_broker::access::Door;
use candor_broker::shard::{ConnectionKey, ListenerSettings, Now, Peer, Settings, Shard, Shared};
use candor_protocol::codec::dictionary::Dictionary;
use candor_protocol::dialect::Dialect;
use candor_protocol::dialect::write::to_bytes;
use candor_protocol::packet::legality::Role;
use candor_protocol::packet::{Ack, Connect, Packet, PacketId, Qos, Subscribe, SubscribeItem, TopicFilter};
use candor_protocol::session::ServerPolicy;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

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
        let settings = Settings::default();
        let mut fleet = Self {
            shard: Shard::new(0, Arc::new(settings), Arc::new(Shared::default()), 1),
            publisher: 0,
            subscribers: Vec::new(),
            touched: Vec::new(),
            now: Now { ms: 1_000_000, unix_ms: 1_700_000_000_000 },
            publishes: BytesMut::new(),
            answers: Vec::new(),
            releases: BytesMut::new(),
        };
        fleet.publisher = fleet.connect(&listener, plan.publisher, "publisher");
        for n in 0..plan.subscribers {
            let key = fleet.connect(&listener, plan.subscriber, &format!("subscriber-{n}"));
            fleet.subscribe(key, plan);
            fleet.subscribers.push(key);
        }
        fleet.prepare(plan, 1);
        fleet.round();
        fleet.prepare(plan, 1 + plan.messages);
        fleet
    }

    fn connect(&mut self, listener: &Arc<ListenerSettings>, dialect: Dialect, id: &str) -> ConnectionKey {
        self.shard.begin_turn(self.now);
        let peer = Peer { address: SocketAddr::from((Ipv4Addr::LOCALHOST, 1)), tls_client_name: None };
        let key = self.shard.accepted(peer, Arc::clone(listener));
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

    fn subscribe(&mut self, key: ConnectionKey, plan: Plan) {
        let Ok(filter) = TopicFilter::new(samples::TOPIC) else { return };
        let items = vec![SubscribeItem { filter: Ok(filter), qos: plan.qos }];
        let subscribe = Subscribe { id: PacketId::MIN, items, dictionary: Dictionary::EMPTY };
        let mut bytes = packet(plan.subscriber, &Packet::Subscribe(Box::new(subscribe)));
        self.shard.begin_turn(self.now);
        self.shard.receive(key, &mut bytes);
        self.turn();
    }

    /// Encodes everything that goes in during a round.
    fn prepare(&mut self, plan: Plan, first_id: u16) {
        self.publishes = samples::publishes(plan.publisher, plan.qos, plan.with_map, first_id, plan.messages);
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

    /// What is counted must be the whole work: every message comes out to everybody, and every exchange ends.
    #[test]
    fn a_round_hands_every_message_to_every_subscriber() {
        for qos in Qos::ALL {
            for dialect in [Dialect::V311, Dialect::Extended] {
                let plan = Plan { publisher: dialect, subscriber: dialect, qos, with_map: false, subscribers: 3, messages: 50 };
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
