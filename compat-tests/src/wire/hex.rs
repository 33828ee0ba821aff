//! Bytes as hex: how they are written in scripts and shown in failures, and patterns over them.

use crate::outcome::{Checked, Stop};
use std::fmt::Write;

/// How many bytes of a packet a failure shows.
const SHOWN_MAX: usize = 48;

/// Bytes as `40 02 00 01`; a long run is cut, with its length.
pub fn show(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (at, byte) in bytes.iter().take(SHOWN_MAX).enumerate() {
        let space = if at > 0 { " " } else { "" };
        // Writing to a String cannot fail.
        let _ = write!(text, "{space}{byte:02x}");
    }
    if bytes.len() > SHOWN_MAX {
        let _ = write!(text, " .. ({} bytes)", bytes.len());
    }
    text
}

/// Reads `40 02 00 01`; white space is free.
///
/// # Errors
/// What is not a hex digit, or half a byte.
pub fn parse(text: &str) -> Checked<Vec<u8>> {
    text.split_whitespace().map(byte).collect()
}

fn byte(word: &str) -> Checked<u8> {
    match word.len() {
        2 => u8::from_str_radix(word, 16).map_err(|_| Stop::failed(format!("{word:?} is not a byte in hex"))),
        _ => Err(Stop::failed(format!("{word:?} is not one byte in hex"))),
    }
}

/// A pattern over the bytes of one packet: hex bytes, `..` for any byte, and `*` at the end for any rest.
#[derive(Debug, Clone)]
pub struct Pattern {
    text: String,
    bytes: Vec<Option<u8>>,
    open: bool,
}

impl Pattern {
    /// # Errors
    /// As [`parse`].
    pub fn new(text: &str) -> Checked<Self> {
        let open = text.ends_with('*');
        let words = text.trim_end_matches('*').split_whitespace();
        let bytes = words.map(|word| if word == ".." { Ok(None) } else { byte(word).map(Some) }).collect::<Checked<_>>()?;
        Ok(Self { text: text.to_owned(), bytes, open })
    }

    pub fn matches(&self, packet: &[u8]) -> bool {
        let long_enough = if self.open { packet.len() >= self.bytes.len() } else { packet.len() == self.bytes.len() };
        long_enough && self.bytes.iter().zip(packet).all(|(expected, seen)| expected.is_none_or(|byte| byte == *seen))
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_has_fixed_bytes_any_bytes_and_an_open_end() {
        let suback = Pattern::new("90 03 .. .. 00").unwrap();
        assert!(suback.matches(&[0x90, 3, 9, 9, 0]) && !suback.matches(&[0x90, 3, 9, 9, 1]) && !suback.matches(&[0x90, 3, 9, 9]));
        let publish = Pattern::new("30 *").unwrap();
        assert!(publish.matches(&[0x30, 0]) && !publish.matches(&[0x31, 0]));
        assert!(Pattern::new("4").is_err() && Pattern::new("zz").is_err());
    }

    #[test]
    fn long_bytes_are_shown_cut_with_their_length() {
        assert_eq!(show(&[0x40, 0x02]), "40 02");
        assert!(show(&[0; 100]).ends_with("00 .. (100 bytes)"));
    }
}
