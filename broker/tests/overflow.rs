//! A full queue under the policies by which a publisher learns of it.
#![allow(clippy::unwrap_used)]

mod support;

use candor_broker::queue::{Namespace, Namespaces, QueueLimits};
use candor_broker::shard::Settings;
use candor_protocol::packet::{Overflow, Qos, Reason, TopicFilter};
use candor_protocol::session::Parked;
use candor_protocol::sim::Way;
use support::store::TestStore;
use support::{Client, TestBroker, durable, in_every_storage, policy_on, stored_everywhere};

const LEN_MAX: usize = 3;

/// A limit of whole queues, and the same of a namespace, in queues that have room and another policy.
fn with_policy(overflow: Overflow, test: impl Fn(&TestBroker, Way, u16)) {
    in_every_storage(|storage| {
        let kinds = [(1, false), (3, false), (1, true), (3, true)];
        for (shards, is_of_namespace) in kinds {
            for way in Way::ALL {
                let limits = QueueLimits { len_max: LEN_MAX, overflow, ..Settings::default().queue };
                let mut settings = Settings { shards, storage: storage.clone(), ..Settings::default() };
                let mut policy = policy_on(storage);
                if is_of_namespace {
                    let filter = TopicFilter::new("over/#").unwrap();
                    settings.namespaces = Namespaces::new(vec![Namespace { filter, queue: limits, message_expiry_max_s: u32::MAX }]);
                } else {
                    settings.queue = limits;
                    policy.profile.overflow = overflow;
                }
                let broker = TestBroker::with(settings, policy, false);
                test(&broker, way, shards);
                // What one way leaves behind is not for the next.
                for id in ["full", "roomy"] {
                    broker.connect(Way::Plain, id).leave();
                }
                broker.stop();
            }
        }
    });
}

fn absent(broker: &TestBroker, way: Way, id: &str, filter: &str) -> Parked {
    let mut client = broker.connect_with(stored_everywhere(way, id));
    client.subscribe(filter, Qos::AtLeastOnce);
    client.drop_connection()
}

/// Publishes until a message is refused; how many were taken.
fn fill(broker: &TestBroker, way: Way, topic: &str) -> usize {
    let mut publisher = broker.connect(way, "publisher");
    for n in 0.. {
        let token = publisher.start_publish(topic, &n.to_string(), Qos::AtLeastOnce, false);
        publisher.until(|client| client.closed.is_some() || client.settled.iter().any(|(other, _)| *other == token));
        if publisher.closed.is_some() {
            assert!(!way.is_extended());
            return n;
        }
        if let Some(refusal) = publisher.outcome(token).refusal() {
            assert_eq!((refusal.reason, refusal.problem.rule.is_some()), (Reason::QUEUE_OVERFLOW, true), "{way:?}");
            assert!(way.is_extended() && refusal.problem.retry.is_some());
            return n;
        }
        assert!(n < 2 * LEN_MAX, "{way:?}: the publisher never learns of it");
    }
    unreachable!("it is refused or it fails")
}

#[test]
fn a_publisher_is_refused_for_all_who_would_get_the_message_or_for_none() {
    with_policy(Overflow::RefusePublisher, |broker, way, shards| {
        let full = absent(broker, way, "full", "over/#");
        let roomy = absent(broker, way, "roomy", "over/both");
        let taken = fill(broker, way, "over/one");
        assert!(taken >= LEN_MAX && (shards > 1 || taken == LEN_MAX), "{way:?}: {taken}");
        assert_eq!(fill(broker, way, "over/both"), 0, "{way:?}");
        // A transient subscriber and QoS 0 are nobody's refusal.
        let mut transient = broker.connect(way, "transient");
        transient.subscribe("over/both", Qos::AtLeastOnce);
        broker.connect(way, "publisher").publish("over/both", "zero", Qos::AtMostOnce);
        assert_eq!(transient.expect(1), ["over/both zero"]);
        let mut roomy = Client::resume(&broker.address, stored_everywhere(way, "roomy"), roomy);
        roomy.settle_down();
        // QoS 0 may have been under way to it when it came back; nothing that was refused was.
        assert!(roomy.messages.iter().all(|publish| publish.qos == Qos::AtMostOnce), "{way:?}: {:?}", roomy.messages);
        roomy.messages.clear();
        let mut full = Client::resume(&broker.address, stored_everywhere(way, "full"), full);
        assert_eq!(full.expect(taken), (0..taken).map(|n| format!("over/one {n}")).collect::<Vec<_>>(), "{way:?}");
        full.settle_down();
        assert!(full.notices.is_empty(), "nothing was lost: {:?}", full.notices);
        // There is room again.
        broker.connect(way, "publisher").publish("over/both", "again", Qos::AtLeastOnce);
        assert_eq!((full.expect(1), roomy.expect(1)), (vec!["over/both again".to_owned()], vec!["over/both again".to_owned()]));
    });
}

