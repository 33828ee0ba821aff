//! What records add up to: a pure fold over them, the same for every engine, for recovery and for `inspect`.
//!
//! | what | where |
//! | --- | --- |
//! | the fold | `apply` |
//! | what steps do to one session | `session` |
//! | what is bounded: verdicts, reasons of ends, cleared topics | `bounds` |
//! | a state as facts, and out of facts | [`fact`] |
//! | how many bytes it takes in a log | `weight` |

mod apply;
mod bounds;
pub mod fact;
mod session;
mod weight;

#[cfg(test)]
mod tests;

pub use bounds::{CLEARED_MAX, ENDED_MAX, PAGES_MAX, VERDICTS_MAX};
pub use fact::Fact;

use super::record::{MessageNumber, SessionNumber, Whose};
use crate::router::Subscription;
use candor_protocol::packet::{PacketId, Qos, TopicFilter};
use candor_protocol::session::SessionState;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

/// The ledger's lines on a client with their numbers, oldest first.
pub type Lines = VecDeque<(u64, Arc<[u8]>)>;

/// How far one owed message has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    Waiting,
    /// Sent under this identifier.
    Sent(PacketId),
    /// PUBREC came: PUBREL is owed.
    Received(PacketId),
}

/// A message that a session is owed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwedMessage {
    /// The number that the session is owed it under, and no other message: steps name it so.
    pub message: MessageNumber,
    /// The message that is kept.
    pub body: MessageNumber,
    pub qos: Qos,
    pub retain: bool,
    pub progress: Progress,
    pub redelivery_count: u32,
}

/// A session, as it would be found after a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptSession {
    pub client_id: Arc<str>,
    pub principal: Arc<str>,
    pub incarnation: u64,
    pub expiry_s: u32,
    /// A connection held it.
    pub is_attached: bool,
    pub expires_at_ms: Option<u64>,
    pub was_extended: bool,
    pub subscriptions: HashMap<TopicFilter, Subscription>,
    /// Subscriptions that still have to bring retained messages: those behind the topic.
    pub replays: HashMap<TopicFilter, Arc<[u8]>>,
    /// In the order in which they are to be sent; what was sent stands in the order of its sending, before what waits.
    pub owed: VecDeque<OwedMessage>,
    /// QoS 2 identifiers of messages from the client.
    pub taken: HashSet<PacketId>,
    /// What was dropped and not told.
    pub gap: BTreeMap<u8, u64>,
}

/// Everything that is owed. Messages stand in it by their numbers; their bytes are the engine's.
///
/// A session may be owed a message twice: as it was published, and because it is retained. Each has its own number.
#[derive(Debug, Clone, Default)]
pub struct State {
    pub sessions: HashMap<SessionNumber, KeptSession>,
    /// How many owed entries, retained topics and wills refer to a message. What nothing refers to is not kept.
    pub references: HashMap<MessageNumber, u32>,
    /// Where a message is owed under another number than its own: that, and its own.
    bodies: HashMap<MessageNumber, MessageNumber>,
    /// By topic: the message, if there is one, and the version that put it there or took it away.
    pub retained: HashMap<Arc<[u8]>, (Option<MessageNumber>, u64)>,
    pub wills: HashMap<Arc<str>, (Whose, MessageNumber)>,
    /// Why sessions are gone, for the last [`ENDED_MAX`] clients that have not been told.
    pub ended: HashMap<Arc<str>, (SessionState, u64)>,
    /// The ledger's lines with their numbers, oldest first: the last [`VERDICTS_MAX`] of each of [`PAGES_MAX`] clients.
    pub verdicts: HashMap<Whose, Lines>,
    /// The highest numbers that were ever given out.
    pub last_session: u64,
    pub last_message: u64,
    pub last_version: u64,

    /// Steps are read back from a log that holds only steps that had an effect when they were taken, and in which a message may
    /// stand behind steps about it: no message is unknown, and references are counted at the end.
    replaying: bool,
    /// The topics of messages that may become retained: those of this group of batches.
    topics: HashMap<MessageNumber, Arc<[u8]>>,
    /// Those of wills, for the same reason.
    will_topics: HashMap<MessageNumber, Arc<[u8]>>,
    /// What may have no reference left.
    suspects: Vec<MessageNumber>,
    /// Topics that were cleared, in that order.
    cleared: VecDeque<(u64, Arc<[u8]>)>,
    /// Whose verdicts are kept, in the order of their first ones.
    pages: VecDeque<Whose>,
    /// What [`State::weight`] says.
    weight: u64,
}

/// The same is owed, to the same.
impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        self.numbers() == other.numbers()
            && self.sessions == other.sessions
            && self.references == other.references
            && self.retained == other.retained
            && self.wills == other.wills
            && self.ended == other.ended
            && self.verdicts == other.verdicts
    }
}

impl Eq for State {}

impl State {
    /// The highest numbers of sessions, messages and versions that were ever given out.
    pub fn numbers(&self) -> [u64; 3] {
        [self.last_session, self.last_message, self.last_version]
    }

    /// Raises the highest numbers that were ever given out.
    pub fn count_from(&mut self, [session, message, version]: [u64; 3]) {
        self.last_session = self.last_session.max(session);
        self.last_message = self.last_message.max(message);
        self.last_version = self.last_version.max(version);
    }
}
