//! One refusal or loss.

use super::Cause;
use super::told::Object;
use candor_protocol::codec::dictionary::{Dictionary, MapBuilder};
use candor_protocol::packet::property::Key;
use candor_protocol::packet::reserved::FEEDBACK;
use candor_protocol::packet::{Kind, Problem, Reason, Refusal, Retry, TopicName};
use serde::Serialize;
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
        Told::of(self, disclosed).write()
    }

    /// The same, to be made part of something else.
    pub fn to_json(&self, disclosed: &Refusal) -> Value {
        serde_json::to_value(Told::of(self, disclosed)).unwrap_or_default()
    }
}

/// What is said of a verdict.
#[derive(Debug, Serialize)]
struct Told<'a> {
    at_ms: u64,
    count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    missing_scope: Option<&'a str>,
    packet: &'static str,
    reason: ToldReason,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry: Option<ToldRetry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seen: Option<u64>,
    title: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct ToldReason {
    code: u8,
    name: &'static str,
}

#[derive(Debug, Serialize)]
struct ToldRetry {
    #[serde(skip_serializing_if = "Option::is_none")]
    after_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jitter_ms: Option<u64>,
    when: &'static str,
}

impl<'a> Told<'a> {
    fn of(verdict: &'a Verdict, disclosed: &'a Refusal) -> Self {
        let Refusal { reason, problem } = disclosed;
        Self {
            at_ms: verdict.unix_ms,
            count: verdict.count,
            detail: problem.detail.as_deref(),
            field: problem.field.as_deref(),
            limit: problem.limit,
            missing_scope: problem.missing_scope.as_deref(),
            packet: verdict.packet.name(),
            reason: ToldReason { code: reason.0, name: reason.name() },
            retry: problem.retry.map(ToldRetry::from),
            rule: problem.rule.as_deref(),
            seen: problem.seen,
            title: problem.title.as_deref().unwrap_or(reason.name()),
            topic: verdict.topic.as_deref(),
            trace_id: problem.trace_id.as_deref(),
        }
    }
}

impl Told<'_> {
    /// As text, with its members in the order of a tree.
    fn write(&self) -> Vec<u8> {
        let mut object = Object::new();
        object.number("at_ms", Some(self.at_ms));
        object.number("count", Some(self.count));
        object.text("detail", self.detail);
        object.text("field", self.field);
        object.number("limit", self.limit);
        object.text("missing_scope", self.missing_scope);
        object.text("packet", Some(self.packet));
        object.object("reason", |object| {
            object.number("code", Some(u64::from(self.reason.code)));
            object.text("name", Some(self.reason.name));
        });
        if let Some(retry) = &self.retry {
            object.object("retry", |object| {
                object.number("after_ms", retry.after_ms);
                object.number("jitter_ms", retry.jitter_ms);
                object.text("when", Some(retry.when));
            });
        }
        object.text("rule", self.rule);
        object.number("seen", self.seen);
        object.text("title", Some(self.title));
        object.text("topic", self.topic);
        object.text("trace_id", self.trace_id);
        object.finish()
    }
}

impl From<Retry> for ToldRetry {
    fn from(retry: Retry) -> Self {
        match retry {
            Retry::Never => Self { after_ms: None, jitter_ms: None, when: "never" },
            Retry::After { after_ms, jitter_ms } => Self { after_ms: Some(after_ms), jitter_ms: Some(jitter_ms), when: "after" },
            Retry::Changed => Self { after_ms: None, jitter_ms: None, when: "changed" },
        }
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
