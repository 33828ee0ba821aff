//! The story of a client: what was refused to it and what became of its connections, as an operator asks for it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use candor_broker::feedback::ledger::LedgerLimits;
use candor_broker::queue::QueueLimits;
use candor_broker::shard::Settings;
use candor_protocol::codec::dictionary::Dictionary;
use candor_protocol::packet::{Problem, Qos, Reason, Retry, SubAck, TopicFilter, property};
use candor_protocol::session::Answer as Answered;
use candor_protocol::sim::Way;
use serde_json::Value;
use std::time::Instant;
use support::operator::ask;
use support::store::TestStore;
use support::{Client, TestBroker, durable, everywhere, named, policy};

/// Event, reason or topic, and how often.
fn told(lines: &[Value]) -> Vec<String> {
    let text = |line: &Value| {
        let what = line["topic"].as_str().or(line["reason"]["name"].as_str()).unwrap_or_default().to_owned();
        format!("{} {what} {}", line["event"].as_str().unwrap(), line["count"])
    };
    lines.iter().map(text).collect()
}

/// The reasons of a SUBACK, where each filter is granted or refused.
fn suback(client: &mut Client, filters: &[&str]) -> SubAck {
    let filters: Vec<TopicFilter> = filters.iter().map(|filter| TopicFilter::new(*filter).unwrap()).collect();
    match client.subscribe_all(&filters, Qos::AtMostOnce, Dictionary::EMPTY) {
        Answered::Subscribed(suback) => suback,
        other => panic!("{other:?}"),
    }
}

fn granted(suback: &SubAck) -> usize {
    suback.reasons.iter().filter(|reason| !reason.is_error()).count()
}

/// To ask takes a few bytes, and to answer a look at all that the ledger has.
#[test]
fn who_asks_for_too_much_at_once_is_answered_some_of_it_and_told_when_to_ask_for_more() {
    for (question, most) in [("$operator/story", 4), ("$operator/clients", 4), ("$operator/story/device", 32), ("$feedback/#", 32)] {
        everywhere(|broker, way| {
            // MQTT 3.1 refuses no filter but by a close.
            if way == Way::V31 {
                return;
            }
            let mut asker = broker.connect_with(named(way.settings("asker"), "operator"));
            let began = Instant::now();
            let told = suback(&mut asker, &vec![question; 2000]);
            assert_eq!((granted(&told), told.reasons.len()), (most, 2000), "{way:?} {question}");
            if way.is_extended() {
                assert_eq!(told.reasons[most], Reason::QUOTA_EXCEEDED, "{way:?} {question}");
                let problem = Problem::of_dictionary(&told.dictionary.item(most).value(property::PROBLEM).unwrap());
                assert!(matches!(problem.retry, Some(Retry::After { after_ms: 1..=800, .. })), "{way:?} {problem:?}");
            }
            // Nor in many packets; what is no such question goes on.
            let more: usize = (0..50).map(|_| granted(&suback(&mut asker, &[question; 40]))).sum();
            // What the time gives: a thirty-second of all at once in each tenth of a second.
            let earned = began.elapsed().as_millis() as usize * most / 3200 + 1;
            assert!(more <= earned, "{way:?} {question}: {more} more were answered, {earned} were due");
            assert_eq!(asker.subscribe("a", Qos::AtLeastOnce), Reason(1), "{way:?}");
            asker.leave();
        });
    }
}

/// Who does not read what it is told is told no more.
#[test]
fn answers_that_nobody_reads_are_bounded() {
    for way in [Way::Plain, Way::Extended, Way::Offer] {
        let broker = TestBroker::start(1);
        let mut asker = broker.connect(way, "asker");
        asker.settles = None;
        asker.subscribe("big", Qos::AtLeastOnce);
        let mut publisher = broker.connect(way, "publisher");
        let payload = "x".repeat(40_000);
        for _ in 0..130 {
            publisher.publish("big", &payload, Qos::AtLeastOnce);
        }
        let told = suback(&mut asker, &["$operator/story", "b"]);
        assert_eq!(told.reasons.iter().map(|reason| reason.is_error()).collect::<Vec<_>>(), [true, false], "{way:?}");
        if way.is_extended() {
            let problem = Problem::of_dictionary(&told.dictionary.item(0).value(property::PROBLEM).unwrap());
            assert_eq!(problem.title.as_deref(), Some("this connection has not read what it was told"), "{way:?}");
        }
        broker.stop();
    }
}

