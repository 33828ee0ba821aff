//! Dictionaries: the CBOR map item by item. The rules are those of `codec::dictionary`, in the same order; here the place
//! where one is broken is found as well, and what stands before it is shown.

use super::field;
use super::registry::{Below, Registry};
use super::sheet::{Sheet, Stop};
use super::source::Source;
use super::text::{count, hex};
use super::words::{type_name, words};
use crate::codec::dictionary::{BadDictionary, Dictionary, Item, KeyRef, Limits};
use crate::codec::error::Malformed;
use bytes::Bytes;

/// The dictionary of a packet: its length, and that many bytes.
pub(super) fn dictionary(sheet: &mut Sheet<'_>, registry: Registry) -> Result<(), Stop> {
    sheet.begin(&field::DICTIONARY_LENGTH);
    let len = sheet.varint_or(Malformed::Dictionary(BadDictionary::Length))? as usize;
    sheet.done(if len == 0 { "0 (no dictionary)".to_owned() } else { count(len, "byte") });
    check_len(sheet, len);
    let left = sheet.left();
    if len > left {
        sheet.malformed(Malformed::Truncated).value =
            format!("the dictionary needs {}, and the packet has {left} left", count(len, "byte"));
        return Err(Stop::Lost);
    }
    map_of(sheet, len, "dictionary", registry)
}

fn check_len(sheet: &mut Sheet<'_>, len: usize) {
    if len > Limits::default().len_max as usize {
        sheet.malformed(Malformed::Dictionary(BadDictionary::TooLong));
    }
}

/// A map in exactly `len` bytes. Whatever is wrong inside, what follows these bytes can be read.
fn map_of(sheet: &mut Sheet<'_>, len: usize, name: &'static str, registry: Registry) -> Result<(), Stop> {
    if len == 0 {
        return Ok(());
    }
    let depth = sheet.depth;
    let outer = sheet.enter(len, name, Malformed::Dictionary(BadDictionary::Truncated));
    let result = outermost(sheet, registry);
    // An early return leaves the depth of the item that it met.
    sheet.depth = depth;
    let result = match result {
        Err(Stop::Incomplete | Stop::Full) => result,
        Ok(()) | Err(Stop::Lost) => {
            sheet.rest("not read");
            Ok(())
        }
    };
    sheet.leave(outer);
    result
}

fn outermost(sheet: &mut Sheet<'_>, registry: Registry) -> Result<(), Stop> {
    sheet.begin(if matches!(registry, Registry::Message) { &field::MESSAGE_MAP } else { &field::DICTIONARY });
    let start = sheet.at();
    let first = sheet.u8()?;
    match first {
        0xA0 => return Err(bad(sheet, start, BadDictionary::EmptyMap)),
        _ if first >> 5 != MAP => return Err(bad(sheet, start, BadDictionary::NotAMap)),
        _ => {}
    }
    let head = head_behind(sheet, start, first)?;
    let entries_count = head.count(sheet, 2)?;
    sheet.done(count(entries_count, "entry"));
    sheet.depth += 1;
    entries(sheet, entries_count, registry, Limits::default().depth_max - 1)?;
    sheet.depth -= 1;
    if !sheet.is_at_end() {
        sheet.rest("bytes behind the map");
        sheet.malformed(Malformed::Dictionary(BadDictionary::TrailingBytes));
    }
    Ok(())
}

