//! What a broker owes outlives it: the same store under the next one, in one process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use candor_broker::feedback::Entry;
use candor_broker::feedback::entry::Event;
use candor_broker::shard::Settings;
use candor_protocol::codec::dictionary::{Dictionary, MapBuilder};
use candor_protocol::packet::{Durability, Message, Profile, Qos, Reason, TopicFilter, TopicName, property};
use candor_protocol::session::{Answer, Parked, SessionState};
use candor_protocol::sim::Way;
use support::store::TestStore;
use support::{Client, TestBroker, durable, stored_everywhere, time_passes, with_will};

fn start(store: &TestStore, shards: u16) -> TestBroker {
    TestBroker::with(Settings { shards, storage: store.storage(), ..Settings::default() }, durable(), false)
}

/// A first broker with one number of shards and a second with another, over one store, for each way.
fn over_a_restart(test: impl Fn(&TestStore, Way, [u16; 2])) {
    for shards in [[1, 1], [3, 3], [3, 1]] {
        for way in Way::ALL {
            test(&TestStore::default(), way, shards);
        }
    }
}

fn state(client: &Client) -> Option<SessionState> {
    client.opened.as_ref().unwrap().dictionary.value(property::SESSION_STATE).and_then(SessionState::of_number)
}

/// How many verdicts are kept, on whomever.
fn verdicts(store: &TestStore) -> usize {
    let is_verdict = |line: &[u8]| matches!(Entry::of_bytes(line), Some(Entry { event: Event::Verdict(_), .. }));
    store.look(|state| state.verdicts.values().flatten().filter(|(_, line)| is_verdict(line)).count())
}

/// What the `n`th notice says of the profile now in force.
fn promised(client: &Client, n: usize) -> Durability {
    let notice = &client.notices[n];
    assert_eq!(notice.reason, Reason::PROFILE_CHANGED);
    Profile::of_dictionary(&notice.dictionary.value(property::PROFILE).unwrap()).durability
}

#[test]
fn what_was_acknowledged_is_delivered_after_a_restart_in_its_order() {
    over_a_restart(|store, way, [before, after]| {
        let broker = start(store, before);
        let mut sleeper = broker.connect_with(stored_everywhere(way, "sleeper"));
        sleeper.subscribe("owed/#", Qos::ExactlyOnce);
        let incarnation = sleeper.opened.as_ref().unwrap().dictionary.value(property::SESSION_INCARNATION);
        let parked = sleeper.drop_connection();
        let mut publisher = broker.connect(way, "publisher");
        for n in 0..200 {
            let qos = if n % 2 == 0 { Qos::AtLeastOnce } else { Qos::ExactlyOnce };
            publisher.publish("owed/a", &n.to_string(), qos);
        }
        publisher.leave();
        broker.stop();
        let broker = start(store, after);
        let mut sleeper = Client::resume(&broker.address, stored_everywhere(way, "sleeper"), parked);
        if way.is_extended() {
            assert_eq!(state(&sleeper), Some(SessionState::Resumed), "{way:?}");
            assert_eq!(sleeper.opened.as_ref().unwrap().dictionary.value(property::SESSION_INCARNATION), incarnation);
        }
        assert_eq!(sleeper.expect(200), (0..200).map(|n| format!("owed/a {n}")).collect::<Vec<_>>(), "{way:?}");
        // Its subscription is in force again, and what it has acknowledged does not come a second time.
        broker.connect(way, "publisher").publish("owed/a", "new", Qos::AtLeastOnce);
        assert_eq!(sleeper.expect(1), ["owed/a new"]);
        sleeper.settle_down();
        let parked = sleeper.drop_connection();
        broker.stop();
        let broker = start(store, before);
        let mut sleeper = Client::resume(&broker.address, stored_everywhere(way, "sleeper"), parked);
        sleeper.expect_nothing();
        assert!(store.look(|state| state.sessions.values().all(|session| session.owed.is_empty())));
        sleeper.leave();
    });
}

