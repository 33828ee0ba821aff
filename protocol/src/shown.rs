//! Text of a peer, fit for a log line and a terminal.

use std::fmt::{self, Write};

/// The most characters that are shown of one text.
pub const CHARS_MAX: usize = 300;

/// Displays text that comes from a peer: nothing in it ends a line or acts on a terminal, and it is not longer than [`CHARS_MAX`]
/// characters, behind which stands `...`.
///
/// Control characters, direction marks and other characters without a shape of their own are escaped, as in `\u{1b}` and `\n`, and so
/// is the backslash, so that an escape cannot be forged.
#[derive(Clone, Copy)]
pub struct Shown<'a> {
    text: &'a str,
    chars_max: usize,
}

impl<'a> Shown<'a> {
    pub const fn new(text: &'a str) -> Self {
        Self { text, chars_max: CHARS_MAX }
    }

    /// As [`Shown::new`], with a bound of its own.
    pub const fn cut(text: &'a str, chars_max: usize) -> Self {
        Self { text, chars_max }
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut chars = self.text.chars();
        for c in chars.by_ref().take(self.chars_max) {
            match c {
                '\'' | '"' => f.write_char(c)?,
                c => write!(f, "{}", c.escape_debug())?,
            }
        }
        if chars.next().is_some() { f.write_str("...") } else { Ok(()) }
    }
}

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_on_a_line_or_a_terminal_is_escaped_and_the_rest_is_not() {
        let shown = |text: &str| Shown::new(text).to_string();
        assert_eq!(shown("a/b c's \"dé\" 温度"), "a/b c's \"dé\" 温度");
        assert_eq!(shown("a\nINFO forged\r\u{1b}[2J\u{7f}\u{9b}x\0"), r"a\nINFO forged\r\u{1b}[2J\u{7f}\u{9b}x\0");
        assert_eq!(shown("\u{202e}gpj\u{2066}\u{200b}\u{feff}\u{2028}"), r"\u{202e}gpj\u{2066}\u{200b}\u{feff}\u{2028}");
        assert_eq!(shown(r"\n"), r"\\n");
    }

    #[test]
    fn it_is_cut_and_says_so() {
        assert_eq!(Shown::cut("abcdef", 6).to_string(), "abcdef");
        assert_eq!(Shown::cut("abcdefg", 6).to_string(), "abcdef...");
        // The longest that one text comes to: every character an escape of its own.
        assert!(Shown::new(&"\u{e0001}".repeat(65_535)).to_string().len() <= CHARS_MAX * "\\u{e0001}".len() + 3);
    }
}
