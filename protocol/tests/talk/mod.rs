//! What the conversations of the clauses have in common: packets written by hand into a conversation of two sessions, and
//! what was said in answer.
#![allow(dead_code, reason = "every test file uses some of it")]

use bytes::BytesMut;
use candor_protocol::codec::dictionary::{Dictionary, MapBuilder};
use candor_protocol::codec::frame::Frame;
use candor_protocol::dialect::{read, write};
use candor_protocol::packet::legality::Role;
use candor_protocol::packet::{Kind, Message, Packet, PacketId, Problem, Qos, Reason, Refusal, Retry};
use candor_protocol::session::{Delivery, Outcome};
use candor_protocol::sim::{End, Fault, Pair, Way};

/// A pair that is open and whose exchange begins now.
pub(crate) fn open(way: Way) -> Pair {
    let mut pair = Pair::open(way);
    pair.exchange.steps.clear();
    pair
}

pub(crate) fn end(pair: &mut Pair, role: Role) -> &mut End {
    match role {
        Role::Client => &mut pair.client,
        Role::Server => &mut pair.server,
    }
}

/// Hands bytes to the peer of `from` as if `from` had sent them, packet by packet.
pub(crate) fn inject(pair: &mut Pair, from: Role, bytes: &[u8]) {
    let mut bytes = BytesMut::from(bytes);
    loop {
        let now_ms = pair.now_ms;
        match Frame::split_mut(&mut bytes, u32::MAX) {
            Ok(Some(frame)) => end(pair, from.other()).session.receive(&frame, now_ms),
            Ok(None) => return,
            Err(error) => {
                bytes.clear();
                end(pair, from.other()).session.malformed(error);
            }
        }
        pair.drive();
    }
}

/// As [`inject`], with a packet.
pub(crate) fn say(pair: &mut Pair, from: Role, packet: &Packet) {
    let dialect = end(pair, from.other()).session.terms().dialect;
    let bytes = write::to_bytes(dialect, from, packet).unwrap();
    inject(pair, from, &bytes);
}

/// Nothing that `role` says from here on arrives: its peer is played by hand.
pub(crate) fn unheard(pair: &mut Pair, role: Role) {
    let pipe = if role == Role::Client { &mut pair.up } else { &mut pair.down };
    pipe.set_fault(Fault::Stall);
}

/// Every packet that `role` has sent since the exchange began, or was cleared.
pub(crate) fn said(pair: &Pair, role: Role) -> Vec<Packet> {
    let steps = pair.exchange.steps.iter().filter(|step| step.from == role);
    let mut packets = Vec::new();
    for step in steps {
        let mut bytes = BytesMut::from(&step.bytes[..]);
        while let Some(frame) = Frame::split_mut(&mut bytes, u32::MAX).unwrap() {
            packets.push(read::raise(step.dialect, &frame, Default::default()).unwrap());
        }
    }
    packets
}

/// The packets of one type among [`said`].
pub(crate) fn said_of(pair: &Pair, role: Role, kind: Kind) -> Vec<Packet> {
    said(pair, role).into_iter().filter(|packet| packet.kind() == kind).collect()
}

pub(crate) fn message(payload: &str) -> Message {
    Message::publish("a/b", payload).unwrap()
}

pub(crate) fn id(number: u16) -> PacketId {
    PacketId::new(number).unwrap()
}

pub(crate) fn delivery(payload: &str, qos: Qos, hop: Dictionary) -> Delivery {
    Delivery { message: message(payload), qos, retain: false, hop }
}

pub(crate) fn refusal() -> Refusal {
    Refusal::new(Reason::NOT_AUTHORIZED, Problem::titled("no rule allows it").rule("rules.toml:3").retry(Retry::Changed))
}

pub(crate) fn refused() -> Outcome {
    Outcome::refused(refusal())
}

/// A dictionary with a critical key that nobody knows.
pub(crate) fn unknown_critical() -> Dictionary {
    let mut map = MapBuilder::new();
    map.put(1001, |out| out.push(0xF5));
    map.finish()
}

pub(crate) const BOTH: [Role; 2] = [Role::Client, Role::Server];
