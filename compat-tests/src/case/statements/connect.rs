//! Sections 3.1 and 3.2: CONNECT and CONNACK.

use crate::case::Target;
use crate::ensure;
use crate::outcome::{Checked, Stop};
use crate::wire::packet::{self, Connect};
use crate::wire::{Seen, together};
use std::time::{Duration, Instant};

pub(super) fn a_first_packet_other_than_connect_closes(on: &Target) -> Checked {
    for first in [packet::publish("a", "x", 0, 0), packet::subscribe(1, &[("a", 0)]), packet::PINGREQ.to_vec()] {
        let mut wire = on.open("no CONNECT")?;
        wire.send(first)?;
        wire.expect_close()?;
    }
    Ok(())
}

pub(super) fn a_second_connect_closes(on: &Target) -> Checked {
    on.closes_on("second CONNECT", &Connect::clean(on.id("second")).bytes())
}

pub(super) fn a_wrong_protocol_name_is_not_served(on: &Target) -> Checked {
    for name in ["MQTX", "mqtt", "", "MQTTT"] {
        let connect = Connect { protocol_name: name.into(), ..Connect::clean(on.id("a")) };
        on.refuses(&format!("protocol name {name:?}"), &connect.bytes())?;
    }
    Ok(())
}

pub(super) fn an_unsupported_level_gets_code_1_and_the_close(on: &Target) -> Checked {
    let mut wire = on.open("level 6")?;
    wire.send(Connect { level: 6, ..Connect::clean(on.id("a")) }.bytes())?;
    wire.expect(packet::connack(false, 1))?;
    wire.expect_close()
}

/// Closed on without CONNACK ([MQTT-3.1.4-1]).
fn silently_refused(on: &Target, what: &str, connect: &[u8]) -> Checked {
    let before = on.refuses(what, connect)?;
    ensure!(before.is_empty(), "{what}: {before:02x?} came before the close");
    Ok(())
}

pub(super) fn the_reserved_connect_flag_closes(on: &Target) -> Checked {
    silently_refused(on, "reserved flag", &Connect::clean(on.id("a")).flags(0x01).bytes())
}

pub(super) fn contradicting_will_flags_close_without_connack(on: &Target) -> Checked {
    silently_refused(on, "will QoS without a will", &Connect::clean(on.id("a")).flags(Connect::WILL_QOS_1).bytes())?;
    silently_refused(on, "will retain without a will", &Connect::clean(on.id("b")).flags(Connect::WILL_RETAIN).bytes())?;
    let will_qos_3 = Connect::clean(on.id("c")).will(on.topic("w"), "x").flags(Connect::WILL_QOS_1 | Connect::WILL_QOS_2);
    silently_refused(on, "will QoS 3", &will_qos_3.bytes())
}

pub(super) fn a_password_without_user_name_closes_without_connack(on: &Target) -> Checked {
    silently_refused(on, "password without user name", &Connect::clean(on.id("a")).password("secret").bytes())
}

pub(super) fn a_connect_that_ends_early_closes_without_connack(on: &Target) -> Checked {
    let body = Connect::clean(on.id("a")).will(on.topic("w"), "x").user_name("u").body();
    // In the client identifier, before the will message, before the user name.
    for cut in [14, body.len() - 6, body.len() - 3] {
        silently_refused(on, &format!("CONNECT cut after {cut} bytes"), &packet::packet(0x10, &body[..cut]))?;
    }
    Ok(())
}

pub(super) fn silence_for_one_and_a_half_keep_alives_is_a_network_failure(on: &Target) -> Checked {
    let mut witness = on.subscriber("witness", &[("will", 0)])?;
    let connect = Connect::clean(on.id("silent")).will(on.topic("will"), "gone").keep_alive_s(1);
    let since = Instant::now();
    let (mut wire, _) = on.connect("silent", &connect)?;
    wire.expect_close_within(Duration::from_secs(12))?;
    let silent_ms = since.elapsed().as_millis();
    ensure!(silent_ms >= 1000, "closed after {silent_ms} ms of silence with a keep alive of 1 s");
    witness.received_message(&on.topic("will"), "gone").map(|_| ())
}

pub(super) fn pings_within_the_keep_alive_keep_the_connection(on: &Target) -> Checked {
    let (mut wire, _) = on.connect("pinging", &Connect::clean(on.id("pinging")).keep_alive_s(1))?;
    let since = Instant::now();
    while since.elapsed() < Duration::from_millis(3200) {
        // Waiting for the server to close is the pause between two pings.
        let early = wire.look(Duration::from_millis(800))?;
        ensure!(early == Seen::Silence, "closed, or something was sent, after {} ms in spite of pings", since.elapsed().as_millis());
        wire.ping()?;
    }
    Ok(())
}

