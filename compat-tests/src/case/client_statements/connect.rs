//! CONNECT and DISCONNECT as a client sends them; keep alive.

use super::Duel;
use crate::client::Outgoing;
use crate::ensure;
use crate::outcome::{Checked, Stop};
use crate::wire::packet::{self, Connect};
use std::time::{Duration, Instant};

pub(super) fn connect_is_the_first_packet_and_well_formed(duel: &Duel) -> Checked {
    let (_actor, _server, opening) = duel.opened(&duel.options())?;
    ensure!(opening.client_id == duel.id().as_bytes(), "the client identifier is {:?}", opening.client_id);
    Ok(())
}

pub(super) fn clean_session_is_sent_as_asked(duel: &Duel) -> Checked {
    for (options, expected) in [(duel.options(), Connect::CLEAN_SESSION), (duel.options().stored(), 0)] {
        let (_actor, _server, opening) = duel.opened(&options)?;
        ensure!(opening.flags & Connect::CLEAN_SESSION == expected, "CleanSession was asked for as {expected:#x}: {opening:?}");
    }
    Ok(())
}

pub(super) fn without_a_will_its_bits_are_zero(duel: &Duel) -> Checked {
    let (_actor, _server, opening) = duel.opened(&duel.options())?;
    let bits = Connect::WILL | Connect::WILL_QOS_1 | Connect::WILL_QOS_2 | Connect::WILL_RETAIN;
    ensure!(opening.flags & bits == 0, "flags {:#04x} without a will", opening.flags);
    Ok(())
}

pub(super) fn a_will_is_in_the_payload_with_its_qos_and_retain(duel: &Duel) -> Checked {
    for (qos, retained) in [(0, false), (1, true), (2, false), (2, true)] {
        let will = Outgoing { retain: retained, ..Outgoing::new(duel.topic(), "gone") };
        let (_actor, _server, opening) = duel.opened(&duel.options().will(will, qos))?;
        ensure!(opening.will == Some((duel.topic().into_bytes(), b"gone".to_vec())), "the will is {:?}", opening.will);
        let seen = (opening.flags >> 3 & 3, opening.flags & Connect::WILL_RETAIN != 0);
        ensure!(seen == (qos, retained), "asked for will QoS and retain {:?}, sent {seen:?}", (qos, retained));
    }
    Ok(())
}

pub(super) fn without_credentials_their_flags_are_zero(duel: &Duel) -> Checked {
    let (_actor, _server, opening) = duel.opened(&duel.options())?;
    ensure!(opening.user_name.is_none() && opening.password.is_none(), "credentials that nobody gave: {opening:?}");
    Ok(())
}

pub(super) fn credentials_are_in_the_payload_in_order(duel: &Duel) -> Checked {
    let mut options = duel.options().will(duel.message("gone"), 1);
    (options.user_name, options.password) = (Some("Zoë".into()), Some("secret".into()));
    let (_actor, _server, opening) = duel.opened(&options)?;
    // That they were read is the proof of the order: client identifier, will topic, will message, user name, password.
    ensure!(opening.user_name.as_deref() == Some("Zoë".as_bytes()), "the user name is {:?}", opening.user_name);
    ensure!(opening.password.as_deref() == Some(b"secret"), "the password is {:?}", opening.password);
    Ok(())
}

pub(super) fn a_password_is_never_sent_without_a_user_name(duel: &Duel) -> Checked {
    let mut options = duel.options();
    options.password = Some("secret".into());
    let mut actor = duel.actor()?;
    // It may refuse, leave the password out, or send an empty user name.
    match actor.start_connect(&options) {
        Err(_) => Ok(()),
        Ok(()) => match connecting(duel)? {
            Some(opening) => {
                ensure!(opening.password.is_none() || opening.user_name.is_some(), "a password without a user name: {opening:?}");
                Ok(())
            }
            None => actor.refused().map(|_| ()),
        },
    }
}

/// The CONNECT of a client that may also refuse to connect.
fn connecting(duel: &Duel) -> Checked<Option<super::duel::Opening>> {
    match duel.accept_within(Duration::from_millis(500))? {
        None => Ok(None),
        Some(mut server) => match server.next_within(Duration::from_secs(5)) {
            Ok(Some(connect)) => super::duel::Opening::read(&connect).map(Some),
            Ok(None) => Ok(None),
            Err(stop) => Err(stop),
        },
    }
}

pub(super) fn an_empty_client_id_goes_with_clean_session_only(duel: &Duel) -> Checked {
    let mut options = duel.options().stored();
    options.client_id.clear();
    let mut actor = duel.actor()?;
    match actor.start_connect(&options) {
        Err(_) => Ok(()),
        Ok(()) => match connecting(duel)? {
            Some(opening) => {
                let fits = !opening.client_id.is_empty() || opening.flags & Connect::CLEAN_SESSION != 0;
                ensure!(fits, "an empty client identifier with CleanSession 0");
                Ok(())
            }
            None => actor.refused().map(|_| ()),
        },
    }
}

pub(super) fn silence_is_broken_by_a_ping_in_time(duel: &Duel) -> Checked {
    let options = duel.options().keep_alive_s(2);
    let (_actor, mut server) = duel.accepted(&options)?;
    for _ in 0..2 {
        let since = Instant::now();
        server.expect(packet::PINGREQ)?;
        let silent_ms = since.elapsed().as_millis();
        // What a server that keeps to the standard allows.
        ensure!(silent_ms < 3000, "{silent_ms} ms of silence with a keep alive of 2 s");
        server.send(packet::PINGRESP)?;
    }
    Ok(())
}

pub(super) fn a_refusal_is_told_and_nothing_is_sent_after_it(duel: &Duel) -> Checked {
    for code in [2, 3, 4, 5] {
        let (mut actor, mut server, _) = duel.opened(&duel.options())?;
        server.send(packet::connack(false, code))?;
        actor.refused()?;
        server.finish_sending()?;
        let after = server.until_close()?;
        ensure!(after.iter().all(|packet| *packet == packet::DISCONNECT), "packets after a refusal: {after:02x?}");
    }
    Ok(())
}

pub(super) fn disconnect_is_the_last_packet_and_the_client_closes(duel: &Duel) -> Checked {
    let (mut actor, mut server) = duel.ready()?;
    actor.start_disconnect()?;
    server.expect(packet::DISCONNECT)?;
    server.expect_close()?;
    drop(server);
    actor.closed().map(|_| ())
}

pub(super) fn a_connection_without_connack_is_not_taken_for_open(duel: &Duel) -> Checked {
    let (mut actor, mut server, _) = duel.opened(&duel.options())?;
    // The first packet from a server is CONNACK; anything else is a violation.
    server.send(packet::suback(1, &[0]))?;
    drop(server);
    match actor.refused() {
        Ok(_) => Ok(()),
        Err(stop) => Err(Stop::failed(format!("a server that never sent CONNACK: {stop}"))),
    }
}
