//! Delivery reports: what became of a message with those who were to get it.

use crate::publish::Receipt;
use crate::random;
use bytes::Bytes;
use candor_protocol::codec::dictionary::{Dictionary, MapBuilder};
use candor_protocol::packet::{Publish, Reason, property};
use serde_json::Value;
use std::collections::HashMap;
use tokio::sync::oneshot;

/// The topic that reports come on.
const TOPIC: &str = "$feedback/report";

/// What became of a message with those who were to get it, each session counted once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeliveryReport {
    /// Sessions that were to get it; 0: no subscription wanted it.
    pub matched: u64,
    pub accepted: u64,
    /// By reason.
    pub rejected: Vec<(Reason, u64)>,
    /// It was too old when their turn came.
    pub expired: u64,
    /// Their queues were full, or they are gone.
    pub dropped: u64,
    /// They got it at QoS 0, which nobody acknowledges.
    pub unconfirmed: u64,
    /// They have not answered within the time that the server waits.
    pub pending: u64,
}

/// What a publisher that asked is told.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reported {
    Told(DeliveryReport),
    /// There is none, and why: the server makes none for this topic, the connection is plain, or the client has ended.
    NotMade(String),
}

/// The receipt of a message, and what became of it behind the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndToEnd {
    pub receipt: Receipt,
    pub reported: Reported,
}

impl Reported {
    /// `None`: it is no report.
    fn of_json(payload: &[u8]) -> Option<Self> {
        let value: Value = serde_json::from_slice(payload).ok()?;
        let number = |name: &str| value.get(name).and_then(Value::as_u64);
        let Some(matched) = number("matched") else {
            return Some(Self::NotMade(value.get("title")?.as_str()?.to_owned()));
        };
        let rejected = value.get("rejected").and_then(Value::as_array).into_iter().flatten().filter_map(|part| {
            let code = part.get("reason")?.get("code")?.as_u64()?;
            Some((Reason(u8::try_from(code).ok()?), part.get("count")?.as_u64()?))
        });
        let or_0 = |name| number(name).unwrap_or(0);
        Some(Self::Told(DeliveryReport {
            matched,
            accepted: or_0("accepted"),
            rejected: rejected.collect(),
            expired: or_0("expired"),
            dropped: or_0("dropped"),
            unconfirmed: or_0("unconfirmed"),
            pending: or_0("pending"),
        }))
    }
}

/// Somebody who waits for a report, under the tag of the message.
#[derive(Debug)]
pub(crate) struct Wanted {
    tag: Bytes,
    reported: oneshot::Sender<Reported>,
}

/// Asks for a report in the keys of a message.
pub(crate) fn ask(hop: &Dictionary) -> (Dictionary, Wanted, oneshot::Receiver<Reported>) {
    let tag = hop.value(property::TAG).unwrap_or_else(|| Bytes::copy_from_slice(&random::bytes::<8>()));
    let hop = MapBuilder::new().merge(hop).set(property::REPORT_REQUEST, &true).set(property::TAG, &tag).finish();
    let (reported, report) = oneshot::channel();
    (hop, Wanted { tag, reported }, report)
}

/// Who waits for reports. Those who wait no more are forgotten when others come.
#[derive(Debug, Default)]
pub(crate) struct Reports(HashMap<Bytes, oneshot::Sender<Reported>>);

impl Reports {
    pub(crate) fn wait(&mut self, wanted: Wanted) {
        if self.0.len().is_power_of_two() {
            self.0.retain(|_, reported| !reported.is_closed());
        }
        self.0.insert(wanted.tag, wanted.reported);
    }

    /// Whether the message is a report that somebody waits for; then it has been handed to them.
    pub(crate) fn take(&mut self, publish: &Publish) -> bool {
        if self.0.is_empty() || publish.message.topic() != TOPIC.as_bytes() {
            return false;
        }
        let Some(reported) = Reported::of_json(publish.message.payload()) else { return false };
        let waiting = publish.dictionary.value(property::TAG).and_then(|tag| self.0.remove(&tag));
        waiting.is_some_and(|waiting| waiting.send(reported).is_ok())
    }
}
