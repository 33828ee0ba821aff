//! So do many retained messages for one client.

use crate::hand::{Hand, message, messages, topics};
use candor_broker::shard::ConnectionKey;
use candor_protocol::packet::{Message, Packet, Publish, Qos};

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
