//! How many verdicts there were, by reason.

use candor_protocol::packet::Reason;
use candor_protocol::packet::reason::REASONS;

const LEN: usize = REASONS.len();

/// Counts what was refused and lost. Reasons outside the table count as their class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tally([u64; LEN]);

impl Default for Tally {
    fn default() -> Self {
        Self([0; LEN])
    }
}

impl Tally {
    pub fn count(&mut self, reason: Reason, count: u64) {
        let at = REASONS.binary_search_by_key(&reason.known_or_class(), |row| row.reason);
        if let Some(slot) = at.ok().and_then(|at| self.0.get_mut(at)) {
            *slot += count;
        }
    }

    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    pub fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(sum, count)| *sum += count);
    }

    /// Each reason that was counted, with the level of a topic that it is told on: its name, with hyphens.
    pub fn counted(&self) -> impl Iterator<Item = (String, u64)> {
        let counted = REASONS.iter().zip(self.0).filter(|(_, count)| *count > 0);
        counted.map(|(row, count)| (row.name.replace(' ', "-").to_ascii_lowercase(), count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_counted_for_itself_and_unknown_ones_as_their_class() {
        let mut tally = Tally::default();
        tally.count(Reason::NOT_AUTHORIZED, 2);
        tally.count(Reason::QOS_NOT_SUPPORTED, 1);
        tally.count(Reason(0xFF), 4);
        let mut sum = Tally::default();
        sum.add(&tally);
        sum.add(&tally);
        let counted: Vec<_> = sum.counted().collect();
        let expected = [("unspecified-error", 8), ("not-authorized", 4), ("qos-not-supported", 2)];
        assert_eq!(counted, expected.map(|(name, count)| (name.to_owned(), count)));
        assert_eq!(sum.total(), 14);
    }
}
