//! What becomes of rejected messages where the operator keeps them.

// A helper's panic is the test's: clippy knows it only inside test functions.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use bytes::BytesMut;
use candor_broker::shard::{DeadLetterSettings, Settings, Storage};
use candor_broker::store::DataDir;
use candor_protocol::codec::dictionary::Dictionary;
use candor_protocol::dialect::write::Lowered;
use candor_protocol::packet::dead_letter::Place;
use candor_protocol::packet::{
    Ack, DeadLetter, Message, Packet, PacketId, Problem, Publish, Qos, Reason, Refusal, TopicFilter, TopicName, property,
};
use candor_protocol::session::Outcome;
use candor_protocol::sim::Way;
use std::sync::Arc;
use support::{Client, Folder, TestBroker, durable, in_every_storage, named, policy, policy_on};

const EXTENDED: [Way; 2] = [Way::Extended, Way::Offer];

fn keeping(storage: &Storage, shards: u16, len_max: usize) -> Settings {
    let namespaces = vec![TopicFilter::new("orders/#").unwrap()];
    let dead_letters = DeadLetterSettings { namespaces, len_max, bytes_max: 1 << 20, keeps_text: false };
    Settings { shards, storage: storage.clone(), dead_letters, ..Settings::default() }
}

/// Extended ways, one and three shards, and every storage: brokers that keep dead letters of `orders/#`.
fn where_they_are_kept(len_max: usize, test: impl Fn(&TestBroker, Way)) {
    in_every_storage(|storage| {
        for shards in [1, 3] {
            let broker = TestBroker::with(keeping(storage, shards, len_max), policy_on(storage), false);
            for way in EXTENDED {
                test(&broker, way);
            }
            broker.stop();
        }
    });
}

fn says_why() -> Outcome {
    let problem = Problem::titled("the customer's secret").rule("stock").limit(3, 4);
    Outcome::refused(Refusal::new(Reason::REJECTED, problem))
}

/// A subscriber that rejects what comes.
fn rejecter(broker: &TestBroker, way: Way, id: &str) -> Client {
    let mut client = broker.connect(way, id);
    client.subscribe("orders/#", Qos::ExactlyOnce);
    client.settles = Some(says_why());
    client
}

fn letter(publish: &Publish) -> DeadLetter {
    DeadLetter::of_dictionary(&publish.dictionary.value(property::DEAD_LETTER).expect("a dead letter"))
}

/// What a new subscriber finds.
fn browse(broker: &TestBroker, way: Way, filter: &str) -> Vec<Publish> {
    let mut reader = broker.connect(way, "reader");
    assert!(!reader.subscribe(filter, Qos::AtMostOnce).is_error());
    reader.settle_down();
    let found = std::mem::take(&mut reader.messages);
    reader.leave();
    found
}

/// Takes every dead letter away.
fn clear(broker: &TestBroker) {
    let mut operator = broker.connect(Way::Plain, "operator");
    for found in browse(broker, Way::Extended, "$dead-letters/#") {
        operator.retain(found.message.topic_str(), "");
    }
    operator.leave();
}

