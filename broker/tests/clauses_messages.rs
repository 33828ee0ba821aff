//! What becomes of a message's metadata: over retained messages, wills and queues, and towards every dialect.

// A helper's panic is the test's: clippy knows it only inside test functions.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use bytes::Bytes;
use candor_broker::shard::{Settings, StampSettings};
use candor_protocol::codec::dictionary::{Dictionary, KeyRef, MapBuilder, write_text};
use candor_protocol::packet::{Message, Publish, Qos, Reason, TopicName, Will, property};
use candor_protocol::session::Parked;
use candor_protocol::sim::Way;
use support::{Client, TestBroker, everywhere, named, policy, stored_everywhere, time_passes};

/// A message map with keys that are known, unknown, and of an application.
fn map() -> Dictionary {
    let mut map = MapBuilder::new();
    map.set(property::CONTENT_TYPE, &"text/plain".to_owned())
        .put(5000, |out| out.push(0xF6))
        .put_text("unit", |out| write_text(out, "Cel"));
    map.finish()
}

fn with_map(topic: &str, map: &Dictionary) -> Message {
    Message::new(&TopicName::new(topic).unwrap(), map, b"21.5")
}

fn binding() -> Dictionary {
    let mut map = MapBuilder::new();
    map.put(5001, |out| out.push(0xF5));
    map.finish()
}

fn keys(publish: &Publish) -> Vec<i64> {
    let numbers = publish.dictionary.entries().filter_map(|(key, _)| if let KeyRef::Number(number) = key { Some(number) } else { None });
    numbers.filter(|number| *number != 0).collect()
}

/// What a client of this way gets of the map: all of it, or nothing.
fn expected(way: Way) -> Vec<u8> {
    if way.is_extended() { map().as_bytes().to_vec() } else { Vec::new() }
}

fn one(client: &mut Client) -> Publish {
    client.until(|client| !client.messages.is_empty());
    client.messages.remove(0)
}

/// clause message.stored MUST
/// A server MUST deliver a retained message, a message that waited for a stored session, and a will with the message map that the
/// publisher gave it, byte for byte, on every extended connection, and without it on every plain one, whichever dialect the
/// publisher used and the session used before.
#[test]
fn a_message_map_survives_storage_and_changes_of_dialect() {
    everywhere(|broker, way| {
        let mut publisher = broker.connect(Way::Extended, "map-publisher");
        publisher.publish_with(with_map("map/kept", &map()), Qos::AtLeastOnce, true, Dictionary::EMPTY);
        // Retained.
        let mut subscriber = broker.connect(way, "map-subscriber");
        subscriber.subscribe("map/kept", Qos::AtLeastOnce);
        assert_eq!(one(&mut subscriber).message.map(), expected(way), "{way:?}");
        subscriber.leave();
        // Queued, and in flight, for a session that comes back by each way.
        for first in Way::ALL {
            let mut sleeper = broker.connect_with(stored_everywhere(first, "map-sleeper"));
            sleeper.subscribe("map/queued", Qos::ExactlyOnce);
            sleeper.settles = None;
            publisher.publish_with(with_map("map/queued", &map()), Qos::AtLeastOnce, false, Dictionary::EMPTY);
            assert_eq!(one(&mut sleeper).message.map(), expected(first));
            let parked = sleeper.drop_connection();
            publisher.publish_with(with_map("map/queued", &map()), Qos::AtLeastOnce, false, Dictionary::EMPTY);
            let mut sleeper = Client::resume(&broker.address, stored_everywhere(way, "map-sleeper"), parked);
            sleeper.until(|client| client.messages.len() == 2);
            for publish in &sleeper.messages {
                // A session that was plain is not held back: its messages may be faster than the offer, and are plain then.
                let before_the_offer = way == Way::Offer && !first.is_extended() && publish.message.map().is_empty();
                assert!(before_the_offer || publish.message.map() == expected(way), "{first:?} to {way:?}: {publish:?}");
            }
            sleeper.leave();
            broker.connect(Way::Plain, "map-sleeper").leave();
        }
        // A will.
        let mut settings = Way::Extended.settings("map-lost");
        settings.connect.will =
            Some(Will { message: with_map("map/will", &map()), qos: Qos::AtLeastOnce, retain: false, dictionary: Dictionary::EMPTY });
        let mut watcher = broker.connect(way, "map-watcher");
        watcher.subscribe("map/will", Qos::AtLeastOnce);
        broker.connect_with(settings).drop_connection();
        assert_eq!(one(&mut watcher).message.map(), expected(way));
        watcher.leave();
        publisher.retain("map/kept", "");
    });
}

