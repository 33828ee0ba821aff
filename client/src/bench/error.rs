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

/// What the standard library's text of EMFILE ends with.
const TOO_MANY_FILES: &str = "(os error 24)";

impl BenchError {
    pub(super) fn system(what: &str) -> impl Fn(io::Error) -> Self {
        move |error| Self::System(format!("{what}: {error}"))
    }

    /// The same, with more to it.
    pub(super) fn and(mut self, more: &str) -> Self {
        let (Self::Usage(text) | Self::Start(text) | Self::Connect(text) | Self::Lost(text) | Self::Silent(text) | Self::System(text)) =
            &mut self;
        text.push_str("; ");
        text.push_str(more);
        self
    }
}

impl fmt::Display for BenchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text) | Self::Start(text) | Self::Connect(text) | Self::Lost(text) | Self::Silent(text) | Self::System(text) => {
                f.write_str(text)?;
                // Whatever met it: it is always the same that helps.
                if text.contains(TOO_MANY_FILES) { f.write_str("; raise `ulimit -n`") } else { Ok(()) }
            }
        }
    }
}

impl std::error::Error for BenchError {}
