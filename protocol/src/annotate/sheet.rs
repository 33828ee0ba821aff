//! The sheet that annotations are written on. It moves over the bytes of one packet and keeps the promise that every
//! byte has one leaf: a leaf always starts where the one before it ended.

use super::fault::{self, Fault};
use super::field::Field;
use super::source::Source;
use super::text::count;
use super::{Annotation, Part};
use crate::codec::error::Malformed;
use crate::dialect::Dialect;
use crate::packet::kind::Kind;
use crate::packet::legality::Role;
use std::borrow::Cow;
use std::ops::Range;

/// Why the fields of a packet, or of a part of it, cannot be followed any further. The fault is on the sheet already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// Where the next field starts is not known; what encloses this part can still be.
    Lost,
    /// The bytes at hand are used up.
    Incomplete,
    /// The packet has more fields than are listed.
    Full,
}

/// The most annotations of one packet. What follows is told in one leaf, so that a hostile packet of many million
/// one-byte fields does not take a hundred times its size in memory.
const ANNOTATIONS_MAX: usize = 65_536;

/// A part of the packet with a length of its own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Where the part ends, which may be behind the bytes at hand.
    end: usize,
    name: &'static str,
    /// What a field that ends behind the part's end is.
    short: Malformed,
}

pub(super) struct Sheet<'a> {
    bytes: &'a [u8],
    /// Where the bytes stand in the input.
    base: usize,
    /// Where the next leaf starts.
    from: usize,
    /// Where the next byte is read.
    at: usize,
    bounds: Bounds,
    /// Name and source of the next leaf.
    name: Cow<'static, str>,
    source: Option<Source>,
    pub(super) depth: u8,
    pub(super) kind: Option<Kind>,
    pub(super) dialect: Dialect,
    pub(super) sender: Option<Role>,
    pub(super) annotations: Vec<Annotation>,
}

impl<'a> Sheet<'a> {
    pub(super) fn new(dialect: Dialect, sender: Option<Role>, bytes: &'a [u8], base: usize) -> Self {
        Self {
            bytes,
            base,
            from: 0,
            at: 0,
            bounds: Bounds { end: usize::MAX, name: "packet", short: Malformed::Truncated },
            name: Cow::Borrowed(""),
            source: None,
            depth: 0,
            kind: None,
            dialect,
            sender,
            annotations: Vec::new(),
        }
    }

