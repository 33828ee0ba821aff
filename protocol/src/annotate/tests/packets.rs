//! What is said of particular packets.

use super::{hex, samples};
use crate::annotate::{Annotated, FIELDS, Part, Source, packet_at, packets, summary};
use crate::dialect::Dialect::{self, Extended, V311};
use crate::packet::legality::Role::{self, Client, Server};
use std::fmt::Write;

/// One line an annotation: the bytes, the depth, and what is said.
fn listing(annotated: &Annotated, bytes: &[u8]) -> String {
    let mut out = String::new();
    for row in &annotated.annotations {
        let raw: String = bytes[row.range.clone()].iter().map(|byte| format!("{byte:02x}")).collect();
        let mark = match row.part {
            Part::Leaf => format!("{:>3} {raw}", row.range.start),
            Part::Bits { mask } => format!("    {mask:08b}"),
            Part::Fault(_) => format!("    !! {}..{}", row.range.start, row.range.end),
        };
        write!(out, "{mark:<32} {}", "  ".repeat(usize::from(row.depth))).unwrap();
        if let Some(entry) = &row.entry {
            write!(out, "{} [{}, {:?}] ", entry.key, entry.value_type, entry.critical).unwrap();
        }
        write!(out, "{}: {}", row.name, row.value).unwrap();
        if !row.meaning.is_empty() {
            write!(out, " / {}", row.meaning).unwrap();
        }
        writeln!(out, "{}", row.source.map(|source| format!(" ({source})")).unwrap_or_default()).unwrap();
    }
    out
}

fn listing_of(dialect: Dialect, sender: Role, packet: &crate::packet::Packet) -> String {
    let bytes = crate::dialect::write::to_bytes(dialect, sender, packet).unwrap();
    listing(&packet_at(dialect, sender, &bytes, 0), &bytes)
}

#[test]
fn a_plain_connect_is_named_field_by_field_and_bit_by_bit() {
    insta::assert_snapshot!(listing_of(V311, Client, &samples::connect(V311)));
}

#[test]
fn an_extended_connect_shows_its_will_and_what_it_requires() {
    insta::assert_snapshot!(listing_of(Extended, Client, &samples::connect(Extended)));
}

#[test]
fn a_refused_connack_says_the_problem() {
    insta::assert_snapshot!(listing_of(Extended, Server, &samples::connack_refused()));
}

#[test]
fn a_publish_shows_the_keys_of_the_hop_and_those_of_the_message() {
    insta::assert_snapshot!(listing_of(Extended, Client, &samples::publish()));
}

#[test]
fn keys_that_no_table_has_are_named_as_such() {
    let (sender, packet) = &samples::packets(Extended)[4];
    insta::assert_snapshot!(listing_of(Extended, *sender, packet));
}

#[test]
fn a_suback_shows_the_items_by_filter() {
    insta::assert_snapshot!(listing_of(Extended, Server, &samples::suback()));
}

#[test]
fn a_connect_is_read_in_the_dialect_that_it_names() {
    for dialect in Dialect::ALL {
        let bytes = crate::dialect::write::to_bytes(dialect, Client, &samples::connect(dialect)).unwrap();
        for read_as in Dialect::ALL {
            let annotated = packet_at(read_as, Client, &bytes, 0);
            assert_eq!((annotated.dialect, annotated.is_well_formed()), (dialect, true));
        }
    }
}

#[test]
fn a_password_is_marked_as_a_secret_and_never_said() {
    let bytes = crate::dialect::write::to_bytes(V311, Client, &samples::connect(V311)).unwrap();
    let annotated = packet_at(V311, Client, &bytes, 0);
    let secrets: Vec<_> = annotated.leaves().filter(|leaf| leaf.secret).collect();
    assert_eq!((secrets.len(), &*secrets[0].name, &*secrets[0].value), (1, "Password", "6 bytes"));
    assert!(annotated.annotations.iter().all(|row| !row.value.contains("secret") && !row.meaning.contains("secret")));
    assert!(!summary(V311, Client, &bytes).contains("secret"));
}