/// clause message.withheld MUST NOT
/// A server MUST NOT deliver a message whose message map holds a critical key on a plain connection.
#[test]
fn a_message_that_binds_its_recipient_is_withheld_from_a_plain_one() {
    everywhere(|broker, way| {
        let mut publisher = broker.connect(Way::Extended, "binder");
        let publish = |publisher: &mut Client, retain| {
            publisher.publish_with(with_map("bind/a", &binding()), Qos::AtLeastOnce, retain, Dictionary::EMPTY);
        };
        // To one that is there, to one of several, from the retained store, from a queue, and in flight from an earlier connection.
        let mut subscriber = broker.connect_with(named(stored_everywhere(way, "bound"), "somebody"));
        let mut other = broker.connect(Way::Extended, "other");
        for client in [&mut subscriber, &mut other] {
            client.subscribe("bind/#", Qos::AtLeastOnce);
        }
        publish(&mut publisher, true);
        publisher.publish("bind/b", "free", Qos::AtLeastOnce);
        let expected: &[&str] = if way.is_extended() { &["bind/a 21.5", "bind/b free"] } else { &["bind/b free"] };
        assert_eq!(subscriber.expect(expected.len()), expected, "{way:?}");
        assert_eq!(other.expect(2), ["bind/a 21.5", "bind/b free"], "the next receiver gets what is due to it");
        subscriber.subscribe("bind/+", Qos::AtLeastOnce);
        subscriber.settle_down();
        assert_eq!(subscriber.messages.len(), usize::from(way.is_extended()), "{way:?}, retained");
        publisher.retain("bind/a", "");
        subscriber.settle_down();
        let parked = subscriber.drop_connection();
        publish(&mut publisher, false);
        publisher.publish("bind/b", "free", Qos::AtLeastOnce);
        let mut subscriber = Client::resume(&broker.address, named(stored_everywhere(way, "bound"), "somebody"), parked);
        assert_eq!(subscriber.expect(expected.len()), expected, "{way:?}, queued");
        subscriber.leave();
        broker.connect_with(named(Way::Plain.settings("bound"), "somebody")).leave();
        other.leave();
    });
}

/// clause message.withheld-again MUST NOT
/// A server MUST NOT send a message that it delivered on an extended connection, and whose message map holds a critical key, again
/// when the session is resumed on a plain connection; its packet identifier is free.
#[test]
fn a_message_in_flight_that_binds_is_not_repeated_stripped() {
    for shards in [1, 3] {
        let broker = TestBroker::start(shards);
        for way in [Way::Extended, Way::Offer] {
            let mut subscriber = broker.connect_with(stored_everywhere(way, "bound"));
            subscriber.subscribe("bind/#", Qos::AtLeastOnce);
            subscriber.settles = None;
            let mut publisher = broker.connect(Way::Extended, "binder");
            for message in [with_map("bind/a", &binding()), Message::publish("bind/b", "free").unwrap()] {
                publisher.publish_with(message, Qos::AtLeastOnce, false, Dictionary::EMPTY);
            }
            subscriber.until(|client| client.messages.len() == 2);
            let parked = subscriber.drop_connection();
            let mut subscriber = Client::resume(&broker.address, stored_everywhere(Way::Plain, "bound"), parked);
            assert_eq!(subscriber.expect(1), ["bind/b free"]);
            publisher.publish("bind/b", "next", Qos::AtLeastOnce);
            assert_eq!(subscriber.expect(1), ["bind/b next"]);
            subscriber.leave();
            broker.connect(Way::Plain, "bound").leave();
        }
    }
}

