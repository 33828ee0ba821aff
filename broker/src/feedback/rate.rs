//! How fast one client may publish.

use candor_protocol::packet::{Problem, Reason, Refusal, Retry};

/// The length of the interval that a limit holds for.
const INTERVAL_MS: u64 = 1000;

/// The most that one client may publish in a second; 0: no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RateLimits {
    pub messages: u64,
    /// Of topics, payloads and message maps.
    pub bytes: u64,
}

impl RateLimits {
    pub fn is_on(&self) -> bool {
        self.messages > 0 || self.bytes > 0
    }
}

/// What one client has published in the second that runs. A second begins with the first message behind the last one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rate {
    since_ms: u64,
    messages: u64,
    bytes: u64,
}

impl Rate {
    /// A message of so many bytes came. One that is refused takes no part of the allowance.
    ///
    /// # Errors
    /// It is more than the limits allow: which one, how much it is with this message, and when the next second begins.
    pub fn take(&mut self, limits: RateLimits, bytes: usize, now_ms: u64) -> Result<(), Refusal> {
        if now_ms.saturating_sub(self.since_ms) >= INTERVAL_MS || self.messages == 0 {
            *self = Self { since_ms: now_ms, messages: 0, bytes: 0 };
        }
        let (messages, bytes) = (self.messages + 1, self.bytes.saturating_add(bytes as u64));
        let is_more = |limit: u64, seen: u64| limit > 0 && seen > limit;
        if is_more(limits.messages, messages) {
            return Err(self.refusal("publish_messages_per_s_max", limits.messages, messages, now_ms));
        }
        // One message that is larger than the whole allowance is let through when it is the first: it could never be sent otherwise.
        if is_more(limits.bytes, bytes) && self.messages > 0 {
            return Err(self.refusal("publish_bytes_per_s_max", limits.bytes, bytes, now_ms));
        }
        (self.messages, self.bytes) = (messages, bytes);
        Ok(())
    }

    fn refusal(&self, rule: &str, limit: u64, seen: u64, now_ms: u64) -> Refusal {
        let after_ms = (self.since_ms + INTERVAL_MS).saturating_sub(now_ms).max(1);
        let problem = Problem::titled("messages come faster than this client may publish").rule(rule).limit(limit, seen);
        Refusal::new(Reason::MESSAGE_RATE_TOO_HIGH, problem.retry(Retry::After { after_ms, jitter_ms: INTERVAL_MS }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(refused: Result<(), Refusal>) -> Option<(String, u64, u64, Retry)> {
        let problem = refused.err()?.problem;
        Some((problem.rule.clone()?, problem.limit?, problem.seen?, problem.retry?))
    }

    #[test]
    fn so_many_messages_pass_in_a_second_and_the_refusal_says_when_the_next_begins() {
        let limits = RateLimits { messages: 3, bytes: 0 };
        let mut rate = Rate::default();
        for ms in [10, 11, 12] {
            assert_eq!(rate.take(limits, 1_000_000, ms), Ok(()));
        }
        let retry = Retry::After { after_ms: 610, jitter_ms: 1000 };
        for _ in 0..2 {
            assert_eq!(rule(rate.take(limits, 1, 400)), Some(("publish_messages_per_s_max".to_owned(), 3, 4, retry)));
        }
        assert_eq!(rate.take(limits, 1, 1010), Ok(()));
    }

    #[test]
    fn bytes_count_too_and_one_large_message_passes_alone() {
        let limits = RateLimits { messages: 0, bytes: 100 };
        let mut rate = Rate::default();
        assert_eq!(rate.take(limits, 60, 0), Ok(()));
        let retry = Retry::After { after_ms: 1000, jitter_ms: 1000 };
        assert_eq!(rule(rate.take(limits, 41, 0)), Some(("publish_bytes_per_s_max".to_owned(), 100, 101, retry)));
        assert_eq!(rate.take(limits, 40, 0), Ok(()));
        assert_eq!(rate.take(limits, 500, 1000), Ok(()));
        assert!(rate.take(limits, 1, 1001).is_err());
    }

    #[test]
    fn without_limits_nothing_is_refused() {
        let mut rate = Rate::default();
        assert!((0..1000).all(|_| rate.take(RateLimits::default(), usize::MAX, 0).is_ok()));
    }
}
