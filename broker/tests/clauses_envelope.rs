//! `$envelope/FILTER`: messages with their metadata, for subscribers that get no dictionaries.

// A helper's panic is the test's: clippy knows it only inside test functions.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use candor_broker::shard::{DeadLetterSettings, Settings, StampSettings};
use candor_protocol::codec::dictionary::{Dictionary, MapBuilder};
use candor_protocol::packet::{Message, Publish, Qos, Reason, TopicFilter, TopicName, property};
use candor_protocol::session::{Answer, Outcome};
use candor_protocol::sim::Way;
use ciborium::Value;
use support::store::TestStore;
use support::{Client, TestBroker, durable, everywhere, named, policy, stored_everywhere};

/// What a message carries: topic, stamps, message map, payload.
fn carried(publish: &Publish) -> [Value; 4] {
    let read: Value = ciborium::from_reader(publish.message.payload()).unwrap();
    read.into_array().unwrap().try_into().unwrap()
}

/// `TOPIC CARRIED-TOPIC CARRIED-PAYLOAD` of each message that has come.
fn take(client: &mut Client, count: usize) -> Vec<String> {
    client.until(|client| client.messages.len() >= count);
    let text = |publish: Publish| {
        let [topic, _, _, payload] = carried(&publish);
        let payload = String::from_utf8(payload.into_bytes().unwrap()).unwrap();
        format!("{} {} {payload}", publish.message.topic_str(), topic.into_text().unwrap())
    };
    client.messages.drain(..).map(text).collect()
}

fn number(number: i64) -> Value {
    Value::Integer(number.into())
}

fn with_map(topic: &str, map: &Dictionary, payload: &str) -> Message {
    Message::new(&TopicName::new(topic).unwrap(), map, payload.as_bytes())
}

/// clause envelope.form MUST
/// A server MUST deliver each message that FILTER matches, to a client that is subscribed to `$envelope/FILTER`, to the topic `$envelope/`
/// followed by its own topic, with a CBOR array as the payload that holds its topic, the map of its stamps under their keys, its
/// message map, and its payload as a byte string.
#[test]
fn a_message_comes_with_all_that_is_said_of_it() {
    for way in Way::ALL {
        for shards in [1, 3] {
            let settings = Settings { shards, stamps: StampSettings::of_all("node 7"), ..Settings::default() };
            let broker = TestBroker::with(settings, policy(), false);
            for qos in Qos::ALL {
                let mut reader = broker.connect(way, "reader");
                assert_eq!(reader.subscribe("$envelope/form/+", qos), Reason(qos as u8));
                let mut publisher = broker.connect_with(named(Way::Extended.settings("publisher"), "somebody"));
                let map =
                    MapBuilder::new().set(property::CONTENT_TYPE, &"text/plain".to_owned()).put_text("mine", |out| out.push(1)).finish();
                publisher.publish_with(with_map("form/a", &map, "x"), Qos::ExactlyOnce, false, Dictionary::EMPTY);
                publisher.publish_with(with_map("form/b", &Dictionary::EMPTY, "y"), Qos::ExactlyOnce, false, Dictionary::EMPTY);
                reader.until(|client| client.messages.len() == 2);
                let first = &reader.messages[0];
                assert_eq!((first.message.topic_str(), first.qos, first.message.map()), ("$envelope/form/a", qos, &[][..]), "{way:?}");
                let [topic, stamps, map, payload] = carried(first);
                assert_eq!(topic, Value::Text("form/a".into()));
                let stamps = stamps.into_map().unwrap();
                assert_eq!(stamps[0], (number(32), Value::Text("somebody".into())));
                assert_eq!(stamps[1], (number(34), Value::Text("node 7".into())));
                assert_eq!((&stamps[2].0, stamps.len()), (&number(36), 3));
                let expected = vec![(number(2), Value::Text("text/plain".into())), (Value::Text("mine".into()), number(1))];
                assert_eq!((map, payload), (Value::Map(expected), Value::Bytes(b"x".to_vec())));
                assert_eq!(carried(&reader.messages[1])[2..], [Value::Map(vec![]), Value::Bytes(b"y".to_vec())]);
                [reader, publisher].into_iter().for_each(Client::leave);
            }
        }
    }
}

