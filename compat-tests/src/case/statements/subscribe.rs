//! Sections 3.8 to 3.11: SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK.

use crate::case::Target;
use crate::ensure;
use crate::outcome::Checked;
use crate::wire::packet::{self, PUBCOMP, PUBREC, PUBREL};

pub(super) fn reserved_bits_in_a_requested_qos_close(on: &Target) -> Checked {
    for qos in [0x03, 0x04, 0x81, 0xFE] {
        on.closes_on(&format!("SUBSCRIBE with QoS byte {qos:02x}"), &packet::subscribe(1, &[("a", qos)]))?;
    }
    Ok(())
}

pub(super) fn a_subscribe_without_filters_closes(on: &Target) -> Checked {
    on.closes_on("SUBSCRIBE without filters", &packet::packet(0x82, &[0, 1]))
}

pub(super) fn an_unsubscribe_without_filters_closes(on: &Target) -> Checked {
    on.closes_on("UNSUBSCRIBE without filters", &packet::packet(0xA2, &[0, 1]))
}

pub(super) fn subscribe_is_answered_by_suback_with_its_id(on: &Target) -> Checked {
    let mut wire = on.client("sub")?;
    wire.send(packet::subscribe(0x4321, &[(on.topic("t"), 1)]))?;
    wire.expect_hex("90 03 43 21 01").map(|_| ())
}

pub(super) fn an_identical_filter_replaces_the_subscription(on: &Target) -> Checked {
    let mut publisher = on.client("pub")?;
    publisher.published_retained(on.topic("t"), "kept", 1)?;
    let mut subscriber = on.subscriber("sub", &[])?;
    for qos in [0, 1] {
        subscriber.subscribed(&[(on.topic("t"), qos)])?;
        let seen = subscriber.received_message(&on.topic("t"), "kept")?;
        ensure!(seen.retain && seen.qos == qos, "the retained message came as {seen:?} to a subscription at {qos}");
    }
    publisher.published(on.topic("t"), "live", 1)?;
    let seen = subscriber.received_message(&on.topic("t"), "live")?;
    ensure!(seen.qos == 1, "the new maximum QoS is 1, the message came at {}", seen.qos);
    on.fence(&mut publisher, &mut subscriber)
}

pub(super) fn replacing_a_subscription_loses_nothing(on: &Target) -> Checked {
    let mut subscriber = on.subscriber("sub", &[("t", 1)])?;
    let mut publisher = on.client("pub")?;
    for at in 0..20 {
        publisher.send(packet::publish(on.topic("t"), format!("{at}"), 1, at + 1))?;
        subscriber.send(packet::subscribe(100 + at, &[(on.topic("t"), 1)]))?;
    }
    let (mut messages, mut subacks) = (vec![], 0);
    while messages.len() < 20 || subacks < 20 {
        let packet = subscriber.next()?;
        match packet[0] >> 4 {
            9 => subacks += 1,
            _ => {
                let seen = packet::Delivery::read(&packet)?;
                subscriber.send(packet::ack(packet::PUBACK, seen.id))?;
                messages.push(seen.payload_text());
            }
        }
    }
    let expected: Vec<String> = (0..20).map(|at| format!("{at}")).collect();
    ensure!(messages == expected, "expected 0 to 19, got {messages:?}");
    Ok(())
}

pub(super) fn many_filters_get_one_suback_with_a_code_each_in_order(on: &Target) -> Checked {
    let mut wire = on.client("sub")?;
    let filters = [("a", 0), ("b/#", 2), ("c/+", 1), ("d", 2), ("e", 0)].map(|(filter, qos)| (on.topic(filter), qos));
    wire.send(packet::subscribe(77, &filters))?;
    wire.expect(packet::suback(77, &[0, 2, 1, 2, 0]))?;
    let mut publisher = on.client("pub")?;
    for topic in ["a", "b/x/y", "c/z", "d", "e"] {
        publisher.published(on.topic(topic), topic, 0)?;
        wire.received_message(&on.topic(topic), topic)?;
    }
    Ok(())
}

pub(super) fn suback_codes_are_those_of_the_table(on: &Target) -> Checked {
    let mut wire = on.client("sub")?;
    let filters: Vec<(String, u8)> = (0..9).map(|at| (on.topic(&format!("f{at}")), at % 3)).collect();
    wire.send(packet::subscribe(5, &filters))?;
    let suback = wire.expect_hex("90 0b 00 05 *")?;
    ensure!(suback[4..].iter().all(|code| matches!(code, 0 | 1 | 2 | 0x80)), "codes {:02x?}", &suback[4..]);
    Ok(())
}

