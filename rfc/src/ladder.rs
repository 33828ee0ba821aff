//! A recorded exchange as figures for a text of 72 columns: a ladder of arrows, and the bytes with what they mean.

use crate::exchange::{Annotation, Exchange, Side, Step};
use crate::wrap::wrap;
use candor_protocol::annotate;

/// The most columns of a figure: a draft has 72, of which three are its margin.
pub const WIDTH: usize = 69;

/// How many bytes stand in one line beside what they mean.
const BYTES_PER_LINE: usize = 6;
/// How many bytes stand in one line of a step without annotations.
const BYTES_PER_BARE_LINE: usize = 12;
/// The columns before the meaning of bytes: offset, bytes, and the space between.
const MEANING_AT: usize = 5 + 3 * BYTES_PER_LINE + 1;

/// The ladder: the client on the left, the server on the right, an arrow for every step.
pub fn ladder(exchange: &Exchange) -> String {
    let gutter = if exchange.steps.iter().any(|step| step.at_ms.is_some()) { 11 } else { 2 };
    let inner = WIDTH - gutter - 4;
    let mut out = format!("{:gutter$}{:<width$}{:>6}\n", "", "Client", "Server", width = inner + 4 - 6, gutter = gutter - 2);
    let line = |left: &str, text: &str| format!("{left:>width$} | {text:<inner$}|\n", width = gutter - 2).replace(" \n", "\n");
    out += &line("", "");
    for (at, step) in exchange.steps.iter().enumerate() {
        let time = step.at_ms.map_or(String::new(), |at_ms| format!("{at_ms} ms"));
        for (row, text) in words(step, at + 1, inner - 1).iter().enumerate() {
            out += &line(if row == 0 { &time } else { "" }, text);
        }
        if !step.hex.is_empty() {
            out += &format!("{:gutter$}|{}|\n", "", arrow(step.from, '-', inner + 1), gutter = gutter - 1);
        }
        if step.closes {
            out += &format!("{:gutter$}|{}|\n", "", arrow(step.from, '=', inner + 1), gutter = gutter - 1);
        }
        out += &line("", "");
    }
    out
}

/// What stands above the arrow of a step.
fn words(step: &Step, number: usize, width: usize) -> Vec<String> {
    let mut packets = match &step.summary {
        Some(summary) => vec![summary.clone()],
        None => summaries(step),
    };
    if step.closes {
        packets.push("closes the connection".to_owned());
    }
    let label = format!("[{number}] ");
    let indent = " ".repeat(label.len());
    let mut lines: Vec<String> = packets.iter().flat_map(|packet| wrap(packet, width - label.len())).collect();
    lines.extend(step.note.iter().flat_map(|note| wrap(&format!("({note})"), width - label.len())));
    lines.iter().enumerate().map(|(row, text)| format!("{}{text}", if row == 0 { &label } else { &indent })).collect()
}

/// One line for every packet of a step.
fn summaries(step: &Step) -> Vec<String> {
    let (bytes, sender) = (step.bytes(), step.from.role());
    let packets = annotate::packets(step.dialect.0, sender, &bytes);
    packets.iter().map(|packet| annotate::summary_of(packet, sender, bytes.get(packet.range.clone()).unwrap_or_default())).collect()
}

/// An arrow of `width` columns.
fn arrow(from: Side, with: char, width: usize) -> String {
    let shaft = with.to_string().repeat(width - 1);
    match from {
        Side::Client => format!("{shaft}>"),
        Side::Server => format!("<{shaft}"),
    }
}

/// The bytes of every step, each line with its offset and what the bytes mean.
pub fn bytes(exchange: &Exchange) -> String {
    let steps = exchange.steps.iter().enumerate().filter(|(_, step)| !step.hex.is_empty());
    let blocks = steps.map(|(at, step)| {
        let (from, to, bytes) = (step.from.name(), step.from.other().name(), step.bytes());
        let plural = if bytes.len() == 1 { "" } else { "s" };
        let heading = format!("[{}] {from} to {to}, dialect {}, {} byte{plural}\n", at + 1, step.dialect.0, bytes.len());
        heading + &step_bytes(step, &bytes)
    });
    blocks.collect::<Vec<_>>().join("\n")
}

fn step_bytes(step: &Step, bytes: &[u8]) -> String {
    if step.annotations.is_empty() {
        return rows(bytes, 0, bytes.len(), &[], BYTES_PER_BARE_LINE);
    }
    let mut out = String::new();
    let mut at = 0;
    for one in &step.annotations {
        out += &rows(bytes, at, one.offset, &[], BYTES_PER_LINE);
        let meaning = wrap(&meaning(one), WIDTH - MEANING_AT - 2);
        out += &rows(bytes, one.offset, one.offset + one.len, &meaning, BYTES_PER_LINE);
        at = one.offset + one.len;
    }
    out + &rows(bytes, at, bytes.len(), &[], BYTES_PER_LINE)
}

