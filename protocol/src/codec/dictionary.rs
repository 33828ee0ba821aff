//! The dictionary: one CBOR map in deterministic form (RFC 8949, section 4.2), checked once by a bounded scanner and
//! from then on carried as the bytes it came in.
//!
//! Definite lengths, shortest integers, lengths and floats, keys ascending and so never twice, no tags, no simple
//! values but false, true and null; keys are integers or text. Depth and size are bounded before anything is kept.
//! An empty dictionary is no byte at all, never an empty map.

use bytes::Bytes;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

/// What a receiver lets a dictionary be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Limits {
    /// The most bytes of one dictionary.
    pub len_max: u32,
    /// How many maps and arrays may stand inside each other, the dictionary itself counted.
    pub depth_max: u8,
}

impl Default for Limits {
    fn default() -> Self {
        Self { len_max: 16 * 1024, depth_max: 8 }
    }
}

/// Why bytes are not a dictionary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BadDictionary {
    /// The length in front of it has a fifth byte.
    Length,
    /// The bytes end inside an item.
    Truncated,
    /// Bytes follow the map.
    TrailingBytes,
    /// It is not a map.
    NotAMap,
    /// An empty map is written as no dictionary.
    EmptyMap,
    /// It is longer than the receiver takes.
    TooLong,
    /// Maps and arrays stand too deep inside each other.
    TooDeep,
    /// A length is indefinite.
    IndefiniteLength,
    /// An integer, a length or a float is not written in its shortest form.
    NotShortest,
    /// A tag.
    Tag,
    /// A simple value other than false, true and null, or a reserved encoding.
    BadSimple,
    /// A key is neither an integer nor text.
    BadKey,
    /// A key stands twice.
    DuplicateKey,
    /// Keys are not in ascending order of their encoded bytes.
    KeysNotAscending,
    /// A text string is not UTF-8.
    NotUtf8,
}

impl fmt::Display for BadDictionary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Length => "the length of the dictionary has more than four bytes",
            Self::Truncated => "the dictionary ends inside an item",
            Self::TrailingBytes => "bytes follow the dictionary's map",
            Self::NotAMap => "the dictionary is not a CBOR map",
            Self::EmptyMap => "an empty dictionary is written as length 0, not as an empty map",
            Self::TooLong => "the dictionary is longer than the receiver takes",
            Self::TooDeep => "the dictionary is nested deeper than the receiver takes",
            Self::IndefiniteLength => "the dictionary holds an item of indefinite length",
            Self::NotShortest => "the dictionary holds a number or length that is not in its shortest form",
            Self::Tag => "the dictionary holds a tag",
            Self::BadSimple => "the dictionary holds a simple value other than false, true and null",
            Self::BadKey => "the dictionary holds a key that is neither an integer nor text",
            Self::DuplicateKey => "the dictionary holds a key twice",
            Self::KeysNotAscending => "the keys of the dictionary are not in ascending order",
            Self::NotUtf8 => "the dictionary holds text that is not UTF-8",
        })
    }
}

impl std::error::Error for BadDictionary {}

/// A dictionary that has been checked, as the bytes it travels in. No byte means no entry.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Dictionary(Bytes);

impl Dictionary {
    pub const EMPTY: Dictionary = Dictionary(Bytes::new());

    /// Checks `bytes` and takes them over.
    ///
    /// # Errors
    /// The first rule of the deterministic form, or the first limit, that is broken.
    pub fn parse(bytes: Bytes, limits: Limits) -> Result<Self, BadDictionary> {
        check(&bytes, limits)?;
        Ok(Self(bytes))
    }

    /// Bytes that were checked where they stand.
    pub(crate) fn of_checked_bytes(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// Bytes that are in the deterministic form by how they were made.
    pub(crate) fn of_checked(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The CBOR map as it travels; empty for an empty dictionary.
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// The entries in the order they travel.
    pub fn entries(&self) -> Entries<'_> {
        Entries::of_map(&self.0)
    }

    /// The value under an integer key.
    pub fn get(&self, number: i64) -> Option<Item<'_>> {
        self.entries().find_map(|(key, value)| (key == KeyRef::Number(number)).then_some(value))
    }

