//! PUBLISH, SUBSCRIBE and UNSUBSCRIBE as a client sends them, and what it answers.

use super::Duel;
use crate::client::Outgoing;
use crate::ensure;
use crate::outcome::Checked;
use crate::wire::packet::{self, Delivery, PUBACK, PUBCOMP, PUBREC, PUBREL};
use crate::wire::{Seen, Wire, hex, together};
use std::time::Duration;

/// A client sends at once, if it sends.
const SENT_WITHIN: Duration = Duration::from_secs(2);

pub(super) fn qos_0_is_a_publish_without_dup_and_identifier(duel: &Duel) -> Checked {
    let (mut actor, mut server) = duel.ready()?;
    let ticket = actor.start_publish(&duel.message("x"), 0)?;
    server.expect(packet::publish(duel.topic(), "x", 0, 0))?;
    actor.published(ticket)
}

pub(super) fn qos_1_is_complete_with_puback(duel: &Duel) -> Checked {
    let (mut actor, mut server) = duel.ready()?;
    let ticket = actor.start_publish(&duel.message("x"), 1)?;
    let seen = server.expect_message(&duel.topic(), "x")?;
    ensure!(seen.qos == 1 && !seen.dup && seen.id != 0, "a first sending at QoS 1 is {seen:?}");
    server.send(packet::ack(PUBACK, seen.id))?;
    actor.published(ticket)
}

pub(super) fn qos_2_goes_through_its_four_packets(duel: &Duel) -> Checked {
    let (mut actor, mut server) = duel.ready()?;
    let ticket = actor.start_publish(&duel.message("x"), 2)?;
    let seen = server.expect_message(&duel.topic(), "x")?;
    ensure!(seen.qos == 2 && !seen.dup && seen.id != 0, "a first sending at QoS 2 is {seen:?}");
    server.send(packet::ack(PUBREC, seen.id))?;
    server.expect(packet::ack(PUBREL, seen.id))?;
    server.send(packet::ack(PUBCOMP, seen.id))?;
    actor.published(ticket)
}

pub(super) fn retain_is_sent_as_asked(duel: &Duel) -> Checked {
    let (mut actor, mut server) = duel.ready()?;
    actor.start_publish(&duel.message("x").retained(), 0)?;
    server.expect(packet::publish_retained(duel.topic(), "x", 0, 0))
}

pub(super) fn open_requests_have_different_identifiers(duel: &Duel) -> Checked {
    let (mut actor, mut server) = duel.ready()?;
    actor.start_publish(&duel.message("a"), 1)?;
    actor.start_publish(&duel.message("b"), 2)?;
    actor.start_publish(&duel.message("c"), 1)?;
    let mut ids = (0..3).map(|_| Ok(server.expect_publish()?.id)).collect::<Checked<Vec<_>>>()?;
    actor.start_subscribe(&[(duel.topic(), 0)])?;
    ids.push(packet::id_of(&server.expect_hex("82 *")?)?);
    let mut sorted = ids.clone();
    sorted.sort_unstable();
    sorted.dedup();
    ensure!(sorted.len() == 4 && !ids.contains(&0), "open requests have the identifiers {ids:?}");
    Ok(())
}

pub(super) fn publications_go_out_in_order(duel: &Duel) -> Checked {
    let (mut actor, mut server) = duel.ready()?;
    for at in 0..10 {
        actor.start_publish(&duel.message(&format!("{at}")), 1)?;
    }
    for at in 0..10 {
        let seen = server.expect_message(&duel.topic(), &format!("{at}"))?;
        server.send(packet::ack(PUBACK, seen.id))?;
    }
    Ok(())
}

pub(super) fn pubrels_go_in_the_order_of_the_pubrecs(duel: &Duel) -> Checked {
    let (mut actor, mut server) = duel.ready()?;
    for at in 0..5 {
        actor.start_publish(&duel.message(&format!("{at}")), 2)?;
    }
    let ids = (0..5).map(|_| Ok(server.expect_publish()?.id)).collect::<Checked<Vec<_>>>()?;
    server.send(ids.iter().flat_map(|id| packet::ack(PUBREC, *id)).collect::<Vec<_>>())?;
    ids.iter().try_for_each(|id| server.expect(packet::ack(PUBREL, *id)))
}

