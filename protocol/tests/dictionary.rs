//! The form of a dictionary: what every receiver refuses, in every packet that can carry one.
#![allow(clippy::unwrap_used, clippy::panic, reason = "what fails in a test fails the test")]

mod frames;

use candor_protocol::codec::dictionary::BadDictionary::{self, *};
use candor_protocol::codec::dictionary::{Limits, MapBuilder, check, write_head};
use candor_protocol::codec::error::Malformed;
use candor_protocol::dialect::Dialect;
use candor_protocol::dialect::write::to_bytes;
use candor_protocol::packet::kind::Kind;
use candor_protocol::packet::legality::Role;
use candor_protocol::packet::{Packet, Ping, Reason};
use frames::{around_dictionary, frame, hex, in_every_packet, read, with_length};
use proptest::prelude::*;

/// Every packet type takes the dictionary.
fn accepted(bytes: &[u8]) {
    for (kind, packet) in in_every_packet(bytes) {
        let packet = packet.unwrap_or_else(|error| panic!("{kind} refuses {bytes:02x?}: {error}"));
        assert_eq!(&packet.dictionary().as_bytes()[..], bytes, "{kind}");
    }
}

/// Every packet type refuses the dictionary, for this cause.
fn refused(bytes: &[u8], cause: BadDictionary) {
    for (kind, packet) in in_every_packet(bytes) {
        assert_eq!(packet, Err(Malformed::Dictionary(cause)), "{kind} with {bytes:02x?}");
    }
}

/// The map `{0: VALUE}`.
fn holding(value: &[u8]) -> Vec<u8> {
    [&[0xA1, 0x00], value].concat()
}

/// clause dictionary.map MUST
/// The bytes of a dictionary that is not empty MUST be exactly one CBOR map.
#[test]
fn a_dictionary_is_one_map() {
    accepted(&hex("a1 00 00"));
    for (bytes, cause) in [("80", NotAMap), ("00", NotAMap), ("40", NotAMap), ("f6", NotAMap), ("a1 00 00 00", TrailingBytes)] {
        refused(&hex(bytes), cause);
    }
    for bytes in ["a1", "a1 00", "a1 00 18", "a1 00 42 00", "a1 00 81", "a2 00 00", "bb ffffffffffffffff"] {
        refused(&hex(bytes), Truncated);
    }
}

/// clause dictionary.empty MUST
/// A dictionary without entries MUST be written as a length of 0 with no byte behind it.
///
/// An encoded empty map would be a second form of the same thing, so it is refused.
#[test]
fn an_empty_dictionary_is_a_length_of_0() {
    accepted(&[]);
    refused(&[0xA0], EmptyMap);
    assert_eq!(MapBuilder::new().finish().as_bytes().len(), 0);
    for kind in Kind::ALL.into_iter().filter(|kind| !kind.parts().may_end_early) {
        let (before, behind) = around_dictionary(kind);
        let packet = read(&frame(kind, &[&before[..], &[0x00], &behind].concat()), Limits::default()).unwrap();
        let sender = if matches!(kind, Kind::Connect | Kind::Subscribe | Kind::Unsubscribe) { Role::Client } else { Role::Server };
        let written = to_bytes(Dialect::Extended, sender, &packet).unwrap();
        assert_eq!(&written[2..], [&before[..], &[0x00], &behind].concat(), "{kind}");
    }
}

/// clause dictionary.definite MUST
/// Every byte string, text string, array, and map in a dictionary MUST have a definite length.
#[test]
fn every_length_is_definite() {
    for (indefinite, definite) in [
        ("bf 00 00 ff", "a1 00 00"),
        ("a1 00 5f 41 61 ff", "a1 00 41 61"),
        ("a1 00 7f 61 61 ff", "a1 00 61 61"),
        ("a1 00 9f 00 ff", "a1 00 81 00"),
        ("a1 00 bf 00 00 ff", "a1 00 a1 00 00"),
        ("a1 00 81 5f ff", "a1 00 81 40"),
    ] {
        refused(&hex(indefinite), IndefiniteLength);
        // `message` is a byte string that holds a map, so the definite forms are tried under a key that nobody knows.
        accepted(&[&[0xA1, 0x18, 0x64], &hex(definite)[..]].concat());
    }
}

