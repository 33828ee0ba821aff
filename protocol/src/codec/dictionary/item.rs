//! Keys and values where they stand in checked bytes.

use super::head::{Head, half, head};
use std::fmt;

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
    pub(super) fn of_map(raw: &'a [u8]) -> Self {
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
pub(super) fn skip(bytes: &[u8]) -> Option<usize> {
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
