//! `memory_limit`: what is refused at the limit, what goes on, and how it ends.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use candor_broker::shard::{Settings, Shared, Storage, restore};
use candor_protocol::packet::{Qos, Reason, Refusal};
use candor_protocol::session::{Cause, Parked, ServerPolicy};
use candor_protocol::sim::Way;
use std::io::{Read, Write};
use support::gate::Gate;
use support::store::TestStore;
use support::{Client, DEADLINE, TestBroker, durable, policy, stored_everywhere};

const LIMIT: usize = 100_000;

fn everywhere(test: impl Fn(&TestBroker, Way)) {
    for shards in [1, 3] {
        for way in [Way::Extended, Way::Offer] {
            let broker = TestBroker::with(Settings { shards, memory_limit: LIMIT, ..Settings::default() }, policy(), false);
            test(&broker, way);
            broker.stop();
        }
    }
}

/// Publishes until that is refused.
fn fill(publisher: &mut Client, topic: &str) -> Refusal {
    let payload = "x".repeat(1000);
    (0..10_000).find_map(|_| publisher.publish(topic, &payload, Qos::AtLeastOnce).unwrap().refusal()).expect("it is never full")
}

fn absent(broker: &TestBroker, way: Way) -> Parked {
    let mut subscriber = Client::resume(&broker.address, stored_everywhere(way, "absent"), Parked::default());
    subscriber.subscribe("kept/#", Qos::AtLeastOnce);
    subscriber.lose_connection()
}

#[test]
fn what_may_have_to_wait_is_refused_with_the_limit_and_what_can_go_at_once_goes() {
    everywhere(|broker, way| {
        let _absent = absent(broker, way);
        let mut subscriber = broker.connect(Way::Plain, "present");
        subscriber.subscribe("live", Qos::AtMostOnce);
        let mut publisher = broker.connect(way, "publisher");
        let refusal = fill(&mut publisher, "kept/a");
        assert_eq!((refusal.reason, refusal.problem.rule.as_deref()), (Reason::SERVER_BUSY, Some("memory_limit")));
        assert_eq!(refusal.problem.limit, Some(LIMIT as u64));
        publisher.publish("live", "at once", Qos::AtMostOnce);
        assert_eq!(subscriber.expect(1), ["live at once"]);
    });
}

#[test]
fn a_new_client_is_told_that_the_server_is_busy_and_one_that_comes_back_makes_room() {
    everywhere(|broker, way| {
        let parked = absent(broker, way);
        let mut publisher = broker.connect(way, "publisher");
        fill(&mut publisher, "kept/a");
        until_it_takes_a_client(broker, false);

        let mut back = Client::resume(&broker.address, stored_everywhere(way, "absent"), parked);
        back.expect(50);
        back.settle_down();
        assert!(publisher.publish("kept/a", "again", Qos::AtLeastOnce).unwrap().refusal().is_none());
        assert!(broker.connect(Way::Plain, "new").opened.is_some());
    });
}

#[test]
fn a_retained_message_can_always_be_taken_back() {
    everywhere(|broker, way| {
        let mut publisher = broker.connect(way, "publisher");
        let payload = "x".repeat(1000);
        let refused = (0..10_000).find(|n| {
            let token = publisher.start_publish(&format!("retained/{n}"), &payload, Qos::AtLeastOnce, true);
            publisher.outcome(token).refusal().is_some()
        });
        let count = refused.expect("it is never full");
        for n in 0..count {
            let token = publisher.start_publish(&format!("retained/{n}"), "", Qos::AtLeastOnce, true);
            assert!(publisher.outcome(token).refusal().is_none());
        }
        assert!(publisher.publish("a", "x", Qos::AtLeastOnce).unwrap().refusal().is_none());
    });
}

/// Whether a new client is let in.
fn takes_a_client(broker: &TestBroker) -> bool {
    let client = broker.connect(Way::Plain, "new");
    let opened = client.opened.is_some();
    match &client.closed {
        None => client.leave(),
        Some(Cause::ConnectRefused { connack }) => assert_eq!(connack.reason, Reason::SERVER_UNAVAILABLE),
        Some(other) => panic!("{other:?}"),
    }
    opened
}

/// Asks until a new client is let in, or is not: the broker hears of what was sent, and of ends, when it does.
fn until_it_takes_a_client(broker: &TestBroker, takes: bool) {
    let until = std::time::Instant::now() + DEADLINE;
    while takes_a_client(broker) != takes {
        assert!(std::time::Instant::now() < until, "new clients are {}let in", if takes { "not " } else { "" });
    }
}

