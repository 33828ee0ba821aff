//! One refusal or loss.

use super::Cause;
use super::told::Object;
use candor_protocol::codec::dictionary::{Dictionary, MapBuilder};
use candor_protocol::packet::property::Key;
use candor_protocol::packet::reserved::FEEDBACK;
use candor_protocol::packet::{Kind, Problem, Reason, Refusal, Retry, TopicName};
use serde_json::Value;
use std::collections::HashMap;
use std::sync::LazyLock;

/// One refusal or loss, about one client's traffic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Milliseconds since 1970.
    pub unix_ms: u64,
    /// The packet that was refused, or that was not sent.
    pub packet: Kind,
    pub refusal: Refusal,
    /// The topic or filter it was about.
    pub topic: Option<String>,
    /// How many packets or messages it stands for.
    pub count: u64,
}

const AT: Key<u64> = Key::new("at", 0);
const PACKET: Key<u64> = Key::new("packet", 1);
const REASON: Key<u64> = Key::new("reason", 2);
const PROBLEM: Key<Dictionary> = Key::new("problem", 3);
const TOPIC: Key<String> = Key::new("topic", 4);
const COUNT: Key<u64> = Key::new("count", 5);

/// The most bytes of a topic that a verdict keeps: it is there to be recognised, and many verdicts are kept.
const TOPIC_BYTES_MAX: usize = 1024;

fn cut(topic: &str) -> String {
    if topic.len() <= TOPIC_BYTES_MAX {
        return topic.to_owned();
    }
    let end = (0..=TOPIC_BYTES_MAX).rev().find(|at| topic.is_char_boundary(*at)).unwrap_or_default();
    format!("{}...", topic.get(..end).unwrap_or_default())
}

impl Verdict {
    /// Writes it down in the map in which a store keeps it.
    pub fn put(&self, map: &mut MapBuilder) {
        map.set(AT, &self.unix_ms).set(PACKET, &(self.packet as u64)).set(REASON, &u64::from(self.refusal.reason.0));
        if !self.refusal.problem.is_empty() {
            map.set(PROBLEM, &self.refusal.problem.to_dictionary());
        }
        map.set_some(TOPIC, self.topic.as_ref()).set(COUNT, &self.count);
    }

    /// `None`: the map holds no verdict.
    pub fn of_map(map: &Dictionary) -> Option<Self> {
        let packet = map.value(PACKET)?;
        let reason = Reason(u8::try_from(map.value(REASON)?).ok()?);
        let problem = map.value(PROBLEM).map(|problem| Problem::of_dictionary(&problem)).unwrap_or_default();
        Some(Self {
            unix_ms: map.value(AT)?,
            packet: Kind::ALL.into_iter().find(|kind| *kind as u64 == packet)?,
            refusal: Refusal::new(reason, problem),
            topic: map.value(TOPIC),
            count: map.value(COUNT)?,
        })
    }

    pub fn new(unix_ms: u64, packet: Kind, refusal: Refusal, topic: Option<&str>) -> Self {
        Self { unix_ms, packet, refusal, topic: topic.map(cut), count: 1 }
    }

    pub fn cause(&self) -> Cause {
        Cause::of(self.reason())
    }

    /// Whether it says what another said before, but for when, how much and under which trace id.
    pub fn repeats(&self, other: &Self) -> bool {
        let (one, two) = (&self.refusal.problem, &other.refusal.problem);
        (self.packet, self.reason(), &self.topic) == (other.packet, other.reason(), &other.topic)
            && (&one.title, &one.detail, &one.rule, &one.field) == (&two.title, &two.detail, &two.rule, &two.field)
    }

    pub fn reason(&self) -> Reason {
        self.refusal.reason
    }

    /// The feedback topic it is told on.
    pub fn topic_name(&self) -> Option<&'static TopicName> {
        static NAMES: LazyLock<HashMap<Kind, TopicName>> = LazyLock::new(|| {
            let name = |kind: Kind| TopicName::new(format!("{FEEDBACK}{}", kind.name().to_ascii_lowercase())).ok();
            Kind::ALL.into_iter().filter_map(|kind| Some((kind, name(kind)?))).collect()
        });
        NAMES.get(&self.packet)
    }

    /// The verdict in the shape of RFC 9457, for clients that read no CBOR; `disclosed` is what its reader is shown of the refusal.
    pub fn to_text(&self, disclosed: &Refusal) -> Vec<u8> {
        tell(self, disclosed)
    }

    /// The same, to be made part of something else.
    pub fn to_json(&self, disclosed: &Refusal) -> Value {
        serde_json::from_slice(&self.to_text(disclosed)).unwrap_or_default()
    }
}

