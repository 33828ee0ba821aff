//! What goes out of a session, and the values that go in with an answer.

use super::inbound::Asked;
use super::outbound::Delivery;
use crate::codec::dictionary::{Dictionary, MapBuilder};
use crate::codec::error::Malformed;
use crate::dialect::Terms;
use crate::dialect::offer::BadAccept;
use crate::packet::connect::{ConnAck, Connect, Will};
use crate::packet::id::PacketId;
use crate::packet::property;
use crate::packet::{Ack, Durability, Kind, Notice, Packet, Problem, Publish, Reason, Refusal, SubAck, Subscribe, UnsubAck, Unsubscribe};
use std::sync::Arc;

/// Names a message that was handed on, until it is settled.
pub type Ticket = u64;
/// The owner's name for a delivery or a request, given back with its outcome.
pub type Token = u64;

/// How a message was settled, by either end (the draft's section on acknowledgements).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Outcome {
    pub reason: Reason,
    pub problem: Option<Arc<Problem>>,
    /// The durability that was really reached, where it was asked for or is told.
    pub receipt: Option<Durability>,
    /// With [`Reason::MODIFIED`]: milliseconds after which the message may come again.
    pub delay_ms: Option<u64>,
}

impl Outcome {
    pub const fn accepted() -> Self {
        Self { reason: Reason::SUCCESS, problem: None, receipt: None, delay_ms: None }
    }

    /// Accepted with the durability that was reached.
    pub const fn kept(receipt: Durability) -> Self {
        Self { reason: Reason::SUCCESS, problem: None, receipt: Some(receipt), delay_ms: None }
    }

    pub fn refused(refusal: Refusal) -> Self {
        let problem = (!refusal.problem.is_empty()).then_some(refusal.problem);
        Self { reason: refusal.reason, problem, receipt: None, delay_ms: None }
    }

    /// Not now: to another member of a shared group, or again later.
    pub const fn released() -> Self {
        Self { reason: Reason::RELEASED, problem: None, receipt: None, delay_ms: None }
    }

    /// Not before `delay_ms` milliseconds.
    pub const fn modified(delay_ms: u64) -> Self {
        Self { reason: Reason::MODIFIED, problem: None, receipt: None, delay_ms: Some(delay_ms) }
    }

    /// The refusal, if it is one.
    pub fn refusal(&self) -> Option<Refusal> {
        self.reason.is_error().then(|| Refusal { reason: self.reason, problem: self.problem.clone().unwrap_or_default() })
    }

    pub(super) fn to_ack(&self, id: PacketId, asked: &Asked) -> Ack {
        let says_receipt = asked.receipt && self.receipt.is_some();
        if self.problem.is_none() && self.delay_ms.is_none() && !says_receipt && !self.reason.is_error() {
            return Ack::new(id, self.reason, Dictionary::EMPTY);
        }
        let mut map = MapBuilder::new();
        if let Some(problem) = &self.problem {
            map.set_problem(problem);
        }
        if self.reason.is_error() && !asked.tag.is_empty() {
            map.set(property::TAG, &asked.tag);
        }
        if let (true, Some(receipt)) = (asked.receipt, self.receipt) {
            map.set(property::RECEIPT, &(receipt as u64));
        }
        map.set_some(property::DELAY, self.delay_ms.as_ref());
        Ack { id, reason: self.reason, dictionary: map.finish() }
    }

    pub(super) fn of_ack(ack: &Ack) -> Self {
        let dictionary = &ack.dictionary;
        if ack.reason == Reason::SUCCESS && dictionary.is_empty() {
            return Self::accepted();
        }
        Self {
            reason: ack.reason.known_or_class(),
            problem: dictionary.value(property::PROBLEM).map(|map: Dictionary| Arc::new(Problem::of_dictionary(&map))),
            receipt: dictionary.value(property::RECEIPT).and_then(Durability::of_number),
            delay_ms: dictionary.value(property::DELAY),
        }
    }
}

