//! The view of a packet in JSON. What is empty or not there is left out, flags alone always stand.

use candor_protocol::codec::dictionary::{Dictionary, Entries, Item, KeyRef};
use candor_protocol::packet::subscribe::RequestedFilter;
use candor_protocol::packet::{Packet, Reason, Will};
use serde_json::{Map, Value, json};

pub(crate) fn packet(packet: &Packet) -> Value {
    let mut view = View(Map::new());
    view.put("type", packet.kind().name());
    match packet {
        Packet::Connect(connect) => {
            view.put("clean_session", connect.clean_session).put("keep_alive_s", connect.keep_alive_s);
            view.put("client_id", connect.client_id.as_str());
            view.put_some("will", connect.will.as_ref().map(will));
            view.put_some("user_name", connect.user_name.clone()).put_some("password", connect.password.as_deref().map(hex));
        }
        Packet::ConnAck(connack) => {
            view.put("session_present", connack.session_present).put("reason", reason(connack.reason));
        }
        Packet::Publish(publish) => {
            view.put("dup", publish.dup).put("qos", publish.qos as u8).put("retain", publish.retain);
            view.put_some("id", publish.id.map(|id| id.value()));
            view.put("topic", publish.message.topic_str()).put("payload", hex(publish.message.payload()));
            view.put_entries("message", &publish.message.dictionary());
        }
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => {
            view.put("id", ack.id.value()).put("reason", reason(ack.reason));
        }
        Packet::Subscribe(subscribe) => {
            let filters = subscribe.items.iter().map(|item| filter(&item.filter, Some(item.qos as u8)));
            view.put("id", subscribe.id.value()).put("filters", filters.collect::<Vec<_>>());
        }
        Packet::SubAck(suback) => {
            view.put("id", suback.id.value()).put("reasons", reasons(&suback.reasons));
        }
        Packet::Unsubscribe(unsubscribe) => {
            let filters = unsubscribe.filters.iter().map(|requested| filter(requested, None));
            view.put("id", unsubscribe.id.value()).put("filters", filters.collect::<Vec<_>>());
        }
        Packet::UnsubAck(unsuback) => {
            view.put("id", unsuback.id.value());
            view.put_some("reasons", (!unsuback.reasons.is_empty()).then(|| reasons(&unsuback.reasons)));
            view.put_some("accept", (!unsuback.accept.is_empty()).then(|| hex(&unsuback.accept)));
        }
        Packet::PingReq(_) | Packet::PingResp(_) => {}
        Packet::Disconnect(disconnect) => {
            view.put("reason", reason(disconnect.reason));
        }
        Packet::Notice(notice) => {
            view.put("reason", reason(notice.reason));
        }
    }
    view.put_entries("dictionary", packet.dictionary());
    Value::Object(view.0)
}

struct View(Map<String, Value>);

impl View {
    fn put(&mut self, name: &str, value: impl Into<Value>) -> &mut Self {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    fn put_some(&mut self, name: &str, value: Option<impl Into<Value>>) -> &mut Self {
        if let Some(value) = value {
            self.put(name, value);
        }
        self
    }

    fn put_entries(&mut self, name: &str, dictionary: &Dictionary) -> &mut Self {
        self.put_some(name, (!dictionary.is_empty()).then(|| entries(dictionary.entries())))
    }
}

fn will(will: &Will) -> Value {
    let mut view = View(Map::new());
    view.put("topic", will.message.topic_str()).put("payload", hex(will.message.payload()));
    view.put("qos", will.qos as u8).put("retain", will.retain);
    view.put_entries("message", &will.message.dictionary()).put_entries("dictionary", &will.dictionary);
    Value::Object(view.0)
}

fn filter(requested: &RequestedFilter, qos: Option<u8>) -> Value {
    let mut view = View(Map::new());
    view.put_some("qos", qos);
    match requested {
        Ok(filter) => view.put("filter", filter.as_str()).put_some("group", filter.group()),
        Err((text, error)) => view.put("filter", text.as_str()).put("invalid", format!("{error:?}")),
    };
    Value::Object(view.0)
}

fn reason(reason: Reason) -> String {
    format!("0x{:02X}", reason.0)
}

fn reasons(reasons: &[Reason]) -> Vec<String> {
    reasons.iter().copied().map(reason).collect()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The entries of a map as pairs, in the order they travel.
pub(crate) fn entries(entries: Entries<'_>) -> Value {
    let pair = |(key, value)| match key {
        KeyRef::Number(number) => json!([integer(number.into()), item(value)]),
        KeyRef::Text(text) => json!([text, item(value)]),
    };
    entries.map(pair).collect::<Vec<_>>().into()
}

fn item(value: Item<'_>) -> Value {
    match value {
        Item::Unsigned(n) => integer(n.into()),
        Item::Negative(n) => integer(-1 - i128::from(n)),
        Item::Bytes(bytes) => json!({ "bytes": hex(bytes) }),
        Item::Text(text) => text.into(),
        Item::Array(_) => value.elements().map(item).collect::<Vec<_>>().into(),
        Item::Map(_) => json!({ "map": entries(value.entries()) }),
        Item::Bool(value) => value.into(),
        Item::Null => Value::Null,
        Item::Float(value) => json!({ "float": float(value) }),
    }
}

/// Integers that a double cannot hold stand as text, for readers whose numbers are doubles.
fn integer(n: i128) -> Value {
    match i64::try_from(n) {
        Ok(n) if n.unsigned_abs() < 1 << 53 => n.into(),
        _ => json!({ "integer": n.to_string() }),
    }
}

fn float(value: f64) -> String {
    format!("{value:?}")
}

/// An expected view as this module would print it: repetitions written out, floats in one spelling.
pub(crate) fn expected(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(expected).collect::<Vec<_>>().into(),
        Value::Object(fields) => match (fields.get("repeat"), fields.get("count"), fields.get("float")) {
            (Some(Value::String(unit)), Some(count), None) => unit.repeat(count.as_u64().unwrap() as usize).into(),
            (None, None, Some(Value::String(text))) => json!({ "float": float(text.parse().unwrap()) }),
            _ => fields.iter().map(|(name, value)| (name.clone(), expected(value))).collect::<Map<_, _>>().into(),
        },
        other => other.clone(),
    }
}
