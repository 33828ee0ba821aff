//! What is known beside the messages themselves where both ends count them.

use crate::packet::Reason;
use crate::packet::id::{PacketId, Qos};
use std::collections::{BTreeMap, VecDeque};

/// Most connections are plain and count nothing.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Count {
    /// First arrivals since it began.
    received: u64,
    /// QoS 1 messages whose connection ended before they were settled: their repetition, with DUP, keeps the number.
    interrupted: BTreeMap<PacketId, u64>,
    /// Outcomes that a peer with one window of messages in flight may not have heard.
    told: VecDeque<Told>,
    outcomes: u64,
}

/// An outcome other than success that was told; the peer may not have heard it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Told {
    /// How many outcomes were told before it.
    at: u64,
    number: u64,
    reason: Reason,
}

impl Count {
    /// First arrivals since it began.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// Goes on where an earlier life stopped.
    pub(super) fn resume(&mut self, received: u64) {
        self.received = received;
    }

    /// The number of the next first arrival.
    #[inline]
    fn next(&mut self) -> u64 {
        self.received += 1;
        self.received
    }

    /// The connection of a QoS 1 message ended before it was settled.
    pub(super) fn interrupt(&mut self, id: PacketId, number: u64) {
        self.interrupted.insert(id, number);
    }

    /// Whether any message was interrupted and has not come again.
    #[inline]
    pub(super) fn has_interrupted(&self) -> bool {
        !self.interrupted.is_empty()
    }

    /// An identifier is used again: the number of the message that was interrupted under it.
    #[inline]
    pub(super) fn take_interrupted(&mut self, id: PacketId) -> Option<u64> {
        if self.has_interrupted() { self.interrupted.remove(&id) } else { None }
    }

    /// The outcome of a message is certain. What a QoS 2 identifier that stays taken keeps itself is not kept here; neither is what a
    /// peer that has at most `window` messages in flight must have heard, as answers arrive in the order they were sent.
    pub(super) fn outcome(&mut self, number: u64, qos: Qos, reason: Reason, window: u16) {
        self.outcomes += 1;
        if reason != Reason::SUCCESS && (qos == Qos::AtLeastOnce || reason.is_error()) {
            self.told.push_back(Told { at: self.outcomes, number, reason });
        }
        let heard = self.outcomes.saturating_sub(u64::from(window));
        while self.told.front().is_some_and(|told| told.at <= heard) {
            self.told.pop_front();
        }
    }

    /// The numbers of messages that the peer may believe unfinished, each with its outcome if there is one.
    pub(super) fn unheard(&self) -> impl Iterator<Item = (u64, Option<Reason>)> {
        let told = self.told.iter().map(|told| (told.number, Some(told.reason)));
        told.chain(self.interrupted.values().map(|number| (*number, None)))
    }
}

/// The number of the next first arrival, if it is counted.
#[inline]
pub(super) fn next_number(count: &mut Option<Box<Count>>) -> Option<u64> {
    count.as_deref_mut().map(Count::next)
}
