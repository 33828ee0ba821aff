//! When the next connection is tried: exponential back-off with jitter, what the server asks for, and when to give up.

use crate::error::{Error, Misbehaved, NotAvailable, Refused, Step};
use candor_protocol::packet::{Reason, Retry};
use std::time::Duration;

/// A connection that lived so long was a good one: the back-off begins anew.
const STABLE: Duration = Duration::from_secs(10);
/// The same for takeovers, which two clients with one client id can do to each other for ever.
const UNDISPUTED: Duration = Duration::from_secs(300);
/// The wait after a first takeover.
const TAKEOVER_DELAY: Duration = Duration::from_secs(5);

/// What a client does when its connection ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reconnect {
    enabled: bool,
    first: bool,
    delay_min: Duration,
    delay_max: Duration,
    attempts_max: Option<u32>,
    takeovers_max: u32,
}

impl Default for Reconnect {
    /// For ever, with waits from 0.5 s to 30 s; after the third takeover in a row not any more.
    fn default() -> Self {
        Self {
            enabled: true,
            first: false,
            delay_min: Duration::from_millis(500),
            delay_max: Duration::from_secs(30),
            attempts_max: None,
            takeovers_max: 3,
        }
    }
}

impl Reconnect {
    /// The first end of the connection ends the client.
    pub fn never() -> Self {
        Self { enabled: false, ..Self::default() }
    }

    /// The first wait, which doubles with each failure, and the longest. Of each wait a random half is left out.
    pub fn delays(mut self, min: Duration, max: Duration) -> Self {
        (self.delay_min, self.delay_max) = (min, max.max(min));
        self
    }

    /// Failures in a row after which the client ends; default: none.
    pub fn attempts_max(mut self, attempts: u32) -> Self {
        self.attempts_max = Some(attempts);
        self
    }

    /// Takeovers in a row after which the client ends; default 3.
    pub fn takeovers_max(mut self, takeovers: u32) -> Self {
        self.takeovers_max = takeovers;
        self
    }

    /// Whether the first connection is tried again too; default false: its failure is
    /// [`Client::connect`](crate::Client::connect)'s.
    pub fn also_first(mut self, first: bool) -> Self {
        self.first = first;
        self
    }
}

/// What to do after a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Wait(Duration),
    Stop,
}

/// What the server, or the nature of a failure, says about another try.
enum Hint {
    Stop,
    BackOff,
    Longest,
    After {
        least: Duration,
        jitter: Duration,
    },
    /// Another connection took the session; what the server asks for.
    Takeover {
        asked: Option<(Duration, Duration)>,
    },
}

#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    policy: Reconnect,
    failures: u32,
    takeovers: u32,
}

impl Backoff {
    pub(crate) fn new(policy: Reconnect) -> Self {
        Self { policy, failures: 0, takeovers: 0 }
    }

    /// Decides after a connection ended, or could not be made. `lived`: how long it was open; `None`: it was not, and
    /// `ever_open`: an earlier one was.
    pub(crate) fn after(&mut self, error: &Error, lived: Option<Duration>, ever_open: bool, random: u64) -> Verdict {
        if !self.policy.enabled || !(ever_open || self.policy.first) {
            return Verdict::Stop;
        }
        if lived.is_some_and(|lived| lived >= STABLE) {
            self.failures = 0;
        }
        if lived.is_some_and(|lived| lived >= UNDISPUTED) {
            self.takeovers = 0;
        }
        self.failures = self.failures.saturating_add(1);
        if self.policy.attempts_max.is_some_and(|max| self.failures > max) {
            return Verdict::Stop;
        }
        let exponential = self.doubled(self.policy.delay_min, self.failures);
        match hint(error) {
            Hint::Stop => Verdict::Stop,
            Hint::BackOff => Verdict::Wait(exponential / 2 + part(exponential / 2, random)),
            Hint::Longest => Verdict::Wait(self.policy.delay_max / 2 + part(self.policy.delay_max / 2, random)),
            // The server knows better than this client when to come back; jitter spreads those that it told the same.
            Hint::After { least, jitter } => Verdict::Wait(least + part(jitter, random)),
            Hint::Takeover { asked } => {
                self.takeovers += 1;
                if self.takeovers >= self.policy.takeovers_max {
                    return Verdict::Stop;
                }
                // Two that fight are at least as patient as either of both says.
                let own = TAKEOVER_DELAY * 2u32.saturating_pow(self.takeovers - 1);
                let (least, jitter) = asked.map_or((own, own), |(least, jitter)| (own.max(least), own.max(jitter)));
                Verdict::Wait(least + part(jitter, random))
            }
        }
    }

