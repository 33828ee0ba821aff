//! One refusal or loss.

use super::Cause;
use candor_protocol::codec::dictionary::{Dictionary, MapBuilder};
use candor_protocol::packet::property::Key;
use candor_protocol::packet::reserved::FEEDBACK;
use candor_protocol::packet::{Kind, Problem, Reason, Refusal, Retry};
use serde_json::{Map, Value, json};

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

    /// The last level of the feedback topic it is told on.
    pub fn topic_name(&self) -> String {
        format!("{FEEDBACK}{}", self.packet.name().to_ascii_lowercase())
    }

    /// The verdict in the shape of RFC 9457, for clients that read no CBOR; `disclosed` is what its reader is shown of the refusal.
    pub fn to_json(&self, disclosed: &Refusal) -> Value {
        let Refusal { reason, problem } = disclosed;
        let mut map = Map::new();
        let title = problem.title.clone().unwrap_or_else(|| reason.name().to_owned());
        map.insert("title".into(), title.into());
        map.insert("reason".into(), json!({ "code": reason.0, "name": reason.name() }));
        map.insert("packet".into(), self.packet.name().into());
        map.insert("at_ms".into(), self.unix_ms.into());
        map.insert("count".into(), self.count.into());
        let texts = [
            ("topic", &self.topic),
            ("detail", &problem.detail),
            ("rule", &problem.rule),
            ("field", &problem.field),
            ("missing_scope", &problem.missing_scope),
            ("trace_id", &problem.trace_id),
        ];
        for (name, text) in texts {
            if let Some(text) = text {
                map.insert(name.into(), text.as_str().into());
            }
        }
        for (name, number) in [("limit", problem.limit), ("seen", problem.seen)] {
            if let Some(number) = number {
                map.insert(name.into(), number.into());
            }
        }
        if let Some(retry) = problem.retry {
            let value = match retry {
                Retry::Never => json!({ "when": "never" }),
                Retry::After { after_ms, jitter_ms } => json!({ "when": "after", "after_ms": after_ms, "jitter_ms": jitter_ms }),
                Retry::Changed => json!({ "when": "changed" }),
            };
            map.insert("retry".into(), value);
        }
        Value::Object(map)
    }
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
    fn a_long_topic_is_cut_between_characters() {
        let topic = |text: &str| Verdict::new(0, Kind::Publish, Refusal::bare(Reason::NOT_AUTHORIZED), Some(text)).topic.unwrap();
        assert_eq!(topic(&"x".repeat(1024)), "x".repeat(1024));
        assert_eq!(topic(&"\u{20ac}".repeat(20_000)), "\u{20ac}".repeat(341) + "...");
    }
}
