//! What a broker has taken upon itself while its store fails: wills, unsubscriptions, sessions that come back, retained messages that
//! a subscription has not brought yet.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use candor_broker::shard::Settings;
use candor_protocol::packet::{Problem, Qos, Reason, Retry, property};
use candor_protocol::session::{Answer, Cause, Outcome, Parked};
use candor_protocol::sim::Way;
use std::collections::BTreeSet;
use support::store::TestStore;
use support::{Client, TestBroker, durable, everywhere, stored_everywhere, with_will};

fn start(store: &TestStore, shards: u16) -> TestBroker {
    TestBroker::with(Settings { shards, storage: store.storage(), ..Settings::default() }, durable(), false)
}

fn on_a_store(test: impl Fn(&TestStore, Way, u16)) {
    for shards in [1, 3] {
        for way in Way::ALL {
            test(&TestStore::default(), way, shards);
        }
    }
}

/// A session that is away, with this subscription.
fn absent(broker: &TestBroker, way: Way, id: &str, filter: &str) -> Parked {
    let mut client = broker.connect_with(stored_everywhere(way, id));
    client.subscribe(filter, Qos::ExactlyOnce);
    client.lose_connection()
}

fn awake(broker: &TestBroker, way: Way, id: &str, parked: Parked) -> Client {
    Client::resume(&broker.address, stored_everywhere(way, id), parked)
}

/// The store is mended, and every shard that matters has heard of it.
fn mend(broker: &TestBroker, store: &TestStore) {
    store.fail(false);
    let mut prober = broker.connect(Way::Extended, "prober");
    while prober.publish("probe", "?", Qos::AtLeastOnce).unwrap().refusal().is_some() {}
    prober.leave();
}

/// The store fails, and a client has been told.
fn fail(broker: &TestBroker, store: &TestStore) {
    let mut observer = broker.connect(Way::Extended, "observer");
    store.fail(true);
    assert_eq!(observer.publish("probe", "?", Qos::AtLeastOnce).unwrap().reason, Reason::STORAGE_FAILED);
    observer.until(|client| !client.notices.is_empty());
    observer.leave();
}

fn is_owed_nothing(store: &TestStore, id: &str) -> bool {
    store.look(|state| state.sessions.values().all(|session| &*session.client_id != id || session.owed.is_empty()))
}

/// clause custody.will MUST
/// A server MUST owe a will until what it publishes is as durable for every session that is owed it as the profile declares.
#[test]
fn a_will_is_owed_until_the_batch_that_publishes_it_is_kept() {
    on_a_store(|store, way, shards| {
        let broker = start(store, shards);
        let watcher = absent(&broker, way, "watcher", "will/#");
        absent(&broker, way, "prober's", "probe");
        let mut transient = broker.connect(way, "transient");
        transient.subscribe("will/#", Qos::ExactlyOnce);
        let lost = broker.connect_with(with_will(way.settings("lost"), "will/lost", true));
        store.fail(true);
        lost.lose_connection();
        assert_eq!(transient.expect(1), ["will/lost gone"], "{way:?}: who is owed nothing need not wait");
        // The process that dies now has told nobody else: its successor does.
        let left_behind = store.snapshot();
        mend(&broker, store);
        transient.expect_nothing();
        for (broker, store) in [(start(&left_behind, shards), left_behind), (broker, store.clone())] {
            let mut watcher = awake(&broker, way, "watcher", watcher.clone());
            assert_eq!(watcher.expect(1), ["will/lost gone"], "{way:?}");
            watcher.expect_nothing();
            let mut late = broker.connect(way, "late");
            late.subscribe("will/lost", Qos::AtLeastOnce);
            assert_eq!(late.expect(1), ["will/lost gone"], "{way:?}: it is retained");
            watcher.leave();
            broker.stop();
            assert!(store.look(|state| state.wills.is_empty()) && is_owed_nothing(&store, "watcher"), "{way:?}");
        }
    });
}

#[test]
fn a_will_that_a_new_process_cannot_keep_is_owed_by_the_next() {
    on_a_store(|store, way, shards| {
        let broker = start(store, shards);
        let watcher = absent(&broker, way, "watcher", "will/#");
        absent(&broker, way, "prober's", "probe");
        let lost = broker.connect_with(with_will(way.settings("lost"), "will/lost", false));
        let second = store.snapshot();
        lost.leave();
        broker.stop();
        second.fail(true);
        let broker = start(&second, shards);
        fail(&broker, &second);
        let third = second.snapshot();
        assert!(third.look(|state| state.wills.len() == 1), "{way:?}");
        mend(&broker, &second);
        for broker in [broker, start(&third, shards)] {
            let mut watcher = awake(&broker, way, "watcher", watcher.clone());
            assert_eq!(watcher.expect(1), ["will/lost gone"], "{way:?}");
            watcher.expect_nothing();
            watcher.leave();
            broker.stop();
        }
        assert!(third.look(|state| state.wills.is_empty()) && second.look(|state| state.wills.is_empty()), "{way:?}");
    });
}

