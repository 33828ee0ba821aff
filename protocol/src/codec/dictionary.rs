//! The dictionary: one CBOR map in deterministic form (RFC 8949, section 4.2), checked once by a bounded scanner and
//! from then on carried as the bytes it came in.
//!
//! Definite lengths, shortest integers, lengths and floats, keys ascending and so never twice, no tags, no simple
//! values but false, true and null; keys are integers or text. Depth and size are bounded before anything is kept.
//! An empty dictionary is no byte at all, never an empty map.

mod build;
mod check;
mod head;
mod item;
#[cfg(test)]
mod tests;

pub use build::{MapBuilder, write_bool, write_bytes, write_float, write_head, write_number, write_text};
pub use check::{BadDictionary, Limits, check};
pub(crate) use head::{HEAD_LEN_MAX, head, head_bytes, head_len, shortest_head};
pub use item::{Elements, Entries, Item, KeyRef};

use bytes::Bytes;
use std::fmt;

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