/// clause dictionary.shortest MUST
/// Every integer, length, and floating-point number in a dictionary MUST be written in the shortest form that keeps its
/// value; not-a-number has the one form 0xF97E00.
#[test]
fn every_number_has_its_shortest_form() {
    // An argument in every length of head; only the shortest is taken.
    for argument in [0, 23, 24, 0xFF, 0x100, 0xFFFF, 0x1_0000, 0xFFFF_FFFF, 0x1_0000_0000, u64::MAX] {
        for major in [0, 1] {
            let mut shortest = vec![];
            write_head(&mut shortest, major, argument);
            accepted(&[&[0xA1, 0x18, 0x64], &shortest[..]].concat());
            for longer in heads(major, argument).into_iter().filter(|head| head.len() > shortest.len()) {
                refused(&holding(&longer), NotShortest);
            }
        }
    }
    for (major, unit) in [(2, &[0x61][..]), (3, &[0x61]), (4, &[0x00])] {
        for longer in heads(major, 1).into_iter().skip(1) {
            refused(&holding(&[&longer, unit].concat()), NotShortest);
        }
    }
    for longer in heads(5, 1).into_iter().skip(1) {
        refused(&[&longer[..], &[0, 0]].concat(), NotShortest);
    }
    for key in ["a1 18 17 00", "a1 19 0017 00", "a1 38 00 00", "a1 78 01 61 00"] {
        refused(&hex(key), NotShortest);
    }
    for (float, shortest) in [
        ("f9 3c00", true),
        ("fa 3f800000", false),
        ("fb 3ff0000000000000", false),
        ("fa 47800000", true),
        ("fb 40f0000000000000", false),
        ("fb 3fb999999999999a", true),
        ("f9 7c00", true),
        ("fa 7f800000", false),
        ("f9 7e00", true),
        ("f9 7e01", false),
        ("fa 7fc00000", false),
        ("fb 7ff8000000000000", false),
    ] {
        let map = [&[0xA1, 0x18, 0x64], &hex(float)[..]].concat();
        if shortest { accepted(&map) } else { refused(&map, NotShortest) }
    }
}

/// The heads of every length that can hold `argument`, shortest first.
fn heads(major: u8, argument: u64) -> Vec<Vec<u8>> {
    let major = major << 5;
    let raw = argument.to_be_bytes();
    let mut heads = vec![];
    if argument < 24 {
        heads.push(vec![major | argument as u8]);
    }
    for (info, len) in [(24, 1), (25, 2), (26, 4), (27, 8)] {
        if raw[..8 - len].iter().all(|byte| *byte == 0) {
            heads.push([&[major | info], &raw[8 - len..]].concat());
        }
    }
    heads
}

/// clause dictionary.ascending MUST
/// The keys of every map in a dictionary MUST stand in the ascending bytewise lexicographic order of their encodings.
#[test]
fn keys_are_ascending() {
    let keys = [&hex("05")[..], &hex("1864"), &hex("20"), &hex("6161")];
    let mut taken = vec![];
    for order in permutations(keys.len()) {
        let entries: Vec<u8> = order.iter().flat_map(|at| [keys[*at], &[0xF6]].concat()).collect();
        let map = [&[0xA4], &entries[..]].concat();
        // Below a key that nobody knows, where the order is demanded as well.
        let nested = [&[0xA1, 0x18, 0x66], &map[..]].concat();
        if order.is_sorted() {
            accepted(&nested);
            taken.push(order);
        } else {
            refused(&map, KeysNotAscending);
            refused(&nested, KeysNotAscending);
        }
    }
    assert_eq!(taken, [[0, 1, 2, 3]]);
}

