//! What subscribers settle: released, put off, rejected; and what becomes of the message.

// A helper's panic is the test's: clippy knows it only inside test functions.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use candor_broker::shard::Settings;
use candor_protocol::codec::dictionary::Dictionary;
use candor_protocol::packet::subscribe::items_of;
use candor_protocol::packet::{Publish, Qos, Reason, property};
use candor_protocol::session::{Outcome, Parked};
use candor_protocol::sim::Way;
use std::time::{Duration, Instant};
use support::{Client, Folder, TestBroker, denied, durable, everywhere, in_every_storage, policy_on, stored};

const EXTENDED: [Way; 2] = [Way::Extended, Way::Offer];
const ABOVE_QOS_0: [Qos; 2] = [Qos::AtLeastOnce, Qos::ExactlyOnce];

/// A subscriber whose test settles.
fn settler(broker: &TestBroker, way: Way, id: &str, filter: &str) -> Client {
    let mut client = broker.connect(way, id);
    assert!(!client.subscribe(filter, Qos::ExactlyOnce).is_error());
    client.settles = None;
    client
}

fn redelivery_count(publish: &Publish) -> u64 {
    publish.dictionary.value(property::REDELIVERY_COUNT).unwrap_or(0)
}

/// Waits for the `nth` message of this client, from 1, and settles it; its payload and redelivery count.
fn settle(client: &mut Client, nth: usize, outcome: Outcome) -> (String, u64) {
    client.until(|client| client.tickets.len() >= nth);
    client.settle(client.tickets[nth - 1], outcome);
    let publish = &client.messages[nth - 1];
    (String::from_utf8_lossy(publish.message.payload()).into_owned(), redelivery_count(publish))
}

fn payloads(client: &Client) -> Vec<String> {
    client.messages.iter().map(|publish| String::from_utf8_lossy(publish.message.payload()).into_owned()).collect()
}

fn text(payload: &str, count: u64) -> (String, u64) {
    (payload.to_owned(), count)
}

/// clause settlement.another-member MUST
/// A server MUST deliver a message that a member of a shared group released to another member that can take it, with
/// `redelivery-count`.
#[test]
fn a_message_that_a_member_released_goes_to_another() {
    everywhere(|broker, way| {
        if !way.is_extended() {
            return;
        }
        for qos in ABOVE_QOS_0 {
            let filter = "$share/group/shared/+";
            let mut members = ["member a", "member b"].map(|id| settler(broker, way, id, filter));
            let mut publisher = broker.connect(Way::Plain, "publisher");
            publisher.publish("shared/1", "x", qos);
            members.iter_mut().for_each(Client::settle_down);
            let first = members.iter().position(|member| !member.tickets.is_empty()).unwrap();
            let (first, second) = if first == 0 { (0, 1) } else { (1, 0) };
            assert_eq!(settle(&mut members[first], 1, Outcome::released()), text("x", 0), "{way:?} {qos:?}");
            assert_eq!(settle(&mut members[second], 1, Outcome::accepted()), text("x", 1), "{way:?} {qos:?}");
            assert_eq!(members[second].messages[0].qos, qos);
            members.iter_mut().for_each(Client::settle_down);
            assert_eq!(members.iter().map(|member| member.messages.len()).sum::<usize>(), 2);
            members.into_iter().for_each(Client::leave);
            publisher.leave();
        }
    });
}

/// A message that a sole member, or everybody, releases is not lost, and not handed round without a pause.
#[test]
fn where_nobody_else_can_take_it_a_released_message_stays_and_comes_again_after_a_pause() {
    everywhere(|broker, way| {
        if !way.is_extended() {
            return;
        }
        let mut member = settler(broker, way, "sole member", "$share/sole/sole");
        let mut publisher = broker.connect(Way::Plain, "publisher");
        publisher.publish("sole", "1", Qos::AtLeastOnce);
        let start = Instant::now();
        assert_eq!(settle(&mut member, 1, Outcome::released()), text("1", 0));
        member.settle_down();
        publisher.publish("sole", "2", Qos::AtLeastOnce);
        assert_eq!(settle(&mut member, 2, Outcome::released()), text("1", 1), "{way:?}: before what is behind it");
        assert_eq!(settle(&mut member, 3, Outcome::accepted()), text("2", 0), "{way:?}: it was under way");
        assert_eq!(settle(&mut member, 4, Outcome::accepted()), text("1", 2), "{way:?}");
        assert!(start.elapsed() >= Duration::from_millis(300), "{way:?}: 100 ms, then 200: {:?}", start.elapsed());
        member.leave();
        publisher.leave();
    });
}

