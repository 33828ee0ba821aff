//! Refused clients come behind all others, whoever they are and how many.

use crate::hand::{Hand, messages};
use crate::support::{self, TestBroker};
use candor_broker::shard::ConnectionKey;
use candor_protocol::dialect::write::to_bytes;
use candor_protocol::packet::legality::Role;
use candor_protocol::packet::{Message, Packet, Publish, Qos, Reason, property};
use candor_protocol::sim::Way;

/// How many refusals a slice holds, and a turn besides.
const SLICE: usize = 8;

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