fn permutations(len: usize) -> Vec<Vec<usize>> {
    match len {
        0 => vec![vec![]],
        _ => permutations(len - 1)
            .into_iter()
            .flat_map(|shorter| {
                (0..len).map(move |at| {
                    let mut longer = shorter.clone();
                    longer.insert(at, len - 1);
                    longer
                })
            })
            .collect(),
    }
}

/// clause dictionary.duplicates MUST NOT
/// A map in a dictionary MUST NOT hold a key twice.
#[test]
fn a_key_stands_once() {
    for key in ["05", "1864", "20", "6161"] {
        let map = [&[0xA2], &hex(key)[..], &[0xF6], &hex(key), &[0xF5]].concat();
        refused(&map, DuplicateKey);
        refused(&[&[0xA1, 0x18, 0x66], &map[..]].concat(), DuplicateKey);
    }
}

/// clause dictionary.keys MUST
/// Every key of a map in a dictionary MUST be a text string or an integer from -2^63 to 2^63-1.
#[test]
fn a_key_is_an_integer_or_text() {
    for key in ["1b 7fffffffffffffff", "3b 7fffffffffffffff", "60", "64 74657874"] {
        accepted(&[&[0xA1], &hex(key)[..], &[0xF6]].concat());
    }
    for key in ["1b 8000000000000000", "3b 8000000000000000", "40", "f4", "f6", "f9 3c00"] {
        refused(&[&[0xA1], &hex(key)[..], &[0xF6]].concat(), BadKey);
    }
}

/// clause dictionary.tags MUST NOT
/// A dictionary MUST NOT hold a tag.
#[test]
fn there_are_no_tags() {
    for value in ["c0 60", "c1 00", "d8 18 41 00", "d9 d9f7 00", "81 c0 60", "a1 00 c1 00"] {
        refused(&holding(&hex(value)), Tag);
    }
}

/// clause dictionary.simple MUST NOT
/// A dictionary MUST NOT hold a simple value other than false, true, and null.
#[test]
fn the_simple_values_are_false_true_and_null() {
    for value in 0xE0..=0xF3 {
        refused(&holding(&[value]), BadSimple);
    }
    for value in [0xF4, 0xF5, 0xF6] {
        accepted(&[0xA1, 0x18, 0x64, value]);
    }
    for value in [&[0xF7][..], &[0xFC], &[0xFD], &[0xFE]] {
        refused(&holding(value), BadSimple);
    }
    for value in 0..=0xFF {
        refused(&holding(&[0xF8, value]), BadSimple);
    }
}

/// clause dictionary.text MUST
/// Every text string in a dictionary MUST be well-formed UTF-8.
#[test]
fn text_is_utf_8() {
    accepted(&hex("a1 1864 64 f09f9880"));
    for text in ["61 ff", "62 c080", "63 eda080", "64 f4908080", "61 c3"] {
        refused(&holding(&hex(text)), NotUtf8);
        refused(&[&[0xA1], &hex(text)[..], &[0x00]].concat(), NotUtf8);
    }
}

/// clause dictionary.size MUST
/// A receiver MUST refuse a dictionary that is longer than it accepts on the strength of its length, without waiting for
/// its bytes or keeping them.
#[test]
fn a_dictionary_over_the_limit_is_refused_by_its_length() {
    let limits = Limits { len_max: 100, ..Limits::default() };
    for kind in Kind::ALL {
        let (before, _) = around_dictionary(kind);
        // The length promises 101 bytes, and not one of them has come.
        let error = read(&frame(kind, &[&before[..], &[101]].concat()), limits).unwrap_err();
        assert_eq!(error, Malformed::Dictionary(TooLong), "{kind}");
        assert_eq!(error.reason(), Reason::PACKET_TOO_LARGE);
        let error = read(&frame(kind, &[&before[..], &[100]].concat()), limits).unwrap_err();
        assert_eq!(error, Malformed::Truncated, "{kind}");
    }
}

