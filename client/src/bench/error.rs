//! Why a measurement could not be made.

use std::fmt;
use std::io;

/// Why a measurement could not be made.
#[derive(Debug)]
#[non_exhaustive]
pub enum BenchError {
    /// A plan, target or flag that makes no sense; the text names it.
    Usage(String),
    /// The target could not be started or did not come up.
    Start(String),
    /// No connection, or one that was refused.
    Connect(String),
    /// A connection that ended, or a server that did not keep to the protocol.
    Lost(String),
    /// The server did nothing for too long.
    Silent(String),
    /// The machine has no more of something.
    System(String),
}

impl BenchError {
    pub(super) fn system(what: &str) -> impl Fn(io::Error) -> Self {
        move |error| Self::System(format!("{what}: {error}"))
    }
}

impl fmt::Display for BenchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text) | Self::Start(text) | Self::Connect(text) | Self::Lost(text) | Self::Silent(text) | Self::System(text) => {
                f.write_str(text)
            }
        }
    }
}

impl std::error::Error for BenchError {}