#[test]
fn incomplete_packets_count_and_do_not_grow_beyond_the_limit() {
    // The heads of packets of 200,005 bytes: of a PUBLISH of a client, and of a CONNECT of nobody yet.
    let publish: (&[u8], &[u8]) = (b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01s", b"\x30\xC5\x9A\x0C\x00\x01a");
    let connect: (&[u8], &[u8]) = (b"", b"\x10\xC5\x9A\x0C\0\x04MQTT\x04\x02\0\0\0\x01s");
    for (before, head) in [publish, connect] {
        let broker = TestBroker::with(Settings { memory_limit: LIMIT, ..Settings::default() }, policy(), false);
        let [mut large, small] = [before, b""].map(|before| {
            let mut stream = broker.raw();
            stream.write_all(before).unwrap();
            if !before.is_empty() {
                stream.read_exact(&mut [0; 4]).unwrap();
            }
            stream
        });
        large.write_all(head).unwrap();
        large.write_all(&vec![b'x'; 94_000]).unwrap();
        // What TCP may have split is waited for, although it comes to too much with the other.
        let mut small = small;
        small.write_all(connect.1).unwrap();
        small.write_all(&[b'x'; 4000]).unwrap();
        let mut third = broker.raw();
        third.write_all(connect.1).unwrap();
        third.write_all(&[b'x'; 4000]).unwrap();
        until_it_takes_a_client(&broker, false);
        large.write_all(&[b'x'; 1000]).unwrap();
        // It ends, with or without what was on its way.
        let mut rest = Vec::new();
        let _ = large.read_to_end(&mut rest);
        assert_eq!(rest, [0u8; 0]);
        until_it_takes_a_client(&broker, true);
    }
}

#[test]
fn messages_in_flight_count_for_each_receiver_there_or_away() {
    for shards in [1, 3] {
        for way in [Way::Extended, Way::Offer] {
            let settings = Settings { shards, memory_limit: LIMIT, ..Settings::default() };
            let broker = TestBroker::with(settings, ServerPolicy { send_window: 10_000, ..policy() }, false);
            let mut receiver = Client::resume(&broker.address, stored_everywhere(way, "receiver"), Parked::default());
            receiver.subscribe("a", Qos::AtLeastOnce);
            receiver.settles = None;
            let mut publisher = broker.connect(way, "publisher");
            let payload = "x".repeat(1000);
            let refused = (0..3 * LIMIT / 1000).find(|n| {
                let refusal = publisher.publish("a", &payload, Qos::AtLeastOnce).unwrap().refusal();
                if refusal.is_none() {
                    // It has come: nothing waits but for its acknowledgement.
                    receiver.until(|client| client.messages.len() == n + 1);
                }
                refusal.is_some_and(|refusal| refusal.problem.rule.as_deref() == Some("memory_limit"))
            });
            // Other shards are looked at once a millisecond: a few come before it is seen.
            assert!(refused.is_some_and(|count| count <= LIMIT / 1000 + 20), "{refused:?}");
            let parked = receiver.lose_connection();
            assert!(!takes_a_client(&broker), "a session that is away is owed them still");
            let mut back = Client::resume(&broker.address, stored_everywhere(way, "receiver"), parked);
            back.until(|client| Some(client.messages.len()) == refused);
            back.leave();
            until_it_takes_a_client(&broker, true);
            broker.stop();
        }
    }
}

#[test]
fn topic_filters_of_sessions_count() {
    // MQTT 3.1 has no word for a refused subscription: there the connection ends.
    for way in Way::ALL.into_iter().filter(|way| *way != Way::V31) {
        let broker = TestBroker::with(Settings { memory_limit: LIMIT, ..Settings::default() }, policy(), false);
        let mut client = broker.connect(way, "client");
        let filter = |n: usize| format!("{n}/{}", "x".repeat(10_000));
        let refused = (0..100).find(|n| client.subscribe(&filter(*n), Qos::AtMostOnce).is_error()).expect("it is never full");
        assert!(refused <= LIMIT / 10_000, "{refused}");
        assert!(!takes_a_client(&broker));
        // What is there already may be changed, and taken back.
        assert!(!client.subscribe(&filter(0), Qos::AtLeastOnce).is_error());
        (0..refused).for_each(|n| client.unsubscribe(&filter(n)));
        until_it_takes_a_client(&broker, true);
        broker.stop();
    }
}

#[test]
fn a_connect_counts_while_somebody_decides_about_it() {
    let gate = Gate::default();
    let (door, asks) = gate.door();
    let broker = TestBroker::behind(Settings { memory_limit: LIMIT, ..Settings::default() }, policy(), false, door);
    let connect = |id: u8| {
        let body = [&b"\0\x04MQTT\x04\xC2\0\0\0\x01"[..], &[id], b"\0\x01u\x40\x00", &[b'x'; 0x4000]].concat();
        let len = [body.len() as u8 | 0x80, (body.len() >> 7) as u8 | 0x80, (body.len() >> 14) as u8];
        let mut stream = broker.raw();
        stream.write_all(&[&[0x10][..], &len, &body].concat()).unwrap();
        stream
    };
    let waiting = [b'a', b'b'].map(|id| {
        let stream = connect(id);
        asks.recv_timeout(DEADLINE).unwrap();
        stream
    });
    // Nobody is asked any more: who would have to wait is told at once.
    let mut refused = connect(b'c');
    let mut connack = [0; 4];
    refused.read_exact(&mut connack).unwrap();
    assert_eq!(connack, [0x20, 2, 0, 3]);
    assert!(asks.try_recv().is_err());
    gate.open();
    drop(waiting);
}

#[test]
fn retained_messages_count_from_the_start_of_a_later_process() {
    for shards in [1, 3] {
        let store = TestStore::default();
        let roomy = Settings { shards, storage: store.storage(), ..Settings::default() };
        let broker = TestBroker::with(roomy, durable(), false);
        let mut publisher = broker.connect(Way::Extended, "publisher");
        for n in 0..LIMIT / 1000 + 10 {
            publisher.retain(&format!("retained/{n}"), &"x".repeat(1000));
        }
        publisher.leave();
        broker.stop();
        let (_, broker) = with_store(&store, shards);
        assert!(!takes_a_client(&broker));
        broker.stop();
    }
}

fn with_store(store: &TestStore, shards: u16) -> (Settings, TestBroker) {
    let settings = Settings { shards, memory_limit: LIMIT, storage: store.storage(), ..Settings::default() };
    (settings.clone(), TestBroker::with(settings, durable(), false))
}

/// How many messages a broker that began now would have in memory.
fn bodies_at_start(settings: &Settings) -> (usize, usize) {
    let Storage::Engine(engine) = &settings.storage else { panic!("there is no engine") };
    let mut engine = engine.open().unwrap();
    let mut shared = Shared::new(settings.shards);
    let legacies = restore::read(&mut *engine, settings, &mut shared).unwrap();
    (legacies.iter().map(restore::Legacy::bodies).sum(), engine.usage().messages as usize)
}

#[test]
fn what_stands_in_the_store_takes_no_memory_before_a_restart_or_behind_it() {
    const COUNT: usize = 300;
    for shards in [1, 3] {
        for way in Way::ALL {
            let store = TestStore::default();
            let (settings, broker) = with_store(&store, shards);
            let mut receiver = Client::resume(&broker.address, stored_everywhere(way, "absent"), Parked::default());
            receiver.subscribe("kept/#", Qos::AtLeastOnce);
            receiver.settles = None;
            let mut publisher = broker.connect(way, "publisher");
            let payload = "x".repeat(1000);
            for _ in 0..3 {
                publisher.publish("kept/a", &payload, Qos::AtLeastOnce);
            }
            receiver.until(|client| client.messages.len() == 3);
            let parked = receiver.lose_connection();
            // Three times the limit, and nobody is refused.
            for n in 0..COUNT {
                let outcome = publisher.publish("kept/a", &payload, Qos::AtLeastOnce).unwrap();
                assert_eq!(outcome.refusal(), None, "{way:?} {n}");
            }
            publisher.leave();
            broker.stop();
            assert_eq!(bodies_at_start(&settings), (3, COUNT + 3), "only what is in flight is read");
            let (_, broker) = with_store(&store, shards);
            let mut publisher = broker.connect(way, "publisher");
            assert_eq!(publisher.publish("kept/a", "again", Qos::AtLeastOnce).unwrap().refusal(), None);
            let mut back = Client::resume(&broker.address, stored_everywhere(way, "absent"), parked);
            // What was in flight is sent again.
            let messages = back.expect(3 + COUNT + 1);
            assert_eq!(messages.last().map(String::as_str), Some("kept/a again"), "{way:?}");
            back.expect_nothing();
            broker.stop();
        }
    }
}
