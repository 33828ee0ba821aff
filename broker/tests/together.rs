//! Messages that come in one piece: what is looked at once for all of them must hold for each.

// A helper's panic is the test's: clippy knows it only inside test functions.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use bytes::BytesMut;
use candor_protocol::codec::dictionary::{Dictionary, MapBuilder};
use candor_protocol::dialect::write::PublishFrame;
use candor_protocol::packet::{Message, Qos, Reason, TopicFilter, TopicName, property};
use candor_protocol::session::{Delivered, Delivery};
use candor_protocol::sim::Way;
use support::{Client, TestBroker, everywhere, on_every_broker};

fn delivery(topic: &str, payload: usize, qos: Qos) -> Delivery {
    // Every seventh says something about itself.
    let map = match payload % 7 {
        0 => MapBuilder::new().set(property::CONTENT_TYPE, &"text".to_owned()).finish(),
        _ => Dictionary::EMPTY,
    };
    let message = Message::new(&TopicName::new(topic).unwrap(), &map, payload.to_string().as_bytes());
    Delivery { message, qos, retain: payload.is_multiple_of(11), hop: Dictionary::EMPTY }
}

/// Sends all of it by one call to the system.
fn send_together(client: &mut Client, deliveries: &[Delivery]) {
    let mut bytes = BytesMut::new();
    for (token, delivery) in deliveries.iter().enumerate() {
        let Delivered::Now(id) = client.session.deliver(delivery.clone(), 1_000 + token as u64) else { panic!("the window is full") };
        let Delivery { message, qos, retain, hop } = delivery;
        PublishFrame::new(client.session.terms().dialect, *qos, *retain, message, hop).write(id, false, &mut bytes);
    }
    client.write_raw(&bytes);
}

fn name(way: Way, of: &str) -> String {
    format!("{of}-{way:?}").to_lowercase()
}

/// Each message comes once, in the order of its topic, with its map where the receiver's dialect has maps, at the lower QoS of the two.
#[test]
fn what_was_sent_in_one_piece_comes_whole_and_in_order_to_everybody() {
    everywhere(|broker, way| {
        let topic = |at: usize| format!("{}/{}", name(way, "together"), at / 5 % 2);
        let filter = name(way, "together") + "/+";
        let receivers = Way::ALL.into_iter().flat_map(|to| Qos::ALL.map(|qos| (to, qos)));
        let mut receivers: Vec<(Client, Way, Qos)> = receivers
            .map(|(to, qos)| {
                let mut client = broker.connect(to, &name(way, &format!("{qos:?}-{to:?}")));
                assert!(!client.subscribe(&filter, qos).is_error());
                (client, to, qos)
            })
            .collect();
        // One that also gets what it sends.
        let mut publisher = broker.connect(way, &name(way, "publisher"));
        assert!(!publisher.subscribe(&topic(0), Qos::AtMostOnce).is_error());
        let sent: Vec<Delivery> = (1..=60).map(|at| delivery(&topic(at), at, Qos::ALL[at / 3 % 3])).collect();
        send_together(&mut publisher, &sent);
        let to_settle = sent.iter().filter(|delivery| delivery.qos != Qos::AtMostOnce).count();
        let own = sent.iter().filter(|delivery| delivery.message.topic() == topic(0).as_bytes()).count();
        publisher.until(|client| client.settled.len() == to_settle && client.messages.len() == own);
        assert!(publisher.settled.iter().all(|(_, outcome)| outcome.reason == Reason::SUCCESS), "{:?}", publisher.settled);
        for (client, to, qos) in &mut receivers {
            client.until(|client| client.messages.len() == sent.len());
            for part in [0, 5] {
                let of_topic = |message: &Message| message.topic() == topic(part).as_bytes();
                let expected = sent.iter().filter(|delivery| of_topic(&delivery.message));
                let expected = expected.map(|Delivery { message, qos: of, .. }| {
                    (
                        message.payload().to_vec(),
                        if to.is_extended() && way.is_extended() { message.map().to_vec() } else { vec![] },
                        *of.min(qos),
                    )
                });
                let came = client.messages.iter().filter(|publish| of_topic(&publish.message));
                let came = came.map(|publish| (publish.message.payload().to_vec(), publish.message.map().to_vec(), publish.qos));
                assert_eq!(came.collect::<Vec<_>>(), expected.collect::<Vec<_>>(), "{way:?} to {to:?} {qos:?}");
            }
        }
        receivers.into_iter().for_each(|(client, ..)| client.leave());
        // The next broker may have the same store.
        [0, 5].iter().for_each(|part| publisher.retain(&topic(*part), ""));
        publisher.leave();
    });
}

