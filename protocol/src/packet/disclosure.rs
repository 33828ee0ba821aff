//! How much of a refusal its receiver is told.

use super::problem::{Problem, Refusal};
use super::reason::Reason;

/// How much of a problem goes to the other end. The log always has all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub enum Disclosure {
    /// Reason and problem.
    #[default]
    Full,
    /// The reason, whether a retry helps, and the trace id.
    Code,
    /// As `Code`, but of the reason only whether it is an error: reasons from 0x80 on become 0x80.
    Opaque,
}

impl Disclosure {
    /// What holds for somebody who has not proved who it is: never more than the reason.
    pub fn before_authentication(self) -> Self {
        self.max(Self::Code)
    }

    /// What of a refusal is told.
    pub fn of(self, refusal: &Refusal) -> Refusal {
        // Whether and when a retry helps is no secret: without it a client would retry for ever. Neither is the trace id: it says
        // something only to those who read the log.
        let retry = || Problem { retry: refusal.problem.retry, trace_id: refusal.problem.trace_id.clone(), ..Problem::default() };
        match self {
            Self::Full => refusal.clone(),
            Self::Code => Refusal::new(refusal.reason, retry()),
            Self::Opaque if refusal.reason.is_error() => Refusal::new(Reason::UNSPECIFIED_ERROR, retry()),
            Self::Opaque => Refusal::new(refusal.reason, retry()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Retry;

    #[test]
    fn less_and_less_is_told_but_whether_a_retry_helps_and_where_the_log_says_more_always_is() {
        let trace_id = Some("00000000000000a7".to_owned());
        let problem = Problem { trace_id, ..Problem::titled("a rule denies it").rule("rules.toml:3").retry(Retry::Changed) };
        let retry = Problem { trace_id: problem.trace_id.clone(), ..Problem::default().retry(Retry::Changed) };
        let refusal = Refusal::new(Reason::NOT_AUTHORIZED, problem);
        assert_eq!(Disclosure::Full.of(&refusal), refusal);
        assert_eq!(Disclosure::Code.of(&refusal), Refusal::new(Reason::NOT_AUTHORIZED, retry.clone()));
        assert_eq!(Disclosure::Opaque.of(&refusal), Refusal::new(Reason::UNSPECIFIED_ERROR, retry));
        let [full, code, opaque] = [Disclosure::Full, Disclosure::Code, Disclosure::Opaque].map(Disclosure::before_authentication);
        assert_eq!([full, code, opaque], [Disclosure::Code, Disclosure::Code, Disclosure::Opaque]);
    }
}
