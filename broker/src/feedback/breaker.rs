//! A publish of an extended client that was refused again and again is not looked at any more for a time. It costs the server
//! almost nothing then, and its client is told until when.

use super::QuarantineLimits;
use candor_protocol::packet::{Problem, Reason, Refusal, Retry};

/// The most topics that are kept in mind for one connection.
const TOPICS_MAX: usize = 8;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Circuit {
    topic: u64,
    since_ms: u64,
    count: u32,
    /// Until when nothing is looked at; 0: it is.
    open_until_ms: u64,
    /// How long it was open the last time.
    last_ms: u64,
}

/// What one connection was refused lately.
#[derive(Debug, Clone, Default)]
pub struct Breaker {
    circuits: Vec<Circuit>,
}

impl Breaker {
    /// Whether a message to this topic, named by a hash, is not looked at.
    ///
    /// # Errors
    /// It is not, and until when.
    pub fn check(&self, topic: u64, now_ms: u64) -> Result<(), Refusal> {
        match self.circuits.iter().find(|circuit| circuit.topic == topic) {
            Some(circuit) if circuit.open_until_ms > now_ms => Err(circuit.refusal(now_ms)),
            _ => Ok(()),
        }
    }

    /// A message to this topic was refused, for a reason that does not pass by itself. Where that was once too often, what the
    /// client is told instead of `refusal`.
    pub fn refused(&mut self, topic: u64, refusal: Refusal, limits: QuarantineLimits, now_ms: u64) -> Refusal {
        if limits.refusals == 0 || matches!(refusal.problem.retry, Some(Retry::After { .. })) {
            return refusal;
        }
        let at = match self.circuits.iter().position(|circuit| circuit.topic == topic) {
            Some(at) => at,
            None => {
                if self.circuits.len() == TOPICS_MAX {
                    self.circuits.remove(0);
                }
                self.circuits.push(Circuit { topic, since_ms: now_ms, count: 0, open_until_ms: 0, last_ms: 0 });
                self.circuits.len() - 1
            }
        };
        let Some(circuit) = self.circuits.get_mut(at) else { return refusal };
        if now_ms.saturating_sub(circuit.since_ms) > limits.window_ms.max(circuit.last_ms) {
            *circuit = Circuit { since_ms: now_ms, count: 0, open_until_ms: 0, last_ms: 0, topic };
        }
        circuit.count += 1;
        if circuit.count < limits.refusals {
            return refusal;
        }
        circuit.last_ms = if circuit.last_ms == 0 { limits.first_ms } else { circuit.last_ms.saturating_mul(2).min(limits.max_ms) };
        circuit.open_until_ms = now_ms.saturating_add(circuit.last_ms);
        // After it has been looked at again once, it is known whether anything has changed.
        (circuit.since_ms, circuit.count) = (circuit.open_until_ms, limits.refusals - 1);
        let mut broken = circuit.refusal(now_ms);
        let problem = broken.problem_mut();
        problem.detail = Some(format!("refused {} times: {}", limits.refusals, refusal.reason));
        problem.missing_scope.clone_from(&refusal.problem.missing_scope);
        broken
    }
}

impl Circuit {
    fn refusal(&self, now_ms: u64) -> Refusal {
        let after_ms = self.open_until_ms.saturating_sub(now_ms);
        let problem = Problem::titled("the same message was refused again and again, and is not looked at for a time")
            .rule("quarantine_refusals")
            .retry(Retry::After { after_ms, jitter_ms: after_ms / 2 });
        Refusal::new(Reason::DO_NOT_RETRY, problem)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: QuarantineLimits = QuarantineLimits { refusals: 3, window_ms: 60_000, first_ms: 1000, max_ms: 3000 };

    fn denied() -> Refusal {
        Refusal::new(Reason::NOT_AUTHORIZED, Problem::titled("no").missing_scope("publish:a").retry(Retry::Changed))
    }

    fn after_ms(refusal: &Refusal) -> Option<u64> {
        match refusal.problem.retry {
            Some(Retry::After { after_ms, .. }) => Some(after_ms),
            _ => None,
        }
    }

    #[test]
    fn the_third_time_in_a_row_opens_it_and_each_relapse_doubles_the_time() {
        let mut breaker = Breaker::default();
        for _ in 0..2 {
            assert_eq!(breaker.refused(7, denied(), LIMITS, 0), denied());
            assert_eq!(breaker.check(7, 0), Ok(()));
        }
        let broken = breaker.refused(7, denied(), LIMITS, 0);
        assert_eq!((broken.reason, after_ms(&broken)), (Reason::DO_NOT_RETRY, Some(1000)));
        assert_eq!(broken.problem.missing_scope.as_deref(), Some("publish:a"));
        let meanwhile = breaker.check(7, 400).unwrap_err();
        assert_eq!((meanwhile.reason, after_ms(&meanwhile)), (Reason::DO_NOT_RETRY, Some(600)));
        assert_eq!(breaker.check(8, 400), Ok(()), "another topic");
        assert_eq!(breaker.check(7, 1000), Ok(()), "it is looked at again");
        for (at_ms, expected_ms) in [(1000, 2000), (3000, 3000), (6000, 3000)] {
            assert_eq!(after_ms(&breaker.refused(7, denied(), LIMITS, at_ms)), Some(expected_ms));
        }
        assert_eq!(breaker.refused(7, denied(), LIMITS, 100_000), denied(), "after a time it begins anew");
    }

    #[test]
    fn what_passes_by_itself_does_not_count_and_what_is_kept_in_mind_is_bounded() {
        let mut breaker = Breaker::default();
        let busy = Refusal::new(Reason::SERVER_BUSY, Problem::default().retry(Retry::After { after_ms: 1, jitter_ms: 1 }));
        for topic in 0..1000 {
            assert_eq!(breaker.refused(1, busy.clone(), LIMITS, 0), busy);
            breaker.refused(topic, denied(), LIMITS, 0);
        }
        assert!(breaker.circuits.len() <= TOPICS_MAX);
        let off = QuarantineLimits { refusals: 0, ..LIMITS };
        assert!((0..10).all(|_| breaker.refused(5, denied(), off, 0) == denied()));
    }
}
