//! What every shard has to know of the sessions of all others, by slot: under which number a session is kept, and how much waits
//! for it. Read for each target of a message, so it takes no lock, and no space in the router.

use crate::queue::{Namespaces, QueueLimits, Space};
use crate::store::SessionNumber;
use candor_protocol::packet::Overflow;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Slots of the first chunk; each further one is as large as all before it.
const FIRST: u32 = 1024;
const CHUNKS: usize = 23;

/// The sessions of one shard. Only that shard writes numbers; places are claimed by all.
#[derive(Debug, Default)]
pub struct Roll {
    sessions: Table<AtomicU64>,
    places: Table<Places>,
    /// Of what is of each namespace whose limit publishers learn of, by its index.
    shares: Vec<Table<Places>>,
}

/// One value a slot, made where somebody writes.
#[derive(Debug)]
struct Table<T> {
    chunks: [OnceLock<Box<[T]>>; CHUNKS],
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { chunks: [const { OnceLock::new() }; CHUNKS] }
    }
}

/// The chunk of a slot, the chunk's length, and the place in it.
fn place(slot: u32) -> (usize, usize, usize) {
    if slot < FIRST {
        return (0, FIRST as usize, slot as usize);
    }
    let order = slot.ilog2();
    ((order - FIRST.ilog2()) as usize + 1, 1 << order, (slot - (1 << order)) as usize)
}

impl<T: Default> Table<T> {
    fn get(&self, slot: u32) -> Option<&T> {
        let (chunk, _, at) = place(slot);
        self.chunks.get(chunk)?.get()?.get(at)
    }

    fn get_or_make(&self, slot: u32) -> Option<&T> {
        let (chunk, len, at) = place(slot);
        self.chunks.get(chunk)?.get_or_init(|| (0..len).map(|_| T::default()).collect()).get(at)
    }
}

/// The places in a session's queue, or in a namespace's part of it, where publishers learn that it is full: what waits there and what
/// is on its way, counted together, so that nobody is acknowledged what would find no place.
///
/// A publisher's shard claims the place of a message before anything is kept or acknowledged. The session's own shard puts what
/// is really in the queue in the stead of a claim that has arrived.
#[derive(Debug, Default)]
pub struct Places {
    /// The session is kept over its connections: its queue is one that publishers learn of.
    is_open: AtomicBool,
    len: AtomicU64,
    bytes: AtomicU64,
    /// An acknowledgement waits until no more is there than should be.
    is_awaited: AtomicBool,
}

/// What became of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    Taken,
    /// It is taken, beyond what should be there: the acknowledgement waits.
    TakenBeyond,
    /// There is none.
    Refused,
}

/// What a claim of so many bytes comes to, where so many messages and bytes are there with it.
fn judge(len: u64, all_bytes: u64, bytes: u64, limits: &QueueLimits) -> Claim {
    let (len_max, bytes_max) = (limits.len_max as u64, limits.bytes_max as u64);
    // Where acknowledgements wait, they do so for half as much again.
    let half = if limits.overflow == Overflow::HoldBack { 2 } else { u64::MAX };
    let fits = len <= len_max.saturating_add(len_max / half) && all_bytes <= bytes_max.saturating_add(bytes_max / half);
    match fits && bytes <= bytes_max {
        true if len > len_max || all_bytes > bytes_max => Claim::TakenBeyond,
        true => Claim::Taken,
        false => Claim::Refused,
    }
}

impl Places {
    /// Claims a place for a message of so many bytes.
    pub fn claim(&self, bytes: u64, limits: &QueueLimits) -> Claim {
        let len = self.len.fetch_add(1, Ordering::SeqCst) + 1;
        let all_bytes = self.bytes.fetch_add(bytes, Ordering::SeqCst) + bytes;
        let claim = judge(len, all_bytes, bytes, limits);
        if claim == Claim::Refused {
            self.len.fetch_sub(1, Ordering::SeqCst);
            self.bytes.fetch_sub(bytes, Ordering::SeqCst);
        }
        claim
    }

    /// What would become of a claim, without making it.
    pub fn foresee(&self, bytes: u64, limits: &QueueLimits) -> Claim {
        let (len, all_bytes) = (self.len.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed));
        judge(len.saturating_add(1), all_bytes.saturating_add(bytes), bytes, limits)
    }

    /// What was counted as `before` (messages and bytes) is `now`. Tells whether somebody waited for that.
    pub fn change(&self, before: (u64, u64), now: (u64, u64), limits: &QueueLimits) -> bool {
        self.len.fetch_add(now.0.wrapping_sub(before.0), Ordering::SeqCst);
        self.bytes.fetch_add(now.1.wrapping_sub(before.1), Ordering::SeqCst);
        self.is_awaited.load(Ordering::SeqCst) && !self.is_beyond(limits) && self.is_awaited.swap(false, Ordering::SeqCst)
    }

    /// Whether publishers learn of the queue.
    pub fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Acquire)
    }

    pub fn set_open(&self, is_open: bool) {
        if self.is_open.load(Ordering::Relaxed) != is_open {
            self.is_open.store(is_open, Ordering::Release);
        }
    }

    /// Whether more is there than should be; if so, the one who frees it will say so.
    pub fn awaits(&self, limits: &QueueLimits) -> bool {
        // Said before it is looked at: whoever frees a place in between sees that somebody waits.
        self.is_awaited.store(true, Ordering::SeqCst);
        self.is_beyond(limits)
    }

    /// Whether less is there than should be.
    pub fn has_room(&self, limits: &QueueLimits) -> bool {
        self.len.load(Ordering::Relaxed) < limits.len_max as u64 && self.bytes.load(Ordering::Relaxed) < limits.bytes_max as u64
    }

    fn is_beyond(&self, limits: &QueueLimits) -> bool {
        self.len.load(Ordering::SeqCst) > limits.len_max as u64 || self.bytes.load(Ordering::SeqCst) > limits.bytes_max as u64
    }
}

