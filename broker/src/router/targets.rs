//! What a match finds, in memory that the caller keeps from call to call.

use super::Target;
use super::entry::Entry;
use super::pattern_tree::Branches;

/// The result of [`SubscriptionTree::matching`](super::SubscriptionTree::matching): one target a subscriber, in the
/// order of the subscribers, so by shard.
///
/// Made once and used again: a call empties it, and allocates only where it finds more than any call before. It keeps
/// 16 bytes a target of the largest result.
#[derive(Debug, Default)]
pub struct Targets {
    entries: Vec<Entry>,
    /// Where the ascending runs within `entries` start, but for the first, which starts at 0.
    starts: Vec<usize>,
    /// What runs are merged into.
    spare: Vec<Entry>,
    /// How many filters have matched.
    filters: usize,
    /// The topic that was asked for.
    topic: Vec<u8>,
    pub(super) branches: Branches,
}

/// Up to so many entries sorting is faster than merging.
const SORT_LEN_MAX: usize = 64;

impl Targets {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The targets, ascending by shard and slot.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Target> + Clone {
        self.entries.iter().map(|entry| entry.target())
    }

    /// The targets of each shard that has any, ascending.
    pub fn by_shard(&self) -> impl Iterator<Item = (u16, impl ExactSizeIterator<Item = Target> + Clone)> {
        let shards = self.entries.chunk_by(|a, b| a.shard() == b.shard());
        shards.filter_map(|entries| Some((entries.first()?.shard(), entries.iter().map(|entry| entry.target()))))
    }

    /// How many places of the tree the last match went to: what it cost. For metrics and tests.
    pub fn visited(&self) -> usize {
        self.branches.visited
    }

    /// Whether this is the answer to the question who gets a message to `topic`, at the time when it was asked.
    #[inline]
    pub fn is_about(&self, topic: &[u8]) -> bool {
        self.topic == topic
    }

    #[inline]
    pub(super) fn remember(&mut self, topic: &[u8]) {
        self.topic.clear();
        self.topic.extend_from_slice(topic);
    }

    #[inline]
    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.starts.clear();
        self.filters = 0;
    }

    /// Takes the only subscriber of a matching filter.
    #[inline]
    pub(super) fn push(&mut self, entry: Entry) {
        self.begin_filter(entry);
        self.entries.push(entry);
    }

    /// Takes the subscribers of a matching filter.
    pub(super) fn extend<'a>(&mut self, runs: impl Iterator<Item = &'a [Entry]>) {
        for (index, run) in runs.enumerate() {
            if index == 0
                && let Some(&first) = run.first()
            {
                self.begin_filter(first);
            }
            self.entries.extend_from_slice(run);
        }
    }

    #[inline]
    fn begin_filter(&mut self, first: Entry) {
        self.filters += 1;
        if self.entries.last().is_some_and(|&last| last > first) {
            self.starts.push(self.entries.len());
        }
    }

    /// Puts what was taken in order and merges what overlaps.
    #[inline]
    pub(super) fn finish(&mut self) {
        if self.filters > 1 {
            self.finish_many();
        }
    }

    fn finish_many(&mut self) {
        if !self.starts.is_empty() {
            if self.entries.len() <= SORT_LEN_MAX || self.starts.len() * 8 > self.entries.len() {
                self.entries.sort_unstable();
            } else {
                self.merge_runs();
            }
        }
        self.entries.dedup_by(|next, kept| {
            let same = next.key() == kept.key();
            if same {
                *kept = kept.merged(*next);
            }
            same
        });
    }

    #[cfg(test)]
    pub(super) fn capacities(&self) -> [usize; 4] {
        [self.entries.capacity(), self.spare.capacity(), self.starts.capacity(), self.branches.capacity()]
    }

    /// Merges neighbouring runs until one is left. The library's stable sort would do the same, but allocates.
    fn merge_runs(&mut self) {
        while !self.starts.is_empty() {
            self.spare.clear();
            // In round, run `i` and run `i + 1` become run `i / 2`; its start takes the place of one already read.
            let (mut begin, mut read, mut written) = (0, 0, 0);
            while begin < self.entries.len() {
                let middle = self.starts.get(read).copied().unwrap_or(self.entries.len());
                let end = self.starts.get(read + 1).copied().unwrap_or(self.entries.len());
                read += 2;
                merge(&self.entries[begin..middle], &self.entries[middle..end], &mut self.spare);
                if end < self.entries.len() {
                    self.starts[written] = end;
                    written += 1;
                }
                begin = end;
            }
            self.starts.truncate(written);
            std::mem::swap(&mut self.entries, &mut self.spare);
        }
    }
}

fn merge(mut a: &[Entry], mut b: &[Entry], out: &mut Vec<Entry>) {
    while let (Some((&first_a, rest_a)), Some((&first_b, rest_b))) = (a.split_first(), b.split_first()) {
        if first_a <= first_b {
            out.push(first_a);
            a = rest_a;
        } else {
            out.push(first_b);
            b = rest_b;
        }
    }
    out.extend_from_slice(a);
    out.extend_from_slice(b);
}

#[cfg(test)]
mod tests {
    use super::super::oracle::{Dice, for_seeds};
    use super::super::{Subscriber, Subscription};
    use super::*;
    use std::collections::BTreeMap;

    fn filter_of(dice: &mut Dice, len: u32) -> Vec<Entry> {
        let mut slots: Vec<u32> = (0..len).map(|_| dice.below(4 * len)).collect();
        slots.sort_unstable();
        slots.dedup();
        slots.iter().map(|&slot| Entry::new(Subscriber { shard: (slot % 2) as u16, slot }, dice.subscription())).collect::<Vec<_>>()
    }

    #[test]
    fn overlapping_filters_give_one_target_a_subscriber_in_order() {
        for_seeds(200, |dice| {
            let mut targets = Targets::new();
            let mut expected: BTreeMap<Subscriber, Subscription> = BTreeMap::new();
            for _ in 0..dice.below(30) {
                let len = [1, 1, 5, 400][dice.below(4) as usize];
                let mut entries = filter_of(dice, len);
                entries.sort_unstable();
                for entry in &entries {
                    let of_filter = entry.subscription();
                    expected.entry(entry.subscriber()).and_modify(|kept| *kept = kept.merged(of_filter)).or_insert(of_filter);
                }
                match entries[..] {
                    [one] => targets.push(one),
                    _ => targets.extend(entries.chunks(7)),
                }
            }
            targets.finish();
            let found: Vec<_> = targets.iter().map(|target| (target.subscriber, target.subscription)).collect();
            assert_eq!(found, expected.into_iter().collect::<Vec<_>>());
        });
    }

    #[test]
    fn targets_come_in_one_batch_a_shard() {
        let mut targets = Targets::new();
        for (shard, slot) in [(2, 1), (0, 5), (2, 0), (0, 4)] {
            targets.push(Entry::new(Subscriber { shard, slot }, Subscription::default()));
        }
        targets.finish();
        let batches: Vec<(u16, Vec<u32>)> =
            targets.by_shard().map(|(shard, batch)| (shard, batch.map(|target| target.subscriber.slot).collect())).collect();
        assert_eq!(batches, [(0, vec![4, 5]), (2, vec![0, 1])]);
    }
}
