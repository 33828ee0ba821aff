//! Sections 3.3 and 4.3: PUBLISH, and the exchanges of the three QoS.

use crate::case::Target;
use crate::ensure;
use crate::outcome::Checked;
use crate::wire::packet::{self, PUBACK, PUBCOMP, PUBREC, PUBREL};
use crate::wire::speak::payloads;
use crate::wire::{Seen, patience};

const DUP: u8 = 0x08;
const QOS_1: u8 = 0x02;
const QOS_2: u8 = 0x04;

pub(super) fn a_repeated_publish_has_dup(on: &Target) -> Checked {
    let (mut subscriber, _) = on.session("sub")?;
    subscriber.subscribed(&[(on.topic("t"), 1)])?;
    on.client("pub")?.published(on.topic("t"), "m", 1)?;
    let first = subscriber.expect_message(&on.topic("t"), "m")?;
    ensure!(!first.dup, "the first sending has DUP");
    subscriber.reset();
    let (mut again, _) = on.session("sub")?;
    let second = again.received_message(&on.topic("t"), "m")?;
    ensure!(second.dup, "the second sending has no DUP");
    Ok(())
}

pub(super) fn dup_on_qos_0_closes(on: &Target) -> Checked {
    on.closes_on("PUBLISH with QoS 0 and DUP", &packet::publish_with(DUP, on.topic("t"), "x", None))
}

pub(super) fn an_incoming_dup_is_not_passed_on(on: &Target) -> Checked {
    let mut subscriber = on.subscriber("sub", &[("t", 2)])?;
    let mut publisher = on.client("pub")?;
    for (flags, id) in [(DUP | QOS_1, 1), (DUP | QOS_2, 2)] {
        publisher.send(packet::publish_with(flags, on.topic("t"), "m", Some(id)))?;
        if flags & QOS_2 == 0 {
            publisher.expect(packet::ack(PUBACK, id))?;
        } else {
            publisher.expect(packet::ack(PUBREC, id))?;
            publisher.send(packet::ack(PUBREL, id))?;
            publisher.expect(packet::ack(PUBCOMP, id))?;
        }
        let seen = subscriber.received_message(&on.topic("t"), "m")?;
        ensure!(!seen.dup, "the publisher's DUP came through at QoS {}", seen.qos);
    }
    Ok(())
}

/// Topics of the server itself, to which it lets a client publish or not.
const RESERVED: [&str; 2] = ["$SYS/broker/uptime", "$feedback/compat"];

pub(super) fn a_publish_that_may_be_refused_is_acknowledged_or_closed_on(on: &Target) -> Checked {
    for topic in RESERVED {
        for (qos, acknowledgement) in [(1, packet::ack(PUBACK, 7)), (2, packet::ack(PUBREC, 7))] {
            let mut wire = on.client("reserved")?;
            wire.send(packet::publish(topic, "mine", qos, 7))?;
            match wire.look(patience())? {
                Seen::Packet(seen) => ensure!(seen == acknowledgement, "{topic} at QoS {qos} was answered with {seen:02x?}"),
                Seen::Closed => {}
                Seen::Silence => return Err(wire.failure(format!("{topic} at QoS {qos}: neither acknowledged nor closed on"))),
            }
        }
    }
    Ok(())
}

pub(super) fn qos_3_closes(on: &Target) -> Checked {
    on.closes_on("PUBLISH with QoS 3", &packet::publish_with(0x06, on.topic("t"), "x", Some(1)))
}

pub(super) fn a_wildcard_in_a_publish_topic_closes(on: &Target) -> Checked {
    ["a/#", "a/+/b", "#", "+", "a+", "a#b"]
        .iter()
        .try_for_each(|topic| on.closes_on(&format!("PUBLISH to {topic}"), &packet::publish(topic, "x", 0, 0)))
}

pub(super) fn a_delivered_topic_matches_the_filter(on: &Target) -> Checked {
    let mut subscriber = on.subscriber("sub", &[("a/+/c/#", 0)])?;
    let mut publisher = on.client("pub")?;
    for (topic, matches) in [("a/b/c", true), ("a/b", false), ("a//c/d/e", true), ("a/b/x", false), ("A/b/c", false)] {
        publisher.published(on.topic(topic), topic, 0)?;
        if matches {
            subscriber.received_message(&on.topic(topic), topic)?;
        }
    }
    on.fence(&mut publisher, &mut subscriber)
}

