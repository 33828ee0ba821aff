//! What a publisher that asks is told of those who were to get its message.

// A helper's panic is the test's: clippy knows it only inside test functions.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use bytes::Bytes;
use candor_broker::shard::{ReportSettings, Settings};
use candor_protocol::codec::dictionary::{Dictionary, MapBuilder};
use candor_protocol::packet::report::TOPIC;
use candor_protocol::packet::{Message, Qos, Reason, TopicFilter, property};
use candor_protocol::session::{Outcome, Parked};
use candor_protocol::sim::Way;
use serde_json::{Value, json};
use std::time::Instant;
use support::{Client, DEADLINE, TestBroker, denied, in_every_storage, policy, policy_on, stored_everywhere};

const EXTENDED: [Way; 2] = [Way::Extended, Way::Offer];

fn reporting(wait_ms: u64) -> ReportSettings {
    ReportSettings { namespaces: vec![TopicFilter::new("orders/#").unwrap()], wait_ms, ..ReportSettings::default() }
}

/// Extended ways, one and three shards, and every storage: brokers that report on `orders/#`.
fn where_they_are_made(wait_ms: u64, test: impl Fn(&TestBroker, Way)) {
    in_every_storage(|storage| {
        for shards in [1, 3] {
            let settings = Settings { shards, storage: storage.clone(), reports: reporting(wait_ms), ..Settings::default() };
            let broker = TestBroker::with(settings, policy_on(storage), false);
            for way in EXTENDED {
                test(&broker, way);
            }
            broker.stop();
        }
    });
}

fn asking(tag: &'static str) -> Dictionary {
    let mut map = MapBuilder::new();
    map.set(property::REPORT_REQUEST, &true).set(property::TAG, &Bytes::from_static(tag.as_bytes())).finish()
}

fn ask(publisher: &mut Client, topic: &str, qos: Qos) -> Option<Outcome> {
    publisher.publish_with(Message::publish(topic, "x").unwrap(), qos, false, asking("job 7"))
}

fn reports(client: &Client) -> Vec<Value> {
    let reports = client.messages.iter().filter(|publish| publish.message.topic_str() == TOPIC);
    reports.map(|publish| serde_json::from_slice(publish.message.payload()).unwrap()).collect()
}

/// The next report of a publisher, without what is particular to it.
fn report(publisher: &mut Client) -> Value {
    publisher.until(|client| !reports(client).is_empty());
    let at = publisher.messages.iter().position(|publish| publish.message.topic_str() == TOPIC).unwrap();
    let publish = publisher.messages.remove(at);
    assert_eq!(publish.qos, Qos::AtLeastOnce);
    assert_eq!(publish.dictionary.value(property::TAG).as_deref(), Some(&b"job 7"[..]));
    let mut report: Value = serde_json::from_slice(publish.message.payload()).unwrap();
    for part in ["message_id", "at_ms"] {
        assert!(report.as_object_mut().unwrap().remove(part).is_some(), "{part}");
    }
    report
}

fn settler(broker: &TestBroker, way: Way, id: &str, qos: Qos, outcome: Outcome) -> Client {
    let mut client = broker.connect(way, id);
    client.subscribe("orders/#", qos);
    client.settles = Some(outcome);
    client
}

/// A subscriber that gets messages and settles none, until it is told to.
fn undecided(broker: &TestBroker, way: Way) -> Client {
    let mut client = broker.connect(way, "subscriber");
    client.subscribe("orders/#", Qos::AtLeastOnce);
    client.settles = None;
    client
}

/// A publisher that has asked about one message, which the subscriber has.
fn about_one(mut publisher: Client, subscriber: &mut Client) -> Client {
    ask(&mut publisher, "orders/7", Qos::AtLeastOnce);
    subscriber.until(|client| client.tickets.len() == 1);
    publisher
}

