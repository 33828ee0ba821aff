//! In which dialect the packets are read and who sent them, and why.

use super::{DialectChoice, SenderChoice, sender_name};
use candor_protocol::annotate::{Annotated, Annotation, Fault, packet_at, sender_of};
use candor_protocol::codec::error::Malformed;
use candor_protocol::dialect::{Dialect, level};
use candor_protocol::packet::kind::Kind;
use candor_protocol::packet::legality::Role;
use candor_protocol::packet::reason::Reason;
use std::cmp::Ordering;

/// What was decided before the first packet is explained.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) dialect: Dialect,
    pub(super) dialect_why: String,
    /// Whether a CONNECT, an offer and a confirm may change the dialect on the way.
    follows: bool,
    pub(super) sender: Sender,
    pub(super) sender_why: String,
}

/// Who sent the packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sender {
    /// One end sent all of them.
    One(Role),
    /// Each packet type tells, or does not.
    EachTells,
}

/// A packet as the plan reads it.
pub(super) struct Planned {
    pub(super) annotated: Annotated,
    pub(super) sender: Option<Role>,
    pub(super) switch: Option<&'static str>,
}

/// Whether a server's accept of an offer was met. What follows it is tried in both dialects, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Accept {
    None,
    Seen,
    Tried,
}

impl Plan {
    pub(super) fn of(dialect: DialectChoice, sender: SenderChoice, bytes: &[u8]) -> Plan {
        let (dialect, dialect_why, follows) = match dialect {
            DialectChoice::Given(dialect) => (dialect, "as demanded".to_owned(), false),
            DialectChoice::Auto => {
                let (dialect, why) = of_connect(bytes).unwrap_or_else(|| of_trial(bytes));
                (dialect, why, true)
            }
        };
        let mut plan = Plan { dialect, dialect_why, follows, sender: Sender::EachTells, sender_why: String::new() };
        (plan.sender, plan.sender_why) = match sender {
            SenderChoice::Given(role) => (Sender::One(role), "as demanded".to_owned()),
            SenderChoice::Auto => sender_told(&plan, bytes),
        };
        plan
    }

    /// The packets one after the other; none is kept.
    pub(super) fn packets<'a>(&'a self, bytes: &'a [u8]) -> impl Iterator<Item = Planned> + 'a {
        let (mut at, mut dialect, mut accept) = (0, self.dialect, Accept::None);
        std::iter::from_fn(move || {
            let rest = bytes.get(at..).filter(|rest| !rest.is_empty())?;
            let mut switch = None;
            if self.follows && !dialect.is_extended() && is_confirm(rest) {
                (dialect, switch) = (Dialect::Extended, Some("NOTICE with reason confirm: the client read the accept of its offer"));
            } else if self.follows && !dialect.is_extended() && accept == Accept::Seen && !is_plain_pingresp(rest) {
                accept = Accept::Tried;
                if trial(Dialect::V311, rest).first_fault.is_some() && trial(Dialect::Extended, rest).first_fault.is_none() {
                    (dialect, switch) = (Dialect::Extended, Some("an offer was accepted, and what follows is extended"));
                }
            }
            let sender = match (self.sender, Kind::of_first_byte(rest[0])) {
                (Sender::One(role), _) => Some(role),
                (Sender::EachTells, kind) => kind.and_then(|kind| sender_of(dialect, kind)),
            };
            let annotated = packet_at(dialect, sender, bytes, at);
            at = annotated.range.end;
            if self.follows && annotated.kind == Some(Kind::Connect) {
                dialect = annotated.dialect;
            }
            if accept == Accept::None && annotated.kind == Some(Kind::UnsubAck) && annotated.leaves().any(|leaf| leaf.name == "Accept") {
                accept = Accept::Seen;
            }
            Some(Planned { annotated, sender, switch })
        })
    }
}

/// Whether the packet is NOTICE with reason confirm, the first that a client sends in the extended dialect after an
/// accepted offer.
fn is_confirm(packet: &[u8]) -> bool {
    packet[0] == (Kind::Notice as u8) << 4 && packet.get(1).is_some_and(|len| len & 0x80 == 0) && packet.get(2) == Some(&Reason::CONFIRM.0)
}

/// The PINGRESP that answers the PINGREQ behind an offer is plain.
fn is_plain_pingresp(packet: &[u8]) -> bool {
    packet.starts_with(&[(Kind::PingResp as u8) << 4, 0])
}

/// The dialect that the first CONNECT in the input names.
fn of_connect(bytes: &[u8]) -> Option<(Dialect, String)> {
    let connect = annotated(Dialect::V311, bytes).find(|packet| packet.kind == Some(Kind::Connect))?;
    let level = connect.leaves().find(|leaf| leaf.name == "Protocol Level")?;
    if connect.faults().any(|(fault, _)| matches!(fault, Fault::UnsupportedLevel(_))) {
        let why = format!("CONNECT asks for level {}, which is not served; the rest is read as 3.1.1", level.value);
        return Some((Dialect::V311, why));
    }
    let (name, level) = level::name_and_level(connect.dialect);
    Some((connect.dialect, format!("CONNECT says {name:?}, level {level}")))
}

