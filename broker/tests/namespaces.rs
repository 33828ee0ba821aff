//! Namespaces with limits of their own in the queue of each session: the four policies, the expiry, and all that they leave alone. What is
//! true of full queues wherever the limit stands is in `overflow.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use candor_broker::queue::{Namespace, Namespaces, QueueLimits};
use candor_broker::shard::{Settings, Storage};
use candor_protocol::codec::dictionary::Dictionary;
use candor_protocol::packet::subscribe::items_of;
use candor_protocol::packet::{Message, Overflow, Qos, Reason, Requirement, TopicFilter, property};
use candor_protocol::session::{Outcome, Parked};
use candor_protocol::sim::Way;
use support::store::TestStore;
use support::{Client, TestBroker, durable, in_every_storage, named, policy_on, stored_everywhere, time_passes};

const LEN_MAX: usize = 3;

fn namespace(filter: &str, overflow: Overflow) -> Namespace {
    let queue = QueueLimits { len_max: LEN_MAX, bytes_max: usize::MAX, overflow };
    Namespace { filter: TopicFilter::new(filter).unwrap(), queue, message_expiry_max_s: u32::MAX }
}

/// The queue itself has another policy, and room for more.
fn settings(storage: &Storage, shards: u16, overflow: Overflow) -> Settings {
    let other = if overflow == Overflow::DropOldest { Overflow::DropNewest } else { Overflow::DropOldest };
    Settings {
        shards,
        storage: storage.clone(),
        queue: QueueLimits { len_max: 100, overflow: other, ..Settings::default().queue },
        namespaces: Namespaces::new(vec![namespace("telemetry/#", overflow)]),
        ..Settings::default()
    }
}

fn everywhere(overflow: Overflow, test: impl Fn(&TestBroker, Way)) {
    in_every_storage(|storage| {
        for shards in [1, 3] {
            let broker = TestBroker::with(settings(storage, shards, overflow), policy_on(storage), false);
            for way in Way::ALL {
                test(&broker, way);
            }
            broker.stop();
        }
    });
}

fn absent(broker: &TestBroker, way: Way, id: &str, filters: &[&str]) -> Parked {
    let mut client = broker.connect_with(named(stored_everywhere(way, id), "ann"));
    for filter in filters {
        client.subscribe(filter, Qos::ExactlyOnce);
    }
    client.lose_connection()
}

fn awake(broker: &TestBroker, way: Way, id: &str, parked: Parked) -> Client {
    Client::resume(&broker.address, named(stored_everywhere(way, id), "ann"), parked)
}

/// Ends a session: what it leaves behind is not for the next way, nor for the next broker on the same disk.
fn forget(broker: &TestBroker, way: Way, id: &str) {
    broker.connect_with(named(way.settings(id), "ann")).leave();
}

/// Publishes a message above QoS 0; `None`: it was refused where there is no word for it but the end of the connection.
fn publish(broker: &TestBroker, way: Way, topic: &str, payload: &str) -> Option<Outcome> {
    let mut publisher = broker.connect(way, "publisher");
    let token = publisher.start_publish(topic, payload, Qos::AtLeastOnce, false);
    publisher.until(|client| client.closed.is_some() || client.settled.iter().any(|(other, _)| *other == token));
    publisher.closed.is_none().then(|| publisher.outcome(token))
}

/// clause feedback.namespace MUST NOT
/// A server that limits how many messages of some topics wait in a session's queue MUST NOT drop a message of another topic at that limit.
#[test]
fn at_the_limit_of_a_namespace_its_own_messages_are_dropped_and_told() {
    for overflow in [Overflow::DropOldest, Overflow::DropNewest] {
        everywhere(overflow, |broker, way| {
            // A ledger of its own, on a disk that outlives the broker too.
            let id = &format!("{way:?} {}", broker.address.rsplit(':').next().unwrap());
            let sleeper = absent(broker, way, id, &["telemetry/#", "orders/#"]);
            for n in 0..5 {
                for topic in ["telemetry/a", "orders/a"] {
                    let outcome = publish(broker, way, topic, &n.to_string()).expect("nobody is refused");
                    assert!(!outcome.reason.is_error(), "{way:?}: {outcome:?}");
                }
            }
            let kept = if overflow == Overflow::DropOldest { 2..5 } else { 0..3 };
            let expected: Vec<String> = (0..5)
                .flat_map(|n| [("telemetry/a", kept.contains(&n)), ("orders/a", true)].map(|(topic, comes)| (topic, n, comes)))
                .filter(|(.., comes)| *comes)
                .map(|(topic, n, _)| format!("{topic} {n}"))
                .collect();
            let mut sleeper = awake(broker, way, id, sleeper);
            assert_eq!(sleeper.expect(8), expected, "{way:?} {overflow:?}");
            if way.is_extended() {
                sleeper.until(|client| !client.notices.is_empty());
                let told = &sleeper.notices[0].dictionary;
                assert_eq!(told.value(property::REASON), Some(u64::from(Reason::QUEUE_OVERFLOW.0)), "{way:?}");
                assert_eq!(told.value(property::COUNT), Some(2), "{way:?}");
            } else {
                sleeper.expect_nothing();
                sleeper.subscribe("$feedback/#", Qos::AtLeastOnce);
                sleeper.until(|client| !client.messages.is_empty());
                sleeper.settle_down();
                let told = sleeper.messages.last().unwrap();
                let told: serde_json::Value = serde_json::from_slice(told.message.payload()).unwrap();
                assert_eq!(
                    (told["reason"]["code"].as_u64(), told["count"].as_u64()),
                    (Some(u64::from(Reason::QUEUE_OVERFLOW.0)), Some(2)),
                    "{told}"
                );
            }
            sleeper.leave();
            forget(broker, way, id);
        });
    }
}