#[test]
fn an_acknowledgement_waits_for_room_and_reading_goes_on() {
    with_policy(Overflow::HoldBack, |broker, way, shards| {
        let full = absent(broker, way, "full", "over/#");
        let mut watcher = broker.connect(way, "watcher");
        watcher.subscribe("read", Qos::AtMostOnce);
        let mut publisher = broker.connect(way, "publisher");
        for n in 0..LEN_MAX {
            publisher.publish("over/one", &n.to_string(), Qos::AtLeastOnce);
        }
        let held = publisher.start_publish("over/one", "3", Qos::AtLeastOnce, false);
        publisher.publish("read", "on", Qos::AtMostOnce);
        assert_eq!(watcher.expect(1), ["read on"], "{way:?}");
        if shards == 1 {
            publisher.settle_down();
            assert!(publisher.settled.iter().all(|(token, _)| *token != held), "{way:?}: acknowledged without room");
        }
        let mut full = Client::resume(&broker.address, stored_everywhere(way, "full"), full);
        assert_eq!(full.expect(4), (0..4).map(|n| format!("over/one {n}")).collect::<Vec<_>>(), "{way:?}");
        assert!(!publisher.outcome(held).reason.is_error(), "{way:?}");
        full.settle_down();
        assert!(full.notices.is_empty(), "nothing was lost: {:?}", full.notices);
    });
}

#[test]
fn what_no_queue_can_take_is_refused_even_where_publishers_are_held_back() {
    with_policy(Overflow::HoldBack, |broker, way, shards| {
        // Between shards it takes a turn or two until a publisher learns of it.
        if shards > 1 {
            return;
        }
        let full = absent(broker, way, "full", "over/#");
        let mut publishers: Vec<Client> = (0..2 * LEN_MAX).map(|n| broker.connect(way, &format!("publisher {n}"))).collect();
        for (n, publisher) in publishers.iter_mut().enumerate() {
            let token = publisher.start_publish("over/one", &n.to_string(), Qos::AtLeastOnce, false);
            match n {
                0..LEN_MAX => assert!(!publisher.outcome(token).reason.is_error(), "{way:?}"),
                // Held until there is room.
                LEN_MAX => publisher.settle_down(),
                _ if way.is_extended() => assert_eq!(publisher.outcome(token).reason, Reason::QUEUE_OVERFLOW),
                _ => drop(publisher.expect_close()),
            }
        }
        assert!(publishers[LEN_MAX].settled.is_empty(), "{way:?}");
        let mut full = Client::resume(&broker.address, stored_everywhere(way, "full"), full);
        assert_eq!(full.expect(LEN_MAX + 1), (0..=LEN_MAX).map(|n| format!("over/one {n}")).collect::<Vec<_>>(), "{way:?}");
        publishers[LEN_MAX].until(|client| client.settled.len() == 1);
        full.settle_down();
        assert!(full.notices.is_empty(), "{way:?}: all that was taken has come: {:?}", full.notices);
    });
}

