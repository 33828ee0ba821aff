//! `memory_limit`: what is refused at the limit, what goes on, and how it ends.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use candor_broker::shard::{Settings, Shared, Storage, restore};
use candor_protocol::packet::{Durability, Qos, Reason, Refusal};
use candor_protocol::session::{Cause, Parked};
use candor_protocol::sim::Way;
use support::store::TestStore;
use support::{Client, TestBroker, policy, stored_everywhere};

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
    subscriber.drop_connection()
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
        let new = broker.connect(Way::Plain, "new");
        let Some(Cause::ConnectRefused { connack }) = &new.closed else { panic!("{:?}", new.closed) };
        assert_eq!(connack.reason, Reason::SERVER_UNAVAILABLE);

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

#[test]
fn incomplete_packets_count() {
    let broker = TestBroker::with(Settings { memory_limit: LIMIT, ..Settings::default() }, policy(), false);
    let mut publisher = broker.connect(Way::Extended, "publisher");
    let mut slow = broker.connect(Way::Plain, "slow");
    // The head of a PUBLISH of 200,005 bytes, and most of it.
    slow.write_raw(b"\x30\xC5\x9A\x0C\x00\x01a");
    slow.write_raw(&vec![b'x'; 150_000]);
    assert_eq!(fill(&mut publisher, "a").problem.rule.as_deref(), Some("memory_limit"));
    slow.drop_connection();
    // The broker hears of the end when it does: until then the answer stays.
    let freed = (0..100_000).any(|_| publisher.publish("a", "x", Qos::AtLeastOnce).unwrap().refusal().is_none());
    assert!(freed);
}

fn with_store(store: &TestStore, shards: u16) -> (Settings, TestBroker) {
    let mut policy = policy();
    (policy.profile.durability, policy.profile.session_durability) = (Durability::Disk, Durability::Disk);
    let settings = Settings { shards, memory_limit: LIMIT, storage: store.storage(), ..Settings::default() };
    (settings.clone(), TestBroker::with(settings, policy, false))
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