fn meaning(one: &Annotation) -> String {
    let mut text = one.name.clone();
    if !one.value.is_empty() {
        text += &format!(": {}", one.value);
    }
    if !one.source.is_empty() {
        text += &format!(" [{}]", one.source);
    }
    text
}

/// The bytes from `from` to `to` beside `meaning`, whose further lines are indented. Without a meaning, the bytes as
/// ASCII stand in its place.
fn rows(bytes: &[u8], from: usize, to: usize, meaning: &[String], per_line: usize) -> String {
    let part = bytes.get(from..to).unwrap_or_default();
    let count = part.len().div_ceil(per_line).max(meaning.len());
    let mut out = String::new();
    for row in 0..count {
        let chunk = part.chunks(per_line).nth(row).unwrap_or_default();
        let offset = if chunk.is_empty() { String::new() } else { format!("{:04x}", from + row * per_line) };
        let hex: String = chunk.iter().map(|byte| format!(" {byte:02x}")).collect();
        let text = match (meaning.is_empty(), meaning.get(row)) {
            (true, _) => {
                format!("|{}|", chunk.iter().map(|byte| if byte.is_ascii_graphic() { char::from(*byte) } else { '.' }).collect::<String>())
            }
            (false, Some(text)) => format!("{}{text}", if row == 0 { "" } else { "  " }),
            (false, None) => String::new(),
        };
        let line = format!("{offset:<4}{hex:<width$} {text}", width = 3 * per_line);
        out += line.trim_end();
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange(steps: &str) -> Exchange {
        Exchange::parse(&format!(r#"{{"title": "t", "test": "a::b", "steps": [{steps}]}}"#)).unwrap()
    }

    const REFUSED: &str = r#"
        {"from": "client", "dialect": "extended", "hex": "320a0003612f620001006869", "at_ms": 0},
        {"from": "server", "dialect": "extended", "hex": "4003000187", "at_ms": 120, "note": "the rule is not disclosed"},
        {"from": "server", "dialect": "extended", "closes": true, "at_ms": 1200}"#;

    #[test]
    fn a_ladder_has_an_arrow_for_every_step() {
        let expected = [
            "         Client                                              Server",
            "          |                                                       |",
            "     0 ms | [1] PUBLISH id 1 \"a/b\": QoS 1, \"hi\"                   |",
            "          |------------------------------------------------------>|",
            "          |                                                       |",
            "   120 ms | [2] PUBACK id 1: not authorized (0x87)                |",
            "          |     (the rule is not disclosed)                       |",
            "          |<------------------------------------------------------|",
            "          |                                                       |",
            "  1200 ms | [3] closes the connection                             |",
            "          |<======================================================|",
            "          |                                                       |",
        ];
        assert_eq!(ladder(&exchange(REFUSED)).lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_ladder_without_times_is_wider() {
        let long = format!(r#"{{"from": "client", "dialect": "3.1.1", "hex": "c000", "summary": "{}"}}"#, "word ".repeat(40));
        let drawn = ladder(&exchange(&long));
        assert!(drawn.lines().all(|line| line.len() <= WIDTH), "{drawn}");
        assert_eq!(drawn.lines().filter(|line| line.contains("word")).count(), 4, "{drawn}");
        assert!(drawn.starts_with("Client") && drawn.lines().nth(1).unwrap().starts_with(" |"), "{drawn}");
    }

    #[test]
    fn several_packets_of_one_write_stand_above_one_arrow() {
        let drawn = ladder(&exchange(r#"{"from": "client", "dialect": "3.1.1", "hex": "c000e000"}"#));
        assert!(drawn.contains("| [1] PINGREQ ") && drawn.contains("|     DISCONNECT "), "{drawn}");
        assert_eq!(drawn.lines().filter(|line| line.contains("->")).count(), 1, "{drawn}");
    }

    #[test]
    fn bytes_stand_beside_what_they_mean() {
        let annotated = r#"{"from": "client", "dialect": "extended", "hex": "320a0003612f620001006869", "annotations": [
            {"offset": 0, "len": 1, "name": "fixed header", "value": "PUBLISH, QoS 1", "source": "MQTT 3.3.1"},
            {"offset": 2, "len": 7, "name": "topic name and packet identifier, which together are longer than one line"}
        ]}"#;
        let expected = [
            "[1] client to server, dialect extended, 12 bytes",
            "0000 32                fixed header: PUBLISH, QoS 1 [MQTT 3.3.1]",
            "0001 0a                |.|",
            "0002 00 03 61 2f 62 00 topic name and packet identifier, which",
            "0008 01                  together are longer than one line",
            "0009 00 68 69          |.hi|",
        ];
        assert_eq!(bytes(&exchange(annotated)).lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_step_that_only_closes_has_no_bytes() {
        let said = bytes(&exchange(REFUSED));
        assert!(
            said.contains("[2] server to client, dialect extended, 5 bytes\n0000 40 03 00 01 87                      |@....|\n"),
            "{said}"
        );
        assert!(!said.contains("[3]"), "{said}");
    }
}
