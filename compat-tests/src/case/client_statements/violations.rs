//! What a client does when the server breaks the protocol: it closes the connection.

use super::Duel;
use crate::outcome::Checked;
use crate::wire::packet;
use std::time::Duration;

/// A client sees at once what is wrong with a packet.
const CLOSES_WITHIN: Duration = Duration::from_secs(5);

/// The client closes when it gets `malformed`.
fn closes_on(duel: &Duel, what: &str, malformed: &[u8]) -> Checked {
    let (_actor, mut server) = duel.ready()?;
    server.send(malformed)?;
    // A client may say goodbye, or answer before it looks closer.
    server.until_close_within(CLOSES_WITHIN).map(|_| ()).map_err(|stop| stop.within(what))
}

pub(super) fn ill_formed_utf8_in_a_topic_closes(duel: &Duel) -> Checked {
    closes_on(duel, "a topic that is not UTF-8", &packet::publish(b"a\xC0\x80", "x", 0, 0))?;
    closes_on(duel, "a topic with a surrogate", &packet::publish(b"a\xED\xA0\x80", "x", 0, 0))
}

pub(super) fn nul_in_a_topic_closes(duel: &Duel) -> Checked {
    closes_on(duel, "a topic with U+0000", &packet::publish("a\0b", "x", 0, 0))
}

pub(super) fn wrong_flags_close(duel: &Duel) -> Checked {
    closes_on(duel, "PUBACK 41", &packet::ack(0x41, 1))?;
    closes_on(duel, "PINGRESP d1", &[0xD1, 0])
}

pub(super) fn pubrel_with_wrong_flags_closes(duel: &Duel) -> Checked {
    let (_actor, mut server) = duel.ready()?;
    server.send(packet::publish(duel.topic(), "x", 2, 5))?;
    server.expect(packet::ack(packet::PUBREC, 5))?;
    server.send(packet::ack(0x60, 5))?;
    server.until_close_within(CLOSES_WITHIN).map(|_| ())
}

pub(super) fn qos_3_closes(duel: &Duel) -> Checked {
    closes_on(duel, "PUBLISH with QoS 3", &packet::publish_with(0x06, duel.topic(), "x", Some(1)))
}

pub(super) fn a_packet_identifier_of_zero_closes(duel: &Duel) -> Checked {
    closes_on(duel, "PUBLISH with the identifier 0", &packet::publish(duel.topic(), "x", 1, 0))
}

pub(super) fn a_wildcard_in_a_topic_closes(duel: &Duel) -> Checked {
    closes_on(duel, "PUBLISH to a/#", &packet::publish("a/#", "x", 0, 0))
}

pub(super) fn an_empty_topic_closes(duel: &Duel) -> Checked {
    closes_on(duel, "PUBLISH to an empty topic", &packet::publish("", "x", 0, 0))
}

pub(super) fn a_reserved_packet_type_closes(duel: &Duel) -> Checked {
    closes_on(duel, "packet type 15", &[0xF0, 0])?;
    closes_on(duel, "packet type 0", &[0x00, 0])
}

pub(super) fn a_packet_that_only_clients_send_closes(duel: &Duel) -> Checked {
    closes_on(duel, "SUBSCRIBE from a server", &packet::subscribe(1, &[("a", 0)]))?;
    closes_on(duel, "PINGREQ from a server", &packet::PINGREQ)
}
