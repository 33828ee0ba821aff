//! What publishers and subscribers are told: notices, gaps, receipts, and the private view under `$feedback/`.

// A helper's panic is the test's: clippy knows it only inside test functions.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use bytes::Bytes;
use candor_broker::queue::QueueLimits;
use candor_broker::shard::Settings;
use candor_protocol::codec::dictionary::{Dictionary, MapBuilder};
use candor_protocol::packet::subscribe::items_of;
use candor_protocol::packet::{Durability, Message, Overflow, Problem, Qos, Reason, Requirement, TopicFilter, property};
use candor_protocol::session::{Answer, Outcome, ServerPolicy};
use candor_protocol::sim::Way;
use std::time::{Duration, Instant};
use support::{Client, TestBroker, denied, everywhere, named, policy, stored_everywhere};

const EXTENDED: [Way; 2] = [Way::Extended, Way::Offer];
const ABOVE_QOS_0: [Qos; 2] = [Qos::AtLeastOnce, Qos::ExactlyOnce];

fn json(client: &Client, at: usize) -> serde_json::Value {
    serde_json::from_slice(client.messages[at].message.payload()).unwrap()
}

/// The problem, but for its trace id, which is another each time.
fn problem_in(dictionary: &Dictionary) -> Problem {
    let mut problem = Problem::of_dictionary(&dictionary.value(property::PROBLEM).unwrap());
    assert_eq!(problem.trace_id.take().unwrap().len(), 16);
    problem
}

/// clause notices.refused MUST
/// A server that refuses a PUBLISH of QoS 0 on an extended connection MUST send a NOTICE with the reason, the problem, the topic,
/// and the `tag` of the PUBLISH.
#[test]
fn a_refused_qos_0_message_brings_a_notice() {
    everywhere(|broker, way| {
        if !way.is_extended() {
            return;
        }
        let mut publisher = broker.connect(way, "refused");
        let tag = Dictionary::with(property::TAG, &Bytes::from_static(b"job 7"));
        publisher.publish_with(Message::publish("deny/a", "x").unwrap(), Qos::AtMostOnce, false, tag);
        publisher.until(|client| !client.notices.is_empty());
        let notice = &publisher.notices[0];
        assert_eq!((notice.reason, problem_in(&notice.dictionary)), (Reason::NOT_AUTHORIZED, (*denied().problem).clone()));
        assert_eq!(notice.dictionary.value(property::TOPIC).as_deref(), Some("deny/a"));
        assert_eq!(notice.dictionary.value(property::TAG).as_deref(), Some(&b"job 7"[..]));
        publisher.leave();
    });
}

/// clause notices.success MUST NOT
/// A server MUST NOT send a NOTICE about a message that it took.
#[test]
fn success_brings_no_notice() {
    everywhere(|broker, way| {
        let mut subscriber = broker.connect(Way::Plain, "subscriber");
        subscriber.subscribe("fine/#", Qos::AtMostOnce);
        let mut publisher = broker.connect(way, "publisher");
        for topic in ["fine/a", "nobody/a"] {
            for qos in Qos::ALL {
                let tag = Dictionary::with(property::TAG, &Bytes::from_static(b"job 7"));
                publisher.publish_with(Message::publish(topic, "x").unwrap(), qos, false, tag);
            }
        }
        publisher.settle_down();
        assert_eq!(publisher.notices, [], "{way:?}");
        publisher.leave();
    });
}

/// clause notices.plain MUST
/// A server MUST drop a refused PUBLISH of QoS 0 on a plain connection and keep the connection.
#[test]
fn a_plain_publisher_of_qos_0_goes_on() {
    everywhere(|broker, way| {
        if way.is_extended() {
            return;
        }
        let mut subscriber = broker.connect(Way::Plain, "subscriber");
        subscriber.subscribe("#", Qos::AtMostOnce);
        let mut publisher = broker.connect(way, "publisher");
        publisher.publish("deny/a", "x", Qos::AtMostOnce);
        publisher.publish("fine", "y", Qos::AtLeastOnce);
        assert_eq!(subscriber.expect(1), ["fine y"], "{way:?}");
        subscriber.expect_nothing();
        publisher.leave();
    });
}

