//! Deadlines of connections and sessions. Each has at most one entry that counts; entries that were overtaken are passed
//! over when they fall due, so that moving a deadline later, which every packet does, costs nothing.

use super::ConnectionKey;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// What a deadline is about. Every connection has one: keys stand here as the small numbers that they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// A connection, by its key and generation.
    Connection(u32, u64),
    /// What the publisher of a connection, by its key and generation, is told of refusals at QoS 0.
    Notices(u32, u64),
    /// A session without a connection, by its slot and generation.
    Session(u32, u64),
    /// A delivery to a session that was put off.
    Pump(u32, u64),
    /// What a session gave back is due.
    Wake(u32, u64),
    /// Reports that wait are looked at.
    Reports,
    /// What is new in the ledger goes to the store.
    Ledger,
    /// The server ends, whatever is still owed.
    Ending,
    /// The next report below `$SYS/`.
    Sys,
}

#[derive(Debug, Default)]
pub struct Timers {
    heap: BinaryHeap<Reverse<(u64, Timer)>>,
}

impl Timer {
    /// Of a connection.
    pub fn connection(key: ConnectionKey, generation: u64) -> Self {
        Self::Connection(key as u32, generation)
    }

    /// Of what the publisher of a connection is told.
    pub fn notices(key: ConnectionKey, generation: u64) -> Self {
        Self::Notices(key as u32, generation)
    }
}

impl Timers {
    pub fn at(&mut self, ms: u64, timer: Timer) {
        self.heap.push(Reverse((ms, timer)));
    }

    pub fn next_ms(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse((ms, _))| *ms)
    }

    /// The next entry that has fallen due.
    pub fn due(&mut self, now_ms: u64) -> Option<Timer> {
        match self.heap.peek() {
            Some(Reverse((ms, _))) if *ms <= now_ms => self.heap.pop().map(|Reverse((_, timer))| timer),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_three_words() {
        assert_eq!(size_of::<(u64, Timer)>(), 3 * size_of::<u64>());
    }
}