fn entries(sheet: &mut Sheet<'_>, entries_count: usize, registry: Registry, depth: u8) -> Result<(), Stop> {
    let mut previous: &[u8] = &[];
    for _ in 0..entries_count {
        let start = sheet.at();
        sheet.begin_named("key", Source::Rfc(8949, "3.1"));
        let key = key(sheet)?;
        let key_raw = sheet.read(start..sheet.at());
        match previous.cmp(key_raw) {
            std::cmp::Ordering::Less => {}
            std::cmp::Ordering::Equal => return Err(bad_key(sheet, start, key, BadDictionary::DuplicateKey)),
            std::cmp::Ordering::Greater => return Err(bad_key(sheet, start, key, BadDictionary::KeysNotAscending)),
        }
        previous = key_raw;
        let row = registry.row(key);
        sheet.begin_named(row.name.clone(), row.source);
        let (leaf, value_at) = (sheet.annotations.len(), sheet.at());
        let result = value(sheet, &row.name, row.below, depth);
        if let Some(annotation) = sheet.annotations.get_mut(leaf) {
            let mut entry = row.entry;
            if entry.value_type.is_empty() {
                entry.value_type = *result.as_ref().unwrap_or(&"");
            }
            annotation.entry = Some(entry);
            annotation.meaning = row.meaning;
        }
        result?;
        let value_raw = sheet.read(value_at..sheet.at());
        if let Some((reason, what, expected, rule)) = registry.refusal(key_raw, value_raw) {
            let range = sheet.shifted(start..sheet.at());
            sheet.fault(super::Fault::Refused(reason), what, expected, rule).range = range;
            sheet.move_last_to(leaf + 1);
        }
    }
    Ok(())
}

/// One value; tells its type. The leaf that was begun ends behind the head of a map or an array, and what these hold
/// follows in leaves of its own.
fn value(sheet: &mut Sheet<'_>, name: &str, below: Below, depth: u8) -> Result<&'static str, Stop> {
    let start = sheet.at();
    let first = sheet.u8()?;
    let head = head_behind(sheet, start, first)?;
    let scalar = |sheet: &mut Sheet<'_>, item: Item<'_>| {
        sheet.done(words(name, item));
        Ok(type_name(item))
    };
    match head.major {
        0 => scalar(sheet, Item::Unsigned(head.argument)),
        1 => scalar(sheet, Item::Negative(head.argument)),
        BYTES => {
            let len = head.count(sheet, 1)?;
            if matches!(below, Below::MessageMap) {
                let depth = sheet.depth;
                sheet.done(format!("a map for the subscribers ({})", count(len, "byte")));
                check_len(sheet, len);
                sheet.depth += 1;
                map_of(sheet, len, "message map", Registry::Message)?;
                sheet.depth = depth;
                return Ok("byte string");
            }
            let raw = sheet.take(len)?;
            scalar(sheet, Item::Bytes(raw))
        }
        TEXT => {
            let len = head.count(sheet, 1)?;
            let raw = sheet.take(len)?;
            match std::str::from_utf8(raw) {
                Ok(text) => scalar(sheet, Item::Text(text)),
                Err(_) => Err(bad(sheet, start, BadDictionary::NotUtf8)),
            }
        }
        ARRAY => {
            let inner = depth.checked_sub(1).ok_or_else(|| bad(sheet, start, BadDictionary::TooDeep))?;
            let len = head.count(sheet, 1)?;
            sheet.done(format!("array of {}", count(len, "item")));
            sheet.depth += 1;
            for index in 0..len {
                sheet.begin_named(format!("item {index}"), Source::Rfc(8949, "3.1"));
                value(sheet, "", below, inner)?;
            }
            sheet.depth -= 1;
            Ok("array")
        }
        MAP => {
            let inner = depth.checked_sub(1).ok_or_else(|| bad(sheet, start, BadDictionary::TooDeep))?;
            let len = head.count(sheet, 2)?;
            sheet.done(format!("map of {}", count(len, "entry")));
            let registry = if let Below::Keys(registry) = below { registry } else { Registry::Free };
            sheet.depth += 1;
            entries(sheet, len, registry, inner)?;
            sheet.depth -= 1;
            Ok("map")
        }
        TAG => Err(bad(sheet, start, BadDictionary::Tag)),
        _ => match simple(sheet.read(start..sheet.at())) {
            Ok((words, type_name)) => {
                sheet.done(words);
                Ok(type_name)
            }
            Err(error) => Err(bad(sheet, start, error)),
        },
    }
}

/// A key: an integer of 64 bits with sign, or text.
fn key<'a>(sheet: &mut Sheet<'a>) -> Result<KeyRef<'a>, Stop> {
    let start = sheet.at();
    let first = sheet.u8()?;
    let head = head_behind(sheet, start, first)?;
    let number = i64::try_from(head.argument).ok();
    match (head.major, number) {
        (0, Some(n)) => Ok(KeyRef::Number(n)),
        (1, Some(n)) => Ok(KeyRef::Number(-1 - n)),
        (TEXT, _) => {
            let len = head.count(sheet, 1)?;
            let raw = sheet.take(len)?;
            std::str::from_utf8(raw).map(KeyRef::Text).map_err(|_| bad(sheet, start, BadDictionary::NotUtf8))
        }
        (TAG, _) => Err(bad(sheet, start, BadDictionary::Tag)),
        _ => Err(bad(sheet, start, BadDictionary::BadKey)),
    }
}

