//! Writing: single items, and the entries of a map in their order.

use super::Dictionary;
use super::head::{Head, head, head_bytes, to_half};
use super::item::skip;
use std::collections::BTreeMap;

/// Writes the head of an item in its shortest form.
pub fn write_head(out: &mut Vec<u8>, major: u8, argument: u64) {
    let (bytes, len) = head_bytes(major, argument);
    out.extend_from_slice(&bytes[..len]);
}

/// Writes a float in the shortest form that keeps its value.
pub fn write_float(out: &mut Vec<u8>, value: f64) {
    if value.is_nan() {
        out.extend([0xF9, 0x7E, 0x00]);
        return;
    }
    let single = value as f32;
    if f64::from(single) != value {
        out.push(0xFB);
        out.extend(value.to_be_bytes());
    } else if let Some(bits) = to_half(single) {
        out.push(0xF9);
        out.extend(bits.to_be_bytes());
    } else {
        out.push(0xFA);
        out.extend(single.to_be_bytes());
    }
}

/// Writes an integer key.
pub fn write_number(out: &mut Vec<u8>, number: i64) {
    if number >= 0 {
        write_head(out, 0, number as u64);
    } else {
        write_head(out, 1, (-1 - number) as u64);
    }
}

pub fn write_text(out: &mut Vec<u8>, text: &str) {
    write_head(out, 3, text.len() as u64);
    out.extend(text.as_bytes());
}

pub fn write_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    write_head(out, 2, bytes.len() as u64);
    out.extend(bytes);
}

pub fn write_bool(out: &mut Vec<u8>, value: bool) {
    out.push(if value { 0xF5 } else { 0xF4 });
}

/// Collects entries in any order and writes them in the one order that is allowed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct MapBuilder {
    /// Encoded key to encoded value; the order of a `BTreeMap` is the ascending order of the bytes.
    entries: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl MapBuilder {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Sets an integer key; `value` writes exactly one item.
    pub fn put(&mut self, number: i64, value: impl FnOnce(&mut Vec<u8>)) -> &mut Self {
        let mut key = Vec::with_capacity(2);
        write_number(&mut key, number);
        self.put_encoded(key, value)
    }

    /// Sets a text key; `value` writes exactly one item.
    pub fn put_text(&mut self, name: &str, value: impl FnOnce(&mut Vec<u8>)) -> &mut Self {
        let mut key = Vec::with_capacity(name.len() + 1);
        write_text(&mut key, name);
        self.put_encoded(key, value)
    }

    fn put_encoded(&mut self, key: Vec<u8>, value: impl FnOnce(&mut Vec<u8>)) -> &mut Self {
        let mut encoded = Vec::new();
        value(&mut encoded);
        self.entries.insert(key, encoded);
        self
    }

    /// Takes over every entry of a dictionary; those that are set already are replaced.
    pub fn merge(&mut self, dictionary: &Dictionary) -> &mut Self {
        let bytes = dictionary.as_bytes();
        let Ok(Head { major: 5, argument, len, .. }) = head(bytes) else { return self };
        let mut at = len;
        for _ in 0..argument {
            let Some(key_len) = skip(&bytes[at..]) else { break };
            let Some(value_len) = skip(&bytes[at + key_len..]) else { break };
            let value_at = at + key_len;
            self.entries.insert(bytes[at..value_at].to_vec(), bytes[value_at..value_at + value_len].to_vec());
            at = value_at + value_len;
        }
        self
    }

    /// Drops an integer key.
    pub fn remove(&mut self, number: i64) -> &mut Self {
        let mut key = Vec::with_capacity(2);
        write_number(&mut key, number);
        self.entries.remove(&key);
        self
    }

    /// Writes the map, an empty one too: as a value inside another item.
    pub fn write(&self, out: &mut Vec<u8>) {
        write_head(out, 5, self.entries.len() as u64);
        for (key, value) in &self.entries {
            out.extend(key);
            out.extend(value);
        }
    }

    /// The dictionary; no byte when nothing was set.
    pub fn finish(&self) -> Dictionary {
        if self.entries.is_empty() {
            return Dictionary::EMPTY;
        }
        let mut out = Vec::new();
        self.write(&mut out);
        Dictionary(out.into())
    }
}