    /// The value under a text key.
    pub fn get_text(&self, name: &str) -> Option<Item<'_>> {
        self.entries().find_map(|(key, value)| (key == KeyRef::Text(name)).then_some(value))
    }
}

impl fmt::Debug for Dictionary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.entries()).finish()
    }
}

/// A key where it stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyRef<'a> {
    /// Registered by the draft (not negative) or by an experiment (negative).
    Number(i64),
    /// An application's own.
    Text(&'a str),
}

impl KeyRef<'_> {
    /// Whether a receiver that does not know the key must refuse the packet: the low bit of the key's CBOR argument.
    /// Text keys are never critical.
    pub const fn is_critical(&self) -> bool {
        match self {
            KeyRef::Number(n) if *n >= 0 => *n & 1 == 1,
            // A negative integer n is written as the argument -1 - n.
            KeyRef::Number(n) => (-1 - *n) & 1 == 1,
            KeyRef::Text(_) => false,
        }
    }
}

impl fmt::Debug for KeyRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyRef::Number(n) => write!(f, "{n}"),
            KeyRef::Text(text) => write!(f, "{text:?}"),
        }
    }
}

/// A value where it stands. Maps and arrays keep their raw bytes.
#[derive(Clone, Copy, PartialEq)]
pub enum Item<'a> {
    Unsigned(u64),
    /// The CBOR argument n of the integer -1 - n.
    Negative(u64),
    Bytes(&'a [u8]),
    Text(&'a str),
    /// An array, with its head.
    Array(&'a [u8]),
    /// A map, with its head.
    Map(&'a [u8]),
    Bool(bool),
    Null,
    Float(f64),
}

impl<'a> Item<'a> {
    /// The items of an array; none for anything else.
    pub fn elements(self) -> Elements<'a> {
        match self {
            Item::Array(raw) => Elements::of_array(raw),
            _ => Elements { left: 0, rest: &[] },
        }
    }

    /// The entries of a map; none for anything else.
    pub fn entries(self) -> Entries<'a> {
        match self {
            Item::Map(raw) => Entries::of_map(raw),
            _ => Entries { left: 0, rest: &[] },
        }
    }
}

impl fmt::Debug for Item<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Item::Unsigned(n) => write!(f, "{n}"),
            Item::Negative(n) => write!(f, "{}", -1 - i128::from(*n)),
            Item::Bytes(bytes) => {
                f.write_str("h'")?;
                bytes.iter().try_for_each(|b| write!(f, "{b:02x}"))?;
                f.write_str("'")
            }
            Item::Text(text) => write!(f, "{text:?}"),
            Item::Array(_) => f.debug_list().entries(self.elements()).finish(),
            Item::Map(_) => f.debug_map().entries(self.entries()).finish(),
            Item::Bool(b) => write!(f, "{b}"),
            Item::Null => f.write_str("null"),
            Item::Float(x) => write!(f, "{x:?}"),
        }
    }
}

/// The entries of a checked map.
#[derive(Debug, Clone)]
pub struct Entries<'a> {
    left: u64,
    rest: &'a [u8],
}

impl<'a> Entries<'a> {
    fn of_map(raw: &'a [u8]) -> Self {
        match head(raw) {
            Ok(Head { major: 5, argument, len, .. }) => Self { left: argument, rest: &raw[len..] },
            _ => Self { left: 0, rest: &[] },
        }
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = (KeyRef<'a>, Item<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let (key, rest) = item(self.rest)?;
        let (value, rest) = item(rest)?;
        self.rest = rest;
        let key = match key {
            Item::Unsigned(n) => KeyRef::Number(i64::try_from(n).ok()?),
            Item::Negative(n) => KeyRef::Number(-1 - i64::try_from(n).ok()?),
            Item::Text(text) => KeyRef::Text(text),
            _ => return None,
        };
        Some((key, value))
    }
}

/// The items of a checked array.
#[derive(Debug, Clone)]
pub struct Elements<'a> {
    left: u64,
    rest: &'a [u8],
}