/// clause custody.no-match MUST
/// A server MUST acknowledge a message that no subscription matched, and that it did not retain, with reason 0x10.
#[test]
fn a_message_that_nobody_wants_is_told_as_such() {
    everywhere(|broker, way| {
        for qos in ABOVE_QOS_0 {
            let mut publisher = broker.connect(way, "publisher");
            let unwanted = if way.is_extended() { Reason::NO_MATCHING_SUBSCRIBERS } else { Reason::SUCCESS };
            assert_eq!(publisher.publish("nobody/a", "x", qos).unwrap().reason, unwanted, "{way:?} {qos:?}");
            let mut subscriber = broker.connect(Way::Plain, "subscriber");
            subscriber.subscribe("nobody/a", Qos::AtMostOnce);
            assert_eq!(publisher.publish("nobody/a", "x", qos).unwrap().reason, Reason::SUCCESS);
            subscriber.unsubscribe("nobody/a");
            // One that does not want its own messages is none that gets them.
            let options = Dictionary::with(property::SUBSCRIPTION_OPTIONS, &1);
            publisher.subscribe_with("nobody/a", Qos::AtMostOnce, items_of(vec![options]));
            if way.is_extended() {
                assert_eq!(publisher.publish("nobody/a", "x", qos).unwrap().reason, unwanted);
            }
            [publisher, subscriber].into_iter().for_each(Client::leave);
        }
    });
}

/// clause custody.minimum MUST
/// A server MUST refuse a message whose `minimum-durability` it does not reach with reason 0xC3, and a problem that holds what it
/// reaches and what was asked for.
#[test]
fn a_message_is_not_kept_less_durably_than_it_must_be() {
    everywhere(|broker, way| {
        if !way.is_extended() {
            return;
        }
        let mut subscriber = broker.connect(Way::Plain, "subscriber");
        subscriber.subscribe("minimum", Qos::AtLeastOnce);
        let mut publisher = broker.connect(way, "publisher");
        let declared = publisher.session.terms().profile.durability;
        for qos in ABOVE_QOS_0 {
            for minimum in Durability::ALL {
                let mut hop = MapBuilder::new();
                hop.set(property::MINIMUM_DURABILITY, &(minimum as u64)).set(property::RECEIPT_REQUEST, &true);
                let message = Message::publish("minimum", minimum.name()).unwrap();
                let outcome = publisher.publish_with(message, qos, false, hop.finish()).unwrap();
                match outcome.refusal() {
                    None => assert!(outcome.receipt >= Some(minimum) && minimum <= declared, "{minimum:?}: {outcome:?}"),
                    Some(refusal) => {
                        assert!(minimum > declared, "{minimum:?}: {refusal:?}");
                        assert_eq!(refusal.reason, Reason::PROFILE_NOT_AVAILABLE);
                        let problem = &refusal.problem;
                        assert_eq!((problem.limit, problem.seen), (Some(declared as u64), Some(minimum as u64)));
                    }
                }
            }
        }
        let taken = Durability::ALL.into_iter().filter(|minimum| *minimum <= declared).map(|minimum| format!("minimum {minimum}"));
        let expected: Vec<String> = taken.clone().chain(taken).collect();
        assert_eq!(subscriber.expect(expected.len()), expected);
        subscriber.expect_nothing();
        publisher.leave();
    });
}

