//! Text and bytes of a peer, printed so that nothing in them can act on a terminal and nothing is longer than a few lines.

/// The most characters of text that are shown.
const CHARS_MAX: usize = 96;
/// The most bytes that are shown as hexadecimal.
const BYTES_MAX: usize = 16;

/// Text in quotes: control characters, direction marks and other characters without a shape of their own are escaped;
/// long text is shortened, with its length.
pub(super) fn quoted(text: &str) -> String {
    match text.char_indices().nth(CHARS_MAX) {
        None => in_quotes(text),
        Some((end, _)) => format!("{}… ({} bytes)", in_quotes(&text[..end]), text.len()),
    }
}

/// In double quotes; in single ones where that spares the escapes, as in JSON.
fn in_quotes(text: &str) -> String {
    let escaped = format!("{text:?}");
    if !text.contains('"') || text.contains('\'') {
        return escaped;
    }
    // In the escaped form every inner double quote stands behind its own backslash.
    format!("'{}'", escaped[1..escaped.len() - 1].replace("\\\"", "\""))
}

/// Text that may be none: quoted where it is UTF-8, else in hexadecimal.
pub(super) fn quoted_or_hex(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => quoted(text),
        Err(_) => hex(bytes),
    }
}

/// Bytes that may be text: quoted when every character can be read, else in hexadecimal.
pub(super) fn payload(bytes: &[u8]) -> String {
    let unreadable = |c: char| c.is_control() && !matches!(c, '\t' | '\n' | '\r');
    match std::str::from_utf8(bytes) {
        Ok("") => "empty".to_owned(),
        Ok(text) if !text.contains(unreadable) => quoted(text),
        _ => format!("{} ({})", hex(bytes), count(bytes.len(), "byte")),
    }
}

/// Hexadecimal digits as in CBOR's diagnostic notation (RFC 8949, section 8), shortened.
pub(super) fn hex(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(BYTES_MAX)];
    let digits: String = shown.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("h'{digits}{}'", if shown.len() < bytes.len() { "…" } else { "" })
}

/// A number with its noun, which takes an `s` unless the number is 1.
pub(super) fn count(number: usize, noun: &str) -> String {
    match (number, noun.strip_suffix('y')) {
        (1, _) => format!("1 {noun}"),
        (_, Some(stem)) => format!("{number} {stem}ies"),
        _ => format!("{number} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_a_peer_wrote_can_act_on_a_terminal() {
        assert_eq!(quoted("a\u{1b}[31m\u{202e}\u{200b}\u{9b}\n\"'"), r#""a\u{1b}[31m\u{202e}\u{200b}\u{9b}\n\"'""#);
        assert_eq!(quoted("\\\""), r#"'\\"'"#);
        assert_eq!(quoted("Zähler/λ/温度"), "\"Zähler/λ/温度\"");
    }

    #[test]
    fn long_values_are_shortened_and_tell_their_length() {
        assert_eq!(quoted(&"x".repeat(96)), format!("\"{}\"", "x".repeat(96)));
        assert_eq!(quoted(&"λ".repeat(97)), format!("\"{}\"… (194 bytes)", "λ".repeat(96)));
        assert_eq!(hex(&[0xAB; 17]), format!("h'{}…'", "ab".repeat(16)));
    }

    #[test]
    fn a_payload_is_text_only_where_all_of_it_can_be_read() {
        assert_eq!(payload(b"{\"on\":true}\n"), r#"'{"on":true}\n'"#);
        assert_eq!(payload(b"\x01\x02"), "h'0102' (2 bytes)");
        assert_eq!(payload(b"\xFF"), "h'ff' (1 byte)");
        assert_eq!(payload(b""), "empty");
        assert_eq!((count(1, "entry"), count(2, "entry"), count(0, "byte")), ("1 entry".into(), "2 entries".into(), "0 bytes".into()));
    }
}
