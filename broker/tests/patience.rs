//! Refused clients come behind all others, whoever they are and how many: driven by hand, turn by turn and slice by slice, and over sockets.
//! So do those who publish for nothing, and many retained messages for one client; and who takes nothing has it wait in its queue.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use bytes::{Bytes, BytesMut};
use candor_broker::queue::QueueLimits;
use candor_broker::shard::{
    Admission, Answer, Authenticate, ConnectionKey, ListenerSettings, Now, Peer, Settings, Shard, Shared, TransportBytes,
};
use candor_protocol::codec::dictionary::Dictionary;
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
use support::{TestBroker, TestRights};

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
struct Hand {
    shard: Shard,
    now: Now,
}

impl Hand {
    fn new() -> Self {
        Self::with(Settings::default())
    }

    fn with(settings: Settings) -> Self {
        let shard = Shard::new(0, Arc::new(settings), Arc::new(Shared::new(1)), 7);
        Self { shard, now: Now { ms: 1_000_000, unix_ms: 1 } }
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
        self.connect_with(id, 0)
    }

    fn connect_with(&mut self, id: &str, keep_alive_s: u16) -> ConnectionKey {
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
    fn slice(&mut self) {
        self.begin_turn();
        self.shard.begin_slice();
        while self.shard.take_up().is_some() {}
        self.end_turn();
    }

    /// One that subscribes to `filter`, at QoS 0.
    fn subscriber(&mut self, id: &str, filter: &str) -> ConnectionKey {
        let key = self.connect(id);
        self.begin_turn();
        self.subscribe(key, filter);
        self.end_turn();
        self.received(key);
        key
    }

    fn subscribe(&mut self, key: ConnectionKey, filter: &str) {
        let items = vec![SubscribeItem { filter: Ok(TopicFilter::new(filter).unwrap()), qos: Qos::AtMostOnce }];
        self.send(key, &[Packet::Subscribe(Box::new(Subscribe { id: PacketId::new(1).unwrap(), items, dictionary: Default::default() }))]);
    }

    /// The kernel takes all that was written to a connection: topics of messages, and how many were missed by what it was told.
    fn received(&mut self, key: ConnectionKey) -> (Vec<String>, u64) {
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
    fn answered(&mut self, key: ConnectionKey) -> (Vec<u16>, Vec<u16>) {
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
    fn answers(&mut self, key: ConnectionKey) -> (usize, usize) {
        let (taken, refused) = self.answered(key);
        (taken.len(), refused.len())
    }

    fn wants_bytes(&self, key: ConnectionKey) -> bool {
        self.shard.connection(key).unwrap().wants_bytes()
    }
}

/// How many refusals a slice holds, and a turn besides.
const SLICE: usize = 8;

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
fn a_client_that_is_refused_much_waits_for_its_slices_and_others_do_not() {
    let mut hand = Hand::new();
    let (hostile, good) = (hand.connect("hostile"), hand.connect("good"));
    hand.begin_turn();
    hand.send(hostile, &messages("deny/a", 100));
    hand.send(good, &messages("allowed", 100));
    assert!(!hand.wants_bytes(hostile), "it is not read on");
    hand.end_turn();
    assert_eq!(hand.answers(good), (100, 0));
    let mut refused = hand.answered(hostile).1;
    assert_eq!(refused.len(), SLICE);
    // Whatever comes for the others between two slices goes first: it is answered in its own turn, in which nobody is refused anything.
    while hand.shard.has_waiting() {
        hand.begin_turn();
        hand.send(good, &messages("allowed", 1));
        hand.end_turn();
        assert_eq!((hand.answers(good), hand.answers(hostile)), ((1, 0), (0, 0)));
        hand.slice();
        let more = hand.answered(hostile).1;
        assert!(!more.is_empty() && more.len() <= SLICE, "{} in a slice", more.len());
        refused.extend(more);
    }
    assert_eq!(refused, Vec::from_iter(1..=100), "each is told, in its order");
    assert!(hand.wants_bytes(hostile));
    hand.begin_turn();
    hand.send(hostile, &messages("allowed", 40));
    hand.end_turn();
    assert_eq!(hand.answers(hostile), (40, 0), "what it may is not held back");
}

/// A shard on which the queues of clients that take nothing hold ten messages, and are full; whose publisher is given.
fn hand_of_full_queues() -> (Hand, ConnectionKey) {
    let queue = QueueLimits { len_max: 10, bytes_max: 10_000, overflow: Overflow::DropOldest };
    let mut hand = Hand::with(Settings { queue, ..Settings::default() });
    let publisher = hand.connect("publisher");
    for id in ["slow-1", "slow-2"] {
        let slow = hand.subscriber(id, "full/#");
        hand.shard.count_transport(slow, TransportBytes { unread: 0, unwritten: 1 });
        // Only now it is seen that nothing is taken.
        hand.received(slow);
    }
    hand.begin_turn();
    hand.send(publisher, &messages("full/a", 20));
    hand.end_turn();
    assert!(!hand.shard.comes_behind(publisher), "half of what it sent found room");
    hand.answers(publisher);
    (hand, publisher)
}

#[test]
fn who_only_pushes_others_out_of_full_queues_comes_behind_until_somebody_gets_something() {
    let (mut hand, flood) = hand_of_full_queues();
    let send_all = |hand: &mut Hand, packets: &[Packet]| {
        let count = packets.len();
        hand.begin_turn();
        hand.send(flood, packets);
        hand.end_turn();
        assert_eq!(hand.answers(flood), (count, 0), "it is told nothing else for it");
        hand.shard.comes_behind(flood)
    };
    let send = |hand: &mut Hand, topic: &str, count: u16| send_all(hand, &messages(topic, count));
    assert!(!send(&mut hand, "full/a", 15), "few are no burden");
    assert!(!send(&mut hand, "nobody", 100), "nothing is pushed out of anywhere");
    assert_eq!(hand.shard.read_max(flood), usize::MAX);
    assert!(send(&mut hand, "full/a", 16));
    assert!(hand.shard.read_max(flood) < 10_000);
    hand.now.ms += 1000;
    assert!(!send(&mut hand, "full/a", 1), "it was good for a second");
    // These do not go the shortest way.
    let tagged = |packet| match packet {
        Packet::Publish(publish) => {
            Packet::Publish(Publish { dictionary: Dictionary::with(property::TAG, &Bytes::from_static(b"tag")), ..publish })
        }
        other => other,
    };
    assert!(send_all(&mut hand, &messages("full/a", 16).into_iter().map(tagged).collect::<Vec<_>>()));
    hand.now.ms += 1000;
    let quick = hand.subscriber("quick", "+/b");
    assert!(!send(&mut hand, "full/b", 100), "somebody gets what it sends");
    assert_eq!(hand.received(quick).0.len(), 100);
}

#[test]
fn a_slice_has_one_read_of_those_who_publish_for_nothing() {
    let (mut hand, first) = hand_of_full_queues();
    let second = hand.connect("second");
    hand.begin_turn();
    for key in [first, second] {
        hand.send(key, &messages("full/a", 100));
        hand.shard.make_wait(key);
        assert!(!hand.wants_bytes(key));
    }
    hand.end_turn();
    for expected in [first, second, first, second] {
        hand.begin_turn();
        hand.shard.begin_slice();
        assert_eq!(hand.shard.take_up(), Some(expected));
        hand.send(expected, &messages("full/a", 100));
        hand.shard.make_wait(expected);
        assert_eq!(hand.shard.take_up(), None, "the other one has a slice of its own");
        hand.end_turn();
    }
}

fn message(topic: &str, retain: bool) -> Packet {
    let message = Message::publish(topic, "x").unwrap();
    Packet::Publish(Publish { id: None, message, qos: Qos::AtMostOnce, retain, dup: false, dictionary: Default::default() })
}

fn topics(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| format!("many/{n:04}")).collect()
}

/// How many retained messages a slice holds, and the turn of the subscription besides; and where nobody else has sent anything lately.
const RETAINED_SLICE: usize = 64;
const RETAINED_SLICE_ALONE: usize = 256;

#[test]
fn who_gets_many_retained_messages_waits_for_its_slices_and_others_do_not() {
    const COUNT: usize = 1000;
    let mut hand = Hand::new();
    let (good, collector) = (hand.connect("good"), hand.connect("collector"));
    hand.received(collector);
    hand.begin_turn();
    hand.send(good, &topics(0..COUNT).iter().map(|topic| message(topic, true)).collect::<Vec<_>>());
    hand.subscribe(collector, "many/#");
    hand.end_turn();
    let (mut got, _) = hand.received(collector);
    assert_eq!(got.len(), RETAINED_SLICE, "the first come in the turn of the subscription");
    while hand.shard.has_waiting() {
        hand.begin_turn();
        hand.send(good, &messages("allowed", 1));
        hand.end_turn();
        assert_eq!((hand.answers(good), hand.received(collector).0), ((1, 0), vec![]), "whatever comes for the others goes first");
        hand.slice();
        let (more, _) = hand.received(collector);
        assert!(more.len() <= RETAINED_SLICE, "{}", more.len());
        got.extend(more);
    }
    assert_eq!(got, topics(0..COUNT));
}

#[test]
fn large_retained_messages_make_a_slice_of_few() {
    let mut hand = Hand::new();
    let (good, collector) = (hand.connect("good"), hand.connect("collector"));
    hand.begin_turn();
    for topic in topics(0..10) {
        let message = Message::publish(&topic, "x".repeat(20_000)).unwrap();
        let publish = Publish { id: None, message, qos: Qos::AtMostOnce, retain: true, dup: false, dictionary: Default::default() };
        hand.send(good, &[Packet::Publish(publish)]);
    }
    hand.subscribe(collector, "many/#");
    hand.end_turn();
    let mut got = vec![hand.received(collector).0];
    while hand.shard.has_waiting() {
        hand.slice();
        got.push(hand.received(collector).0);
    }
    assert!(got.iter().all(|slice| slice.len() <= 2), "{got:?}");
    assert_eq!(got.concat(), topics(0..10));
}

#[test]
fn subscriptions_that_bring_retained_messages_share_slices() {
    let mut hand = Hand::new();
    let good = hand.connect("good");
    let collectors: Vec<ConnectionKey> = (0..10).map(|at| hand.connect(&format!("collector-{at}"))).collect();
    hand.begin_turn();
    hand.send(good, &topics(0..500).iter().map(|topic| message(topic, true)).collect::<Vec<_>>());
    collectors.iter().for_each(|key| hand.subscribe(*key, "many/#"));
    hand.end_turn();
    let mut got: Vec<Vec<String>> = collectors.iter().map(|key| hand.received(*key).0).collect();
    while hand.shard.has_waiting() {
        hand.slice();
        got.iter_mut().zip(&collectors).for_each(|(got, key)| got.extend(hand.received(*key).0));
        let (least, most) = (got.iter().map(Vec::len).min().unwrap(), got.iter().map(Vec::len).max().unwrap());
        assert!(most - least <= RETAINED_SLICE_ALONE, "one has {most}, another one {least}");
    }
    assert!(got.iter().all(|got| *got == topics(0..500)));
}

#[test]
fn what_a_client_does_not_take_waits_in_its_queue_and_it_is_told_of_what_is_beyond() {
    let queue = QueueLimits { len_max: 10, bytes_max: 10_000, overflow: Overflow::DropOldest };
    let mut hand = Hand::with(Settings { queue, ..Settings::default() });
    let publisher = hand.connect("publisher");
    let (slow, quick) = (hand.subscriber("slow", "many/#"), hand.subscriber("quick", "many/#"));
    for topic in topics(0..31) {
        hand.begin_turn();
        hand.send(publisher, &[message(&topic, false)]);
        // The turn ends before anything is taken: by the slow one nothing is, and it is not written ahead for.
        hand.end_turn();
        let written = hand.shard.out(slow).unwrap().len();
        assert_eq!(hand.received(quick), (vec![topic], 0));
        assert!(written > 0 && written < 30, "{written} bytes");
    }
    assert_eq!(hand.received(slow), (topics(0..1), 0));
    assert_eq!(hand.received(slow), (topics(21..31), 20), "the newest, and word of the others");
}

/// Below TLS or WebSocket it is the transport that holds what the kernel does not take.
#[test]
fn what_waits_in_a_transport_is_as_little_taken_as_what_waits_before_it() {
    let queue = QueueLimits { len_max: 10, bytes_max: 10_000, overflow: Overflow::DropOldest };
    let mut hand = Hand::with(Settings { queue, ..Settings::default() });
    let publisher = hand.connect("publisher");
    let slow = hand.subscriber("slow", "many/#");
    hand.shard.count_transport(slow, TransportBytes { unread: 0, unwritten: 1 });
    assert_eq!(hand.received(slow), (vec![], 0));
    for topic in topics(0..30) {
        hand.begin_turn();
        hand.send(publisher, &[message(&topic, false)]);
        hand.end_turn();
        assert_eq!(hand.received(slow), (vec![], 0));
    }
    hand.shard.count_transport(slow, TransportBytes::default());
    assert_eq!(hand.received(slow), (vec![], 0));
    assert_eq!(hand.received(slow), (topics(20..30), 20), "the newest, and word of the others");
}

#[test]
fn many_clients_that_are_refused_take_turns_and_each_gets_its_answers_in_its_order() {
    const EACH: u16 = 40;
    let mut hand = Hand::new();
    let crowd: Vec<ConnectionKey> = (0..50).map(|at| hand.connect(&format!("hostile-{at}"))).collect();
    hand.begin_turn();
    crowd.iter().for_each(|key| hand.send(*key, &messages("deny/a", EACH)));
    hand.end_turn();
    let mut told: Vec<Vec<u16>> = crowd.iter().map(|key| hand.answered(*key).1).collect();
    // Until it is known to be refused, each is refused once; all of them together no more than that and what a turn holds.
    assert!(told.iter().map(Vec::len).sum::<usize>() < SLICE + crowd.len());
    let mut slices = 0;
    while hand.shard.has_waiting() {
        hand.slice();
        slices += 1;
        let more: Vec<Vec<u16>> = crowd.iter().map(|key| hand.answered(*key).1).collect();
        assert!(more.iter().map(Vec::len).sum::<usize>() <= SLICE);
        told.iter_mut().zip(more).for_each(|(told, more)| told.extend(more));
        let (least, most) = (told.iter().map(Vec::len).min().unwrap(), told.iter().map(Vec::len).max().unwrap());
        assert!(most - least <= 2 * SLICE, "one was told of {most}, another one of {least}");
    }
    assert!(told.iter().all(|told| *told == Vec::from_iter(1..=EACH)), "{}: {told:?}", Reason::NOT_AUTHORIZED);
    assert!(slices <= crowd.len() * usize::from(EACH) / (SLICE / 2), "{slices} slices, most of them half empty");
}

/// A client that says something may wait for as long as others are served before it, but what it has said is a sign of life.
#[test]
fn the_keep_alive_of_a_client_that_waits_does_not_run_out() {
    let mut hand = Hand::new();
    let hostile = hand.connect_with("hostile", 1);
    hand.begin_turn();
    hand.send(hostile, &messages("deny/a", 100));
    hand.end_turn();
    assert!(!hand.wants_bytes(hostile));
    for _ in 0..10 {
        hand.now.ms += 1000;
        hand.begin_turn();
        hand.end_turn();
    }
    assert!(!hand.shard.connection(hostile).unwrap().is_closing(), "it has more to say, and nobody has looked");
    while hand.shard.has_waiting() {
        hand.slice();
    }
    assert_eq!(hand.answers(hostile), (0, 100));
    for _ in 0..3 {
        hand.now.ms += 1000;
        hand.begin_turn();
        hand.end_turn();
    }
    assert!(hand.shard.connection(hostile).is_none_or(|connection| connection.is_closing()), "now it is silent");
}

#[test]
fn a_row_forgets_who_has_gone() {
    const COUNT: usize = SLICE + SLICE / 2;
    let mut hand = Hand::new();
    for at in 0..100 {
        let key = hand.connect(&format!("hostile-{at}"));
        hand.begin_turn();
        hand.send(key, &messages("deny/a", 100));
        hand.shard.lost(key);
        hand.end_turn();
    }
    let last = hand.connect("last");
    hand.begin_turn();
    hand.send(last, &messages("deny/a", COUNT as u16));
    hand.end_turn();
    hand.slice();
    assert_eq!((hand.answers(last), hand.shard.has_waiting()), ((0, COUNT), false));
}

/// Over sockets: what is refused and what is taken keeps its order, all of it is told of, and meanwhile others are served.
#[test]
fn a_flood_is_read_to_its_end_in_its_order_while_others_are_served() {
    const COUNT: usize = 2000;
    let broker = TestBroker::start(1);
    for way in Way::ALL {
        let mut good = broker.connect(way, "good");
        good.subscribe("allowed/#", Qos::AtMostOnce);
        let mut crowd: Vec<support::Client> = (0..5).map(|at| broker.connect(way, &format!("hostile-{at}"))).collect();
        for (at, client) in crowd.iter_mut().enumerate() {
            let dialect = client.session.terms().dialect;
            let publish = |topic: &str, payload: &str| {
                let message = Message::publish(topic, payload).unwrap();
                let publish =
                    Publish { id: None, message, qos: Qos::AtMostOnce, retain: false, dup: false, dictionary: Default::default() };
                to_bytes(dialect, Role::Client, &Packet::Publish(publish)).unwrap()
            };
            let flood: Vec<u8> =
                (0..COUNT).flat_map(|n| [publish("deny/a", "x"), publish(&format!("allowed/{at}"), &n.to_string())].concat()).collect();
            client.write_raw(&flood);
            assert!(!good.publish("elsewhere", "x", Qos::AtLeastOnce).unwrap().reason.is_error());
        }
        let mut next = vec![0; crowd.len()];
        for text in good.expect(crowd.len() * COUNT) {
            let (topic, number) = text.split_once(' ').unwrap();
            let at: usize = topic.trim_start_matches("allowed/").parse().unwrap();
            assert_eq!(number, next[at].to_string(), "{topic}, {way:?}");
            next[at] += 1;
        }
        for client in crowd.iter_mut().filter(|_| way.is_extended()) {
            let told = |client: &support::Client| {
                let counts = client.notices.iter().map(|notice| notice.dictionary.value(property::COUNT).unwrap_or(1));
                counts.sum::<u64>()
            };
            client.until(|client| told(client) >= COUNT as u64);
            assert_eq!(told(client), COUNT as u64);
        }
        crowd.into_iter().chain([good]).for_each(support::Client::leave);
    }
    broker.stop();
}

/// Over sockets: all of it is acknowledged, the newest of it waits in its order, and meanwhile others are served.
#[test]
fn a_flood_into_a_full_queue_is_taken_to_its_end_while_others_are_served() {
    const ROUNDS: usize = 20;
    const BATCH: usize = 100;
    let queue = QueueLimits { len_max: 10, bytes_max: 10_000, overflow: Overflow::DropOldest };
    for (shards, way) in [1, 3].into_iter().flat_map(|shards| Way::ALL.map(|way| (shards, way))) {
        let broker = TestBroker::with(Settings { shards, queue, ..Settings::default() }, support::policy(), false);
        let settings = support::stored_everywhere(way, "away");
        let mut away = broker.connect_with(settings.clone());
        away.subscribe("full/#", Qos::AtLeastOnce);
        let parked = away.drop_connection();
        let mut good = broker.connect(way, "good");
        good.subscribe("allowed", Qos::AtLeastOnce);
        let mut floods: Vec<support::Client> = (0..3).map(|at| broker.connect(way, &format!("flood-{at}"))).collect();
        for round in 0..ROUNDS {
            for (at, flood) in floods.iter_mut().enumerate() {
                for n in round * BATCH..(round + 1) * BATCH {
                    flood.start_publish(&format!("full/{at}"), &n.to_string(), Qos::AtLeastOnce, false);
                }
            }
            assert!(!good.publish("allowed", &round.to_string(), Qos::AtLeastOnce).unwrap().reason.is_error());
            assert_eq!(good.expect(1), [format!("allowed {round}")]);
            floods.iter_mut().for_each(|flood| flood.until(|flood| flood.settled.len() == (round + 1) * BATCH));
        }
        assert!(floods.iter().flat_map(|flood| &flood.settled).all(|(_, outcome)| !outcome.reason.is_error()));
        let mut away = support::Client::resume(&broker.address, settings, parked);
        let newest = away.expect(10);
        for at in 0..floods.len() {
            let topic = format!("full/{at} ");
            let numbers = Vec::from_iter(newest.iter().filter_map(|text| text.strip_prefix(&topic)).map(|n| n.parse::<usize>().unwrap()));
            let expected = Vec::from_iter(ROUNDS * BATCH - numbers.len()..ROUNDS * BATCH);
            assert_eq!(numbers, expected, "{newest:?}, {way:?}, {shards} shards");
        }
        floods.into_iter().chain([good, away]).for_each(support::Client::leave);
        broker.stop();
    }
}