/// clause reports.aggregated MUST
/// A server that reports on a message MUST tell in one report how many sessions it went to, and how many of them accepted and, by
/// reason, rejected it, or got it at QoS 0.
#[test]
fn one_report_tells_what_became_of_a_message_everywhere() {
    where_they_are_made(60_000, |broker, way| {
        let mut subscribers = vec![
            settler(broker, way, "accepts", Qos::ExactlyOnce, Outcome::accepted()),
            settler(broker, Way::Plain, "accepts too", Qos::AtLeastOnce, Outcome::accepted()),
            settler(broker, way, "denies", Qos::AtLeastOnce, Outcome::refused(denied())),
            settler(broker, way, "takes it unconfirmed", Qos::AtMostOnce, Outcome::accepted()),
        ];
        let mut publisher = broker.connect(way, "publisher");
        for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
            assert_eq!(ask(&mut publisher, "orders/7", qos).unwrap().reason, Reason::SUCCESS);
            subscribers.iter_mut().for_each(|client| client.until(|client| !client.messages.is_empty()));
            subscribers.iter_mut().for_each(|client| drop(client.expect(1)));
            let expected = json!({
                "title": "what became of a message", "topic": "orders/7", "matched": 4, "accepted": 2,
                "rejected": [{ "reason": { "code": 0x87, "name": "not authorized" }, "count": 1 }],
                "expired": 0, "dropped": 0, "unconfirmed": 1, "pending": 0,
            });
            assert_eq!(report(&mut publisher), expected, "{way:?} {qos:?}");
        }
        publisher.settle_down();
        assert_eq!(reports(&publisher), [] as [Value; 0], "one a message");
        subscribers.into_iter().for_each(Client::leave);
        publisher.leave();
    });
}

/// clause reports.nobody MUST
/// A server that reports on a message that no subscription wanted MUST say so in a report.
#[test]
fn that_nobody_is_subscribed_is_told() {
    where_they_are_made(60_000, |broker, way| {
        let mut publisher = broker.connect(way, "publisher");
        for qos in Qos::ALL {
            ask(&mut publisher, "orders/7", qos);
            let told = report(&mut publisher);
            assert_eq!((&told["matched"], &told["title"]), (&json!(0), &json!("no subscription wanted it")), "{way:?} {qos:?}");
        }
        publisher.leave();
    });
}

/// clause reports.refused MUST
/// A server that makes no report although it was asked for one MUST tell the publisher so, and take the message all the same.
#[test]
fn where_no_reports_are_made_the_publisher_is_told_at_once() {
    where_they_are_made(60_000, |broker, way| {
        let mut subscriber = broker.connect(way, "subscriber");
        subscriber.subscribe("private", Qos::AtLeastOnce);
        let mut publisher = broker.connect(way, "publisher");
        assert_eq!(ask(&mut publisher, "private", Qos::AtLeastOnce).unwrap().reason, Reason::SUCCESS);
        let told = report(&mut publisher);
        assert_eq!((&told["reports"], &told["matched"], &told["topic"]), (&json!("off"), &Value::Null, &json!("private")), "{way:?}");
        assert_eq!(subscriber.expect(1), ["private x"]);
        publisher.settle_down();
        assert_eq!(reports(&publisher).len(), 0);
        [subscriber, publisher].into_iter().for_each(Client::leave);
    });
}

/// clause reports.asked MUST NOT
/// A server MUST NOT report on a message whose publisher did not ask.
#[test]
fn who_does_not_ask_is_not_told() {
    where_they_are_made(60_000, |broker, way| {
        let mut subscriber = settler(broker, way, "subscriber", Qos::AtLeastOnce, Outcome::refused(denied()));
        let mut publisher = broker.connect(way, "publisher");
        publisher.publish("orders/7", "x", Qos::AtLeastOnce);
        subscriber.until(|client| client.messages.len() == 1);
        subscriber.settle_down();
        publisher.settle_down();
        assert_eq!(publisher.messages.len(), 0, "{way:?}");
        [subscriber, publisher].into_iter().for_each(Client::leave);
    });
}

/// clause reports.pending MUST
/// A server MUST tell sessions that have not settled the message within the time that it waits as pending.
#[test]
fn who_does_not_answer_is_pending() {
    where_they_are_made(300, |broker, way| {
        let mut subscriber = undecided(broker, way);
        let mut publisher = broker.connect(way, "publisher");
        ask(&mut publisher, "orders/7", Qos::AtLeastOnce);
        let told = report(&mut publisher);
        assert_eq!((&told["matched"], &told["accepted"], &told["pending"]), (&json!(1), &json!(0), &json!(1)), "{way:?}");
        subscriber.until(|client| client.tickets.len() == 1);
        subscriber.settle(subscriber.tickets[0], Outcome::accepted());
        subscriber.settle_down();
        publisher.settle_down();
        assert_eq!(reports(&publisher).len(), 0, "it is told once");
        [subscriber, publisher].into_iter().for_each(Client::leave);
    });
}