impl Roll {
    /// The number under which the session in a slot is kept; `None`: it is not, or there is none.
    pub fn session(&self, slot: u32) -> Option<SessionNumber> {
        let number = self.sessions.get(slot)?.load(Ordering::Acquire);
        (number != 0).then_some(SessionNumber(number))
    }

    pub fn set_session(&self, slot: u32, session: Option<SessionNumber>) {
        if let Some(entry) = self.sessions.get_or_make(slot) {
            entry.store(session.map_or(0, |session| session.0), Ordering::Release);
        }
    }

    /// Counts places in the parts of these namespaces too.
    pub fn divide(&mut self, namespaces: &Namespaces) {
        let count = if namespaces.tells_publishers() { namespaces.len() } else { 0 };
        self.shares.resize_with(count, Table::default);
    }

    fn table(&self, space: Option<Space>) -> Option<&Table<Places>> {
        space.map_or(Some(&self.places), |space| self.shares.get(space.index()))
    }

    /// The places of the session in a slot, or those in a namespace's part of it, if any were ever counted.
    pub fn places(&self, slot: u32, space: Option<Space>) -> Option<&Places> {
        self.table(space)?.get(slot)
    }

    /// As [`Roll::places`], to be counted.
    pub fn places_of(&self, slot: u32, space: Option<Space>) -> Option<&Places> {
        self.table(space)?.get_or_make(slot)
    }

    /// Nobody is in the slot.
    pub fn clear(&self, slot: u32) {
        if self.session(slot).is_some() {
            self.set_session(slot, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_has_a_place_of_its_own() {
        let roll = Roll::default();
        let slots = [0, 1, 1023, 1024, 1025, 2047, 2048, 4095, 100_000];
        for (n, slot) in slots.into_iter().enumerate() {
            assert_eq!((roll.session(slot), roll.places(slot, None).is_some_and(Places::is_open)), (None, false));
            roll.set_session(slot, Some(SessionNumber(n as u64 + 1)));
            roll.places_of(slot, None).unwrap().set_open(true);
        }
        for (n, slot) in slots.into_iter().enumerate() {
            assert_eq!(roll.session(slot), Some(SessionNumber(n as u64 + 1)));
        }
        roll.set_session(1024, None);
        assert_eq!(roll.session(1024), None);
        roll.clear(0);
        assert_eq!(roll.session(0), None);
        let (chunk, len, at) = place(u32::MAX);
        assert!(chunk < CHUNKS && at < len);
    }

    fn limits(overflow: Overflow) -> QueueLimits {
        QueueLimits { len_max: 4, bytes_max: 100, overflow }
    }

    #[test]
    fn a_place_is_claimed_once_and_given_back() {
        for (overflow, expected) in [
            (Overflow::RefusePublisher, [Claim::Taken, Claim::Taken, Claim::Refused, Claim::Refused]),
            (Overflow::HoldBack, [Claim::Taken, Claim::Taken, Claim::TakenBeyond, Claim::Refused]),
        ] {
            let (limits, places) = (limits(overflow), Places::default());
            for claim in expected {
                assert_eq!([places.foresee(50, &limits), places.claim(50, &limits)], [claim; 2], "{overflow:?}");
            }
            assert_eq!(places.claim(101, &limits), Claim::Refused, "it would never find a place");
            // One arrives and goes on at once; who waits for it is told, once.
            let is_beyond = expected[2] == Claim::TakenBeyond;
            assert_eq!(places.awaits(&limits), is_beyond);
            assert_eq!([(); 2].map(|()| places.change((1, 50), (0, 0), &limits)), [true, false], "{overflow:?}");
            assert_eq!(places.claim(1, &limits), Claim::Taken);
        }
    }

    #[test]
    fn shards_that_race_for_places_get_no_more_than_there_are() {
        let (limits, places) = (limits(Overflow::RefusePublisher), Places::default());
        let taken: usize = std::thread::scope(|scope| {
            let claim = || (0..1000).filter(|_| places.claim(1, &limits) == Claim::Taken).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(claim)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(taken, 4);
    }
}