/// clause dead-letters.once MUST
/// A server that keeps dead letters MUST keep a message that several subscribers reject once, with every rejection in `dead-letter`.
#[test]
fn a_message_is_kept_once_with_what_became_of_it() {
    where_they_are_kept(100, |broker, way| {
        let mut rejecters = ["rejecter a", "rejecter b"].map(|id| rejecter(broker, way, id));
        let mut publisher = broker.connect(way, "publisher");
        let name = TopicName::new("orders/7").unwrap();
        let map = Dictionary::with(property::CONTENT_TYPE, &"text/plain".to_owned());
        publisher.publish_with(Message::new(&name, &map, b"x"), Qos::AtLeastOnce, false, Dictionary::EMPTY);
        rejecters.iter_mut().for_each(|client| client.until(|client| client.messages.len() == 1));
        rejecters.iter_mut().for_each(Client::settle_down);
        let found = browse(broker, way, "$dead-letters/+/orders/#");
        assert_eq!(found.len(), 1, "{way:?}");
        assert_eq!((found[0].message.payload(), found[0].message.dictionary(), found[0].retain), (&b"x"[..], map, true));
        let id = found[0].dictionary.value(property::MESSAGE_ID).unwrap();
        let hex: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(Place::of_topic(found[0].message.topic_str()), Some(Place { id: &hex, topic: "orders/7" }));
        let letter = letter(&found[0]);
        assert_eq!((letter.count, letter.rejections.len(), letter.qos), (2, 2, Qos::AtLeastOnce));
        assert!(letter.rejections.iter().all(|rejection| rejection.reason == Reason::REJECTED && rejection.by_subscriber));
        // A plain client finds it as well, by its topic.
        let plain = browse(broker, Way::Plain, "$dead-letters/+/orders/#");
        assert_eq!((plain.len(), plain[0].message.payload()), (1, &b"x"[..]));
        rejecters.into_iter().for_each(Client::leave);
        publisher.leave();
        clear(broker);
        assert_eq!(browse(broker, way, "$dead-letters/#").len(), 0);
    });
}

/// clause dead-letters.text MUST NOT
/// A server MUST NOT show the title and detail of a subscriber's problem to others, unless its operator says so.
#[test]
fn what_a_subscriber_writes_does_not_travel_unless_the_operator_says_so() {
    for keeps_text in [false, true] {
        let mut settings = keeping(&Storage::Memory, 1, 100);
        settings.dead_letters.keeps_text = keeps_text;
        let broker = TestBroker::with(settings, policy(), false);
        let mut rejecter = rejecter(&broker, Way::Extended, "rejecter");
        let long = "s".repeat(10_000);
        rejecter.settles = Some(Outcome::refused(Refusal::new(Reason::REJECTED, Problem::titled(long).rule("stock").limit(3, 4))));
        let mut publisher = broker.connect(Way::Plain, "publisher");
        publisher.publish("orders/7", "x", Qos::AtLeastOnce);
        rejecter.until(|client| client.messages.len() == 1);
        rejecter.settle_down();
        let problem = letter(&browse(&broker, Way::Extended, "$dead-letters/#")[0]).rejections[0].problem.clone();
        assert_eq!((problem.rule.as_deref(), problem.limit, problem.seen), (Some("stock"), Some(3), Some(4)));
        assert_eq!(problem.title.map(|title| title.len()), keeps_text.then_some(256));
    }
}

/// clause dead-letters.right MUST
/// A server MUST let a client subscribe to dead letters exactly where it may subscribe to the topics that they were published to.
#[test]
fn a_dead_letter_is_read_with_the_right_to_its_topic() {
    let mut settings = keeping(&Storage::Memory, 1, 100);
    settings.quarantine.refusals = 0;
    let broker = TestBroker::with(settings, policy(), false);
    // MQTT 3.1 cannot say that a subscription is refused.
    for way in Way::ALL.into_iter().filter(|way| *way != Way::V31) {
        let mut reader = broker.connect(way, "reader");
        let mut reason = |filter: &str| reader.subscribe(filter, Qos::AtLeastOnce);
        // Of the rules of these tests, `secret/` may not be read.
        let denied = if way.is_extended() { Reason::NOT_AUTHORIZED } else { Reason::UNSPECIFIED_ERROR };
        assert_eq!(reason("$dead-letters/+/secret/#"), denied, "{way:?}");
        assert_eq!(reason("$dead-letters/+/orders/#"), Reason::GRANTED_QOS_1);
        assert_eq!(reason("$share/g/$dead-letters/+/secret/a"), denied);
        assert_eq!(reason("$envelope/$dead-letters/+/secret/#"), denied);
        assert!(reason("$dead-letters/+").is_error(), "no dead letter can match it");
        reader.leave();
    }
}