#[test]
fn an_offer_and_its_accept_are_shown_part_by_part() {
    insta::assert_snapshot!(listing_of(V311, Client, &samples::offer()) + &listing_of(V311, Server, &samples::accept()));
}

#[test]
fn an_unsubscribe_that_is_nearly_an_offer_is_an_ordinary_one() {
    let bytes = crate::dialect::write::to_bytes(V311, Client, &samples::offer()).unwrap().to_vec();
    let is_offer = |dialect, bytes: &[u8]| packet_at(dialect, None, bytes, 0).leaves().any(|leaf| leaf.name == "Nonce");
    assert!(is_offer(V311, &bytes));
    let mut other_id = bytes.clone();
    other_id[3] = 0xFE;
    let mut other_version = bytes.clone();
    other_version[6 + "x-candor/".len()] = b'2';
    let mut two_filters = bytes.clone();
    two_filters.extend([0, 1, b'a']);
    two_filters[1] += 3;
    for packet in [&other_id, &other_version, &two_filters] {
        assert!(!is_offer(V311, packet), "{packet:02x?}");
        assert!(packet_at(V311, None, packet, 0).is_well_formed());
    }
}

#[test]
fn a_packet_of_too_many_fields_is_still_judged_to_its_end() {
    let mut bytes = hex("90 82 8006 0001");
    bytes.resize(bytes.len() + 98_304, 0x01);
    let annotated = packet_at(V311, None, &bytes, 0);
    assert!(annotated.is_well_formed());
    assert_eq!(annotated.leaves().last().map(|leaf| &*leaf.name), Some("more fields, not listed"));
    assert!(annotated.annotations.len() < 70_000);
    assert!(summary(V311, None, &bytes).ends_with(", granted QoS 1, and 98288 more"));
    *bytes.last_mut().unwrap() = 0x07;
    assert_eq!(packet_at(V311, None, &bytes, 0).faults().count(), 1);
    // Packets in a row are not affected.
    bytes.extend(hex("c0 00"));
    assert_eq!(packets(V311, None, &bytes).len(), 2);
}

#[test]
fn one_line_says_a_packet() {
    let mut lines = String::new();
    for dialect in Dialect::ALL {
        for (sender, bytes) in samples::encoded(dialect) {
            writeln!(lines, "{dialect:>8} {}", summary(dialect, sender, &bytes)).unwrap();
        }
    }
    insta::assert_snapshot!(lines);
}

#[test]
fn one_line_says_what_is_wrong() {
    let said = |dialect, bytes| summary(dialect, None, &hex(bytes));
    assert_eq!(said(V311, "40 02 0000"), "PUBACK malformed at byte 2: the packet identifier is 0 [MQTT-2.3.1-1]");
    assert_eq!(said(V311, "00 00"), "packet malformed at byte 0: packet type 0 does not exist here [MQTT §2.2.1]");
    assert_eq!(said(V311, "40 02 00"), "PUBACK incomplete: the bytes end before the packet does: 1 byte missing");
    assert_eq!(said(V311, ""), "packet incomplete: the bytes end inside the fixed header");
    assert_eq!(said(Extended, "c0 04 03 a10af5"), "PINGREQ: receipt-request true; to be refused: PINGREQ may not carry this key");
}

#[test]
fn the_fields_have_names_and_sections() {
    for field in FIELDS {
        assert!(!field.name.is_empty());
        if let Source::Mqtt(section) | Source::Mqtt31(section) = field.source {
            assert!(section.split('.').all(|part| part.parse::<u8>().is_ok()), "{} in {section}", field.name);
        }
        assert!(field.text_rule.is_empty() || field.text_rule.starts_with("MQTT-"), "{}", field.text_rule);
    }
}
