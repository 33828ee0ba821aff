//! How much of a refusal its receiver is told.

use super::problem::{Problem, Refusal};
use super::reason::Reason;

/// How much of a problem goes to the other end. The log always has all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub enum Disclosure {
    /// Reason and problem.
    #[default]
    Full,
    /// The reason only.
    Code,
    /// Only whether it is an error: reasons from 0x80 on become 0x80.
    Opaque,
}

impl Disclosure {
    /// What holds for somebody who has not proved who it is: never more than the reason.
    pub fn before_authentication(self) -> Self {
        self.max(Self::Code)
    }

    /// What of a refusal is told.
    pub fn of(self, refusal: &Refusal) -> Refusal {
        // Whether and when a retry helps is no secret: without it a client would retry for ever.
        let retry = || Problem { retry: refusal.problem.retry, ..Problem::default() };
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
    fn less_and_less_is_told_but_whether_a_retry_helps_always_is() {
        let problem = Problem::titled("a rule denies it").rule("rules.toml:3").retry(Retry::Changed);
        let refusal = Refusal::new(Reason::NOT_AUTHORIZED, problem);
        let retry = Problem::default().retry(Retry::Changed);
        assert_eq!(Disclosure::Full.of(&refusal), refusal);
        assert_eq!(Disclosure::Code.of(&refusal), Refusal::new(Reason::NOT_AUTHORIZED, retry.clone()));
        assert_eq!(Disclosure::Opaque.of(&refusal), Refusal::new(Reason::UNSPECIFIED_ERROR, retry));
        let [full, code, opaque] = [Disclosure::Full, Disclosure::Code, Disclosure::Opaque].map(Disclosure::before_authentication);
        assert_eq!([full, code, opaque], [Disclosure::Code, Disclosure::Code, Disclosure::Opaque]);
    }
}