impl<'a> Elements<'a> {
    fn of_array(raw: &'a [u8]) -> Self {
        match head(raw) {
            Ok(Head { major: 4, argument, len, .. }) => Self { left: argument, rest: &raw[len..] },
            _ => Self { left: 0, rest: &[] },
        }
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Item<'a>;

    fn next(&mut self) -> Option<Item<'a>> {
        self.left = self.left.checked_sub(1)?;
        let (value, rest) = item(self.rest)?;
        self.rest = rest;
        Some(value)
    }
}

/// The head of a CBOR item.
pub(crate) struct Head {
    pub(crate) major: u8,
    /// The low five bits of the first byte.
    info: u8,
    pub(crate) argument: u64,
    /// How many bytes the head has.
    pub(crate) len: usize,
}

pub(crate) fn head(bytes: &[u8]) -> Result<Head, BadDictionary> {
    let &first = bytes.first().ok_or(BadDictionary::Truncated)?;
    let (major, info) = (first >> 5, first & 0x1F);
    let (argument, len) = match info {
        0..=23 => (u64::from(info), 1),
        // Almost every length that does not stand in the first byte.
        24 => (u64::from(*bytes.get(1).ok_or(BadDictionary::Truncated)?), 2),
        25..=27 => {
            let len = 1usize << (info - 24);
            let raw = bytes.get(1..=len).ok_or(BadDictionary::Truncated)?;
            (raw.iter().fold(0, |n, &b| n << 8 | u64::from(b)), 1 + len)
        }
        31 => return Err(BadDictionary::IndefiniteLength),
        _ => return Err(BadDictionary::BadSimple),
    };
    Ok(Head { major, info, argument, len })
}

/// The least argument that needs the length of head that `info` stands for.
const fn least(info: u8) -> u64 {
    match info {
        24 => 24,
        25 => 1 << 8,
        26 => 1 << 16,
        27 => 1 << 32,
        _ => 0,
    }
}

/// Checks one dictionary: `bytes` is empty or one map in deterministic form, within `limits`.
///
/// # Errors
/// The first rule or limit that is broken.
pub fn check(bytes: &[u8], limits: Limits) -> Result<(), BadDictionary> {
    if bytes.is_empty() {
        return Ok(());
    }
    if bytes.len() > limits.len_max as usize {
        return Err(BadDictionary::TooLong);
    }
    match bytes[0] {
        0xA0 => return Err(BadDictionary::EmptyMap),
        first if first >> 5 != 5 => return Err(BadDictionary::NotAMap),
        _ => {}
    }
    match check_item(bytes, limits.depth_max)? {
        len if len == bytes.len() => Ok(()),
        _ => Err(BadDictionary::TrailingBytes),
    }
}

