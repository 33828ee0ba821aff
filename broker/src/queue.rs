//! The messages that wait for one session: order, expiry, limits, and what happens at a limit. The meaning of a queue is
//! here and nowhere else.

mod entry;
mod gap;
mod namespaces;
#[cfg(test)]
mod tests;

pub use entry::{Reference, Stored, Waiting};
pub use gap::Gap;
pub use namespaces::{Namespace, Namespaces, Share, Space};

use crate::experiment::{QueueExtensions, QueueView};
use crate::message::Envelope;
use crate::rare::Rare;
use crate::store::MessageNumber;
use candor_protocol::packet::{Overflow, Qos, Reason};
use entry::{Body, Entry};
use std::collections::VecDeque;

/// How much may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueLimits {
    pub len_max: usize,
    pub bytes_max: usize,
    pub overflow: Overflow,
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

/// What comes out of a queue.
#[derive(Debug)]
pub enum Popped {
    Message(Waiting),
    /// The next message is in the store: fetch it, and then ask again.
    Stored,
}

#[derive(Debug)]
pub struct Queue {
    waiting: VecDeque<Entry>,
    /// What its subscriber put off while others pass: each with the time when it waits again, on the clock that never runs back.
    aside: Rare<Vec<(u64, Entry)>>,
    bytes: usize,
    near_bytes: usize,
    /// What of it is of each namespace with limits, by its index.
    shares: Rare<Vec<Share>>,
    limits: QueueLimits,
    /// What was dropped and has not been told.
    pub gap: Rare<Gap>,
    /// What was dropped of what is kept, for the store.
    dropped: Rare<Vec<(MessageNumber, Reason)>>,
}

impl Queue {
    pub fn new(limits: QueueLimits) -> Self {
        Self {
            waiting: VecDeque::new(),
            aside: Rare::default(),
            bytes: 0,
            near_bytes: 0,
            shares: Rare::default(),
            limits,
            gap: Rare::default(),
            dropped: Rare::default(),
        }
    }

    /// What was dropped of what is kept, since this was last asked.
    pub fn take_dropped(&mut self) -> Vec<(MessageNumber, Reason)> {
        self.dropped.take()
    }

    /// How many messages it holds, those that were put off included.
    pub fn len(&self) -> usize {
        self.waiting.len() + self.aside.len()
    }

    /// Whether nothing waits that could go now.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The bytes of all that waits, wherever it does.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What of it is in memory: messages, and references to those that only the store holds.
    pub fn near_bytes(&self) -> usize {
        self.near_bytes
    }

    /// What of it is of a namespace.
    pub fn share(&self, space: Space) -> Share {
        self.shares.get(space.index()).copied().unwrap_or_default()
    }

    /// How many of the messages are in memory.
    pub fn bodies(&self) -> usize {
        self.waiting.iter().filter(|entry| matches!(entry.body, Body::Here(_))).count()
    }

    /// Puts a message behind the others, or where the experiments in force rank it.
    pub fn push(&mut self, waiting: Waiting, extensions: &QueueExtensions, namespaces: &Namespaces) -> Pushed {
        let is_admitted =
            extensions.is_empty() || extensions.admit(&waiting.envelope, QueueView { len: self.len(), bytes: self.bytes }).is_ok();
        if !is_admitted {
            self.overflow(waiting.message);
            return Pushed::DroppedNewest;
        }
        let has_place = waiting.has_place;
        self.push_entry(Entry::new(waiting), has_place, extensions, namespaces)
    }

    /// As [`Queue::push`], for a message that only the store holds, and that was admitted before.
    pub fn push_stored(&mut self, stored: Stored, extensions: &QueueExtensions, namespaces: &Namespaces) -> Pushed {
        self.push_entry(stored.into(), true, extensions, namespaces)
    }

    fn push_entry(&mut self, entry: Entry, has_place: bool, extensions: &QueueExtensions, namespaces: &Namespaces) -> Pushed {
        let of_space = entry.space.and_then(|space| namespaces.get(space)).map(|namespace| (entry.space, namespace.queue));
        let mut pushed = Pushed::Kept;
        // What is dropped of its namespace may be the room that the queue needs.
        for (space, limits) in of_space.into_iter().chain([(None, self.limits)]) {
            match self.make_room(space, &limits, entry.len(), has_place && limits.overflow.tells_publishers()) {
                Pushed::Kept => {}
                Pushed::DroppedOldest => pushed = Pushed::DroppedOldest,
                Pushed::DroppedNewest => {
                    self.overflow(entry.message);
                    return Pushed::DroppedNewest;
                }
            }
        }
        self.count(&entry);
        if extensions.is_empty() {
            self.waiting.push_back(entry);
        } else {
            let own = entry.rank(extensions);
            let at = self.waiting.partition_point(|other| other.rank(extensions) >= own);
            self.waiting.insert(at, entry);
        }
        pushed
    }

