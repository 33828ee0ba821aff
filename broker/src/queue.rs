//! The messages that wait for one session: order, expiry, limits, and what happens at a limit. The meaning of a queue is
//! here and nowhere else.

mod entry;
mod gap;
mod namespaces;

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

    /// Drops a message that there is no memory for.
    pub fn refuse(&mut self, waiting: &Waiting) {
        self.overflow(waiting.message);
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

#[cfg(test)]
mod tests {
    use super::*;
    use candor_protocol::codec::dictionary::Dictionary;
    use candor_protocol::packet::Message;

    fn waiting(payload: &str, expires_at_ms: Option<u64>) -> Waiting {
        let message = Message::publish("t", payload).unwrap();
        let envelope = Envelope { message, qos: Qos::AtLeastOnce, retain: false, expires_at_ms, stamps: None, hop: Dictionary::EMPTY };
        Waiting { envelope, qos: Qos::AtLeastOnce, retain: false, redelivery_count: 0, message: None, space: None, has_place: false }
    }

    fn drain(queue: &mut Queue, unix_ms: u64) -> Vec<String> {
        let message = |popped| match popped {
            Popped::Message(waiting) => String::from_utf8_lossy(waiting.envelope.message.payload()).into_owned(),
            Popped::Stored => "stored".to_owned(),
        };
        std::iter::from_fn(|| queue.pop(unix_ms)).map(message).collect()
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
                .map(|payload| queue.push(waiting(payload, None), &QueueExtensions::default(), &Namespaces::default()))
                .collect();
            assert_eq!(pushed[2..], [Pushed::Kept, last, last]);
            assert_eq!(*queue.gap, Gap { overflow: 2, ..Gap::default() });
            assert_eq!(drain(&mut queue, 0), expected);
            assert_eq!(queue.bytes(), 0);
        }
    }

    #[test]
    fn bytes_are_a_limit_of_their_own() {
        let mut queue = queue(Overflow::DropOldest);
        assert_eq!(queue.push(waiting(&"x".repeat(60), None), &QueueExtensions::default(), &Namespaces::default()), Pushed::Kept);
        assert_eq!(queue.push(waiting(&"y".repeat(60), None), &QueueExtensions::default(), &Namespaces::default()), Pushed::DroppedOldest);
        assert_eq!(queue.push(waiting(&"z".repeat(200), None), &QueueExtensions::default(), &Namespaces::default()), Pushed::DroppedNewest);
        assert_eq!((queue.len(), queue.gap.overflow), (1, 2));
    }

    #[test]
    fn what_has_expired_is_not_handed_out_and_is_counted() {
        let mut queue = queue(Overflow::DropOldest);
        queue.push(waiting("old", Some(1000)), &QueueExtensions::default(), &Namespaces::default());
        queue.push(waiting("new", Some(3000)), &QueueExtensions::default(), &Namespaces::default());
        assert_eq!(drain(&mut queue, 2000), ["new"]);
        assert_eq!(*queue.gap, Gap { expired: 1, ..Gap::default() });
    }

    #[test]
    fn what_was_given_back_comes_first_and_in_the_order_that_it_was_given_back_in() {
        let none = QueueExtensions::default();
        let mut queue = queue(Overflow::DropOldest);
        queue.push(waiting("new", None), &none, &Namespaces::default());
        for payload in ["1", "2"] {
            queue.put_back(Waiting { redelivery_count: 1, ..waiting(payload, None) });
        }
        assert_eq!(drain(&mut queue, 0), ["1", "2", "new"]);
    }

    #[test]
    fn what_was_put_off_lets_others_pass_until_its_time_and_counts_for_the_limits() {
        let none = QueueExtensions::default();
        let mut queue = queue(Overflow::DropNewest);
        for (payload, until_ms) in [("late", 200), ("soon", 100)] {
            queue.set_aside(Waiting { redelivery_count: 1, ..waiting(payload, None) }, until_ms);
        }
        assert!(queue.is_empty() && queue.len() == 2 && queue.bytes() > 0);
        assert_eq!(queue.push(waiting("new", None), &none, &Namespaces::default()), Pushed::Kept);
        assert_eq!(queue.push(waiting("more", None), &none, &Namespaces::default()), Pushed::DroppedNewest);
        queue.take_up(100);
        assert_eq!(drain(&mut queue, 0), ["soon", "new"]);
        queue.take_up(99);
        assert_eq!(drain(&mut queue, 0), [""; 0]);
        queue.take_up(200);
        assert_eq!((drain(&mut queue, 0), queue.bytes(), queue.near_bytes()), (vec!["late".to_owned()], 0, 0));
    }

    #[test]
    fn a_full_queue_of_what_was_put_off_drops_its_oldest() {
        let mut queue = queue(Overflow::DropOldest);
        (1..=3).for_each(|n| queue.set_aside(Waiting { redelivery_count: 1, ..waiting(&n.to_string(), None) }, n));
        assert_eq!(queue.push(waiting("new", None), &QueueExtensions::default(), &Namespaces::default()), Pushed::DroppedOldest);
        queue.take_up(10);
        assert_eq!(drain(&mut queue, 0), ["2", "3", "new"]);
        assert_eq!((queue.gap.overflow, queue.bytes()), (1, 0));
    }

    #[test]
    fn a_rank_goes_before_age() {
        let (_, extensions) = crate::experiment::switched_on(&["x-priority".to_owned()]).unwrap();
        let mut queue = queue(Overflow::DropOldest);
        for (payload, priority) in [("1a", 1), ("3", 3), ("1b", 1)] {
            let mut waiting = waiting(payload, None);
            waiting.envelope.hop = candor_protocol::extension::priority::with_priority(&Dictionary::EMPTY, priority);
            queue.push(waiting, &extensions, &Namespaces::default());
        }
        assert_eq!(drain(&mut queue, 0), ["3", "1a", "1b"]);
    }

    #[test]
    fn what_the_store_has_waits_there_and_comes_back_in_its_place() {
        let none = QueueExtensions::default();
        let mut queue = Queue::new(QueueLimits { len_max: 10, bytes_max: 1000, overflow: Overflow::DropOldest });
        for n in 1..=5 {
            // The third is not kept: it cannot be left to the store.
            let message = (n != 3).then_some(MessageNumber(n));
            queue.push(Waiting { message, ..waiting(&n.to_string(), (n == 4).then_some(1000)) }, &none, &Namespaces::default());
        }
        let bytes = queue.bytes();
        queue.unload(1, &none);
        assert_eq!((queue.len(), queue.bytes(), queue.stored(10)), (5, bytes, vec![MessageNumber(4), MessageNumber(5)]));
        assert_eq!((queue.bodies(), queue.near_bytes()), (3, bytes - 2 * (bytes / 5) + 2 * size_of::<Entry>()));
        assert!(matches!(queue.pop(0), Some(Popped::Message(waiting)) if waiting.message == Some(MessageNumber(1))));
        for n in [2, 3] {
            assert!(matches!(queue.pop(0), Some(Popped::Message(_))), "{n}");
        }
        // It expires there as it would here, and what is behind it is asked for.
        assert!(matches!(queue.pop(2000), Some(Popped::Stored)));
        assert_eq!((queue.gap.expired, queue.take_dropped()), (1, vec![(MessageNumber(4), Reason::MESSAGE_EXPIRED)]));
        assert!(queue.load(MessageNumber(5), Some(waiting("5", None).envelope)) && !queue.load(MessageNumber(4), None));
        assert_eq!((drain(&mut queue, 0), queue.bytes(), queue.near_bytes()), (vec!["5".to_owned()], 0, 0));
    }

    #[test]
    fn a_message_that_was_never_taken_leaves_no_trace() {
        let none = QueueExtensions::default();
        let mut queue = queue(Overflow::DropOldest);
        queue.push(Waiting { message: Some(MessageNumber(1)), ..waiting("x", None) }, &none, &Namespaces::default());
        queue.unload(0, &none);
        assert!(queue.load(MessageNumber(1), None));
        assert_eq!((queue.len(), queue.bytes(), queue.gap.is_empty()), (0, 0, true));
    }

    #[test]
    fn where_publishers_learn_of_a_full_queue_what_has_its_place_is_not_dropped() {
        let none = QueueExtensions::default();
        for overflow in [Overflow::RefusePublisher, Overflow::HoldBack] {
            let mut queue = queue(overflow);
            let mut push = |has_place| queue.push(Waiting { has_place, ..waiting("x", None) }, &none, &Namespaces::default());
            assert_eq!([false, true, false].map(&mut push), [Pushed::Kept; 3]);
            // Nobody has asked for a place: a will, what is retained, QoS 0.
            assert_eq!([false, true, false].map(push), [Pushed::DroppedNewest, Pushed::Kept, Pushed::DroppedNewest]);
            assert_eq!((queue.len(), queue.gap.overflow), (4, 2));
        }
    }

    #[test]
    fn a_namespace_has_its_own_limits_and_policy_and_leaves_the_rest_alone() {
        let none = QueueExtensions::default();
        for (overflow, expected) in [(Overflow::DropOldest, ["a", "2", "3", "b", "c"]), (Overflow::DropNewest, ["1", "a", "2", "b", "c"])] {
            let limits = QueueLimits { len_max: 2, bytes_max: 1000, overflow };
            let filter = candor_protocol::packet::TopicFilter::new("t").unwrap();
            let namespaces = Namespaces::new(vec![Namespace { filter, queue: limits, message_expiry_max_s: u32::MAX }]);
            // The queue's own policy is another one.
            let mut queue = Queue::new(QueueLimits { len_max: 5, bytes_max: 1000, overflow: Overflow::DropNewest });
            let space = namespaces.of("t").unwrap();
            for payload in ["1", "a", "2", "3", "b", "c"] {
                let space = payload.parse::<u8>().is_ok().then_some(space);
                queue.push(Waiting { space, ..waiting(payload, None) }, &none, &namespaces);
            }
            assert_eq!((queue.len(), queue.share(space).len, queue.gap.overflow), (5, 2, 1));
            queue.push(waiting("d", None), &none, &namespaces);
            assert_eq!(queue.gap.overflow, 2, "the rest has the limit of the queue");
            // What is put off and put back counts; what is taken out does not.
            let Some(Popped::Message(first)) = queue.pop(0) else { panic!() };
            let len = queue.share(space).len;
            queue.push_front(first);
            assert_eq!((queue.share(space).len, queue.len()), (len + usize::from(overflow == Overflow::DropNewest), 5));
            queue.set_aside(Waiting { space: Some(space), ..waiting("aside", None) }, 10);
            assert_eq!(queue.share(space).len, 3);
            assert_eq!(drain(&mut queue, 0), expected);
            assert_eq!(queue.share(space), Share { len: 1, bytes: queue.bytes() });
        }
    }

    #[test]
    fn bytes_of_a_namespace_are_a_limit_of_their_own() {
        let limits = QueueLimits { len_max: usize::MAX, bytes_max: 100, overflow: Overflow::DropOldest };
        let filter = candor_protocol::packet::TopicFilter::new("t").unwrap();
        let namespaces = Namespaces::new(vec![Namespace { filter, queue: limits, message_expiry_max_s: u32::MAX }]);
        let mut queue = Queue::new(QueueLimits { len_max: 10, bytes_max: 1000, overflow: Overflow::DropNewest });
        let mut push = |len: usize| {
            let waiting = Waiting { space: namespaces.of("t"), ..waiting(&"x".repeat(len), None) };
            queue.push(waiting, &QueueExtensions::default(), &namespaces)
        };
        assert_eq!([60, 60, 200, 10].map(&mut push), [Pushed::Kept, Pushed::DroppedOldest, Pushed::DroppedNewest, Pushed::Kept]);
        assert_eq!((queue.len(), queue.gap.overflow), (2, 2));
    }
}
