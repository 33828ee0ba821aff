//! QoS 2 with a connection that is cut at each step, in both roles: no message is lost, none is delivered twice.

use crate::case::Target;
use crate::ensure;
use crate::outcome::Checked;
use crate::peer::Feature;
use crate::wire::packet::{self, PUBCOMP, PUBREC, PUBREL};
use crate::wire::{Delivery, Wire};

const ID: u16 = 21;

fn first_sending(on: &Target) -> Vec<u8> {
    packet::publish(on.topic("t"), "once", 2, ID)
}

fn second_sending(on: &Target) -> Vec<u8> {
    packet::publish_with(0x0C, on.topic("t"), "once", Some(ID))
}

/// The publisher comes back and does the rest; the subscriber has got the message once.
fn publisher_finishes(on: &Target, subscriber: &mut Wire, again: &[u8], rest: &[(u8, Option<u8>)]) -> Checked {
    let (mut publisher, _) = on.session("pub")?;
    publisher.send(again)?;
    for (expected, answer) in rest {
        publisher.expect(packet::ack(*expected, ID))?;
        answer.map_or(Ok(()), |answer| publisher.send(packet::ack(answer, ID)))?;
    }
    subscriber.received_message(&on.topic("t"), "once")?;
    on.fence(&mut publisher, subscriber)
}

const FROM_PUBLISH: &[(u8, Option<u8>)] = &[(PUBREC, Some(PUBREL)), (PUBCOMP, None)];
const FROM_PUBREL: &[(u8, Option<u8>)] = &[(PUBCOMP, None)];

pub(super) fn a_publisher_cut_after_publish_loses_and_doubles_nothing(on: &Target) -> Checked {
    let mut subscriber = on.subscriber("sub", &[("t", 2)])?;
    let (mut publisher, _) = on.session("pub")?;
    publisher.send(first_sending(on))?;
    // The server may have read it or not.
    publisher.reset();
    publisher_finishes(on, &mut subscriber, &second_sending(on), FROM_PUBLISH)
}

pub(super) fn a_publisher_cut_before_pubrec_came_loses_and_doubles_nothing(on: &Target) -> Checked {
    let mut subscriber = on.subscriber("sub", &[("t", 2)])?;
    let (mut publisher, _) = on.session("pub")?;
    publisher.send(first_sending(on))?;
    // The server has sent it; to a client that lost the connection on the way it is as if it had not.
    publisher.expect(packet::ack(PUBREC, ID))?;
    publisher.reset();
    publisher_finishes(on, &mut subscriber, &second_sending(on), FROM_PUBLISH)
}

pub(super) fn a_publisher_cut_after_pubrec_loses_and_doubles_nothing(on: &Target) -> Checked {
    let mut subscriber = on.subscriber("sub", &[("t", 2)])?;
    let (mut publisher, _) = on.session("pub")?;
    publisher.send(first_sending(on))?;
    publisher.expect(packet::ack(PUBREC, ID))?;
    publisher.reset();
    publisher_finishes(on, &mut subscriber, &packet::ack(PUBREL, ID), FROM_PUBREL)
}

pub(super) fn a_publisher_cut_after_pubrel_loses_and_doubles_nothing(on: &Target) -> Checked {
    let mut subscriber = on.subscriber("sub", &[("t", 2)])?;
    let (mut publisher, _) = on.session("pub")?;
    publisher.send(first_sending(on))?;
    publisher.expect(packet::ack(PUBREC, ID))?;
    publisher.send(packet::ack(PUBREL, ID))?;
    publisher.expect(packet::ack(PUBCOMP, ID))?;
    publisher.reset();
    publisher_finishes(on, &mut subscriber, &packet::ack(PUBREL, ID), FROM_PUBREL)
}

/// A stored session with one delivery at QoS 2 under way.
fn delivery(on: &Target) -> Checked<(Wire, Delivery)> {
    let (mut subscriber, _) = on.session("sub")?;
    subscriber.subscribed(&[(on.topic("t"), 2)])?;
    subscriber.subscribed(&[(on.fence_topic(), 0)])?;
    on.client("pub")?.published(on.topic("t"), "once", 2)?;
    let seen = subscriber.expect_message(&on.topic("t"), "once")?;
    Ok((subscriber, seen))
}

fn nothing_more(on: &Target, subscriber: &mut Wire) -> Checked {
    let mut publisher = on.client("fencer")?;
    on.fence(&mut publisher, subscriber)
}

pub(super) fn a_subscriber_cut_after_publish_loses_and_doubles_nothing(on: &Target) -> Checked {
    let (subscriber, first) = delivery(on)?;
    subscriber.reset();
    let (mut again, _) = on.session("sub")?;
    let second = again.received_message(&on.topic("t"), "once")?;
    ensure!(second.id == first.id && second.dup, "expected the same PUBLISH with DUP, got {second:?} after {first:?}");
    nothing_more(on, &mut again)
}