#[test]
fn what_was_in_flight_comes_again_under_its_identifier() {
    over_a_restart(|store, way, [before, after]| {
        let broker = start(store, before);
        let mut receiver = broker.connect_with(stored_everywhere(way, "receiver"));
        receiver.subscribe("flight", Qos::ExactlyOnce);
        receiver.settles = None;
        let mut publisher = broker.connect(way, "publisher");
        for (n, qos) in [(1, Qos::AtLeastOnce), (2, Qos::ExactlyOnce), (3, Qos::ExactlyOnce)] {
            publisher.publish("flight", &n.to_string(), qos);
        }
        receiver.until(|client| client.messages.len() == 3);
        let ids: Vec<_> = receiver.messages.iter().map(|publish| publish.id).collect();
        // The third is settled; of the second the client does not know what became.
        let third = receiver.tickets[2];
        receiver.settle(third, candor_protocol::session::Outcome::accepted());
        if way.is_extended() {
            receiver.settle_down();
        }
        let parked = receiver.drop_connection();
        broker.stop();
        let broker = start(store, after);
        let mut receiver = Client::resume(&broker.address, stored_everywhere(way, "receiver"), parked);
        receiver.until(|client| !client.messages.is_empty());
        receiver.settle_down();
        let again: Vec<_> = receiver.messages.iter().map(|publish| (publish.id, publish.dup)).collect();
        // The second was handed on by the client's session already and is not settled: its repetition is no news.
        assert_eq!(again, [(ids[0], true)], "{way:?}");
        receiver.leave();
    });
}

#[test]
fn an_identifier_that_a_publisher_has_used_is_known_after_a_restart() {
    over_a_restart(|store, way, [before, after]| {
        let broker = start(store, before);
        let mut watcher = broker.connect_with(stored_everywhere(way, "watcher"));
        watcher.subscribe("once", Qos::ExactlyOnce);
        let mut publisher = broker.connect_with(stored_everywhere(way, "publisher"));
        let token = publisher.start_publish("once", "x", Qos::ExactlyOnce, false);
        watcher.until(|client| client.messages.len() == 1);
        // Whether PUBREC has come is not known here: the publisher will say the message again, or go on behind it.
        let parked = publisher.drop_connection();
        let watched = watcher.drop_connection();
        broker.stop();
        let broker = start(store, after);
        let mut watcher = Client::resume(&broker.address, stored_everywhere(way, "watcher"), watched);
        let mut publisher = Client::resume(&broker.address, stored_everywhere(way, "publisher"), parked);
        assert!(!publisher.outcome(token).reason.is_error(), "{way:?}");
        watcher.expect_nothing();
        publisher.settle_down();
        assert!(store.look(|state| state.sessions.values().all(|session| session.taken.is_empty())));
        publisher.leave();
        watcher.leave();
    });
}

#[test]
fn retained_messages_and_their_clearing_survive() {
    over_a_restart(|store, way, [before, after]| {
        let broker = start(store, before);
        let mut publisher = broker.connect(way, "publisher");
        for (topic, payload) in [("kept/a", "1"), ("kept/b", "2"), ("kept/a", "3"), ("kept/c", "4"), ("kept/c", "")] {
            publisher.retain(topic, payload);
        }
        let token = publisher.start_publish("kept/d", "5", Qos::ExactlyOnce, true);
        publisher.outcome(token);
        publisher.leave();
        broker.stop();
        let broker = start(store, after);
        let mut subscriber = broker.connect(way, "subscriber");
        subscriber.subscribe("kept/#", Qos::ExactlyOnce);
        assert_eq!(subscriber.expect(3), ["kept/a 3", "kept/b 2", "kept/d 5"], "{way:?}");
        subscriber.expect_nothing();
        // What comes now is newer than what was.
        let mut publisher = broker.connect(way, "publisher");
        publisher.retain("kept/b", "");
        publisher.retain("kept/a", "6");
        broker.stop();
        let broker = start(store, before);
        let mut subscriber = broker.connect(way, "subscriber");
        subscriber.subscribe("kept/#", Qos::ExactlyOnce);
        assert_eq!(subscriber.expect(2), ["kept/a 6", "kept/d 5"], "{way:?}");
    });
}