/// clause envelope.match MUST
/// A server MUST match `$envelope/FILTER` with exactly the topics that FILTER matches, and serve it beside a subscription to FILTER.
#[test]
fn an_envelope_matches_what_its_filter_matches_and_nothing_else() {
    everywhere(|broker, way| {
        let mut reader = broker.connect(way, "reader");
        for filter in ["$envelope/#", "match/both", "$envelope/match/+"] {
            assert_eq!(reader.subscribe(filter, Qos::AtLeastOnce), Reason(1));
        }
        let mut publisher = broker.connect(Way::Plain, "publisher");
        for topic in ["match/one", "match/both", "$private/x"] {
            publisher.publish(topic, "x", Qos::AtLeastOnce);
        }
        reader.until(|client| client.messages.len() >= 3);
        reader.settle_down();
        let mut topics: Vec<_> = reader.messages.iter().map(|publish| publish.message.topic_str().to_owned()).collect();
        topics.sort_unstable();
        // Once each: both filters of one client match them, as they do with messages that are not wrapped.
        assert_eq!(topics, ["$envelope/match/both", "$envelope/match/one", "match/both"], "{way:?}");
        reader.unsubscribe("$envelope/#");
        reader.messages.clear();
        publisher.publish("other", "x", Qos::AtLeastOnce);
        publisher.publish("match/one", "y", Qos::AtLeastOnce);
        assert_eq!(take(&mut reader, 1), ["$envelope/match/one match/one y"]);
        [reader, publisher].into_iter().for_each(Client::leave);
    });
}

/// clause envelope.rights MUST
/// A server MUST refuse `$envelope/FILTER` where it refuses FILTER, and grant it no higher QoS.
#[test]
fn an_envelope_has_the_rights_of_its_filter() {
    let rules = "default = \"deny\"\n[[rule]]\naction = \"allow\"\nsubscribe = [\"open/#\"]\npublish = [\"#\"]\nqos_max = 1\n";
    let broker = TestBroker::with_rules(Settings::default(), policy(), rules);
    for way in Way::ALL {
        let mut reader = broker.connect_with(named(way.settings("reader"), "somebody"));
        assert_eq!(reader.subscribe("$envelope/open/a", Qos::ExactlyOnce), Reason(1), "{way:?}");
        if way == Way::V31 {
            continue;
        }
        for filter in ["$envelope/secret", "$envelope/#", "$share/g/$envelope/+/a"] {
            let refused = if way.is_extended() { Reason::NOT_AUTHORIZED } else { Reason::UNSPECIFIED_ERROR };
            assert_eq!(reader.subscribe(filter, Qos::AtMostOnce), refused, "{way:?} {filter}");
        }
    }
}

/// clause envelope.malformed MUST
/// A server MUST refuse, with reason 0x8F, a topic filter of `$envelope` or `$envelope/` alone, and one in which `$envelope/` stands before
/// `$share/`, `$envelope/`, or `$feedback`.
#[test]
fn what_cannot_be_wrapped_is_refused() {
    everywhere(|broker, way| {
        if way == Way::V31 {
            return;
        }
        let mut reader = broker.connect(way, "reader");
        for filter in
            ["$envelope", "$envelope/", "$envelope/$share/g/a", "$envelope/$envelope/a", "$envelope/$feedback/#", "$share/g/$envelope/"]
        {
            let refused = if way.is_extended() { Reason::TOPIC_FILTER_INVALID } else { Reason::UNSPECIFIED_ERROR };
            assert_eq!(reader.subscribe(filter, Qos::AtMostOnce), refused, "{way:?} {filter}");
        }
        reader.leave();
    });
}

/// clause envelope.publish MUST
/// A server MUST refuse a PUBLISH to a topic that begins with `$envelope`, with reason 0x90.
#[test]
fn nobody_publishes_an_envelope() {
    everywhere(|broker, way| {
        let mut reader = broker.connect(Way::Plain, "reader");
        for filter in ["$envelope/#", "$envelope/a", "#"] {
            reader.subscribe(filter, Qos::AtMostOnce);
        }
        let mut forger = broker.connect(way, "forger");
        if way.is_extended() {
            assert_eq!(forger.publish("$envelope/a", "x", Qos::AtLeastOnce).unwrap().reason, Reason::TOPIC_NAME_INVALID);
            forger.leave();
        } else {
            forger.start_publish("$envelope/a", "x", Qos::AtLeastOnce, false);
            forger.expect_close();
            assert_eq!(forger.settled, [], "{way:?}");
        }
        reader.expect_nothing();
        reader.leave();
    });
}