pub(super) fn a_subscriber_cut_after_pubrec_loses_and_doubles_nothing(on: &Target) -> Checked {
    let (mut subscriber, first) = delivery(on)?;
    subscriber.send(packet::ack(PUBREC, first.id))?;
    subscriber.reset();
    let (mut again, _) = on.session("sub")?;
    // The server has read PUBREC or not; the identifier tells the client that it has the message.
    let next = again.next()?;
    if next[0] >> 4 == 3 {
        let second = Delivery::read(&next)?;
        ensure!(second.id == first.id && second.dup, "expected the same PUBLISH with DUP, got {second:?} after {first:?}");
        again.settle(&second)?;
    } else {
        ensure!(next == packet::ack(PUBREL, first.id), "expected PUBLISH or PUBREL {}, got {next:02x?}", first.id);
        again.send(packet::ack(PUBCOMP, first.id))?;
    }
    nothing_more(on, &mut again)
}

pub(super) fn a_subscriber_cut_after_pubrel_loses_and_doubles_nothing(on: &Target) -> Checked {
    let (mut subscriber, first) = delivery(on)?;
    subscriber.send(packet::ack(PUBREC, first.id))?;
    subscriber.expect(packet::ack(PUBREL, first.id))?;
    subscriber.reset();
    let (mut again, _) = on.session("sub")?;
    again.expect(packet::ack(PUBREL, first.id))?;
    again.send(packet::ack(PUBCOMP, first.id))?;
    nothing_more(on, &mut again)
}

pub(super) fn a_subscriber_cut_after_pubcomp_loses_and_doubles_nothing(on: &Target) -> Checked {
    let (mut subscriber, first) = delivery(on)?;
    subscriber.settle(&first)?;
    // PUBCOMP has been read once the answer to the next packet is there.
    subscriber.ping()?;
    subscriber.reset();
    let (mut again, _) = on.session("sub")?;
    nothing_more(on, &mut again)
}

pub(super) fn open_exchanges_survive_a_restart(on: &Target) -> Checked {
    on.needs(Feature::SurvivesRestart)?;
    on.alone(|on| open_exchanges_survive(on, || on.broker.stop()))
}

pub(super) fn open_exchanges_survive_a_crash(on: &Target) -> Checked {
    on.needs(Feature::SurvivesCrash)?;
    on.alone(|on| {
        open_exchanges_survive(on, || {
            on.broker.kill();
            Ok(())
        })
    })
}

/// One exchange at each step in each role, over an end of the broker.
fn open_exchanges_survive(on: &Target, end: impl Fn() -> Checked) -> Checked {
    let (mut subscriber, _) = on.session("sub")?;
    subscriber.subscribed(&[(on.topic("t"), 2)])?;
    let (mut publisher, _) = on.session("pub")?;
    publisher.published(on.topic("t"), "received", 2)?;
    let received = subscriber.expect_message(&on.topic("t"), "received")?;
    subscriber.send(packet::ack(PUBREC, received.id))?;
    subscriber.expect(packet::ack(PUBREL, received.id))?;
    publisher.published(on.topic("t"), "sent", 2)?;
    let sent = subscriber.expect_message(&on.topic("t"), "sent")?;
    publisher.send(first_sending(on))?;
    publisher.expect(packet::ack(PUBREC, ID))?;
    end()?;
    on.broker.restart()?;

    let (mut publisher, present) = on.session("pub")?;
    ensure!(present, "session present is 0 for the publisher after the restart");
    publisher.send(second_sending(on))?;
    publisher.expect(packet::ack(PUBREC, ID))?;
    publisher.send(packet::ack(PUBREL, ID))?;
    publisher.expect(packet::ack(PUBCOMP, ID))?;

    let (mut subscriber, present) = on.session("sub")?;
    ensure!(present, "session present is 0 for the subscriber after the restart");
    let mut packets = vec![];
    let mut once = 0;
    // PUBREL of the first, PUBLISH of the second, and the third, in whichever order of the exchanges.
    while packets.len() < 2 || once == 0 {
        let packet = subscriber.next()?;
        if packet == packet::ack(PUBREL, received.id) {
            subscriber.send(packet::ack(PUBCOMP, received.id))?;
            packets.push("PUBREL".to_owned());
        } else if packet[0] >> 4 == 3 {
            let seen = Delivery::read(&packet)?;
            subscriber.send(packet::ack(PUBREC, seen.id))?;
            match seen.payload_text().as_str() {
                "once" => once += 1,
                "sent" => {
                    ensure!(seen.id == sent.id && seen.dup, "expected the same PUBLISH with DUP, got {seen:?} after {sent:?}");
                    packets.push("PUBLISH".to_owned());
                }
                other => return Err(subscriber.failure(format!("{other:?} was delivered although it had been received"))),
            }
        } else {
            ensure!(packet[0] == PUBREL, "expected PUBREL or PUBLISH, got {packet:02x?}");
            subscriber.send(packet::ack(PUBCOMP, packet::id_of(&packet)?))?;
        }
    }
    ensure!(once == 1, "the message under way was delivered {once} times");
    Ok(())
}
