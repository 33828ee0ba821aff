//! Writing: single items, and the entries of a map in their order.

use super::Dictionary;
use super::head::{Head, head, head_bytes, to_half};
use super::item::skip;
use std::hash::{Hash, Hasher};

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

fn number_bytes(number: i64) -> ([u8; 9], usize) {
    if number >= 0 { head_bytes(0, number as u64) } else { head_bytes(1, (-1 - number) as u64) }
}

/// Writes an integer key.
pub fn write_number(out: &mut Vec<u8>, number: i64) {
    let (bytes, len) = number_bytes(number);
    out.extend_from_slice(&bytes[..len]);
}

pub fn write_text(out: &mut Vec<u8>, text: &str) {
    write_head(out, 3, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

pub fn write_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    write_head(out, 2, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

pub fn write_bool(out: &mut Vec<u8>, value: bool) {
    out.push(if value { 0xF5 } else { 0xF4 });
}

/// Collects entries in any order and writes them in the one order that is allowed.
#[derive(Debug, Clone, Default)]
pub struct MapBuilder {
    /// All entries, each its encoded key and its encoded value, in the order in which they came.
    bytes: Vec<u8>,
    /// Where each is, in the ascending order of the encoded keys.
    entries: Vec<Entry>,
}

/// Where an entry is, and where in it its value begins.
#[derive(Debug, Clone, Copy)]
struct Entry {
    start: u32,
    value: u32,
    end: u32,
}

/// Both say the same, in whatever order it was set.
impl PartialEq for MapBuilder {
    fn eq(&self, other: &Self) -> bool {
        self.encoded().eq(other.encoded())
    }
}

impl Eq for MapBuilder {}

impl Hash for MapBuilder {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.encoded().for_each(|entry| entry.hash(state));
    }
}

/// Room for a problem, or for what most packets carry, without growing.
const BYTES: usize = 240;
const ENTRIES: usize = 8;

impl MapBuilder {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Sets an integer key; `value` writes exactly one item.
    pub fn put(&mut self, number: i64, value: impl FnOnce(&mut Vec<u8>)) -> &mut Self {
        self.put_encoded(|out| write_number(out, number), value)
    }

    /// Sets a text key; `value` writes exactly one item.
    pub fn put_text(&mut self, name: &str, value: impl FnOnce(&mut Vec<u8>)) -> &mut Self {
        self.put_encoded(|out| write_text(out, name), value)
    }

    fn put_encoded(&mut self, key: impl FnOnce(&mut Vec<u8>), value: impl FnOnce(&mut Vec<u8>)) -> &mut Self {
        if self.bytes.capacity() == 0 {
            self.bytes.reserve(BYTES);
            self.entries.reserve(ENTRIES);
        }
        let start = self.bytes.len();
        key(&mut self.bytes);
        let value_at = self.bytes.len();
        value(&mut self.bytes);
        // A map is never longer than a packet, which has at most 256 MB.
        let entry = Entry { start: start as u32, value: value_at as u32, end: self.bytes.len() as u32 };
        match self.find(self.key(entry)) {
            // What it replaces is left where it is: that is rare.
            Ok(at) => self.entries[at] = entry,
            Err(at) => self.entries.insert(at, entry),
        }
        self
    }

    /// Each entry as it is written, in order.
    fn encoded(&self) -> impl Iterator<Item = &[u8]> {
        self.entries.iter().map(|entry| &self.bytes[entry.start as usize..entry.end as usize])
    }

    fn key(&self, entry: Entry) -> &[u8] {
        &self.bytes[entry.start as usize..entry.value as usize]
    }

    /// Where an encoded key is, or where it would be.
    fn find(&self, key: &[u8]) -> Result<usize, usize> {
        // Mostly they come in their order.
        match self.entries.last() {
            Some(last) if self.key(*last) >= key => self.entries.binary_search_by(|entry| self.key(*entry).cmp(key)),
            _ => Err(self.entries.len()),
        }
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
            self.put_encoded(
                |out| out.extend_from_slice(&bytes[at..value_at]),
                |out| out.extend_from_slice(&bytes[value_at..value_at + value_len]),
            );
            at = value_at + value_len;
        }
        self
    }

    /// Drops an integer key.
    pub fn remove(&mut self, number: i64) -> &mut Self {
        let (bytes, len) = number_bytes(number);
        if let Ok(at) = self.find(&bytes[..len]) {
            self.entries.remove(at);
        }
        self
    }

    /// Writes the map, an empty one too: as a value inside another item.
    pub fn write(&self, out: &mut Vec<u8>) {
        write_head(out, 5, self.entries.len() as u64);
        self.encoded().for_each(|entry| out.extend_from_slice(entry));
    }

    /// The dictionary; no byte when nothing was set.
    pub fn finish(&self) -> Dictionary {
        if self.entries.is_empty() {
            return Dictionary::EMPTY;
        }
        // As long as it will be, so that it becomes bytes that are shared as it is.
        let len = head_bytes(5, self.entries.len() as u64).1 + self.encoded().map(<[u8]>::len).sum::<usize>();
        let mut out = Vec::with_capacity(len);
        self.write(&mut out);
        Dictionary(out.into())
    }
}