    /// Makes room for a message of so many bytes in the whole queue, or in a namespace's part of it; [`Pushed::DroppedNewest`]: there
    /// is none.
    fn make_room(&mut self, space: Option<Space>, limits: &QueueLimits, len: usize, has_place: bool) -> Pushed {
        let QueueLimits { len_max, bytes_max, overflow } = *limits;
        if has_place {
            return Pushed::Kept;
        }
        if len > bytes_max || len_max == 0 {
            return Pushed::DroppedNewest;
        }
        let mut pushed = Pushed::Kept;
        loop {
            let used = space.map_or(Share { len: self.len(), bytes: self.bytes }, |space| self.share(space));
            if used.len < len_max && used.bytes + len <= bytes_max {
                return pushed;
            }
            let oldest = if overflow == Overflow::DropOldest { self.pop_oldest(space) } else { None };
            let Some(oldest) = oldest else { return Pushed::DroppedNewest };
            self.overflow(oldest.message);
            pushed = Pushed::DroppedOldest;
        }
    }

    /// Drops a message that there is no memory for; the number is what it is kept under.
    pub fn refuse(&mut self, message: Option<MessageNumber>) {
        self.overflow(message);
    }

    fn overflow(&mut self, message: Option<MessageNumber>) {
        self.gap.make().overflow += 1;
        self.note_dropped(message, Reason::QUEUE_OVERFLOW);
    }

    fn note_dropped(&mut self, message: Option<MessageNumber>, reason: Reason) {
        if let Some(message) = message {
            self.dropped.make().push((message, reason));
        }
    }

    /// Puts a message that was taken out back to the front.
    pub fn push_front(&mut self, waiting: Waiting) {
        let entry = Entry::new(waiting);
        self.count(&entry);
        self.waiting.push_front(entry);
    }

    /// Puts a message that its subscriber gave back before everything that was not handed out yet, and behind what was given back
    /// before it: so messages that are given back in their order come again in it.
    pub fn put_back(&mut self, waiting: Waiting) {
        let entry = Entry::new(waiting);
        self.count(&entry);
        self.insert_returned(entry);
    }

    fn insert_returned(&mut self, entry: Entry) {
        let at = self.waiting.iter().take_while(|other| other.redelivery_count > 0).count();
        self.waiting.insert(at, entry);
    }

    /// Puts a message off until a time on the clock that never runs back; others pass it, and it counts for the limits.
    pub fn set_aside(&mut self, waiting: Waiting, until_ms: u64) {
        let entry = Entry::new(waiting);
        self.count(&entry);
        let at = self.aside.partition_point(|(other_ms, _)| *other_ms <= until_ms);
        self.aside.make().insert(at, (until_ms, entry));
    }

    /// When the next message that was put off waits again.
    pub fn next_ms(&self) -> Option<u64> {
        self.aside.first().map(|(until_ms, _)| *until_ms)
    }

    /// What was put off until now or earlier waits again, before everything that was not handed out yet.
    pub fn take_up(&mut self, now_ms: u64) {
        let Some(aside) = self.aside.existing() else { return };
        let due = aside.partition_point(|(until_ms, _)| *until_ms <= now_ms);
        for (_, entry) in aside.drain(..due).collect::<Vec<_>>() {
            self.insert_returned(entry);
        }
    }

    /// Leaves all but the first `near` messages to the store, as far as it has them. Called after each push it does little: what is
    /// behind the first that is left already was left before.
    pub fn unload(&mut self, near: usize, extensions: &QueueExtensions) {
        let mut at = self.waiting.len();
        while at > near {
            at -= 1;
            match self.waiting.get_mut(at) {
                // What is reported on stays, since the store does not know for whom; it is bounded by the reports that wait.
                Some(Entry { body: Body::Here(envelope), .. }) if envelope.report().is_some() => {}
                Some(entry) if matches!(entry.body, Body::Here(_)) && entry.message.is_some() => {
                    self.near_bytes -= entry.near_bytes();
                    entry.unload(extensions);
                    self.near_bytes += entry.near_bytes();
                }
                _ if extensions.is_empty() => break,
                _ => {}
            }
        }
    }

    /// The next message that has not expired.
    pub fn pop(&mut self, unix_ms: u64) -> Option<Popped> {
        self.pop_if(unix_ms, |_| true)
    }

