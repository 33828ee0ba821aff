//! A shard that is driven by hand, and what its clients send.

use crate::support::{self, TestRights};
use bytes::BytesMut;
use candor_broker::queue::QueueLimits;
use candor_broker::shard::{Admission, Answer, Authenticate, ConnectionKey, ListenerSettings, Now, Peer, Settings, Shard, Shared};
use candor_protocol::codec::frame::Frame;
use candor_protocol::dialect::Dialect;
use candor_protocol::dialect::read::raise;
use candor_protocol::dialect::write::to_bytes;
use candor_protocol::packet::legality::Role;
use candor_protocol::packet::{
    Connect, Message, Overflow, Packet, PacketId, Publish, Qos, Reason, Subscribe, SubscribeItem, TopicFilter, property,
};
use candor_protocol::sim::Way;
use std::sync::Arc;

/// Queues of ten messages, of which the oldest goes.
pub(crate) const OF_TEN: QueueLimits = QueueLimits { len_max: 10, bytes_max: 10_000, overflow: Overflow::DropOldest };

#[derive(Debug)]
struct Nobody;

impl Authenticate for Nobody {
    fn authenticate(&self, _: &Connect, _: &Arc<str>, _: &Peer) -> Answer {
        Answer::Now(Ok(admission()))
    }
}

fn admission() -> Admission {
    Admission { principal: "somebody".into(), rights: Arc::new(TestRights) }
}

/// A shard without a driver, and clients that speak the extended dialect.
pub(crate) struct Hand {
    pub(crate) shard: Shard,
    pub(crate) now: Now,
}

impl Hand {
    pub(crate) fn new() -> Self {
        Self::with(Settings::default())
    }

    pub(crate) fn with(settings: Settings) -> Self {
        let shard = Shard::new(0, Arc::new(settings), Arc::new(Shared::new(1)), 7);
        Self { shard, now: Now { ms: 1_000_000, unix_ms: 1 } }
    }

    pub(crate) fn begin_turn(&mut self) {
        self.now.ms += 1;
        self.shard.begin_turn(self.now);
    }

    pub(crate) fn end_turn(&mut self) {
        self.shard.end_turn();
        let mut touched = Vec::new();
        self.shard.take_touched(&mut touched);
        touched.into_iter().for_each(|key| self.shard.flushed(key));
    }

    pub(crate) fn send(&mut self, key: ConnectionKey, packets: &[Packet]) {
        let mut bytes = BytesMut::new();
        packets.iter().for_each(|packet| bytes.extend_from_slice(&to_bytes(Dialect::Extended, Role::Client, packet).unwrap()));
        self.shard.receive(key, &mut bytes);
    }

    pub(crate) fn connect(&mut self, id: &str) -> ConnectionKey {
        self.connect_with(id, 0)
    }

    pub(crate) fn connect_with(&mut self, id: &str, keep_alive_s: u16) -> ConnectionKey {
        let listener = ListenerSettings {
            name: "test".into(),
            policy: Arc::new(support::policy()),
            acknowledges_refused: false,
            authenticate: Arc::new(Nobody),
        };
        self.begin_turn();
        let address = "127.0.0.1:1".parse().unwrap();
        let key = self.shard.accepted(address, Arc::new(listener));
        let connect = Connect { dialect: Dialect::Extended, keep_alive_s, ..Way::Plain.settings(id).connect };
        self.send(key, &[Packet::Connect(Box::new(connect))]);
        assert_eq!(self.shard.take_authenticate(), [key]);
        let of = self.shard.asks(key).unwrap();
        self.shard.authenticated(key, of, Ok(admission()));
        self.end_turn();
        self.answers(key);
        key
    }

    /// A turn in which refused clients get a slice.
    pub(crate) fn slice(&mut self) {
        self.begin_turn();
        self.shard.begin_slice();
        while self.shard.take_up().is_some() {}
        self.end_turn();
    }

    /// One that subscribes to `filter`, at QoS 0.
    pub(crate) fn subscriber(&mut self, id: &str, filter: &str) -> ConnectionKey {
        let key = self.connect(id);
        self.begin_turn();
        self.subscribe(key, filter);
        self.end_turn();
        self.received(key);
        key
    }

    pub(crate) fn subscribe(&mut self, key: ConnectionKey, filter: &str) {
        let items = vec![SubscribeItem { filter: Ok(TopicFilter::new(filter).unwrap()), qos: Qos::AtMostOnce }];
        self.send(key, &[Packet::Subscribe(Box::new(Subscribe { id: PacketId::new(1).unwrap(), items, dictionary: Default::default() }))]);
    }

    /// The kernel takes all that was written to a connection: topics of messages, and how many were missed by what it was told.
    pub(crate) fn received(&mut self, key: ConnectionKey) -> (Vec<String>, u64) {
        let mut bytes = BytesMut::new();
        self.shard.out(key).unwrap().take_into(&mut bytes);
        self.shard.flushed(key);
        let (mut topics, mut missed) = (Vec::new(), 0);
        while let Some(frame) = Frame::split_mut(&mut bytes, u32::MAX).unwrap() {
            match raise(Dialect::Extended, &frame, Default::default()).unwrap() {
                Packet::Publish(publish) => topics.push(publish.message.topic_str().to_owned()),
                Packet::Notice(notice) if notice.reason == Reason::GAP => missed += notice.dictionary.value(property::COUNT).unwrap(),
                _ => {}
            }
        }
        (topics, missed)
    }

    /// The identifiers of the messages that were acknowledged since this was last asked: taken and refused.
    pub(crate) fn answered(&mut self, key: ConnectionKey) -> (Vec<u16>, Vec<u16>) {
        let mut bytes = BytesMut::new();
        self.shard.out(key).unwrap().take_into(&mut bytes);
        let (mut taken, mut refused) = (vec![], vec![]);
        while let Some(frame) = Frame::split_mut(&mut bytes, u32::MAX).unwrap() {
            match raise(Dialect::Extended, &frame, Default::default()).unwrap() {
                Packet::PubAck(ack) if ack.reason.is_error() => refused.push(ack.id.value()),
                Packet::PubAck(ack) => taken.push(ack.id.value()),
                _ => {}
            }
        }
        (taken, refused)
    }

    /// How many those were.
    pub(crate) fn answers(&mut self, key: ConnectionKey) -> (usize, usize) {
        let (taken, refused) = self.answered(key);
        (taken.len(), refused.len())
    }

    pub(crate) fn wants_bytes(&self, key: ConnectionKey) -> bool {
        self.shard.connection(key).unwrap().wants_bytes()
    }
}

pub(crate) fn messages(topic: &str, count: u16) -> Vec<Packet> {
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

pub(crate) fn message(topic: &str, retain: bool) -> Packet {
    let message = Message::publish(topic, "x").unwrap();
    Packet::Publish(Publish { id: None, message, qos: Qos::AtMostOnce, retain, dup: false, dictionary: Default::default() })
}

pub(crate) fn topics(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| format!("many/{n:04}")).collect()
}