/// Checks the item at the start of `bytes` and tells its length. The recursion is bounded by `depth`.
fn check_item(bytes: &[u8], depth: u8) -> Result<usize, BadDictionary> {
    let head = shortest_head(bytes)?;
    let rest = &bytes[head.len..];
    // No item is shorter than one byte, so a count above what is left can never be filled.
    let count = |per: usize| match usize::try_from(head.argument) {
        Ok(n) if n <= rest.len() / per => Ok(n),
        _ => Err(BadDictionary::Truncated),
    };
    match head.major {
        0 | 1 => Ok(head.len),
        2 => Ok(head.len + count(1)?),
        3 => {
            let len = count(1)?;
            let text = &rest[..len];
            if !text.is_ascii() {
                std::str::from_utf8(text).map_err(|_| BadDictionary::NotUtf8)?;
            }
            Ok(head.len + len)
        }
        4 => {
            let depth = depth.checked_sub(1).ok_or(BadDictionary::TooDeep)?;
            let mut at = 0;
            for _ in 0..count(1)? {
                at += check_item(&rest[at..], depth)?;
            }
            Ok(head.len + at)
        }
        5 => {
            let depth = depth.checked_sub(1).ok_or(BadDictionary::TooDeep)?;
            let mut at = 0;
            let mut previous: &[u8] = &[];
            for _ in 0..count(2)? {
                let key_len = check_key(&rest[at..])?;
                let key = &rest[at..at + key_len];
                match previous.cmp(key) {
                    Ordering::Less => {}
                    Ordering::Equal => return Err(BadDictionary::DuplicateKey),
                    Ordering::Greater => return Err(BadDictionary::KeysNotAscending),
                }
                previous = key;
                at += key_len;
                at += check_item(&rest[at..], depth)?;
            }
            Ok(head.len + at)
        }
        6 => Err(BadDictionary::Tag),
        _ => check_simple(&head),
    }
}

/// The head of an item, in its shortest form; that of a float or simple value is judged by its value.
pub(crate) fn shortest_head(bytes: &[u8]) -> Result<Head, BadDictionary> {
    let head = head(bytes)?;
    if head.major != 7 && head.argument < least(head.info) { Err(BadDictionary::NotShortest) } else { Ok(head) }
}

/// Checks the key at the start of `bytes` and tells its length. A key is an integer that fits 64 bits with sign, or text; judged by
/// its head, before what is wrong inside it.
#[inline]
fn check_key(bytes: &[u8]) -> Result<usize, BadDictionary> {
    // Almost every key: an integer that stands in its head.
    if let Some(0x00..=0x17 | 0x20..=0x37) = bytes.first() {
        return Ok(1);
    }
    let head = shortest_head(bytes)?;
    match head.major {
        0 | 1 if i64::try_from(head.argument).is_ok() => Ok(head.len),
        3 => check_item(bytes, 0),
        6 => Err(BadDictionary::Tag),
        _ => Err(BadDictionary::BadKey),
    }
}

fn check_simple(head: &Head) -> Result<usize, BadDictionary> {
    let shortest = match head.info {
        20..=22 => true,
        25 => !half(head.argument as u16).is_nan() || head.argument == 0x7E00,
        26 => {
            let value = f32::from_bits(head.argument as u32);
            !value.is_nan() && to_half(value).is_none()
        }
        27 => {
            let value = f64::from_bits(head.argument);
            !value.is_nan() && f64::from(value as f32) != value
        }
        _ => return Err(BadDictionary::BadSimple),
    };
    if shortest { Ok(head.len) } else { Err(BadDictionary::NotShortest) }
}

/// A half-precision float as a double (RFC 8949, appendix D).
fn half(bits: u16) -> f64 {
    let exponent = (bits >> 10) & 0x1F;
    let mantissa = f64::from(bits & 0x3FF);
    let value = match exponent {
        0 => mantissa * 2f64.powi(-24),
        31 if mantissa == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (mantissa + 1024.0) * 2f64.powi(i32::from(exponent) - 25),
    };
    if bits & 0x8000 == 0 { value } else { -value }
}

/// The half-precision float that has exactly this value.
fn to_half(value: f32) -> Option<u16> {
    let sign = if value.is_sign_negative() { 0x8000 } else { 0 };
    let magnitude = f64::from(value.abs());
    if magnitude == 0.0 {
        return Some(sign);
    }
    if magnitude.is_infinite() {
        return Some(sign | 0x7C00);
    }
    if magnitude > 65_504.0 {
        return None;
    }
    // Below 2^-14 the spacing is that of the subnormals, above it grows with the exponent.
    let exponent = (magnitude.log2().floor() as i32).clamp(-14, 15);
    let mantissa = magnitude / 2f64.powi(exponent - 10);
    if mantissa.fract() != 0.0 || mantissa == 0.0 {
        return None;
    }
    let mantissa = mantissa as u16;
    let bits = if mantissa < 1024 { mantissa } else { ((exponent + 15) as u16) << 10 | (mantissa - 1024) };
    Some(sign | bits)
}