/// One sending of a delivery: the driver encodes it, once for all receivers of the same form.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Sending {
    /// There exactly when the QoS is above 0.
    pub id: Option<PacketId>,
    pub dup: bool,
    pub delivery: Delivery,
}

/// A step of a QoS 2 exchange that must be kept before the packet that depends on it may leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Record {
    /// PUBREL came for a message from the peer; PUBCOMP waits for this to be kept.
    Released(PacketId),
    /// PUBREC came for a message to the peer; PUBREL waits for this to be kept.
    Received(PacketId),
}

/// A connection that is open: what was agreed, and what became of the session.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Opened {
    pub terms: Terms,
    pub session_present: bool,
    /// The dictionary of CONNACK, or of the accept; empty in the plain dialect.
    pub dictionary: Dictionary,
    /// Deliveries of an earlier connection that the server no longer knows of: with their tokens, and whether PUBREC
    /// had come, so that the server had taken them.
    pub lost: Vec<(Token, Delivery, bool)>,
    /// Whether an offer was made and not accepted.
    pub declined: bool,
}

/// The answer to a request of the application.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Answer {
    Subscribed(SubAck),
    Unsubscribed(UnsubAck),
    /// The connection ended before the answer came.
    Lost,
}

/// Why a connection ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// The peer sent DISCONNECT.
    PeerLeft { reason: Reason, problem: Option<Arc<Problem>>, retry_after_ms: Option<u64> },
    /// The server refused CONNECT.
    ConnectRefused { connack: Box<ConnAck> },
    /// The peer's bytes were no packet.
    Malformed(Malformed),
    /// This end refused something that can only be answered by a close.
    Refused(Refusal),
    /// Nothing was heard for too long.
    Silent,
    /// The answer to an offer cannot be trusted.
    BadAccept(BadAccept),
    /// The transport ended.
    Lost,
    /// This end left.
    Left,
}

/// What a session wants of its driver and owner. Drain all of them after every input.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Output {
    /// Encode this packet (`Session::lower`) and send it.
    Send(Packet),
    /// Encode this delivery and send it.
    Publish(Sending),
    /// Server: a CONNECT that can be served; answer with `accept` or `refuse`. Until then nothing more is read.
    Connect(Arc<Connect>),
    /// Client: the connection is open. Server: the client's confirm made it extended.
    Opened(Box<Opened>),
    /// A message from the peer; above QoS 0 it is settled with its ticket.
    Message { ticket: Option<Ticket>, publish: Publish },
    /// Keep this, then say `recorded`.
    Record(Record),
    /// The peer settled a delivery; one that it did not take is given back.
    Settled { token: Token, outcome: Outcome, returned: Option<Box<Delivery>> },
    /// Server: answer with `answer(SubAck)`.
    Subscribe(Box<Subscribe>),
    /// Server: answer with `answer(UnsubAck)`.
    Unsubscribe(Box<Unsubscribe>),
    /// Client: a request was answered.
    Answered { token: Token, answer: Answer },
    /// Server, extended: answer with `answer(PingResp)`; with what PINGREQ asked.
    Ping(Dictionary),
    /// Client: the server answered a PINGREQ with this dictionary.
    Pong(Dictionary),
    /// Advice from the peer.
    Notice(Notice),
    /// The session refused something of the peer by itself, with a packet of this kind or, where the connection ends for it,
    /// DISCONNECT. What is owed for it is on its way. A PUBLISH is given along: at QoS 0 nothing is owed, and it is the owner of a
    /// server who tells by NOTICE, as it does of its own refusals.
    Refused { kind: Kind, refusal: Refusal, publish: Option<Box<Publish>> },
    /// The last output: flush, close, and keep or end the session. The will is there if it is to be published.
    Closed { cause: Cause, will: Option<Box<Will>> },
}