    fn doubled(&self, delay: Duration, failures: u32) -> Duration {
        delay.saturating_mul(2u32.saturating_pow(failures.saturating_sub(1).min(20))).min(self.policy.delay_max)
    }
}

fn part(of: Duration, random: u64) -> Duration {
    Duration::from_millis(random % (of.as_millis() as u64 + 1))
}

fn hint(error: &Error) -> Hint {
    match error {
        Error::Left | Error::Cancelled | Error::Misuse(_) | Error::Store(_) => Hint::Stop,
        Error::NotAvailable(NotAvailable::Extension { .. } | NotAvailable::SpokeBefore { .. }) => Hint::Stop,
        Error::Misbehaved(Misbehaved::BadAccept(_)) => Hint::Stop,
        Error::Misbehaved(_) | Error::GivenBack(_) => Hint::BackOff,
        Error::Transport(error) if error.step == Step::TlsFiles => Hint::Stop,
        Error::Transport(_) => Hint::BackOff,
        Error::Refused(refused) | Error::Ended(refused) | Error::NotAvailable(NotAvailable::Profile(refused)) => hint_of_server(refused),
    }
}

fn hint_of_server(refused: &Refused) -> Hint {
    let refusal = &refused.refusal;
    let retry_after = refused.retry_after_ms.map(Duration::from_millis);
    match refusal.problem.retry {
        Some(Retry::Never) => Hint::Stop,
        retry if refusal.reason == Reason::SESSION_TAKEN_OVER => {
            let asked = match retry {
                Some(Retry::After { after_ms, jitter_ms }) => Some((Duration::from_millis(after_ms), Duration::from_millis(jitter_ms))),
                _ => None,
            };
            Hint::Takeover { asked }
        }
        Some(Retry::After { after_ms, jitter_ms }) => {
            let least = Duration::from_millis(after_ms).max(retry_after.unwrap_or_default());
            Hint::After { least, jitter: Duration::from_millis(jitter_ms).max(Duration::from_millis(1)) }
        }
        retry => match (retry_after, retry) {
            // The registry says of `retry-after`: the client adds a random part of up to half of it.
            (Some(least), _) => Hint::After { least, jitter: least / 2 },
            (None, Some(_)) => Hint::Longest,
            (None, None) if is_permanent(refusal.reason) => Hint::Stop,
            (None, None) => Hint::BackOff,
        },
    }
}

/// Reasons that the same attempt meets again, where the server does not say otherwise.
fn is_permanent(reason: Reason) -> bool {
    [
        Reason::MALFORMED_PACKET,
        Reason::PROTOCOL_ERROR,
        Reason::UNSUPPORTED_PROTOCOL_VERSION,
        Reason::CLIENT_IDENTIFIER_NOT_VALID,
        Reason::BAD_USER_NAME_OR_PASSWORD,
        Reason::NOT_AUTHORIZED,
        Reason::PROFILE_NOT_AVAILABLE,
        Reason::CRITICAL_KEY_UNKNOWN,
        Reason::KEY_NOT_ALLOWED,
        Reason::EXTENSION_REQUIRED,
        Reason::RETAIN_NOT_SUPPORTED,
        Reason::QOS_NOT_SUPPORTED,
        Reason::DO_NOT_RETRY,
    ]
    .contains(&reason)
}