pub(super) fn the_delivered_qos_is_the_lower_of_published_and_granted(on: &Target) -> Checked {
    for granted in 0..=2 {
        let mut subscriber = on.subscriber(&format!("sub{granted}"), &[("t", granted)])?;
        let mut publisher = on.client("pub")?;
        for published in 0..=2 {
            publisher.published(on.topic("t"), "m", published)?;
            let seen = subscriber.received_message(&on.topic("t"), "m")?;
            ensure!(seen.qos == granted.min(published), "published at {published}, granted {granted}, delivered at {}", seen.qos);
        }
        subscriber.disconnect()?;
    }
    Ok(())
}

pub(super) fn filters_are_compared_character_by_character(on: &Target) -> Checked {
    let mut subscriber = on.subscriber("sub", &[("t/a", 0)])?;
    // They cover the subscription or look like it, and are not it.
    subscriber.unsubscribed(&["t/#", "t/+", "T/a", "t/a/", "t/A"].map(|filter| on.topic(filter)))?;
    let mut publisher = on.client("pub")?;
    publisher.published(on.topic("t/a"), "m", 0)?;
    subscriber.received_message(&on.topic("t/a"), "m")?;
    subscriber.unsubscribed(&[on.topic("t/a")])?;
    publisher.published(on.topic("t/a"), "m", 0)?;
    on.fence(&mut publisher, &mut subscriber)
}

pub(super) fn a_deleted_subscription_gets_no_new_messages(on: &Target) -> Checked {
    let mut subscriber = on.subscriber("sub", &[("t", 2)])?;
    subscriber.unsubscribed(&[on.topic("t")])?;
    let mut publisher = on.client("pub")?;
    for qos in 0..=2 {
        publisher.published(on.topic("t"), "m", qos)?;
    }
    on.fence(&mut publisher, &mut subscriber)
}

pub(super) fn deliveries_begun_are_finished_after_unsubscribe(on: &Target) -> Checked {
    let mut subscriber = on.subscriber("sub", &[("t", 2)])?;
    on.client("pub")?.published(on.topic("t"), "m", 2)?;
    let seen = subscriber.expect_message(&on.topic("t"), "m")?;
    subscriber.unsubscribed(&[on.topic("t")])?;
    subscriber.send(packet::ack(PUBREC, seen.id))?;
    subscriber.expect(packet::ack(PUBREL, seen.id))?;
    subscriber.send(packet::ack(PUBCOMP, seen.id))?;
    subscriber.ping()
}

pub(super) fn unsubscribe_is_answered_by_unsuback_with_its_id(on: &Target) -> Checked {
    let mut wire = on.subscriber("sub", &[("t", 0)])?;
    wire.send(packet::unsubscribe(0x4321, &[on.topic("t")]))?;
    wire.expect_hex("b0 02 43 21").map(|_| ())
}

pub(super) fn unsuback_comes_even_where_nothing_was_deleted(on: &Target) -> Checked {
    on.client("sub")?.unsubscribed(&[on.topic("never")])
}

pub(super) fn many_filters_in_unsubscribe_get_one_unsuback(on: &Target) -> Checked {
    let mut subscriber = on.subscriber("sub", &[("a", 0), ("b", 0), ("c", 0)])?;
    subscriber.unsubscribed(&["a", "never", "c"].map(|filter| on.topic(filter)))?;
    let mut publisher = on.client("pub")?;
    for topic in ["a", "b", "c"] {
        publisher.published(on.topic(topic), topic, 0)?;
    }
    subscriber.received_message(&on.topic("b"), "b")?;
    on.fence(&mut publisher, &mut subscriber)
}

pub(super) fn pingreq_is_answered_by_pingresp(on: &Target) -> Checked {
    let mut wire = on.client("a")?;
    wire.send_hex("c0 00")?;
    wire.expect_hex("d0 00").map(|_| ())
}

pub(super) fn the_server_closes_after_disconnect(on: &Target) -> Checked {
    let mut wire = on.client("a")?;
    wire.send_hex("e0 00")?;
    wire.expect_close()
}

pub(super) fn a_violation_closes_only_its_own_connection(on: &Target) -> Checked {
    let mut bystander = on.subscriber("bystander", &[("t", 1)])?;
    on.closes_on("packet type 15", &[0xF0, 0])?;
    on.closes_on("packet type 0", &[0x00, 0])?;
    on.closes_on("Remaining Length of five bytes", &[0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x01])?;
    on.client("pub")?.published(on.topic("t"), "m", 1)?;
    bystander.received_message(&on.topic("t"), "m").map(|_| ())
}

pub(super) fn a_packet_that_only_servers_send_closes(on: &Target) -> Checked {
    on.closes_on("CONNACK from a client", &packet::connack(false, 0))?;
    on.closes_on("SUBACK from a client", &packet::suback(1, &[0]))?;
    on.closes_on("UNSUBACK from a client", &packet::ack(0xB0, 1))?;
    on.closes_on("PINGRESP from a client", &packet::PINGRESP)
}