/// clause profiles.feature MUST
/// A server MUST refuse a message that needs a feature which its profile lacks: a QoS above `maximum-qos` with reason 0x9B, a
/// retained one with 0x9A.
#[test]
fn a_feature_that_is_not_there_is_not_pretended() {
    let mut least = policy();
    (least.profile.qos_max, least.profile.retain) = (1, false);
    let broker = TestBroker::with(Settings::default(), ServerPolicy { ..least }, false);
    for way in Way::ALL {
        let mut watcher = broker.connect(Way::Plain, "watcher");
        assert_eq!(watcher.subscribe("feature", Qos::ExactlyOnce), Reason::GRANTED_QOS_1);
        for (qos, retain, reason) in [(Qos::ExactlyOnce, false, 0x9B), (Qos::AtLeastOnce, true, 0x9A)] {
            let mut publisher = broker.connect(way, "publisher");
            let message = Message::publish("feature", "x").unwrap();
            if way.is_extended() {
                let outcome = publisher.publish_with(message, qos, retain, Dictionary::EMPTY).unwrap();
                assert_eq!(outcome.reason, Reason(reason), "{way:?}");
                publisher.leave();
            } else {
                publisher.start_publish("feature", "x", qos, retain);
                publisher.expect_close();
                assert_eq!(publisher.settled, [], "{way:?}");
            }
        }
        watcher.expect_nothing();
        watcher.leave();
    }
}

/// clause profiles.items MUST
/// A server MUST refuse a topic filter whose own requirement, under `items`, fails with reason 0xC3 for itself, with a problem that
/// names the clause, and act on the others.
#[test]
fn a_requirement_of_one_filter_concerns_that_filter() {
    everywhere(|broker, way| {
        if !way.is_extended() {
            return;
        }
        let mut client = broker.connect(way, "choosy");
        let requirement = |durability| {
            let requirement = Requirement { durability: Some(durability), ..Requirement::default() };
            Dictionary::with(property::REQUIRE, &requirement.to_dictionary())
        };
        let items = items_of(vec![requirement(Durability::Memory), requirement(Durability::Quorum)]);
        let filters = ["items/a", "items/b"].map(|filter| TopicFilter::new(filter).unwrap());
        let Answer::Subscribed(suback) = client.subscribe_all(&filters, Qos::AtLeastOnce, items) else { panic!() };
        assert_eq!(suback.reasons, [Reason::GRANTED_QOS_1, Reason::PROFILE_NOT_AVAILABLE], "{way:?}");
        let problem = Problem::of_dictionary(&suback.dictionary.item(1).value(property::PROBLEM).unwrap());
        assert_eq!(problem.field.as_deref(), Some("require: durability"));
        let mut publisher = broker.connect(Way::Plain, "publisher");
        publisher.publish("items/b", "x", Qos::AtLeastOnce);
        publisher.publish("items/a", "x", Qos::AtLeastOnce);
        assert_eq!(client.expect(1), ["items/a x"]);
        client.leave();
    });
}

/// clause refusals.rights MUST
/// A server MUST refuse a topic filter that the client may not subscribe to in its place of the SUBACK, with a problem in the same
/// place under `items`, and act on the others.
#[test]
fn a_filter_without_right_is_refused_for_itself() {
    everywhere(|broker, way| {
        if way == Way::V31 {
            return;
        }
        let mut client = broker.connect(way, "curious");
        let filters = ["open/a", "secret/#", "open/b"].map(|filter| TopicFilter::new(filter).unwrap());
        let Answer::Subscribed(suback) = client.subscribe_all(&filters, Qos::AtMostOnce, Dictionary::EMPTY) else { panic!() };
        let refused = if way.is_extended() { Reason::NOT_AUTHORIZED } else { Reason::UNSPECIFIED_ERROR };
        assert_eq!(suback.reasons, [Reason::SUCCESS, refused, Reason::SUCCESS], "{way:?}");
        if way.is_extended() {
            assert_eq!(problem_in(&suback.dictionary.item(1)), *denied().problem);
        }
        let mut publisher = broker.connect(Way::Plain, "publisher");
        for topic in ["open/a", "secret/a", "open/b"] {
            publisher.publish(topic, "x", Qos::AtLeastOnce);
        }
        assert_eq!(client.expect(2), ["open/a x", "open/b x"]);
        client.expect_nothing();
        client.leave();
    });
}