/// The item at the start of checked bytes, and what follows it.
fn item(bytes: &[u8]) -> Option<(Item<'_>, &[u8])> {
    let head = head(bytes).ok()?;
    let rest = &bytes[head.len..];
    let argument = head.argument;
    let taken = |n: u64| rest.split_at_checked(usize::try_from(n).ok()?);
    Some(match head.major {
        0 => (Item::Unsigned(argument), rest),
        1 => (Item::Negative(argument), rest),
        2 => {
            let (text, rest) = taken(argument)?;
            (Item::Bytes(text), rest)
        }
        3 => {
            let (text, rest) = taken(argument)?;
            (Item::Text(std::str::from_utf8(text).ok()?), rest)
        }
        4 | 5 => {
            let len = skip(bytes)?;
            let (raw, rest) = bytes.split_at_checked(len)?;
            (if head.major == 4 { Item::Array(raw) } else { Item::Map(raw) }, rest)
        }
        _ => {
            let value = match head.info {
                20 => Item::Bool(false),
                21 => Item::Bool(true),
                22 => Item::Null,
                25 => Item::Float(half(argument as u16)),
                26 => Item::Float(f64::from(f32::from_bits(argument as u32))),
                27 => Item::Float(f64::from_bits(argument)),
                _ => return None,
            };
            (value, rest)
        }
    })
}

/// The length of the checked item at the start of `bytes`, whatever stands inside it.
fn skip(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    let mut left: u64 = 1;
    while left > 0 {
        let head = head(bytes.get(at..)?).ok()?;
        at += head.len;
        left -= 1;
        match head.major {
            2 | 3 => at += usize::try_from(head.argument).ok()?,
            4 => left += head.argument,
            5 => left += 2 * head.argument,
            _ => {}
        }
    }
    Some(at)
}

/// The most bytes of a head.
pub(crate) const HEAD_LEN_MAX: usize = 9;

/// How many bytes the head of an item has in its shortest form.
pub(crate) const fn head_len(argument: u64) -> usize {
    match argument {
        0..=23 => 1,
        24..=0xFF => 2,
        0x100..=0xFFFF => 3,
        0x1_0000..=0xFFFF_FFFF => 5,
        _ => 9,
    }
}

