//! A session as its home shard keeps it, attached to a connection or not.

use super::dead_letter::right_filter;
use super::memory::SUBSCRIPTION_BYTES;
use super::returned::Pause;
use super::{ConnectionKey, Rights};
use crate::queue::{Queue, QueueLimits, Space};
use crate::rare::Rare;
use crate::router::Subscription;
use crate::store::{MessageNumber, Record, SessionNumber};
use crate::wrapped;
use candor_protocol::packet::{Durability, Qos, Refusal, TopicFilter};
use candor_protocol::session::Parked;
use std::collections::{HashMap, VecDeque};
use std::num::NonZeroU64;
use std::ops::Deref;
use std::sync::Arc;

/// Retained messages that a subscription still has to get, in topic order.
#[derive(Debug, Clone)]
pub struct Replay {
    pub filter: TopicFilter,
    pub subscription: Subscription,
    /// The topic of the last one handed out.
    pub after: Option<Vec<u8>>,
}

impl Replay {
    /// How far it has come.
    pub fn record(&self, session: SessionNumber) -> Record {
        Record::Replaying { session, filter: self.filter.clone(), after: self.after.as_deref().unwrap_or_default().into() }
    }

    /// One that an earlier process has not ended; `after` is empty where it had not begun.
    pub fn restored(filter: &TopicFilter, subscription: &Subscription, after: &[u8]) -> Option<Self> {
        Some(Self { filter: filter.clone(), subscription: *subscription, after: (!after.is_empty()).then(|| after.to_vec()) })
    }
}

/// How many messages of a session that is there wait at hand.
const NEAR: usize = 64;

/// The subscriptions of a session, and what they come to.
#[derive(Debug, Default)]
pub struct Subscriptions {
    map: HashMap<TopicFilter, Subscription, foldhash::fast::RandomState>,
    bytes: usize,
}

impl Subscriptions {
    pub fn insert(&mut self, filter: TopicFilter, subscription: Subscription) -> Option<Subscription> {
        let bytes = Self::bytes_of(&filter);
        let before = self.map.insert(filter, subscription);
        self.bytes += if before.is_none() { bytes } else { 0 };
        before
    }

    pub fn remove(&mut self, filter: &TopicFilter) -> Option<Subscription> {
        let before = self.map.remove(filter);
        self.bytes -= if before.is_some() { Self::bytes_of(filter) } else { 0 };
        before
    }

    /// A filter stands in the session and in the router.
    fn bytes_of(filter: &TopicFilter) -> usize {
        SUBSCRIPTION_BYTES + 2 * filter.as_str().len()
    }
}

impl Deref for Subscriptions {
    type Target = HashMap<TopicFilter, Subscription, foldhash::fast::RandomState>;

    fn deref(&self) -> &Self::Target {
        &self.map
    }
}

impl FromIterator<(TopicFilter, Subscription)> for Subscriptions {
    fn from_iter<T: IntoIterator<Item = (TopicFilter, Subscription)>>(subscriptions: T) -> Self {
        let mut all = Self::default();
        for (filter, subscription) in subscriptions {
            all.insert(filter, subscription);
        }
        all
    }
}

/// Of each subscription what it was when it was last kept, and how many receipts are to come.
pub type Unkept = HashMap<TopicFilter, (Option<Subscription>, u32)>;

/// How a session begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begun {
    pub incarnation: u64,
    pub durability: Durability,
}