/// One that takes its time gets what waited for it before what came later.
#[test]
fn what_waits_goes_before_what_is_passed_on() {
    everywhere(|broker, way| {
        let topic = name(way, "slow");
        let (mut slow, mut publisher) = (broker.connect(way, &name(way, "slow")), broker.connect(way, &name(way, "sender")));
        assert!(!slow.subscribe(&topic, Qos::AtLeastOnce).is_error());
        slow.settles = None;
        for round in 0..4 {
            let sent: Vec<Delivery> =
                (0..50).map(|at| Delivery { retain: false, ..delivery(&topic, round * 50 + at, Qos::AtLeastOnce) }).collect();
            let done = publisher.settled.len() + sent.len();
            send_together(&mut publisher, &sent);
            publisher.until(|client| client.settled.len() == done);
        }
        slow.settle_down();
        assert!((1..200).contains(&slow.tickets.len()), "{} of 200 wait for no answer", slow.tickets.len());
        slow.settles = Some(candor_protocol::session::Outcome::accepted());
        for ticket in std::mem::take(&mut slow.tickets) {
            slow.settle(ticket, candor_protocol::session::Outcome::accepted());
        }
        slow.until(|client| client.messages.len() == 200);
        let numbers: Vec<usize> =
            slow.messages.iter().map(|publish| String::from_utf8_lossy(publish.message.payload()).parse().unwrap()).collect();
        assert_eq!(numbers, (0..200).collect::<Vec<_>>());
        slow.leave();
        publisher.leave();
    });
}

/// Members of a group take turns, whatever comes between.
#[test]
fn a_group_takes_turns_of_what_was_sent_in_one_piece() {
    everywhere(|broker, way| {
        let (shared, alone) = (name(way, "turns"), name(way, "nobody"));
        let mut members: Vec<Client> = (0..2).map(|n| broker.connect(way, &name(way, &format!("member-{n}")))).collect();
        for member in &mut members {
            assert!(!member.subscribe(&format!("$share/group/{shared}"), Qos::AtMostOnce).is_error());
        }
        let mut publisher = broker.connect(way, &name(way, "turner"));
        let sent: Vec<Delivery> = (0..40)
            .map(|at| Delivery { retain: false, ..delivery(if at % 4 == 3 { &alone } else { &shared }, at, Qos::AtMostOnce) })
            .collect();
        send_together(&mut publisher, &sent);
        for member in &mut members {
            member.until(|client| client.messages.len() == 15);
        }
        members.into_iter().for_each(Client::leave);
        publisher.leave();
    });
}

/// So many filters that the server asks for several topics at once who gets their messages.
const CROWD: u32 = 20_000;

/// What one piece of messages to many topics comes to is the same among many filters, and after subscriptions have gone.
#[test]
fn among_many_filters_each_message_of_a_piece_goes_to_those_who_want_its_topic() {
    on_every_broker(|broker| {
        let mut crowd = broker.connect(Way::Plain, "crowd");
        for first in (0..CROWD).step_by(1000) {
            let filters: Vec<TopicFilter> = (first..first + 1000).map(|at| TopicFilter::new(format!("crowd/{at}/+/x")).unwrap()).collect();
            crowd.subscribe_all(&filters, Qos::AtMostOnce, Dictionary::EMPTY);
        }
        for way in Way::ALL {
            among_many(broker, way);
        }
        crowd.expect_nothing();
        crowd.leave();
    });
}

fn among_many(broker: &TestBroker, way: Way) {
    let seat = |at: usize| format!("{}/{}", name(way, "seat"), at);
    let mut all = broker.connect(way, &name(way, "all"));
    assert!(!all.subscribe(&(name(way, "seat") + "/#"), Qos::AtMostOnce).is_error());
    let mut odd = broker.connect(way, &name(way, "odd"));
    for at in (1..40).step_by(2) {
        assert!(!odd.subscribe(&seat(at), Qos::AtLeastOnce).is_error());
    }
    let mut publisher = broker.connect(way, &name(way, "among"));
    // Twice each, and again from the beginning.
    let topics: Vec<usize> = (0..100).map(|at| at / 2 % 40).collect();
    let piece = |number: usize| -> Vec<Delivery> {
        let message =
            |(at, topic): (usize, &usize)| Delivery { retain: false, ..delivery(&seat(*topic), number * 1000 + at, Qos::AtMostOnce) };
        topics.iter().enumerate().map(message).collect()
    };
    let came = |client: &Client| -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        client.messages.iter().map(|publish| (text(publish.message.topic()), text(publish.message.payload()))).collect()
    };
    let wanted = |number: usize, is_wanted: &dyn Fn(usize) -> bool| -> Vec<(String, String)> {
        let of = |(at, topic): (usize, &usize)| is_wanted(*topic).then(|| (seat(*topic), (number * 1000 + at).to_string()));
        topics.iter().enumerate().filter_map(of).collect()
    };
    let sorted = |mut messages: Vec<(String, String)>| {
        messages.sort();
        messages
    };
    send_together(&mut publisher, &piece(0));
    all.until(|client| client.messages.len() == 100);
    odd.until(|client| client.messages.len() == wanted(0, &|topic| topic % 2 == 1).len());
    assert_eq!(came(&all), wanted(0, &|_| true), "{way:?}: in order, since they have one way");
    assert_eq!(sorted(came(&odd)), sorted(wanted(0, &|topic| topic % 2 == 1)), "{way:?}");

    // What is not wanted any more does not come, though it was asked for before.
    all.unsubscribe(&(name(way, "seat") + "/#"));
    odd.unsubscribe(&seat(3));
    odd.messages.clear();
    send_together(&mut publisher, &piece(1));
    odd.until(|client| client.messages.len() == wanted(1, &|topic| topic % 2 == 1 && topic != 3).len());
    assert_eq!(sorted(came(&odd)), sorted(wanted(1, &|topic| topic % 2 == 1 && topic != 3)), "{way:?}");
    all.messages.clear();
    all.expect_nothing();
    [all, odd, publisher].into_iter().for_each(Client::leave);
}
