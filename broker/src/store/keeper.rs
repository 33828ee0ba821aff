//! What a shard keeps in a turn, and what waits until it is kept.
//!
//! ```text
//!  keep(record) --> the turn's batch --take_batch--> engine --receipt--> receive --.
//!  then(what waits) --> waiting, by turn ----------------------------------------+--> take_due: carried out, in order
//!  now(what waits for nothing) --------------------------------------------------'
//! ```
//! The shard says the same whatever keeps its records. Where they live and die with the process there is nothing to write down:
//! then no record is asked for ([`Keeper::keeps`]), and what waits is due at once.

use super::{Batch, Receipt, Record, StoreError};
use candor_protocol::packet::Durability;
use std::collections::VecDeque;

/// How many things may wait before the shard takes nothing more in. Each is a message of a window, or follows one.
const WAITING_MAX: usize = 16_384;

/// What became of the records that something waited for: the durability that was reached, or `None`: they are not kept.
pub type Reached = Option<Durability>;

/// How receipts come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Receipts {
    /// There is nothing to wait for.
    AtOnce,
    /// So many turns later, from nobody: for tests of the order of things.
    Late { turns: u64 },
    /// From an engine.
    FromEngine,
}

/// The records of a shard's turn, and what waits for receipts. `T` is what waits.
#[derive(Debug)]
pub struct Keeper<T> {
    shard: u16,
    receipts: Receipts,
    durability: Durability,
    records: Vec<Record>,
    /// Nothing was kept when the first of the records was.
    knows_failure: bool,
    /// The number of the batch that is being collected; only a batch with records counts.
    turn: u64,
    /// All batches up to this one have their receipts.
    received: u64,
    waiting: VecDeque<(u64, T)>,
    due: VecDeque<(Reached, T)>,
    /// Late receipts: batches, each with the turn of the shard in which its receipt comes.
    late: VecDeque<(u64, u64)>,
    turns: u64,
    /// Why nothing is kept, while that is so.
    failure: Option<StoreError>,
}

impl<T> Keeper<T> {
    fn new(shard: u16, receipts: Receipts, durability: Durability) -> Self {
        Self {
            shard,
            receipts,
            durability,
            records: Vec::new(),
            knows_failure: false,
            turn: 1,
            received: 0,
            waiting: VecDeque::new(),
            due: VecDeque::new(),
            late: VecDeque::new(),
            turns: 0,
            failure: None,
        }
    }

    /// What is kept is in the shard's memory, and nowhere else.
    pub fn memory(shard: u16) -> Self {
        Self::new(shard, Receipts::AtOnce, Durability::Memory)
    }

    /// As [`Keeper::memory`], with receipts that come `turns` turns later, at least 1.
    pub fn late(shard: u16, turns: u64) -> Self {
        Self::new(shard, Receipts::Late { turns: turns.max(1) }, Durability::Memory)
    }

    /// Batches go to an engine of this durability, and its receipts come back.
    pub fn engine(shard: u16, durability: Durability) -> Self {
        Self::new(shard, Receipts::FromEngine, durability)
    }

    /// Whether records are asked for.
    #[inline]
    pub fn keeps(&self) -> bool {
        self.receipts != Receipts::AtOnce
    }

    /// Whether records are asked for of what is promised so much: what need not outlive the process goes to no engine.
    #[inline]
    pub fn keeps_for(&self, promised: Durability) -> bool {
        self.keeps() && promised >= self.durability.min(Durability::Disk)
    }

    /// Whether what was kept can be read again.
    #[inline]
    pub fn can_fetch(&self) -> bool {
        self.receipts == Receipts::FromEngine
    }

    /// Whether there is something for the engine.
    pub fn has_batch(&self) -> bool {
        !self.records.is_empty()
    }

    /// One more step that must survive. A shard that [`keeps`](Keeper::keeps) nothing need not make it.
    pub fn keep(&mut self, record: Record) {
        if self.keeps() {
            if self.records.is_empty() {
                self.knows_failure = self.failure.is_some();
            }
            self.records.push(record);
        }
    }

    /// Waits until everything that was kept up to now has its receipt.
    #[inline]
    pub fn then(&mut self, then: T) {
        let last = if self.records.is_empty() { self.turn - 1 } else { self.turn };
        if last <= self.received && self.waiting.is_empty() {
            return self.now(then);
        }
        self.waiting.push_back((last, then));
    }

    /// Waits for nothing, and is carried out with what is due.
    #[inline]
    pub fn now(&mut self, then: T) {
        self.due.push_back((Some(self.durability), then));
    }

    /// What had its receipt before is carried out with what is due.
    pub fn due(&mut self, then: T, reached: Reached) {
        self.due.push_back((reached, then));
    }

