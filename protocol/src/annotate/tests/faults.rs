//! What is wrong with particular packets, and what is said of it.

use super::hex;
use crate::annotate::packet_at;
use crate::dialect::Dialect::{self, Extended, V31, V311};
use crate::packet::legality::Role::{self, Client, Server};

/// Dialect and bytes; where, what, what was expected, and the rule.
type Case = (Dialect, &'static str, std::ops::Range<usize>, &'static str, &'static str, &'static str);

/// The first fault, a malformed field before one that is refused: where, what, what was expected, and the rule.
fn first_fault(dialect: Dialect, sender: Option<Role>, text: &str) -> (std::ops::Range<usize>, String, String, String) {
    let bytes = hex(text);
    let annotated = packet_at(dialect, sender, &bytes, 0);
    let worst = annotated.faults().find(|(fault, _)| fault.is_malformed()).or_else(|| annotated.faults().next());
    let (_, row) = worst.unwrap_or_else(|| panic!("{text} is well formed"));
    (row.range.clone(), row.value.clone(), row.meaning.to_string(), row.source.unwrap().short())
}

#[test]
fn a_fault_names_its_place_what_was_expected_and_the_rule() {
    let cases: &[Case] = &[
        (V311, "00 00", 0..1, "packet type 0 does not exist here", "1 to 14, and 15 (NOTICE) in the extended dialect", "MQTT §2.2.1"),
        (
            V311,
            "f0 02 40 00",
            0..1,
            "packet type 15 does not exist here",
            "1 to 14, and 15 (NOTICE) in the extended dialect",
            "MQTT §2.2.1",
        ),
        (
            V311,
            "c0 ffffffff",
            1..5,
            "Remaining Length has more than four bytes",
            "at most four bytes, the last of them below 0x80",
            "MQTT §2.2.3",
        ),
        (V311, "60 02 0009", 0..1, "the lower four bits are 0000", "0010", "[MQTT-3.6.1-1]"),
        (V311, "80 06 0001 0001 61 00", 0..1, "the lower four bits are 0000", "0010", "[MQTT-3.8.1-1]"),
        (V311, "c1 00", 0..1, "the lower four bits are 0001", "0000", "[MQTT-2.2.2-2]"),
        (V311, "36 05 0001 61 0001", 0..1, "the QoS is 3", "0, 1 or 2", "[MQTT-3.3.1-4]"),
        (V311, "38 03 0001 61", 0..1, "DUP is set on QoS 0", "DUP 0, since a message at QoS 0 is never sent again", "[MQTT-3.3.1-2]"),
        (
            V311,
            "30 05 0003 612f2b",
            2..7,
            "the topic is not valid: a topic name holds no wildcard (`+` or `#`)",
            "a topic name; `+` and `#` belong in topic filters",
            "[MQTT-3.3.2-2]",
        ),
        (V311, "30 02 0000", 2..4, "the topic is not valid: it is empty", "at least one character", "[MQTT-4.7.3-1]"),
        (
            V311,
            "30 05 0003 61ff62",
            5..6,
            "0xff is no start or no continuation of a UTF-8 character here",
            "well-formed UTF-8, without surrogates",
            "[MQTT-3.3.2-1]",
        ),
        (V311, "30 05 0003 610062", 5..6, "text holds the character U+0000", "text without the character U+0000", "[MQTT-1.5.3-2]"),
        (
            V311,
            "30 05 0009 616263",
            4..7,
            "Topic Name needs 9 bytes, and the packet has 3 left",
            "fields that end within Remaining Length",
            "[MQTT-4.8.0-1]",
        ),
        (V311, "40 02 0000", 2..4, "the packet identifier is 0", "1 to 65535", "[MQTT-2.3.1-1]"),
        (
            V311,
            "40 01 00",
            2..3,
            "Packet Identifier needs 2 bytes, and the packet has 1 left",
            "fields that end within Remaining Length",
            "[MQTT-4.8.0-1]",
        ),
        (V311, "40 00", 2..2, "the packet ends before Packet Identifier", "fields that end within Remaining Length", "[MQTT-4.8.0-1]"),
        (V311, "40 03 0009 00", 4..5, "bytes follow the last field of the packet", "the end of the packet", "[MQTT-4.8.0-1]"),
        (V311, "82 02 0001", 4..4, "there is no topic filter", "at least one topic filter", "[MQTT-3.8.3-3]"),
        (V311, "a2 02 0001", 4..4, "there is no topic filter", "at least one topic filter", "[MQTT-3.10.3-2]"),
        (
            V311,
            "82 06 0001 0001 61 03",
            7..8,
            "reserved bits of a requested QoS are set, or it is 3",
            "0x00, 0x01 or 0x02",
            "[MQTT-3-8.3-4]",
        ),
        (
            V311,
            "82 09 0001 0004 612f232b 00",
            4..10,
            "the topic is not valid: `#` must be the whole of the last level",
            "`#` alone, or `/#` at the end",
            "[MQTT-4.7.1-2]",
        ),
        (V311, "90 03 0001 03", 4..5, "0x03 is not a return code of this packet", "0x00, 0x01, 0x02 or 0x80", "[MQTT-3.9.3-2]"),
        (V311, "20 02 02 00", 2..3, "reserved CONNACK flags are set", "0x00 or 0x01", "MQTT §3.2.2.1"),
        (V311, "20 02 00 06", 3..4, "0x06 is not a return code of this packet", "0x00 to 0x05", "MQTT §3.2.2.3"),
        (V311, "20 02 01 05", 3..4, "session present with a refusal", "Session Present 0", "[MQTT-3.2.2-4]"),
        (V311, "10 0c 0004 4d515454 04 03 0000 0000", 9..10, "the reserved CONNECT flag is set", "0", "[MQTT-3.1.2-3]"),
        (V311, "10 0c 0004 4d515454 04 0a 0000 0000", 9..10, "a Will QoS without the Will Flag", "Will QoS 0", "[MQTT-3.1.2-13]"),
        (V311, "10 0c 0004 4d515454 04 22 0000 0000", 9..10, "Will Retain without the Will Flag", "Will Retain 0", "[MQTT-3.1.2-15]"),
        (V311, "10 0c 0004 4d515454 04 1e 0000 0000", 9..10, "the Will QoS is 3", "0, 1 or 2", "[MQTT-3.1.2-14]"),
        (
            V311,
            "10 0e 0004 4d515454 04 42 0000 0000 0000",
            9..10,
            "CONNECT has a password and no user name",
            "a user name wherever there is a password",
            "[MQTT-3.1.2-22]",
        ),
        (
            V311,
            "10 0c 0004 4d515454 04 00 0000 0000",
            12..14,
            "an empty client identifier with Clean Session 0",
            "Clean Session 1, or a client identifier",
            "[MQTT-3.1.3-7]",
        ),
        (
            V311,
            "10 0d 0004 4d515454 04 02 0000 0001 ff",
            14..15,
            "0xff is no start or no continuation of a UTF-8 character here",
            "well-formed UTF-8, without surrogates",
            "[MQTT-3.1.3-4]",
        ),
        (V311, "10 0c 0004 4d515454 05 02 0000 0000", 8..9, "level 5 of MQTT is not served", "level 4 (MQTT 3.1.1)", "[MQTT-3.1.2-2]"),
        (
            V311,
            "10 0c 0004 4d515458 04 02 0000 0000",
            2..8,
            "the protocol name is not known",
            "one of \"MQIsdp\", \"MQTT\", \"CANDOR\"",
            "[MQTT-3.1.2-1]",
        ),
        (V31, "d1 00", 0..1, "the lower four bits are 0001", "0000", "[MQTT-2.2.2-2]"),
        (
            Extended,
            "40 03 0009 8d",
            4..5,
            "PUBACK may not carry the reason keep alive timeout (0x8D)",
            "a reason that this packet may carry",
            "draft, reasons",
        ),
        (
            Extended,
            "f0 01 41",
            3..3,
            "the packet ends before Dictionary Length",
            "fields that end within Remaining Length",
            "[MQTT-4.8.0-1]",
        ),
        (
            Extended,
            "c0 02 04 a1",
            2..3,
            "the dictionary needs 4 bytes, and the packet has 1 left",
            "fields that end within Remaining Length",
            "[MQTT-4.8.0-1]",
        ),
        (
            Extended,
            "c0 02 01 a0",
            3..4,
            "an empty dictionary is written as length 0, not as an empty map",
            "length 0 and no map, or a map with an entry",
            "draft, dictionary",
        ),
        (
            Extended,
            "c0 02 01 80",
            3..4,
            "the dictionary is not a CBOR map",
            "a CBOR map: a first byte of 0xA1 to 0xBB",
            "draft, dictionary",
        ),
        (
            Extended,
            "c0 04 03 a10018",
            6..6,
            "message needs 1 byte, and the dictionary has 0 left",
            "items that end within the dictionary's length",
            "draft, dictionary",
        ),
        (
            Extended,
            "c0 05 04 a1001817",
            5..7,
            "the dictionary holds a number or length that is not in its shortest form",
            "the shortest form that keeps the value",
            "RFC 8949 §4.2.1",
        ),
        (Extended, "c0 05 04 a100c000", 5..6, "the dictionary holds a tag", "the item without its tag", "draft, dictionary"),
        (Extended, "c0 06 05 a200000000", 6..7, "the dictionary holds a key twice", "every key once", "RFC 8949 §5.6"),
        (
            Extended,
            "c0 06 05 a202000000",
            6..7,
            "the keys of the dictionary are not in ascending order",
            "keys in ascending order of their encoded bytes",
            "RFC 8949 §4.2.1",
        ),
        (
            Extended,
            "c0 05 04 a1006505",
            5..6,
            "a length of 5, and 1 byte of the dictionary left",
            "items that end within the dictionary's length",
            "draft, dictionary",
        ),
        (Extended, "c0 05 04 a1000000", 6..7, "bytes follow the dictionary's map", "the end of the dictionary", "draft, dictionary"),
        (
            Extended,
            "30 08 0001 61 04 a1 00 41 a0",
            9..10,
            "an empty dictionary is written as length 0, not as an empty map",
            "length 0 and no map, or a map with an entry",
            "draft, dictionary",
        ),
    ];
    for (dialect, bytes, range, what, expected, rule) in cases {
        let fault = first_fault(*dialect, None, bytes);
        assert_eq!(fault, (range.clone(), (*what).to_owned(), (*expected).to_owned(), (*rule).to_owned()), "{dialect} {bytes}");
    }
}

