//! What a plain 3.1.1 peer gets of each reason: found out by lowering a packet with that reason, not by describing it.

use super::{Table, code};
use candor_protocol::codec::dictionary::Dictionary;
use candor_protocol::dialect::Dialect;
use candor_protocol::dialect::write::{Lowered, lower, to_bytes};
use candor_protocol::packet::kind::Kind;
use candor_protocol::packet::legality::{PARTS, ReasonPart, Role};
use candor_protocol::packet::reason::{REASONS, ReasonInfo};
use candor_protocol::packet::{Ack, ConnAck, Disconnect, Notice, Packet, PacketId, Reason, SubAck, UnsubAck};
use std::collections::BTreeMap;

/// For every packet with a reason, from which end, what becomes of the reasons below 0x80 and of those from 0x80 on.
pub(super) fn by_packet() -> Table {
    let mut rows = Vec::new();
    for kind in PARTS.iter().filter(|parts| parts.reason != ReasonPart::None && parts.kind != Kind::ConnAck).map(|parts| parts.kind) {
        for sender in senders(kind) {
            let said = |is_error| outcomes(kind, *sender, |row| row.reason.is_error() == is_error);
            let from = if *sender == Role::Client { "client" } else { "server" };
            rows.push(vec![kind.name().to_owned(), from.to_owned(), said(false), said(true)]);
        }
    }
    Table::new("What a Plain Peer Gets Instead of a Reason", &["Packet", "From", "Below 0x80", "From 0x80"], rows)
}

/// For every reason of an extended CONNACK, the return code of 3.1.1.
pub(super) fn return_codes() -> Table {
    let in_connack = REASONS.iter().filter(|row| row.packets.contains(Kind::ConnAck));
    let rows = in_connack.map(|row| vec![code(row.reason.0), row.name.to_owned(), outcome(Kind::ConnAck, Role::Server, row.reason)]);
    Table::new("Return Codes That a Plain Client Gets", &["Code", "Name", "Return code"], rows)
}

/// The ends that send a packet of this type.
const fn senders(kind: Kind) -> &'static [Role] {
    match kind {
        Kind::SubAck | Kind::UnsubAck | Kind::ConnAck => &[Role::Server],
        _ => &[Role::Client, Role::Server],
    }
}

/// The outcomes of the reasons that `wanted` picks: one where they agree, else each with its reasons.
fn outcomes(kind: Kind, sender: Role, wanted: impl Fn(&ReasonInfo) -> bool) -> String {
    let mut by_outcome: BTreeMap<String, Vec<Reason>> = BTreeMap::new();
    for row in REASONS.iter().filter(|row| row.packets.contains(kind) && wanted(row)) {
        by_outcome.entry(outcome(kind, sender, row.reason)).or_default().push(row.reason);
    }
    match by_outcome.len() {
        0 => "-".to_owned(),
        1 => by_outcome.into_keys().collect(),
        _ => {
            let mut listed: Vec<_> = by_outcome.into_iter().collect();
            listed.sort_by_key(|(_, reasons)| reasons[0]);
            let codes = |reasons: Vec<Reason>| reasons.into_iter().map(|reason| code(reason.0)).collect::<Vec<_>>().join(", ");
            listed.into_iter().map(|(outcome, reasons)| format!("{}: {outcome}", codes(reasons))).collect::<Vec<_>>().join("; ")
        }
    }
}

/// What becomes of `reason` in a packet of type `kind` on its way to a plain peer.
fn outcome(kind: Kind, sender: Role, reason: Reason) -> String {
    let Some(packet) = packet(kind, reason) else { return "-".to_owned() };
    match lower(Dialect::V311, sender, &packet, &mut bytes::BytesMut::new()) {
        Lowered::Close => return "the connection is closed".to_owned(),
        Lowered::Nothing => return "nothing".to_owned(),
        Lowered::Frame => {}
    }
    let plain = |reason| self::packet(kind, reason).and_then(|packet| to_bytes(Dialect::V311, sender, &packet));
    let written = to_bytes(Dialect::V311, sender, &packet).unwrap_or_default();
    let last = written.last().copied().unwrap_or_default();
    match kind {
        Kind::ConnAck => code(last),
        Kind::SubAck if last == reason.0 && !reason.is_error() => "the same code".to_owned(),
        Kind::SubAck => code(last),
        _ if plain(Reason::SUCCESS).is_some_and(|plain| plain == written) => format!("the plain {kind}"),
        // No other form of frame is written; if one ever is, the table shows its bytes.
        _ => format!("{:02x?}", &written[..]),
    }
}

/// A packet of type `kind` that carries `reason` and nothing else.
fn packet(kind: Kind, reason: Reason) -> Option<Packet> {
    let (id, dictionary) = (PacketId::MIN, Dictionary::EMPTY);
    let ack = || Ack::new(id, reason, Dictionary::EMPTY);
    Some(match kind {
        Kind::ConnAck => Packet::ConnAck(Box::new(ConnAck::refused(reason, dictionary))),
        Kind::PubAck => Packet::PubAck(ack()),
        Kind::PubRec => Packet::PubRec(ack()),
        Kind::PubRel => Packet::PubRel(ack()),
        Kind::PubComp => Packet::PubComp(ack()),
        Kind::SubAck => Packet::SubAck(Box::new(SubAck { id, reasons: vec![reason], dictionary })),
        Kind::UnsubAck => Packet::UnsubAck(Box::new(UnsubAck { id, reasons: vec![reason], dictionary, accept: bytes::Bytes::new() })),
        Kind::Disconnect => Packet::Disconnect(Disconnect { reason, dictionary }),
        Kind::Notice => Packet::Notice(Notice { reason, dictionary }),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_says_what_lowering_does() {
        let rows = by_packet().rows;
        let row =
            |kind: &str, from: &str| rows.iter().find(|row| row[0] == kind && row[1] == from).map(|row| row[2..].join(" / ")).unwrap();
        assert_eq!(row("PUBACK", "server"), "the plain PUBACK / the connection is closed");
        assert_eq!(row("PUBREL", "client"), "the plain PUBREL / the plain PUBREL");
        assert_eq!(row("SUBACK", "server"), "the same code / 0x80");
        assert_eq!(row("UNSUBACK", "server"), "the plain UNSUBACK / the plain UNSUBACK");
        assert_eq!(row("NOTICE", "server"), "nothing / nothing");
        assert_eq!(row("DISCONNECT", "server"), "the connection is closed / the connection is closed");
        assert_eq!(row("DISCONNECT", "client"), "0x00: the plain DISCONNECT; 0x04: the connection is closed / the connection is closed");
        assert!(rows.iter().all(|row| !row[2..].concat().contains('[')), "{rows:?}");
    }

    #[test]
    fn a_return_code_is_what_connack_carries() {
        let rows = return_codes().rows;
        let row = |reason: &str| rows.iter().find(|row| row[0] == reason).map(|row| row[2].as_str());
        assert_eq!(
            (row("0x00"), row("0x87"), row("0x80"), row("0x8D")),
            (Some("0x00"), Some("0x05"), Some("the connection is closed"), None)
        );
    }
}
