//! Sections 1.5.3, 2.2.2 and 2.3.1: strings, header flags, packet identifiers.

use crate::case::Target;
use crate::ensure;
use crate::outcome::Checked;
use crate::wire::packet::{self, Connect, PUBACK, PUBCOMP, PUBREC, PUBREL};

/// A lone continuation byte, an overlong form, a surrogate, a cut sequence, a value over U+10FFFF.
const ILL_FORMED: [&[u8]; 5] = [b"a\x80b", b"a\xC0\x80", b"a\xED\xA0\x80", b"a\xE2\x82", b"a\xF4\x90\x80\x80"];

pub(super) fn ill_formed_utf8_in_a_topic_closes(on: &Target) -> Checked {
    ILL_FORMED.iter().try_for_each(|text| on.closes_on(&format!("topic {text:02x?}"), &packet::publish(text, "", 0, 0)))
}

pub(super) fn ill_formed_utf8_in_a_filter_closes(on: &Target) -> Checked {
    ILL_FORMED.iter().try_for_each(|text| on.closes_on(&format!("filter {text:02x?}"), &packet::subscribe(1, &[(text, 0)])))
}

pub(super) fn ill_formed_utf8_in_connect_is_refused(on: &Target) -> Checked {
    for text in ILL_FORMED {
        on.refuses(&format!("client identifier {text:02x?}"), &Connect::clean(text).bytes())?;
        let (user_name, will) = (Connect::clean(on.id("u")).user_name(text), Connect::clean(on.id("w")).will(text, ""));
        on.refuses(&format!("user name {text:02x?}"), &user_name.bytes())?;
        on.refuses(&format!("will topic {text:02x?}"), &will.bytes())?;
    }
    Ok(())
}

pub(super) fn nul_in_a_topic_or_filter_closes(on: &Target) -> Checked {
    on.closes_on("topic with U+0000", &packet::publish("a\0b", "", 0, 0))?;
    on.closes_on("filter with U+0000", &packet::subscribe(1, &[("a\0b", 0)]))?;
    on.closes_on("filter with U+0000 in UNSUBSCRIBE", &packet::unsubscribe(1, &["a\0b"]))
}

pub(super) fn nul_in_a_client_identifier_is_refused(on: &Target) -> Checked {
    on.refuses("client identifier with U+0000", &Connect::clean("a\0b").bytes()).map(|_| ())
}

pub(super) fn a_byte_order_mark_is_kept(on: &Target) -> Checked {
    let marked = on.topic("\u{FEFF}x\u{FEFF}");
    let mut subscriber = on.subscriber("sub", &[("\u{FEFF}x\u{FEFF}", 0), ("x", 0)])?;
    let mut publisher = on.client("pub")?;
    publisher.published(&marked, "m", 0)?;
    subscriber.received_message(&marked, "m")?;
    on.fence(&mut publisher, &mut subscriber)
}

pub(super) fn the_servers_packets_have_the_flags_of_the_table(on: &Target) -> Checked {
    let mut subscriber = on.client("sub")?;
    subscriber.send(packet::subscribe(1, &[(on.topic("t"), 2)]))?;
    subscriber.expect_hex("90 03 00 01 02")?;
    let mut publisher = on.client("pub")?;
    publisher.send(packet::publish(on.topic("t"), "x", 2, 2))?;
    publisher.expect_hex("50 02 00 02")?;
    publisher.send(packet::ack(PUBREL, 2))?;
    publisher.expect_hex("70 02 00 02")?;
    publisher.send(packet::publish(on.topic("u"), "x", 1, 3))?;
    publisher.expect_hex("40 02 00 03")?;
    let delivery = packet::Delivery::read(&subscriber.expect_hex("34 *")?)?;
    subscriber.send(packet::ack(PUBREC, delivery.id))?;
    let pubrel = subscriber.next()?;
    ensure!(pubrel == packet::ack(0x62, delivery.id), "expected PUBREL 62, got {pubrel:02x?}");
    subscriber.send(packet::ack(PUBCOMP, delivery.id))?;
    subscriber.send(packet::unsubscribe(4, &[on.topic("t")]))?;
    subscriber.expect_hex("b0 02 00 04")?;
    subscriber.send_hex("c0 00")?;
    subscriber.expect_hex("d0 00").map(|_| ())
}

pub(super) fn wrong_flags_close(on: &Target) -> Checked {
    for first in [0x41, 0x48, 0x51, 0x71, 0x74] {
        on.closes_on(&format!("acknowledgement {first:02x}"), &packet::ack(first, 1))?;
    }
    on.closes_on("PINGREQ c1", &[0xC1, 0])
}

pub(super) fn connect_with_wrong_flags_is_refused(on: &Target) -> Checked {
    on.refuses("CONNECT 11", &packet::packet(0x11, &Connect::clean(on.id("a")).body())).map(|_| ())
}