/// clause message.withheld-reported MUST
/// A server MUST report a message that it withheld because of a critical key with reason 0xC4 to the subscriber, with the topic and
/// the key.
#[test]
fn a_message_that_is_withheld_is_reported() {
    for way in [Way::V31, Way::Plain] {
        let broker = TestBroker::start(1);
        let mut subscriber = broker.connect(way, "bound");
        subscriber.subscribe("bind/#", Qos::AtLeastOnce);
        subscriber.subscribe("$feedback/#", Qos::AtLeastOnce);
        let mut publisher = broker.connect(Way::Extended, "binder");
        publisher.publish_with(with_map("bind/a", &binding()), Qos::AtLeastOnce, false, Dictionary::EMPTY);
        let verdict: serde_json::Value = serde_json::from_slice(one(&mut subscriber).message.payload()).unwrap();
        assert_eq!(
            (&verdict["reason"]["code"], &verdict["topic"], &verdict["field"], &verdict["count"]),
            (&0xC4.into(), &"bind/a".into(), &"key 5001".into(), &1.into())
        );
        subscriber.expect_nothing();
        subscriber.leave();
    }
}

/// clause keys.hop MUST NOT
/// A server MUST NOT forward the packet keys of a PUBLISH, but for what is left of `message-expiry-interval`.
#[test]
fn the_keys_of_a_hop_end_with_it() {
    everywhere(|broker, way| {
        let mut subscriber = broker.connect(way, "hop-subscriber");
        subscriber.subscribe("hop", Qos::AtLeastOnce);
        let mut publisher = broker.connect(Way::Extended, "hop-publisher");
        let mut hop = MapBuilder::new();
        hop.set(property::TAG, &Bytes::from_static(b"job 7")).set(property::RECEIPT_REQUEST, &true);
        hop.set(property::MINIMUM_DURABILITY, &1).set(property::MESSAGE_EXPIRY_INTERVAL, &1000).put(5000, |out| out.push(0xF6));
        publisher.publish_with(with_map("hop", &map()), Qos::AtLeastOnce, false, hop.finish());
        let publish = one(&mut subscriber);
        let expected = if way.is_extended() { vec![property::MESSAGE_EXPIRY_INTERVAL.number] } else { vec![] };
        assert_eq!(keys(&publish), expected, "{way:?}");
        subscriber.leave();
    });
}

/// clause keys.expiry MUST
/// A server MUST forward what is left of `message-expiry-interval` when it sends the message, and not deliver a message of which
/// nothing is left.
#[test]
fn an_expiry_counts_down_while_a_message_waits() {
    for way in Way::ALL {
        let broker = TestBroker::start(1);
        let sleeper = || stored_everywhere(way, "late");
        let mut subscriber = broker.connect_with(sleeper());
        subscriber.subscribe("expiry", Qos::AtLeastOnce);
        let parked = subscriber.drop_connection();
        let mut publisher = broker.connect(Way::Extended, "publisher");
        let mut publish = |payload: &str, seconds: u64| {
            let hop = Dictionary::with(property::MESSAGE_EXPIRY_INTERVAL, &seconds);
            publisher.publish_with(Message::publish("expiry", payload).unwrap(), Qos::AtLeastOnce, false, hop);
        };
        publish("short", 1);
        publish("long", 1000);
        // The broker's clock has to pass the second.
        time_passes(1100);
        let mut subscriber = Client::resume(&broker.address, sleeper(), parked);
        let received = one(&mut subscriber);
        assert_eq!(received.message.payload(), b"long", "{way:?}");
        let left = received.dictionary.value(property::MESSAGE_EXPIRY_INTERVAL);
        match way.is_extended() {
            true => {
                assert!(left.is_some_and(|left| (900..1000).contains(&left)), "{left:?}");
                subscriber.until(|client| !client.notices.is_empty());
                let notice = &subscriber.notices[0];
                assert_eq!(notice.dictionary.value(property::REASON), Some(u64::from(Reason::MESSAGE_EXPIRED.0)));
            }
            false => assert_eq!(left, None),
        }
        subscriber.expect_nothing();
        subscriber.leave();
    }
}

fn stamping() -> Settings {
    Settings { stamps: StampSettings::of_all("n1"), ..Settings::default() }
}