#[test]
fn where_publishers_are_refused_the_namespace_is_named_and_the_rest_goes_on() {
    everywhere(Overflow::RefusePublisher, |broker, way| {
        let sleeper = absent(broker, way, "sleeper", &["telemetry/#", "orders/#"]);
        let roomy = absent(broker, way, "roomy", &["telemetry/both"]);
        for n in 0..LEN_MAX {
            let outcome = publish(broker, way, "telemetry/a", &n.to_string()).expect("there is room");
            assert!(!outcome.reason.is_error(), "{way:?}: {outcome:?}");
        }
        for topic in ["telemetry/a", "telemetry/both"] {
            match publish(broker, way, topic, "refused") {
                Some(outcome) => {
                    let refusal = outcome.refusal().expect("there is no room");
                    let rule = "overflow refuse-publisher of namespace telemetry/#";
                    assert_eq!((refusal.reason, refusal.problem.rule.as_deref()), (Reason::QUEUE_OVERFLOW, Some(rule)), "{way:?}");
                    assert!(way.is_extended() && refusal.problem.retry.is_some());
                }
                None => assert!(!way.is_extended()),
            }
        }
        for n in 0..2 * LEN_MAX {
            assert!(!publish(broker, way, "orders/a", &n.to_string()).expect("another namespace").reason.is_error(), "{way:?}");
        }
        let mut sleeper = awake(broker, way, "sleeper", sleeper);
        let mut expected: Vec<String> = (0..LEN_MAX).map(|n| format!("telemetry/a {n}")).collect();
        expected.extend((0..2 * LEN_MAX).map(|n| format!("orders/a {n}")));
        assert_eq!(sleeper.expect(expected.len()), expected, "{way:?}");
        sleeper.settle_down();
        assert!(sleeper.notices.is_empty(), "{way:?}: nothing was lost: {:?}", sleeper.notices);
        let mut roomy = awake(broker, way, "roomy", roomy);
        roomy.expect_nothing();
        // There is room again.
        assert!(!publish(broker, way, "telemetry/both", "again").expect("there is room").reason.is_error(), "{way:?}");
        assert_eq!((sleeper.expect(1), roomy.expect(1)), (vec!["telemetry/both again".into()], vec!["telemetry/both again".into()]));
        sleeper.leave();
        roomy.leave();
        ["sleeper", "roomy"].iter().for_each(|id| forget(broker, way, id));
    });
}

#[test]
fn where_acknowledgements_wait_for_room_only_those_of_the_namespace_do() {
    everywhere(Overflow::HoldBack, |broker, way| {
        let sleeper = absent(broker, way, "sleeper", &["telemetry/#", "orders/#"]);
        for n in 0..LEN_MAX {
            publish(broker, way, "telemetry/a", &n.to_string());
        }
        let mut publisher = broker.connect(way, "held");
        let held = publisher.start_publish("telemetry/a", "held", Qos::AtLeastOnce, false);
        // Behind this one the held one is where it waits, whatever its shard.
        for n in 0..2 * LEN_MAX {
            assert!(!publish(broker, way, "orders/a", &n.to_string()).expect("another namespace").reason.is_error(), "{way:?}");
        }
        publisher.settle_down();
        assert!(publisher.settled.is_empty(), "{way:?}: acknowledged without room");
        let mut sleeper = awake(broker, way, "sleeper", sleeper);
        sleeper.until(|client| client.messages.len() == 3 * LEN_MAX + 1);
        assert!(!publisher.outcome(held).reason.is_error(), "{way:?}");
        sleeper.settle_down();
        assert!(sleeper.notices.is_empty(), "{way:?}: nothing was lost: {:?}", sleeper.notices);
        sleeper.leave();
        publisher.leave();
        forget(broker, way, "sleeper");
    });
}