pub(super) fn each_qos_is_answered_as_it_is_due(on: &Target) -> Checked {
    let mut wire = on.client("pub")?;
    wire.send(packet::publish(on.topic("t"), "x", 0, 0))?;
    wire.ping()?;
    wire.send(packet::publish(on.topic("t"), "x", 1, 11))?;
    wire.expect_hex("40 02 00 0b")?;
    wire.send(packet::publish(on.topic("t"), "x", 2, 12))?;
    wire.expect_hex("50 02 00 0c")?;
    wire.send(packet::ack(PUBREL, 12))?;
    wire.expect_hex("70 02 00 0c").map(|_| ())
}

pub(super) fn overlapping_subscriptions_deliver_by_the_highest_qos(on: &Target) -> Checked {
    let mut subscriber = on.subscriber("sub", &[("o/+", 0), ("o/a", 2), ("o/#", 1)])?;
    let mut publisher = on.client("pub")?;
    publisher.published(on.topic("o/a"), "m", 2)?;
    // One copy, or one for each subscription.
    let seen = on.before_fence(&mut publisher, &mut subscriber)?;
    let highest = seen.iter().map(|copy| copy.qos).max();
    ensure!(highest == Some(2), "the highest granted QoS is 2, the copies are {seen:?}");
    Ok(())
}

pub(super) fn as_sender_qos_0_is_a_publish_without_dup(on: &Target) -> Checked {
    let mut subscriber = on.subscriber("sub", &[("t", 2)])?;
    on.client("pub")?.published(on.topic("t"), "x", 0)?;
    subscriber.expect_hex("30 *").map(|_| ())
}

pub(super) fn as_sender_qos_1_is_open_until_puback(on: &Target) -> Checked {
    let (mut subscriber, _) = on.session("sub")?;
    subscriber.subscribed(&[(on.topic("t"), 1)])?;
    on.client("pub")?.published(on.topic("t"), "m", 1)?;
    subscriber.expect_message(&on.topic("t"), "m")?;
    subscriber.reset();
    let (mut again, _) = on.session("sub")?;
    let seen = again.expect_message(&on.topic("t"), "m")?;
    again.send(packet::ack(PUBACK, seen.id))?;
    again.ping()?;
    again.reset();
    let (mut last, _) = on.session("sub")?;
    last.ping()
}

pub(super) fn as_receiver_qos_1_takes_the_identifier_anew_after_puback(on: &Target) -> Checked {
    let mut subscriber = on.subscriber("sub", &[("t", 1)])?;
    let mut publisher = on.client("pub")?;
    for payload in ["first", "second"] {
        publisher.send(packet::publish(on.topic("t"), payload, 1, 7))?;
        publisher.expect(packet::ack(PUBACK, 7))?;
        subscriber.received_message(&on.topic("t"), payload)?;
    }
    Ok(())
}

pub(super) fn as_sender_qos_2_is_publish_until_pubrec_and_pubrel_until_pubcomp(on: &Target) -> Checked {
    let (mut first, _) = on.session("sub")?;
    first.subscribed(&[(on.topic("t"), 2)])?;
    on.client("pub")?.published(on.topic("t"), "m", 2)?;
    let sent = first.expect_message(&on.topic("t"), "m")?;
    first.reset();

    let (mut second, _) = on.session("sub")?;
    let again = second.expect_message(&on.topic("t"), "m")?;
    ensure!(again.id == sent.id && again.qos == 2, "expected the same PUBLISH again, got {again:?}");
    second.send(packet::ack(PUBREC, sent.id))?;
    second.expect(packet::ack(PUBREL, sent.id))?;
    second.reset();

    let (mut third, _) = on.session("sub")?;
    third.expect(packet::ack(PUBREL, sent.id))?;
    third.send(packet::ack(PUBCOMP, sent.id))?;
    third.ping()?;
    third.reset();

    let (mut last, _) = on.session("sub")?;
    last.ping()
}

pub(super) fn as_receiver_qos_2_delivers_once_until_pubrel(on: &Target) -> Checked {
    let mut subscriber = on.subscriber("sub", &[("t", 2)])?;
    let mut publisher = on.client("pub")?;
    publisher.send(packet::publish(on.topic("t"), "once", 2, 9))?;
    publisher.expect(packet::ack(PUBREC, 9))?;
    publisher.send(packet::publish_with(DUP | QOS_2, on.topic("t"), "once", Some(9)))?;
    publisher.expect(packet::ack(PUBREC, 9))?;
    publisher.send(packet::ack(PUBREL, 9))?;
    publisher.expect(packet::ack(PUBCOMP, 9))?;
    subscriber.received_message(&on.topic("t"), "once")?;
    // The identifier is free now: the next PUBLISH with it is a new message.
    publisher.send(packet::publish(on.topic("t"), "new", 2, 9))?;
    publisher.expect(packet::ack(PUBREC, 9))?;
    publisher.send(packet::ack(PUBREL, 9))?;
    publisher.expect(packet::ack(PUBCOMP, 9))?;
    subscriber.received_message(&on.topic("t"), "new")?;
    on.fence(&mut publisher, &mut subscriber)
}