/// clause settlement.delay MUST NOT
/// A server MUST NOT send a message that came back with reason 0xC1 again before its `delay` has passed.
#[test]
fn a_message_that_was_put_off_does_not_come_early() {
    for way in EXTENDED {
        let broker = TestBroker::start(1);
        let mut subscriber = broker.connect(way, "later");
        subscriber.subscribe("delay", Qos::AtLeastOnce);
        subscriber.settles = None;
        broker.connect(Way::Plain, "publisher").publish("delay", "x", Qos::AtLeastOnce);
        subscriber.until(|client| client.tickets.len() == 1);
        let from = Instant::now();
        subscriber.settle(subscriber.tickets[0], Outcome::modified(300));
        subscriber.until(|client| client.tickets.len() == 2);
        // The broker's clock has whole milliseconds and may have begun one before.
        assert!(from.elapsed() >= Duration::from_millis(299), "{way:?}: {:?}", from.elapsed());
        assert_eq!(subscriber.messages[1].dictionary.value(property::REDELIVERY_COUNT), Some(1));
        subscriber.leave();
    }
}

/// clause settlement.rejected MUST NOT
/// A server MUST NOT send a message to a subscriber again that settled it with a reason from 0x80 other than 0xC0 and 0xC1, on this
/// connection or a later one.
#[test]
fn a_rejected_message_does_not_come_again() {
    for shards in [1, 3] {
        let broker = TestBroker::start(shards);
        for way in EXTENDED {
            for qos in ABOVE_QOS_0 {
                for reason in [Reason::REJECTED, Reason::NOT_AUTHORIZED, Reason(0xFF)] {
                    let mut subscriber = broker.connect_with(stored_everywhere(way, "rejecter"));
                    subscriber.subscribe("reject", qos);
                    subscriber.settles = Some(Outcome::refused(candor_protocol::packet::Refusal::bare(reason)));
                    let mut publisher = broker.connect(Way::Plain, "publisher");
                    publisher.publish("reject", "x", qos);
                    assert_eq!(subscriber.expect(1), ["reject x"]);
                    subscriber.expect_nothing();
                    let parked = subscriber.drop_connection();
                    let mut again = Client::resume(&broker.address, stored_everywhere(way, "rejecter"), parked);
                    again.expect_nothing();
                    again.leave();
                    broker.connect(Way::Plain, "rejecter").leave();
                }
            }
        }
    }
}

/// clause feedback.gap MUST
/// A server MUST tell an extended subscriber of messages that it was owed and that were dropped, with a NOTICE with reason 0x41 for
/// each reason, which holds the reason and how many they were.
#[test]
fn a_subscriber_learns_how_much_it_has_missed_and_why() {
    for way in EXTENDED {
        for overflow in [Overflow::DropOldest, Overflow::DropNewest] {
            let queue = QueueLimits { len_max: 10, bytes_max: 1024 * 1024, overflow };
            let broker = TestBroker::with(Settings { queue, ..Settings::default() }, policy(), false);
            let mut client = broker.connect_with(stored_everywhere(way, "away"));
            client.subscribe("away", Qos::AtLeastOnce);
            let parked = client.drop_connection();
            let mut publisher = broker.connect(Way::Plain, "publisher");
            for n in 0..25 {
                publisher.publish("away", &n.to_string(), Qos::AtLeastOnce);
            }
            let mut client = Client::resume(&broker.address, stored_everywhere(way, "away"), parked);
            client.until(|client| !client.notices.is_empty() && client.messages.len() >= 10);
            client.settle_down();
            assert_eq!(client.notices.len(), 1, "{way:?} {overflow:?}");
            let told = &client.notices[0];
            // What was sent before the broker saw the end of the connection was not dropped.
            assert_eq!(told.dictionary.value(property::COUNT), Some(25 - client.messages.len() as u64));
            assert_eq!(told.dictionary.value(property::REASON), Some(u64::from(Reason::QUEUE_OVERFLOW.0)));
            let last = client.messages.last().unwrap().message.payload().to_vec();
            assert_eq!(last == b"24", overflow == Overflow::DropOldest);
            client.leave();
        }
    }
}