#[test]
fn what_comes_in_an_envelope_is_of_the_namespace_of_its_message() {
    everywhere(Overflow::RefusePublisher, |broker, way| {
        let sleeper = absent(broker, way, "sleeper", &["$envelope/telemetry/#"]);
        let is_taken = |n: usize| publish(broker, way, "telemetry/a", &n.to_string()).is_some_and(|outcome| !outcome.reason.is_error());
        assert_eq!([0, 1, 2, 3].map(is_taken), [true, true, true, false], "{way:?}");
        let mut sleeper = awake(broker, way, "sleeper", sleeper);
        sleeper.until(|client| client.messages.len() == LEN_MAX);
        sleeper.leave();
        forget(broker, way, "sleeper");
    });
}

#[test]
fn the_first_namespace_that_matches_counts_and_its_expiry_is_one_more_limit() {
    in_every_storage(|storage| {
        for shards in [1, 3] {
            let expiring = |filter: &str, s| Namespace { message_expiry_max_s: s, ..namespace(filter, Overflow::DropOldest) };
            let namespaces = Namespaces::new(vec![expiring("telemetry/kept", u32::MAX), expiring("telemetry/#", 1)]);
            let settings = Settings { shards, storage: storage.clone(), namespaces, message_expiry_max_s: 60, ..Settings::default() };
            let broker = TestBroker::with(settings, policy_on(storage), false);
            let sleepers = Way::ALL.map(|way| (way, absent(&broker, way, &format!("{way:?}"), &["#"])));
            for topic in ["telemetry/kept", "telemetry/a", "orders/a"] {
                publish(&broker, Way::Plain, topic, "x");
            }
            // A second is over.
            time_passes(1100);
            for (way, parked) in sleepers {
                let mut sleeper = awake(&broker, way, &format!("{way:?}"), parked);
                assert_eq!(sleeper.expect(2), ["telemetry/kept x", "orders/a x"], "{way:?}");
                sleeper.expect_nothing();
                if way.is_extended() {
                    let told = &sleeper.notices[0].dictionary;
                    let (reason, count) = (told.value(property::REASON), told.value(property::COUNT));
                    assert_eq!((reason, count), (Some(u64::from(Reason::MESSAGE_EXPIRED.0)), Some(1)), "{way:?}");
                }
                sleeper.leave();
                forget(&broker, way, &format!("{way:?}"));
            }
            // What is left of it is told, and is no more than the namespace gives.
            let parked = absent(&broker, Way::Extended, "told", &["telemetry/#"]);
            let hop = Dictionary::with(property::MESSAGE_EXPIRY_INTERVAL, &3600);
            let message = Message::publish("telemetry/kept", "y").unwrap();
            broker.connect(Way::Extended, "publisher").publish_with(message, Qos::AtLeastOnce, false, hop);
            let mut told = awake(&broker, Way::Extended, "told", parked);
            told.until(|client| client.messages.len() == 1);
            let left = told.messages[0].dictionary.value(property::MESSAGE_EXPIRY_INTERVAL);
            assert!(left.is_some_and(|left| (30..=60).contains(&left)), "the server's limit holds beside it: {left:?}");
            told.leave();
            forget(&broker, Way::Extended, "told");
            broker.stop();
        }
    });
}

#[test]
fn how_full_a_namespace_is_is_known_after_a_restart() {
    for shards in [1, 3] {
        for way in Way::ALL {
            for overflow in [Overflow::RefusePublisher, Overflow::DropOldest] {
                let store = TestStore::default();
                let start = || TestBroker::with(settings(&store.storage(), shards, overflow), durable(), false);
                let broker = start();
                let sleeper = absent(&broker, way, "sleeper", &["telemetry/#", "orders/#"]);
                for n in 0..LEN_MAX {
                    publish(&broker, way, "telemetry/a", &n.to_string());
                }
                broker.stop();
                let broker = start();
                publish(&broker, way, "orders/a", "x").expect("another namespace");
                let taken = publish(&broker, way, "telemetry/a", "new").is_some_and(|outcome| !outcome.reason.is_error());
                let mut sleeper = awake(&broker, way, "sleeper", sleeper);
                let came = sleeper.expect(LEN_MAX + 1);
                let expected = match overflow {
                    Overflow::DropOldest => ["telemetry/a 1", "telemetry/a 2", "orders/a x", "telemetry/a new"],
                    _ => ["telemetry/a 0", "telemetry/a 1", "telemetry/a 2", "orders/a x"],
                };
                assert_eq!((taken, came), (overflow == Overflow::DropOldest, expected.map(str::to_owned).to_vec()), "{way:?} {overflow:?}");
                sleeper.expect_nothing();
                sleeper.leave();
            }
        }
    }
}

