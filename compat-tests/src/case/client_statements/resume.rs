//! A client that comes back: what was open goes on, nothing is lost, nothing comes twice.

use super::Duel;
use crate::client::Actor;
use crate::ensure;
use crate::outcome::Checked;
use crate::peer::Feature;
use crate::wire::packet::{self, Delivery, PUBACK, PUBCOMP, PUBREC, PUBREL};
use crate::wire::{Wire, patience};

fn stored(duel: &Duel) -> Checked<(Actor, Wire)> {
    duel.needs(Feature::Resume)?;
    duel.accepted(&duel.options().stored())
}

/// The connection is lost; the client sees it and comes back.
fn lost(duel: &Duel, actor: &mut Actor, server: Wire) -> Checked<Wire> {
    drop(server);
    actor.closed()?;
    duel.resumed(actor)
}

pub(super) fn an_open_qos_1_publish_is_sent_again_with_dup_and_its_identifier(duel: &Duel) -> Checked {
    let (mut actor, mut server) = stored(duel)?;
    let ticket = actor.start_publish(&duel.message("x"), 1)?;
    let first = server.expect_message(&duel.topic(), "x")?;
    let mut server = lost(duel, &mut actor, server)?;
    let second = server.expect_message(&duel.topic(), "x")?;
    ensure!(second == Delivery { dup: true, ..first.clone() }, "first {first:?}, then {second:?}");
    server.send(packet::ack(PUBACK, second.id))?;
    actor.published(ticket)
}

pub(super) fn an_open_qos_2_publish_is_sent_again_until_pubrec(duel: &Duel) -> Checked {
    let (mut actor, mut server) = stored(duel)?;
    let ticket = actor.start_publish(&duel.message("x"), 2)?;
    let first = server.expect_message(&duel.topic(), "x")?;
    let mut server = lost(duel, &mut actor, server)?;
    let second = server.expect_message(&duel.topic(), "x")?;
    ensure!(second == Delivery { dup: true, ..first.clone() }, "first {first:?}, then {second:?}");
    server.send(packet::ack(PUBREC, first.id))?;
    server.expect(packet::ack(PUBREL, first.id))?;
    server.send(packet::ack(PUBCOMP, first.id))?;
    actor.published(ticket)
}

pub(super) fn after_pubrec_only_pubrel_is_sent_again(duel: &Duel) -> Checked {
    let (mut actor, mut server) = stored(duel)?;
    let ticket = actor.start_publish(&duel.message("x"), 2)?;
    let first = server.expect_message(&duel.topic(), "x")?;
    server.send(packet::ack(PUBREC, first.id))?;
    server.expect(packet::ack(PUBREL, first.id))?;
    let mut server = lost(duel, &mut actor, server)?;
    server.expect(packet::ack(PUBREL, first.id))?;
    server.send(packet::ack(PUBCOMP, first.id))?;
    actor.published(ticket)
}

pub(super) fn what_is_open_is_sent_again_in_order(duel: &Duel) -> Checked {
    let (mut actor, mut server) = stored(duel)?;
    for at in 0..5 {
        actor.start_publish(&duel.message(&format!("{at}")), 1)?;
    }
    let first = (0..5).map(|_| server.expect_publish()).collect::<Checked<Vec<_>>>()?;
    let mut server = lost(duel, &mut actor, server)?;
    for before in first {
        let seen = server.expect_publish()?;
        ensure!(seen == Delivery { dup: true, ..before.clone() }, "expected {before:?} again, got {seen:?}");
        // Some clients send one at a time.
        server.send(packet::ack(PUBACK, seen.id))?;
    }
    Ok(())
}

/// A QoS 2 message that was received to some point, the connection lost, and sent again from there.
fn received_once(duel: &Duel, after_pubrec: bool) -> Checked {
    let (mut actor, mut server) = stored(duel)?;
    server.send(packet::publish(duel.topic(), "once", 2, 8))?;
    server.expect(packet::ack(PUBREC, 8))?;
    let mut server = lost(duel, &mut actor, server)?;
    if !after_pubrec {
        server.send(packet::publish_with(0x0C, duel.topic(), "once", Some(8)))?;
        server.expect(packet::ack(PUBREC, 8))?;
    }
    server.send(packet::ack(PUBREL, 8))?;
    // Some clients wait for PUBREL before they deliver, others have delivered; either way once.
    next_ack(&mut server, PUBCOMP, 8)?;
    server.send(packet::publish(duel.topic(), "new", 1, 9))?;
    next_ack(&mut server, PUBACK, 9)?;
    actor.expect(&duel.topic(), "once")?;
    actor.expect(&duel.topic(), "new").map(|_| ())
}

fn next_ack(server: &mut Wire, first: u8, id: u16) -> Checked {
    match server.next_within(patience())? {
        Some(seen) if seen == packet::ack(first, id) => Ok(()),
        seen => Err(server.failure(format!("expected {:02x?}, got {seen:02x?}", packet::ack(first, id)))),
    }
}

pub(super) fn a_qos_2_message_sent_again_is_delivered_once(duel: &Duel) -> Checked {
    received_once(duel, false)
}

pub(super) fn a_qos_2_message_released_after_the_loss_is_delivered_once(duel: &Duel) -> Checked {
    received_once(duel, true)
}

pub(super) fn a_session_that_the_server_lost_starts_anew(duel: &Duel) -> Checked {
    let (mut actor, mut server) = stored(duel)?;
    actor.start_publish(&duel.message("open"), 1)?;
    let first = server.expect_message(&duel.topic(), "open")?;
    server.send(packet::ack(PUBACK, first.id))?;
    drop(server);
    actor.closed()?;
    actor.start_resume()?;
    let mut server = duel.accept()?;
    super::duel::Opening::read(&server.next()?)?;
    server.send(packet::connack(false, 0))?;
    actor.connected()?;
    // Nothing was open, so the first packet is what it is told now.
    let ticket = actor.start_publish(&duel.message("new"), 1)?;
    let seen = server.expect_message(&duel.topic(), "new")?;
    ensure!(!seen.dup, "a first sending with DUP: {seen:?}");
    server.send(packet::ack(PUBACK, seen.id))?;
    actor.published(ticket)
}
