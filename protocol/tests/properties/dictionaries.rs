//! Dictionaries against a general CBOR library.

use crate::flaws::{Flaw, broken};
use crate::property::dictionary::{any_bytes, encoded, input_of, says, scanner_and_library_agree};
use crate::runner::for_all;
use crate::values::{built, entries, in_order, value};
use candor_protocol::codec::dictionary::{BadDictionary, Limits, check, write_float};
use ciborium::Value;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

/// No limit but those of the form.
const LIMITS: Limits = Limits { len_max: u32::MAX, depth_max: u8::MAX };

#[test]
fn what_is_built_is_accepted_and_says_what_was_put_in() {
    for_all(600, entries(), |entries| {
        let dictionary = built(&entries);
        let expected = in_order(entries);
        assert_eq!(check(dictionary.as_bytes(), LIMITS), Ok(()));
        says(&dictionary, &expected);
        if !expected.is_empty() {
            assert_eq!(dictionary.as_bytes()[..], encoded(&Value::Map(expected)), "the library writes other bytes");
        }
    });
}

#[test]
fn any_bytes_are_accepted_by_both_or_by_neither() {
    for_all(5000, vec(any::<u8>(), 0..40), |bytes| any_bytes(&bytes));
    // A map with a plausible start comes further.
    for_all(5000, (0xA1u8..0xA4, vec(any::<u8>(), 0..24)), |(first, rest)| any_bytes(&input_of(&[&[first][..], &rest].concat())));
}

#[test]
fn a_map_with_changed_bytes_is_accepted_by_both_or_by_neither() {
    let change = (any::<Index>(), any::<u8>(), 0u8..4);
    for_all(1000, (entries(), vec(change, 1..4)), |(entries, changes)| {
        let mut bytes = built(&entries).as_bytes().to_vec();
        for (at, byte, how) in changes.into_iter().filter(|_| !bytes.is_empty()).collect::<Vec<_>>() {
            let at = at.index(bytes.len().max(1)).min(bytes.len().saturating_sub(1));
            match how {
                0 if !bytes.is_empty() => bytes[at] = byte,
                1 if !bytes.is_empty() => drop(bytes.remove(at)),
                2 if !bytes.is_empty() => bytes[at] ^= 1 << (byte % 8),
                _ => bytes.insert(at, byte),
            }
        }
        scanner_and_library_agree(&bytes, Limits::default());
    });
}

#[test]
fn each_broken_rule_is_named() {
    for flaw in Flaw::ALL {
        for_all(100, (entries(), any::<Index>()), |(entries, place)| {
            let entries = in_order(entries);
            let Some((bytes, cause)) = broken(&entries, flaw, place) else { return };
            assert_eq!(check(&bytes, LIMITS), Err(cause), "{flaw:?} in {bytes:02x?}");
            scanner_and_library_agree(&bytes, Limits::default());
        });
    }
}

#[test]
fn a_map_that_ends_early_or_late_is_refused() {
    for_all(200, (entries(), any::<u8>()), |(entries, more)| {
        let bytes = built(&entries).as_bytes().to_vec();
        for len in 1..bytes.len() {
            assert_eq!(check(&bytes[..len], LIMITS), Err(BadDictionary::Truncated), "{len} bytes of {bytes:02x?}");
        }
        if !bytes.is_empty() {
            assert_eq!(check(&[&bytes[..], &[more]].concat(), LIMITS), Err(BadDictionary::TrailingBytes), "{bytes:02x?}");
        }
    });
}

/// How many maps and arrays stand inside each other.
fn depth(value: &Value) -> u8 {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Map(entries) => 1 + entries.iter().map(|(_, value)| depth(value)).max().unwrap_or(0),
        _ => 0,
    }
}

#[test]
fn limits_hold_to_the_byte_and_to_the_level() {
    for_all(500, value(), |value| {
        let entries = [(Value::from(1000), value)];
        let dictionary = built(&entries);
        let (len, depth) = (dictionary.as_bytes().len() as u32, depth(&Value::Map(entries.to_vec())));
        let checked = |len_max, depth_max| check(dictionary.as_bytes(), Limits { len_max, depth_max });
        assert_eq!(checked(len, depth), Ok(()));
        assert_eq!(checked(len - 1, depth), Err(BadDictionary::TooLong));
        assert_eq!(checked(len, depth - 1), Err(BadDictionary::TooDeep));
    });
}

#[test]
fn every_half_and_many_singles_have_the_form_that_the_library_gives_them() {
    let written = |value: f64| {
        let mut out = Vec::new();
        write_float(&mut out, value);
        out
    };
    for bits in 0..=u16::MAX {
        let half = [0xA1, 0x00, 0xF9, (bits >> 8) as u8, bits as u8];
        scanner_and_library_agree(&half, LIMITS);
        // The same value as a single and as a double is not in its shortest form.
        let Value::Map(entries) = ciborium::de::from_reader(&half[..]).unwrap() else { panic!("no map") };
        let Value::Float(value) = entries[0].1 else { panic!("no float") };
        scanner_and_library_agree(&[&[0xA1, 0x00, 0xFA][..], &(value as f32).to_be_bytes()].concat(), LIMITS);
        scanner_and_library_agree(&[&[0xA1, 0x00, 0xFB][..], &value.to_be_bytes()].concat(), LIMITS);
    }
    for_all(8000, any::<u32>(), |bits| {
        let single = f32::from_bits(bits);
        scanner_and_library_agree(&[&[0xA1, 0x00, 0xFA][..], &bits.to_be_bytes()].concat(), LIMITS);
        if !single.is_nan() {
            assert_eq!(written(f64::from(single)), encoded(&Value::Float(f64::from(single))));
        }
    });
}