#[test]
fn a_will_whose_client_was_lost_with_the_process_is_published_by_the_next() {
    for way in Way::ALL {
        let store = TestStore::default();
        let broker = start(&store, 3);
        let mut watcher = broker.connect_with(stored_everywhere(way, "watcher"));
        watcher.subscribe("will/#", Qos::AtLeastOnce);
        let parked = watcher.drop_connection();
        let polite = broker.connect_with(with_will(way.settings("polite"), "will/polite", false));
        polite.leave();
        let lost = broker.connect_with(with_will(way.settings("lost"), "will/lost", true));
        // The process dies: its successor finds the store as it is now.
        let left_behind = store.snapshot();
        lost.leave();
        broker.stop();
        let broker = start(&left_behind, 3);
        let mut watcher = Client::resume(&broker.address, stored_everywhere(way, "watcher"), parked);
        assert_eq!(watcher.expect(1), ["will/lost gone"], "{way:?}");
        let mut late = broker.connect(way, "late");
        late.subscribe("will/lost", Qos::AtLeastOnce);
        assert_eq!(late.expect(1), ["will/lost gone"]);
        watcher.expect_nothing();
        assert!(left_behind.look(|state| state.wills.is_empty()));
    }
}

#[test]
fn the_life_of_a_session_is_told_truthfully_after_a_restart() {
    let store = TestStore::default();
    let settings = |way: Way, id: &str, seconds: u64| {
        let mut settings = stored_everywhere(way, id);
        let expiry = Dictionary::with(property::SESSION_EXPIRY_INTERVAL, &seconds);
        match &mut settings.offer {
            Some(offer) => offer.dictionary = expiry,
            None => settings.connect.dictionary = expiry,
        }
        settings
    };
    let broker = start(&store, 3);
    for way in [Way::Extended, Way::Offer] {
        for (name, seconds) in [("short", 1), ("long", 3600), ("none", 0)] {
            let mut client = broker.connect_with(settings(way, &format!("{name} {way:?}"), seconds));
            // A round trip: what was agreed is known at both ends.
            client.subscribe("life", Qos::AtLeastOnce);
            client.drop_connection();
        }
    }
    broker.stop();
    // A second, while no broker runs.
    time_passes(1100);
    let broker = start(&store, 3);
    for way in [Way::Extended, Way::Offer] {
        for (name, expected) in [("short", SessionState::Expired), ("long", SessionState::Resumed), ("none", SessionState::New)] {
            let client = broker.connect_with(settings(way, &format!("{name} {way:?}"), 3600));
            assert_eq!(state(&client), Some(expected), "{name} {way:?}");
            client.drop_connection();
        }
    }
    broker.stop();
    // It was told once.
    let broker = start(&store, 1);
    assert!(store.look(|state| state.ended.is_empty()));
    broker.stop();
}

#[test]
fn a_gap_that_was_not_told_is_told_by_the_next_broker() {
    for way in [Way::Extended, Way::Offer] {
        let store = TestStore::default();
        let small = || Settings {
            queue: candor_broker::queue::QueueLimits { len_max: 3, ..Settings::default().queue },
            storage: store.storage(),
            ..Settings::default()
        };
        let broker = TestBroker::with(small(), durable(), false);
        let mut sleeper = broker.connect_with(stored_everywhere(way, "sleeper"));
        sleeper.subscribe("gap", Qos::AtLeastOnce);
        let parked = sleeper.drop_connection();
        let mut publisher = broker.connect(way, "publisher");
        for n in 0..5 {
            publisher.publish("gap", &n.to_string(), Qos::AtLeastOnce);
        }
        broker.stop();
        let broker = TestBroker::with(small(), durable(), false);
        let mut sleeper = Client::resume(&broker.address, stored_everywhere(way, "sleeper"), parked);
        assert_eq!(sleeper.expect(3), ["gap 2", "gap 3", "gap 4"], "{way:?}");
        sleeper.until(|client| !client.notices.is_empty());
        let notice = &sleeper.notices[0];
        assert_eq!((notice.reason, notice.dictionary.value(property::COUNT)), (Reason::GAP, Some(2)));
        sleeper.settle_down();
        assert!(store.look(|state| state.sessions.values().all(|session| session.gap.is_empty() && session.owed.is_empty())));
    }
}

