//! A session as its home shard keeps it, attached to a connection or not.

use super::{ConnectionKey, Rights};
use crate::queue::Queue;
use crate::router::Subscription;
use candor_protocol::packet::{Qos, TopicFilter};
use candor_protocol::session::Parked;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Retained messages that a subscription still has to get, in topic order.
#[derive(Debug, Clone)]
pub struct Replay {
    pub filter: TopicFilter,
    pub subscription: Subscription,
    /// The topic of the last one handed out.
    pub after: Option<Vec<u8>>,
}

#[derive(Debug)]
pub struct Client {
    pub id: Arc<str>,
    /// Who the session belongs to; empty: somebody anonymous.
    pub principal: Arc<str>,
    pub rights: Arc<dyn Rights>,
    /// 8 random bytes that name this life of the session.
    pub incarnation: u64,
    pub connection: Option<ConnectionKey>,
    /// What waits for the next connection; there exactly when there is none.
    pub parked: Option<Parked>,
    pub queue: Queue,
    /// What the limit of memory counts for the queue.
    pub counted_bytes: usize,
    pub subscriptions: HashMap<TopicFilter, Subscription, foldhash::fast::RandomState>,
    pub replays: VecDeque<Replay>,
    /// Filters under `$feedback/`, which no router knows.
    pub feedback: Vec<(TopicFilter, Qos)>,
    /// Seconds that the session outlives its connection.
    pub expiry_s: u32,
    /// When it ends, on the clock that never runs back; there exactly when it is not attached and does end.
    pub expires_at_ms: Option<u64>,
    /// Deliveries wait until then, because the client released one.
    pub paused_until_ms: u64,
    /// How many deliveries in a row the client released.
    pub releases: u32,
    /// Tells a deadline of this session from one of another that had the same slot.
    pub generation: u64,
}

impl Client {
    /// Whether messages above QoS 0 are kept for it while it is away.
    pub fn is_durable(&self) -> bool {
        self.expiry_s > 0
    }
}
