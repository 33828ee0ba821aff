//! One refusal or loss.

use candor_protocol::packet::{Kind, Reason, Refusal, Retry};
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

impl Verdict {
    pub fn new(unix_ms: u64, packet: Kind, refusal: Refusal, topic: Option<&str>) -> Self {
        Self { unix_ms, packet, refusal, topic: topic.map(str::to_owned), count: 1 }
    }

    pub fn reason(&self) -> Reason {
        self.refusal.reason
    }

    /// The last level of the feedback topic it is told on.
    pub fn topic_name(&self) -> String {
        format!("$feedback/{}", self.packet.name().to_ascii_lowercase())
    }

    /// The verdict in the shape of RFC 9457, for clients that read no CBOR.
    pub fn to_json(&self) -> Value {
        let problem = &self.refusal.problem;
        let mut map = Map::new();
        let title = problem.title.clone().unwrap_or_else(|| self.reason().name().to_owned());
        map.insert("title".into(), title.into());
        map.insert("reason".into(), json!({ "code": self.reason().0, "name": self.reason().name() }));
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