/// Under another identifier it would be another message to a reader that has it: so after a restart, which knows no identifier that was
/// not kept.
#[test]
fn a_delivery_whose_identifier_cannot_be_kept_leaves_on_no_connection() {
    on_a_store(|store, way, shards| {
        let broker = start(store, shards);
        let reader = absent(&broker, way, "reader", "t");
        absent(&broker, way, "prober's", "probe");
        broker.connect(way, "publisher").publish("t", "one", Qos::ExactlyOnce);
        fail(&broker, store);
        let mut first = awake(&broker, way, "reader", reader);
        first.expect_nothing();
        let mut awake = awake(&broker, way, "reader", first.lose_connection());
        awake.expect_nothing();
        mend(&broker, store);
        assert_eq!(awake.expect(1), ["t one"], "{way:?}");
        awake.expect_nothing();
        awake.leave();
        broker.stop();
    });
}

/// clause custody.will-kept MUST
/// A server that keeps nothing for the time MUST refuse a CONNECT with a will, also of a session that it has, with reason 0xC6 and a
/// problem whose field is the will.
#[test]
fn a_will_that_cannot_be_kept_is_refused_and_without_it_the_session_comes_back() {
    on_a_store(|store, way, shards| {
        let broker = start(store, shards);
        let parked = absent(&broker, way, "device", "kept");
        absent(&broker, way, "prober's", "probe");
        broker.connect(Way::Extended, "publisher").publish("kept", "before", Qos::AtLeastOnce);
        fail(&broker, store);
        let refused = Client::resume(&broker.address, with_will(stored_everywhere(way, "device"), "will/device", false), parked.clone());
        let Some(Cause::ConnectRefused { connack }) = &refused.closed else { panic!("{way:?}: {:?}", refused.closed) };
        if way == Way::Extended {
            let problem = Problem::of_dictionary(&connack.dictionary.value(property::PROBLEM).unwrap());
            assert_eq!((connack.reason, problem.field.as_deref()), (Reason::STORAGE_FAILED, Some("will")));
            assert!(matches!(problem.retry, Some(Retry::After { .. })), "{problem:?}");
        }
        let mut device = awake(&broker, way, "device", parked);
        assert_eq!(device.expect(1), ["kept before"], "{way:?}");
        let parked = device.lose_connection();
        mend(&broker, store);
        // Nothing is left of the will that was refused; the next one is kept.
        let mut watcher = broker.connect(way, "watcher");
        watcher.subscribe("will/#", Qos::AtLeastOnce);
        watcher.expect_nothing();
        let device = Client::resume(&broker.address, with_will(stored_everywhere(way, "device"), "will/device", false), parked);
        assert!(device.opened.is_some(), "{way:?}: {:?}", device.closed);
        device.lose_connection();
        assert_eq!(watcher.expect(1), ["will/device gone"], "{way:?}");
        watcher.expect_nothing();
        watcher.leave();
        broker.stop();
        assert!(store.look(|state| state.wills.is_empty()), "{way:?}");
    });
}

/// clause profile-changes.unsubscribed MUST NOT
/// A server that keeps nothing for the time MUST NOT acknowledge the end of a stored session's subscription before it is kept.
#[test]
fn an_unsubscription_is_answered_when_it_is_kept_and_holds_before() {
    on_a_store(|store, way, shards| {
        let broker = start(store, shards);
        absent(&broker, way, "prober's", "probe");
        let mut subscriber = broker.connect_with(stored_everywhere(way, "subscriber"));
        subscriber.subscribe("left", Qos::AtLeastOnce);
        fail(&broker, store);
        let token = subscriber.start_unsubscribe("left");
        subscriber.settle_down();
        let mut publisher = broker.connect(Way::Extended, "publisher");
        let outcome = publisher.publish("left", "x", Qos::AtLeastOnce).unwrap();
        assert_eq!(outcome.reason, Reason::NO_MATCHING_SUBSCRIBERS, "{way:?}: it is in force");
        assert!(subscriber.answers.iter().all(|(other, _)| *other != token), "{way:?}: a process that ended now would have it again");
        mend(&broker, store);
        subscriber.until(|client| client.answers.iter().any(|(other, _)| *other == token));
        let answer = &subscriber.answers.iter().find(|(other, _)| *other == token).unwrap().1;
        let Answer::Unsubscribed(answer) = answer else { panic!("{answer:?}") };
        assert!(answer.reasons.iter().all(|reason| !reason.is_error()), "{way:?}");
        assert!(
            store.look(|state| state.sessions.values().all(|session| session.subscriptions.keys().all(|filter| filter.as_str() != "left")))
        );
        subscriber.expect_nothing();
    });
}

