//! JSON lines: one object for each result.

use crate::agreement::{Agreement, state_name};
use crate::error::Error;
use crate::event::Event;
use crate::incoming::Incoming;
use crate::publish::Receipt;
use crate::report::Reported;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use candor_protocol::packet::{Profile, Refusal, Retry};
use serde_json::{Map, Value, json};
use std::io::Write;

/// An object that is printed on one line.
#[derive(Debug, Clone, Default)]
pub(super) struct Object(Map<String, Value>);

impl Object {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn set(&mut self, name: &str, value: impl Into<Value>) -> &mut Self {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    pub(super) fn set_some(&mut self, name: &str, value: Option<impl Into<Value>>) -> &mut Self {
        if let Some(value) = value {
            self.set(name, value);
        }
        self
    }

    pub(super) fn extend(&mut self, other: Object) -> &mut Self {
        self.0.extend(other.0);
        self
    }

    pub(super) fn line(&self) -> String {
        Value::Object(self.0.clone()).to_string()
    }

    /// On standard output; when that is closed there is nobody to tell.
    pub(super) fn print(&self) {
        let _ = writeln!(std::io::stdout(), "{}", self.line());
    }

    pub(super) fn print_error(&self) {
        super::report::line(&self.line());
    }
}

impl From<Object> for Value {
    fn from(object: Object) -> Self {
        Value::Object(object.0)
    }
}

pub(super) fn refusal(refusal: &Refusal) -> Object {
    let problem = &refusal.problem;
    let mut object = Object::new();
    object.set("reason", refusal.reason.0).set("reason_name", refusal.reason.name());
    object.set_some("title", problem.title.clone()).set_some("detail", problem.detail.clone()).set_some("rule", problem.rule.clone());
    object.set_some("limit", problem.limit).set_some("seen", problem.seen).set_some("field", problem.field.clone());
    match problem.retry {
        None => {}
        Some(Retry::Never) => {
            object.set("retry", "never");
        }
        Some(Retry::Changed) => {
            object.set("retry", "changed");
        }
        Some(Retry::After { after_ms, jitter_ms }) => {
            object.set("retry", "after").set("retry_after_ms", after_ms).set("retry_jitter_ms", jitter_ms);
        }
    }
    object.set_some("missing_scope", problem.missing_scope.clone()).set_some("trace_id", problem.trace_id.clone());
    object
}

pub(super) fn profile(profile: &Profile) -> Object {
    let mut object = Object::new();
    object.set("durability", profile.durability.name()).set("session_durability", profile.session_durability.name());
    object.set("maximum_qos", profile.qos_max).set("retain", profile.retain).set("will", profile.will);
    object.set("shared_subscriptions", profile.shared_subscriptions);
    object.set("session_expiry_s", profile.session_expiry_s_max).set("message_expiry_s", profile.message_expiry_s_max);
    object.set("queue_length", profile.queue_len_max).set("queue_bytes", profile.queue_bytes_max);
    object.set("overflow", profile.overflow.name()).set("will_on_server_close", profile.will_on_server_close);
    object.set("loss_window_ms", profile.loss_window_ms);
    object
}

pub(super) fn receipt(topic: &str, qos: u8, receipt: &Receipt) -> Object {
    let mut object = Object::new();
    object.set("topic", topic).set("qos", qos).set("reason", receipt.reason.0).set("reason_name", receipt.reason.name());
    object.set_some("durability", receipt.durability.map(|durability| durability.name()));
    object.set("dialect", receipt.dialect.name()).set("stripped", receipt.stripped);
    object
}

/// What became of a message behind the server.
pub(super) fn reported(reported: &Reported) -> Object {
    let mut object = Object::new();
    let report = match reported {
        Reported::NotMade(why) => {
            object.set("report", Value::Null).set("no_report", why.clone());
            return object;
        }
        Reported::Told(report) => report,
    };
    let rejected: Vec<Value> =
        report.rejected.iter().map(|(reason, count)| json!({ "reason": reason.0, "reason_name": reason.name(), "count": count })).collect();
    object.set(
        "report",
        json!({
            "matched": report.matched, "accepted": report.accepted, "rejected": rejected, "expired": report.expired,
            "dropped": report.dropped, "unconfirmed": report.unconfirmed, "pending": report.pending,
        }),
    );
    object
}

pub(super) fn incoming(incoming: &Incoming) -> Object {
    let mut object = Object::new();
    object.set("topic", incoming.topic()).set("qos", incoming.qos() as u8).set("retain", incoming.retain()).set("dup", incoming.dup());
    match std::str::from_utf8(incoming.payload()) {
        Ok(text) => object.set("payload", text),
        Err(_) => object.set("payload_base64", BASE64.encode(incoming.payload())),
    };
    let properties: Map<String, Value> =
        incoming.named_properties().into_iter().map(|(name, value)| (name, Value::String(value))).collect();
    if !properties.is_empty() {
        object.set("properties", properties);
    }
    object
}

pub(super) fn agreement(agreement: &Agreement) -> Object {
    let terms = &agreement.terms;
    let mut object = Object::new();
    object.set("dialect", agreement.dialect.name()).set("door", agreement.door.to_string()).set("client_id", agreement.client_id.clone());
    object.set("session_present", agreement.session_present).set_some("session_state", agreement.session_state.map(state_name));
    object
        .set_some("incarnation", agreement.incarnation.as_ref().map(|bytes| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>()));
    object.set_some("profile", agreement.profile.as_ref().map(profile)).set_some("node", agreement.node.clone());
    // A plain server says none of these.
    if agreement.dialect.is_extended() {
        object.set("send_window", terms.send_window).set("packet_size_max", terms.send_size_max).set("keep_alive_s", terms.keep_alive_s);
        object.set("session_expiry_s", terms.session_expiry_s).set("experiments", agreement.experiments.clone());
    }
    if let Some(tls) = &agreement.tls {
        let facts = json!({
            "version": tls.version, "cipher_suite": tls.cipher_suite, "alpn": tls.alpn, "resumed": tls.resumed, "verified": tls.verified,
        });
        object.set("tls", facts);
    }
    object
}

/// The name of an event, and its sentence.
pub(super) fn event(event: &Event) -> Object {
    let mut object = Object::new();
    let name = match event {
        Event::Connected(agreed) => {
            object.extend(agreement(agreed));
            "connected"
        }
        Event::Downgraded { .. } => "downgraded",
        Event::WillPropertiesLost => "will properties lost",
        Event::SessionNotKept => "session not kept",
        Event::SessionLost { unsettled, resent, .. } => {
            object.set("unsettled", *unsettled).set("resent", *resent);
            "session lost"
        }
        Event::SubscriptionLost { filter, refusal: why } => {
            object.set("filter", filter.as_str()).extend(refusal(why));
            "subscription lost"
        }
        Event::Gap { count, topic, refusal: why } => {
            object.set("count", *count).set_some("topic", topic.clone()).extend(refusal(why));
            "gap"
        }
        Event::Refused { topic, count, refusal: why } => {
            object.set("count", *count).set_some("topic", topic.clone()).extend(refusal(why));
            "refused"
        }
        Event::TookOver { count, refusal: why } => {
            object.set("count", *count).extend(refusal(why));
            "took over"
        }
        Event::ProfileChanged(now) => {
            object.set("profile", profile(now));
            "profile changed"
        }
        Event::PacketRefused { topic, refusal: why, .. } => {
            object.set_some("topic", topic.clone()).extend(refusal(why));
            "packet refused"
        }
        Event::Notice(_) => "notice",
        Event::DroppedUnsettled { .. } => "dropped unsettled",
        Event::SettledTooLate { .. } => "settled too late",
        Event::RejectedUnheard { .. } => "rejected unheard",
        Event::NobodyListens { .. } => "nobody listens",
        Event::HeldBack { .. } => "held back",
        Event::NotUnderstood { refusal: why, .. } => {
            object.extend(refusal(why));
            "not understood"
        }
        Event::MemoryFailed(_) => "memory failed",
        Event::Disconnected { error, retry_in } => {
            object.set_some("retry_in_ms", retry_in.map(|wait| wait.as_millis() as u64));
            if let Some(why) = Error::refusal(error) {
                object.extend(refusal(why));
            }
            "disconnected"
        }
        Event::Missed(count) => {
            object.set("count", *count);
            "missed"
        }
    };
    object.set("event", name).set("message", event.to_string());
    object
}