/// clause dictionary.depth MUST
/// A receiver MUST refuse a dictionary in which maps and arrays stand deeper inside each other than it accepts.
#[test]
fn a_dictionary_that_is_too_deep_is_refused() {
    let nested = |head: &[u8], depth: usize| [&[0xA1, 0x18, 0x64], &head.repeat(depth)[..], &[0xF6]].concat();
    for depth_max in [1, 2, 8] {
        let limits = Limits { depth_max, ..Limits::default() };
        for head in [&[0x81][..], &[0xA1, 0x00]] {
            assert_eq!(check(&nested(head, usize::from(depth_max) - 1), limits), Ok(()));
            assert_eq!(check(&nested(head, usize::from(depth_max)), limits), Err(TooDeep));
            assert_eq!(check(&nested(head, 5_000), limits), Err(TooDeep), "the depth of the check itself is bounded");
        }
    }
    refused(&nested(&[0x81], 8), TooDeep);
}

/// A value that a sender may put under a key.
fn values() -> impl Strategy<Value = ciborium::Value> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(|n| ciborium::Value::Integer(n.into())),
        any::<u64>().prop_map(|n| ciborium::Value::Integer(n.into())),
        any::<bool>().prop_map(ciborium::Value::Bool),
        any::<f64>().prop_map(ciborium::Value::Float),
        ".{0,8}".prop_map(ciborium::Value::Text),
        proptest::collection::vec(any::<u8>(), 0..40).prop_map(ciborium::Value::Bytes),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| proptest::collection::vec(inner, 0..4).prop_map(ciborium::Value::Array))
}

proptest! {
    /// clause dictionary.sender MUST
    /// A sender MUST write every dictionary in the form of this section, whatever the order in which its entries came.
    #[test]
    fn what_is_built_in_any_order_has_the_one_form(entries in proptest::collection::vec((any::<i64>(), values()), 0..12)) {
        let build = |entries: &mut dyn Iterator<Item = &(i64, ciborium::Value)>| {
            let mut map = MapBuilder::new();
            for (key, value) in entries {
                map.put(*key, |out| write_value(out, value));
            }
            map.finish()
        };
        let built = build(&mut entries.iter());
        prop_assert_eq!(check(built.as_bytes(), Limits::default()), Ok(()));
        let mut keys: Vec<i64> = entries.iter().map(|(key, _)| *key).collect();
        keys.sort_unstable();
        keys.dedup();
        if keys.len() == entries.len() {
            prop_assert_eq!(&build(&mut entries.iter().rev()), &built);
        }
        // Another decoder of CBOR reads as many entries as there are keys.
        if !built.is_empty() {
            let read: ciborium::Value = ciborium::from_reader(&built.as_bytes()[..]).unwrap();
            prop_assert_eq!(read.as_map().map(Vec::len), Some(keys.len()));
        }
        let ping = Packet::PingReq(Ping { dictionary: built.clone() });
        let written = to_bytes(Dialect::Extended, Role::Client, &ping).unwrap();
        let expected = if built.is_empty() { vec![] } else { with_length(built.as_bytes()) };
        prop_assert!(written.ends_with(&expected));
    }
}

fn write_value(out: &mut Vec<u8>, value: &ciborium::Value) {
    use candor_protocol::codec::dictionary::{write_bool, write_bytes, write_float, write_text};
    match value {
        ciborium::Value::Integer(n) => match u64::try_from(*n) {
            Ok(n) => write_head(out, 0, n),
            Err(_) => write_head(out, 1, (-1 - i128::from(*n)) as u64),
        },
        ciborium::Value::Bool(value) => write_bool(out, *value),
        ciborium::Value::Float(value) => write_float(out, *value),
        ciborium::Value::Text(text) => write_text(out, text),
        ciborium::Value::Bytes(bytes) => write_bytes(out, bytes),
        ciborium::Value::Array(values) => {
            write_head(out, 4, values.len() as u64);
            values.iter().for_each(|value| write_value(out, value));
        }
        other => panic!("the strategy makes no {other:?}"),
    }
}
