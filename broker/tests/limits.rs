//! Limits that are kept from every side, and reading that goes on when a limit no longer holds it back.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use candor_broker::shard::{Settings, Storage};
use candor_protocol::codec::dictionary::Dictionary;
use candor_protocol::packet::{Message, Qos, Reason, property};
use candor_protocol::session::{Parked, ServerPolicy};
use candor_protocol::sim::Way;
use std::io::{Read, Write};
use std::net::TcpStream;
use support::store::TestStore;
use support::{Client, DEADLINE, TestBroker, durable, in_every_storage, policy, policy_on, stored};

#[test]
fn a_message_waits_no_longer_than_message_expiry_max_s_whatever_it_says_itself() {
    in_every_storage(|storage| {
        let settings = Settings { message_expiry_max_s: 60, storage: storage.clone(), ..Settings::default() };
        let broker = TestBroker::with(settings, policy_on(storage), false);
        let mut sleeper = broker.connect_stored(Way::Extended, "sleeper", Parked::default());
        sleeper.subscribe("wait", Qos::AtLeastOnce);
        let parked = sleeper.lose_connection();
        let mut publisher = broker.connect(Way::Extended, "publisher");
        let expiries = [None, Some(3600), Some(30)];
        for (n, expiry_s) in expiries.iter().enumerate() {
            let hop = expiry_s.map_or(Dictionary::EMPTY, |expiry_s| Dictionary::with(property::MESSAGE_EXPIRY_INTERVAL, &expiry_s));
            let message = Message::publish("wait", n.to_string()).unwrap();
            let outcome = publisher.publish_with(message, Qos::AtLeastOnce, false, hop).unwrap();
            assert_eq!(outcome.reason, Reason::SUCCESS);
        }
        let mut sleeper = broker.connect_stored(Way::Extended, "sleeper", parked);
        sleeper.until(|client| client.messages.len() == expiries.len());
        // What is left of it is told: some seconds may have passed, but not half of it.
        let left = |n: usize| sleeper.messages[n].dictionary.value(property::MESSAGE_EXPIRY_INTERVAL);
        for (n, at_most) in [(0, 60), (1, 60), (2, 30)] {
            assert!(left(n).is_some_and(|left| (at_most / 2..=at_most).contains(&left)), "message {n}: {:?} s left", left(n));
        }
        broker.stop();
    });
}

#[test]
fn retained_bytes_max_holds_when_a_small_message_is_replaced_by_a_large_one() {
    in_every_storage(|storage| {
        let settings = Settings { retained_bytes_max: 1000, storage: storage.clone(), ..Settings::default() };
        let broker = TestBroker::with(settings, policy_on(storage), false);
        let mut publisher = broker.connect(Way::Extended, "publisher");
        publisher.retain("kept/a", "small");
        let mut retain = |payload: &str| {
            let message = Message::publish("kept/a", payload).unwrap();
            publisher.publish_with(message, Qos::AtLeastOnce, true, Dictionary::EMPTY).unwrap().refusal()
        };
        let refusal = retain(&"x".repeat(1000)).expect("it is refused");
        assert_eq!((refusal.reason, refusal.problem.rule.as_deref()), (Reason::QUOTA_EXCEEDED, Some("retained_bytes_max")));
        assert_eq!(refusal.problem.limit, Some(1000));
        assert_eq!(retain(&"y".repeat(100)), None, "what fits is taken");
        let mut subscriber = broker.connect(Way::Plain, "subscriber");
        subscriber.subscribe("kept/+", Qos::AtLeastOnce);
        assert_eq!(subscriber.expect(1), [format!("kept/a {}", "y".repeat(100))]);
        broker.stop();
    });
}

#[test]
fn the_longest_wait_does_not_begin_anew_with_the_broker() {
    let store = TestStore::default();
    let start = || {
        let settings = Settings { message_expiry_max_s: 60, storage: store.storage(), ..Settings::default() };
        TestBroker::with(settings, durable(), false)
    };
    let broker = start();
    let mut sleeper = broker.connect_stored(Way::Extended, "sleeper", Parked::default());
    sleeper.subscribe("wait/#", Qos::AtLeastOnce);
    let parked = sleeper.lose_connection();
    let mut publisher = broker.connect(Way::Plain, "publisher");
    publisher.publish("wait/a", "x", Qos::AtLeastOnce);
    publisher.retain("kept/a", "for ever");
    broker.stop();
    let broker = start();
    let mut sleeper = Client::resume(&broker.address, stored(Way::Extended, "sleeper"), parked);
    sleeper.until(|client| client.messages.len() == 1);
    let left = sleeper.messages[0].dictionary.value(property::MESSAGE_EXPIRY_INTERVAL);
    assert!(left.is_some_and(|left| (30..=60).contains(&left)), "{left:?} s left");
    sleeper.messages.clear();
    sleeper.subscribe("kept/#", Qos::AtMostOnce);
    sleeper.until(|client| client.messages.len() == 1);
    assert_eq!(sleeper.messages[0].dictionary.value(property::MESSAGE_EXPIRY_INTERVAL), None, "a topic keeps its message");
    broker.stop();
}

/// Connections whose messages all wait to be kept, more than a shard holds in one turn: those that it did not read then are read
/// afterwards, although nothing new comes from them.
#[test]
fn who_was_not_read_while_a_shard_held_back_is_read_afterwards() {
    const CONNECTIONS: u8 = 8;
    const MESSAGES: u16 = 4000;
    // A disk adds nothing here but time.
    for storage in [Storage::Memory, Storage::Late { turns: 3 }] {
        let policy = ServerPolicy { receive_window: u16::MAX, ..policy() };
        let broker = TestBroker::with(Settings { storage, ..Settings::default() }, policy, false);
        let mut sleeper = broker.connect_stored(Way::Plain, "sleeper", Parked::default());
        sleeper.subscribe("k", Qos::AtLeastOnce);
        sleeper.lose_connection();
        let mut streams: Vec<TcpStream> = (0..CONNECTIONS).map(|at| connected(&broker, at)).collect();
        let messages: Vec<u8> = (1..=MESSAGES).flat_map(|id| [&[0x32, 5, 0, 1, b'k'][..], &id.to_be_bytes()].concat()).collect();
        // All of it stands in the sockets before much of it is read.
        let mut writers = Vec::new();
        for stream in &streams {
            let (mut stream, messages) = (stream.try_clone().unwrap(), messages.clone());
            writers.push(std::thread::spawn(move || stream.write_all(&messages).unwrap()));
        }
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        for (at, stream) in streams.iter_mut().enumerate() {
            let mut answers = vec![0; 4 * usize::from(MESSAGES)];
            stream.read_exact(&mut answers).unwrap_or_else(|error| panic!("connection {at} waits for acknowledgements: {error}"));
            assert_eq!(answers[answers.len() - 4..], [&[0x40, 2][..], &MESSAGES.to_be_bytes()].concat());
        }
        broker.stop();
    }
}

fn connected(broker: &TestBroker, at: u8) -> TcpStream {
    let mut stream = TcpStream::connect(&broker.address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(&[0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0, 0, 1, b'a' + at]).unwrap();
    let mut connack = [0; 4];
    stream.read_exact(&mut connack).unwrap();
    assert_eq!(connack, [0x20, 2, 0, 0]);
    stream
}