const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;
const TAG: u8 = 6;
const SIMPLE: u8 = 7;

/// The head of a CBOR item.
struct Head {
    start: usize,
    major: u8,
    argument: u64,
}

impl Head {
    /// The argument as a length or a number of things of which each takes `per` bytes at least.
    fn count(&self, sheet: &mut Sheet<'_>, per: usize) -> Result<usize, Stop> {
        match usize::try_from(self.argument) {
            Ok(n) if n <= sheet.left() / per => Ok(n),
            _ => {
                let (argument, left) = (self.argument, sheet.left());
                let stop = bad(sheet, self.start, BadDictionary::Truncated);
                if let Some(row) = sheet.annotations.last_mut() {
                    row.value = match per {
                        2 => format!("a map of {argument} entries, and {} of the dictionary left", count(left, "byte")),
                        _ => format!("a length of {argument}, and {} of the dictionary left", count(left, "byte")),
                    };
                }
                Err(stop)
            }
        }
    }
}

/// The rest of the head whose first byte stands at `start`.
fn head_behind(sheet: &mut Sheet<'_>, start: usize, first: u8) -> Result<Head, Stop> {
    let (major, info) = (first >> 5, first & 0x1F);
    let argument = match info {
        0..=23 => u64::from(info),
        24..=27 => sheet.take(1 << (info - 24))?.iter().fold(0, |n, &byte| n << 8 | u64::from(byte)),
        31 => return Err(bad(sheet, start, BadDictionary::IndefiniteLength)),
        _ => return Err(bad(sheet, start, BadDictionary::BadSimple)),
    };
    // The least argument that needs a head of this length.
    let least = match info {
        24 => 24,
        25 => 1 << 8,
        26 => 1 << 16,
        27 => 1 << 32,
        _ => 0,
    };
    if major != SIMPLE && argument < least {
        return Err(bad(sheet, start, BadDictionary::NotShortest));
    }
    Ok(Head { start, major, argument })
}

/// A simple value or float, in words. The scanner itself judges it, as the value of a map with one entry.
fn simple(raw: &[u8]) -> Result<(String, &'static str), BadDictionary> {
    let single = Dictionary::parse(Bytes::from([&[0xA1, 0x00], raw].concat()), Limits::default())?;
    let item = single.get(0).ok_or(BadDictionary::BadSimple)?;
    Ok((words("", item), type_name(item)))
}

/// Ends the leaf inside an item that breaks a rule; the fault is about the item's own bytes.
fn bad(sheet: &mut Sheet<'_>, start: usize, error: BadDictionary) -> Stop {
    let raw = sheet.read(start..sheet.at());
    sheet.done(hex(raw));
    let range = sheet.shifted(start..sheet.at());
    sheet.malformed(Malformed::Dictionary(error)).range = range;
    Stop::Lost
}

/// As [`bad`], about a key that can be read and stands in the wrong place.
fn bad_key(sheet: &mut Sheet<'_>, start: usize, key: KeyRef<'_>, error: BadDictionary) -> Stop {
    sheet.done(format!("{key:?}"));
    let range = sheet.shifted(start..sheet.at());
    sheet.malformed(Malformed::Dictionary(error)).range = range;
    Stop::Lost
}
