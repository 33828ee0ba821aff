//! What a shard is told once: plain values and the seams to rights and experiments.

use super::dead_letter::DeadLetterSettings;
use super::report::ReportSettings;
use super::sys::SysSettings;
use crate::experiment::QueueExtensions;
use crate::feedback::ledger::LedgerLimits;
use crate::feedback::{QuarantineLimits, RateLimits};
use crate::queue::{Namespaces, QueueLimits, Space};
use crate::store::OpenEngine;
use candor_protocol::packet::{Overflow, Qos, Refusal, TopicFilter};
use std::fmt;
use std::sync::Arc;

/// What keeps the records of a broker.
#[derive(Debug, Clone, Default)]
pub enum Storage {
    /// Nothing: what is kept lives and ends with the process.
    #[default]
    Memory,
    /// As in memory, with receipts that come so many turns later: for tests of what has to wait.
    Late { turns: u64 },
    /// An engine, opened when the broker starts.
    Engine(Arc<dyn OpenEngine>),
}

/// The values that hold for all of a broker's shards.
#[derive(Debug, Clone)]
pub struct Settings {
    pub shards: u16,
    pub storage: Storage,
    pub queue: QueueLimits,
    /// Whose messages have limits of their own in every queue.
    pub namespaces: Namespaces,
    pub ledger: LedgerLimits,
    /// When plain clients are kept out for a time, and when a publish of an extended client is not looked at.
    pub quarantine: QuarantineLimits,
    /// How often a message that its subscribers give back is handed out again; 0: without end.
    pub redelivery_limit: u32,
    /// What becomes of messages that are rejected.
    pub dead_letters: DeadLetterSettings,
    /// Whose messages are reported on.
    pub reports: ReportSettings,
    /// How fast one connection may publish.
    pub rate: RateLimits,
    /// The most bytes that wait to be written to one connection before its messages wait in its queue.
    pub out_bytes_max: usize,
    /// The most subscriptions of one session.
    pub subscriptions_max: usize,
    pub retained_max: usize,
    pub retained_bytes_max: usize,
    /// The longest time that a message is kept for an absent session; `u32::MAX`: no limit.
    pub message_expiry_max_s: u32,
    /// The most bytes that clients make the broker keep; see [`super::memory`].
    pub memory_limit: usize,
    /// The most connections of the whole broker; more are told that it is busy.
    pub connections_max: usize,
    /// Connections that have no session.
    pub pending: PendingLimits,
    /// Passwords that wait to be verified.
    pub verifications: VerificationLimits,
    /// `None`: nothing is published below `$SYS/`.
    pub sys: Option<SysSettings>,
    /// Which messages are stamped.
    pub stamps: StampSettings,
    /// What the experiments that are switched on do in queues.
    pub experiments: QueueExtensions,
}

impl Settings {
    /// Whether the server may add something to a message that nobody asked for: stamps, a name, an end.
    #[inline]
    pub(super) fn marks_messages(&self) -> bool {
        !self.stamps.namespaces.is_empty() || !self.dead_letters.namespaces.is_empty() || !self.experiments.is_empty()
    }

    /// When a message that waits from `unix_ms` on is of no more use, whatever it says itself; `None`: no limit.
    pub(super) fn latest_expiry(&self, unix_ms: u64, space: Option<Space>) -> Option<u64> {
        let of_space = space.and_then(|space| self.namespaces.get(space)).map_or(u32::MAX, |namespace| namespace.message_expiry_max_s);
        let seconds = Some(self.message_expiry_max_s.min(of_space)).filter(|seconds| *seconds != u32::MAX)?;
        Some(unix_ms.saturating_add(1000 * u64::from(seconds)))
    }
}

/// Whose messages say who published them, which server took them, and when.
#[derive(Debug, Clone, Default)]
pub struct StampSettings {
    /// The name of this server.
    pub node: Arc<str>,
    pub namespaces: Vec<TopicFilter>,
}

impl StampSettings {
    /// All messages are stamped, but those of topics that begin with `$`.
    pub fn of_all(node: &str) -> Self {
        Self { node: node.into(), namespaces: TopicFilter::new("#").into_iter().collect() }
    }
}

/// Connections that have no session: their CONNECT was not answered yet, or they are being closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PendingLimits {
    /// The most of them in the whole broker. For a newer one the oldest is closed.
    pub max: usize,
    /// How long each has at least; until then newer ones wait.
    pub grace_ms: u64,
}

impl Default for PendingLimits {
    fn default() -> Self {
        Self { max: usize::MAX, grace_ms: 1000 }
    }
}

/// Passwords that are verified, or wait for it, in the whole broker. Who comes beyond is told that the server is busy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerificationLimits {
    /// At once: each takes some 40 ms of a core and some 20 MiB.
    pub running_max: usize,
    pub waiting_max: usize,
    /// Of clients at one address, running ones included: of IPv6 the first 64 bits, which one peer has to itself.
    pub per_address_max: usize,
}

impl Default for VerificationLimits {
    fn default() -> Self {
        Self { running_max: 2, waiting_max: 1000, per_address_max: 32 }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            shards: 1,
            storage: Storage::default(),
            queue: QueueLimits { len_max: 10_000, bytes_max: 16 * 1024 * 1024, overflow: Overflow::DropOldest },
            namespaces: Namespaces::default(),
            ledger: LedgerLimits::default(),
            quarantine: QuarantineLimits::default(),
            redelivery_limit: 1000,
            dead_letters: DeadLetterSettings::default(),
            reports: ReportSettings::default(),
            rate: RateLimits::default(),
            out_bytes_max: 256 * 1024,
            subscriptions_max: 10_000,
            retained_max: 1_000_000,
            retained_bytes_max: 1024 * 1024 * 1024,
            message_expiry_max_s: u32::MAX,
            memory_limit: usize::MAX,
            connections_max: usize::MAX,
            pending: PendingLimits::default(),
            verifications: VerificationLimits::default(),
            sys: None,
            stamps: StampSettings::default(),
            experiments: QueueExtensions::default(),
        }
    }
}

/// What one client may do. Asked for every message, so an answer must be quick.
pub trait Rights: fmt::Debug + Send + Sync {
    /// # Errors
    /// The refusal names the rule.
    fn publish(&self, topic: &[u8], qos: Qos, retain: bool) -> Result<(), Refusal>;

    /// # Errors
    /// The refusal names the rule.
    fn will(&self, topic: &[u8], qos: Qos, retain: bool) -> Result<(), Refusal> {
        self.publish(topic, qos, retain)
    }

    /// The highest QoS that is granted.
    ///
    /// # Errors
    /// The refusal names the rule.
    fn subscribe(&self, filter: &TopicFilter) -> Result<Qos, Refusal>;

    /// How the client proved its name, for listings; `None`: it is not known.
    fn method(&self) -> Option<&'static str> {
        None
    }

    /// Whether the client would still be let in.
    ///
    /// # Errors
    /// Why not.
    fn stay(&self) -> Result<(), Refusal> {
        Ok(())
    }
}
