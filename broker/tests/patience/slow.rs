//! Who takes nothing has it wait in its queue.

use crate::hand::{Hand, OF_TEN, message, topics};
use candor_broker::shard::{Settings, TransportBytes};

#[test]
fn what_a_client_does_not_take_waits_in_its_queue_and_it_is_told_of_what_is_beyond() {
    let mut hand = Hand::with(Settings { queue: OF_TEN, ..Settings::default() });
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
    let mut hand = Hand::with(Settings { queue: OF_TEN, ..Settings::default() });
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
