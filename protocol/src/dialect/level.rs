//! The protocol names and levels: how a CONNECT says its dialect. The only place that sees them.

use super::read::BadConnect;
use super::{Dialect, LEVEL, NAME};
use crate::codec::cursor::Reader;
use crate::codec::error::Malformed;
use crate::packet::reason::{REASONS, Reason};

/// The protocol name and level that a CONNECT of this dialect begins with.
pub const fn name_and_level(dialect: Dialect) -> (&'static str, u8) {
    match dialect {
        Dialect::V31 => ("MQIsdp", 3),
        Dialect::V311 => ("MQTT", 4),
        Dialect::Extended => (NAME, LEVEL),
    }
}

/// Reads protocol name and level.
///
/// # Errors
/// A name that is not known is malformed; a level of a known name that is not served is told apart, because 3.1.1 has
/// an answer to it.
pub fn dialect_of(reader: &mut Reader<'_>) -> Result<Dialect, BadConnect> {
    let name = reader.text()?;
    let known = Dialect::ALL.into_iter().find(|dialect| name_and_level(*dialect).0 == name);
    let dialect = known.ok_or(Malformed::ProtocolName)?;
    match reader.u8()? {
        level if level == name_and_level(dialect).1 => Ok(dialect),
        level => Err(BadConnect::UnsupportedLevel(level)),
    }
}

/// The reason that a return code of a 3.1.1 CONNACK stands for.
pub fn reason_of_return_code(code: u8) -> Option<Reason> {
    match code {
        0 => Some(Reason::SUCCESS),
        // Several reasons are lowered to one code; the first of MQTT 5's own numbers is what the code means.
        1..=5 => REASONS.iter().find(|row| row.connack_v311 == Some(code)).map(|row| row.reason),
        _ => None,
    }
}
