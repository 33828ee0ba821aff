//! A text file that an operator wrote, and places in it.

use super::diagnostic::{Diagnostic, Origin};
use std::fmt;
use std::io::Read;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// How many characters of a line are shown with a place; longer lines are cut on both sides of it.
const EXCERPT_LEN_MAX: usize = 120;

/// The text of a file, with the name that messages give it. A clone is the same file.
#[derive(Clone, PartialEq, Eq)]
pub struct Source(Arc<Inner>);

#[derive(PartialEq, Eq)]
struct Inner {
    name: String,
    text: String,
    /// Where each line begins, so that a line is found without reading the text again.
    line_starts: Vec<usize>,
    /// Its lines are never shown: it holds secrets.
    secret: bool,
}

impl Source {
    /// Text that is already in memory, under the name that messages shall use.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self::made(name.into(), text.into(), false)
    }

    /// As [`Source::new`], for text whose lines must not appear in messages.
    pub fn secret(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self::made(name.into(), text.into(), true)
    }

    fn made(name: String, text: String, secret: bool) -> Self {
        let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
        let line_starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self(Arc::new(Inner { name, text, line_starts, secret }))
    }

    /// Reads a file of at most `len_max` bytes. Pipes are read too, so that a file can come from another program.
    ///
    /// # Errors
    /// It cannot be read, is longer, or is not UTF-8 (with the place of the first byte that is not).
    pub fn read(path: &Path, len_max: u64) -> Result<Self, Diagnostic> {
        Self::read_as(path, len_max, false)
    }

    /// As [`Source::read`], for a file whose lines must not appear in messages.
    ///
    /// # Errors
    /// As [`Source::read`].
    pub fn read_secret(path: &Path, len_max: u64) -> Result<Self, Diagnostic> {
        Self::read_as(path, len_max, true)
    }

    fn read_as(path: &Path, len_max: u64, secret: bool) -> Result<Self, Diagnostic> {
        let name = path.display().to_string();
        let at_path = || Origin::Path(name.clone());
        let unreadable = |error: std::io::Error| Diagnostic::error(at_path(), format!("it cannot be read: {error}"));
        let mut bytes = Vec::new();
        let file = std::fs::File::open(path).map_err(unreadable)?;
        file.take(len_max.saturating_add(1)).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 > len_max {
            return Err(Diagnostic::error(at_path(), "it is too long").allowed(format!("at most {len_max} bytes")));
        }
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Self::made(name, text, secret)),
            Err(error) => {
                let good = error.utf8_error().valid_up_to();
                let lossy = Self::made(name, String::from_utf8_lossy(error.as_bytes()).into_owned(), secret);
                let what = format!("it is not UTF-8: byte 0x{:02x}", error.as_bytes().get(good).copied().unwrap_or(0));
                Err(Diagnostic::error(Origin::File(lossy.place(good..good + 1)), what).allowed("UTF-8 text"))
            }
        }
    }

    /// The name of the file as it was given.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The name of the file without its folder, for texts that leave this machine.
    pub fn short_name(&self) -> &str {
        Path::new(self.name()).file_name().and_then(|name| name.to_str()).unwrap_or(self.name())
    }

    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// The place of the bytes `span`. A span beyond the end is taken as the end.
    pub fn place(&self, span: Range<usize>) -> Place {
        Place { source: self.clone(), span }
    }

    /// The line, from 1, that the byte `at` stands in.
    pub fn line_of(&self, at: usize) -> usize {
        self.0.line_starts.partition_point(|&start| start <= at).max(1)
    }

    fn boundary(&self, at: usize) -> usize {
        (0..=at.min(self.text().len())).rev().find(|&at| self.text().is_char_boundary(at)).unwrap_or(0)
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Source({:?}, {} bytes)", self.name(), self.text().len())
    }
}

/// A place in a file. It costs next to nothing until it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    source: Source,
    span: Range<usize>,
}

impl Place {
    /// The name of the file as it was given.
    pub fn file(&self) -> &str {
        self.source.name()
    }

    /// The place in bytes from the beginning of the file.
    pub fn offset(&self) -> usize {
        self.span.start
    }

    /// From 1.
    pub fn line(&self) -> usize {
        self.source.line_of(self.source.boundary(self.span.start))
    }

    /// From 1, in characters.
    pub fn column(&self) -> usize {
        let (before, _, _) = self.parts();
        before.chars().count() + 1
    }

    /// The line in three parts: before the span, the part of the span that is on it, behind the span.
    fn parts(&self) -> (&str, &str, &str) {
        let (text, start) = (self.source.text(), self.source.boundary(self.span.start));
        let line_start = self.source.0.line_starts.get(self.line() - 1).copied().unwrap_or(0);
        let line_end = text[start..].find('\n').map_or(text.len(), |len| start + len);
        let end = self.source.boundary(self.span.end.max(start)).min(line_end);
        (&text[line_start..start], &text[start..end], text[end..line_end].trim_end_matches('\r'))
    }

