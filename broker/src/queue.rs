//! The messages that wait for one session: order, expiry, limits, and what happens at a limit. The meaning of a queue is
//! here and nowhere else.

use crate::experiment::{QueueExtensions, QueueView};
use crate::message::Envelope;
use crate::store::MessageNumber;
use candor_protocol::packet::{Overflow, Qos, Reason};
use std::collections::VecDeque;

/// How much may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueLimits {
    pub len_max: usize,
    pub bytes_max: usize,
    pub overflow: Overflow,
}

/// A message that waits, with the form it will be delivered in.
#[derive(Debug, Clone)]
pub struct Waiting {
    pub envelope: Envelope,
    pub qos: Qos,
    pub retain: bool,
    /// How many times it was handed out before.
    pub redelivery_count: u32,
    /// The number under which it is kept for the session.
    pub message: Option<MessageNumber>,
}

/// What was dropped since the subscriber was last told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Gap {
    pub overflow: u64,
    pub expired: u64,
    pub too_large: u64,
    /// Messages with a key that binds their recipient, which a plain one could not be handed.
    pub withheld: u64,
}

impl Gap {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The counts with the reason of each.
    pub fn parts(&self) -> impl Iterator<Item = (Reason, u64)> {
        let parts = [
            (Reason::QUEUE_OVERFLOW, self.overflow),
            (Reason::MESSAGE_EXPIRED, self.expired),
            (Reason::PACKET_TOO_LARGE, self.too_large),
            (Reason::CRITICAL_KEY_UNKNOWN, self.withheld),
        ];
        parts.into_iter().filter(|(_, count)| *count > 0)
    }
}

/// What became of a message that was put into a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    Kept,
    /// It was kept, and older ones were dropped.
    DroppedOldest,
    /// It was dropped.
    DroppedNewest,
}

#[derive(Debug)]
pub struct Queue {
    waiting: VecDeque<Waiting>,
    bytes: usize,
    limits: QueueLimits,
    /// What was dropped and has not been told.
    pub gap: Gap,
    /// What was dropped of what is kept, for the store.
    dropped: Vec<(MessageNumber, Reason)>,
}

impl Queue {
    pub fn new(limits: QueueLimits) -> Self {
        Self { waiting: VecDeque::new(), bytes: 0, limits, gap: Gap::default(), dropped: Vec::new() }
    }

    /// What was dropped of what is kept, since this was last asked.
    pub fn take_dropped(&mut self) -> Vec<(MessageNumber, Reason)> {
        std::mem::take(&mut self.dropped)
    }

    fn overflow(&mut self, message: Option<MessageNumber>) {
        self.gap.overflow += 1;
        self.dropped.extend(message.map(|message| (message, Reason::QUEUE_OVERFLOW)));
    }

    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Puts a message behind the others, or where the experiments in force rank it.
    pub fn push(&mut self, waiting: Waiting, extensions: &QueueExtensions) -> Pushed {
        let len = waiting.envelope.len();
        if len > self.limits.bytes_max || self.limits.len_max == 0 {
            self.overflow(waiting.message);
            return Pushed::DroppedNewest;
        }
        if !extensions.is_empty() && extensions.admit(&waiting.envelope, QueueView { len: self.len(), bytes: self.bytes }).is_err() {
            self.overflow(waiting.message);
            return Pushed::DroppedNewest;
        }
        let mut pushed = Pushed::Kept;
        while self.waiting.len() >= self.limits.len_max || self.bytes + len > self.limits.bytes_max {
            if self.limits.overflow != Overflow::DropOldest {
                self.overflow(waiting.message);
                return Pushed::DroppedNewest;
            }
            let oldest = self.pop_front();
            self.overflow(oldest.and_then(|oldest| oldest.message));
            pushed = Pushed::DroppedOldest;
        }
        self.bytes += len;
        if extensions.is_empty() {
            self.waiting.push_back(waiting);
        } else {
            let own = extensions.rank(&waiting.envelope);
            let at = self.waiting.partition_point(|other| extensions.rank(&other.envelope) >= own);
            self.waiting.insert(at, waiting);
        }
        pushed
    }

    /// Puts a message that was taken out back to the front.
    pub fn push_front(&mut self, waiting: Waiting) {
        self.bytes += waiting.envelope.len();
        self.waiting.push_front(waiting);
    }