/// A message that was released is pending until somebody settles it, and is then accounted for once.
#[test]
fn a_released_message_is_told_of_when_it_is_settled() {
    where_they_are_made(60_000, |broker, way| {
        let mut subscriber = undecided(broker, way);
        let mut publisher = about_one(broker.connect(way, "publisher"), &mut subscriber);
        subscriber.settle(subscriber.tickets[0], Outcome::released());
        subscriber.until(|client| client.tickets.len() == 2);
        publisher.settle_down();
        assert_eq!(reports(&publisher).len(), 0, "{way:?}");
        subscriber.settle(subscriber.tickets[1], Outcome::accepted());
        let told = report(&mut publisher);
        assert_eq!((&told["matched"], &told["accepted"], &told["dropped"]), (&json!(1), &json!(1), &json!(0)), "{way:?}");
        [subscriber, publisher].into_iter().for_each(Client::leave);
    });
}

/// A subscriber that goes with its session has dropped what it had.
#[test]
fn what_a_session_takes_with_it_was_dropped() {
    where_they_are_made(60_000, |broker, way| {
        let mut subscriber = undecided(broker, way);
        let mut publisher = about_one(broker.connect(way, "publisher"), &mut subscriber);
        subscriber.leave();
        let told = report(&mut publisher);
        assert_eq!((&told["matched"], &told["dropped"]), (&json!(1), &json!(1)), "{way:?}");
        publisher.leave();
    });
}

/// clause reports.away MUST
/// A server MUST keep a report for a publisher that is away for as long as its session lasts.
#[test]
fn a_report_waits_for_a_publisher_that_is_away() {
    where_they_are_made(60_000, |broker, way| {
        let mut subscriber = undecided(broker, way);
        let publisher = about_one(broker.connect_with(stored_everywhere(way, "publisher")), &mut subscriber);
        let parked = publisher.lose_connection();
        subscriber.settle(subscriber.tickets[0], Outcome::accepted());
        subscriber.settle_down();
        let mut publisher = Client::resume(&broker.address, stored_everywhere(way, "publisher"), parked);
        assert_eq!(report(&mut publisher)["accepted"], json!(1), "{way:?}");
        [subscriber, publisher].into_iter().for_each(Client::leave);
        broker.connect(Way::Plain, "publisher").leave();
    });
}

/// A report for a session that is gone is nobody's, and a new session under the same name does not get it.
#[test]
fn a_report_for_a_session_that_is_gone_is_dropped() {
    where_they_are_made(60_000, |broker, way| {
        let mut subscriber = undecided(broker, way);
        let publisher = about_one(broker.connect(way, "publisher"), &mut subscriber);
        publisher.leave();
        let mut another = broker.connect_stored(way, "publisher", Parked::default());
        subscriber.settle(subscriber.tickets[0], Outcome::accepted());
        subscriber.settle_down();
        another.settle_down();
        assert_eq!(another.messages.len(), 0, "{way:?}");
        [subscriber, another].into_iter().for_each(Client::leave);
        broker.connect(Way::Plain, "publisher").leave();
    });
}

/// Reports that wait are bounded; a publisher over the bound is told, and its message is taken.
#[test]
fn reports_that_wait_are_bounded() {
    let reports = ReportSettings { open_max: 2, ..reporting(60_000) };
    let broker = TestBroker::with(Settings { reports, ..Settings::default() }, policy(), false);
    let mut subscriber = undecided(&broker, Way::Extended);
    let mut publisher = broker.connect(Way::Extended, "publisher");
    for _ in 0..3 {
        assert_eq!(ask(&mut publisher, "orders/7", Qos::AtLeastOnce).unwrap().reason, Reason::SUCCESS);
    }
    assert_eq!(report(&mut publisher)["reports"], json!("busy"));
    subscriber.until(|client| client.tickets.len() == 3);
    for at in 0..3 {
        subscriber.settle(subscriber.tickets[at], Outcome::accepted());
    }
    assert_eq!([report(&mut publisher), report(&mut publisher)].map(|told| told["accepted"].clone()), [json!(1), json!(1)]);
    ask(&mut publisher, "orders/7", Qos::AtLeastOnce);
    subscriber.until(|client| client.tickets.len() == 4);
    subscriber.settle(subscriber.tickets[3], Outcome::accepted());
    assert_eq!(report(&mut publisher)["accepted"], json!(1), "there is room again");
}

