//! Refusals take a bounded part of a turn, whoever sends what is refused. Driven by hand, turn by turn.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use bytes::BytesMut;
use candor_broker::shard::{Admission, Answer, Authenticate, ConnectionKey, ListenerSettings, Now, Peer, Shard, Shared};
use candor_protocol::codec::frame::Frame;
use candor_protocol::dialect::Dialect;
use candor_protocol::dialect::read::raise;
use candor_protocol::dialect::write::to_bytes;
use candor_protocol::packet::legality::Role;
use candor_protocol::packet::{Connect, Message, Packet, PacketId, Publish, Qos, Reason};
use candor_protocol::sim::Way;
use std::sync::Arc;
use support::TestRights;

#[derive(Debug)]
struct Nobody;

impl Authenticate for Nobody {
    fn authenticate(&self, _: &Connect, _: &str, _: &Peer) -> Answer {
        Answer::Now(Ok(admission()))
    }
}

fn admission() -> Admission {
    Admission { principal: "somebody".into(), rights: Arc::new(TestRights) }
}

/// A shard without a driver, and clients that speak the extended dialect.
struct Hand {
    shard: Shard,
    now: Now,
}

impl Hand {
    fn new() -> Self {
        Self { shard: Shard::new(0, Arc::default(), Arc::new(Shared::new(1)), 7), now: Now { ms: 1_000_000, unix_ms: 1 } }
    }

    fn begin_turn(&mut self) {
        self.now.ms += 1;
        self.shard.begin_turn(self.now);
    }

    fn end_turn(&mut self) {
        self.shard.end_turn();
        let mut touched = Vec::new();
        self.shard.take_touched(&mut touched);
        touched.into_iter().for_each(|key| self.shard.flushed(key));
    }

    fn send(&mut self, key: ConnectionKey, packets: &[Packet]) {
        let mut bytes = BytesMut::new();
        packets.iter().for_each(|packet| bytes.extend_from_slice(&to_bytes(Dialect::Extended, Role::Client, packet).unwrap()));
        self.shard.receive(key, &mut bytes);
    }

    fn connect(&mut self, id: &str) -> ConnectionKey {
        let listener = ListenerSettings {
            name: "test".into(),
            policy: Arc::new(support::policy()),
            acknowledges_refused: false,
            authenticate: Arc::new(Nobody),
        };
        self.begin_turn();
        let peer = Peer { address: "127.0.0.1:1".parse().unwrap(), tls_client_name: None };
        let key = self.shard.accepted(peer, Arc::new(listener));
        let connect = Connect { dialect: Dialect::Extended, ..Way::Plain.settings(id).connect };
        self.send(key, &[Packet::Connect(Box::new(connect))]);
        assert_eq!(self.shard.take_authenticate(), [key]);
        let of = self.shard.asks(key).unwrap();
        self.shard.authenticated(key, of, Ok(admission()));
        self.end_turn();
        self.answers(key);
        key
    }

    /// How many messages were acknowledged since this was last asked: taken and refused.
    fn answers(&mut self, key: ConnectionKey) -> (usize, usize) {
        let mut bytes = BytesMut::new();
        self.shard.out(key).unwrap().take_into(&mut bytes);
        let (mut taken, mut refused) = (0, 0);
        while let Some(frame) = Frame::split_mut(&mut bytes, u32::MAX).unwrap() {
            match raise(Dialect::Extended, &frame, Default::default()).unwrap() {
                Packet::PubAck(ack) if ack.reason.is_error() => refused += 1,
                Packet::PubAck(_) => taken += 1,
                _ => {}
            }
        }
        (taken, refused)
    }
}

fn messages(topic: &str, count: u16) -> Vec<Packet> {
    let publish = |id| Publish {
        id: PacketId::new(id),
        message: Message::publish(topic, "x").unwrap(),
        qos: Qos::AtLeastOnce,
        retain: false,
        dup: false,
        dictionary: Default::default(),
    };
    (1..=count).map(|id| Packet::Publish(publish(id))).collect()
}

#[test]
fn a_client_that_is_refused_much_waits_for_the_next_turn_and_others_do_not() {
    let mut hand = Hand::new();
    let (hostile, good) = (hand.connect("hostile"), hand.connect("good"));
    hand.begin_turn();
    hand.send(hostile, &messages("deny/a", 100));
    hand.send(good, &messages("allowed", 100));
    assert!(!hand.shard.connection(hostile).unwrap().wants_bytes(), "it is not read on");
    hand.end_turn();
    assert_eq!(hand.answers(good), (100, 0));
    let mut refused = vec![hand.answers(hostile).1];
    while hand.shard.has_more() {
        hand.begin_turn();
        hand.end_turn();
        refused.push(hand.answers(hostile).1);
    }
    assert_eq!(refused, [32, 32, 32, 4]);
    assert!(hand.shard.connection(hostile).unwrap().wants_bytes());
    hand.begin_turn();
    hand.send(hostile, &messages("allowed", 40));
    hand.end_turn();
    assert_eq!(hand.answers(hostile), (40, 0), "what it may is not held back");
}

#[test]
fn many_clients_that_are_refused_share_a_turn_and_each_gets_its_answers() {
    let mut hand = Hand::new();
    let crowd: Vec<ConnectionKey> = (0..50).map(|at| hand.connect(&format!("hostile-{at}"))).collect();
    hand.begin_turn();
    crowd.iter().for_each(|key| hand.send(*key, &messages("deny/a", 40)));
    hand.end_turn();
    let mut told = vec![0; crowd.len()];
    let mut turns = 0;
    loop {
        let refused: Vec<usize> = crowd.iter().map(|key| hand.answers(*key).1).collect();
        told.iter_mut().zip(&refused).for_each(|(told, refused)| *told += refused);
        let sum: usize = refused.iter().sum();
        assert!(sum <= 128 + crowd.len(), "{sum} in one turn");
        if !hand.shard.has_more() {
            break;
        }
        assert!(refused.iter().zip(&told).all(|(refused, told)| *refused > 0 || *told == 40), "somebody got no turn: {refused:?}");
        hand.begin_turn();
        hand.end_turn();
        turns += 1;
    }
    assert_eq!((told, turns > 10), (vec![40; crowd.len()], true), "{}", Reason::NOT_AUTHORIZED);
}
