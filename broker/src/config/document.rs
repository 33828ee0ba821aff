//! Reading TOML so that everything wrong in a file is told at once, each with its place.

use super::diagnostic::{Diagnostic, Diagnostics, Origin};
use super::kind::shown;
use super::source::Source;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Error};

/// What has been found wrong in one file so far.
#[derive(Debug)]
pub struct Report {
    source: Source,
    /// Lines that are not TOML: whatever else seems wrong there follows from that.
    broken: BTreeSet<usize>,
    found: Diagnostics,
}

/// Finds what is not TOML in `source`. The text that is returned is for [`table`]: what kept the parser from reading on is
/// blanked in it, and every other byte is where it was.
pub fn open(source: &Source) -> (Cow<'_, str>, Report) {
    let mut report = Report { source: source.clone(), broken: BTreeSet::new(), found: Diagnostics::default() };
    let mut text = Cow::Borrowed(source.text());
    // One round finds all such lines of a file; the bound is for files that are made to be hard.
    for _ in 0..8 {
        let (_, errors) = DeTable::parse_recoverable(&text);
        let (stopping, others): (Vec<_>, Vec<_>) = errors.iter().partition(|error| error.message().starts_with("key with no value"));
        if stopping.is_empty() {
            others.into_iter().for_each(|error| report.not_toml(error));
            break;
        }
        let spans: Vec<_> = stopping.iter().filter_map(|error| error.span()).collect();
        stopping.into_iter().for_each(|error| report.not_toml(error));
        text = Cow::Owned(blanked(&text, &spans));
    }
    (text, report)
}

/// Reads as much of `text` as is TOML; [`open`] has reported the rest.
pub fn table(text: &str) -> DeTable<'_> {
    DeTable::parse_recoverable(text).0.into_inner()
}

/// `text` with spaces in place of the lines in which `spans` begin.
fn blanked(text: &str, spans: &[Range<usize>]) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for span in spans {
        let at = span.start.min(bytes.len());
        let start = bytes[..at].iter().rposition(|&b| b == b'\n').map_or(0, |newline| newline + 1);
        let line = bytes[start..].iter_mut().take_while(|b| **b != b'\n');
        line.filter(|b| **b != b'\r').for_each(|b| *b = b' ');
    }
    // Whole lines were replaced, so that what is left is UTF-8 as before.
    String::from_utf8(bytes).unwrap_or_default()
}

impl Report {
    /// The place of `span` as an origin.
    pub fn origin(&self, span: Range<usize>) -> Origin {
        Origin::File(self.source.place(span))
    }

    /// The line of `span`, from 1.
    pub fn line(&self, span: &Range<usize>) -> usize {
        self.source.line_of(span.start)
    }

    /// Reports something at `span`, unless its line is not even TOML.
    pub fn push(&mut self, span: Range<usize>, make: impl FnOnce(Origin) -> Diagnostic) {
        if self.broken.contains(&self.line(&span)) {
            return;
        }
        self.found.push(make(self.origin(span)));
    }

    /// As [`Report::push`], for what is missing: in a file that is not all TOML it may merely not have been understood.
    pub fn push_missing(&mut self, span: Range<usize>, make: impl FnOnce(Origin) -> Diagnostic) {
        if self.broken.is_empty() {
            self.push(span, make);
        }
    }

    /// Everything that was found.
    pub fn finish(self) -> Diagnostics {
        self.found
    }

    fn not_toml(&mut self, error: &Error) {
        let span = error.span().unwrap_or(0..0);
        self.broken.insert(self.line(&span));
        let origin = self.origin(span.clone());
        let at = self.source.text().get(span).unwrap_or_default();
        self.found.push(explain(error.message(), at, origin));
    }
}

/// The parser's message, with what to do where that is known.
fn explain(message: &str, at: &str, origin: Origin) -> Diagnostic {
    let (what, expected) = message.split_once(", expected ").map_or((message, None), |(what, expected)| (what, Some(expected)));
    if what == "string values must be quoted" {
        return match at {
            "" => Diagnostic::error(origin, "there is no value").allowed("a value in TOML: 5, true, \"text\", [\"several\", \"texts\"]"),
            _ => Diagnostic::error(origin, "text stands in quotation marks").help(format!("write {:?}", at.trim())),
        };
    }
    if what == "duplicate key" {
        return Diagnostic::error(origin, format!("the key {} stands here for the second time", shown(at))).allowed("each key once");
    }
    let diagnostic = Diagnostic::error(origin, what);
    match expected {
        Some(expected) if expected != "nothing" => diagnostic.allowed(expected),
        _ => diagnostic,
    }
}

/// What a value is, with its article, as in "this is a table".
pub fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a point",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

/// The texts of a value that is one text or an array of texts, each with its span; anything else is reported.
pub fn texts<'v>(report: &mut Report, key: &str, value: &'v Spanned<DeValue<'_>>) -> Vec<(&'v str, Range<usize>)> {
    let items: &[Spanned<DeValue<'_>>] = match value.get_ref() {
        DeValue::Array(items) => items,
        _ => std::slice::from_ref(value),
    };
    let mut texts = Vec::with_capacity(items.len());
    for item in items {
        match item.get_ref().as_str() {
            Some(text) => texts.push((text, item.span())),
            None => report.push(item.span(), |at| {
                Diagnostic::error(at, format!("{key}: this is {}", type_name(item.get_ref()))).allowed("text, or an array of texts")
            }),
        }
    }
    texts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> String {
        open(&Source::new("x.toml", text)).1.finish().unless_errors(()).unwrap_err().to_string()
    }

    #[test]
    fn every_line_that_is_not_toml_is_told() {
        insta::assert_snapshot!(found("a =\nb = 2\nsize = 10MiB\nc 3\nb = 4\nd = \"x\ne = 01\n"), @r#"
        x.toml:1:4: there is no value
          |
        1 | a =
          |    ^
          allowed: a value in TOML: 5, true, "text", ["several", "texts"]
        x.toml:3:8: text stands in quotation marks
          |
        3 | size = 10MiB
          |        ^^^^^
          help: write "10MiB"
        x.toml:4:3: key with no value
          |
        4 | c 3
          |   ^
          allowed: `=`
        x.toml:5:1: the key `b` stands here for the second time
          |
        5 | b = 4
          | ^
          allowed: each key once
        x.toml:6:7: invalid basic string
          |
        6 | d = "x
          |       ^
          allowed: `"`
        x.toml:7:5: unexpected leading zero
          |
        7 | e = 01
          |     ^
        "#);
    }

    #[test]
    fn nesting_does_not_exhaust_the_stack() {
        let text = found(&format!("a = {}", "[".repeat(100_000)));
        assert!(text.contains("max recursion depth"), "{text}");
        assert!(text.len() < 5000, "{}", text.len());
    }

    #[test]
    fn a_binary_file_is_an_error_and_not_a_flood() {
        let bytes: String = (0u32..50_000).filter_map(|n| char::from_u32(n * 7919 % 0xd7ff)).collect();
        let text = found(&bytes);
        assert!(text.len() < 60_000, "{}", text.len());
        assert!(!text.contains('\0'));
    }
}