    /// As [`Queue::pop`], but a message at hand stays where it is unless one of its QoS is wanted.
    pub fn pop_if(&mut self, unix_ms: u64, wants: impl Fn(Qos) -> bool) -> Option<Popped> {
        loop {
            let next = self.waiting.front()?;
            if next.is_expired(unix_ms) {
                self.gap.make().expired += 1;
                let expired = self.pop_front();
                if let Some(Body::Here(envelope)) = expired.as_ref().map(|expired| &expired.body) {
                    envelope.report().into_iter().for_each(|report| report.expired());
                }
                let message = expired.and_then(|expired| expired.message);
                self.note_dropped(message, Reason::MESSAGE_EXPIRED);
                continue;
            }
            if matches!(next.body, Body::Stored(_)) {
                return Some(Popped::Stored);
            }
            if !wants(next.qos) {
                return None;
            }
            let Entry { body: Body::Here(envelope), qos, retain, redelivery_count, message, space } = self.pop_front()? else {
                return None;
            };
            // It was taken out of its place, and goes back into it if it cannot go on.
            let (envelope, has_place) = (*envelope, true);
            return Some(Popped::Message(Waiting { envelope, qos, retain, redelivery_count, message, space, has_place }));
        }
    }

    /// Which of the first `count` messages are only in the store.
    pub fn stored(&self, count: usize) -> Vec<MessageNumber> {
        let stored = self.waiting.iter().take(count).filter(|entry| matches!(entry.body, Body::Stored(_)));
        stored.filter_map(|entry| entry.message).collect()
    }

    /// A message came from the store; `None`: it was never taken, or cannot be read, and nobody is owed it. Tells whether it was
    /// waited for.
    pub fn load(&mut self, message: MessageNumber, envelope: Option<Envelope>) -> bool {
        let is_it = |entry: &Entry| entry.message == Some(message) && matches!(entry.body, Body::Stored(_));
        let Some(at) = self.waiting.iter().position(is_it) else { return false };
        match (envelope, self.waiting.get_mut(at)) {
            (Some(mut envelope), Some(entry)) => {
                self.near_bytes -= entry.near_bytes();
                // A queue may bound the time that it waits, where the store knows the publisher's alone.
                if let Body::Stored(Reference { expires_at_ms: Some(at_ms), .. }) = entry.body {
                    envelope.expire_by(at_ms);
                }
                entry.body = Body::Here(Box::new(envelope));
                self.near_bytes += entry.near_bytes();
            }
            _ => {
                if let Some(lost) = self.waiting.remove(at) {
                    self.forget(&lost);
                }
            }
        }
        true
    }

    /// An entry is put in.
    fn count(&mut self, entry: &Entry) {
        self.bytes += entry.len();
        self.near_bytes += entry.near_bytes();
        if let Some(space) = entry.space {
            let shares = self.shares.make();
            if shares.len() <= space.index() {
                shares.resize(space.index() + 1, Share::default());
            }
            if let Some(share) = shares.get_mut(space.index()) {
                (share.len, share.bytes) = (share.len + 1, share.bytes + entry.len());
            }
        }
    }

    /// An entry was taken out.
    fn forget(&mut self, entry: &Entry) {
        self.bytes -= entry.len();
        self.near_bytes -= entry.near_bytes();
        if let Some(space) = entry.space
            && let Some(share) = self.shares.existing().and_then(|shares| shares.get_mut(space.index()))
        {
            (share.len, share.bytes) = (share.len - 1, share.bytes - entry.len());
        }
    }

    /// What waits longest, of all or of a namespace; where nothing does, what was put off.
    fn pop_oldest(&mut self, space: Option<Space>) -> Option<Entry> {
        let is_one = |entry: &Entry| space.is_none() || entry.space == space;
        match self.waiting.iter().position(is_one) {
            Some(0) => self.pop_front(),
            Some(at) => {
                let entry = self.waiting.remove(at)?;
                self.forget(&entry);
                Some(entry)
            }
            None => {
                let at = self.aside.iter().position(|(_, entry)| is_one(entry))?;
                let (_, entry) = self.aside.make().remove(at);
                self.forget(&entry);
                Some(entry)
            }
        }
    }

    fn pop_front(&mut self) -> Option<Entry> {
        let entry = self.waiting.pop_front()?;
        self.forget(&entry);
        if self.waiting.is_empty() && self.waiting.capacity() > 64 {
            // An empty queue holds no memory.
            self.waiting = VecDeque::new();
        }
        Some(entry)
    }
}