    /// The next message that has not expired.
    pub fn pop(&mut self, unix_ms: u64) -> Option<Waiting> {
        loop {
            let waiting = self.pop_front()?;
            if !waiting.envelope.is_expired(unix_ms) {
                return Some(waiting);
            }
            self.gap.expired += 1;
            self.dropped.extend(waiting.message.map(|message| (message, Reason::MESSAGE_EXPIRED)));
        }
    }

    fn pop_front(&mut self) -> Option<Waiting> {
        let waiting = self.waiting.pop_front()?;
        self.bytes -= waiting.envelope.len();
        if self.waiting.is_empty() && self.waiting.capacity() > 64 {
            // An empty queue holds no memory.
            self.waiting = VecDeque::new();
        }
        Some(waiting)
    }

    /// Drops everything; tells how much it was.
    pub fn clear(&mut self) -> usize {
        let len = self.waiting.len();
        self.waiting = VecDeque::new();
        self.bytes = 0;
        len
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candor_protocol::codec::dictionary::Dictionary;
    use candor_protocol::packet::Message;

    fn waiting(payload: &str, expires_at_ms: Option<u64>) -> Waiting {
        let message = Message::publish("t", payload).unwrap();
        let envelope = Envelope { message, qos: Qos::AtLeastOnce, retain: false, expires_at_ms, stamps: None, hop: Dictionary::EMPTY };
        Waiting { envelope, qos: Qos::AtLeastOnce, retain: false, redelivery_count: 0, message: None }
    }

    fn drain(queue: &mut Queue, unix_ms: u64) -> Vec<String> {
        std::iter::from_fn(|| queue.pop(unix_ms)).map(|w| String::from_utf8_lossy(w.envelope.message.payload()).into_owned()).collect()
    }

    fn queue(overflow: Overflow) -> Queue {
        Queue::new(QueueLimits { len_max: 3, bytes_max: 100, overflow })
    }

    #[test]
    fn at_the_limit_the_declared_message_is_dropped_and_counted() {
        for (overflow, expected, last) in
            [(Overflow::DropOldest, ["3", "4", "5"], Pushed::DroppedOldest), (Overflow::DropNewest, ["1", "2", "3"], Pushed::DroppedNewest)]
        {
            let mut queue = queue(overflow);
            let pushed: Vec<_> = ["1", "2", "3", "4", "5"]
                .into_iter()
                .map(|payload| queue.push(waiting(payload, None), &QueueExtensions::default()))
                .collect();
            assert_eq!(pushed[2..], [Pushed::Kept, last, last]);
            assert_eq!(queue.gap, Gap { overflow: 2, ..Gap::default() });
            assert_eq!(drain(&mut queue, 0), expected);
            assert_eq!(queue.bytes(), 0);
        }
    }

    #[test]
    fn bytes_are_a_limit_of_their_own() {
        let mut queue = queue(Overflow::DropOldest);
        assert_eq!(queue.push(waiting(&"x".repeat(60), None), &QueueExtensions::default()), Pushed::Kept);
        assert_eq!(queue.push(waiting(&"y".repeat(60), None), &QueueExtensions::default()), Pushed::DroppedOldest);
        assert_eq!(queue.push(waiting(&"z".repeat(200), None), &QueueExtensions::default()), Pushed::DroppedNewest);
        assert_eq!((queue.len(), queue.gap.overflow), (1, 2));
    }

    #[test]
    fn what_has_expired_is_not_handed_out_and_is_counted() {
        let mut queue = queue(Overflow::DropOldest);
        queue.push(waiting("old", Some(1000)), &QueueExtensions::default());
        queue.push(waiting("new", Some(3000)), &QueueExtensions::default());
        assert_eq!(drain(&mut queue, 2000), ["new"]);
        assert_eq!(queue.gap, Gap { expired: 1, ..Gap::default() });
    }

    #[test]
    fn a_rank_goes_before_age() {
        let (_, extensions) = crate::experiment::switched_on(&["x-priority".to_owned()]).unwrap();
        let mut queue = queue(Overflow::DropOldest);
        for (payload, priority) in [("1a", 1), ("3", 3), ("1b", 1)] {
            let mut waiting = waiting(payload, None);
            waiting.envelope.hop = candor_protocol::extension::priority::with_priority(&Dictionary::EMPTY, priority);
            queue.push(waiting, &extensions);
        }
        assert_eq!(drain(&mut queue, 0), ["3", "1a", "1b"]);
    }
}