#[test]
fn the_story_of_a_client_is_told_in_its_order() {
    everywhere(|broker, way| {
        // A slash and a wildcard in it: clients are called as they like. What a disk keeps of one broker is there for the next.
        let number = broker.address.rsplit(':').next().unwrap();
        let id = format!("device/{way:?}/{number}#");
        let question = format!("$operator/story/device/{way:?}/{number}%23");
        let device = || broker.connect_with(named(way.settings(&id), "somebody"));
        let mut first = device();
        for topic in ["deny/a", "deny/a", "deny/b"] {
            first.publish(topic, "x", Qos::AtMostOnce);
        }
        first.settle_down();
        let second = device();
        first.expect_close();
        let mut operator = broker.connect_with(named(way.settings("operator"), "operator"));
        let lines = ask(&mut operator, &question);
        let over = ["verdict deny/a 2", "verdict deny/b 1", "verdict session taken over 1", "disconnected session taken over 1"];
        assert_eq!(told(&lines), [&over[..], &["connected  1"]].concat(), "{way:?}");
        assert!(lines.iter().all(|line| line["client"] == *id && line["principal"] == "somebody"), "{lines:?}");
        let times: Vec<u64> = lines.iter().map(|line| line["at_ms"].as_u64().unwrap()).collect();
        assert!(times.is_sorted() && times[0] > 1_600_000_000_000, "{times:?}");
        let dialect = if way.is_extended() { "extended from 127.0.0.1" } else { "3.1" };
        assert!(lines[3]["by"].as_str().unwrap().starts_with(dialect), "{way:?} {}", lines[3]);
        second.leave();
        for _ in 0..20 {
            device().leave();
        }
        // What comes again and again is said once, and stands behind what came only before.
        assert_eq!(told(&ask(&mut operator, &question)), [&over[..], &["disconnected success 21"]].concat(), "{way:?}");
        // The one of another principal is another story of the same client identifier.
        broker.connect_with(named(way.settings(&id), "mallory")).leave();
        let lines = ask(&mut operator, &question);
        assert_eq!(lines.iter().filter(|line| line["principal"] == "mallory").count(), 1);
        assert!(told(&ask(&mut operator, "$operator/story")).len() > lines.len());
        operator.leave();
    });
}

#[test]
fn nobody_without_a_name_has_a_story() {
    everywhere(|broker, way| {
        let mut client = broker.connect(way, "nameless");
        client.publish("deny/a", "x", Qos::AtMostOnce);
        client.leave();
        let mut operator = broker.connect(way, "operator");
        assert_eq!(ask(&mut operator, "$operator/story/nameless"), [] as [Value; 0]);
        operator.leave();
    });
}

#[test]
fn only_a_rule_that_names_them_lets_somebody_ask_an_operators_questions() {
    let rules = |default: &str| {
        format!(
            "default = \"{default}\"\n[[rule]]\naction = \"allow\"\nuser = \"operator\"\nsubscribe = [\"$operator/#\"]\n\
             [[rule]]\naction = \"allow\"\nuser = \"dashboard\"\nsubscribe = [\"#\", \"$SYS/#\"]\n"
        )
    };
    let subscribe = |broker: &TestBroker, way: Way, name: &str, filter: &str| {
        let mut client = broker.connect_with(named(way.settings("asker"), name));
        let reason = client.subscribe(filter, Qos::AtMostOnce);
        client.leave();
        reason
    };
    for way in [Way::Plain, Way::Extended, Way::Offer] {
        let refused = |reason| if way.is_extended() { reason } else { Reason::UNSPECIFIED_ERROR };
        for default in ["allow", "deny"] {
            let broker = TestBroker::with_rules(Settings::default(), policy(), &rules(default));
            let question = "$operator/story/somebody";
            assert_eq!(subscribe(&broker, way, "operator", question), Reason::SUCCESS);
            assert_eq!(subscribe(&broker, way, "dashboard", question), refused(Reason::NOT_AUTHORIZED), "{way:?} {default}");
            for bad in ["$operator/#", "$operator/story/+", "$share/g/$operator/story", "$operator"] {
                assert_eq!(subscribe(&broker, way, "operator", bad), refused(Reason::TOPIC_FILTER_INVALID), "{way:?} {bad}");
            }
        }
    }
}

