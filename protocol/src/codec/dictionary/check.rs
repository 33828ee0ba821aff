//! What bytes have to be to be a dictionary: the deterministic form, within the limits of a receiver.

use super::head::{Head, half, shortest_head, to_half};
use std::cmp::Ordering;
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
    if limits.depth_max > 0 && is_plain_map(bytes) {
        return Ok(());
    }
    match check_item(bytes, limits.depth_max)? {
        len if len == bytes.len() => Ok(()),
        _ => Err(BadDictionary::TrailingBytes),
    }
}

/// Whether `bytes` are what almost every dictionary is, and good: a map of up to 255 plain items under keys of one byte or a short text.
/// `false`: [`check_item`] says what they are.
#[inline]
fn is_plain_map(bytes: &[u8]) -> bool {
    let (count, mut rest) = match bytes {
        [first @ 0xA1..=0xB7, rest @ ..] => (first - 0xA0, rest),
        [0xB8, count @ 0x18..=0xFF, rest @ ..] => (*count, rest),
        _ => return false,
    };
    let mut previous: &[u8] = &[];
    for _ in 0..count {
        let Some((key, value)) = plain_key(rest).and_then(|len| rest.split_at_checked(len)) else { return false };
        let Some((_, behind)) = plain_item(value).and_then(|len| value.split_at_checked(len)) else { return false };
        if order(previous, key) != Ordering::Less {
            return false;
        }
        (previous, rest) = (key, behind);
    }
    rest.is_empty()
}

/// The length of the key at the start of `bytes`, if it is one that almost every dictionary has, and good.
#[inline]
fn plain_key(bytes: &[u8]) -> Option<usize> {
    match bytes.first()? {
        0x00..=0x17 | 0x20..=0x37 => Some(1),
        0x60..=0x77 => plain_item(bytes),
        _ => None,
    }
}

/// The length of the item at the start of `bytes`, if it is one that almost every dictionary is made of, and good: a number, a short
/// string, or a word. `None`: [`check_item`] says what it is.
#[inline]
fn plain_item(bytes: &[u8]) -> Option<usize> {
    let &first = bytes.first()?;
    let (argument, at) = match first & 0x1F {
        info @ 0..=23 => (info, 1),
        24 => (*bytes.get(1).filter(|argument| **argument >= 24)?, 2),
        _ => return None,
    };
    let end = at + usize::from(argument);
    match first >> 5 {
        0 | 1 => Some(at),
        2 => (end <= bytes.len()).then_some(end),
        3 => bytes.get(at..end).is_some_and(is_ascii).then_some(end),
        7 => matches!(first, 0xF4..=0xF6).then_some(1),
        _ => None,
    }
}

/// As `<[u8]>::is_ascii`, which spends more on finding out how a short text is best read than on reading it.
#[inline]
fn is_ascii(text: &[u8]) -> bool {
    let (words, rest) = text.as_chunks::<8>();
    let high = words.iter().fold(0, |high, word| high | u64::from_ne_bytes(*word));
    let rest = rest.iter().fold(0, |high, byte| high | byte);
    high & 0x8080_8080_8080_8080 == 0 && rest < 0x80
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
                match order(previous, key) {
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

/// The order of two encoded keys; that before the first one is empty.
#[inline]
fn order(one: &[u8], other: &[u8]) -> Ordering {
    match (one, other) {
        // Not left to the comparison of memory: an empty slice need not point to any, and some processors take hundreds of cycles to find
        // out that they need not read there.
        ([], _) => Ordering::Less,
        ([one], [other]) => one.cmp(other),
        _ => one.cmp(other),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    const DEPTH: u8 = 3;

    /// Maps of everything that is plain, and of some that is not.
    fn samples() -> Vec<Vec<u8>> {
        let text = |len: usize| [&[0x78, len as u8][..], &[b'x'; 255][..len]].concat();
        let values =
            [vec![0x17], vec![0x18, 24], vec![0x37], vec![0xF4], vec![0xF6], vec![0x42, 1, 2], vec![0x62, b'a', b'b'], text(24), text(41)];
        let keys = [vec![0x00], vec![0x17], vec![0x20], vec![0x61, b'a'], vec![0x62, b'a', b'b']];
        let entries = |at: usize| keys.iter().zip(values.iter().cycle().skip(at)).flat_map(|(key, value)| [&key[..], value].concat());
        let mut all: Vec<Vec<u8>> = (0..values.len()).map(|at| [0xA5].into_iter().chain(entries(at)).collect()).collect();
        all.extend([vec![0xA1, 0x00, 0x81, 0x00], vec![0xA1, 0x00, 0xA0], vec![0xA1, 0x18, 24, 0x00], vec![0xA1, 0x00, 0x62, 0xC3, 0xA4]]);
        all
    }

    /// The short way takes nothing that the long way does not, and it takes what is plain.
    #[test]
    fn what_is_taken_without_a_close_look_is_good() {
        let (mut taken, mut changed) = (0, 0);
        for sample in samples() {
            taken += usize::from(is_plain_map(&sample));
            for (at, value) in (0..sample.len()).flat_map(|at| (0..=255).map(move |value| (at, value))) {
                let mut other = sample.clone();
                other[at] = value;
                for bytes in [&other[..], &other[..at], &[&other[..], &[value]].concat()] {
                    if is_plain_map(bytes) {
                        assert_eq!(check_item(bytes, 1), Ok(bytes.len()), "{bytes:02x?}");
                        changed += 1;
                    }
                }
                assert!(check(&other, Limits { len_max: 1000, depth_max: 0 }).is_err(), "{other:02x?}");
                let whole = check_item(&other, DEPTH).is_ok_and(|len| len == other.len()) && other[0] >> 5 == 5 && other[0] != 0xA0;
                assert_eq!(check(&other, Limits { len_max: 1000, depth_max: DEPTH }).is_ok(), whole, "{other:02x?}");
            }
        }
        assert_eq!(taken, samples().len() - 4);
        let entries = |count: u8| (0..count).flat_map(|key| [0x62, b'a' + key / 26, b'a' + key % 26, 0x17]).collect::<Vec<u8>>();
        for count in [24, 64, 255] {
            let map = [&[0xB8, count][..], &entries(count)].concat();
            assert!(is_plain_map(&map) && check_item(&map, 1) == Ok(map.len()), "{count}");
            assert!(!is_plain_map(&map[..map.len() - 1]) && !is_plain_map(&[&map[..], &[0]].concat()), "{count}");
        }
        assert!(!is_plain_map(&[&[0xB8, 23][..], &entries(23)].concat()), "not the shortest form");
        assert!(changed > 10_000, "{changed}");
    }
}
