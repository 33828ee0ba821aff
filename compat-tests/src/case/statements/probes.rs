//! What a server does with what a newer or a stranger client may send: it serves it, or it closes. It never hangs, and it
//! never takes bytes that belong to one packet for another.

use crate::case::Target;
use crate::ensure;
use crate::outcome::Checked;
use crate::peer::Feature;
use crate::peer::recipe::Transport;
use crate::wire::packet::{self, Connect};
use crate::wire::{Seen, Wire, together, websocket};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A server that does not answer in this time hangs.
const ANSWERS_WITHIN: Duration = Duration::from_secs(4);

/// Openings that are not those of 3.1.1: other levels, other names, other layouts, more fields.
fn unusual_connects(on: &Target) -> Vec<(&'static str, Vec<u8>)> {
    let plain = |name: &str| Connect::clean(on.id(name));
    let other = |name: &str, protocol_name: &str, level: u8| Connect { protocol_name: protocol_name.into(), level, ..plain(name) };
    let behind = |connect: &Connect, more: &[u8]| packet::packet(0x10, &[&connect.body(), more].concat());
    vec![
        ("level 6", other("a", "MQTT", 6).bytes()),
        ("level 0x45", other("b", "MQTT", 0x45).bytes()),
        ("level 0x84", other("c", "MQTT", 0x84).bytes()),
        ("level 0", other("d", "MQTT", 0).bytes()),
        ("an unknown name", other("e", "OTHER", 1).bytes()),
        ("an unknown name with seven bytes behind", behind(&other("f", "OTHER", 1), &[6, 0xA1, 1, 2, 3, 4, 5])),
        ("an unknown name and a layout of its own", packet::packet(0x10, b"\0\x05OTHER\x01\x82\0\x3C\x05")),
        ("four bytes behind the last field", behind(&plain("g"), &[0xFF, 1, 2, 3])),
        ("sixty bytes behind the last field", behind(&plain("h"), &[0x30; 60])),
        ("a packet behind the last field", behind(&plain("i"), &packet::PINGREQ)),
        ("the reserved flag", plain("j").flags(1).bytes()),
        ("a client identifier of 40 with ;=", Connect::clean(format!("{:;<40}=", on.id("k"))).bytes()),
        ("a user name without a password", plain("l").user_name("somebody").bytes()),
    ]
}

pub(super) fn an_unusual_connect_is_served_or_closed_and_never_left_hanging(on: &Target) -> Checked {
    for (what, connect) in unusual_connects(on) {
        let mut wire = on.open(what)?;
        wire.send(connect)?;
        let answer = wire.look(ANSWERS_WITHIN)?;
        ensure!(answer != Seen::Silence, "{what}: no answer and no close in {} s", ANSWERS_WITHIN.as_secs());
        // Whatever it did, the next client is served.
        on.client("ordinary")?.ping()?;
    }
    Ok(())
}

pub(super) fn what_follows_an_unusual_connect_is_in_step(on: &Target) -> Checked {
    for (what, connect) in unusual_connects(on) {
        let mut wire = on.open(what)?;
        wire.send(connect)?;
        if wire.look(ANSWERS_WITHIN)? == Seen::Packet(packet::connack(false, 0)) {
            wire.ping().map_err(|stop| stop.within(what))?;
        }
    }
    Ok(())
}

pub(super) fn an_unsubscribe_in_the_same_write_as_connect_is_answered_in_order(on: &Target) -> Checked {
    let mut wire = on.open("together")?;
    let unsubscribe = packet::unsubscribe(0xFFFF, &[on.topic("never/subscribed")]);
    wire.send(together(&[&Connect::clean(on.id("together")).bytes(), &unsubscribe, &packet::PINGREQ]))?;
    wire.expect(packet::connack(false, 0))?;
    wire.expect(packet::ack(0xB0, 0xFFFF))?;
    wire.expect(packet::PINGRESP)
}

pub(super) fn a_long_filter_is_unsubscribed_like_any(on: &Target) -> Checked {
    let mut wire = on.client("long")?;
    let filter = on.topic(&"0123456789abcdef/".repeat(50));
    wire.send(packet::unsubscribe(0xFFFF, &[filter]))?;
    wire.expect(packet::ack(0xB0, 0xFFFF))
}

pub(super) fn an_unusual_packet_is_answered_or_closed_on_and_never_left_hanging(on: &Target) -> Checked {
    let puback_with_reason = packet::packet(0x40, &[0, 1, 0x10]);
    for (what, unusual) in [
        ("packet type 15", vec![0xF0, 0]),
        ("packet type 15 with a body", vec![0xF0, 3, 0, 1, 2]),
        ("packet type 0", vec![0, 0]),
        ("PINGREQ with a body", vec![0xC0, 2, 1, 2]),
        ("PUBACK with a reason", puback_with_reason),
    ] {
        let mut wire = on.client("unusual")?;
        wire.send(unusual)?;
        // What is ignored is followed by the answer to the next packet.
        wire.send(packet::PINGREQ)?;
        let answer = wire.look(ANSWERS_WITHIN)?;
        ensure!(answer != Seen::Silence, "{what}: no answer and no close in {} s", ANSWERS_WITHIN.as_secs());
    }
    Ok(())
}

/// How many clients connect while a WebSocket is being closed: more than a server has threads.
const NEWCOMERS: usize = 8;

/// A close frame without a body, masked with zeros.
const CLOSE_FRAME: [u8; 6] = [0x88, 0x80, 0, 0, 0, 0];

pub(super) fn a_websocket_that_is_closed_takes_nobody_with_it(on: &Target) -> Checked {
    on.needs(Feature::WebSocket)?;
    for round in 0..4 {
        let mut closing = TcpStream::connect(on.broker.endpoint(Transport::WebSocket)?)?;
        closing.set_read_timeout(Some(crate::wire::patience()))?;
        websocket::upgrade(&mut closing, crate::case::target::WEBSOCKET_PATH, "mqtt")?;
        closing.write_all(&CLOSE_FRAME)?;
        // The server has answered, and waits for the socket to end.
        closing.read_exact(&mut [0; 2])?;
        let newcomers: Checked<Vec<Wire>> = (0..NEWCOMERS).map(|at| on.client(&format!("new{round}x{at}"))).collect();
        let mut newcomers = newcomers?;
        drop(closing);
        // Whoever is accepted now is accepted behind that end.
        on.client(&format!("behind{round}"))?;
        newcomers.iter_mut().try_for_each(Wire::ping)?;
    }
    Ok(())
}