/// clause dead-letters.writer MUST
/// A server MUST refuse a message with a payload to a topic below `$dead-letters/`, and a will there.
#[test]
fn nobody_but_the_server_writes_dead_letters() {
    let broker = TestBroker::with(keeping(&Storage::Memory, 1, 100), policy(), false);
    for topic in ["$dead-letters/00/orders/1", "$dead-letters/00", "$dead-letters"] {
        let mut forger = broker.connect(Way::Extended, "forger");
        for retain in [false, true] {
            let message = Message::publish(topic, "forged").unwrap();
            let outcome = forger.publish_with(message, Qos::AtLeastOnce, retain, Dictionary::EMPTY).unwrap();
            assert_eq!(outcome.reason, Reason::TOPIC_NAME_INVALID, "{topic} {retain}");
        }
        forger.leave();
        let will = support::with_will(Way::Extended.settings("forger"), topic, true);
        let forger = broker.connect_with(will);
        assert!(forger.opened.is_none() && forger.closed.is_some(), "{topic}");
    }
    assert_eq!(browse(&broker, Way::Extended, "$dead-letters/#").len(), 0);
}

/// clause dead-letters.redrive MUST
/// A server MUST publish a dead letter again to its topic, and take it away if anybody gets it, on a PUBLISH without payload and
/// without retain to the dead letter's topic; its acknowledgement is that of the message.
#[test]
fn a_dead_letter_is_sent_on_its_way_again() {
    where_they_are_kept(100, |broker, way| {
        let mut rejecter = rejecter(broker, way, "rejecter");
        let mut publisher = broker.connect(Way::Plain, "publisher");
        publisher.publish("orders/7", "x", Qos::ExactlyOnce);
        rejecter.until(|client| client.messages.len() == 1);
        rejecter.settle_down();
        let found = browse(broker, way, "$dead-letters/#");
        let topic = found[0].message.topic_str().to_owned();
        let id = found[0].dictionary.value(property::MESSAGE_ID);
        rejecter.settles = Some(Outcome::accepted());
        let mut operator = broker.connect(way, "operator");
        rejecter.unsubscribe("orders/#");
        let outcome = operator.publish(&topic, "", Qos::AtLeastOnce).unwrap();
        let nobody = if way.is_extended() { Reason::NO_MATCHING_SUBSCRIBERS } else { Reason::SUCCESS };
        assert_eq!((outcome.reason, browse(broker, way, "$dead-letters/#").len()), (nobody, 1), "{way:?}: nobody is there to get it");
        rejecter.subscribe("orders/#", Qos::ExactlyOnce);
        assert_eq!(operator.publish(&topic, "", Qos::AtLeastOnce).unwrap().reason, Reason::SUCCESS, "{way:?}");
        rejecter.until(|client| client.messages.len() == 2);
        let again = &rejecter.messages[1];
        assert_eq!((again.message.topic_str(), again.message.payload(), again.qos), ("orders/7", &b"x"[..], Qos::ExactlyOnce));
        assert_eq!(again.dictionary.value(property::MESSAGE_ID), id, "it has the name that it had");
        assert_eq!(again.dictionary.value(property::DEAD_LETTER), None);
        assert_eq!(browse(broker, way, "$dead-letters/#").len(), 0);
        let outcome = operator.publish(&topic, "", Qos::AtLeastOnce).unwrap();
        assert_eq!(outcome.reason, Reason::TOPIC_NAME_INVALID, "there is none any more");
        [rejecter, operator, publisher].into_iter().for_each(Client::leave);
    });
}

