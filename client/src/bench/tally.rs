//! Which messages of a stream came, came twice, came late or never came: exact, whatever the order.

use std::collections::BTreeMap;

/// What a receiver saw of one stream.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    /// The number that is due.
    next: u32,
    /// What was skipped so far: first number to the one behind the last.
    gaps: BTreeMap<u32, u32>,
    received: u64,
    duplicated: u64,
    reordered: u64,
}

/// The sums over all streams.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Count {
    /// Different messages that came.
    pub delivered: u64,
    pub lost: u64,
    pub duplicated: u64,
    /// Messages that came behind a later one of their stream.
    pub reordered: u64,
    /// Messages that nobody here had subscribed to, or that are none of ours.
    pub strangers: u64,
}

impl Tally {
    /// Takes a message; true when it is new.
    #[inline]
    pub(super) fn take(&mut self, number: u32) -> bool {
        if number == self.next {
            self.next += 1;
            self.received += 1;
            return true;
        }
        self.out_of_line(number)
    }

    #[cold]
    fn out_of_line(&mut self, number: u32) -> bool {
        if number > self.next {
            self.gaps.insert(self.next, number);
            self.next = number + 1;
            self.received += 1;
            return true;
        }
        let gap = self.gaps.range(..=number).next_back().map(|(start, end)| (*start, *end));
        let Some((start, end)) = gap.filter(|(_, end)| number < *end) else {
            self.duplicated += 1;
            return false;
        };
        self.gaps.remove(&start);
        if start < number {
            self.gaps.insert(start, number);
        }
        if number + 1 < end {
            self.gaps.insert(number + 1, end);
        }
        self.reordered += 1;
        self.received += 1;
        true
    }

    /// Adds what was seen to `count`, when `sent` messages were on their way to this receiver.
    pub(super) fn add_to(&self, sent: u64, count: &mut Count) {
        count.delivered += self.received;
        count.lost += sent.saturating_sub(self.received);
        count.duplicated += self.duplicated;
        count.reordered += self.reordered;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(numbers: &[u32], sent: u64) -> Count {
        let mut tally = Tally::default();
        for number in numbers {
            tally.take(*number);
        }
        let mut count = Count::default();
        tally.add_to(sent, &mut count);
        count
    }

    #[test]
    fn each_fault_is_counted_as_what_it_is() {
        let good = Count { delivered: 4, ..Count::default() };
        assert_eq!(count(&[0, 1, 2, 3], 4), good);
        assert_eq!(count(&[0, 2, 1, 3], 4), Count { reordered: 1, ..good });
        assert_eq!(count(&[0, 1, 1, 2, 3, 0], 4), Count { duplicated: 2, ..good });
        assert_eq!(count(&[3, 2, 1, 0, 2], 4), Count { reordered: 3, duplicated: 1, ..good });
        assert_eq!(count(&[0, 3], 6), Count { delivered: 2, lost: 4, ..Count::default() });
        assert_eq!(count(&[], 2), Count { lost: 2, ..Count::default() });
        assert_eq!(count(&[5, 1, 3], 6), Count { delivered: 3, lost: 3, reordered: 2, ..Count::default() });
    }
}