/// The head of an item in its shortest form, and how many bytes that has.
pub(crate) fn head_bytes(major: u8, argument: u64) -> ([u8; HEAD_LEN_MAX], usize) {
    let mut bytes = [0; HEAD_LEN_MAX];
    let len = head_len(argument);
    let info = match len {
        1 => argument as u8,
        2 => 24,
        3 => 25,
        5 => 26,
        _ => 27,
    };
    bytes[0] = major << 5 | info;
    bytes[1..len].copy_from_slice(&argument.to_be_bytes()[9 - len..]);
    (bytes, len)
}

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

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let digits: String = text.split_whitespace().collect();
        (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
    }

    fn checked(text: &str) -> Result<(), BadDictionary> {
        check(&hex(text), Limits { len_max: 64, depth_max: 3 })
    }

    #[test]
    fn the_deterministic_form_is_demanded() {
        use BadDictionary::*;
        assert_eq!(checked(""), Ok(()));
        assert_eq!(checked("a1 00 00"), Ok(()));
        assert_eq!(checked("a2 18 18 00 61 61 f6"), Ok(()));
        assert_eq!(checked("a1 20 f9 3c 00"), Ok(()));
        for (bytes, error) in [
            ("a0", EmptyMap),
            ("80", NotAMap),
            ("01", NotAMap),
            ("a1", Truncated),
            ("a1 00", Truncated),
            ("a1 00 42 00", Truncated),
            ("a1 00 00 00", TrailingBytes),
            ("a1 18 17 00", NotShortest),
            ("a1 00 18 00", NotShortest),
            ("a1 00 58 01 00", NotShortest),
            ("b8 01 00 00", NotShortest),
            ("a1 00 fb 3ff0000000000000", NotShortest),
            ("a1 00 fa 3f800000", NotShortest),
            ("a1 00 f9 7e 01", NotShortest),
            ("a1 00 c0 00", Tag),
            ("a1 00 f7", BadSimple),
            ("a1 00 f8 20", BadSimple),
            ("a1 00 1c", BadSimple),
            ("a1 00 5f ff", IndefiniteLength),
            ("bf ff", IndefiniteLength),
            ("a1 40 00", BadKey),
            ("a1 f5 00", BadKey),
            ("a1 80 00", BadKey),
            ("a1 a1 00 00 00", BadKey),
            ("a1 c0 00 00", Tag),
            ("a1 58 01 00 00", NotShortest),
            ("a1 1b ffffffffffffffff 00", BadKey),
            ("a2 00 00 00 00", DuplicateKey),
            ("a2 01 00 00 00", KeysNotAscending),
            ("a2 20 00 00 00", KeysNotAscending),
            ("a1 00 61 ff", NotUtf8),
            ("a1 00 81 81 80", TooDeep),
            ("a1 00 9b ffffffffffffffff", Truncated),
        ] {
            assert_eq!(checked(bytes), Err(error), "{bytes}");
        }
        assert_eq!(
            check(&[0xA1, 0x00, 0x58, 70].iter().copied().chain([0; 70]).collect::<Vec<_>>(), Limits { len_max: 64, depth_max: 3 }),
            Err(TooLong)
        );
    }

    #[test]
    fn a_map_is_built_in_order_whatever_the_order_of_the_calls() {
        let mut map = MapBuilder::new();
        map.put_text("b", |out| write_bool(out, true)).put(-1, |out| write_head(out, 0, 7)).put(300, |out| write_text(out, "x"));
        map.put(2, |out| write_bytes(out, &[1, 2])).put_text("aa", |out| write_float(out, 0.1));
        let dictionary = map.finish();
        assert_eq!(check(dictionary.as_bytes(), Limits::default()), Ok(()));
        assert_eq!(format!("{dictionary:?}"), "{2: h'0102', 300: \"x\", -1: 7, \"b\": true, \"aa\": 0.1}");
        assert_eq!(dictionary.get(300), Some(Item::Text("x")));
        assert_eq!(dictionary.get_text("b"), Some(Item::Bool(true)));
        assert_eq!(MapBuilder::new().merge(&dictionary).finish(), dictionary);
    }

    #[test]
    fn the_critical_bit_is_the_low_bit_of_the_argument() {
        let critical = |n| KeyRef::Number(n).is_critical();
        assert_eq!(
            (critical(0), critical(1), critical(7), critical(-1), critical(-2), critical(-3)),
            (false, true, true, false, true, false)
        );
        assert!(!KeyRef::Text("a").is_critical());
    }

    #[test]
    fn floats_have_one_form() {
        for value in [
            0.0,
            -0.0,
            1.0,
            0.1,
            65_504.0,
            65_505.0,
            1e300,
            5.960_464_477_539_063e-8,
            2f64.powi(-14),
            2f64.powi(-149),
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::NAN,
        ] {
            let mut map = MapBuilder::new();
            map.put(0, |out| write_float(out, value));
            let dictionary = map.finish();
            assert_eq!(check(dictionary.as_bytes(), Limits::default()), Ok(()), "{value}");
            let Some(Item::Float(back)) = dictionary.get(0) else { panic!("{dictionary:?}") };
            assert!(back.to_bits() == value.to_bits() || back.is_nan() && value.is_nan(), "{value} came back as {back}");
        }
    }
}
