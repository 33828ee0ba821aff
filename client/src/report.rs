//! Delivery reports: what became of a message with those who were to get it.

use crate::publish::Receipt;
use crate::random;
use bytes::Bytes;
use candor_protocol::codec::dictionary::{Dictionary, MapBuilder};
use candor_protocol::packet::report::TOPIC;
pub use candor_protocol::packet::{DeliveryReport, Reported};
use candor_protocol::packet::{Publish, property};
use std::collections::HashMap;
use tokio::sync::oneshot;

/// The receipt of a message, and what became of it behind the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndToEnd {
    pub receipt: Receipt,
    pub reported: Reported,
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
