//! What can be kept: one record is one step that must survive.

use crate::message::Envelope;
use crate::router::Subscription;
use candor_protocol::packet::{PacketId, Qos, Reason, TopicFilter};
use candor_protocol::session::SessionState;
use std::sync::Arc;

/// Names a session for as long as it lives, over restarts; never given to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionNumber(pub u64);

/// Names a message that is kept, once, whoever is owed it; never given to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageNumber(pub u64);

/// How one session is owed a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owed {
    pub session: SessionNumber,
    pub qos: Qos,
    pub retain: bool,
}

/// A principal under one of its client identifiers: whose will it is, or whose verdicts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Whose {
    pub principal: Arc<str>,
    pub client_id: Arc<str>,
}

/// One step.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Record {
    /// A session begins.
    SessionBegun {
        session: SessionNumber,
        client_id: Arc<str>,
        principal: Arc<str>,
        incarnation: u64,
    },
    /// A connection holds the session, with this expiry in seconds (`u32::MAX`: never).
    SessionAttached {
        session: SessionNumber,
        expiry_s: u32,
    },
    /// Its connection is gone; it ends at this time, in milliseconds since 1970 (`None`: never).
    SessionParked {
        session: SessionNumber,
        expires_at_ms: Option<u64>,
        was_extended: bool,
    },
    /// It is gone with all that was owed to it. Why is remembered for its client, unless it is [`SessionState::New`]: the client
    /// wanted it so.
    SessionEnded {
        session: SessionNumber,
        why: SessionState,
        unix_ms: u64,
    },
    /// The client has been told why its session is gone.
    EndTold {
        client_id: Arc<str>,
    },

    Subscribed {
        session: SessionNumber,
        filter: TopicFilter,
        subscription: Subscription,
    },
    Unsubscribed {
        session: SessionNumber,
        filter: TopicFilter,
    },
    /// The subscription still has to bring the retained messages that it matches behind this topic, in the order of topics; empty:
    /// all of them. Those before it are owed, or were.
    Replaying {
        session: SessionNumber,
        filter: TopicFilter,
        after: Arc<[u8]>,
    },
    /// The subscription has brought all retained messages.
    Replayed {
        session: SessionNumber,
        filter: TopicFilter,
    },

    /// A message, once, with all sessions that are owed it so far. A message that nothing refers to after its batch is not kept.
    Message {
        message: MessageNumber,
        envelope: Envelope,
        owed: Vec<Owed>,
    },
    /// A message that is kept already is owed to one more session: a retained one, or one that another member released. It is owed
    /// under a number of its own, since the session may be owed the same message under the first one.
    OwedToo {
        message: MessageNumber,
        under: MessageNumber,
        owed: Owed,
    },
    /// The message was, or will be, sent under this identifier. Here and in what follows a message is named by the number that it is
    /// owed under.
    Sent {
        session: SessionNumber,
        message: MessageNumber,
        id: PacketId,
    },
    /// PUBREC came for it: only PUBREL is owed.
    Received {
        session: SessionNumber,
        message: MessageNumber,
    },
    /// It was not taken and comes again, before everything that was not handed out yet: its identifier is free.
    Returned {
        session: SessionNumber,
        message: MessageNumber,
        redelivery_count: u32,
    },
    /// The session is owed it no more: it was acknowledged, or rejected.
    Settled {
        session: SessionNumber,
        message: MessageNumber,
    },
    /// The session is owed it no more, and has to be told so.
    Dropped {
        session: SessionNumber,
        message: MessageNumber,
        reason: Reason,
    },
    /// The session was told of everything that was dropped so far.
    GapTold {
        session: SessionNumber,
    },

    /// From the client: this QoS 2 identifier is taken.
    Taken {
        session: SessionNumber,
        id: PacketId,
    },
    /// From the client: PUBREL came for it.
    Released {
        session: SessionNumber,
        id: PacketId,
    },

    /// The message is the retained one of its topic, if no higher version is. It stands in the same call of `keep`, or was a will
    /// (whose topic is remembered): of other messages the topic is not known, and nothing changes. Versions are given out under the lock of the
    /// retained messages, so that shards that race here end as they do there.
    Retained {
        message: MessageNumber,
        version: u64,
    },
    /// The topic has no retained message, if no higher version has.
    RetainedCleared {
        topic: Arc<[u8]>,
        version: u64,
    },

    /// A connection of this client has a will: the message, in the place of an earlier one.
    WillArmed {
        whose: Whose,
        message: MessageNumber,
    },
    /// The will that was armed with this message is not to be published.
    WillDisarmed {
        client_id: Arc<str>,
        message: MessageNumber,
    },
    /// The will that was armed with this message was published: whoever is owed it is owed it by this batch.
    WillPublished {
        client_id: Arc<str>,
        message: MessageNumber,
    },

    /// A line of the ledger on a client; the bytes are the ledger's own form.
    Verdict {
        whose: Whose,
        /// Its name among the client's lines.
        number: u64,
        /// The lines of these numbers are a part of it.
        replaces: Vec<u64>,
        verdict: Arc<[u8]>,
    },
}

impl Record {
    /// The session that the record is about, if it is about one alone.
    pub fn session(&self) -> Option<SessionNumber> {
        match self {
            Self::SessionBegun { session, .. }
            | Self::SessionAttached { session, .. }
            | Self::SessionParked { session, .. }
            | Self::SessionEnded { session, .. }
            | Self::Subscribed { session, .. }
            | Self::Unsubscribed { session, .. }
            | Self::Replaying { session, .. }
            | Self::Replayed { session, .. }
            | Self::Sent { session, .. }
            | Self::Received { session, .. }
            | Self::Returned { session, .. }
            | Self::Settled { session, .. }
            | Self::Dropped { session, .. }
            | Self::GapTold { session }
            | Self::Taken { session, .. }
            | Self::Released { session, .. } => Some(*session),
            Self::OwedToo { owed, .. } => Some(owed.session),
            Self::EndTold { .. }
            | Self::Message { .. }
            | Self::Retained { .. }
            | Self::RetainedCleared { .. }
            | Self::WillArmed { .. }
            | Self::WillDisarmed { .. }
            | Self::WillPublished { .. }
            | Self::Verdict { .. } => None,
        }
    }

    /// Whether the record holds although it could not be kept when it was to be.
    ///
    /// | when a batch fails | records | because |
    /// | --- | --- | --- |
    /// | they never were | SessionBegun, SessionAttached, Subscribed, Message, Taken, WillArmed | somebody waits to be told that it is done, and is told that it is not: a refused CONNECT, SUBSCRIBE or PUBLISH |
    /// | it never was | WillPublished | what was to be owed by its batch is not, so that the will still is |
    /// | they hold, and are kept when the engine is mended | all others | they take away, or say what has happened already: a message was sent or acknowledged, a connection is gone. Nobody is told less than is true, and what is done twice after a crash in between is what QoS 1 allows |
    ///
    /// [`Record::OwedToo`] and [`Record::Retained`] hold for messages that were kept before, since what they take the message over
    /// from may have given it up in the same batch; about a message of the failed batch they say nothing.
    pub fn survives_failure(&self) -> bool {
        !matches!(
            self,
            Self::SessionBegun { .. }
                | Self::SessionAttached { .. }
                | Self::Subscribed { .. }
                | Self::Message { .. }
                | Self::Taken { .. }
                | Self::WillArmed { .. }
                | Self::WillPublished { .. }
        )
    }
}