#[test]
fn the_end_of_a_full_session_lets_a_publisher_go_on() {
    with_policy(Overflow::HoldBack, |broker, way, _| {
        absent(broker, way, "full", "over/#");
        let mut publisher = broker.connect(way, "publisher");
        let tokens: Vec<_> = (0..=LEN_MAX).map(|n| publisher.start_publish("over/one", &n.to_string(), Qos::AtLeastOnce, false)).collect();
        // A clean start ends the session.
        broker.connect(way, "full").leave();
        for token in tokens {
            assert!(!publisher.outcome(token).reason.is_error(), "{way:?}");
        }
    });
}

/// clause custody.place MUST NOT
/// A server that lets publishers learn of full queues MUST NOT acknowledge a message that it then drops for want of room.
#[test]
fn whatever_many_publish_at_once_all_that_was_acknowledged_comes() {
    for overflow in [Overflow::RefusePublisher, Overflow::HoldBack] {
        with_policy(overflow, |broker, way, shards| {
            let full = absent(broker, way, "full", "over/#");
            let mut publishers: Vec<Client> = (0..4).map(|n| broker.connect(way, &format!("publisher {n}"))).collect();
            let mut tokens = Vec::new();
            for (at, publisher) in publishers.iter_mut().enumerate() {
                for n in 0..2 * LEN_MAX {
                    let (payload, qos) = (format!("{at}.{n}"), Qos::ALL[1 + n % 2]);
                    tokens.push((at, publisher.start_publish("over/one", &payload, qos, false), payload));
                }
            }
            publishers.last_mut().into_iter().for_each(Client::settle_down);
            let mut full = Client::resume(&broker.address, stored_everywhere(way, "full"), full);
            for publisher in &mut publishers {
                publisher.until(|client| client.closed.is_some() || client.settled.len() == 2 * LEN_MAX);
            }
            let is_taken =
                |at: usize, token: u64| publishers[at].settled.iter().any(|(other, outcome)| *other == token && !outcome.reason.is_error());
            let taken: Vec<&String> = tokens.iter().filter(|(at, token, _)| is_taken(*at, *token)).map(|(.., payload)| payload).collect();
            full.settle_down();
            let came: Vec<String> =
                full.messages.iter().map(|publish| String::from_utf8_lossy(publish.message.payload()).into_owned()).collect();
            let lost: Vec<_> = taken.iter().filter(|payload| !came.contains(payload)).collect();
            assert!(lost.is_empty() && full.notices.is_empty(), "{overflow:?} {way:?} on {shards}: {lost:?} of {taken:?} did not come");
            if way.is_extended() {
                assert!(taken.len() >= LEN_MAX, "{overflow:?} {way:?}: a queue with room takes what it can");
                assert_eq!(came.len(), taken.len(), "{overflow:?} {way:?} on {shards}: what was refused does not come");
            }
        });
    }
}

#[test]
fn room_makes_no_acknowledgement_of_what_was_not_kept() {
    for shards in [1, 3] {
        for way in Way::ALL {
            let store = TestStore::default();
            let queue = QueueLimits { len_max: LEN_MAX, overflow: Overflow::HoldBack, ..Settings::default().queue };
            let settings = Settings { shards, queue, storage: store.storage(), ..Settings::default() };
            let broker = TestBroker::with(settings, durable(), false);
            let full = absent(&broker, way, "full", "over/#");
            let mut publisher = broker.connect(way, "publisher");
            for n in 0..LEN_MAX {
                publisher.publish("over/one", &n.to_string(), Qos::AtLeastOnce);
            }
            store.fail(true);
            let held = publisher.start_publish("over/one", "not kept", Qos::AtLeastOnce, false);
            // Whether there is room matters to nobody any more.
            if way.is_extended() {
                assert_eq!(publisher.outcome(held).reason, Reason::STORAGE_FAILED, "{way:?}");
            } else {
                publisher.expect_close();
            }
            store.fail(false);
            let mut full = Client::resume(&broker.address, stored_everywhere(way, "full"), full);
            while full.closed.is_some() {
                full = Client::resume(&broker.address, stored_everywhere(way, "full"), full.drop_connection());
            }
            full.until(|client| client.messages.len() >= LEN_MAX);
            full.settle_down();
            assert!(publisher.settled.iter().all(|(token, outcome)| *token != held || outcome.reason.is_error()), "{way:?}");
        }
    }
}
