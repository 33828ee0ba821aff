//! What outlives the process: an engine keeps records, says truthfully how durable they are, and gives back what is owed.
//! What a queue means (order, expiry, limits, overflow) is decided above, in `queue.rs` and the shards; engines only keep.
//!
//! ```text
//!  shard 0 --Batch--.                      .--> Receipt --> shard 0: acknowledgements, PUBREL, PUBCOMP, deliveries at QoS 2
//!                    +--> Engine::keep ---+
//!  shard n --Batch--'   all that waited,   '--> Receipt --> shard n
//!                        in one fsync
//! ```
//!
//! **A batch is one turn of one shard, and it is atomic**: after a crash all of its records are there, or none. Batches of one
//! shard are kept in their order, and a batch that was handed over before another was begun is kept before it; so a record may
//! refer to anything that a batch before it has named.
//!
//! **A receipt is the only reason for an acknowledgement.** Whatever waits for a batch waits in the shard, under the batch's
//! turn, until the receipt of that turn says what was reached. That is so with every engine: the one in memory answers at once,
//! and a test has one that answers turns later.
//!
//! | what | where |
//! | --- | --- |
//! | what can be kept | [`record`] |
//! | what records add up to: sessions, queues, retained messages, wills | [`state`] |
//! | what of a shard waits for a receipt | [`keeper`] |
//! | an engine that keeps nothing over a restart | [`memory`] |
//! | the engine on a disk of its own: a segment log | [`embedded`] |
//! | how an engine is opened when a broker starts | [`open`] |
//! | what a data directory holds, for people | [`inspect`] |
//! | what every engine must pass | [`suite`] |

pub mod codec;
pub mod embedded;
pub mod files;
pub mod inspect;
pub mod keeper;
mod log;
pub mod memory;
pub mod open;
pub mod record;
pub mod state;
pub mod suite;

#[cfg(test)]
mod samples;

pub use keeper::{Keeper, Reached};
pub use open::{DataDir, OpenEngine};
pub use record::{MessageNumber, Record, SessionNumber};

use crate::message::Envelope;
use candor_protocol::packet::Durability;
use std::fmt;

/// The records of one turn of one shard: all of them are kept, or none.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Batch {
    pub shard: u16,
    /// Counts the batches of the shard.
    pub turn: u64,
    pub records: Vec<Record>,
    /// The shard knew before the first of them that nothing was kept, so that none rests on what failed.
    pub knows_failure: bool,
    /// When the turn was, in milliseconds since 1970; 0: nobody said. For people.
    pub unix_ms: u64,
}

/// What became of all batches of a shard up to `turn`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    pub shard: u16,
    pub turn: u64,
    /// The durability that was really reached.
    pub reached: Result<Durability, StoreError>,
}

/// Something that keeps records. Its methods block; it has a thread of its own.
pub trait Engine: fmt::Debug + Send {
    /// What a kept record survives. Never more than the engine proves.
    fn durability(&self) -> Durability;

    /// Keeps batches: when it returns, they are as durable as [`Engine::durability`] says, each whole. One call is one group:
    /// its cost is shared by all batches in it.
    ///
    /// # Errors
    /// None of the batches may be believed to be kept, and nothing more is kept until [`Engine::mend`] has succeeded. The engine
    /// still holds the records that nobody waits for, so that they are kept when it is mended.
    fn keep(&mut self, batches: &[Batch]) -> Result<Durability, StoreError>;

    /// Tries to become able again after a failure: a disk that has room again, a file system that can be written again.
    ///
    /// # Errors
    /// What is still wrong; everything stays as it was.
    fn mend(&mut self) -> Result<(), StoreError>;

    /// A message that was kept; `None`: nobody is owed it any more.
    ///
    /// # Errors
    /// It cannot be read.
    fn read(&mut self, message: MessageNumber) -> Result<Option<Envelope>, StoreError>;

    /// What is owed, as it follows from the records.
    fn state(&self) -> &state::State;

    /// Gives back space that nothing owed stands in: one bounded step of it; whether there is more to do.
    ///
    /// # Errors
    /// As of [`Engine::keep`].
    fn tidy(&mut self) -> Result<bool, StoreError>;

    /// How much is kept, and where.
    fn usage(&self) -> Usage;
}

/// How much is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of all files.
    pub bytes: u64,
    /// Bytes of what is owed.
    pub owed_bytes: u64,
    pub messages: u64,
    pub sessions: u64,
    /// Files that messages stand in.
    pub segments: u64,
}

/// Why nothing can be kept. The text is for the operator's log; a client is told less.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreError {
    /// No space: with the file, and what the system said.
    Full { file: String, what: String },
    /// The system refused or failed: with the file, and what it said.
    Failed { file: String, what: String },
    /// The bytes of a file are not what was written: with the file and the offset.
    Damaged { file: String, offset: u64, what: String },
    /// It failed before, and was not mended.
    NotMended,
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full { file, what } => write!(f, "no space for {file}: {what}"),
            Self::Failed { file, what } => write!(f, "{file}: {what}"),
            Self::Damaged { file, offset, what } => write!(f, "{file} is damaged at byte {offset}: {what}"),
            Self::NotMended => f.write_str("the store failed before and is not mended"),
        }
    }
}

impl std::error::Error for StoreError {}