/// clause settlement.order MUST
/// A server MUST deliver messages that one subscriber released in the order in which they were released.
#[test]
fn a_window_that_was_released_comes_again_in_its_order() {
    everywhere(|broker, way| {
        if !way.is_extended() {
            return;
        }
        let mut subscriber = settler(broker, way, "subscriber", "window");
        let mut publisher = broker.connect(Way::Plain, "publisher");
        for payload in ["1", "2", "3"] {
            publisher.publish("window", payload, Qos::AtLeastOnce);
        }
        subscriber.until(|client| client.tickets.len() == 3);
        for at in 0..3 {
            subscriber.settle(subscriber.tickets[at], Outcome::released());
        }
        subscriber.settle_down();
        publisher.publish("window", "4", Qos::AtLeastOnce);
        subscriber.until(|client| client.messages.len() == 7);
        assert_eq!(payloads(&subscriber)[3..], ["1", "2", "3", "4"], "{way:?}");
        subscriber.leave();
        publisher.leave();
    });
}

/// clause settlement.unordered MUST NOT
/// A server MUST NOT deliver a message behind one whose `delay` is not over, unless the subscription has the option of 16.
#[test]
fn a_message_that_was_put_off_lets_others_pass_only_where_the_subscription_says_so() {
    everywhere(|broker, way| {
        if !way.is_extended() {
            return;
        }
        for (options, expected) in [(0, ["1", "1", "2"]), (16, ["1", "2", "1"])] {
            let mut subscriber = broker.connect(way, "subscriber");
            subscriber.settles = None;
            let items = items_of(vec![Dictionary::with(property::SUBSCRIPTION_OPTIONS, &options)]);
            subscriber.subscribe_with("delayed", Qos::AtLeastOnce, items);
            let mut publisher = broker.connect(Way::Plain, "publisher");
            publisher.publish("delayed", "1", Qos::AtLeastOnce);
            let start = Instant::now();
            settle(&mut subscriber, 1, Outcome::modified(150));
            subscriber.settle_down();
            publisher.publish("delayed", "2", Qos::AtLeastOnce);
            subscriber.until(|client| client.messages.len() == 3);
            assert_eq!(payloads(&subscriber), expected, "{way:?}");
            // The broker counts whole milliseconds.
            assert!(start.elapsed() >= Duration::from_millis(149));
            let again = subscriber.messages.iter().find(|publish| redelivery_count(publish) == 1).unwrap();
            assert_eq!(again.message.payload(), b"1");
            subscriber.leave();
            publisher.leave();
        }
    });
}

/// clause settlement.limit MUST
/// A server that bounds redelivery MUST tell a subscriber whose message reached the bound, by NOTICE, with the reason 0xC2.
#[test]
fn a_message_that_is_given_back_without_end_is_rejected_and_told() {
    in_every_storage(|storage| {
        for way in EXTENDED {
            let settings = Settings { redelivery_limit: 2, storage: storage.clone(), ..Settings::default() };
            let broker = TestBroker::with(settings, policy_on(storage), false);
            let mut subscriber = settler(&broker, way, "subscriber", "limit");
            let mut publisher = broker.connect(Way::Plain, "publisher");
            publisher.publish("limit", "poison", Qos::AtLeastOnce);
            publisher.publish("limit", "next", Qos::AtLeastOnce);
            for nth in 1..=3 {
                subscriber.until(|client| client.tickets.len() > nth);
                let at = subscriber.messages.iter().rposition(|publish| publish.message.payload() == b"poison").unwrap();
                assert_eq!(redelivery_count(&subscriber.messages[at]), nth as u64 - 1);
                subscriber.settle(subscriber.tickets[at], Outcome::released());
            }
            subscriber.until(|client| !client.notices.is_empty());
            let notice = &subscriber.notices[0];
            let told = (notice.reason, notice.dictionary.value(property::REASON), notice.dictionary.value(property::COUNT));
            assert_eq!(told, (Reason::GAP, Some(u64::from(Reason::REJECTED.0)), Some(1)), "{way:?}");
            assert_eq!(payloads(&subscriber), ["poison", "next", "poison", "poison"]);
            subscriber.leave();
        }
    });
}

/// clause settlement.kept MUST
/// A server whose sessions survive a restart MUST keep `redelivery-count` over it.
#[test]
fn how_often_a_message_was_handed_out_is_known_after_a_restart() {
    let folder = Folder::new();
    let settings = || {
        let data = candor_broker::store::DataDir { path: folder.0.clone(), salvage: false };
        Settings { shards: 2, storage: candor_broker::shard::Storage::Engine(std::sync::Arc::new(data)), ..Settings::default() }
    };
    let broker = TestBroker::with(settings(), durable(), false);
    let mut subscriber = broker.connect_with(stored(Way::Extended, "keeper"));
    subscriber.subscribe("kept", Qos::AtLeastOnce);
    subscriber.settles = None;
    let mut publisher = broker.connect(Way::Plain, "publisher");
    publisher.publish("kept", "1", Qos::AtLeastOnce);
    publisher.publish("kept", "2", Qos::AtLeastOnce);
    subscriber.until(|client| client.tickets.len() == 2);
    for at in 0..2 {
        subscriber.settle(subscriber.tickets[at], Outcome::modified(60_000));
    }
    subscriber.settle_down();
    subscriber.lose_connection();
    publisher.leave();
    broker.stop();
    let broker = TestBroker::with(settings(), durable(), false);
    let mut subscriber = broker.connect_stored(Way::Extended, "keeper", Parked::default());
    subscriber.until(|client| client.messages.len() == 2);
    let told: Vec<_> = payloads(&subscriber).into_iter().zip(subscriber.messages.iter().map(redelivery_count)).collect();
    assert_eq!(told, [text("1", 1), text("2", 1)]);
    subscriber.leave();
    broker.stop();
}