/// clause envelope.shared MUST
/// A server MUST serve `$share/GROUP/$envelope/FILTER` as a shared subscription of its own: one member gets each message.
#[test]
fn a_group_shares_envelopes() {
    everywhere(|broker, way| {
        let mut members = [broker.connect(way, "member 1"), broker.connect(Way::Plain, "member 2")];
        for member in &mut members {
            assert_eq!(member.subscribe("$share/g/$envelope/shared/#", Qos::AtLeastOnce), Reason(1));
        }
        let mut publisher = broker.connect(Way::Plain, "publisher");
        for n in 0..6 {
            publisher.publish("shared/a", &n.to_string(), Qos::AtLeastOnce);
        }
        let mut all: Vec<String> = members.iter_mut().flat_map(|member| take(member, 3)).collect();
        all.sort_unstable();
        let expected: Vec<String> = (0..6).map(|n| format!("$envelope/shared/a shared/a {n}")).collect();
        assert_eq!(all, expected, "{way:?}");
        members.into_iter().for_each(|mut member| {
            member.expect_nothing();
            member.leave();
        });
        publisher.leave();
    });
}

/// clause envelope.retained MUST
/// A server MUST send the retained messages that FILTER matches, wrapped and with RETAIN set to 1, to a client that subscribes to
/// `$envelope/FILTER`.
#[test]
fn retained_messages_come_wrapped() {
    everywhere(|broker, way| {
        let mut publisher = broker.connect(way, "publisher");
        publisher.retain("kept/a", "x");
        let mut reader = broker.connect_with(stored_everywhere(way, "reader"));
        reader.subscribe("$envelope/kept/+", Qos::AtLeastOnce);
        assert_eq!(take(&mut reader, 1), ["$envelope/kept/a kept/a x"], "{way:?}");
        publisher.retain("kept/b", "y");
        reader.until(|client| client.messages.len() == 1);
        assert!(!reader.messages[0].retain);
        reader.subscribe("$envelope/kept/+", Qos::AtLeastOnce);
        reader.until(|client| client.messages.len() == 3);
        assert!(reader.messages[1..].iter().all(|publish| publish.retain));
        for topic in ["kept/a", "kept/b"] {
            publisher.retain(topic, "");
        }
        broker.connect(way, "reader").leave();
        publisher.leave();
    });
}

/// clause envelope.critical MUST
/// A server MUST deliver a message to a plain client that is subscribed to `$envelope/FILTER` whatever the keys of its message map are:
/// there the client sees what binds it.
#[test]
fn a_critical_key_is_seen_in_the_envelope() {
    everywhere(|broker, way| {
        let mut reader = broker.connect(way, "reader");
        reader.subscribe("$envelope/critical", Qos::AtLeastOnce);
        let mut publisher = broker.connect(Way::Extended, "publisher");
        let map = MapBuilder::new().put(1001, |out| out.push(1)).finish();
        publisher.publish_with(with_map("critical", &map, "x"), Qos::AtLeastOnce, false, Dictionary::EMPTY);
        reader.until(|client| client.messages.len() == 1);
        assert_eq!(carried(&reader.messages[0])[2], Value::Map(vec![(number(1001), number(1))]), "{way:?}");
        [reader, publisher].into_iter().for_each(Client::leave);
    });
}

/// clause envelope.owed MUST
/// A server MUST keep what it owes to a subscription to `$envelope/FILTER` as durably as what it owes to one to FILTER.
#[test]
fn an_envelope_waits_for_its_reader_and_outlives_the_broker() {
    for way in Way::ALL {
        for shards in [1, 3] {
            let store = TestStore::default();
            let start = || TestBroker::with(Settings { shards, storage: store.storage(), ..Settings::default() }, durable(), false);
            let broker = start();
            let mut reader = broker.connect_with(stored_everywhere(way, "reader"));
            reader.subscribe("$envelope/owed/#", Qos::ExactlyOnce);
            reader.settles = None;
            let mut publisher = broker.connect(way, "publisher");
            publisher.publish("owed/a", "in flight", Qos::AtLeastOnce);
            reader.until(|client| client.messages.len() == 1);
            let parked = reader.lose_connection();
            for (payload, qos) in [("1", Qos::AtLeastOnce), ("2", Qos::ExactlyOnce)] {
                assert_eq!(publisher.publish("owed/a", payload, qos).unwrap().reason, Reason::SUCCESS);
            }
            publisher.leave();
            broker.stop();
            let broker = start();
            let mut reader = Client::resume(&broker.address, stored_everywhere(way, "reader"), parked);
            let texts = take(&mut reader, 3);
            assert_eq!(texts, ["in flight", "1", "2"].map(|payload| format!("$envelope/owed/a owed/a {payload}")), "{way:?}");
            // The subscription came back too.
            broker.connect(way, "publisher").publish("owed/b", "3", Qos::AtLeastOnce);
            assert_eq!(take(&mut reader, 1), ["$envelope/owed/b owed/b 3"]);
            reader.leave();
        }
    }
}

