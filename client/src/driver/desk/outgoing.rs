//! Messages to the server: they wait for a connection, then for the window, then for their receipt.

use super::Desk;
use crate::error::PublishError;
use crate::link::Link;
use crate::publish::{self, Order, Receipt};
use crate::store::Record;
use candor_protocol::codec::dictionary::KeyRef;
use candor_protocol::dialect::Dialect;
use candor_protocol::dialect::write::PublishFrame;
use candor_protocol::packet::Qos;
use candor_protocol::packet::property::MINIMUM_DURABILITY;
use candor_protocol::session::{Admitted, Delivery, Outcome, Token};
use tokio::sync::oneshot;

/// A publisher that waits.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) outcome: oneshot::Sender<publish::Outcome>,
    asks_durability: bool,
    has_properties: bool,
    /// It is in the store.
    stored: bool,
}

impl Desk {
    /// Whether more messages may wait.
    pub(in crate::driver) fn has_room(&self) -> bool {
        self.queue.len() < self.options.queue_limit && self.queue_bytes < self.options.queue_bytes
    }

    /// Takes a message; without a connection it is refused when too many wait already.
    pub(in crate::driver) fn take(&mut self, order: Order, connected: bool) {
        let Order { delivery, outcome, mark, kept, wanted } = order;
        if !connected && !self.has_room() {
            let _ = outcome.send(Err(PublishError::QueueFull { waiting: self.queue.len() }));
            return;
        }
        if let Some(wanted) = wanted {
            self.reports.wait(wanted);
        }
        let token = self.token();
        if delivery.qos > Qos::AtMostOnce && self.journal.is_on() {
            self.journal.record(Record::Accepted { number: token, delivery: delivery.clone(), mark });
        }
        if let Some(kept) = kept {
            self.keeping.push_back((self.journal.recorded(), kept));
            self.tell_kept();
        }
        self.wait_for(token, &delivery, outcome);
        self.queue_bytes += delivery.message.len();
        self.queue.push_back((delivery, token));
    }

    /// Notes who waits for what becomes of a message.
    pub(super) fn wait_for(&mut self, token: Token, delivery: &Delivery, outcome: oneshot::Sender<publish::Outcome>) {
        let asks_durability = delivery.hop.value(MINIMUM_DURABILITY).is_some();
        let has_properties = !delivery.hop.is_empty() || !delivery.message.map().is_empty();
        let stored = delivery.qos > Qos::AtMostOnce && self.journal.is_on();
        self.waiting.insert(token, Waiting { outcome, asks_durability, has_properties, stored });
    }

    /// Hands messages down as far as window, room and readiness allow.
    pub(in crate::driver) fn hand_down(&mut self, link: &mut Link) {
        while link.has_room() && link.session.is_ready() {
            let Some((delivery, token)) = self.queue.pop_front() else { return };
            let len = delivery.message.len();
            if let Some(what) = self.unavailable(link, &delivery) {
                self.queue_bytes -= len;
                self.finish(token, Err(PublishError::NotAvailable { what }));
                continue;
            }
            match link.session.admit(&delivery.message, delivery.qos, delivery.retain, &delivery.hop, token) {
                Admitted::Later => {
                    self.queue.push_front((delivery, token));
                    return;
                }
                Admitted::TooLarge => {
                    let terms = link.session.terms();
                    let Delivery { message, qos, retain, hop } = &delivery;
                    let seen = PublishFrame::new(terms.dialect, *qos, *retain, message, hop).len();
                    let limit = terms.send_size_max;
                    self.finish(token, Err(PublishError::TooLarge { limit, seen }));
                }
                Admitted::Now(id) => {
                    if let Some(id) = id {
                        self.journal.record(Record::Sent { number: token, id });
                    }
                    link.put_publish(&delivery, id, false);
                    if id.is_none() {
                        self.leaving.push_back((link.enqueued(), token));
                    }
                }
            }
            self.queue_bytes -= len;
        }
    }

    /// What the message asks for and this connection cannot give.
    fn unavailable(&self, link: &Link, delivery: &Delivery) -> Option<String> {
        let terms = link.session.terms();
        if !terms.dialect.is_extended() {
            let durability = delivery.hop.value(MINIMUM_DURABILITY).is_some();
            return durability.then(|| format!("MQTT {} cannot promise a least durability", terms.dialect));
        }
        let missing = delivery.hop.entries().find_map(|(key, _)| match key {
            KeyRef::Number(number) if number < 0 && self.options.registry.key(terms.experiments, number).is_none() => Some(number),
            _ => None,
        });
        missing.map(|number| format!("key {number} belongs to an experiment that is not in force on this connection"))
    }

    /// QoS 0 messages whose bytes the operating system has taken are done.
    pub(in crate::driver) fn left(&mut self, link: &Link) {
        while let Some((_, token)) = self.leaving.front().copied().filter(|(position, _)| *position <= link.written()) {
            self.leaving.pop_front();
            self.finish(token, Ok((Outcome::accepted(), link.session.terms().dialect)));
        }
    }

    pub(super) fn finish(&mut self, token: Token, result: Result<(Outcome, Dialect), PublishError>) {
        let Some(waiting) = self.waiting.remove(&token) else { return };
        if waiting.stored {
            self.journal.record(Record::Settled { number: token });
        }
        let outcome = result.and_then(|(outcome, dialect)| match outcome.refusal() {
            Some(refusal) => Err(PublishError::Rejected(refusal)),
            // It was asked on an extended connection that broke, and a plain one answered.
            None if waiting.asks_durability && !dialect.is_extended() => {
                let what = "it was acknowledged on a plain connection, which promises no durability".to_owned();
                Err(PublishError::NotAvailable { what })
            }
            None => {
                let stripped = waiting.has_properties && !dialect.is_extended();
                Ok(Receipt { reason: outcome.reason, durability: outcome.receipt, dialect, stripped })
            }
        });
        // The publisher may not wait any more.
        let _ = waiting.outcome.send(outcome);
    }
}
