//! The explanation for programs: one JSON object, with what the text shows and every byte.

use super::plan::{Plan, Sender};
use super::{BadInput, Packet, PacketWriter, Tally, sender_name};
use candor_protocol::annotate::{Annotation, Fault, Part};
use serde::Serialize;
use std::io::{self, Write};

/// Writes the object piece by piece, so that no more than one packet is held.
pub(super) struct Writer {
    show_secrets: bool,
}

impl Writer {
    pub(super) fn new(show_secrets: bool) -> Self {
        Self { show_secrets }
    }
}

impl PacketWriter for Writer {
    fn start(&mut self, plan: &Plan, len: usize, out: &mut dyn Write) -> io::Result<()> {
        let sender = if let Sender::One(role) = plan.sender { Some(sender_name(role)) } else { None };
        let head = Head { length: len, dialect: plan.dialect.name(), dialect_why: &plan.dialect_why, sender, sender_why: &plan.sender_why };
        let head = serde_json::to_string(&head)?;
        // The object stays open for the packets.
        write!(out, "{},\n\"packets\":[", head.strip_suffix('}').unwrap_or(&head))
    }

    fn packet(&mut self, packet: &Packet<'_>, out: &mut dyn Write) -> io::Result<()> {
        let annotated = packet.annotated;
        let said = JsonPacket {
            number: packet.number,
            offset: annotated.range.start,
            length: annotated.range.len(),
            kind: annotated.kind.map(|kind| kind.name()),
            dialect: annotated.dialect.name(),
            dialect_switch: packet.switch,
            sender: packet.sender.map(sender_name),
            summary: &packet.summary,
            well_formed: annotated.is_well_formed(),
            annotations: annotated.annotations.iter().map(|row| self.row(row, packet)).collect(),
        };
        out.write_all(if packet.number == 1 { b"\n" } else { b",\n" })?;
        Ok(serde_json::to_writer(out, &said)?)
    }

    fn finish(&mut self, tally: &Tally, out: &mut dyn Write) -> io::Result<()> {
        let counts = Counts {
            packets: tally.packets,
            malformed: tally.malformed,
            refused: tally.refused,
            incomplete: tally.incomplete,
            missing_bytes: tally.missing,
        };
        writeln!(out, "\n],\n\"counts\":{}}}", serde_json::to_string(&counts)?)
    }
}

impl Writer {
    fn row<'a>(&self, row: &'a Annotation, packet: &Packet<'_>) -> Row<'a> {
        let hidden = row.secret && !self.show_secrets;
        let at = packet.annotated.range.start;
        let raw = &packet.raw[row.range.start - at..row.range.end - at];
        let mut said = Row {
            offset: row.range.start,
            length: row.range.len(),
            depth: row.depth,
            part: "field",
            hex: None,
            bits: None,
            name: &row.name,
            value: &row.value,
            meaning: (!row.meaning.is_empty()).then_some(&row.meaning),
            expected: None,
            source: row.source.map(|source| source.to_string()),
            key: None,
            critical: None,
            value_type: None,
            reason: None,
            missing_bytes: None,
            hidden,
        };
        match row.part {
            Part::Leaf => said.hex = (!hidden).then(|| raw.iter().map(|byte| format!("{byte:02x}")).collect()),
            Part::Bits { mask } => (said.part, said.bits) = ("bits", Some(format!("{mask:08b}"))),
            Part::Fault(fault) => {
                (said.part, said.expected, said.meaning) = ("fault", said.meaning, None);
                match fault {
                    Fault::Refused(reason) => said.reason = Some(reason.0),
                    Fault::Incomplete { missing } => said.missing_bytes = missing,
                    Fault::Malformed(error) => said.reason = Some(error.reason().0),
                    _ => {}
                }
            }
        }
        if let Some(entry) = &row.entry {
            (said.key, said.critical) = (Some(entry.key.as_str()), entry.critical);
            said.value_type = (!entry.value_type.is_empty()).then_some(entry.value_type);
        }
        said
    }
}

/// The object for input that is not bytes of packets.
pub(super) fn unusable(error: &BadInput, out: &mut dyn Write) -> io::Result<()> {
    #[derive(Serialize)]
    struct Unusable {
        unusable: String,
    }
    writeln!(out, "{}", serde_json::to_string(&Unusable { unusable: error.to_string() })?)
}

#[derive(Serialize)]
struct Head<'a> {
    length: usize,
    dialect: &'static str,
    dialect_why: &'a str,
    sender: Option<&'static str>,
    sender_why: &'a str,
}

#[derive(Serialize)]
struct JsonPacket<'a> {
    number: usize,
    offset: usize,
    length: usize,
    kind: Option<&'static str>,
    dialect: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    dialect_switch: Option<&'static str>,
    sender: Option<&'static str>,
    summary: &'a str,
    well_formed: bool,
    annotations: Vec<Row<'a>>,
}

/// One annotation. What does not apply is left out.
#[derive(Serialize)]
struct Row<'a> {
    offset: usize,
    length: usize,
    depth: u8,
    /// `field`, `bits` (of the field before it) or `fault` (in the field before it).
    part: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hex: Option<String>,
    /// Which bits of the byte, as eight binary digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    bits: Option<String>,
    name: &'a str,
    value: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    meaning: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expected: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    critical: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_type: Option<&'static str>,
    /// The reason that an extended peer is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    missing_bytes: Option<usize>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    hidden: bool,
}

#[derive(Serialize)]
struct Counts {
    packets: usize,
    malformed: usize,
    refused: usize,
    incomplete: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    missing_bytes: Option<usize>,
}
