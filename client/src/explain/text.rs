//! The explanation for people: `offset  bytes  meaning  (source)`, aligned, a heading for every packet, and what is wrong
//! right below the bytes that it is about.

use super::plan::Plan;
use super::{Packet, PacketWriter, Tally, sender_name};
use candor_protocol::annotate::{Annotation, Part};
use candor_protocol::packet::legality::Role;
use std::collections::HashSet;
use std::io::{self, Write};

/// The columns and the colours.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    width: usize,
    bytes_per_line: usize,
    color: bool,
    brief: bool,
}

const OFFSET_WIDTH: usize = 6;
const GAP: usize = 2;
/// Wide enough for the longest source in parentheses.
const SOURCE_WIDTH: usize = 22;

impl Style {
    pub(super) fn new(width: usize, color: bool, brief: bool) -> Self {
        let width = width.clamp(60, 100);
        Self { width, bytes_per_line: if width >= 90 { 8 } else { 4 }, color, brief }
    }

    /// Columns of the bytes: two digits each, with a space between.
    fn bytes_width(self) -> usize {
        self.bytes_per_line * 3 - 1
    }

    /// How many bytes of a field are shown: all, or one less than fit and the mark of more.
    fn shown(self, len: usize) -> usize {
        if len > self.bytes_per_line { self.bytes_per_line - 1 } else { len }
    }

    fn meaning_at(self) -> usize {
        OFFSET_WIDTH + GAP + self.bytes_width() + GAP
    }

    /// From the meaning to the last column, with the sources.
    fn wide(self) -> usize {
        self.width - self.meaning_at()
    }

    fn meaning_width(self) -> usize {
        if self.has_sources() { self.wide() - SOURCE_WIDTH - GAP } else { self.wide() }
    }

    /// Whether there is room for a column of sources; else they follow the meaning.
    fn has_sources(self) -> bool {
        self.width >= 80
    }

    fn paint(self, ink: Ink, text: &str) -> String {
        if self.color && !text.is_empty() { format!("\u{1b}[{}m{text}\u{1b}[0m", ink.code()) } else { text.to_owned() }
    }
}

#[derive(Clone, Copy)]
enum Ink {
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

pub(super) struct Writer {
    style: Style,
    show_secrets: bool,
    /// What was explained already: meanings are said once.
    said: HashSet<String>,
}

/// The most lines of a packet's heading; the fields below it say everything.
const HEADING_LINES_MAX: usize = 2;
/// The most different meanings that are remembered.
const SAID_MAX: usize = 1000;

impl Writer {
    pub(super) fn new(style: Style, show_secrets: bool) -> Self {
        Self { style, show_secrets, said: HashSet::new() }
    }
}

impl PacketWriter for Writer {
    fn start(&mut self, plan: &Plan, _len: usize, out: &mut dyn Write) -> io::Result<()> {
        let sender = match plan.sender {
            super::plan::Sender::One(role) => sender_name(role),
            super::plan::Sender::EachTells => "not told",
        };
        for (name, value, why) in [("dialect", plan.dialect.name(), &plan.dialect_why), ("sender", sender, &plan.sender_why)] {
            let lines = wrap(&format!("{value} ({why})"), self.style.width - 9, 0);
            for (index, line) in lines.iter().enumerate() {
                writeln!(out, "{}{line}", self.style.paint(Ink::Faint, &format!("{:<9}", if index == 0 { name } else { "" })))?;
            }
        }
        Ok(())
    }

    fn packet(&mut self, packet: &Packet<'_>, out: &mut dyn Write) -> io::Result<()> {
        self.heading(packet, out)?;
        if packet.number == 1 {
            self.columns(out)?;
        }
        let mut leaf = None;
        for row in &packet.annotated.annotations {
            match row.part {
                Part::Leaf => {
                    self.leaf(row, packet, out)?;
                    leaf = Some(row);
                }
                Part::Bits { mask } => self.bits(row, mask, packet, out)?,
                Part::Fault(_) => self.fault(row, leaf, out)?,
            }
        }
        Ok(())
    }