pub(super) fn a_keep_alive_of_zero_turns_it_off(on: &Target) -> Checked {
    let (mut wire, _) = on.connect("off", &Connect::clean(on.id("off")).keep_alive_s(0))?;
    ensure!(wire.look(Duration::from_millis(2500))? == Seen::Silence, "closed, or something was sent, without keep alive");
    wire.ping()
}

pub(super) fn client_ids_of_1_to_23_letters_and_digits_are_let_in(on: &Target) -> Checked {
    for id in ["a", "0123456789abcdefghijklm", "nopqrstuvwxyzABCDEFGHIJ", "KLMNOPQRSTUVWXYZ"] {
        let (mut wire, _) = on.connect(id, &Connect::clean(id))?;
        wire.ping()?;
    }
    Ok(())
}

pub(super) fn empty_client_ids_become_unique_ones(on: &Target) -> Checked {
    let mut first = on.open("first")?;
    first.send(Connect::clean("").bytes())?;
    if first.next()? == packet::connack(false, 2) {
        return Err(Stop::unsupported("it lets no empty client identifier in, which 3.1.1 allows"));
    }
    let (mut second, _) = on.connect("second", &Connect::clean(""))?;
    second.ping()?;
    first.ping()
}

pub(super) fn an_empty_client_id_with_a_stored_session_gets_code_2_and_the_close(on: &Target) -> Checked {
    let mut wire = on.open("empty")?;
    wire.send(Connect::stored("").bytes())?;
    wire.expect(packet::connack(false, 2))?;
    wire.expect_close()
}

pub(super) fn a_client_id_already_connected_ends_the_earlier_connection(on: &Target) -> Checked {
    let mut earlier = on.client("same")?;
    let mut later = on.client("same")?;
    earlier.expect_close()?;
    later.ping()
}

pub(super) fn a_valid_connect_gets_connack_0(on: &Target) -> Checked {
    let mut wire = on.open("client")?;
    wire.send(Connect::clean(on.id("a")).bytes())?;
    wire.expect_hex("20 02 00 00").map(|_| ())
}

pub(super) fn nothing_behind_a_refused_connect_is_processed(on: &Target) -> Checked {
    let mut witness = on.subscriber("witness", &[("t", 0)])?;
    let mut wire = on.open("refused")?;
    wire.send(together(&[&Connect::stored("").bytes(), &packet::publish(on.topic("t"), "smuggled", 0, 0)]))?;
    wire.expect(packet::connack(false, 2))?;
    wire.expect_close()?;
    let mut publisher = on.client("pub")?;
    on.fence(&mut publisher, &mut witness)
}

pub(super) fn the_servers_first_packet_is_connack(on: &Target) -> Checked {
    let (mut sleeper, _) = on.session("sleeper")?;
    sleeper.subscribed(&[(on.topic("t"), 1)])?;
    sleeper.disconnect()?;
    on.client("pub")?.published(on.topic("t"), "queued", 1)?;
    let mut wire = on.open("sleeper")?;
    let subscribe = packet::subscribe(1, &[(on.topic("u"), 0)]);
    wire.send(together(&[&Connect::stored(on.id("sleeper")).bytes(), &subscribe, &packet::PINGREQ]))?;
    wire.expect(packet::connack(true, 0)).map(|_| ())
}

pub(super) fn a_clean_session_is_never_present(on: &Target) -> Checked {
    on.session("a")?.0.disconnect()?;
    let (_, present) = on.connect("a", &Connect::clean(on.id("a")))?;
    ensure!(!present, "session present is 1 with CleanSession 1");
    Ok(())
}

pub(super) fn a_stored_session_is_present_when_it_is_resumed(on: &Target) -> Checked {
    let (mut first, _) = on.session("a")?;
    first.subscribed(&[(on.topic("t"), 1)])?;
    first.disconnect()?;
    let (_, present) = on.session("a")?;
    ensure!(present, "session present is 0 although the session was stored");
    Ok(())
}

pub(super) fn a_new_stored_session_is_not_present(on: &Target) -> Checked {
    let (_, present) = on.session("never-seen")?;
    ensure!(!present, "session present is 1 for a client identifier that was never seen");
    Ok(())
}

pub(super) fn a_refusal_has_session_present_0_and_closes(on: &Target) -> Checked {
    let before = on.refuses("level 6", &Connect { level: 6, ..Connect::clean(on.id("a")) }.bytes())?;
    ensure!(before.iter().all(|packet| packet[..3] == [0x20, 2, 0]), "expected CONNACK without session present, got {before:02x?}");
    Ok(())
}