/// clause profile-changes.drain MUST
/// A server that keeps nothing for the time MUST let a client resume a session that it has stored, if nothing else has to be kept for
/// the CONNECT, and take the messages that wait there.
#[test]
fn a_session_comes_back_and_is_drained_while_the_store_keeps_nothing() {
    on_a_store(|store, way, shards| {
        let broker = start(store, shards);
        absent(&broker, way, "prober's", "probe");
        let sleeper = absent(&broker, way, "sleeper", "owed");
        let mut publisher = broker.connect(way, "publisher");
        for n in 0..100 {
            publisher.publish("owed", &n.to_string(), Qos::AtLeastOnce);
        }
        fail(&broker, store);
        let mut sleeper = awake(&broker, way, "sleeper", sleeper);
        assert_eq!(sleeper.expect(100), (0..100).map(|n| format!("owed {n}")).collect::<Vec<_>>(), "{way:?}");
        sleeper.settle_down();
        assert!(!way.is_extended() || sleeper.notices.iter().any(|notice| notice.reason == Reason::PROFILE_CHANGED), "{way:?}");
        let sleeper = sleeper.lose_connection();
        // Who is new, or brings what would have to be kept, is refused as before.
        let newcomer = awake(&broker, way, "new", Parked::default());
        assert!(newcomer.opened.is_none(), "{way:?}");
        mend(&broker, store);
        assert!(is_owed_nothing(store, "sleeper"), "{way:?}");
        broker.stop();
        let broker = start(store, shards);
        let mut sleeper = awake(&broker, way, "sleeper", sleeper);
        sleeper.expect_nothing();
        broker.connect(way, "publisher").publish("owed", "new", Qos::AtLeastOnce);
        assert_eq!(sleeper.expect(1), ["owed new"], "{way:?}: its subscription stands");
    });
}

#[test]
fn a_message_that_is_owed_as_published_and_as_retained_is_settled_once_each() {
    on_a_store(|store, way, shards| {
        let broker = start(store, shards);
        let mut subscriber = broker.connect_with(stored_everywhere(way, "subscriber"));
        subscriber.settles = None;
        subscriber.subscribe("both", Qos::AtLeastOnce);
        broker.connect(Way::Plain, "publisher").retain("both", "x");
        subscriber.until(|client| client.messages.len() == 1);
        subscriber.subscribe("both", Qos::AtLeastOnce);
        subscriber.until(|client| client.messages.len() == 2);
        let retained = subscriber.messages[1].clone();
        assert!(retained.retain && !subscriber.messages[0].retain, "{way:?}");
        let published = subscriber.tickets[0];
        subscriber.settle(published, Outcome::accepted());
        subscriber.settle_down();
        let parked = subscriber.lose_connection();
        broker.stop();
        let broker = start(store, shards);
        let mut subscriber = awake(&broker, way, "subscriber", parked);
        subscriber.until(|client| !client.messages.is_empty());
        subscriber.settle_down();
        let again: Vec<_> = subscriber.messages.iter().map(|publish| (publish.id, publish.retain, publish.dup)).collect();
        assert_eq!(again, [(retained.id, true, true)], "{way:?}: the one says nothing of the other");
        subscriber.leave();
        broker.stop();
        assert!(is_owed_nothing(store, "subscriber"), "{way:?}");
    });
}

/// More retained messages than a turn hands out.
const RETAINED: usize = 300;

fn retain_many(broker: &TestBroker) {
    let mut publisher = broker.connect(Way::Extended, "publisher");
    for n in 0..RETAINED {
        publisher.retain(&format!("kept/{n}"), "x");
    }
    publisher.leave();
}

/// A subscriber that is lost before all retained messages have come to it.
fn cut_while_they_come(broker: &TestBroker, way: Way, id: &str) -> Parked {
    let mut subscriber = broker.connect_with(stored_everywhere(way, id));
    subscriber.settles = None;
    subscriber.subscribe("kept/#", Qos::AtLeastOnce);
    subscriber.until(|client| !client.messages.is_empty());
    subscriber.lose_connection()
}

fn topics(client: &Client) -> BTreeSet<&str> {
    client.messages.iter().map(|publish| publish.message.topic_str()).collect()
}

/// clause sessions.retained MUST
/// A server MUST go on, on the next connection of a stored session, with the retained messages that a subscription had not brought
/// when the last one ended.
#[test]
fn retained_messages_that_a_lost_connection_has_cut_off_come_to_the_next() {
    everywhere(|broker, way| {
        retain_many(broker);
        let id = format!("subscriber {way:?}");
        let cut = cut_while_they_come(broker, way, &id);
        let mut subscriber = awake(broker, way, &id, cut);
        subscriber.until(|client| topics(client).len() == RETAINED);
        subscriber.leave();
    });
}

#[test]
fn retained_messages_that_the_end_of_a_process_has_cut_off_come_from_the_next() {
    on_a_store(|store, way, shards| {
        let broker = start(store, shards);
        retain_many(&broker);
        let cut = cut_while_they_come(&broker, way, "subscriber");
        broker.stop();
        let broker = start(store, shards);
        let mut subscriber = awake(&broker, way, "subscriber", cut);
        subscriber.until(|client| topics(client).len() == RETAINED);
        subscriber.settle_down();
        let repeated = subscriber.messages.iter().filter(|publish| !publish.dup).count();
        assert!(repeated <= RETAINED, "{way:?}: {repeated} came as new");
        subscriber.leave();
        broker.stop();
        assert!(
            store.look(|state| state.sessions.values().all(|session| session.owed.is_empty() && session.replays.is_empty())),
            "{way:?}"
        );
    });
}