/// clause keys.stamps-server MUST
/// A server that stamps MUST write the principal as it authenticated it under `publisher`, and no `publisher` for a client that it
/// did not authenticate, into the messages and wills of its clients.
#[test]
fn a_stamp_says_who_published_as_the_server_knows_it() {
    let broker = TestBroker::with(stamping(), policy(), false);
    for way in Way::ALL {
        for name in [Some("alice"), None] {
            let mut subscriber = broker.connect(Way::Extended, "stamp-subscriber");
            subscriber.subscribe("stamp/#", Qos::AtLeastOnce);
            let mut settings = support::with_will(way.settings("stamp-publisher"), "stamp/will", false);
            settings.connect.user_name = name.map(str::to_owned);
            let mut publisher = broker.connect_with(settings);
            publisher.publish("stamp/message", "x", Qos::AtLeastOnce);
            publisher.drop_connection();
            for topic in ["stamp/message", "stamp/will"] {
                let publish = one(&mut subscriber);
                assert_eq!(publish.message.topic_str(), topic);
                assert_eq!(publish.dictionary.value(property::PUBLISHER).as_deref(), name, "{way:?} {topic}");
                assert_eq!(publish.dictionary.value(property::NODE).as_deref(), Some("n1"));
                assert!(publish.dictionary.value(property::RECEIVED_AT).is_some());
            }
            subscriber.leave();
        }
    }
}

/// clause keys.stamps-last MUST
/// A server MUST leave out stamps of its own choice where a message would exceed the subscriber's `maximum-packet-size` with them
/// and does not without them.
#[test]
fn a_message_goes_without_stamps_before_it_does_not_go() {
    let broker = TestBroker::with(stamping(), policy(), false);
    for way in [Way::Extended, Way::Offer] {
        let mut settings = named(way.settings("small"), "bob");
        let limit = Dictionary::with(property::MAXIMUM_PACKET_SIZE, &100);
        match &mut settings.offer {
            Some(offer) => offer.dictionary = limit,
            None => settings.connect.dictionary = limit,
        }
        let mut subscriber = broker.connect_with(settings);
        subscriber.subscribe("size", Qos::AtLeastOnce);
        let mut publisher = broker.connect_with(named(Way::Plain.settings("publisher"), "alice"));
        for len in [10, 70, 120] {
            publisher.publish("size", &"x".repeat(len), Qos::AtLeastOnce);
        }
        subscriber.until(|client| !client.notices.is_empty());
        let stamped: Vec<_> = subscriber.messages.iter().map(|m| (m.message.payload().len(), !keys(m).is_empty())).collect();
        assert_eq!(stamped, [(10, true), (70, false)], "{way:?}");
        let notice = &subscriber.notices[0];
        assert_eq!((notice.reason, notice.dictionary.value(property::COUNT)), (Reason::GAP, Some(1)));
        assert_eq!(notice.dictionary.value(property::REASON), Some(u64::from(Reason::PACKET_TOO_LARGE.0)));
        subscriber.leave();
    }
}

/// clause settlement.redelivered MUST
/// A server MUST deliver a message that was released with its message map, its stamps, and `redelivery-count`, and before every
/// message behind it in the queue.
#[test]
fn a_released_message_comes_again_whole_and_first() {
    let broker = TestBroker::with(stamping(), policy(), false);
    for way in [Way::Extended, Way::Offer] {
        let mut subscriber = broker.connect_stored(way, "releaser", Parked::default());
        subscriber.subscribe("release", Qos::AtLeastOnce);
        subscriber.settles = None;
        let mut publisher = broker.connect_with(named(Way::Extended.settings("publisher"), "alice"));
        publisher.publish_with(with_map("release", &map()), Qos::AtLeastOnce, false, Dictionary::EMPTY);
        subscriber.until(|client| client.tickets.len() == 1);
        subscriber.settle(subscriber.tickets[0], candor_protocol::session::Outcome::released());
        subscriber.settle_down();
        publisher.publish("release", "next", Qos::AtLeastOnce);
        subscriber.until(|client| client.messages.len() == 3);
        let again = &subscriber.messages[1];
        assert_eq!(again.message, with_map("release", &map()), "{way:?}");
        assert_eq!(again.dictionary.value(property::REDELIVERY_COUNT), Some(1));
        assert_eq!(again.dictionary.value(property::PUBLISHER).as_deref(), Some("alice"));
        assert_eq!(subscriber.messages[2].message.payload(), b"next");
        subscriber.leave();
        broker.connect(Way::Plain, "releaser").leave();
    }
}
