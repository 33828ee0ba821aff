//! CBOR values that a dictionary may hold, and how they are written.

use candor_protocol::codec::dictionary::{
    Dictionary, MapBuilder, write_bool, write_bytes, write_float, write_head, write_number, write_text,
};
use ciborium::Value;
use proptest::collection::vec;
use proptest::prelude::*;

/// The entries of a map, their keys in any order and perhaps twice.
pub(crate) type Entries = Vec<(Value, Value)>;

/// Integers of every length of head.
fn integer() -> impl Strategy<Value = Value> {
    (any::<u64>(), 0u32..64, any::<bool>()).prop_map(|(n, shift, negative)| {
        let n = i128::from(n >> shift);
        Value::Integer(ciborium::value::Integer::try_from(if negative { -1 - n } else { n }).unwrap())
    })
}

/// Doubles, and such as fit a single or a half.
fn float() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<f64>().prop_map(|value| if value.is_nan() { f64::NAN } else { value }),
        any::<f32>().prop_map(|value| if value.is_nan() { f64::NAN } else { f64::from(value) }),
        (-2048i32..2048, -24i32..6).prop_map(|(mantissa, exponent)| f64::from(mantissa) * 2f64.powi(exponent)),
        Just(f64::INFINITY),
        Just(f64::NEG_INFINITY),
        Just(-0.0),
    ]
    .prop_map(Value::Float)
}

pub(crate) fn text(len_max: usize) -> impl Strategy<Value = String> {
    let char = prop_oneof![4 => prop::char::range(' ', '~'), 1 => any::<char>()];
    vec(char, 0..=len_max).prop_map(|chars| chars.into_iter().collect())
}

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        integer(),
        float(),
        vec(any::<u8>(), 0..40).prop_map(Value::Bytes),
        text(30).prop_map(Value::Text),
        any::<bool>().prop_map(Value::Bool),
        Just(Value::Null),
    ]
}

/// A key that fits 64 bits with sign.
fn number() -> impl Strategy<Value = i64> {
    (any::<i64>(), 0u32..64).prop_map(|(n, shift)| n >> shift)
}

fn key() -> impl Strategy<Value = Value> {
    prop_oneof![3 => number().prop_map(Value::from), 1 => text(8).prop_map(Value::Text)]
}

pub(crate) fn value() -> impl Strategy<Value = Value> {
    leaf().prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Value::Array),
            vec((key(), inner), 0..5).prop_map(|entries| Value::Map(in_order(entries)))
        ]
    })
}

pub(crate) fn entries() -> impl Strategy<Value = Entries> {
    vec((key(), value()), 0..6)
}

/// Entries in the one order that is allowed, each key once.
pub(crate) fn in_order(entries: Entries) -> Entries {
    let by_bytes: std::collections::BTreeMap<_, _> =
        entries.into_iter().map(|(key, value)| (crate::property::dictionary::encoded(&key), (key, value))).collect();
    by_bytes.into_values().collect()
}

/// A dictionary without the keys whose place in a packet has a meaning for its form: `message` and `will`.
pub(crate) fn dictionary() -> impl Strategy<Value = Dictionary> {
    entries().prop_map(|entries| {
        let free = |key: &Value| *key != Value::from(0) && *key != Value::from(3);
        built(&entries.into_iter().filter(|(key, _)| free(key)).collect::<Vec<_>>())
    })
}

/// The dictionary that [`MapBuilder`] makes of these entries, given in this order.
pub(crate) fn built(entries: &[(Value, Value)]) -> Dictionary {
    let mut map = MapBuilder::new();
    for (key, value) in entries {
        match key {
            Value::Integer(number) => map.put(i64::try_from(i128::from(*number)).unwrap(), |out| write(value, out)),
            Value::Text(name) => map.put_text(name, |out| write(value, out)),
            other => panic!("{other:?} is no key"),
        };
    }
    map.finish()
}

/// Writes a value with the functions of the codec.
fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Integer(n) => match i128::from(*n) {
            n if i64::try_from(n).is_ok() => write_number(out, n as i64),
            n if n >= 0 => write_head(out, 0, n as u64),
            n => write_head(out, 1, (-1 - n) as u64),
        },
        Value::Bytes(bytes) => write_bytes(out, bytes),
        Value::Text(text) => write_text(out, text),
        Value::Float(value) => write_float(out, *value),
        Value::Bool(value) => write_bool(out, *value),
        Value::Null => out.push(0xF6),
        Value::Array(items) => {
            write_head(out, 4, items.len() as u64);
            items.iter().for_each(|item| write(item, out));
        }
        Value::Map(entries) if entries.is_empty() => write_head(out, 5, 0),
        Value::Map(entries) => out.extend(built(entries).as_bytes()),
        other => panic!("{other:?} is no value of a dictionary"),
    }
}