#[test]
fn a_publisher_learns_that_its_message_reached_an_envelope() {
    everywhere(|broker, way| {
        if !way.is_extended() {
            return;
        }
        let mut reader = broker.connect(Way::Plain, "reader");
        let mut publisher = broker.connect(way, "publisher");
        let reason = |publisher: &mut Client| publisher.publish("reached", "x", Qos::AtLeastOnce).map(|Outcome { reason, .. }| reason);
        assert_eq!(reason(&mut publisher), Some(Reason::NO_MATCHING_SUBSCRIBERS));
        let filters = ["$envelope/reached", "$share/g/$envelope/reached"].map(|filter| TopicFilter::new(filter).unwrap());
        let Answer::Subscribed(_) = reader.subscribe_all(&filters, Qos::AtMostOnce, Dictionary::EMPTY) else { panic!() };
        assert_eq!(reason(&mut publisher), Some(Reason::SUCCESS));
        assert_eq!(take(&mut reader, 2), ["$envelope/reached reached x"; 2]);
        [reader, publisher].into_iter().for_each(Client::leave);
    });
}

#[test]
fn a_member_that_releases_an_envelope_leaves_it_to_another() {
    everywhere(|broker, way| {
        if !way.is_extended() {
            return;
        }
        let mut members = [broker.connect(way, "member 1"), broker.connect(way, "member 2")];
        for member in &mut members {
            member.subscribe("$share/g/$envelope/released", Qos::AtLeastOnce);
            member.settles = None;
        }
        let mut publisher = broker.connect(Way::Plain, "publisher");
        publisher.publish("released", "x", Qos::AtLeastOnce);
        let [one, two] = &mut members;
        one.settle_down();
        let (first, other) = if one.messages.is_empty() { (two, one) } else { (one, two) };
        first.until(|client| !client.tickets.is_empty());
        first.settle(first.tickets[0], Outcome::released());
        assert_eq!(take(other, 1), ["$envelope/released released x"], "{way:?}");
        other.settle(other.tickets[0], Outcome::accepted());
        members.into_iter().for_each(Client::leave);
        publisher.leave();
    });
}

#[test]
fn an_envelope_that_is_rejected_is_filed_as_the_message_that_it_carries() {
    for way in [Way::Extended, Way::Offer] {
        for shards in [1, 3] {
            let dead_letters = DeadLetterSettings {
                namespaces: vec![TopicFilter::new("orders/#").unwrap()],
                len_max: 10,
                bytes_max: 1 << 20,
                keeps_text: false,
            };
            let broker = TestBroker::with(Settings { shards, dead_letters, ..Settings::default() }, policy(), false);
            let mut reader = broker.connect(way, "reader");
            reader.subscribe("$envelope/orders/+", Qos::AtLeastOnce);
            reader.settles = Some(Outcome::refused(candor_protocol::packet::Refusal::bare(Reason::REJECTED)));
            let map = MapBuilder::new().set(property::CONTENT_TYPE, &"text/plain".to_owned()).finish();
            broker.connect(Way::Extended, "publisher").publish_with(
                with_map("orders/7", &map, "x"),
                Qos::AtLeastOnce,
                false,
                Dictionary::EMPTY,
            );
            reader.until(|client| client.messages.len() == 1);
            reader.settle_down();
            let mut operator = broker.connect(way, "operator");
            operator.subscribe("$dead-letters/+/orders/#", Qos::AtMostOnce);
            operator.until(|client| client.messages.len() == 1);
            let filed = &operator.messages[0].message;
            assert!(filed.topic_str().ends_with("/orders/7"), "{way:?}: {filed:?}");
            assert_eq!((filed.payload(), filed.map()), (&b"x"[..], &map.as_bytes()[..]));
        }
    }
}

#[test]
fn dead_letters_in_an_envelope_need_the_right_to_their_source() {
    let rules = "default = \"allow\"\n[[rule]]\naction = \"deny\"\nsubscribe = [\"secret/#\"]\n";
    let broker = TestBroker::with_rules(Settings::default(), policy(), rules);
    for way in [Way::Plain, Way::Extended, Way::Offer] {
        let mut reader = broker.connect_with(named(way.settings("reader"), "somebody"));
        let refused = if way.is_extended() { Reason::NOT_AUTHORIZED } else { Reason::UNSPECIFIED_ERROR };
        for filter in ["$dead-letters/+/secret/#", "$envelope/$dead-letters/+/secret/#", "$share/g/$envelope/$dead-letters/+/secret/a"] {
            assert_eq!(reader.subscribe(filter, Qos::AtMostOnce), refused, "{way:?} {filter}");
        }
        assert_eq!(reader.subscribe("$envelope/$dead-letters/+/open/#", Qos::AtMostOnce), Reason::SUCCESS, "{way:?}");
    }
}
