//! What each packet of the model becomes in each dialect: a frame, a close, or nothing. The plain dialects are written
//! down in `lowering.json`, complete over the 256 reasons; the extended dialect says every packet as it is.

use crate::case::{dialect_of, files, role_of, unhex};
use bytes::BytesMut;
use candor_protocol::codec::dictionary::{Dictionary, MapBuilder, write_bool};
use candor_protocol::dialect::{Dialect, Lowered, write};
use candor_protocol::packet::legality::{ReasonPart, Role};
use candor_protocol::packet::{Ack, ConnAck, Disconnect, Kind, Notice, Packet, PacketId, Reason, SubAck, UnsubAck};
use std::collections::BTreeMap;

/// { "x": true }
fn dictionary() -> Dictionary {
    MapBuilder::new().put_text("x", |out| write_bool(out, true)).finish()
}

/// The packet of this kind with this reason; packet identifier 1, one filter.
fn packet(kind: Kind, reason: Reason, dictionary: Dictionary) -> Packet {
    let id = PacketId::MIN;
    let ack = Ack { id, reason, dictionary: dictionary.clone() };
    match kind {
        Kind::ConnAck => Packet::ConnAck(Box::new(ConnAck { session_present: false, reason, dictionary })),
        Kind::PubAck => Packet::PubAck(ack),
        Kind::PubRec => Packet::PubRec(ack),
        Kind::PubRel => Packet::PubRel(ack),
        Kind::PubComp => Packet::PubComp(ack),
        Kind::SubAck => Packet::SubAck(Box::new(SubAck { id, reasons: vec![reason], dictionary })),
        Kind::UnsubAck => Packet::UnsubAck(Box::new(UnsubAck { id, reasons: vec![reason], dictionary, accept: Default::default() })),
        Kind::Disconnect => Packet::Disconnect(Disconnect { reason, dictionary }),
        Kind::Notice => Packet::Notice(Notice { reason, dictionary }),
        other => panic!("{other} has no reason"),
    }
}

fn lowered(dialect: Dialect, sender: Role, packet: &Packet) -> String {
    // Something stands in the buffer before, which neither a close nor nothing may touch.
    let mut out = BytesMut::from(&b"before"[..]);
    match write::lower(dialect, sender, packet, &mut out) {
        Lowered::Frame => out[6..].iter().map(|byte| format!("{byte:02x}")).collect(),
        outcome => {
            assert_eq!(&out[..], b"before", "{outcome:?} wrote bytes");
            format!("{outcome:?}").to_lowercase()
        }
    }
}

fn with_reasons() -> impl Iterator<Item = Kind> {
    Kind::ALL.into_iter().filter(|kind| kind.parts().reason != ReasonPart::None)
}

/// `0x10` or `0x10-0x1F`.
pub(crate) fn reasons_of(range: &str) -> impl Iterator<Item = Reason> {
    let code = |text: &str| u8::from_str_radix(text.strip_prefix("0x").unwrap(), 16).unwrap();
    let (from, to) = range.split_once('-').unwrap_or((range, range));
    (code(from)..=code(to)).map(Reason)
}

#[test]
fn every_reason_becomes_for_a_plain_peer_what_the_table_says() {
    let mut table = BTreeMap::new();
    for row in files().into_iter().flat_map(|file| file.lowering) {
        for (outcome, ranges) in &row.becomes {
            let outcome = if outcome.contains(' ') { unhex(outcome).iter().map(|b| format!("{b:02x}")).collect() } else { outcome.clone() };
            for reason in ranges.iter().flat_map(|range| reasons_of(range)) {
                for dialect in &row.dialects {
                    for sender in &row.senders {
                        let cell = (row.packet.clone(), dialect.clone(), sender.clone(), reason);
                        assert_eq!(table.insert(cell.clone(), outcome.clone()), None, "{cell:?} stands twice");
                    }
                }
            }
        }
    }
    assert_eq!(table.len(), with_reasons().count() * 256 * 2 * 2, "every packet with a reason, every reason, two dialects, two senders");
    let wrong = table.iter().filter_map(|((name, dialect, sender, reason), expected)| {
        let kind = Kind::ALL.into_iter().find(|kind| kind.name() == name).unwrap();
        let seen = lowered(dialect_of(dialect).unwrap(), role_of(sender).unwrap(), &packet(kind, *reason, dictionary()));
        (seen != *expected).then(|| format!("{name} with {reason} from the {sender} in {dialect}: {seen}, expected {expected}"))
    });
    let wrong: Vec<_> = wrong.collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What the extended dialect writes, put together by hand.
fn extended(kind: Kind, reason: Reason, with_dictionary: bool) -> String {
    let reason = format!("{:02x}", reason.0);
    let dictionary = if with_dictionary { "04a16178f5" } else { "00" };
    let short = match (with_dictionary, reason.as_str()) {
        (true, _) => format!("{reason}{dictionary}"),
        (false, "00") => String::new(),
        (false, _) => reason.clone(),
    };
    let (first, body) = match kind {
        Kind::ConnAck => ("20", format!("00{reason}{dictionary}")),
        Kind::PubAck => ("40", format!("0001{short}")),
        Kind::PubRec => ("50", format!("0001{short}")),
        Kind::PubRel => ("62", format!("0001{short}")),
        Kind::PubComp => ("70", format!("0001{short}")),
        Kind::SubAck => ("90", format!("0001{dictionary}{reason}")),
        Kind::UnsubAck => ("b0", format!("0001{dictionary}{reason}")),
        Kind::Disconnect => ("e0", short),
        Kind::Notice => ("f0", format!("{reason}{dictionary}")),
        other => panic!("{other} has no reason"),
    };
    format!("{first}{:02x}{body}", body.len() / 2)
}

#[test]
fn the_extended_dialect_says_every_reason_in_every_packet() {
    for kind in with_reasons() {
        for reason in (0..=0xFF).map(Reason) {
            for sender in [Role::Client, Role::Server] {
                for (with, dictionary) in [(false, Dictionary::EMPTY), (true, dictionary())] {
                    let seen = lowered(Dialect::Extended, sender, &packet(kind, reason, dictionary));
                    assert_eq!(seen, extended(kind, reason, with), "{kind} with {reason}");
                }
            }
        }
    }
}

#[test]
fn no_acknowledgement_of_success_is_made_from_a_refusal() {
    for kind in with_reasons().filter(|kind| matches!(kind, Kind::ConnAck | Kind::PubAck | Kind::PubRec | Kind::SubAck)) {
        for reason in (0x80..=0xFF).map(Reason) {
            for dialect in Dialect::ALL {
                let refused = lowered(dialect, Role::Server, &packet(kind, reason, Dictionary::EMPTY));
                let success = lowered(dialect, Role::Server, &packet(kind, Reason::SUCCESS, Dictionary::EMPTY));
                assert_ne!(refused, success, "{kind} with {reason} in {dialect}");
            }
        }
    }
}