#[test]
fn what_a_receiver_refuses_is_told_from_what_is_malformed() {
    let refused = |dialect, sender, text: &str| {
        let bytes = hex(text);
        let annotated = packet_at(dialect, sender, &bytes, 0);
        assert!(!annotated.faults().any(|(fault, _)| fault.is_malformed()), "{text}");
        let (_, row) = annotated.faults().next().unwrap();
        (row.name.to_string(), row.value.clone(), row.meaning.to_string())
    };
    let said = |what: &str, expected: &str| ("refused".to_owned(), what.to_owned(), expected.to_owned());
    // A key in the wrong packet, from the wrong end, of the wrong type; one that is not known and critical.
    assert_eq!(refused(Extended, None, "c0 04 03 a10af5"), said("PINGREQ may not carry this key", "boolean in PUBLISH"));
    let node = "30 0b 0001 61 07 a1 18 22 63 6e3132";
    assert_eq!(
        refused(Extended, Some(Client), node),
        said("only the server may write this key", "text in CONNACK, PUBLISH from the server")
    );
    assert!(packet_at(Extended, Server, &hex(node), 0).is_well_formed() && packet_at(Extended, None, &hex(node), 0).is_well_formed());
    let count = "30 08 0001 61 04 a1 18 1c 00";
    assert_eq!(
        refused(Extended, Some(Client), count),
        said("the value is not of type byte string", "byte string, at most 32 bytes, in PUBLISH, PUBACK, PUBREC, NOTICE")
    );
    let critical = "30 08 0001 61 04 a1 18 65 00";
    assert_eq!(refused(Extended, None, critical), said("a critical key is not known", "a key that the receiver knows, or an even one"));
    // A clause that cannot be required; a filter that is none; a packet from the wrong end.
    let clause = "82 0d 0001 06 a1 05 a1 18 63 00 0001 61 00";
    let expected = "a clause that is known, with a value of its type";
    assert_eq!(refused(Extended, None, clause), said("the clause 99 cannot be required in this form", expected));
    let what = "the topic filter is not valid: `+` must be the whole of its level";
    assert_eq!(refused(Extended, None, "82 08 0001 00 0002 2b62 00"), said(what, "`+` between two `/`, or at an end"));
    let what =
        "the topic filter is not valid: a shared subscription has the form $share/GROUP/FILTER, the group name without `/`, `+` or `#`";
    assert_eq!(refused(V311, None, "82 0b 0001 0006 247368617265 00"), said(what, "$share/GROUP/FILTER"));
    assert_eq!(refused(V311, Some(Server), "c0 00"), said("a server does not send PINGREQ", "PINGREQ from the client"));
    let what = "the UNSUBACK is longer than MQTT 3.1.1 allows, and what follows is no accept";
    assert_eq!(refused(V311, None, "b0 05 ffff 010203"), said(what, "the end of the packet, or the accept of an offer"));
}
