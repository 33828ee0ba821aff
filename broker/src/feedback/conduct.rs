//! How the client of one connection behaves: what is kept only for those that were refused something, that publish for nothing, or that
//! have limits.

use super::{Breaker, Notices, Rate};
use candor_protocol::packet::{Kind, Problem, Reason};

/// For how long the same refusal comes to the line in the log that stands there already.
const SAID_MS: u64 = 1000;

/// For how long a client counts as one that publishes for nothing.
const FUTILE_MS: u64 = 1000;

/// See the module.
#[derive(Debug, Default)]
pub struct Conduct {
    pub rate: Rate,
    pub breaker: Breaker,
    pub notices: Notices,
    /// It took its session from another connection, and is still to be told; how many times in a row that happened.
    pub took_over: Option<(Problem, u32)>,
    said: Option<Said>,
    futile_until_ms: u64,
}

/// The line that the log has.
#[derive(Debug)]
struct Said {
    what: (Kind, Reason, u64),
    until_ms: u64,
    trace_id: Option<String>,
    more: u64,
}

/// Whether a refusal gets a line in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// It does. So many were like the one in the last line, and had none.
    New { before: u64 },
    /// It is told with the trace id of the line that stands there.
    Same { trace_id: Option<String> },
}

impl Conduct {
    /// A refusal of a packet about a topic, named by a hash. A flood of the same ones writes one line a second.
    pub fn line(&mut self, what: (Kind, Reason, u64), now_ms: u64) -> Line {
        match &mut self.said {
            Some(said) if said.what == what && now_ms < said.until_ms => {
                said.more += 1;
                Line::Same { trace_id: said.trace_id.clone() }
            }
            said => {
                let before = said.take().map_or(0, |said| said.more);
                *said = Some(Said { what, until_ms: now_ms + SAID_MS, trace_id: None, more: 0 });
                Line::New { before }
            }
        }
    }

    /// Whether something was refused within the last second.
    pub fn is_refused_lately(&self, now_ms: u64) -> bool {
        self.said.as_ref().is_some_and(|said| now_ms < said.until_ms)
    }

    /// What it has sent came to nothing.
    pub fn note_futile(&mut self, now_ms: u64) {
        self.futile_until_ms = now_ms + FUTILE_MS;
    }

    /// Whether others are to be served first: something was refused, or what it sent came to nothing, within the last second.
    pub fn comes_behind(&self, now_ms: u64) -> bool {
        now_ms < self.futile_until_ms || self.is_refused_lately(now_ms)
    }

    /// The trace id of the line that was just begun.
    pub fn wrote(&mut self, trace_id: Option<String>) {
        if let Some(said) = &mut self.said {
            said.trace_id = trace_id;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_the_same_refusal_writes_one_line_a_second_and_all_share_its_trace_id() {
        let mut conduct = Conduct::default();
        let what = (Kind::Publish, Reason::NOT_AUTHORIZED, 7);
        assert!(!conduct.is_refused_lately(0));
        assert_eq!(conduct.line(what, 0), Line::New { before: 0 });
        assert_eq!([0, 999, 1000].map(|now_ms| conduct.is_refused_lately(now_ms)), [true, true, false]);
        assert_eq!([0, 999, 1000].map(|now_ms| conduct.comes_behind(now_ms)), [true, true, false]);
        conduct.wrote(Some("00a7".to_owned()));
        for ms in 0..1000 {
            assert_eq!(conduct.line(what, ms), Line::Same { trace_id: Some("00a7".to_owned()) });
        }
        assert_eq!(conduct.line(what, 1000), Line::New { before: 1000 });
        assert_eq!(conduct.line((Kind::Publish, Reason::NOT_AUTHORIZED, 8), 1000), Line::New { before: 0 });
    }

    #[test]
    fn who_publishes_for_nothing_comes_behind_for_a_second_and_was_refused_nothing() {
        let mut conduct = Conduct::default();
        assert!(!conduct.comes_behind(0));
        conduct.note_futile(5);
        assert_eq!([5, 1004, 1005].map(|now_ms| conduct.comes_behind(now_ms)), [true, true, false]);
        assert!(!conduct.is_refused_lately(5));
    }
}
