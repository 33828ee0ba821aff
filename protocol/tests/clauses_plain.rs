//! What a plain 3.1.1 peer gets of a packet that has more to say than 3.1.1 can.
#![allow(clippy::unwrap_used, clippy::panic, reason = "what fails in a test fails the test")]

mod frames;

use bytes::BytesMut;
use candor_protocol::codec::dictionary::{Dictionary, Limits};
use candor_protocol::codec::error::Malformed;
use candor_protocol::dialect::Dialect;
use candor_protocol::dialect::read::raise;
use candor_protocol::dialect::write::{Lowered, lower, to_bytes};
use candor_protocol::packet::kind::Kind;
use candor_protocol::packet::legality::Role;
use candor_protocol::packet::reason::REASONS;
use candor_protocol::packet::{Ack, ConnAck, Notice, Packet, PacketId, Reason, SubAck};
use frames::{frame_with, hex, read};

fn lowered(packet: &Packet) -> (Lowered, Vec<u8>) {
    let mut out = BytesMut::new();
    (lower(Dialect::V311, Role::Server, packet, &mut out), out.to_vec())
}

fn refusals(kind: Kind) -> impl Iterator<Item = Reason> {
    REASONS.iter().filter(move |row| row.reason.is_error() && row.packets.contains(kind)).map(|row| row.reason)
}

/// clause plain.bytes MUST NOT
/// A server MUST NOT send a dictionary, or a reason beyond the return codes of MQTT 3.1.1, on a plain connection.
#[test]
fn a_plain_peer_gets_nothing_that_3_1_1_does_not_have() {
    // Every packet that a server sends, with a dictionary, is the same on a plain connection as without one.
    let dictionary = hex("a1 1864 f6");
    for kind in [Kind::ConnAck, Kind::Publish, Kind::PubAck, Kind::PubRec, Kind::PubRel, Kind::PubComp, Kind::SubAck, Kind::PingResp] {
        let [with, without] = [&dictionary[..], &[]].map(|dictionary| read(&frame_with(kind, dictionary), Limits::default()).unwrap());
        let plain = to_bytes(Dialect::V311, Role::Server, &with).unwrap();
        assert_eq!(Some(plain.clone()), to_bytes(Dialect::V311, Role::Server, &without), "{kind}");
        let frame = frames::frame(kind, &plain[2..]);
        let read = raise(Dialect::V311, &frame, Limits::default()).unwrap_or_else(|error| panic!("{kind}: {error}"));
        assert_eq!(read.kind(), kind);
    }
    // UNSUBACK has its reasons in the payload; a plain one has none.
    let unsuback = read(&frame_with(Kind::UnsubAck, &dictionary), Limits::default()).unwrap();
    assert_eq!(to_bytes(Dialect::V311, Role::Server, &unsuback).unwrap()[..], hex("b0 02 0001"));
}

/// clause plain.refused-message MUST NOT
/// A server MUST NOT answer a message that it refused with a PUBACK or PUBREC on a plain connection; without one it
/// closes the connection.
#[test]
fn a_refused_message_is_not_acknowledged_to_a_plain_publisher() {
    for kind in [Kind::PubAck, Kind::PubRec] {
        for reason in refusals(kind) {
            let ack = Ack::new(PacketId::MIN, reason, Dictionary::EMPTY);
            let packet = if kind == Kind::PubAck { Packet::PubAck(ack) } else { Packet::PubRec(ack) };
            assert_eq!(lowered(&packet), (Lowered::Close, vec![]), "{kind} {reason}");
        }
    }
}

/// clause plain.refused-filter MUST
/// A server MUST answer a refused topic filter on a plain connection with the return code 0x80.
#[test]
fn a_refused_filter_is_0x80_to_a_plain_subscriber() {
    for reason in refusals(Kind::SubAck) {
        let suback = SubAck { id: PacketId::MIN, reasons: vec![Reason::GRANTED_QOS_1, reason], dictionary: Dictionary::EMPTY };
        assert_eq!(lowered(&Packet::SubAck(Box::new(suback))), (Lowered::Frame, hex("90 04 0001 01 80")), "{reason}");
    }
}

/// clause plain.refused-connect MUST
/// A server MUST answer a refused CONNECT of MQTT 3.1.1 with the return code of {{table-return-codes}}, or close the
/// connection without a CONNACK where the table has none.
#[test]
fn a_refused_connect_has_a_return_code_or_none() {
    let mut codes = std::collections::BTreeSet::new();
    for reason in refusals(Kind::ConnAck) {
        let connack = ConnAck::refused(reason, Dictionary::EMPTY);
        match (lowered(&Packet::ConnAck(Box::new(connack))), reason.info().unwrap().connack_v311) {
            ((Lowered::Frame, bytes), Some(code)) => {
                assert_eq!(bytes, [0x20, 0x02, 0x00, code], "{reason}");
                codes.insert(code);
            }
            ((Lowered::Close, bytes), None) => assert!(bytes.is_empty(), "{reason}"),
            other => panic!("{reason}: {other:?}"),
        }
    }
    assert_eq!(codes.into_iter().collect::<Vec<_>>(), [1, 2, 3, 4, 5], "3.1.1 has these and no other");
}

/// clause plain.notice MUST NOT
/// An end MUST NOT send a NOTICE on a plain connection.
#[test]
fn a_notice_is_never_sent_to_a_plain_peer() {
    for row in REASONS.iter().filter(|row| row.packets.contains(Kind::Notice)) {
        let notice = Packet::Notice(Notice { reason: row.reason, dictionary: Dictionary::EMPTY });
        assert_eq!(lowered(&notice), (Lowered::Nothing, vec![]));
        let mut out = BytesMut::new();
        assert_eq!(lower(Dialect::V311, Role::Client, &notice, &mut out), Lowered::Nothing);
    }
}

/// clause plain.notice-received MUST
/// An end MUST treat a packet of type 15 on a plain connection as malformed.
#[test]
fn a_notice_from_a_plain_peer_is_malformed() {
    for dialect in [Dialect::V31, Dialect::V311] {
        let notice = frame_with(Kind::Notice, &[]);
        assert_eq!(raise(dialect, &notice, Limits::default()), Err(Malformed::PacketType(15)));
    }
}