    /// Where the next byte is read, from the start of the packet.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// The bytes that were read, from the start of the packet.
    pub(super) fn read(&self, range: Range<usize>) -> &'a [u8] {
        self.bytes.get(range).unwrap_or_default()
    }

    /// The bytes at hand that the part still has.
    pub(super) fn ahead(&self) -> &'a [u8] {
        self.read(self.at..self.bounds.end.min(self.bytes.len()))
    }

    /// How many bytes the part says that it still has, at hand or not.
    pub(super) fn left(&self) -> usize {
        self.bounds.end.saturating_sub(self.at)
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.left() == 0
    }

    /// Sets where the packet ends, once its Remaining Length is known.
    pub(super) fn set_end(&mut self, end: usize) {
        self.bounds.end = end;
    }

    /// Goes into a part of `len` bytes; what it returns leads out again.
    pub(super) fn enter(&mut self, len: usize, name: &'static str, short: Malformed) -> Bounds {
        std::mem::replace(&mut self.bounds, Bounds { end: self.at.saturating_add(len), name, short })
    }

    pub(super) fn leave(&mut self, outer: Bounds) {
        self.bounds = outer;
    }

    /// Names the next leaf.
    pub(super) fn begin(&mut self, field: &Field) {
        self.begin_named(field.name, field.source);
    }

    pub(super) fn begin_named(&mut self, name: impl Into<Cow<'static, str>>, source: Source) {
        (self.name, self.source) = (name.into(), Some(source));
    }

    /// Reads `len` bytes into the leaf.
    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], Stop> {
        if self.annotations.len() >= ANNOTATIONS_MAX {
            return Err(Stop::Full);
        }
        let end = self.at.saturating_add(len);
        if end > self.bounds.end {
            return Err(self.short(len));
        }
        match self.bytes.get(self.at..end) {
            Some(raw) => {
                self.at = end;
                Ok(raw)
            }
            None => Err(self.incomplete(len)),
        }
    }

    pub(super) fn u8(&mut self) -> Result<u8, Stop> {
        Ok(self.take(1)?[0])
    }

    pub(super) fn u16(&mut self) -> Result<u16, Stop> {
        let raw = self.take(2)?;
        Ok(u16::from_be_bytes([raw[0], raw[1]]))
    }

    /// A variable byte integer (section 2.2.3).
    pub(super) fn varint(&mut self) -> Result<u32, Stop> {
        self.varint_or(Malformed::RemainingLength)
    }

    /// As [`Sheet::varint`], where a fifth byte is a fault of its own.
    pub(super) fn varint_or(&mut self, too_long: Malformed) -> Result<u32, Stop> {
        let mut value = 0;
        for shift in [0, 7, 14, 21] {
            let byte = self.u8()?;
            value |= u32::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        self.done("does not end");
        Err(self.lost(too_long))
    }

    /// Ends the leaf.
    pub(super) fn done(&mut self, value: impl Into<String>) -> &mut Annotation {
        let range = self.from..self.at;
        self.from = self.at;
        let (name, source) = (std::mem::take(&mut self.name), self.source.take());
        self.push(Annotation::new(self.shifted(range), self.depth, Part::Leaf, name, value.into(), source))
    }

    /// Bits of the last leaf, which is one byte.
    pub(super) fn bits(&mut self, field: &Field, mask: u8, value: impl Into<String>) {
        let range = self.from - 1..self.from;
        let bits = Annotation::new(
            self.shifted(range),
            self.depth + 1,
            Part::Bits { mask },
            Cow::Borrowed(field.name),
            value.into(),
            Some(field.source),
        );
        self.push(bits);
    }

    /// What remains of the part in one leaf that nothing is said about but why.
    pub(super) fn rest(&mut self, why: &'static str) {
        self.at = self.bounds.end.min(self.bytes.len());
        if self.at > self.from {
            let len = self.at - self.from;
            self.name = Cow::Borrowed(why);
            self.source = None;
            self.done(count(len, "byte"));
        }
    }

    /// Says what is wrong with the last leaf.
    pub(super) fn malformed(&mut self, error: Malformed) -> &mut Annotation {
        let rule = fault::rule(self.kind, error);
        self.fault(Fault::Malformed(error), fault::what(error), fault::expected(error), rule)
    }

    /// As [`Sheet::malformed`], and nothing behind it can be read.
    pub(super) fn lost(&mut self, error: Malformed) -> Stop {
        self.malformed(error);
        Stop::Lost
    }

    /// A fault of the last leaf. What was expected is its meaning.
    pub(super) fn fault(
        &mut self,
        fault: Fault,
        what: impl Into<String>,
        expected: impl Into<Cow<'static, str>>,
        rule: Source,
    ) -> &mut Annotation {
        let range = self.annotations.iter().rev().find(|row| row.part == Part::Leaf).map_or(0..0, |leaf| leaf.range.clone());
        let mut row = Annotation::new(range, self.depth, Part::Fault(fault), Cow::Borrowed(fault.name()), what.into(), Some(rule));
        row.meaning = expected.into();
        self.push(row)
    }

    /// Takes back the last annotation that was written, to say it again further up: a fault of an entry stands behind
    /// its first row, whatever the value holds.
    pub(super) fn move_last_to(&mut self, index: usize) {
        if let Some(last) = self.annotations.pop() {
            self.annotations.insert(index.min(self.annotations.len()), last);
        }
    }

    pub(super) fn shifted(&self, range: Range<usize>) -> Range<usize> {
        range.start + self.base..range.end + self.base
    }

    /// What remains of the part belongs to a field that needs `len` bytes more and does not have them.
    fn short(&mut self, len: usize) -> Stop {
        let (part, left, from, name) = (self.bounds.name, self.left(), self.at, self.name.clone());
        let begun = self.at > self.from;
        self.at = self.bounds.end.min(self.bytes.len());
        if self.at > self.from {
            self.done(format!("cut off, {left} of {}", count(len, "byte")));
        }
        let range = self.shifted(from..self.at);
        let row = self.malformed(self.bounds.short);
        row.range = range;
        row.value = match left {
            0 if !begun => format!("the {part} ends before {name}"),
            _ => format!("{name} needs {}, and the {part} has {left} left", count(len, "byte")),
        };
        Stop::Lost
    }

    /// The bytes at hand end inside a field that goes on for `len` bytes.
    fn incomplete(&mut self, len: usize) -> Stop {
        let have = self.bytes.len() - self.at;
        self.at = self.bytes.len();
        if self.at > self.from {
            self.done(format!("{have} of {} so far", count(len, "byte")));
        }
        Stop::Incomplete
    }

    fn push(&mut self, row: Annotation) -> &mut Annotation {
        self.annotations.push(row);
        let last = self.annotations.len() - 1;
        &mut self.annotations[last]
    }
}