/// A queue and a namespace that both tell publishers: a place is claimed in both or in none.
#[test]
fn a_message_that_finds_no_place_in_one_takes_none_in_the_other() {
    in_every_storage(|storage| {
        for shards in [1, 3] {
            for way in Way::ALL {
                let queue = QueueLimits { len_max: LEN_MAX + 2, overflow: Overflow::RefusePublisher, ..Settings::default().queue };
                let settings = Settings { queue, ..settings(storage, shards, Overflow::RefusePublisher) };
                let broker = TestBroker::with(settings, policy_on(storage), false);
                let sleeper = absent(&broker, way, "sleeper", &["telemetry/#", "orders/#"]);
                let is_taken = |topic: &str| publish(&broker, way, topic, "x").is_some_and(|outcome| !outcome.reason.is_error());
                // What its namespace has no room for takes none in the queue.
                assert_eq!(["telemetry/a"; LEN_MAX + 2].map(is_taken), [true, true, true, false, false], "{way:?}");
                assert_eq!(["orders/a"; 3].map(is_taken), [true, true, false], "{way:?}");
                assert!(!is_taken("telemetry/a"), "{way:?}: neither has room");
                let mut sleeper = awake(&broker, way, "sleeper", sleeper);
                sleeper.expect(LEN_MAX + 2);
                sleeper.settle_down();
                let sleeper = sleeper.lose_connection();
                // What the queue has no room for takes none in its namespace.
                assert_eq!(["orders/a"; LEN_MAX + 2].map(is_taken), [true; LEN_MAX + 2], "{way:?}");
                assert_eq!(["telemetry/a"; LEN_MAX].map(is_taken), [false; LEN_MAX], "{way:?}");
                let mut sleeper = awake(&broker, way, "sleeper", sleeper);
                sleeper.expect(LEN_MAX + 2);
                sleeper.settle_down();
                let sleeper = sleeper.lose_connection();
                assert_eq!(["telemetry/a"; LEN_MAX + 1].map(is_taken), [true, true, true, false], "{way:?}");
                let mut sleeper = awake(&broker, way, "sleeper", sleeper);
                sleeper.expect(LEN_MAX);
                sleeper.leave();
                forget(&broker, way, "sleeper");
                broker.stop();
            }
        }
    });
}

/// clause profiles.narrowed MUST
/// A server that limits how many messages of some topics wait, or how long, MUST hold what a subscription requires of queues and of
/// expiry against the narrowest limits of all topics that its filter matches.
#[test]
fn a_subscription_is_promised_no_more_than_its_topics_have() {
    for way in [Way::Extended, Way::Offer] {
        let narrow = Namespace { message_expiry_max_s: 60, ..namespace("telemetry/#", Overflow::DropOldest) };
        let settings = Settings { namespaces: Namespaces::new(vec![narrow]), ..Settings::default() };
        let mut policy = policy_on(&Storage::Memory);
        (policy.profile.queue_len_max, policy.profile.message_expiry_s_max) = (100, 3600);
        let broker = TestBroker::with(settings, policy, false);
        let mut client = broker.connect(way, "asker");
        for (clause, value, in_all, in_narrow) in [
            ("queue-length", "3", true, true),
            ("queue-length", "4", true, false),
            ("queue-length", "101", false, false),
            ("message-expiry", "60", true, true),
            ("message-expiry", "61", true, false),
        ] {
            let mut requirement = Requirement::default();
            requirement.set(clause, value).unwrap();
            let require = Dictionary::with(property::REQUIRE, &requirement.to_dictionary());
            let filters = ["telemetry/a", "+/a", "#", "$envelope/telemetry/+", "orders/#"];
            for (filter, is_met) in filters.map(|filter| (filter, if filter == "orders/#" { in_all } else { in_narrow })) {
                let expected = if is_met { Reason::GRANTED_QOS_1 } else { Reason::PROFILE_NOT_AVAILABLE };
                // For the whole packet, and for the filter alone.
                assert_eq!(client.subscribe_with(filter, Qos::AtLeastOnce, require.clone()), expected, "{way:?} {filter} {clause}={value}");
                let item = items_of(vec![require.clone()]);
                assert_eq!(client.subscribe_with(filter, Qos::AtLeastOnce, item), expected, "{way:?} {filter} {clause}={value}");
            }
        }
        client.leave();
    }
}
