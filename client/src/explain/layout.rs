//! Columns, colours and lines of the explanation for people.

use std::io::{self, Write};

/// The columns and the colours.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    pub(super) width: usize,
    pub(super) bytes_per_line: usize,
    color: bool,
    pub(super) brief: bool,
}

pub(super) const OFFSET_WIDTH: usize = 6;
pub(super) const GAP: usize = 2;
/// Wide enough for the longest source in parentheses.
const SOURCE_WIDTH: usize = 22;

impl Style {
    pub(super) fn new(width: usize, color: bool, brief: bool) -> Self {
        let width = width.clamp(60, 100);
        Self { width, bytes_per_line: if width >= 90 { 8 } else { 4 }, color, brief }
    }

    /// Columns of the bytes: two digits each, with a space between.
    pub(super) fn bytes_width(self) -> usize {
        self.bytes_per_line * 3 - 1
    }

    /// How many bytes of a field are shown: all, or one less than fit and the mark of more.
    pub(super) fn shown(self, len: usize) -> usize {
        if len > self.bytes_per_line { self.bytes_per_line - 1 } else { len }
    }

    pub(super) fn meaning_at(self) -> usize {
        OFFSET_WIDTH + GAP + self.bytes_width() + GAP
    }

    /// From the meaning to the last column, with the sources.
    pub(super) fn wide(self) -> usize {
        self.width - self.meaning_at()
    }

    pub(super) fn meaning_width(self) -> usize {
        if self.has_sources() { self.wide() - SOURCE_WIDTH - GAP } else { self.wide() }
    }

    /// Whether there is room for a column of sources; else they follow the meaning.
    pub(super) fn has_sources(self) -> bool {
        self.width >= 80
    }

    pub(super) fn paint(self, ink: Ink, text: &str) -> String {
        if self.color && !text.is_empty() { format!("\u{1b}[{}m{text}\u{1b}[0m", ink.code()) } else { text.to_owned() }
    }
}

#[derive(Clone, Copy)]
pub(super) enum Ink {
    Heading,
    Bytes,
    Name,
    Faint,
    Fault,
    Good,
}

impl Ink {
    const fn code(self) -> &'static str {
        match self {
            Ink::Heading => "1",
            Ink::Bytes => "36",
            Ink::Name => "1",
            Ink::Faint => "2",
            Ink::Fault => "1;31",
            Ink::Good => "32",
        }
    }
}

/// The bits of the mask, the others as dots: `.... .01.`.
pub(super) fn bit_pattern(byte: u8, mask: u8) -> String {
    let digit = |bit: u8| match (mask >> bit & 1, byte >> bit & 1) {
        (0, _) => '.',
        (_, 0) => '0',
        _ => '1',
    };
    let digits: String = (0..8).rev().map(digit).collect();
    format!("{} {}", &digits[..4], &digits[4..])
}

/// One line of the table, and the lines that its meaning goes on over.
pub(super) struct Line {
    pub(super) offset: Option<usize>,
    pub(super) bytes: String,
    pub(super) bytes_ink: Ink,
    /// Columns before the meaning.
    pub(super) indent: usize,
    pub(super) name: String,
    pub(super) name_ink: Ink,
    /// Follows the name directly.
    pub(super) value: String,
    pub(super) source: String,
}

impl Line {
    pub(super) fn write(&self, style: Style, out: &mut dyn Write) -> io::Result<()> {
        // A deep field keeps some room to be read in.
        let indent = self.indent.min(style.meaning_width() / 2);
        let (inline, column) = if style.has_sources() { ("", self.source.as_str()) } else { (self.source.as_str(), "") };
        let separator = if inline.is_empty() { "" } else { " " };
        let lines = wrap(&format!("{}{}{separator}{inline}", self.name, self.value), style.meaning_width() - indent, 2);
        for (index, line) in lines.iter().enumerate() {
            let first = index == 0;
            let offset = self.offset.filter(|_| first).map(|offset| offset.to_string()).unwrap_or_default();
            let offset = style.paint(Ink::Faint, &format!("{offset:>OFFSET_WIDTH$}"));
            let bytes = style.paint(self.bytes_ink, &pad(if first { &self.bytes } else { "" }, style.bytes_width()));
            let padded = pad(line, style.meaning_width() - indent);
            let meaning = match (first, padded.strip_prefix(self.name.as_str())) {
                (true, Some(value)) => format!("{}{value}", style.paint(self.name_ink, &self.name)),
                _ => padded,
            };
            let source = style.paint(Ink::Faint, if first { column } else { "" });
            let text = format!("{offset}  {bytes}  {:indent$}{meaning}  {source}", "");
            writeln!(out, "{}", text.trim_end())?;
        }
        Ok(())
    }
}

/// The text filled up with spaces.
pub(super) fn pad(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(columns(text))))
}

/// Lines of at most `width` columns, broken between words where there are any. Where a line goes on, the next is set in
/// by `hang` columns.
pub(super) fn wrap(text: &str, width: usize, hang: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    for word in text.split(' ') {
        let joined = !line.trim().is_empty();
        if columns(&line) + usize::from(joined) + columns(word) <= width {
            if joined {
                line.push(' ');
            }
            line.push_str(word);
            continue;
        }
        if joined {
            lines.push(std::mem::replace(&mut line, " ".repeat(hang)));
        }
        for character in word.chars() {
            if columns(&line) + columns_of(character) > width {
                lines.push(std::mem::replace(&mut line, " ".repeat(hang)));
            }
            line.push(character);
        }
    }
    if !line.trim().is_empty() || lines.is_empty() {
        lines.push(line);
    }
    lines
}

pub(super) fn columns(text: &str) -> usize {
    text.chars().map(columns_of).sum()
}

/// The columns of a character on a terminal: two for the wide scripts and pictures of East Asia, none for marks that
/// stand on the character before them. The ranges are those that text in topics is likely to have.
const fn columns_of(character: char) -> usize {
    match character {
        '\u{300}'..='\u{36F}' | '\u{20D0}'..='\u{20FF}' | '\u{FE00}'..='\u{FE0F}' => 0,
        '\u{1100}'..='\u{115F}'
        | '\u{2E80}'..='\u{303E}'
        | '\u{3041}'..='\u{A4CF}'
        | '\u{AC00}'..='\u{D7A3}'
        | '\u{F900}'..='\u{FAFF}'
        | '\u{FE30}'..='\u{FE6F}'
        | '\u{FF00}'..='\u{FF60}'
        | '\u{FFE0}'..='\u{FFE6}'
        | '\u{1F300}'..='\u{1F64F}'
        | '\u{1F900}'..='\u{1F9FF}'
        | '\u{20000}'..='\u{3FFFD}' => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_between_words_and_long_words_inside() {
        assert_eq!(wrap("one two three", 9, 2), ["one two", "  three"]);
        assert_eq!(wrap("abcdefghij", 4, 2), ["abcd", "  ef", "  gh", "  ij"]);
        assert_eq!(wrap("", 4, 2), [""]);
        assert_eq!(wrap("温度温度", 4, 2), ["温度", "  温", "  度"]);
        for width in 4..20 {
            for line in wrap("a field with 温度 and averyveryverylongwordinside it", width, 2) {
                assert!(columns(&line) <= width, "{line:?} in {width}");
            }
        }
    }

    #[test]
    fn bits_stand_where_they_are_in_the_byte() {
        assert_eq!(bit_pattern(0x3B, 0x06), ".... .01.");
        assert_eq!(bit_pattern(0x3B, 0xF0), "0011 ....");
    }
}
