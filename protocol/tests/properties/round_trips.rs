//! Writing and reading undo each other.

use crate::packets::Speech;
use crate::property::decode::{a_shared_frame_is_the_packet, any_bytes, any_frame, input_of, normal, whole};
use crate::runner::for_all;
use candor_protocol::codec::dictionary::Limits;
use candor_protocol::codec::frame::Frame;
use candor_protocol::dialect::read::raise;
use candor_protocol::dialect::write::{fate, to_bytes};
use candor_protocol::dialect::{Dialect, Lowered};
use candor_protocol::packet::legality::Role;
use candor_protocol::packet::{Kind, Packet};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

const LIMITS: Limits = Limits { len_max: 1 << 20, depth_max: 8 };

fn comes_back(dialect: Dialect, packet: Packet) {
    let bytes = to_bytes(dialect, Role::Client, &packet).unwrap_or_else(|| panic!("{dialect} does not write {packet:?}"));
    let frame = whole(bytes);
    assert_eq!(raise(dialect, &frame, LIMITS), Ok(normal(packet)));
    any_frame(dialect, &frame, LIMITS);
}

#[test]
fn every_packet_comes_back_from_the_extended_dialect_as_it_went() {
    for kind in Kind::ALL {
        for_all(60, Speech(Dialect::Extended).packet_of(kind), |packet| comes_back(Dialect::Extended, packet));
    }
}

#[test]
fn a_packet_with_nothing_extended_comes_back_from_a_plain_dialect_as_it_went() {
    for dialect in [Dialect::V31, Dialect::V311] {
        for_all(700, Speech(dialect).packet(), |packet| comes_back(dialect, packet));
    }
}

#[test]
fn an_extended_packet_is_said_plainly_in_well_formed_bytes_or_not_at_all() {
    for_all(500, (Speech(Dialect::Extended).packet(), any::<bool>()), |(packet, by_client)| {
        let sender = if by_client { Role::Client } else { Role::Server };
        for dialect in [Dialect::V31, Dialect::V311] {
            let Some(bytes) = to_bytes(dialect, sender, &packet) else {
                assert_ne!(fate(dialect, sender, &packet), Lowered::Frame);
                continue;
            };
            // CONNECT is its own dialect, and a filter that breaks section 4.7 is the caller's to keep back.
            let bad_filter = matches!(packet, Packet::Subscribe(_) | Packet::Unsubscribe(_)) && format!("{packet:?}").contains("Err(");
            match raise(dialect, &whole(bytes), LIMITS) {
                Ok(Packet::Connect(connect)) => assert_eq!(connect.dialect, Dialect::Extended),
                Ok(plain) => assert!(plain.kind() == packet.kind() && plain.dictionary().is_empty(), "{packet:?} became {plain:?}"),
                Err(error) => assert!(bad_filter, "{packet:?} is written and not read: {error}"),
            }
        }
    });
}

#[test]
fn a_frame_shared_by_many_receivers_has_the_bytes_of_the_packet() {
    for_all(400, Speech(Dialect::Extended).publish(), |publish| {
        Dialect::ALL.into_iter().for_each(|dialect| a_shared_frame_is_the_packet(dialect, &publish));
    });
}

#[test]
fn any_bytes_are_a_packet_that_keeps_its_form_or_an_error() {
    for_all(5000, vec(any::<u8>(), 0..60), |bytes| any_bytes(&bytes));
}

#[test]
fn a_packet_with_changed_bytes_is_one_that_keeps_its_form_or_an_error() {
    let change = (any::<Index>(), any::<u8>(), 0u8..5);
    for dialect in Dialect::ALL {
        for_all(500, (Speech(dialect).packet(), vec(change.clone(), 1..4)), |(packet, changes)| {
            let mut bytes = input_of(dialect, &whole(to_bytes(dialect, Role::Client, &packet).unwrap()));
            for (at, byte, how) in changes {
                // The first two bytes are the dialect and the packet type.
                let at = 1 + at.index(bytes.len() - 1);
                match how {
                    0 => bytes[at] = byte,
                    1 => bytes[at] ^= 1 << (byte % 8),
                    2 => bytes.insert(at, byte),
                    3 if at > 1 => drop(bytes.remove(at)),
                    _ => bytes.truncate(at.max(2)),
                }
            }
            any_bytes(&bytes);
        });
    }
}

#[test]
fn every_first_byte_is_judged_alike_with_and_without_a_body() {
    for dialect in Dialect::ALL {
        for first in 0..=0xFF {
            for body in [&[][..], &[0, 1], &[0, 1, 0], &[0, 1, b'a'], &[0, 1, 0, 0]] {
                any_frame(dialect, &Frame { first, body: body.to_vec().into() }, LIMITS);
            }
        }
    }
}