    fn finish(&mut self, tally: &Tally, out: &mut dyn Write) -> io::Result<()> {
        let packets = if tally.packets == 1 { "1 packet".to_owned() } else { format!("{} packets", tally.packets) };
        let missing = tally.missing.map_or(String::new(), |missing| format!(" ({missing} more bytes needed)"));
        let faults = [(tally.malformed, "malformed", ""), (tally.refused, "to be refused", ""), (tally.incomplete, "incomplete", &missing)];
        let faults: Vec<_> =
            faults.into_iter().filter(|(count, ..)| *count > 0).map(|(count, name, more)| format!("{count} {name}{more}")).collect();
        let said = match faults.is_empty() {
            true => self.style.paint(Ink::Good, "well formed"),
            false => self.style.paint(Ink::Fault, &faults.join(", ")),
        };
        writeln!(out, "\n{packets}: {said}")
    }
}

impl Writer {
    fn columns(&self, out: &mut dyn Write) -> io::Result<()> {
        let style = self.style;
        let meaning = if style.has_sources() { pad("meaning", style.meaning_width() + 1) } else { "meaning".to_owned() };
        let head = format!("{:>OFFSET_WIDTH$}  {:<bytes$}  {meaning} (source)", "offset", "bytes", bytes = style.bytes_width());
        writeln!(out, "{}", style.paint(Ink::Faint, &head))
    }

    /// The packet in one sentence, then where it stands and who sent it.
    fn heading(&self, packet: &Packet<'_>, out: &mut dyn Write) -> io::Result<()> {
        let style = self.style;
        writeln!(out)?;
        let number = format!("{:>3} ", packet.number);
        let mut lines = wrap(&packet.summary, style.width - 6, 2);
        if lines.len() > HEADING_LINES_MAX {
            lines.truncate(HEADING_LINES_MAX);
            lines.iter_mut().last().into_iter().for_each(|line| line.push_str(" …"));
        }
        for (index, line) in lines.iter().enumerate() {
            let before = if index == 0 { number.as_str() } else { "    " };
            writeln!(out, "{}", style.paint(Ink::Heading, &format!("{before}{line}")))?;
        }
        let way = match packet.sender {
            Some(Role::Client) => "client to server",
            Some(Role::Server) => "server to client",
            None => "sender not told",
        };
        let range = &packet.annotated.range;
        let bytes = if range.len() == 1 { "1 byte".to_owned() } else { format!("{} bytes", range.len()) };
        let line = format!("    {way}, {}, {bytes} at {}", packet.annotated.dialect, range.start);
        writeln!(out, "{}", style.paint(Ink::Faint, &line))?;
        if let Some(switch) = packet.switch {
            for line in wrap(&format!("extended from here on: {switch}"), style.width - 4, 2) {
                writeln!(out, "    {}", style.paint(Ink::Faint, &line))?;
            }
        }
        Ok(())
    }

    fn leaf(&mut self, row: &Annotation, packet: &Packet<'_>, out: &mut dyn Write) -> io::Result<()> {
        let raw = packet.raw.get(row.range.start - packet.annotated.range.start..row.range.end - packet.annotated.range.start);
        let hidden = row.secret && !self.show_secrets;
        let value = if hidden { format!("{}, hidden", row.value) } else { row.value.clone() };
        let name = match &row.entry {
            // The index of a filter is in the name already.
            Some(entry) if row.name.ends_with(&format!(" {}", entry.key)) => row.name.to_string(),
            Some(entry) if entry.critical == Some(true) => format!("{} {} (critical)", entry.key, row.name),
            Some(entry) => format!("{} {}", entry.key, row.name),
            None => row.name.to_string(),
        };
        let separator = if value.is_empty() { "" } else { ": " };
        let line = Line {
            offset: Some(row.range.start),
            bytes: self.hexadecimal(raw.unwrap_or_default(), hidden),
            bytes_ink: Ink::Bytes,
            indent: usize::from(row.depth) * 2,
            name,
            name_ink: Ink::Name,
            value: format!("{separator}{value}"),
            source: row.source.map(|source| format!("({})", source.short())).unwrap_or_default(),
        };
        line.write(self.style, out)?;
        if self.style.brief { Ok(()) } else { self.meaning(row, out) }
    }

    /// What the tables say of the key or value.
    fn meaning(&mut self, row: &Annotation, out: &mut dyn Write) -> io::Result<()> {
        let mut said = row.meaning.to_string();
        if said.is_empty() || self.said.contains(&said) {
            return Ok(());
        }
        if self.said.len() < SAID_MAX {
            self.said.insert(said.clone());
        }
        if let Some((entry, critical)) = row.entry.as_ref().and_then(|entry| Some((entry, entry.critical?))) {
            said = format!("{}, {}. {said}", if critical { "Critical" } else { "Not critical" }, entry.value_type);
        }
        let indent = (usize::from(row.depth) * 2 + 2).min(self.style.wide() / 2);
        let at = self.style.meaning_at() + indent;
        for line in wrap(&said, self.style.wide() - indent, 0) {
            writeln!(out, "{:at$}{}", "", self.style.paint(Ink::Faint, &line))?;
        }
        Ok(())
    }