#[derive(Debug)]
pub struct Client {
    pub id: Arc<str>,
    /// Who the session belongs to; empty: somebody anonymous.
    pub principal: Arc<str>,
    pub rights: Arc<dyn Rights>,
    /// 8 random bytes that name this life of the session.
    pub incarnation: u64,
    /// What it survives: as it was granted when it began, whatever its later connections would get.
    pub durability: Durability,
    /// Under which it is kept; `None`: it is not.
    pub number: Option<SessionNumber>,
    /// The store has it, under its number.
    pub is_begun: bool,
    /// It is from an earlier process, and its client has not come back yet.
    pub is_restored: bool,
    pub connection: Option<ConnectionKey>,
    /// What waits for the next connection; there when there is none, or when the one that is there was not accepted yet.
    pub parked: Option<Box<Parked>>,
    pub queue: Queue,
    /// What all shards know of the queue: messages and bytes, see [`super::roll::Places`].
    pub told_room: (u64, u64),
    /// The same of each namespace whose limit publishers learn of, by its index.
    pub told_shares: Rare<Vec<(u64, u64)>>,
    /// What the limit of memory counts for it.
    pub counted_bytes: usize,
    pub subscriptions: Subscriptions,
    /// Subscriptions whose receipt has not come.
    pub unkept: Option<Box<Unkept>>,
    pub replays: Rare<VecDeque<Replay>>,
    /// Filters under `$feedback/`, which no router knows.
    pub feedback: Rare<Vec<(TopicFilter, Qos)>>,
    /// Seconds that the session outlives its connection.
    pub expiry_s: u32,
    /// When it ends, on the clock that never runs back; there exactly when it is not attached and does end.
    pub expires_at_ms: Option<NonZeroU64>,
    /// How long it is spared, because the client gave something back.
    pub pause: Rare<Pause>,
    /// Messages of the client that were not handed on yet: later ones must not overtake them.
    pub held_back: u32,
    /// Deliveries at QoS 2 that have an identifier and may not leave yet: others of a lower QoS must not overtake them.
    pub unsent: u32,
    /// Messages of its queue were asked of the store.
    pub is_fetching: bool,
    /// Under which number the will of its connection is kept.
    pub will: Option<MessageNumber>,
    /// How many times in a row another connection took it, and when the last time was.
    pub takeovers: (u32, u64),
    /// Tells a deadline of this session from one of another that had the same slot.
    pub generation: u64,
}

impl Client {
    /// A session that begins.
    pub fn new(id: Arc<str>, principal: Arc<str>, rights: Arc<dyn Rights>, life: Begun, limits: QueueLimits) -> Self {
        let Begun { incarnation, durability } = life;
        Self {
            id,
            principal,
            rights,
            incarnation,
            durability,
            number: None,
            is_begun: false,
            is_restored: false,
            connection: None,
            parked: None,
            queue: Queue::new(limits),
            told_room: (0, 0),
            told_shares: Rare::default(),
            counted_bytes: 0,
            subscriptions: Subscriptions::default(),
            unkept: None,
            replays: Rare::default(),
            feedback: Rare::default(),
            expiry_s: 0,
            expires_at_ms: None,
            generation: 0,
            pause: Rare::default(),
            held_back: 0,
            unsent: 0,
            will: None,
            is_fetching: false,
            takeovers: (0, 0),
        }
    }

    /// Puts in no more retained messages for this filter.
    pub fn end_replay(&mut self, filter: &TopicFilter) {
        if let Some(replays) = self.replays.existing() {
            replays.retain(|replay| replay.filter != *filter);
        }
    }

    /// What its topic filters take, in bytes.
    pub fn filter_bytes(&self) -> usize {
        self.subscriptions.bytes
    }

    /// Whether messages above QoS 0 are kept for it while it is away.
    pub fn is_durable(&self) -> bool {
        self.expiry_s > 0
    }

    /// The highest QoS that is granted: of dead letters, by the right to the topics that their messages were published to.
    ///
    /// # Errors
    /// The refusal names the rule.
    pub fn may_subscribe(&self, filter: &TopicFilter) -> Result<Qos, Refusal> {
        // Dead letters need the right to their source, in an envelope too.
        let inner = wrapped::inner(filter);
        match right_filter(inner.as_ref().unwrap_or(filter))? {
            Some(source) => self.rights.subscribe(&source),
            None => self.rights.subscribe(filter),
        }
    }

    /// What all shards know of its queue, or of a namespace's part of it.
    pub fn told_room_of(&mut self, space: Option<Space>) -> &mut (u64, u64) {
        let Some(index) = space.map(Space::index) else { return &mut self.told_room };
        let told = self.told_shares.make();
        if told.len() <= index {
            told.resize(index + 1, (0, 0));
        }
        &mut told[index]
    }

    /// How many of its messages wait in memory, before the others wait in the store.
    pub fn near(&self) -> usize {
        if self.connection.is_some() { NEAR } else { 0 }
    }

    /// Whether something waits that could go, or be told, when there is room on its connection.
    pub fn has_more(&self) -> bool {
        !(self.queue.is_empty() && self.replays.is_empty() && self.queue.gap.is_empty())
    }

    /// Whether a delivery of this QoS may leave before those that wait for their receipt.
    pub fn may_follow(&self, qos: Qos) -> bool {
        self.unsent == 0 || qos == Qos::ExactlyOnce
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The allocator's class below the next, which has a sixth more; it may take a word more than it is asked for.
    #[test]
    fn a_session_that_has_nothing_unusual_is_small() {
        assert!(size_of::<Client>() <= 384 - size_of::<usize>(), "{} bytes", size_of::<Client>());
    }
}
