//! How much a connection may ask of what costs far more to answer than to ask: some at once, and so much more with time.

/// Some at once, and one more every so many milliseconds.
#[derive(Debug, Default)]
pub(super) struct Allowance<const BURST: u32, const STEP_MS: u64> {
    /// When all of it is there again, at a multiple of the step.
    whole_at_ms: u64,
}

impl<const BURST: u32, const STEP_MS: u64> Allowance<BURST, STEP_MS> {
    /// Nothing was asked yet.
    pub(super) const WHOLE: Self = Self { whole_at_ms: 0 };

    fn step_of(now_ms: u64) -> u64 {
        now_ms / STEP_MS * STEP_MS
    }

    /// How much may be asked now.
    pub(super) fn left(&self, now_ms: u64) -> u32 {
        let missing = self.whole_at_ms.saturating_sub(Self::step_of(now_ms)) / STEP_MS;
        BURST.saturating_sub(u32::try_from(missing).unwrap_or(u32::MAX))
    }

    /// So much was asked.
    pub(super) fn take(&mut self, count: u32, now_ms: u64) {
        let missing = BURST - self.left(now_ms).saturating_sub(count);
        self.whole_at_ms = Self::step_of(now_ms) + u64::from(missing) * STEP_MS;
    }

    /// In how many milliseconds so much may be asked.
    pub(super) fn wait_ms(&self, count: u32, now_ms: u64) -> u64 {
        u64::from(count.min(BURST).saturating_sub(self.left(now_ms))) * STEP_MS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_much_may_be_asked_at_once_and_so_much_more_with_time() {
        let mut allowance = Allowance::<500, 10>::default();
        let mut ask = |now_ms| {
            let left = allowance.left(now_ms);
            allowance.take(left, now_ms);
            (left, allowance.wait_ms(7, now_ms))
        };
        let asked = [5, 5, 14, 15, 1015, 10_000_000].map(&mut ask);
        assert_eq!(asked, [(500, 70), (0, 70), (1, 70), (0, 70), (100, 70), (500, 70)]);
    }
}