/// What a client must never send: it refuses, or closes, or sends nothing of it.
fn never_sent(duel: &Duel, what: &str, start: impl Fn(&mut crate::client::Actor) -> Checked, is_sent: impl Fn(&[u8]) -> bool) -> Checked {
    let (mut actor, mut server) = duel.ready()?;
    if start(&mut actor).is_err() {
        return Ok(());
    }
    // The next request shows that the first was passed over. A client that closed on it sends none, nor does one that is
    // stuck over it.
    if actor.start_publish(&duel.message("next"), 0).is_err() {
        return Ok(());
    }
    while let Seen::Packet(packet) = server.look(SENT_WITHIN)? {
        ensure!(!is_sent(&packet), "{what} was sent: {}", hex::show(&packet));
        if packet[0] >> 4 == 3 {
            break;
        }
    }
    Ok(())
}

pub(super) fn a_wildcard_is_never_sent_in_a_topic(duel: &Duel) -> Checked {
    for topic in ["a/#", "a/+/b", "#"] {
        let publish = |actor: &mut crate::client::Actor| actor.start_publish(&Outgoing::new(topic, "x"), 0).map(|_| ());
        never_sent(duel, topic, publish, |packet| Delivery::read(packet).is_ok_and(|seen| seen.topic == topic.as_bytes()))?;
    }
    Ok(())
}

pub(super) fn an_empty_topic_is_never_sent(duel: &Duel) -> Checked {
    let publish = |actor: &mut crate::client::Actor| actor.start_publish(&Outgoing::new("", "x"), 0).map(|_| ());
    never_sent(duel, "an empty topic", publish, |packet| Delivery::read(packet).is_ok_and(|seen| seen.topic.is_empty()))
}

pub(super) fn a_topic_with_nul_is_never_sent(duel: &Duel) -> Checked {
    let publish = |actor: &mut crate::client::Actor| actor.start_publish(&Outgoing::new("a\0b", "x"), 0).map(|_| ());
    never_sent(duel, "U+0000 in a topic", publish, |packet| Delivery::read(packet).is_ok_and(|seen| seen.topic.contains(&0)))
}

pub(super) fn a_topic_over_65535_bytes_is_never_sent(duel: &Duel) -> Checked {
    let long = "x".repeat(65_536);
    let publish = |actor: &mut crate::client::Actor| actor.start_publish(&Outgoing::new(&long, "x"), 0).map(|_| ());
    never_sent(duel, "a topic of 65,536 bytes", publish, |packet| packet[0] >> 4 == 3 && packet.len() > 1000)
}

pub(super) fn a_misplaced_wildcard_is_never_sent_in_a_filter(duel: &Duel) -> Checked {
    for filter in ["a#", "a/#/b", "a+"] {
        let subscribe = |actor: &mut crate::client::Actor| actor.start_subscribe(&[(filter.to_owned(), 0)]).map(|_| ());
        never_sent(duel, filter, subscribe, |packet| packet[0] == 0x82)?;
    }
    Ok(())
}

pub(super) fn a_subscribe_without_filters_is_never_sent(duel: &Duel) -> Checked {
    never_sent(duel, "an empty SUBSCRIBE", |actor| actor.start_subscribe(&[]).map(|_| ()), |packet| packet[0] == 0x82)
}

pub(super) fn subscribe_has_its_flags_filters_and_qos(duel: &Duel) -> Checked {
    let (mut actor, mut server) = duel.ready()?;
    actor.start_subscribe(&[("a/+".into(), 2), ("λ/#".into(), 0)])?;
    let seen = server.expect_hex("82 *")?;
    let id = packet::id_of(&seen)?;
    ensure!(id != 0 && seen == packet::subscribe(id, &[("a/+", 2), ("λ/#", 0)]), "SUBSCRIBE is {seen:02x?}");
    Ok(())
}

pub(super) fn the_codes_of_suback_are_told(duel: &Duel) -> Checked {
    let (mut actor, mut server) = duel.ready()?;
    let filters: Vec<(String, u8)> = (0..4).map(|at| (format!("f{at}"), 2)).collect();
    let codes = std::thread::scope(|scope| -> Checked<Vec<u8>> {
        let answering = scope.spawn(move || -> Checked<Wire> {
            let id = packet::id_of(&server.expect_hex("82 *")?)?;
            server.send(packet::suback(id, &[0, 0x80, 2, 1]))?;
            Ok(server)
        });
        let codes = actor.subscribe_codes(&filters);
        // The connection lives until the codes are there.
        answering.join().map_err(|_| crate::outcome::Stop::failed("the script panicked"))??;
        codes
    })?;
    ensure!(codes == [0, 0x80, 2, 1], "SUBACK said 0, 0x80, 2, 1; the client says {codes:?}");
    Ok(())
}

