//! So do those who publish for nothing: what they send only pushes others out of full queues.

use crate::hand::{Hand, OF_TEN, messages};
use crate::support::{self, TestBroker};
use bytes::Bytes;
use candor_broker::shard::{ConnectionKey, Settings, TransportBytes};
use candor_protocol::codec::dictionary::Dictionary;
use candor_protocol::packet::{Packet, Publish, Qos, property};
use candor_protocol::sim::Way;

/// A shard on which the queues of clients that take nothing hold ten messages, and are full; whose publisher is given.
fn hand_of_full_queues() -> (Hand, ConnectionKey) {
    let mut hand = Hand::with(Settings { queue: OF_TEN, ..Settings::default() });
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

/// Over sockets: all of it is acknowledged, the newest of it waits in its order, and meanwhile others are served.
#[test]
fn a_flood_into_a_full_queue_is_taken_to_its_end_while_others_are_served() {
    const ROUNDS: usize = 20;
    const BATCH: usize = 100;
    for (shards, way) in [1, 3].into_iter().flat_map(|shards| Way::ALL.map(|way| (shards, way))) {
        let broker = TestBroker::with(Settings { shards, queue: OF_TEN, ..Settings::default() }, support::policy(), false);
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