#[cfg(test)]
mod storm;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Address;
    use crate::error::TransportError;
    use candor_protocol::dialect::Dialect;
    use candor_protocol::packet::{Problem, Refusal};

    fn lost() -> Error {
        let server: Address = "mqtt://localhost".parse().unwrap();
        Error::Transport(TransportError { step: Step::Open, server, cause: String::new() })
    }

    fn ended(reason: Reason, problem: Problem, retry_after_ms: Option<u64>) -> Error {
        let refusal = Refusal::new(reason, problem);
        Error::Ended(Box::new(Refused { refusal, retry_after_ms, nearest: None, dialect: Dialect::Extended }))
    }

    fn wait(verdict: Verdict) -> u128 {
        match verdict {
            Verdict::Wait(delay) => delay.as_millis(),
            Verdict::Stop => panic!("it stopped"),
        }
    }

    #[test]
    fn waits_double_up_to_the_longest_and_begin_anew_after_a_good_connection() {
        let mut backoff = Backoff::new(Reconnect::default());
        let mut after = |lived| wait(backoff.after(&lost(), lived, true, u64::MAX / 3));
        let waits: Vec<_> = (0..9).map(|_| after(None)).collect();
        for (at, wait) in waits.iter().enumerate() {
            let whole = (500 << at).min(30_000);
            assert!((whole / 2..=whole).contains(wait), "{waits:?}");
        }
        assert!(after(Some(Duration::from_secs(1))) > 10_000, "a connection that died young proves nothing");
        assert!(after(Some(STABLE)) <= 500);
    }

    #[test]
    fn the_server_says_when_to_come_back() {
        let mut backoff = Backoff::new(Reconnect::default());
        let draining = ended(Reason::SERVER_SHUTTING_DOWN, Problem::default(), Some(4000));
        assert!((4000..=6000).contains(&wait(backoff.after(&draining, None, true, 12_345))));
        let busy = Problem::titled("full").retry(Retry::After { after_ms: 90_000, jitter_ms: 1000 });
        assert!((90_000..=91_000).contains(&wait(backoff.after(&ended(Reason::SERVER_BUSY, busy, None), None, true, 777))));
    }

    #[test]
    fn what_a_retry_cannot_help_is_not_tried_again() {
        let mut backoff = Backoff::new(Reconnect::default());
        let never = Problem::titled("no").retry(Retry::Never);
        for error in [
            ended(Reason::SERVER_BUSY, never, None),
            ended(Reason::NOT_AUTHORIZED, Problem::default(), None),
            Error::Misbehaved(Misbehaved::BadAccept(candor_protocol::dialect::offer::BadAccept::WrongHash)),
            Error::Left,
        ] {
            assert_eq!(backoff.after(&error, None, true, 0), Verdict::Stop, "{error}");
        }
        assert_eq!(Backoff::new(Reconnect::never()).after(&lost(), None, true, 0), Verdict::Stop);
        assert_eq!(Backoff::new(Reconnect::default()).after(&lost(), None, false, 0), Verdict::Stop, "the first is the caller's");
        let mut twice = Backoff::new(Reconnect::default().attempts_max(2));
        assert!(wait(twice.after(&lost(), None, true, 0)) > 0 && wait(twice.after(&lost(), None, true, 0)) > 0);
        assert_eq!(twice.after(&lost(), None, true, 0), Verdict::Stop);
    }

    #[test]
    fn two_clients_with_one_id_stop_fighting() {
        let mut backoff = Backoff::new(Reconnect::default());
        let takeover = ended(Reason::SESSION_TAKEN_OVER, Problem::default(), None);
        let mut after = || backoff.after(&takeover, Some(Duration::from_secs(20)), true, 0);
        assert_eq!((wait(after()), wait(after())), (5000, 10_000));
        assert_eq!(after(), Verdict::Stop);
    }

    #[test]
    fn who_is_told_how_long_to_stay_away_from_a_disputed_session_does_and_stops_in_the_end() {
        let mut backoff = Backoff::new(Reconnect::default());
        let mut after = |after_ms| {
            let problem = Problem::titled("taken").retry(Retry::After { after_ms, jitter_ms: 0 });
            backoff.after(&ended(Reason::SESSION_TAKEN_OVER, problem, None), Some(Duration::from_secs(20)), true, 0)
        };
        assert_eq!((wait(after(60_000)), wait(after(1))), (60_000, 10_000));
        assert_eq!(after(60_000), Verdict::Stop);
    }
}