#[test]
fn a_server_never_promises_more_than_its_store_keeps() {
    let refused = TestBroker::why_not(Settings::default(), durable());
    assert!(refused.contains("durability disk") && refused.contains("keeps memory"), "{refused}");
}

#[test]
fn while_the_store_keeps_nothing_what_has_to_be_kept_is_refused_and_the_rest_goes_on() {
    for way in Way::ALL {
        let store = TestStore::default();
        let broker = start(&store, 3);
        let mut sleeper = broker.connect_with(stored_everywhere(way, "sleeper"));
        sleeper.subscribe("owed", Qos::ExactlyOnce);
        let parked = sleeper.drop_connection();
        let mut publisher = broker.connect(way, "publisher");
        publisher.publish("owed", "kept", Qos::AtLeastOnce);
        let mut observer = broker.connect(Way::Extended, "observer");
        store.fail(true);
        for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
            let token = publisher.start_publish("owed", "not kept", qos, false);
            if way.is_extended() {
                let refusal = publisher.outcome(token).refusal().unwrap();
                assert_eq!((refusal.reason, refusal.problem.rule.as_deref()), (Reason::STORAGE_FAILED, Some("store")), "{way:?}");
            } else {
                publisher.expect_close();
                assert!(publisher.settled.iter().all(|(other, _)| *other != token), "no success for what is not kept");
                publisher = broker.connect(way, "publisher");
            }
        }
        observer.until(|client| !client.notices.is_empty());
        assert_eq!(promised(&observer, 0), Durability::None, "an extended client is told what can be kept now");
        if way.is_extended() {
            assert_eq!(promised(&publisher, 0), Durability::None, "before it is refused anything");
        }
        // Nobody who is owed anything: nothing has to be kept.
        let mut transient = broker.connect(way, "transient");
        transient.subscribe("free", Qos::ExactlyOnce);
        publisher.publish("free", "x", Qos::ExactlyOnce);
        assert_eq!(transient.expect(1), ["free x"]);
        let mut newcomer = broker.connect(Way::Offer, "newcomer");
        newcomer.until(|client| !client.notices.is_empty());
        assert_eq!(promised(&newcomer, 0), Durability::None, "who comes now is told too");
        let mut refused = Client::resume(&broker.address, stored_everywhere(way, "new"), Parked::default());
        refused.until(|client| client.closed.is_some());
        store.fail(false);
        // It is tried again, and all is as before.
        let mut publisher = broker.connect(Way::Extended, "prober");
        while publisher.publish("owed", "kept again", Qos::AtLeastOnce).unwrap().refusal().is_some() {}
        observer.until(|client| client.notices.len() == 2);
        assert_eq!(promised(&observer, 1), Durability::Disk);
        let mut sleeper = Client::resume(&broker.address, stored_everywhere(way, "sleeper"), parked);
        assert_eq!(sleeper.expect(2), ["owed kept", "owed kept again"], "{way:?}");
        sleeper.expect_nothing();
    }
}