pub(super) fn pubrel_with_wrong_flags_closes(on: &Target) -> Checked {
    for first in [0x60, 0x63, 0x66] {
        let mut wire = on.client(&format!("f{first:x}"))?;
        wire.send(packet::publish(on.topic("t"), "x", 2, 5))?;
        wire.expect(packet::ack(PUBREC, 5))?;
        wire.send(packet::ack(first, 5))?;
        wire.expect_close()?;
    }
    Ok(())
}

pub(super) fn subscribe_with_wrong_flags_closes(on: &Target) -> Checked {
    let body = packet::subscribe(1, &[("a", 0)])[2..].to_vec();
    [0x80, 0x83, 0x8A].iter().try_for_each(|first| on.closes_on(&format!("SUBSCRIBE {first:02x}"), &packet::packet(*first, &body)))
}

pub(super) fn unsubscribe_with_wrong_flags_closes(on: &Target) -> Checked {
    let body = packet::unsubscribe(1, &["a"])[2..].to_vec();
    [0xA0, 0xA3, 0xAA].iter().try_for_each(|first| on.closes_on(&format!("UNSUBSCRIBE {first:02x}"), &packet::packet(*first, &body)))
}

pub(super) fn disconnect_with_wrong_flags_is_no_disconnect(on: &Target) -> Checked {
    // It is a violation, so the connection is closed as on a failure, and the will is published.
    let will = on.topic("will");
    let mut witness = on.subscriber("witness", &[("will", 0)])?;
    let (mut wire, _) = on.connect("bad", &Connect::clean(on.id("bad")).will(&will, "gone"))?;
    wire.send([0xE1, 0])?;
    wire.expect_close()?;
    witness.received_message(&will, "gone").map(|_| ())
}

pub(super) fn a_packet_identifier_of_zero_closes(on: &Target) -> Checked {
    on.closes_on("SUBSCRIBE", &packet::subscribe(0, &[("a", 0)]))?;
    on.closes_on("UNSUBSCRIBE", &packet::unsubscribe(0, &["a"]))?;
    on.closes_on("PUBLISH of QoS 1", &packet::publish("a", "x", 1, 0))?;
    on.closes_on("PUBLISH of QoS 2", &packet::publish("a", "x", 2, 0))
}

pub(super) fn open_deliveries_have_different_identifiers_and_keep_them(on: &Target) -> Checked {
    let (mut subscriber, _) = on.session("sub")?;
    subscriber.subscribed(&[(on.topic("t"), 1)])?;
    let mut publisher = on.client("pub")?;
    for payload in ["1", "2", "3"] {
        publisher.published(on.topic("t"), payload, 1)?;
    }
    let first = (0..3).map(|_| subscriber.expect_publish()).collect::<Checked<Vec<_>>>()?;
    let ids: Vec<u16> = first.iter().map(|seen| seen.id).collect();
    ensure!(ids.iter().all(|id| *id != 0), "a delivery has the identifier 0: {ids:?}");
    ensure!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2], "open deliveries share an identifier: {ids:?}");
    subscriber.reset();
    let (mut again, _) = on.session("sub")?;
    for before in first {
        let seen = again.received()?;
        ensure!((seen.id, &seen.payload) == (before.id, &before.payload), "{:?} was sent again with {}", before, seen.id);
    }
    Ok(())
}

pub(super) fn a_qos_0_publish_has_no_identifier(on: &Target) -> Checked {
    let mut subscriber = on.subscriber("sub", &[("t", 1)])?;
    on.client("pub")?.published(on.topic("t"), "x", 0)?;
    subscriber.expect(packet::publish(on.topic("t"), "x", 0, 0))
}

pub(super) fn acknowledgements_repeat_the_identifier(on: &Target) -> Checked {
    let mut wire = on.client("pub")?;
    for id in [1, 0x1234, 0xFFFF] {
        wire.send(packet::publish(on.topic("t"), "x", 1, id))?;
        wire.expect(packet::ack(PUBACK, id))?;
        wire.send(packet::publish(on.topic("t"), "x", 2, id))?;
        wire.expect(packet::ack(PUBREC, id))?;
        wire.send(packet::ack(PUBREL, id))?;
        wire.expect(packet::ack(PUBCOMP, id))?;
    }
    Ok(())
}

pub(super) fn suback_and_unsuback_repeat_the_identifier(on: &Target) -> Checked {
    let mut wire = on.client("sub")?;
    for id in [1, 0x1234, 0xFFFF] {
        wire.send(packet::subscribe(id, &[(on.topic("t"), 0)]))?;
        wire.expect(packet::suback(id, &[0]))?;
        wire.send(packet::unsubscribe(id, &[on.topic("t")]))?;
        wire.expect(packet::ack(0xB0, id))?;
    }
    Ok(())
}