pub(super) fn unsubscribe_has_its_flags_and_filters(duel: &Duel) -> Checked {
    let (mut actor, mut server) = duel.ready()?;
    let seen = std::thread::scope(|scope| -> Checked<Vec<u8>> {
        let answering = scope.spawn(move || -> Checked<(Vec<u8>, Wire)> {
            let seen = server.expect_hex("a2 *")?;
            server.send(packet::ack(0xB0, packet::id_of(&seen)?))?;
            Ok((seen, server))
        });
        actor.unsubscribe(&["a/+"])?;
        Ok(answering.join().map_err(|_| crate::outcome::Stop::failed("the script panicked"))??.0)
    })?;
    let id = packet::id_of(&seen)?;
    ensure!(id != 0 && seen == packet::unsubscribe(id, &["a/+"]), "UNSUBSCRIBE is {seen:02x?}");
    Ok(())
}

pub(super) fn each_qos_is_answered_with_its_identifier(duel: &Duel) -> Checked {
    let (mut actor, mut server) = duel.ready()?;
    for id in [1, 0x1234, 0xFFFF] {
        server.send(packet::publish(duel.topic(), "zero", 0, 0))?;
        actor.expect(&duel.topic(), "zero")?;
        server.send(packet::publish(duel.topic(), "one", 1, id))?;
        server.expect(packet::ack(PUBACK, id))?;
        actor.expect(&duel.topic(), "one")?;
        server.send(packet::publish(duel.topic(), "two", 2, id))?;
        server.expect(packet::ack(PUBREC, id))?;
        server.send(packet::ack(PUBREL, id))?;
        server.expect(packet::ack(PUBCOMP, id))?;
        actor.expect(&duel.topic(), "two")?;
    }
    Ok(())
}

pub(super) fn acknowledgements_go_in_the_order_of_the_publishes(duel: &Duel) -> Checked {
    for (qos, answer) in [(1, PUBACK), (2, PUBREC)] {
        let (_actor, mut server) = duel.ready()?;
        let ids = [9, 3, 7, 1, 5];
        server.send(ids.iter().flat_map(|id| packet::publish(duel.topic(), "x", qos, *id)).collect::<Vec<_>>())?;
        ids.iter().try_for_each(|id| server.expect(packet::ack(answer, *id)))?;
    }
    Ok(())
}

pub(super) fn qos_2_is_delivered_once_until_pubrel(duel: &Duel) -> Checked {
    let (mut actor, mut server) = duel.ready()?;
    server.send(packet::publish(duel.topic(), "once", 2, 4))?;
    server.expect(packet::ack(PUBREC, 4))?;
    server.send(packet::publish_with(0x0C, duel.topic(), "once", Some(4)))?;
    server.expect(packet::ack(PUBREC, 4))?;
    server.send(packet::ack(PUBREL, 4))?;
    server.expect(packet::ack(PUBCOMP, 4))?;
    actor.expect(&duel.topic(), "once")?;
    // The identifier is free: this is a new message, and nothing came between.
    server.send(packet::publish(duel.topic(), "new", 2, 4))?;
    server.expect(packet::ack(PUBREC, 4))?;
    server.send(packet::ack(PUBREL, 4))?;
    server.expect(packet::ack(PUBCOMP, 4))?;
    actor.expect(&duel.topic(), "new").map(|_| ())
}

pub(super) fn qos_1_takes_the_identifier_anew_after_puback(duel: &Duel) -> Checked {
    let (mut actor, mut server) = duel.ready()?;
    for payload in ["first", "second"] {
        server.send(packet::publish(duel.topic(), payload, 1, 4))?;
        server.expect(packet::ack(PUBACK, 4))?;
        actor.expect(&duel.topic(), payload)?;
    }
    Ok(())
}

pub(super) fn a_byte_order_mark_is_kept(duel: &Duel) -> Checked {
    let (mut actor, mut server) = duel.ready()?;
    server.send(packet::publish("\u{FEFF}x", "in", 0, 0))?;
    actor.expect("\u{FEFF}x", "in")?;
    actor.start_publish(&Outgoing::new("\u{FEFF}x", "out"), 0)?;
    server.expect(packet::publish("\u{FEFF}x", "out", 0, 0))
}

pub(super) fn packets_are_found_in_any_split_of_the_bytes(duel: &Duel) -> Checked {
    let (mut actor, mut server) = duel.ready()?;
    let first = packet::publish(duel.topic(), "x".repeat(200), 0, 0);
    let second = packet::publish(duel.topic(), "second", 1, 1);
    for chunk in together(&[&first, &second]).chunks(7) {
        server.send(chunk)?;
    }
    actor.expect(&duel.topic(), &"x".repeat(200))?;
    actor.expect(&duel.topic(), "second")?;
    server.expect(packet::ack(PUBACK, 1))
}
