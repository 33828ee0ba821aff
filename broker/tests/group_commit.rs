//! How many syncs an acknowledgement waits for: the engine keeps in groups, and each group is one sync of the disk.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use candor_broker::shard::Settings;
use candor_protocol::codec::dictionary::Dictionary;
use candor_protocol::packet::Qos;
use candor_protocol::sim::Way;
use support::store::TestStore;
use support::{Client, TestBroker, durable, stored_everywhere};

/// A publisher, and a session that is away and owed what it publishes. Nothing is under way to the store, which keeps nothing from here on
/// unless it is let through.
fn pair_up(store: &TestStore, way: Way, shards: u16) -> (TestBroker, Client) {
    let settings = Settings { shards, storage: store.storage(), ..Settings::default() };
    let broker = TestBroker::with(settings, durable(), false);
    let mut reader = broker.connect_with(stored_everywhere(way, "reader"));
    reader.subscribe("owed/#", Qos::ExactlyOnce);
    reader.lose_connection();
    let publisher = broker.connect(way, "publisher");
    store.until(|state| state.sessions.values().all(|session| !session.is_attached));
    store.hold(true);
    (broker, publisher)
}

fn on_stores(test: impl Fn(&TestStore, TestBroker, Client, Way)) {
    for shards in [1, 3] {
        for way in Way::ALL {
            let store = TestStore::default();
            let (broker, publisher) = pair_up(&store, way, shards);
            test(&store, broker, publisher, way);
        }
    }
}

#[test]
fn a_lone_message_waits_for_one_sync() {
    on_stores(|store, broker, mut publisher, _| {
        for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
            let token = publisher.start_publish("owed/1", "alone", qos, false);
            store.until_it_holds();
            publisher.expect_nothing();
            assert!(publisher.settled.is_empty(), "{:?}", publisher.settled);
            // At QoS 2 the second is that of PUBREL.
            store.let_through(qos as usize);
            assert!(publisher.outcome(token).refusal().is_none());
            publisher.settled.clear();
            store.hold(true);
        }
        store.hold(false);
        assert_eq!(store.look(|state| state.sessions.values().map(|session| session.owed.len()).sum::<usize>()), 2);
        publisher.leave();
        broker.stop();
    });
}

#[test]
fn all_that_come_while_the_disk_syncs_share_the_next_sync() {
    on_stores(|store, broker, mut publisher, _| {
        let first = publisher.start_publish("owed/1", "first", Qos::AtLeastOnce, false);
        store.until_it_holds();
        let rest: Vec<u64> = (0..50).map(|_| publisher.start_publish("owed/1", "more", Qos::AtLeastOnce, false)).collect();
        // The first is answered in the turn that takes in the last of them, the second when that turn has sent its batch.
        publisher.ping(Dictionary::EMPTY);
        publisher.ping(Dictionary::EMPTY);
        assert!(publisher.settled.is_empty(), "{:?}", publisher.settled);
        store.let_through(1);
        publisher.outcome(first);
        publisher.ping(Dictionary::EMPTY);
        assert_eq!(publisher.settled.len(), 1);
        store.let_through(1);
        for token in rest {
            publisher.outcome(token);
        }
        store.hold(false);
        publisher.leave();
        broker.stop();
    });
}

#[test]
fn what_nobody_is_owed_on_disk_waits_for_no_sync() {
    on_stores(|store, broker, mut publisher, way| {
        let mut passing = broker.connect(way, "passing");
        passing.subscribe("passing/#", Qos::AtLeastOnce);
        publisher.publish("owed/1", "not kept", Qos::AtMostOnce);
        let token = publisher.start_publish("passing/1", "for now", Qos::AtLeastOnce, false);
        passing.expect(1);
        publisher.outcome(token);
        let nobody = publisher.start_publish("nobody/1", "for nobody", Qos::AtLeastOnce, false);
        publisher.outcome(nobody);
        store.hold(false);
        passing.leave();
        publisher.leave();
        broker.stop();
    });
}