#[test]
fn a_message_map_and_an_expiry_survive_a_restart() {
    let store = TestStore::default();
    let broker = start(&store, 3);
    let mut sleeper = broker.connect_with(stored_everywhere(Way::Extended, "sleeper"));
    sleeper.subscribe("map", Qos::AtLeastOnce);
    let parked = sleeper.drop_connection();
    let mut publisher = broker.connect(Way::Extended, "publisher");
    let map = MapBuilder::new().put(5000, |out| out.push(0xF6)).finish();
    let message = Message::new(&TopicName::new("map").unwrap(), &map, b"x");
    publisher.publish_with(message.clone(), Qos::AtLeastOnce, false, Dictionary::with(property::MESSAGE_EXPIRY_INTERVAL, &1000));
    broker.stop();
    let broker = start(&store, 3);
    let mut sleeper = Client::resume(&broker.address, stored_everywhere(Way::Extended, "sleeper"), parked);
    sleeper.until(|client| !client.messages.is_empty());
    assert_eq!(sleeper.messages[0].message, message);
    let left = sleeper.messages[0].dictionary.value(property::MESSAGE_EXPIRY_INTERVAL);
    assert!(left.is_some_and(|left| (900..=1000).contains(&left)), "{left:?}");
}

#[test]
fn a_subscription_that_could_not_be_replaced_is_what_it_was() {
    for way in Way::ALL {
        let store = TestStore::default();
        let broker = start(&store, 3);
        let mut subscriber = broker.connect_with(stored_everywhere(way, "subscriber"));
        subscriber.subscribe("options", Qos::AtLeastOnce);
        store.fail(true);
        for (filter, qos) in [("options", Qos::ExactlyOnce), ("options", Qos::AtMostOnce), ("new", Qos::AtLeastOnce)] {
            match subscriber.subscribe_all(&[TopicFilter::new(filter).unwrap()], qos, Dictionary::EMPTY) {
                Answer::Subscribed(answer) => assert!(answer.reasons[0].is_error(), "{way:?} {filter} {qos:?}: {answer:?}"),
                // 3.1 has no word for a refusal.
                other => {
                    assert!(matches!(other, Answer::Lost), "{way:?} {other:?}");
                    break;
                }
            }
        }
        store.fail(false);
        let mut publisher = broker.connect(Way::Extended, "publisher");
        while publisher.publish("options", "x", Qos::ExactlyOnce).unwrap().refusal().is_some() {}
        assert_eq!(publisher.publish("new", "x", Qos::AtLeastOnce).unwrap().reason, Reason::NO_MATCHING_SUBSCRIBERS);
        if subscriber.closed.is_some() {
            subscriber = Client::resume(&broker.address, stored_everywhere(way, "subscriber"), subscriber.drop_connection());
        }
        subscriber.until(|client| !client.messages.is_empty());
        assert_eq!(subscriber.messages[0].qos, Qos::AtLeastOnce, "{way:?}");
        // It can be replaced again.
        assert_eq!(subscriber.subscribe("options", Qos::ExactlyOnce), Reason(2));
        publisher.publish("options", "y", Qos::ExactlyOnce);
        subscriber.until(|client| client.messages.len() == 2);
        assert_eq!(subscriber.messages[1].qos, Qos::ExactlyOnce, "{way:?}");
        assert!(store.look(|state| state.sessions.values().all(|session| session.subscriptions.len() == 1)));
    }
}