fn annotated(dialect: Dialect, bytes: &[u8]) -> impl Iterator<Item = Annotated> {
    let mut at = 0;
    std::iter::from_fn(move || {
        (at < bytes.len()).then(|| {
            let packet = packet_at(dialect, None, bytes, at);
            at = packet.range.end;
            packet
        })
    })
}

/// How a dialect reads the whole input.
struct Trial {
    packets: usize,
    /// Number and place of the first packet that is malformed, and what is wrong.
    first_fault: Option<(usize, Annotation)>,
}

fn trial(dialect: Dialect, bytes: &[u8]) -> Trial {
    let mut packets = 0;
    for packet in annotated(dialect, bytes) {
        packets += 1;
        let fault = packet.faults().find(|(fault, _)| fault.is_malformed()).map(|(_, row)| row.clone());
        if let Some(row) = fault {
            return Trial { packets, first_fault: Some((packets, row)) };
        }
    }
    Trial { packets, first_fault: None }
}

/// Without a CONNECT: 3.1.1, unless only the extended dialect makes sense of the packets.
fn of_trial(bytes: &[u8]) -> (Dialect, String) {
    let (plain, extended) = (trial(Dialect::V311, bytes), trial(Dialect::Extended, bytes));
    let place = |(number, row): &(usize, Annotation)| format!("packet {number}, byte {}: {}", row.range.start, row.value);
    match (&plain.first_fault, &extended.first_fault) {
        (None, None) if reads_alike(bytes) => (
            Dialect::V311,
            format!(
                "no CONNECT; {} the same in the extended dialect",
                if plain.packets == 1 { "this packet is" } else { "these packets are" }
            ),
        ),
        // Payload that is a dictionary by chance is all but impossible, unless the dictionary is empty.
        (None, None) if has_entries(bytes) => (
            Dialect::Extended,
            "no CONNECT; 3.1.1 is possible too, with a payload that looks like a dictionary: see --dialect 3.1.1".to_owned(),
        ),
        (None, None) => (Dialect::V311, "no CONNECT; extended is possible too: see --dialect extended".to_owned()),
        (None, Some(_)) => (Dialect::V311, "no CONNECT; well formed in 3.1.1 and not in the extended dialect".to_owned()),
        (Some(fault), None) => {
            (Dialect::Extended, format!("no CONNECT; well formed in the extended dialect and not in 3.1.1 ({})", place(fault)))
        }
        (Some(plain), Some(extended)) => {
            let (plain_unread, extended_unread) = (unread(Dialect::V311, bytes), unread(Dialect::Extended, bytes));
            let later = extended.1.range.start > plain.1.range.start;
            let (dialect, other) = match extended_unread.cmp(&plain_unread) {
                Ordering::Less => (Dialect::Extended, ("3.1.1", plain)),
                Ordering::Equal if later => (Dialect::Extended, ("3.1.1", plain)),
                _ => (Dialect::V311, ("extended", extended)),
            };
            let why = format!("no CONNECT; malformed in both dialects, and {} reads no more of it ({})", other.0, place(other.1));
            (dialect, why)
        }
    }
}

/// How many bytes a dialect cannot make fields of.
fn unread(dialect: Dialect, bytes: &[u8]) -> usize {
    let of_packet = |packet: Annotated| {
        let rest: usize = packet.leaves().filter(|leaf| leaf.source.is_none()).map(|leaf| leaf.range.len()).sum();
        let cut = packet.faults().filter(|(fault, _)| *fault == Fault::Malformed(Malformed::Truncated)).map(|(_, row)| row.range.len());
        rest + cut.sum::<usize>()
    };
    annotated(dialect, bytes).map(of_packet).sum()
}

/// Whether both dialects say the same of every byte.
fn reads_alike(bytes: &[u8]) -> bool {
    annotated(Dialect::V311, bytes)
        .map(|packet| packet.annotations)
        .eq(annotated(Dialect::Extended, bytes).map(|packet| packet.annotations))
}

/// Whether the extended reading finds a dictionary with an entry, and nothing to refuse.
fn has_entries(bytes: &[u8]) -> bool {
    let mut entries = false;
    annotated(Dialect::Extended, bytes).all(|packet| {
        entries |= packet.leaves().any(|leaf| leaf.entry.is_some());
        !packet.faults().any(|(fault, _)| matches!(fault, Fault::Refused(_)))
    }) && entries
}

/// The sender where the packet types tell one and the same.
fn sender_told(plan: &Plan, bytes: &[u8]) -> (Sender, String) {
    let told = plan.packets(bytes).filter_map(|packet| Some((packet.annotated.kind?, packet.sender?)));
    let mut first: Option<(Kind, Role)> = None;
    for (kind, role) in told {
        match first {
            None => first = Some((kind, role)),
            Some((_, one)) if one == role => {}
            Some((other, _)) => return (Sender::EachTells, format!("both ends: {other} and {kind}")),
        }
    }
    match first {
        Some((kind, role)) => (Sender::One(role), format!("{kind} comes from the {}", sender_name(role))),
        None => (Sender::EachTells, "either end sends such packets; --sender says which".to_owned()),
    }
}