    /// Whether something waits no more.
    #[inline]
    pub fn has_due(&self) -> bool {
        !self.due.is_empty()
    }

    /// The next thing that waits no more, with what was reached.
    #[inline]
    pub fn take_due(&mut self) -> Option<(T, Reached)> {
        self.due.pop_front().map(|(reached, then)| (then, reached))
    }

    /// A turn comes to its end: receipts that were to come late may be there.
    pub fn end_turn(&mut self) {
        self.turns += 1;
        while let Some((turn, at)) = self.late.front().copied()
            && at <= self.turns
        {
            self.late.pop_front();
            self.receive(&Receipt { shard: self.shard, turn, reached: Ok(self.durability) });
        }
    }

    /// What was kept since this was last asked, for the engine: asked behind everything that the turn has done.
    pub fn take_batch(&mut self) -> Option<Batch> {
        if self.records.is_empty() {
            return None;
        }
        let records = std::mem::take(&mut self.records);
        let batch = Batch { shard: self.shard, turn: self.turn, records, knows_failure: self.knows_failure, unix_ms: 0 };
        self.turn += 1;
        match self.receipts {
            Receipts::AtOnce => None,
            Receipts::Late { turns } => {
                self.late.push_back((batch.turn, self.turns + turns));
                None
            }
            Receipts::FromEngine => Some(batch),
        }
    }

    /// A receipt came.
    pub fn receive(&mut self, receipt: &Receipt) {
        let reached = receipt.reached.as_ref().ok().copied();
        self.received = self.received.max(receipt.turn);
        while let Some((turn, _)) = self.waiting.front()
            && *turn <= self.received
        {
            self.due.extend(self.waiting.pop_front().map(|(_, then)| (reached, then)));
        }
        self.failure = receipt.reached.as_ref().err().cloned();
    }

    /// Whether a turn has to follow although nothing comes in.
    pub fn is_late(&self) -> bool {
        !self.late.is_empty()
    }

    /// Whether anything waits for a receipt.
    pub fn is_waiting(&self) -> bool {
        !(self.waiting.is_empty() && self.due.is_empty())
    }

    /// Whether so much waits that nothing more should be taken in.
    pub fn is_full(&self) -> bool {
        self.waiting.len() >= WAITING_MAX
    }

    /// Why nothing is kept now.
    pub fn failure(&self) -> Option<&StoreError> {
        self.failure.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::SessionNumber;

    fn record() -> Record {
        Record::GapTold { session: SessionNumber(1) }
    }

    fn due(keeper: &mut Keeper<u32>) -> Vec<(u32, Reached)> {
        std::iter::from_fn(|| keeper.take_due()).collect()
    }

    #[test]
    fn in_memory_what_waits_is_due_at_once_and_in_order() {
        let mut keeper = Keeper::memory(0);
        keeper.keep(record());
        keeper.then(1);
        keeper.now(2);
        assert_eq!(due(&mut keeper), [(1, Some(Durability::Memory)), (2, Some(Durability::Memory))]);
        assert_eq!(keeper.take_batch(), None);
    }

    #[test]
    fn a_receipt_releases_its_turn_and_those_before_it() {
        let mut keeper = Keeper::engine(3, Durability::Disk);
        for n in 1..=3 {
            keeper.keep(record());
            keeper.then(n);
            let batch = keeper.take_batch().unwrap();
            assert_eq!((batch.shard, batch.turn, batch.records.len()), (3, u64::from(n), 1));
        }
        assert_eq!(due(&mut keeper), []);
        keeper.receive(&Receipt { shard: 3, turn: 2, reached: Ok(Durability::Disk) });
        assert_eq!(due(&mut keeper), [(1, Some(Durability::Disk)), (2, Some(Durability::Disk))]);
        // What follows waits behind what waits, although it keeps nothing itself.
        keeper.then(4);
        assert_eq!((due(&mut keeper), keeper.take_batch()), (vec![], None));
        keeper.receive(&Receipt { shard: 3, turn: 3, reached: Err(StoreError::NotMended) });
        assert_eq!(due(&mut keeper), [(3, None), (4, None)]);
        assert_eq!(keeper.failure(), Some(&StoreError::NotMended));
        keeper.then(5);
        assert_eq!(due(&mut keeper), [(5, Some(Durability::Disk))]);
    }

    #[test]
    fn a_late_receipt_comes_turns_later() {
        let mut keeper = Keeper::late(0, 2);
        keeper.keep(record());
        keeper.then(1);
        for _ in 0..2 {
            keeper.end_turn();
            assert_eq!((keeper.take_batch(), due(&mut keeper)), (None, vec![]));
            assert!(keeper.is_late());
        }
        keeper.end_turn();
        assert_eq!(due(&mut keeper), [(1, Some(Durability::Memory))]);
        assert!(!keeper.is_late());
    }
}