#[test]
fn nobody_publishes_an_answer() {
    everywhere(|broker, way| {
        let mut forger = broker.connect(way, "forger");
        if way.is_extended() {
            assert_eq!(forger.publish("$operator/story", "x", Qos::AtLeastOnce).unwrap().reason, Reason::TOPIC_NAME_INVALID);
            forger.leave();
        } else {
            forger.start_publish("$operator/story", "x", Qos::AtLeastOnce, false);
            forger.expect_close();
        }
    });
}

#[test]
fn a_story_outlives_the_broker() {
    for shards in [1, 3] {
        for way in Way::ALL {
            let store = TestStore::default();
            let start = || TestBroker::with(Settings { shards, storage: store.storage(), ..Settings::default() }, durable(), false);
            let device = |broker: &TestBroker| broker.connect_with(named(way.settings("device"), "somebody"));
            for _ in 0..2 {
                let broker = start();
                let mut client = device(&broker);
                client.publish("deny/a", "x", Qos::AtMostOnce);
                client.leave();
                broker.stop();
            }
            let broker = start();
            let mut operator = broker.connect(way, "operator");
            assert_eq!(told(&ask(&mut operator, "$operator/story/device")), ["verdict deny/a 2", "disconnected success 2"], "{way:?}");
            device(&broker).leave();
            assert_eq!(told(&ask(&mut operator, "$operator/story/device")), ["verdict deny/a 2", "disconnected success 3"], "{way:?}");
            operator.leave();
            broker.stop();
        }
    }
}

/// A session that ends with its connection takes its queue with it; what was dropped from that before could not be told to its client.
#[test]
fn a_gap_is_in_the_story_although_its_session_ends_with_the_connection() {
    for shards in [1, 3] {
        for way in Way::ALL {
            let queue = QueueLimits { len_max: 10, ..Settings::default().queue };
            let broker = TestBroker::with(Settings { shards, queue, ..Settings::default() }, policy(), false);
            let mut deaf = broker.connect_with(named(way.settings("deaf"), "somebody"));
            deaf.settles = None;
            deaf.subscribe("much", Qos::AtLeastOnce);
            let mut publisher = broker.connect(Way::Plain, "publisher");
            for n in 0..300 {
                publisher.publish("much", &n.to_string(), Qos::AtLeastOnce);
            }
            publisher.leave();
            deaf.lose_connection();
            let mut operator = broker.connect_with(named(way.settings("operator"), "operator"));
            let lines = told(&ask(&mut operator, "$operator/story/deaf"));
            let mut gaps = lines.iter().filter_map(|line| line.strip_prefix("verdict queue overflow ")?.parse::<u64>().ok());
            let dropped = gaps.next().unwrap_or_else(|| panic!("{way:?} {lines:?}"));
            assert!((100..300).contains(&dropped), "{way:?} {lines:?}");
            operator.leave();
            broker.stop();
        }
    }
}

/// clause plain-feedback.flood MUST NOT
/// A server MUST NOT forget the verdicts on one principal because another one connects with many client identifiers.
#[test]
fn a_flood_of_client_identifiers_pushes_nobody_out() {
    for way in [Way::Plain, Way::Extended] {
        let ledger = LedgerLimits { clients_max: 50, ..LedgerLimits::default() };
        let broker = TestBroker::with(Settings { ledger, ..Settings::default() }, policy(), false);
        let mut victim = broker.connect_with(named(way.settings("victim"), "somebody"));
        victim.publish("deny/a", "x", Qos::AtMostOnce);
        victim.leave();
        for n in 0..300 {
            let mut other = broker.connect_with(named(way.settings(&format!("random-{n}")), "mallory"));
            other.publish("deny/b", "x", Qos::AtMostOnce);
            other.leave();
        }
        let mut operator = broker.connect_with(named(way.settings("operator"), "operator"));
        assert_eq!(told(&ask(&mut operator, "$operator/story/victim")), ["verdict deny/a 1", "disconnected success 1"], "{way:?}");
        assert!(ask(&mut operator, "$operator/story").len() <= 2 * 50);
        let mut victim = broker.connect_with(named(way.settings("victim"), "somebody"));
        victim.subscribe("$feedback/#", Qos::AtMostOnce);
        victim.until(|client| client.messages.len() == 1);
    }
}
