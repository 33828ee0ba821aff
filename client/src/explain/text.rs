//! The explanation for people: `offset  bytes  meaning  (source)`, aligned, a heading for every packet, and what is wrong
//! right below the bytes that it is about.

use super::layout::{GAP, Ink, Line, OFFSET_WIDTH, Style, bit_pattern, columns, pad, wrap};
use super::plan::{Plan, Sender};
use super::{Packet, PacketWriter, Tally, sender_name};
use candor_protocol::annotate::{Annotation, Part};
use candor_protocol::packet::legality::Role;
use std::collections::HashSet;
use std::io::{self, Write};

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
            Sender::One(role) => sender_name(role),
            Sender::EachTells => "not told",
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
            self.column_heads(out)?;
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
    fn column_heads(&self, out: &mut dyn Write) -> io::Result<()> {
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
        let separator = if value.is_empty() { "" } else { ": " };
        let line = Line {
            offset: Some(row.range.start),
            bytes: self.hexadecimal(raw.unwrap_or_default(), hidden),
            bytes_ink: Ink::Bytes,
            indent: usize::from(row.depth) * 2,
            name: name_with_key(row),
            name_ink: Ink::Name,
            value: format!("{separator}{value}"),
            source: source_of(row),
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
            source: source_of(row),
        };
        line.write(self.style, out)
    }

    /// What is wrong, with a mark below the bytes of the leaf that it concerns.
    fn fault(&self, row: &Annotation, leaf: Option<&Annotation>, out: &mut dyn Write) -> io::Result<()> {
        let style = self.style;
        let what = format!("{} at byte {}: {}", row.name.to_uppercase(), row.range.start, row.value);
        let source = source_of(row);
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

/// The key's number before its name, as it stands in the bytes.
fn name_with_key(row: &Annotation) -> String {
    match &row.entry {
        // The index of a filter is in the name already.
        Some(entry) if row.name.ends_with(&format!(" {}", entry.key)) => row.name.to_string(),
        Some(entry) if entry.critical == Some(true) => format!("{} {} (critical)", entry.key, row.name),
        Some(entry) => format!("{} {}", entry.key, row.name),
        None => row.name.to_string(),
    }
}

fn source_of(row: &Annotation) -> String {
    row.source.map(|source| format!("({})", source.short())).unwrap_or_default()
}
