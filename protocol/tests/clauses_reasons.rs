//! Reasons and problems.
#![allow(clippy::unwrap_used, clippy::panic, reason = "what fails in a test fails the test")]

mod frames;

use candor_protocol::codec::dictionary::{Dictionary, Limits, MapBuilder};
use candor_protocol::codec::error::Malformed;
use candor_protocol::packet::kind::Kind;
use candor_protocol::packet::legality::ReasonPart;
use candor_protocol::packet::reason::REASONS;
use candor_protocol::packet::{Packet, Problem, Reason, Retry};
use frames::{around_dictionary, frame, read, reasons};

/// clause reasons.class MUST
/// A receiver MUST act on a reason that it does not know as on 0x00 where it is below 0x80, and as on 0x80 otherwise.
#[test]
fn a_reason_that_is_not_known_counts_as_its_class() {
    let mut unknown = 0;
    for code in 0..=u8::MAX {
        let acted_on = Reason(code).known_or_class();
        match REASONS.iter().any(|row| row.reason.0 == code) {
            true => assert_eq!(acted_on, Reason(code)),
            false => {
                assert_eq!(acted_on, Reason(if code < 0x80 { 0x00 } else { 0x80 }));
                unknown += 1;
            }
        }
    }
    assert_eq!(unknown, 256 - REASONS.len());
}

/// Reads the smallest packet of this type that carries `code`; `None` for a packet without a reason.
fn carrying(kind: Kind, code: u8) -> Option<Result<Packet, Malformed>> {
    let (mut before, mut behind) = around_dictionary(kind);
    match kind.parts().reason {
        ReasonPart::None => return None,
        ReasonPart::Byte | ReasonPart::ReturnCode => *before.last_mut().unwrap() = code,
        ReasonPart::PerFilter => behind = vec![code],
    }
    Some(read(&frame(kind, &[&before[..], &[0x00], &behind].concat()), Limits::default()))
}

/// clause reasons.packet MUST
/// A receiver MUST refuse a reason that it knows in a packet that {{table-reason-legality}} does not mark for it, with
/// reason 0x82.
#[test]
fn a_reason_stands_in_the_packets_of_its_row_only() {
    for row in REASONS {
        for kind in Kind::ALL {
            let Some(packet) = carrying(kind, row.reason.0) else {
                assert!(!row.packets.contains(kind), "{kind} has no reason");
                continue;
            };
            match packet {
                Ok(packet) => assert!(row.packets.contains(kind) && reasons(&packet) == [row.reason], "{:?} in {kind}", row.reason),
                Err(error) => {
                    assert!(!row.packets.contains(kind), "{:?} in {kind}", row.reason);
                    assert_eq!((error, error.reason()), (Malformed::ReasonNotAllowed(row.reason.0), Reason(0x82)));
                }
            }
        }
    }
}

/// clause reasons.open MUST
/// A receiver MUST take a reason that it does not know in any packet that carries a reason, but for 0x01 to 0x05 in CONNACK,
/// which are return codes of MQTT 3.1.1 and no reasons.
#[test]
fn a_reason_that_is_not_known_may_stand_wherever_reasons_do() {
    for code in (0..=u8::MAX).filter(|code| Reason(*code).info().is_none()) {
        for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::ConnAck || !(0x01..=0x05).contains(&code)) {
            if let Some(packet) = carrying(kind, code) {
                assert_eq!(packet.map(|packet| reasons(&packet)), Ok(vec![Reason(code)]), "{kind}");
            }
        }
    }
}

/// clause problems.unknown MUST
/// A receiver MUST ignore what it does not understand of a problem: a key that it does not know, and a value of another
/// type than the key's.
///
/// A problem explains a refusal that stands without it, so the critical bit has no meaning in it.
#[test]
fn what_is_not_understood_of_a_problem_is_ignored() {
    let known = Problem::titled("no rule allows it").rule("rules.toml:12").limit(10, 11).retry(Retry::Never);
    let mut map = MapBuilder::new();
    map.merge(&known.to_dictionary());
    for number in [9, 10, 1_001, -3, -8, -1_000] {
        map.put(number, |out| out.push(0xF6));
    }
    map.put_text("vendor", |out| out.push(0xF5));
    assert_eq!(Problem::of_dictionary(&map.finish()), known);
    // A detail that is no text, and a way to retry that nobody knows.
    map.put(-2, |out| out.push(0x01)).put(4, |out| out.push(0x17));
    assert_eq!(Problem::of_dictionary(&map.finish()), Problem { retry: None, ..known });
    assert_eq!(Problem::of_dictionary(&Dictionary::EMPTY), Problem::default());
}
