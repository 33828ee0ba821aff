//! What was said on a connection: the packets as they went over the wire, with who sent them and when.

use crate::dialect::Dialect;
use crate::packet::legality::Role;
use bytes::Bytes;
use std::fmt;

/// One packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub from: Role,
    pub dialect: Dialect,
    /// Milliseconds since the connection was made.
    pub at_ms: u64,
    pub bytes: Bytes,
}

/// The packets of a connection in the order they were sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exchange {
    pub steps: Vec<Step>,
}

impl Exchange {
    pub(super) fn record(&mut self, from: Role, dialect: Dialect, at_ms: u64, bytes: &[u8]) {
        self.steps.push(Step { from, dialect, at_ms, bytes: Bytes::copy_from_slice(bytes) });
    }

    /// The bytes that one end sent.
    pub fn sent_by(&self, role: Role) -> Vec<u8> {
        self.steps.iter().filter(|step| step.from == role).flat_map(|step| step.bytes.iter().copied()).collect()
    }
}

/// One line a packet: the direction and the bytes.
impl fmt::Display for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            f.write_str(match step.from {
                Role::Client => "C ->",
                Role::Server => "  <- S",
            })?;
            step.bytes.iter().try_for_each(|byte| write!(f, " {byte:02x}"))?;
            writeln!(f)?;
        }
        Ok(())
    }
}