/// What is said of a verdict, its members in the order of a tree. Where no title is given, the reason's name is one.
fn tell(verdict: &Verdict, Refusal { reason, problem }: &Refusal) -> Vec<u8> {
    let mut object = Object::new();
    object.number("at_ms", Some(verdict.unix_ms));
    object.number("count", Some(verdict.count));
    object.text("detail", problem.detail.as_deref());
    object.text("field", problem.field.as_deref());
    object.number("limit", problem.limit);
    object.text("missing_scope", problem.missing_scope.as_deref());
    object.text("packet", Some(verdict.packet.name()));
    object.object("reason", |object| {
        object.number("code", Some(u64::from(reason.0)));
        object.text("name", Some(reason.name()));
    });
    if let Some(retry) = problem.retry {
        object.object("retry", |object| {
            let (when, after) = match retry {
                Retry::Never => ("never", None),
                Retry::After { after_ms, jitter_ms } => ("after", Some((after_ms, jitter_ms))),
                Retry::Changed => ("changed", None),
            };
            object.number("after_ms", after.map(|(after_ms, _)| after_ms));
            object.number("jitter_ms", after.map(|(_, jitter_ms)| jitter_ms));
            object.text("when", Some(when));
        });
    }
    object.text("rule", problem.rule.as_deref());
    object.number("seen", problem.seen);
    object.text("title", Some(problem.title.as_deref().unwrap_or(reason.name())));
    object.text("topic", verdict.topic.as_deref());
    object.text("trace_id", problem.trace_id.as_deref());
    object.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_survives_the_store() {
        let problem = Problem::titled("no").rule("rules:1").limit(1, 2).retry(Retry::Never);
        for (problem, topic) in [(problem, Some("a/b")), (Problem::default(), None)] {
            let mut verdict = Verdict::new(1_700_000_000_000, Kind::Subscribe, Refusal::new(Reason::NOT_AUTHORIZED, problem), topic);
            verdict.count = 300;
            let mut map = MapBuilder::new();
            verdict.put(&mut map);
            assert_eq!(Verdict::of_map(&map.finish()), Some(verdict));
        }
        assert_eq!(Verdict::of_map(&Dictionary::EMPTY), None);
    }

    #[test]
    fn it_is_told_as_text_and_as_a_tree_alike() {
        let mut problem = Problem::titled("no").rule("rules:1").limit(1, 2).detail("why").field("topic").missing_scope("publish:a/b");
        problem.trace_id = Some("00a7".to_owned());
        let retries = [Retry::Never, Retry::Changed, Retry::After { after_ms: 5, jitter_ms: 6 }];
        for retry in retries.map(Some).into_iter().chain([None]) {
            let refusal = Refusal::new(Reason::NOT_AUTHORIZED, Problem { retry, ..problem.clone() });
            for (refusal, topic) in [(refusal, "a/b"), (Refusal::bare(Reason::NOT_AUTHORIZED), "a \"quoted\" \\ topic\n\u{7f}/\u{20ac}")] {
                let verdict = Verdict::new(7, Kind::Publish, refusal.clone(), Some(topic));
                let tree = verdict.to_json(&refusal);
                assert_eq!(String::from_utf8(verdict.to_text(&refusal)).unwrap(), tree.to_string());
                assert_eq!((&tree["count"], &tree["reason"]["code"], &tree["topic"]), (&1.into(), &0x87.into(), &topic.into()));
            }
        }
    }

    #[test]
    fn a_long_topic_is_cut_between_characters() {
        let topic = |text: &str| Verdict::new(0, Kind::Publish, Refusal::bare(Reason::NOT_AUTHORIZED), Some(text)).topic.unwrap();
        assert_eq!(topic(&"x".repeat(1024)), "x".repeat(1024));
        assert_eq!(topic(&"\u{20ac}".repeat(20_000)), "\u{20ac}".repeat(341) + "...");
    }
}