/// A message that went to another member is that one's after a restart, and no longer the first one's.
#[test]
fn who_has_a_message_that_changed_its_member_is_known_after_a_restart() {
    let folder = Folder::new();
    let settings = || {
        let data = candor_broker::store::DataDir { path: folder.0.clone(), salvage: false };
        Settings { shards: 3, storage: candor_broker::shard::Storage::Engine(std::sync::Arc::new(data)), ..Settings::default() }
    };
    let ids = ["member a", "member b", "member c"];
    let broker = TestBroker::with(settings(), durable(), false);
    let mut members = ids.map(|id| {
        let mut member = broker.connect_with(stored(Way::Extended, id));
        member.subscribe("$share/group/moved", Qos::ExactlyOnce);
        member.settles = None;
        member
    });
    let mut publisher = broker.connect(Way::Plain, "publisher");
    publisher.publish("moved", "x", Qos::ExactlyOnce);
    members.iter_mut().for_each(Client::settle_down);
    let first = members.iter().position(|member| !member.tickets.is_empty()).unwrap();
    let ticket = members[first].tickets[0];
    members[first].settle(ticket, Outcome::released());
    // It goes by way of the disk to another shard.
    let until = std::time::Instant::now() + support::DEADLINE;
    let second = loop {
        members.iter_mut().for_each(Client::settle_down);
        if let Some(second) = (0..3).find(|&at| at != first && !members[at].messages.is_empty()) {
            break second;
        }
        assert!(std::time::Instant::now() < until, "nobody else got it");
    };
    members.into_iter().for_each(|member| drop(member.lose_connection()));
    publisher.leave();
    broker.stop();
    let broker = TestBroker::with(settings(), durable(), false);
    for (at, id) in ids.into_iter().enumerate() {
        let mut member = broker.connect_stored(Way::Extended, id, Parked::default());
        member.settle_down();
        let counts: Vec<_> = member.messages.iter().map(redelivery_count).collect();
        assert_eq!(counts, if at == second { vec![1] } else { vec![] }, "{id}");
        member.leave();
    }
    broker.stop();
}

/// A QoS 2 message that was committed with PUBREC is its member's for good, whatever the member does then.
#[test]
fn a_message_that_was_committed_does_not_change_its_member() {
    let broker = TestBroker::start(1);
    let mut members = ["member a", "member b"].map(|id| {
        let mut member = broker.connect_with(stored(Way::Extended, id));
        member.subscribe("$share/group/committed", Qos::ExactlyOnce);
        member
    });
    let mut publisher = broker.connect(Way::Plain, "publisher");
    publisher.publish("committed", "x", Qos::ExactlyOnce);
    members.iter_mut().for_each(Client::settle_down);
    let taker = members.iter().position(|member| !member.messages.is_empty()).unwrap();
    assert_eq!(members[1 - taker].messages.len(), 0);
    let mut members = members.into_iter().enumerate();
    let (mut gone, mut other) = (None, None);
    for (at, member) in members.by_ref() {
        if at == taker { gone = Some(member.lose_connection()) } else { other = Some(member) }
    }
    let (parked, mut other) = (gone.unwrap(), other.unwrap());
    other.settle_down();
    assert_eq!(other.messages.len(), 0);
    let id = if taker == 0 { "member a" } else { "member b" };
    let mut again = broker.connect_stored(Way::Extended, id, parked);
    again.settle_down();
    assert_eq!(again.messages.len(), 0, "it has it already");
}

/// Whoever rejects everything costs a verdict each, and stops nobody: the messages are gone, and the publisher goes on.
#[test]
fn a_subscriber_that_rejects_everything_costs_little() {
    everywhere(|broker, way| {
        if !way.is_extended() {
            return;
        }
        let mut subscriber = broker.connect(way, "rejecter");
        subscriber.subscribe("rejected/#", Qos::AtLeastOnce);
        subscriber.settles = Some(Outcome::refused(denied()));
        let mut publisher = broker.connect(Way::Plain, "publisher");
        for n in 0..300 {
            let outcome = publisher.publish(&format!("rejected/{n}"), "x", Qos::AtLeastOnce);
            assert_eq!(outcome.unwrap().reason, Reason::SUCCESS);
        }
        subscriber.until(|client| client.messages.len() == 300);
        subscriber.settle_down();
        assert_eq!((subscriber.messages.len(), subscriber.notices.len()), (300, 0));
        subscriber.leave();
        publisher.leave();
    });
}
