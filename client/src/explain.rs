//! `candor explain`: what the bytes of packets mean, for people and for programs.
//!
//! ```text
//! input -> input.rs (hexadecimal or raw) -> plan.rs (dialect and sender) -> annotate, packet by packet
//!                                                                             -> text.rs or json.rs -> out
//! ```
//!
//! One packet is annotated and written at a time, so that memory follows the largest packet and not the input.

mod input;
mod json;
mod layout;
mod plan;
mod text;

pub use input::{BadInput, INPUT_LEN_MAX, InputForm};

use candor_protocol::annotate::{Annotated, Fault, summary_of};
use candor_protocol::dialect::Dialect;
use candor_protocol::packet::legality::Role;
use plan::Plan;
use std::io::{self, Write};
use std::str::FromStr;

/// What to explain, and how.
#[derive(Debug, Clone, Default)]
pub struct ExplainOptions {
    pub dialect: DialectChoice,
    pub sender: SenderChoice,
    pub form: InputForm,
    pub output: Output,
    /// Whether passwords are shown. Explanations are made to be passed on, so they are hidden by default.
    pub show_secrets: bool,
}

/// `--dialect`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DialectChoice {
    /// From a CONNECT in the input, else the one in which the packets are well formed.
    #[default]
    Auto,
    Given(Dialect),
}

impl FromStr for DialectChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(DialectChoice::Auto);
        }
        let given = Dialect::ALL.into_iter().find(|dialect| dialect.name() == text);
        given.map(DialectChoice::Given).ok_or_else(|| format!("`{text}` is not a dialect; allowed: auto, 3.1, 3.1.1, extended"))
    }
}

/// `--sender`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SenderChoice {
    /// As the packet types tell; where they do not, what depends on the sender is not judged.
    #[default]
    Auto,
    Given(Role),
}

impl FromStr for SenderChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(SenderChoice::Auto),
            "client" => Ok(SenderChoice::Given(Role::Client)),
            "server" => Ok(SenderChoice::Given(Role::Server)),
            _ => Err(format!("`{text}` is not a sender; allowed: auto, client, server")),
        }
    }
}

/// The form of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// For people: aligned columns.
    Text {
        /// How many columns there are; from 60 to 100 are used.
        width: usize,
        /// Whether to use the colours of a terminal.
        color: bool,
        /// Whether to leave out the single bits and the meanings from the tables.
        brief: bool,
    },
    /// For programs: one JSON object.
    Json,
}

impl Default for Output {
    fn default() -> Self {
        Output::Text { width: 100, color: false, brief: false }
    }
}

/// How an explanation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Explained {
    /// Every packet is whole, well formed, and nothing in it would be refused.
    WellFormed,
    /// Something is wrong with a packet: it is malformed, incomplete, or its receiver would refuse it.
    Faulty,
    /// The input is not bytes of packets. The message belongs on standard error; as JSON it is written to `out` too.
    Unusable(BadInput),
}

impl Explained {
    /// The status that a process ends with.
    pub const fn exit_status(&self) -> u8 {
        match self {
            Explained::WellFormed => 0,
            Explained::Faulty => 1,
            Explained::Unusable(_) => 2,
        }
    }
}

/// Explains the packets in `input`: raw bytes, or hexadecimal digits with whatever usually stands between them.
///
/// # Errors
/// Those of writing to `out`.
pub fn run(options: &ExplainOptions, input: &[u8], out: &mut dyn Write) -> io::Result<Explained> {
    let bytes = match input::decode(input, options.form) {
        Ok(bytes) => bytes,
        Err(error) => {
            if options.output == Output::Json {
                json::unusable(&error, out)?;
            }
            return Ok(Explained::Unusable(error));
        }
    };
    let plan = Plan::of(options.dialect, options.sender, &bytes);
    let mut writer: Box<dyn PacketWriter + '_> = match options.output {
        Output::Json => Box::new(json::Writer::new(options.show_secrets)),
        Output::Text { width, color, brief } => Box::new(text::Writer::new(layout::Style::new(width, color, brief), options.show_secrets)),
    };
    writer.start(&plan, bytes.len(), out)?;
    let mut tally = Tally::default();
    for packet in plan.packets(&bytes) {
        let raw = &bytes[packet.annotated.range.clone()];
        tally.count(&packet.annotated);
        let explained = Packet {
            number: tally.packets,
            sender: packet.sender,
            summary: summary_of(&packet.annotated, packet.sender, raw),
            switch: packet.switch,
            annotated: &packet.annotated,
            raw,
        };
        writer.packet(&explained, out)?;
    }
    writer.finish(&tally, out)?;
    out.flush()?;
    Ok(if tally.is_clean() { Explained::WellFormed } else { Explained::Faulty })
}

/// One packet, ready to be written.
struct Packet<'a> {
    /// From 1.
    number: usize,
    sender: Option<Role>,
    summary: String,
    /// Why the dialect is another one from here on.
    switch: Option<&'static str>,
    annotated: &'a Annotated,
    raw: &'a [u8],
}

/// How many packets there were, and how many had which fault. A packet counts once, for the worst.
#[derive(Debug, Default)]
struct Tally {
    packets: usize,
    malformed: usize,
    refused: usize,
    incomplete: usize,
    /// How many bytes the last packet lacks, where that is known.
    missing: Option<usize>,
}

impl Tally {
    fn count(&mut self, annotated: &Annotated) {
        self.packets += 1;
        let faults: Vec<Fault> = annotated.faults().map(|(fault, _)| fault).collect();
        for fault in &faults {
            if let Fault::Incomplete { missing } = fault {
                self.missing = *missing;
            }
        }
        if faults.iter().any(|fault| fault.is_malformed()) {
            self.malformed += 1;
        } else if faults.iter().any(|fault| matches!(fault, Fault::Incomplete { .. })) {
            self.incomplete += 1;
        } else if !faults.is_empty() {
            self.refused += 1;
        }
    }

    fn is_clean(&self) -> bool {
        (self.malformed, self.refused, self.incomplete) == (0, 0, 0)
    }
}

/// A form of output, written as the packets come.
trait PacketWriter {
    fn start(&mut self, plan: &Plan, len: usize, out: &mut dyn Write) -> io::Result<()>;
    fn packet(&mut self, packet: &Packet<'_>, out: &mut dyn Write) -> io::Result<()>;
    fn finish(&mut self, tally: &Tally, out: &mut dyn Write) -> io::Result<()>;
}

const fn sender_name(sender: Role) -> &'static str {
    match sender {
        Role::Client => "client",
        Role::Server => "server",
    }
}
