//! Refusals of messages at QoS 0 on their way to one publisher: the first is told at once, the next ones together, once an
//! interval. What waits is bounded, whatever is sent.

use bytes::Bytes;
use candor_protocol::codec::dictionary::MapBuilder;
use candor_protocol::packet::{Notice, Problem, Reason, Refusal, property};

/// How often at most a publisher is told of refusals.
pub const INTERVAL_MS: u64 = 1000;
/// The most different refusals that are told in an interval with their topic and tag; the others of a reason are told as a number.
const DETAILED_MAX: usize = 16;
/// The longest topic that is repeated.
const TOPIC_LEN_MAX: usize = 1024;

/// Refused messages that are told with one NOTICE.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Waiting {
    refusal: Refusal,
    /// `None`: several that were more than are told one by one.
    about: Option<(String, Option<Bytes>)>,
    count: u64,
}

/// What one publisher has still to be told.
#[derive(Debug, Default)]
pub struct Notices {
    waiting: Vec<Waiting>,
    /// When the next ones may be told; `None`: at once.
    due_ms: Option<u64>,
}

impl Notices {
    /// A message was refused, with as much as is disclosed. The result is when the rest has to be told, where it was not known.
    pub fn add(&mut self, refusal: Refusal, topic: &str, tag: Option<Bytes>, now_ms: u64) -> Option<u64> {
        let topic = if topic.len() <= TOPIC_LEN_MAX { topic.to_owned() } else { String::new() };
        let about = Some((topic, tag));
        let is_first = self.due_ms.is_none();
        if let Some(same) = self.waiting.iter_mut().find(|waiting| waiting.is_same(&refusal) && waiting.about == about) {
            same.count += 1;
        } else if self.waiting.iter().filter(|waiting| waiting.about.is_some()).count() < DETAILED_MAX {
            self.waiting.push(Waiting { refusal, about, count: 1 });
        } else if let Some(others) = self.waiting.iter_mut().find(|waiting| waiting.about.is_none() && waiting.is_same(&refusal)) {
            others.count += 1;
        } else {
            // There are not more of these than reasons in the table.
            let problem = Problem { retry: refusal.problem.retry, trace_id: refusal.problem.trace_id.clone(), ..Problem::default() };
            self.waiting.push(Waiting { refusal: Refusal::new(refusal.reason, problem), about: None, count: 1 });
        }
        is_first.then(|| {
            self.due_ms = Some(now_ms);
            now_ms
        })
    }

    /// What is told now, and when it has to be asked again, if at all.
    pub fn take(&mut self, now_ms: u64) -> (Vec<Notice>, Option<u64>) {
        match self.due_ms {
            Some(due_ms) if due_ms <= now_ms => {}
            due_ms => return (Vec::new(), due_ms),
        }
        let notices: Vec<Notice> = std::mem::take(&mut self.waiting).into_iter().map(Waiting::into_notice).collect();
        // A silent interval ends it.
        self.due_ms = (!notices.is_empty()).then(|| now_ms + INTERVAL_MS);
        (notices, self.due_ms)
    }
}

impl Waiting {
    fn is_same(&self, refusal: &Refusal) -> bool {
        self.refusal.reason == refusal.reason && (self.about.is_none() || self.refusal.problem.rule == refusal.problem.rule)
    }

    fn into_notice(self) -> Notice {
        let mut map = MapBuilder::new();
        map.set_problem(&self.refusal.problem);
        if let Some((topic, tag)) = self.about {
            map.set_some(property::TAG, tag.as_ref());
            if !topic.is_empty() {
                map.set(property::TOPIC, &topic);
            }
        }
        if self.count > 1 {
            map.set(property::COUNT, &self.count);
        }
        Notice { reason: known(self.refusal.reason), dictionary: map.finish() }
    }
}

/// The reason as NOTICE may carry it.
fn known(reason: Reason) -> Reason {
    if reason.allowed_in(candor_protocol::packet::Kind::Notice) { reason } else { Reason::UNSPECIFIED_ERROR }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal() -> Refusal {
        Refusal::new(Reason::NOT_AUTHORIZED, Problem::titled("no").rule("rules:3"))
    }

    fn told(notices: &[Notice]) -> Vec<(Option<String>, Option<Bytes>, u64)> {
        let map = |notice: &Notice| notice.dictionary.clone();
        let count = |notice: &Notice| map(notice).value(property::COUNT).unwrap_or(1);
        notices.iter().map(|notice| (map(notice).value(property::TOPIC), map(notice).value(property::TAG), count(notice))).collect()
    }

    #[test]
    fn the_first_is_told_at_once_and_the_next_ones_together() {
        let mut notices = Notices::default();
        let tag = Some(Bytes::from_static(b"t"));
        assert_eq!(notices.add(refusal(), "a", tag.clone(), 5), Some(5));
        assert_eq!(notices.add(refusal(), "a", tag.clone(), 5), None, "it is asked already");
        let (first, next) = notices.take(5);
        assert_eq!((told(&first), next), (vec![(Some("a".into()), tag.clone(), 2)], Some(5 + INTERVAL_MS)));
        for n in 0..100 {
            assert_eq!(notices.add(refusal(), if n % 2 == 0 { "a" } else { "b" }, None, 6), None);
        }
        assert_eq!(notices.take(7).0, []);
        let (second, next) = notices.take(5 + INTERVAL_MS);
        assert_eq!(told(&second), [(Some("a".into()), None, 50), (Some("b".into()), None, 50)]);
        assert_eq!(notices.take(next.unwrap()), (vec![], None), "nothing came, nothing is asked any more");
        assert_eq!(notices.add(refusal(), "a", None, 9000), Some(9000));
    }

    #[test]
    fn what_waits_is_bounded_and_no_refusal_is_left_out_of_the_numbers() {
        let mut notices = Notices::default();
        notices.add(refusal(), "first", None, 0);
        notices.take(0);
        for n in 0..10_000 {
            let reason = if n % 2 == 0 { Reason::NOT_AUTHORIZED } else { Reason::QUOTA_EXCEEDED };
            let tag = Bytes::from(format!("{n}"));
            notices.add(Refusal::new(reason, Problem::default()), &format!("topic/{n}"), Some(tag), 1);
        }
        let (told_now, _) = notices.take(INTERVAL_MS);
        assert_eq!(told_now.len(), DETAILED_MAX + 2);
        assert_eq!(told(&told_now).iter().map(|(_, _, count)| count).sum::<u64>(), 10_000);
        assert!(told_now.iter().map(|notice| notice.dictionary.as_bytes().len()).sum::<usize>() < 2048);
    }
}