/// A dead letter goes with the QoS that its message had, so who may not publish with that one cannot send it either.
#[test]
fn a_redrive_needs_the_right_to_the_qos_of_the_message() {
    const RULES: &str = r#"
default = "allow"
[[rule]]
action = "allow"
user = "low"
publish = ["orders/#"]
qos_max = 0
"#;
    for way in EXTENDED {
        let broker = TestBroker::with_rules(keeping(&Storage::Memory, 1, 100), policy(), RULES);
        let mut rejecter = rejecter(&broker, way, "rejecter");
        broker.connect(way, "publisher").publish("orders/7", "x", Qos::AtLeastOnce);
        rejecter.until(|client| client.messages.len() == 1);
        rejecter.settle_down();
        let topic = browse(&broker, way, "$dead-letters/#")[0].message.topic_str().to_owned();
        let mut low = broker.connect_with(named(way.settings("low"), "low"));
        low.publish(&topic, "", Qos::AtMostOnce);
        low.until(|client| !client.notices.is_empty());
        assert_eq!(low.notices[0].reason, Reason::NOT_AUTHORIZED, "{way:?}");
        assert_eq!(low.notices[0].dictionary.value(property::TOPIC), Some(topic));
        rejecter.settle_down();
        assert_eq!(rejecter.messages.len(), 1, "{way:?}: it was sent all the same");
        assert_eq!(browse(&broker, way, "$dead-letters/#").len(), 1, "it stays");
    }
}

/// clause dead-letters.bounds MUST
/// A server MUST bound the dead letters of a namespace, and tell the subscriber whose rejected message it did not keep for that.
#[test]
fn a_full_namespace_keeps_what_it_has() {
    where_they_are_kept(2, |broker, way| {
        let mut rejecter = rejecter(broker, way, "rejecter");
        rejecter.subscribe("$feedback/#", Qos::AtMostOnce);
        let mut publisher = broker.connect(Way::Plain, "publisher");
        for payload in ["1", "2", "3"] {
            publisher.publish("orders/7", payload, Qos::AtLeastOnce);
        }
        let told = |client: &Client| {
            let verdicts = client.messages.iter().filter(|publish| publish.message.topic_str() == "$feedback/puback");
            verdicts.map(|publish| String::from_utf8_lossy(publish.message.payload()).into_owned()).collect::<Vec<_>>()
        };
        rejecter.until(|client| told(client).len() == 3);
        let full: Vec<bool> = told(&rejecter).iter().map(|verdict| verdict.contains("dead_letters_max is 2, and it would be 3")).collect();
        assert_eq!(full, [false, false, true], "{way:?}: {:?}", told(&rejecter));
        let mut found = browse(broker, way, "$dead-letters/#");
        found.sort_by_key(|publish| publish.message.payload().to_vec());
        assert_eq!(found.iter().map(|publish| publish.message.payload()).collect::<Vec<_>>(), [b"1", b"2"]);
        [rejecter, publisher].into_iter().for_each(Client::leave);
        clear(broker);
    });
}

/// What nobody was handed, or what was settled before, cannot be rejected: nothing follows, and the connection goes on.
#[test]
fn what_is_unknown_or_settled_already_makes_no_dead_letter() {
    where_they_are_kept(100, |broker, way| {
        let mut subscriber = broker.connect(way, "subscriber");
        subscriber.subscribe("orders/#", Qos::AtLeastOnce);
        let mut publisher = broker.connect(Way::Plain, "publisher");
        publisher.publish("orders/7", "x", Qos::AtLeastOnce);
        subscriber.until(|client| client.messages.len() == 1);
        let settled = subscriber.messages[0].id.unwrap();
        let unknown = PacketId::new(4711).unwrap();
        for id in [settled, unknown, settled] {
            for reason in [Reason::REJECTED, Reason::RELEASED, Reason::MODIFIED] {
                let mut bytes = BytesMut::new();
                let packet = Packet::PubAck(Ack::new(id, reason, Dictionary::EMPTY));
                assert_eq!(subscriber.session.lower(&packet, &mut bytes), Lowered::Frame);
                subscriber.write_raw(&bytes);
            }
        }
        publisher.publish("orders/7", "y", Qos::AtLeastOnce);
        subscriber.until(|client| client.messages.len() == 2);
        subscriber.settle_down();
        assert_eq!((subscriber.messages.len(), subscriber.messages[1].message.payload()), (2, &b"y"[..]), "{way:?}");
        assert_eq!(browse(broker, way, "$dead-letters/#").len(), 0);
        [subscriber, publisher].into_iter().for_each(Client::leave);
    });
}

