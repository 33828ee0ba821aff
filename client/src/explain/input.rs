//! From what was given to the bytes of packets: raw, or written in hexadecimal.

use std::fmt;

/// The most bytes of input. It bounds what a hostile capture can make the explanation take.
pub const INPUT_LEN_MAX: usize = 16 * 1024 * 1024;

/// How the input is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum InputForm {
    /// Hexadecimal if it is text, else raw bytes. No packet is text: its fixed header, its lengths or its packet
    /// identifier hold bytes that no text has.
    #[default]
    Detect,
    Hexadecimal,
    Raw,
}

/// Why the input is not bytes of packets.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BadInput {
    /// There is no byte in it.
    Empty,
    /// It is longer than [`INPUT_LEN_MAX`].
    TooLong { len: usize },
    /// A character is neither a digit nor a separator. Line and column count from 1, in characters.
    Character { character: char, line: usize, column: usize },
    /// A byte is neither; where hexadecimal was demanded and the input is no text. `offset` counts from 0.
    Byte { byte: u8, offset: usize },
    /// A group of digits has an odd number of them, so that one has no pair; the place is that of the last digit.
    LoneDigit { digit: char, line: usize, column: usize },
}

impl fmt::Display for BadInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const ALLOWED: &str = "allowed are the digits 0-9, a-f and A-F, and between bytes spaces, line ends, `0x`, `:`, `,` and `|`";
        match self {
            BadInput::Empty => f.write_str("there is no byte to explain; give hexadecimal digits, a file, or standard input"),
            BadInput::TooLong { len } => write!(f, "the input has {len} bytes; explain takes at most {INPUT_LEN_MAX}"),
            BadInput::Character { character, line, column } => {
                write!(f, "line {line}, column {column}: {character:?} is no hexadecimal digit; {ALLOWED}")
            }
            BadInput::Byte { byte, offset } => write!(f, "byte {offset} of the input: 0x{byte:02x} is no text; {ALLOWED}"),
            BadInput::LoneDigit { digit, line, column } => {
                write!(f, "line {line}, column {column}: the digit {digit:?} has no pair; every byte is written with two digits")
            }
        }
    }
}

impl std::error::Error for BadInput {}

/// The bytes that `input` stands for.
pub(super) fn decode(input: &[u8], form: InputForm) -> Result<Vec<u8>, BadInput> {
    if input.len() > INPUT_LEN_MAX {
        return Err(BadInput::TooLong { len: input.len() });
    }
    let bytes = match (form, readable(input)) {
        (InputForm::Raw, _) | (InputForm::Detect, Err(_)) => input.to_vec(),
        (_, Ok(text)) => hexadecimal(text)?,
        (InputForm::Hexadecimal, Err(offset)) => return Err(BadInput::Byte { byte: input[offset], offset }),
    };
    if bytes.is_empty() { Err(BadInput::Empty) } else { Ok(bytes) }
}

/// The input as text without control characters but line ends and tabs, else the offset of the first byte that is none.
fn readable(input: &[u8]) -> Result<&str, usize> {
    let text = std::str::from_utf8(input).map_err(|error| error.valid_up_to())?;
    match text.char_indices().find(|(_, c)| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
        None => Ok(text.strip_prefix('\u{feff}').unwrap_or(text)),
        Some((offset, _)) => Err(offset),
    }
}

fn hexadecimal(text: &str) -> Result<Vec<u8>, BadInput> {
    let mut bytes = Vec::with_capacity(text.len() / 2);
    for (index, line) in text.lines().enumerate() {
        hexadecimal_line(line, index + 1, &mut bytes)?;
    }
    Ok(bytes)
}

/// A byte never goes over the end of a line or over a separator.
fn hexadecimal_line(text: &str, line: usize, bytes: &mut Vec<u8>) -> Result<(), BadInput> {
    let mut high: Option<(u8, char, usize)> = None;
    let mut characters = text.chars().zip(1..).peekable();
    while let Some((character, column)) = characters.next() {
        let starts_prefix = character == '0' && high.is_none() && matches!(characters.peek(), Some(('x' | 'X', _)));
        if starts_prefix {
            characters.next();
            continue;
        }
        match (character.to_digit(16), high.take()) {
            (Some(digit), None) => high = Some((digit as u8, character, column)),
            (Some(digit), Some((first, ..))) => bytes.push(first << 4 | digit as u8),
            (None, lone) if character.is_whitespace() || matches!(character, ':' | ',' | '|') => lone_digit(lone, line)?,
            (None, _) => return Err(BadInput::Character { character, line, column }),
        }
    }
    lone_digit(high, line)
}

fn lone_digit(lone: Option<(u8, char, usize)>, line: usize) -> Result<(), BadInput> {
    lone.map_or(Ok(()), |(_, digit, column)| Err(BadInput::LoneDigit { digit, line, column }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detect(input: &[u8]) -> Result<Vec<u8>, BadInput> {
        decode(input, InputForm::Detect)
    }

    #[test]
    fn hexadecimal_is_read_as_people_write_it() {
        for text in ["c000", "C0 00", "c0:00", "0xc0, 0x00", "0xC000", "| c0 | 00 |\r\n", "\u{feff}c0\n\t00\n", "c0\u{a0}00"] {
            assert_eq!(detect(text.as_bytes()), Ok(vec![0xC0, 0x00]), "{text:?}");
        }
    }

    #[test]
    fn raw_bytes_are_told_from_text() {
        assert_eq!(detect(&[0xC0, 0x00]), Ok(vec![0xC0, 0x00]));
        assert_eq!(detect(b"\x10\x0c\x00\x04MQTT"), Ok(b"\x10\x0c\x00\x04MQTT".to_vec()));
        assert_eq!(decode(b"00", InputForm::Raw), Ok(b"00".to_vec()));
        assert_eq!(decode(&[0x30, 0x31, 0xC0], InputForm::Hexadecimal), Err(BadInput::Byte { byte: 0xC0, offset: 2 }));
    }

    #[test]
    fn the_offending_character_is_named_with_its_place() {
        assert_eq!(detect(b"c0 00\n40 0g"), Err(BadInput::Character { character: 'g', line: 2, column: 5 }));
        assert_eq!(detect("c0–00".as_bytes()), Err(BadInput::Character { character: '–', line: 1, column: 3 }));
        assert_eq!(detect(b"c0 0 c0"), Err(BadInput::LoneDigit { digit: '0', line: 1, column: 4 }));
        assert_eq!(detect(b"c00"), Err(BadInput::LoneDigit { digit: '0', line: 1, column: 3 }));
        assert_eq!(detect(b"c\n0"), Err(BadInput::LoneDigit { digit: 'c', line: 1, column: 1 }));
        assert_eq!(detect(b" \n:"), Err(BadInput::Empty));
        assert_eq!(detect(b"0x"), Err(BadInput::Empty));
        assert_eq!(detect(&vec![b' '; INPUT_LEN_MAX + 1]), Err(BadInput::TooLong { len: INPUT_LEN_MAX + 1 }));
        let said = detect(b"c0 0g").unwrap_err().to_string();
        assert!(said.starts_with("line 1, column 5: 'g' is no hexadecimal digit; allowed are"), "{said}");
    }
}
