//! The subscribers of one filter, in their order.
//!
//! They stand in sorted runs of bounded length. Adding or removing one moves at most one run, whatever the number of
//! subscribers; and a match copies whole runs, already in the order that the caller wants.

use super::Subscriber;
use super::entry::Entry;

/// The most entries of a run: 4 KiB.
const RUN_LEN_MAX: usize = 512;

#[derive(Debug, Default)]
pub(super) struct Roster {
    /// Ascending, each run and all of them in a row; no run is empty.
    runs: Vec<Vec<Entry>>,
    len: usize,
}

impl Roster {
    /// A roster of two or none; with room for no more, since most filters stay small.
    pub(super) fn of(first: Entry) -> Self {
        Self { runs: vec![vec![first]], len: 1 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn runs(&self) -> impl Iterator<Item = &[Entry]> {
        self.runs.iter().map(Vec::as_slice)
    }

    pub(super) fn first(&self) -> Option<Entry> {
        self.runs.first().and_then(|run| run.first()).copied()
    }

    pub(super) fn entry(&self, subscriber: Subscriber) -> Option<Entry> {
        let (run, at) = self.place(Entry::key_of(subscriber));
        at.ok().map(|at| self.runs[run][at])
    }

    /// Adds the entry or puts it in the place of the same subscriber's; whether there was one.
    pub(super) fn put(&mut self, entry: Entry) -> bool {
        let (run, at) = self.place(entry.key());
        match at {
            Ok(at) => self.runs[run][at] = entry,
            Err(_) if self.runs.is_empty() => self.runs.push(vec![entry]),
            Err(at) => self.insert(run, at, entry),
        }
        self.len += usize::from(at.is_err());
        at.is_ok()
    }

    fn insert(&mut self, run: usize, at: usize, entry: Entry) {
        let whole = &mut self.runs[run];
        if whole.len() < RUN_LEN_MAX {
            whole.insert(at, entry);
            return;
        }
        // Subscribers often come in their order: a run that is only appended to stays full.
        let upper = if at == whole.len() { Vec::new() } else { whole.split_off(RUN_LEN_MAX / 2) };
        self.runs.insert(run + 1, upper);
        match at.checked_sub(self.runs[run].len()) {
            Some(at) => self.runs[run + 1].insert(at, entry),
            None => self.runs[run].insert(at, entry),
        }
    }

    /// Whether the subscriber was there.
    pub(super) fn remove(&mut self, subscriber: Subscriber) -> bool {
        let (run, at) = self.place(Entry::key_of(subscriber));
        let Ok(at) = at else { return false };
        self.runs[run].remove(at);
        self.len -= 1;
        self.tighten(run);
        true
    }

    /// Gives back the memory of a run that has become short.
    fn tighten(&mut self, run: usize) {
        let len = self.runs[run].len();
        if len > RUN_LEN_MAX / 4 {
            return;
        }
        let joined = |runs: &[Vec<Entry>], with: usize| runs.get(with).is_some_and(|other| other.len() + len <= RUN_LEN_MAX / 2);
        if len == 0 {
            self.runs.remove(run);
        } else if joined(&self.runs, run + 1) {
            let upper = self.runs.remove(run + 1);
            self.runs[run].extend(upper);
        } else if run > 0 && joined(&self.runs, run - 1) {
            let upper = self.runs.remove(run);
            self.runs[run - 1].extend(upper);
        } else if self.runs[run].capacity() >= 4 * len {
            self.runs[run].shrink_to(2 * len);
        }
        if self.runs.capacity() >= 4 * self.runs.len() {
            self.runs.shrink_to(2 * self.runs.len());
        }
    }

    /// The run where the key is or would be, and its place there.
    fn place(&self, key: u64) -> (usize, Result<usize, usize>) {
        let behind = self.runs.partition_point(|run| run.first().is_some_and(|first| first.key() <= key));
        let run = behind.saturating_sub(1);
        let at = self.runs.get(run).map_or(Err(0), |run| run.binary_search_by_key(&key, |entry| entry.key()));
        (run, at)
    }

    #[cfg(test)]
    pub(super) fn heap_bytes(&self) -> usize {
        let runs: usize = self.runs.iter().map(Vec::capacity).sum();
        runs * size_of::<Entry>() + self.runs.capacity() * size_of::<Vec<Entry>>()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Subscription;
    use super::super::oracle::{Dice, for_seeds};
    use super::*;
    use std::collections::BTreeMap;

    fn anybody(dice: &mut Dice, count: u32) -> Subscriber {
        Subscriber { shard: dice.below(3) as u16, slot: dice.below(count) }
    }

    fn check(roster: &Roster, model: &BTreeMap<Subscriber, Subscription>) {
        let found: Vec<_> = roster.runs().flatten().map(|entry| (entry.subscriber(), entry.subscription())).collect();
        assert_eq!(found, model.iter().map(|(&a, &b)| (a, b)).collect::<Vec<_>>());
        assert_eq!(roster.len(), model.len());
        assert!(roster.runs().all(|run| !run.is_empty() && run.len() <= RUN_LEN_MAX));
    }

    #[test]
    fn a_roster_holds_each_subscriber_once_and_in_order() {
        for_seeds(8, |dice| {
            let (mut roster, mut model) = (Roster::default(), BTreeMap::new());
            let count = [4, 300, 3_000][dice.below(3) as usize];
            // First mostly joining, then mostly leaving.
            for step in 0..6_000 {
                let subscriber = anybody(dice, count);
                if dice.below(10) < if step < 3_000 { 8 } else { 2 } {
                    let subscription = dice.subscription();
                    let replaced = roster.put(Entry::new(subscriber, subscription));
                    assert_eq!(replaced, model.insert(subscriber, subscription).is_some());
                } else {
                    assert_eq!(roster.remove(subscriber), model.remove(&subscriber).is_some());
                }
                let somebody = anybody(dice, count);
                assert_eq!(roster.entry(somebody).map(Entry::subscription), model.get(&somebody).copied());
            }
            check(&roster, &model);
        });
    }

    #[test]
    fn a_roster_that_is_left_by_all_gives_its_memory_back() {
        let mut roster = Roster::default();
        let everybody: Vec<_> = (0..10_000).map(|slot| Subscriber { shard: 0, slot }).collect();
        for &subscriber in &everybody {
            roster.put(Entry::new(subscriber, Subscription::default()));
        }
        let full = roster.heap_bytes();
        assert!(full < 12 * everybody.len(), "{full} bytes for {} entries of 8", everybody.len());
        for subscriber in &everybody[100..] {
            roster.remove(*subscriber);
        }
        assert!(roster.heap_bytes() < full / 25, "{} of {full} bytes are kept for 100 entries", roster.heap_bytes());
        for subscriber in &everybody[..100] {
            roster.remove(*subscriber);
        }
        assert_eq!((roster.len(), roster.heap_bytes()), (0, 0));
    }
}