/// clause feedback.not-refused MUST NOT
/// A server MUST NOT refuse a publisher a message because the queue of one subscriber is full.
#[test]
fn the_overflow_of_one_subscriber_is_no_refusal_to_the_publisher() {
    for way in Way::ALL {
        let queue = QueueLimits { len_max: 1, bytes_max: 1024, overflow: Overflow::DropNewest };
        let broker = TestBroker::with(Settings { queue, ..Settings::default() }, policy(), false);
        let mut client = broker.connect_with(stored_everywhere(way, "away"));
        client.subscribe("away", Qos::AtLeastOnce);
        client.drop_connection();
        let mut awake = broker.connect(Way::Plain, "awake");
        awake.subscribe("away", Qos::AtLeastOnce);
        let mut publisher = broker.connect(way, "publisher");
        for qos in ABOVE_QOS_0 {
            for n in 0..5 {
                assert_eq!(publisher.publish("away", &n.to_string(), qos).unwrap().reason, Reason::SUCCESS, "{way:?}");
            }
        }
        assert_eq!(awake.expect(10).len(), 10);
        publisher.leave();
    }
}

fn listening(broker: &TestBroker, way: Way, id: &str, name: &str) -> Client {
    let mut client = broker.connect_with(named(way.settings(id), name));
    assert_eq!(client.subscribe("$feedback/#", Qos::ExactlyOnce), Reason::GRANTED_QOS_1);
    client.settle_down();
    client.messages.clear();
    client
}

/// clause plain-feedback.verdict MUST
/// A server MUST publish each refusal of a client's packets to the client itself under `$feedback/`, when it has subscribed there, as
/// JSON with the reason, the topic, the rule, and whether a retry helps.
#[test]
fn a_client_reads_what_was_refused_and_why() {
    everywhere(|broker, way| {
        let mut client = listening(broker, way, "listener", "somebody");
        client.publish("deny/a", "x", Qos::AtMostOnce);
        client.until(|client| !client.messages.is_empty());
        let verdict = json(&client, 0);
        assert_eq!(client.messages[0].message.topic_str(), "$feedback/publish");
        assert_eq!(
            (&verdict["reason"]["code"], &verdict["topic"], &verdict["rule"], &verdict["retry"]["when"]),
            (&0x87.into(), &"deny/a".into(), &"test rule".into(), &"changed".into())
        );
        assert!(verdict["title"].is_string() && verdict["at_ms"].is_u64() && verdict["count"] == 1, "{way:?}");
        client.leave();
    });
}

/// clause plain-feedback.private MUST NOT
/// A server MUST NOT deliver feedback to any client but the one it is about, nor match it with `#` or any other filter that does not
/// begin with `$feedback/`.
#[test]
fn feedback_is_private() {
    everywhere(|broker, way| {
        let mut client = listening(broker, way, "listener", "somebody");
        let mut others = [
            (broker.connect_with(named(Way::Plain.settings("other"), "somebody")), "$feedback/#"),
            (broker.connect(way, "anybody"), "#"),
            (broker.connect(Way::Extended, "anyone"), "+/publish"),
        ];
        for (other, filter) in &mut others {
            other.subscribe(filter, Qos::AtLeastOnce);
        }
        client.subscribe("#", Qos::AtMostOnce);
        client.publish("deny/a", "x", Qos::AtMostOnce);
        client.until(|client| !client.messages.is_empty());
        client.settle_down();
        assert_eq!(client.messages.len(), 1, "{way:?}: once, by its own filter");
        for (mut other, _) in others {
            other.expect_nothing();
            other.leave();
        }
        client.leave();
    });
}