    fn bits(&self, row: &Annotation, mask: u8, packet: &Packet<'_>, out: &mut dyn Write) -> io::Result<()> {
        if self.style.brief {
            return Ok(());
        }
        let byte = packet.raw.get(row.range.start - packet.annotated.range.start).copied().unwrap_or_default();
        let line = Line {
            offset: None,
            bytes: bit_pattern(byte, mask),
            bytes_ink: Ink::Faint,
            indent: usize::from(row.depth) * 2,
            name: row.name.to_string(),
            name_ink: Ink::Faint,
            value: format!(": {}", row.value),
            source: row.source.map(|source| format!("({})", source.short())).unwrap_or_default(),
        };
        line.write(self.style, out)
    }

    /// What is wrong, with a mark below the bytes of the leaf that it concerns.
    fn fault(&self, row: &Annotation, leaf: Option<&Annotation>, out: &mut dyn Write) -> io::Result<()> {
        let style = self.style;
        let what = format!("{} at byte {}: {}", row.name.to_uppercase(), row.range.start, row.value);
        let source = row.source.map(|source| format!("({})", source.short())).unwrap_or_default();
        let expected = format!("expected: {}", row.meaning);
        let room = style.wide() - GAP - columns(&source);
        let mut lines = wrap(&what, style.wide(), 2);
        let wrong = lines.len();
        lines.extend(wrap(&expected, room, 2));
        let marks = self.marks(row, leaf);
        let last = lines.len() - 1;
        for (index, line) in lines.iter().enumerate() {
            let marks = if index == 0 { marks.as_str() } else { "" };
            let left = format!("{:OFFSET_WIDTH$}  {}", "", pad(marks, style.bytes_width()));
            let source = if index == last { style.paint(Ink::Faint, &source) } else { String::new() };
            let line = if index == last { pad(line, style.meaning_width().min(room)) } else { line.clone() };
            let line = if index < wrong { style.paint(Ink::Fault, &line) } else { line };
            let text = format!("{}  {line}  {source}", style.paint(Ink::Fault, &left));
            writeln!(out, "{}", text.trim_end())?;
        }
        Ok(())
    }

    /// `^^` below each of the bytes in question that is shown, or where it would stand.
    fn marks(&self, row: &Annotation, leaf: Option<&Annotation>) -> String {
        let Some(leaf) = leaf else { return "^^".to_owned() };
        // Bytes that are not shown are marked where their place is.
        let last = self.style.shown(leaf.range.len()) + usize::from(leaf.range.len() > self.style.bytes_per_line);
        let shown_at = |offset: usize| offset.saturating_sub(leaf.range.start).min(last);
        let from = shown_at(row.range.start).min(self.style.bytes_per_line - 1);
        let to = shown_at(row.range.end).max(from + usize::from(!row.range.is_empty()));
        match to.checked_sub(from) {
            None | Some(0) => format!("{}^", " ".repeat(from * 3)),
            Some(len) => format!("{}{}", " ".repeat(from * 3), vec!["^^"; len].join(" ")),
        }
    }

    /// As many bytes as one line has; the rest is in the input, and in the value as far as it can be said.
    fn hexadecimal(&self, raw: &[u8], hidden: bool) -> String {
        let shown = raw.iter().take(self.style.shown(raw.len()));
        let digits: Vec<_> = shown.map(|byte| if hidden { "**".to_owned() } else { format!("{byte:02x}") }).collect();
        format!("{}{}", digits.join(" "), if raw.len() > self.style.bytes_per_line { " …" } else { "" })
    }
}

/// The bits of the mask, the others as dots: `.... .01.`.
fn bit_pattern(byte: u8, mask: u8) -> String {
    let digit = |bit: u8| match (mask >> bit & 1, byte >> bit & 1) {
        (0, _) => '.',
        (_, 0) => '0',
        _ => '1',
    };
    let digits: String = (0..8).rev().map(digit).collect();
    format!("{} {}", &digits[..4], &digits[4..])
}

/// One line of the table, and the lines that its meaning goes on over.
struct Line {
    offset: Option<usize>,
    bytes: String,
    bytes_ink: Ink,
    /// Columns before the meaning.
    indent: usize,
    name: String,
    name_ink: Ink,
    /// Follows the name directly.
    value: String,
    source: String,
}

impl Line {
    fn write(&self, style: Style, out: &mut dyn Write) -> io::Result<()> {
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
fn pad(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(columns(text))))
}

/// Lines of at most `width` columns, broken between words where there are any. Where a line goes on, the next is set in
/// by `hang` columns.
fn wrap(text: &str, width: usize, hang: usize) -> Vec<String> {
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

fn columns(text: &str) -> usize {
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
