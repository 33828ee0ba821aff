//! Messages from the server, and their settlement.

use crate::options::Settlement;
use crate::properties::named;
use crate::store::MARK_LEN_MAX;
use bytes::Bytes;
use candor_protocol::codec::dictionary::Dictionary;
use candor_protocol::dialect::Dialect;
use candor_protocol::extension::Registry;
use candor_protocol::packet::property::{self, MESSAGE_KEYS, PACKET_KEYS};
use candor_protocol::packet::{Message, Problem, Publish, Qos, Reason, Refusal};
use candor_protocol::session::{Outcome, Ticket};
use std::sync::Arc;
use tokio::sync::mpsc;

/// The settlement of a message, on its way to the driver.
#[derive(Debug)]
pub(crate) struct Settled {
    pub(crate) ticket: Ticket,
    pub(crate) outcome: Outcome,
    pub(crate) topic: String,
    /// It was dropped, not settled.
    pub(crate) dropped: bool,
    /// Kept in the same step.
    pub(crate) mark: Option<Bytes>,
}

/// The right to settle one message, once.
///
/// The queue has no limit of its own: it holds at most one entry for each message that was handed out, and those are bounded by
/// the receive maximum.
#[derive(Debug)]
struct Right {
    ticket: Ticket,
    queue: mpsc::UnboundedSender<Settled>,
}

/// A message from the server.
#[derive(Debug)]
pub struct Incoming {
    publish: Publish,
    dialect: Dialect,
    /// Where the client runs any.
    experiments: Option<Arc<Registry>>,
    right: Option<Right>,
}

impl Incoming {
    pub(crate) fn new(
        mut publish: Publish,
        ticket: Option<Ticket>,
        dialect: Dialect,
        experiments: Option<Arc<Registry>>,
        queue: &mpsc::UnboundedSender<Settled>,
    ) -> Self {
        // A small message would hold the whole buffer that it was read into for as long as the application keeps it.
        if publish.message.len() < 4096 {
            publish.message = publish.message.compact();
        }
        let right = ticket.map(|ticket| Right { ticket, queue: queue.clone() });
        Self { publish, dialect, experiments, right }
    }

    pub fn topic(&self) -> &str {
        self.publish.message.topic_str()
    }

    pub fn payload(&self) -> &[u8] {
        self.publish.message.payload()
    }

    /// The payload, without copying it.
    pub fn payload_bytes(&self) -> Bytes {
        self.publish.message.payload_bytes()
    }

    pub fn message(&self) -> &Message {
        &self.publish.message
    }

    pub fn qos(&self) -> Qos {
        self.publish.qos
    }

    /// Whether it was kept as the last message of its topic, and comes because of a new subscription.
    pub fn retain(&self) -> bool {
        self.publish.retain
    }

    /// Whether it may have been delivered before.
    pub fn dup(&self) -> bool {
        self.publish.dup
    }

    /// The dialect that it came in: a plain one has no properties and no way to refuse.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// What the publisher says about it: the message map.
    pub fn properties(&self) -> Dictionary {
        self.publish.message.dictionary()
    }

    /// What the server says about it: expiry and stamps.
    pub fn hop(&self) -> &Dictionary {
        &self.publish.dictionary
    }

    /// The media type of the payload.
    pub fn content_type(&self) -> Option<String> {
        self.properties().value(property::CONTENT_TYPE)
    }

    /// The principal that published it, as the first server authenticated it.
    pub fn publisher(&self) -> Option<String> {
        self.hop().value(property::PUBLISHER)
    }

    /// All properties by name, the publisher's and then the server's, as text. The key of an experiment that this client does not run stands
    /// under its number.
    pub fn named_properties(&self) -> Vec<(String, String)> {
        let experiments: Vec<_> = self.experiments.iter().flat_map(|registry| registry.iter()).flat_map(|run| run.keys()).collect();
        let hop = named(self.hop(), PACKET_KEYS.iter().chain(experiments.iter().copied()));
        let hop = hop.into_iter().filter(|(name, _)| name != property::MESSAGE.name);
        named(&self.properties(), MESSAGE_KEYS.iter()).into_iter().chain(hop).collect()
    }

    /// Whether it still waits to be settled: it is above QoS 0, and settlement is manual.
    pub fn is_unsettled(&self) -> bool {
        self.right.is_some()
    }

    /// Takes the message over: the server may forget it. At QoS 0 nothing is to be settled, and none of these does anything.
    pub fn accept(mut self) {
        self.settle(Outcome::accepted(), false);
    }

    /// As [`Incoming::accept`], and keeps a mark in the same step: what the application did with the message, such as how long its output is
    /// now. After a crash the mark in the store says exactly which messages were accepted; whatever the application did behind it was
    /// for messages that are handed out again, and has to be undone. At most 1024 bytes are kept; without a store, and at QoS 0, none.
    pub fn accept_with(mut self, mark: impl Into<Bytes>) {
        let mark = mark.into();
        self.settle_with(Outcome::accepted(), false, (mark.len() <= MARK_LEN_MAX).then_some(mark));
    }

    /// Will never take it; the problem says why. A plain server cannot be told: there the message is acknowledged, and
    /// [`Event::RejectedUnheard`](crate::Event::RejectedUnheard) says so.
    pub fn reject(mut self, problem: Problem) {
        self.settle(Outcome::refused(Refusal::new(Reason::REJECTED, problem)), false);
    }

    /// Does not take it now: it may go to another, or come again. On a plain connection the connection ends, which is the only way
    /// to say so there; the message comes again with the next one.
    pub fn release(mut self) {
        self.settle(Outcome::released(), false);
    }

    /// Does not take it before `delay_ms` milliseconds. On a plain connection as [`Incoming::release`].
    pub fn modify(mut self, delay_ms: u64) {
        self.settle(Outcome::modified(delay_ms), false);
    }

    /// Leaves it unsettled for good.
    pub(crate) fn forget(&mut self) {
        self.right = None;
    }

    pub(crate) fn settle(&mut self, outcome: Outcome, dropped: bool) {
        self.settle_with(outcome, dropped, None);
    }

    fn settle_with(&mut self, outcome: Outcome, dropped: bool, mark: Option<Bytes>) {
        if let Some(Right { ticket, queue }) = self.right.take() {
            let topic = self.topic().to_owned();
            // The driver is gone only when the client has ended, and then there is nobody to settle with.
            let _ = queue.send(Settled { ticket, outcome, topic, dropped, mark });
        }
    }
}

/// A message that nobody settles is released.
impl Drop for Incoming {
    fn drop(&mut self) {
        self.settle(Outcome::released(), true);
    }
}

/// The messages of a client, in the order they came.
///
/// At most 1024 and what one read brings wait here; then the server is held back until [`Messages::next`] is called.
/// With [`Settlement::Automatic`] a message is accepted when it is handed out.
#[derive(Debug)]
pub struct Messages {
    pub(crate) queue: mpsc::Receiver<Incoming>,
    pub(crate) settlement: Settlement,
}

impl Messages {
    /// The next message; `None`: the client has ended.
    pub async fn next(&mut self) -> Option<Incoming> {
        let incoming = self.queue.recv().await?;
        Some(self.hand_out(incoming))
    }

    /// A message that waits already; `None`: none does now.
    pub fn ready(&mut self) -> Option<Incoming> {
        let incoming = self.queue.try_recv().ok()?;
        Some(self.hand_out(incoming))
    }

    fn hand_out(&self, mut incoming: Incoming) -> Incoming {
        if self.settlement == Settlement::Automatic {
            incoming.settle(Outcome::accepted(), false);
        }
        incoming
    }
}
