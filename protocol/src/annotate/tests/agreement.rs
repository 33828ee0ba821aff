//! Properties over arbitrary bytes: the cover is exact, nothing panics, and the annotations find what the reader of a
//! connection finds.

use super::samples;
use crate::annotate::{Annotated, Fault, Part, packet_at, packets, sender_of, summary};
use crate::codec::dictionary::Limits;
use crate::codec::error::Malformed;
use crate::codec::frame::{Frame, Header};
use crate::dialect::Dialect;
use crate::dialect::read::raise;
use crate::dialect::terms::PACKET_SIZE_MAX;
use crate::packet::Packet;
use crate::packet::legality::{Role, check_keys, check_message_keys};
use crate::packet::reason::Reason;
use bytes::Bytes;
use proptest::prelude::*;

const SENDERS: [Option<Role>; 3] = [None, Some(Role::Client), Some(Role::Server)];

/// Every byte in one leaf, the leaves in order, and everything else within the packet.
fn assert_exact_cover(annotated: &Annotated) {
    let mut at = annotated.range.start;
    for leaf in annotated.leaves() {
        assert_eq!(leaf.range.start, at, "{leaf:?}");
        at = leaf.range.end;
    }
    assert_eq!(at, annotated.range.end);
    for row in &annotated.annotations {
        assert!(
            row.range.start >= annotated.range.start && row.range.end <= annotated.range.end && row.range.start <= row.range.end,
            "{row:?}"
        );
        assert!(!row.value.contains(|c: char| c.is_control()) && !row.name.contains(|c: char| c.is_control()), "{row:?}");
        if let Part::Fault(_) = row.part {
            assert!(!row.value.is_empty() && !row.meaning.is_empty() && row.source.is_some(), "{row:?}");
        }
    }
}

/// What is wrong according to the reader and to the checks behind it.
fn assert_agreement(dialect: Dialect, sender: Option<Role>, annotated: &Annotated, bytes: &[u8]) {
    let faults: Vec<Fault> = annotated.faults().map(|(fault, _)| fault).collect();
    let found = |error| faults.contains(&Fault::Malformed(error));
    let mut rest = Bytes::copy_from_slice(bytes);
    match Frame::split(&mut rest, PACKET_SIZE_MAX) {
        Err(error) => assert!(found(error), "{error:?} not in {faults:?}"),
        Ok(None) => assert!(faults.iter().any(|fault| matches!(fault, Fault::Incomplete { .. })), "{faults:?}"),
        Ok(Some(frame)) => match raise(dialect, &frame, Limits::default()) {
            Err(Malformed::ProtocolName) => {
                assert!(
                    faults.iter().any(|fault| matches!(fault, Fault::UnsupportedLevel(_))) || found(Malformed::ProtocolName),
                    "{faults:?}"
                );
            }
            Err(error) => assert!(found(error), "{error:?} not in {faults:?}"),
            Ok(packet) => {
                assert!(!faults.iter().any(|fault| fault.is_malformed()), "{faults:?} in {packet:?}");
                assert_refusals(sender, &packet, &faults);
            }
        },
    }
}

fn assert_refusals(sender: Option<Role>, packet: &Packet, faults: &[Fault]) {
    let Some(sender) = sender else { return };
    if sender_of(Dialect::V311, packet.kind()).is_some_and(|only| only != sender) {
        return;
    }
    if let Err(refusal) = check_keys(packet.kind(), sender, packet.dictionary(), &|_| None) {
        assert!(faults.contains(&Fault::Refused(refusal.reason)), "{refusal} not in {faults:?}");
    }
    if let Packet::Publish(publish) = packet
        && let Err(refusal) = check_message_keys(&publish.message.dictionary())
    {
        assert!(faults.contains(&Fault::Refused(refusal.reason)), "{refusal} not in {faults:?}");
    }
}

fn judge(dialect: Dialect, sender: Option<Role>, bytes: &[u8]) {
    let all = packets(dialect, sender, bytes);
    let mut at = 0;
    for annotated in &all {
        assert_eq!(annotated.range.start, at);
        assert_exact_cover(annotated);
        assert_agreement(dialect, sender, annotated, &bytes[at..]);
        at = annotated.range.end;
    }
    assert_eq!(at, bytes.len());
    assert!(!summary(dialect, sender, bytes).contains(|c: char| c.is_control()));
}

/// Sets Remaining Length to what the packet has, so that a mutation is met behind the header as well.
fn with_length(packet: &[u8]) -> Vec<u8> {
    let Ok(Some(header)) = Header::read(packet, PACKET_SIZE_MAX) else { return packet.to_vec() };
    let mut out = bytes::BytesMut::new();
    crate::codec::frame::put_header(&mut out, packet[0], packet.len().saturating_sub(header.len));
    out.extend_from_slice(&packet[header.len.min(packet.len())..]);
    out.to_vec()
}

