//! The scanner of dictionaries against a general CBOR library: it accepts exactly what that library reads and writes
//! back as the same bytes, within the rules that a dictionary adds.

use bytes::Bytes;
use candor_protocol::codec::dictionary::{Dictionary, Item, KeyRef, Limits, MapBuilder, check};
use ciborium::Value;

/// A dictionary as a fuzzer gives it: a byte that chooses the limits, and the map.
pub(crate) fn any_bytes(input: &[u8]) {
    let [selector, bytes @ ..] = input else { return };
    let limits = match selector % 4 {
        0 => Limits::default(),
        1 => Limits { len_max: 32, depth_max: 8 },
        depth_max => Limits { len_max: 16 * 1024, depth_max: depth_max - 1 },
    };
    scanner_and_library_agree(bytes, limits);
}

/// The input of [`any_bytes`] for this map.
pub(crate) fn input_of(map: &[u8]) -> Vec<u8> {
    [&[0], map].concat()
}

pub(crate) fn scanner_and_library_agree(bytes: &[u8], limits: Limits) {
    let expected = allowed(bytes, limits);
    match Dictionary::parse(Bytes::copy_from_slice(bytes), limits) {
        Err(error) => assert_eq!(expected, None, "refused as {error}: {bytes:02x?}"),
        Ok(dictionary) => {
            let entries = expected.unwrap_or_else(|| panic!("accepted as {dictionary:?}: {bytes:02x?}"));
            says(&dictionary, &entries);
            assert_eq!(MapBuilder::new().merge(&dictionary).finish(), dictionary);
        }
    }
}

/// The entries of the map, if the library and the rules of a dictionary allow these bytes.
fn allowed(bytes: &[u8], limits: Limits) -> Option<Vec<(Value, Value)>> {
    if bytes.is_empty() {
        return Some(vec![]);
    }
    let mut rest = bytes;
    let value: Value = ciborium::de::from_reader(&mut rest).ok()?;
    let whole = rest.is_empty() && bytes.len() <= limits.len_max as usize;
    // The library writes shortest heads, definite lengths and shortest floats, and keeps the order of the keys.
    let deterministic = || encoded(&value) == bytes;
    match &value {
        Value::Map(entries) if whole && !entries.is_empty() && conforms(&value, limits.depth_max) && deterministic() => {
            Some(entries.clone())
        }
        _ => None,
    }
}

pub(crate) fn encoded(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    ciborium::ser::into_writer(value, &mut out).unwrap();
    out
}

/// The rules that a dictionary has beyond deterministic encoding.
fn conforms(value: &Value, depth: u8) -> bool {
    match value {
        Value::Integer(_) | Value::Bytes(_) | Value::Text(_) | Value::Bool(_) | Value::Null => true,
        // Of the many that are not a number, only one may travel.
        Value::Float(x) => !x.is_nan() || encoded(value) == [0xF9, 0x7E, 0x00],
        Value::Array(items) => depth > 0 && items.iter().all(|item| conforms(item, depth - 1)),
        Value::Map(entries) => {
            let keys: Vec<_> = entries.iter().map(|(key, _)| encoded(key)).collect();
            depth > 0
                && keys.windows(2).all(|pair| pair[0] < pair[1])
                && entries.iter().all(|(key, value)| is_key(key) && conforms(value, depth - 1))
        }
        _ => false,
    }
}

fn is_key(key: &Value) -> bool {
    match key {
        Value::Integer(n) => i64::try_from(i128::from(*n)).is_ok(),
        Value::Text(_) => true,
        _ => false,
    }
}

/// The dictionary holds just these entries, in any way they can be asked for.
pub(crate) fn says(dictionary: &Dictionary, entries: &[(Value, Value)]) {
    assert_eq!(dictionary.entries().count(), entries.len());
    for ((key, item), (expected_key, expected)) in dictionary.entries().zip(entries) {
        is_same_key(key, expected_key);
        is_same(item, expected);
        let found = match key {
            KeyRef::Number(number) => dictionary.get(number),
            KeyRef::Text(text) => dictionary.get_text(text),
        };
        is_same(found.unwrap(), expected);
    }
}

fn is_same_key(key: KeyRef<'_>, expected: &Value) {
    let key = match key {
        KeyRef::Number(number) => Value::from(number),
        KeyRef::Text(text) => Value::from(text),
    };
    assert_eq!(key, *expected);
}

fn is_same(item: Item<'_>, expected: &Value) {
    let same = match (item, expected) {
        (Item::Unsigned(n), Value::Integer(m)) => i128::from(n) == i128::from(*m),
        (Item::Negative(n), Value::Integer(m)) => -1 - i128::from(n) == i128::from(*m),
        (Item::Bytes(bytes), Value::Bytes(expected)) => bytes == expected,
        (Item::Text(text), Value::Text(expected)) => text == expected,
        (Item::Bool(value), Value::Bool(expected)) => value == *expected,
        (Item::Null, Value::Null) => true,
        (Item::Float(value), Value::Float(expected)) => value.to_bits() == expected.to_bits(),
        (Item::Array(_), Value::Array(expected)) => {
            item.elements().zip(expected).for_each(|(item, expected)| is_same(item, expected));
            item.elements().count() == expected.len()
        }
        (Item::Map(raw), Value::Map(expected)) => {
            for ((key, value), (expected_key, expected)) in item.entries().zip(expected) {
                is_same_key(key, expected_key);
                is_same(value, expected);
            }
            // What stands inside a checked dictionary is itself one, but for the empty map, which has another form there.
            let inner = Limits { len_max: u32::MAX, depth_max: u8::MAX };
            assert_eq!(check(raw, inner).is_ok(), !expected.is_empty());
            item.entries().count() == expected.len()
        }
        _ => false,
    };
    assert!(same, "{item:?} is not {expected:?}");
}