pub(super) fn a_repeated_pubrel_gets_pubcomp_again(on: &Target) -> Checked {
    let mut publisher = on.client("pub")?;
    publisher.published(on.topic("t"), "x", 2)?;
    publisher.send(packet::ack(PUBREL, 0x0C0C))?;
    publisher.expect(packet::ack(PUBCOMP, 0x0C0C))
}

pub(super) fn every_matching_session_gets_the_message(on: &Target) -> Checked {
    let (mut sleeper, _) = on.session("sleeper")?;
    sleeper.subscribed(&[(on.topic("t"), 1)])?;
    sleeper.disconnect()?;
    let mut subscribers = ["a", "b", "c"].map(|name| on.subscriber(name, &[("t", 1)]));
    on.client("pub")?.published(on.topic("t"), "m", 1)?;
    for subscriber in &mut subscribers {
        subscriber.as_mut().map_err(|stop| stop.clone())?.received_message(&on.topic("t"), "m")?;
    }
    on.session("sleeper")?.0.received_message(&on.topic("t"), "m").map(|_| ())
}

/// Seven open QoS 2 or 1 exchanges of the publisher in one write.
fn burst(on: &Target, qos: u8) -> Vec<u8> {
    (1..=7).flat_map(|id| packet::publish(on.topic("t"), format!("{id}"), qos, id * 3)).collect()
}

pub(super) fn pubacks_go_in_the_order_of_the_publishes(on: &Target) -> Checked {
    let mut publisher = on.client("pub")?;
    publisher.send(burst(on, 1))?;
    (1..=7).try_for_each(|id| publisher.expect(packet::ack(PUBACK, id * 3)))
}

pub(super) fn pubrecs_go_in_the_order_of_the_publishes(on: &Target) -> Checked {
    let mut publisher = on.client("pub")?;
    publisher.send(burst(on, 2))?;
    (1..=7).try_for_each(|id| publisher.expect(packet::ack(PUBREC, id * 3)))
}

pub(super) fn pubrels_go_in_the_order_of_the_pubrecs(on: &Target) -> Checked {
    let mut subscriber = on.subscriber("sub", &[("t", 2)])?;
    let mut publisher = on.client("pub")?;
    for at in 0..5 {
        publisher.published(on.topic("t"), format!("{at}"), 2)?;
    }
    let ids = (0..5).map(|_| subscriber.expect_publish().map(|seen| seen.id)).collect::<Checked<Vec<_>>>()?;
    subscriber.send(ids.iter().flat_map(|id| packet::ack(PUBREC, *id)).collect::<Vec<_>>())?;
    ids.iter().try_for_each(|id| subscriber.expect(packet::ack(PUBREL, *id)))
}

pub(super) fn what_is_open_is_sent_again_in_order(on: &Target) -> Checked {
    let (mut subscriber, _) = on.session("sub")?;
    subscriber.subscribed(&[(on.topic("t"), 1)])?;
    let mut publisher = on.client("pub")?;
    let expected: Vec<String> = (0..5).map(|at| format!("{at}")).collect();
    for payload in &expected {
        publisher.published(on.topic("t"), payload, 1)?;
    }
    let first = (0..5).map(|_| subscriber.expect_publish()).collect::<Checked<Vec<_>>>()?;
    subscriber.reset();
    let (mut again, _) = on.session("sub")?;
    let second = (0..5).map(|_| again.expect_publish()).collect::<Checked<Vec<_>>>()?;
    ensure!(payloads(&first) == expected && payloads(&second) == expected, "{:?} then {:?}", payloads(&first), payloads(&second));
    Ok(())
}

pub(super) fn a_publisher_and_topic_stay_in_order_at_every_qos(on: &Target) -> Checked {
    let mut subscriber = on.subscriber("sub", &[("order/#", 2)])?;
    let mut publisher = on.client("pub")?;
    for qos in 0..=2 {
        let topic = on.topic(&format!("order/{qos}"));
        for at in 0..100 {
            match qos {
                0 => publisher.send(packet::publish(&topic, format!("{at}"), 0, 0))?,
                _ => publisher.published(&topic, format!("{at}"), qos)?,
            }
        }
        let seen = subscriber.receive_all(100)?;
        let expected: Vec<String> = (0..100).map(|at| format!("{at}")).collect();
        ensure!(payloads(&seen) == expected, "at QoS {qos} the order was {:?}", payloads(&seen));
    }
    Ok(())
}