    /// The line, and marks under the part that is meant.
    pub(super) fn write_excerpt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.source.0.secret {
            return Ok(());
        }
        let (before, marked, behind) = self.parts();
        let (line, mark_at) = excerpt(before, marked, behind);
        let mark_len = marked.trim_end().chars().count().clamp(1, line.chars().count().saturating_sub(mark_at).max(1));
        let (number, space, marks) = (self.line(), " ".repeat(mark_at), "^".repeat(mark_len));
        let gutter = number.to_string().len();
        write!(f, "\n{:gutter$} |\n{number} | {line}\n{:gutter$} | {space}{marks}", "", "")
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file(), self.line(), self.column())
    }
}

/// The part of a line around what is meant, fit for a terminal, and where that is in it.
fn excerpt(before: &str, marked: &str, behind: &str) -> (String, usize) {
    let total = [before, marked, behind].iter().map(|part| part.chars().count()).sum::<usize>();
    let lead = if total <= EXCERPT_LEN_MAX { usize::MAX } else { EXCERPT_LEN_MAX / 2 };
    let cut_at = before.char_indices().rev().take(lead).last().map_or(before.len(), |(at, _)| at);
    let shown: String = [&before[cut_at..], marked, behind].concat().chars().take(EXCERPT_LEN_MAX).map(printable).collect();
    let (mark_at, shown_len) = (before[cut_at..].chars().count(), shown.chars().count());
    let start = if cut_at > 0 { "..." } else { "" };
    let end = if shown_len < before[cut_at..].chars().count() + marked.chars().count() + behind.chars().count() { "..." } else { "" };
    (format!("{start}{shown}{end}"), mark_at + start.len())
}

/// Control and direction characters would move the marks, or hide what the line says.
fn printable(c: char) -> char {
    match c {
        '\t' => ' ',
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200b}'..='\u{200f}' | '\u{feff}' => char::REPLACEMENT_CHARACTER,
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        c => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_counts_lines_and_characters_from_one() {
        let source = Source::new("dir/x.toml", "a = 1\r\nλλ = 2\nb");
        let place = source.place(12..15);
        assert_eq!((place.to_string(), source.short_name()), ("dir/x.toml:2:4".into(), "x.toml"));
        assert_eq!(source.place(0..1).to_string(), "dir/x.toml:1:1");
        assert_eq!(source.place(999..1000).to_string(), "dir/x.toml:3:2");
        assert_eq!(Source::new("x", "").place(0..9).to_string(), "x:1:1");
    }

    #[test]
    fn a_byte_order_mark_does_not_shift_the_first_line() {
        assert_eq!(Source::new("x", "\u{feff}abc").place(1..2).column(), 2);
    }

    #[test]
    fn a_line_of_a_megabyte_is_shown_around_the_place() {
        let source = Source::new("x", format!("{}HERE{}", "a".repeat(500_000), "b".repeat(500_000)));
        let text = Diagnostic::error(Origin::File(source.place(500_000..500_004)), "what").to_string();
        assert!(text.len() < 500, "{}", text.len());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "x:1:500001: what");
        let at = lines[2].find("HERE").unwrap();
        assert_eq!(lines[3].find('^'), Some(at));
        assert_eq!(lines[3].matches('^').count(), 4);
    }

    #[test]
    fn control_and_direction_characters_never_reach_the_terminal() {
        let source = Source::new("x", "a\u{1b}[31m\u{202e}\0\tb");
        let text = Diagnostic::error(Origin::File(source.place(0..1)), "what").to_string();
        assert!(!text.contains(['\u{1b}', '\0', '\u{202e}', '\t']), "{text:?}");
    }

    #[test]
    fn a_file_that_is_not_text_is_refused_with_the_place_of_the_byte() {
        let path = std::env::temp_dir().join(format!("candor-source-{}-utf8", std::process::id()));
        std::fs::write(&path, b"good\nbad \xff here\n").unwrap();
        let error = Source::read(&path, 1000).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{}:2:5: it is not UTF-8: byte 0xff", path.display())), "{error}");
        let error = Source::read(&path, 5).unwrap_err().to_string();
        assert_eq!(error, format!("{}: it is too long\n  allowed: at most 5 bytes", path.display()));
        std::fs::remove_file(&path).unwrap();
        let error = Source::read(&path, 5).unwrap_err().to_string();
        assert!(error.contains("it cannot be read: No such file"), "{error}");
    }
}