/// Reports of one client leave room for those of others.
#[test]
fn one_client_cannot_take_the_reports_of_all() {
    for way in EXTENDED {
        let reports = ReportSettings { open_max: 10, open_of_client_max: 2, ..reporting(60_000) };
        let broker = TestBroker::with(Settings { reports, ..Settings::default() }, policy(), false);
        let mut subscriber = broker.connect(way, "silent");
        subscriber.subscribe("orders/#", Qos::AtLeastOnce);
        subscriber.settles = None;
        let [mut greedy, mut other] = ["greedy", "other"].map(|id| broker.connect(way, id));
        (0..3).for_each(|_| drop(ask(&mut greedy, "orders/7", Qos::AtLeastOnce)));
        let told = report(&mut greedy);
        assert_eq!((&told["reports"], &told["limit"]), (&json!("busy"), &json!(2)), "{way:?}");
        ask(&mut other, "orders/7", Qos::AtLeastOnce);
        subscriber.until(|client| client.tickets.len() == 4);
        for at in 0..4 {
            subscriber.settle(subscriber.tickets[at], Outcome::accepted());
        }
        let told = [report(&mut greedy), report(&mut greedy), report(&mut other)].map(|told| told["accepted"].clone());
        assert_eq!(told, [json!(1), json!(1), json!(1)], "{way:?}");
    }
}

/// clause reports.bounded MUST
/// A server whose bound the reports that wait have reached MUST take a message all the same, and tell its publisher that there will be no
/// report (`busy`).
#[test]
fn reports_count_as_memory_and_at_its_limit_none_is_kept() {
    const LIMIT: usize = 1_000_000;
    for (way, shards) in EXTENDED.into_iter().flat_map(|way| [(way, 1), (way, 3)]) {
        let settings = Settings { shards, reports: reporting(60_000), memory_limit: LIMIT, ..Settings::default() };
        let broker = TestBroker::with(settings, policy(), false);
        let mut subscriber = broker.connect(way, "silent");
        subscriber.subscribe("orders/#", Qos::AtLeastOnce);
        subscriber.settles = None;
        let mut publisher = broker.connect(way, "publisher");
        let topic = format!("orders/{}", "x".repeat(60_000));
        // In per cent; a shard tells what it keeps at the end of a turn.
        let until_load = |client: &mut Client, is: &dyn Fn(u64) -> bool| {
            let until = Instant::now() + DEADLINE;
            loop {
                let load = client.ping(Dictionary::EMPTY).value(property::LOAD).unwrap();
                if is(load) {
                    return;
                }
                assert!(Instant::now() < until, "{way:?} {shards}: {load} %");
            }
        };
        publisher.publish_with(Message::publish(&topic, "x").unwrap(), Qos::AtLeastOnce, false, asking("job 7"));
        subscriber.until(|client| client.tickets.len() == 1);
        // The message to one receiver is half of it.
        until_load(&mut publisher, &|load| load >= 12);
        // Until memory is full, by what others are to get.
        let filler = "y".repeat(50_000);
        let is_full = |publisher: &mut Client| publisher.publish("orders/full", &filler, Qos::AtLeastOnce).unwrap().refusal().is_some();
        assert!((0..10_000).any(|_| is_full(&mut publisher)), "it is never full");
        publisher.settle_down();
        assert_eq!(reports(&publisher).len(), 0);
        ask(&mut publisher, "orders/7", Qos::AtMostOnce);
        let told = report(&mut publisher);
        assert_eq!((&told["reports"], &told["limit"]), (&json!("busy"), &json!(LIMIT)), "{way:?} {shards}");
        subscriber.until(|client| client.messages.iter().any(|publish| publish.message.topic_str() == "orders/7"));
        while let Some(ticket) = subscriber.tickets.pop() {
            subscriber.settle(ticket, Outcome::accepted());
        }
        assert_eq!(report(&mut publisher)["accepted"], json!(1), "{way:?} {shards}");
        publisher.settle_down();
        until_load(&mut publisher, &|load| load <= 1);
        broker.stop();
    }
}