/// clause plain-feedback.publish MUST
/// A server MUST refuse a PUBLISH to a topic that begins with `$feedback`, with reason 0x90.
#[test]
fn feedback_cannot_be_forged() {
    everywhere(|broker, way| {
        let mut client = listening(broker, way, "listener", "somebody");
        for topic in ["$feedback", "$feedback/publish"] {
            let mut forger = broker.connect_with(named(way.settings("forger"), "somebody"));
            forger.publish(topic, "{}", Qos::AtMostOnce);
            if way.is_extended() {
                assert_eq!(forger.publish(topic, "{}", Qos::AtLeastOnce).unwrap().reason, Reason::TOPIC_NAME_INVALID);
                forger.leave();
            } else {
                forger.start_publish(topic, "{}", Qos::AtLeastOnce, true);
                forger.expect_close();
                assert_eq!(forger.settled, [], "{way:?}");
            }
        }
        client.expect_nothing();
        client.leave();
    });
}

/// clause plain-feedback.retained MUST NOT
/// A server MUST NOT retain feedback, nor serve a shared subscription to it, nor grant more than QoS 1.
#[test]
fn feedback_is_not_retained_shared_or_qos_2() {
    everywhere(|broker, way| {
        let mut client = listening(broker, way, "listener", "somebody");
        client.publish("deny/a", "x", Qos::AtMostOnce);
        client.until(|client| !client.messages.is_empty());
        assert!(!client.messages[0].retain && client.messages[0].qos == Qos::AtLeastOnce, "{way:?}");
        if way != Way::V31 {
            let refused = if way.is_extended() { Reason::TOPIC_FILTER_INVALID } else { Reason::UNSPECIFIED_ERROR };
            assert_eq!(client.subscribe("$share/group/$feedback/#", Qos::AtLeastOnce), refused);
        }
        client.leave();
    });
}

/// clause plain-feedback.ledger MUST
/// A server MUST send the last verdicts on an authenticated client again when it subscribes to `$feedback/` on a later connection, to
/// the same principal with the same client identifier alone.
#[test]
fn the_ledger_outlives_the_connection_of_an_authenticated_client() {
    everywhere(|broker, way| {
        let id = format!("ledger-{way:?}");
        let mut client = broker.connect_with(named(way.settings(&id), "somebody"));
        client.publish("deny/a", "x", Qos::AtMostOnce);
        client.publish("allowed", "x", Qos::AtLeastOnce);
        client.leave();
        for (name, knows) in [("somebody", true), ("mallory", false)] {
            for other in Way::ALL {
                let mut again = broker.connect_with(named(other.settings(&id), name));
                again.subscribe("$feedback/publish", Qos::AtMostOnce);
                again.settle_down();
                assert_eq!(!again.messages.is_empty(), knows, "{way:?} {other:?} {name}");
                if knows {
                    assert_eq!(json(&again, 0)["topic"], "deny/a");
                }
                again.leave();
            }
        }
    });
}

/// clause plain-feedback.anonymous MUST NOT
/// A server MUST NOT keep verdicts on a client that it did not authenticate beyond the connection.
#[test]
fn nobody_reads_the_ledger_of_somebody_without_a_name() {
    everywhere(|broker, way| {
        let mut client = broker.connect(way, "anonymous");
        client.subscribe("$feedback/#", Qos::AtMostOnce);
        client.publish("deny/a", "x", Qos::AtMostOnce);
        client.until(|client| !client.messages.is_empty());
        client.leave();
        let mut next = broker.connect(way, "anonymous");
        next.subscribe("$feedback/#", Qos::AtMostOnce);
        next.expect_nothing();
        next.leave();
    });
}