#[derive(Debug, Clone)]
enum Mutation {
    Set(prop::sample::Index, u8),
    Flip(prop::sample::Index, u8),
    Insert(prop::sample::Index, u8),
    Remove(prop::sample::Index),
    Cut(prop::sample::Index),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let at = any::<prop::sample::Index>;
    // Bytes that mean something in CBOR and in lengths come more often than by chance.
    let byte = || {
        prop_oneof![
            any::<u8>(),
            prop::sample::select(
                &[0x00, 0x01, 0x17, 0x18, 0x1B, 0x3F, 0x40, 0x5F, 0x61, 0x80, 0x9F, 0xA0, 0xA1, 0xBF, 0xC0, 0xF4, 0xF7, 0xF9, 0xFB, 0xFF][..]
            )
        ]
    };
    prop_oneof![
        (at(), byte()).prop_map(|(at, byte)| Mutation::Set(at, byte)),
        (at(), 0u8..8).prop_map(|(at, bit)| Mutation::Flip(at, 1 << bit)),
        (at(), byte()).prop_map(|(at, byte)| Mutation::Insert(at, byte)),
        at().prop_map(Mutation::Remove),
        at().prop_map(Mutation::Cut),
    ]
}

fn mutate(bytes: &mut Vec<u8>, mutation: &Mutation) {
    if bytes.is_empty() {
        return;
    }
    let len = bytes.len();
    match mutation {
        Mutation::Set(at, byte) => bytes[at.index(len)] = *byte,
        Mutation::Flip(at, bit) => bytes[at.index(len)] ^= bit,
        Mutation::Insert(at, byte) => bytes.insert(at.index(len), *byte),
        Mutation::Remove(at) => {
            bytes.remove(at.index(len));
        }
        Mutation::Cut(at) => bytes.truncate(at.index(len)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_are_covered_exactly_and_judged_as_the_reader_judges(
        dialect in prop::sample::select(&Dialect::ALL[..]),
        sender in prop::sample::select(&SENDERS[..]),
        bytes in prop::collection::vec(any::<u8>(), 0..80),
        framed in any::<bool>(),
    ) {
        judge(dialect, sender, &if framed { with_length(&bytes) } else { bytes });
    }

    #[test]
    fn damaged_packets_are_covered_exactly_and_judged_as_the_reader_judges(
        dialect in prop::sample::select(&Dialect::ALL[..]),
        sender in prop::sample::select(&SENDERS[..]),
        at in any::<prop::sample::Index>(),
        mutations in prop::collection::vec(mutation(), 1..4),
        framed in prop::bool::weighted(0.8),
    ) {
        let samples = samples::encoded(dialect);
        let mut bytes = samples[at.index(samples.len())].1.to_vec();
        mutations.iter().for_each(|mutation| mutate(&mut bytes, mutation));
        judge(dialect, sender, &if framed { with_length(&bytes) } else { bytes });
    }
}

/// A dictionary where each packet may have one: alone, before a payload, as the message map, and as the map of a will.
fn placed(dictionary: &[u8]) -> Vec<Vec<u8>> {
    let varint = |len: usize| {
        let mut out = bytes::BytesMut::new();
        crate::codec::cursor::put_varint(&mut out, len as u32);
        out.to_vec()
    };
    let packet = |first: u8, parts: &[&[u8]]| {
        let body = parts.concat();
        [&[first][..], &varint(body.len()), &body].concat()
    };
    let mut string = Vec::new();
    crate::codec::dictionary::write_bytes(&mut string, dictionary);
    let inner = [&[0xA1, 0x00][..], &string].concat();
    let will = [&[0xA1, 0x03, 0xA1, 0x00][..], &string].concat();
    let connect = [&[0, 6][..], b"CANDOR", &[1, 0x06, 0, 0, 0, 0, 0, 1, b'a', 0, 0]].concat();
    vec![
        packet(0xC0, &[&varint(dictionary.len()), dictionary]),
        packet(0x30, &[&[0, 1, b'a'], &varint(dictionary.len()), dictionary, b"hello"]),
        packet(0x30, &[&[0, 1, b'a'], &varint(inner.len()), &inner, b"hello"]),
        packet(0x10, &[&connect, &varint(will.len()), &will]),
        // A will where none belongs is refused for its key; what it holds is not read.
        packet(0x30, &[&[0, 1, b'a'], &varint(will.len()), &will, b"hello"]),
    ]
}

#[test]
fn every_rule_of_a_dictionary_is_found_as_the_scanner_finds_it() {
    let texts = [
        "",
        "a10000",
        "a2181800 6161f6",
        "a120f93c00",
        "a0",
        "80",
        "01",
        "a1",
        "a100",
        "a1004200",
        "a1000000",
        "a1181700",
        "a1001800",
        "a100580100",
        "b8010000",
        "a100fb3ff0000000000000",
        "a100fa3f800000",
        "a100f97e01",
        "a100f97e00",
        "a100f90000",
        "a100f810",
        "a30000000000",
        "a100c000",
        "a100f7",
        "a100f820",
        "a100f8",
        "a1001c",
        "a1005fff",
        "bfff",
        "a14000",
        "a1f500",
        "a18000",
        "a1c00000",
        "a1f700",
        "a11bffffffffffffffff00",
        "a200000000",
        "a201000000",
        "a220000000",
        "a10061ff",
        "a161ff00",
        "a1009bffffffffffffffff",
        "a100bbffffffffffffffff",
        "a1005bffffffffffffffff",
        "a1007bffffffffffffffff",
        "bb000000000000000100",
        "a10061",
        "a16100",
        "a102a0",
        "a102a10000",
        "a102a200a000a0",
        "a100a1",
    ];
    for text in texts {
        for packet in placed(&super::hex(text)) {
            judge(Dialect::Extended, Some(Role::Client), &packet);
        }
    }
}

#[test]
fn items_are_judged_by_their_place() {
    // The index, the map, and `items` within an item; the right one last.
    for (dictionary, is_refused) in [
        ("a102a120a1183601", true),
        ("a102a16161a1183601", true),
        ("a102a10000", true),
        ("a102a100a102a100a1183601", true),
        ("a102a100a1183601", false),
    ] {
        let dictionary = super::hex(dictionary);
        let parts = [&[0, 1, dictionary.len() as u8][..], &dictionary, &[0, 1, b'a', 0]].concat();
        let packet = [&[0x82, parts.len() as u8][..], &parts].concat();
        for sender in [None, Some(Role::Client)] {
            judge(Dialect::Extended, sender, &packet);
            let faults: Vec<_> = packet_at(Dialect::Extended, sender, &packet, 0).faults().map(|(fault, _)| fault).collect();
            assert_eq!(faults.contains(&Fault::Refused(Reason::KEY_NOT_ALLOWED)), is_refused, "{faults:?} {packet:02x?}");
        }
    }
}

#[test]
fn the_depth_and_the_length_of_a_dictionary_are_bounded_as_the_scanner_bounds_them() {
    for (head, depth) in [(&[0x81][..], 0..12), (&[0xA1, 0x00][..], 0..12)] {
        for depth in depth {
            let dictionary = [&[0xA1, 0x02][..], &head.repeat(depth), &[0xF6]].concat();
            placed(&dictionary).iter().for_each(|packet| judge(Dialect::Extended, None, packet));
        }
    }
    let limit = Limits::default().len_max as usize;
    for len in [limit - 5, limit - 4, limit - 3, limit, limit + 1] {
        let mut dictionary = vec![0xA1, 0x02];
        crate::codec::dictionary::write_bytes(&mut dictionary, &vec![0; len]);
        placed(&dictionary).iter().for_each(|packet| judge(Dialect::Extended, None, packet));
    }
}

#[test]
fn whole_packets_have_no_fault() {
    for dialect in Dialect::ALL {
        for (sender, bytes) in samples::encoded(dialect) {
            for sender in [Some(sender), None] {
                let annotated = packet_at(dialect, sender, &bytes, 0);
                assert!(annotated.is_well_formed(), "{dialect} {:?}", annotated.faults().collect::<Vec<_>>());
                judge(dialect, sender, &bytes);
            }
        }
    }
}

#[test]
fn the_front_of_a_packet_is_incomplete_and_nothing_worse() {
    for dialect in Dialect::ALL {
        for (sender, bytes) in samples::encoded(dialect) {
            for cut in 0..bytes.len() {
                let annotated = packet_at(dialect, sender, &bytes[..cut], 0);
                assert_exact_cover(&annotated);
                let faults: Vec<_> = annotated.faults().map(|(fault, _)| fault).collect();
                let header = Header::read(&bytes[..cut], PACKET_SIZE_MAX).unwrap();
                assert_eq!(
                    faults,
                    [Fault::Incomplete { missing: header.map(|_| bytes.len() - cut) }],
                    "{dialect} {:02x?} cut at {cut}",
                    &bytes[..]
                );
            }
        }
    }
}

#[test]
fn packets_in_a_row_keep_their_places_in_the_input() {
    let input: Vec<u8> = samples::encoded(Dialect::Extended).iter().flat_map(|(_, bytes)| bytes.to_vec()).collect();
    let all = packets(Dialect::Extended, None, &input);
    assert_eq!(all.len(), samples::encoded(Dialect::Extended).len());
    assert!(all.iter().all(Annotated::is_well_formed));
    judge(Dialect::Extended, None, &input);
}