/// A dead letter that is rejected itself makes none, and stays.
#[test]
fn a_dead_letter_that_is_rejected_is_dropped() {
    where_they_are_kept(100, |broker, way| {
        let mut rejecter = rejecter(broker, way, "rejecter");
        rejecter.subscribe("$dead-letters/+/orders/#", Qos::AtLeastOnce);
        let mut publisher = broker.connect(Way::Plain, "publisher");
        publisher.publish("orders/7", "x", Qos::AtLeastOnce);
        rejecter.until(|client| client.messages.len() == 2);
        rejecter.settle_down();
        assert_eq!(rejecter.messages.len(), 2, "{way:?}");
        let found = browse(broker, way, "$dead-letters/#");
        assert_eq!((found.len(), letter(&found[0]).count), (1, 1));
        [rejecter, publisher].into_iter().for_each(Client::leave);
        clear(broker);
    });
}

/// A message that was given back too often is a dead letter, where those are kept: no loss, and no gap.
#[test]
fn what_the_limit_takes_is_a_dead_letter() {
    let settings = Settings { redelivery_limit: 1, ..keeping(&Storage::Memory, 1, 100) };
    let broker = TestBroker::with(settings, policy(), false);
    let mut subscriber = rejecter(&broker, Way::Extended, "releaser");
    subscriber.settles = Some(Outcome::released());
    let mut publisher = broker.connect(Way::Plain, "publisher");
    publisher.publish("orders/7", "poison", Qos::AtLeastOnce);
    subscriber.until(|client| client.messages.len() == 2);
    subscriber.settle_down();
    assert_eq!(subscriber.notices, []);
    let letter = letter(&browse(&broker, Way::Extended, "$dead-letters/#")[0]);
    let rejection = &letter.rejections[0];
    assert_eq!((rejection.redelivery_count, rejection.by_subscriber), (1, false));
    assert_eq!(rejection.problem.rule.as_deref(), Some("redelivery_limit"));
}

/// Dead letters, their history and their count survive a restart; and nothing is kept where the operator has not said so.
#[test]
fn dead_letters_survive_a_restart() {
    let folder = Folder::new();
    let storage = Storage::Engine(Arc::new(DataDir { path: folder.0.clone(), salvage: false }));
    let broker = TestBroker::with(keeping(&storage, 2, 2), durable(), false);
    let mut first = rejecter(&broker, Way::Extended, "rejecter");
    first.subscribe("elsewhere", Qos::AtLeastOnce);
    let mut publisher = broker.connect(Way::Plain, "publisher");
    for topic in ["orders/1", "elsewhere", "orders/2"] {
        publisher.publish(topic, "x", Qos::AtLeastOnce);
    }
    first.until(|client| client.messages.len() == 3);
    first.settle_down();
    let before = browse(&broker, Way::Extended, "$dead-letters/#");
    assert_eq!(before.len(), 2);
    [first, publisher].into_iter().for_each(Client::leave);
    broker.stop();
    let broker = TestBroker::with(keeping(&storage, 2, 2), durable(), false);
    let after = browse(&broker, Way::Extended, "$dead-letters/#");
    let told = |found: &[Publish]| found.iter().map(|publish| (publish.message.clone(), letter(publish))).collect::<Vec<_>>();
    assert_eq!(told(&after), told(&before));
    let mut again = rejecter(&broker, Way::Extended, "rejecter");
    let mut publisher = broker.connect(Way::Plain, "publisher");
    publisher.publish("orders/3", "x", Qos::AtLeastOnce);
    again.until(|client| client.messages.len() == 1);
    again.settle_down();
    assert_eq!(browse(&broker, Way::Extended, "$dead-letters/#").len(), 2, "the namespace is as full as it was");
}