#[test]
fn a_will_keeps_the_keys_of_its_message_over_a_restart() {
    use candor_protocol::extension::priority::{PRIORITY, with_priority};
    let store = TestStore::default();
    let (registry, experiments) = candor_broker::experiment::switched_on(&["x-priority".to_owned()]).unwrap();
    let start = |store: &TestStore| {
        let mut policy = durable();
        policy.registry = registry.clone();
        let settings = Settings { shards: 3, storage: store.storage(), experiments: experiments.clone(), ..Settings::default() };
        TestBroker::with(settings, policy, false)
    };
    let settings = |id: &str| {
        let mut settings = stored_everywhere(Way::Extended, id);
        settings.registry = registry.clone();
        let mut map = MapBuilder::new();
        map.merge(&settings.connect.dictionary).set(property::EXTENSIONS, &registry.names());
        settings.connect.dictionary = map.finish();
        settings
    };
    let broker = start(&store);
    let mut watcher = broker.connect_with(settings("watcher"));
    watcher.subscribe("will", Qos::AtLeastOnce);
    let parked = watcher.lose_connection();
    let mut lost = with_will(settings("lost"), "will", false);
    let map = Dictionary::with(property::MESSAGE_EXPIRY_INTERVAL, &1000);
    lost.connect.will.as_mut().unwrap().dictionary = with_priority(&map, 7);
    let lost = broker.connect_with(lost);
    let left_behind = store.snapshot();
    lost.leave();
    broker.stop();
    let broker = start(&left_behind);
    let mut watcher = Client::resume(&broker.address, settings("watcher"), parked);
    watcher.until(|client| !client.messages.is_empty());
    let keys = &watcher.messages[0].dictionary;
    let left = keys.value(property::MESSAGE_EXPIRY_INTERVAL);
    assert!(left.is_some_and(|left| (900..=1000).contains(&left)), "{left:?}");
    assert_eq!(keys.value(PRIORITY), Some(7));
}

#[test]
fn a_retained_message_that_could_not_be_kept_is_taken_back() {
    for way in Way::ALL {
        let store = TestStore::default();
        let broker = start(&store, 3);
        let mut publisher = broker.connect(way, "publisher");
        publisher.retain("kept/old", "old");
        store.fail(true);
        for (topic, qos) in [("kept/old", Qos::AtLeastOnce), ("kept/new", Qos::ExactlyOnce)] {
            let mut publisher = broker.connect(way, topic);
            let token = publisher.start_publish(topic, "refused", qos, true);
            if way.is_extended() {
                assert_eq!(publisher.outcome(token).reason, Reason::STORAGE_FAILED, "{way:?}");
            } else {
                publisher.expect_close();
            }
        }
        let mut subscriber = broker.connect(way, "subscriber");
        subscriber.subscribe("kept/#", Qos::ExactlyOnce);
        assert_eq!(subscriber.expect(1), ["kept/old old"], "{way:?}");
        subscriber.expect_nothing();
        store.fail(false);
    }
}

#[test]
fn a_client_that_comes_back_after_a_restart_is_told_what_happened_before() {
    let named = |way: Way, name: &str| support::named(way.settings("client"), name);
    over_a_restart(|store, way, [before, after]| {
        let broker = start(store, before);
        let mut client = broker.connect_with(named(way, "somebody"));
        for topic in ["deny/a", "deny/a", "deny/b"] {
            client.publish(topic, "x", Qos::AtMostOnce);
        }
        client.leave();
        broker.stop();
        let broker = start(store, after);
        let mut client = broker.connect_with(named(way, "somebody"));
        client.publish("deny/b", "x", Qos::AtMostOnce);
        client.subscribe("$feedback/publish", Qos::AtLeastOnce);
        client.until(|client| client.messages.len() == 2);
        let told: Vec<_> = client.messages.iter().map(|publish| serde_json::from_slice(publish.message.payload()).unwrap()).collect();
        let told = told.iter().map(|told: &serde_json::Value| (told["topic"].as_str().unwrap(), told["count"].as_u64().unwrap()));
        assert_eq!(told.collect::<Vec<_>>(), [("deny/a", 2), ("deny/b", 2)], "{way:?}");
        client.leave();
        broker.stop();
        assert_eq!(verdicts(store), 2);
        // Nobody else is told, and of somebody without a name nothing is kept.
        let broker = start(store, before);
        let mut other = broker.connect_with(named(way, "mallory"));
        other.publish("allowed", "x", Qos::AtMostOnce);
        other.subscribe("$feedback/#", Qos::AtMostOnce);
        other.expect_nothing();
        other.leave();
        let mut nobody = broker.connect(way, "nobody");
        nobody.publish("deny/a", "x", Qos::AtMostOnce);
        nobody.leave();
        broker.stop();
        assert_eq!(verdicts(store), 2);
    });
}
