//! What a subscriber settles, and what is sent again.

use super::dead_letter::Filed;
use super::deliver::{Form, write_one};
use super::keeping::{Sent, keep_sent, number_of};
use super::publish::lasting_keys;
use super::report::stamped;
use super::returned::Pause;
use super::returned::Returned;
use super::{ConnectionKey, Shard};
use crate::feedback::Verdict;
use crate::message::{Envelope, Stamps, critical_key};
use crate::store::MessageNumber;
use candor_protocol::codec::dictionary::Dictionary;
use candor_protocol::packet::reserved::FEEDBACK;
use candor_protocol::packet::{Kind, Problem, Reason, Refusal, Retry, property};
use candor_protocol::session::{Delivery, Outcome, Sending, Token};
use std::sync::Arc;

/// Who decided that a message is never taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Subscriber,
    Limit,
}

impl Shard {
    /// The subscriber has taken a delivery.
    #[inline]
    pub(super) fn delivered(&mut self, key: ConnectionKey, token: Token) {
        let Some(slot) = self.connections.get(key).and_then(|connection| connection.client) else { return };
        let Some(client) = self.clients.get_mut(slot) else { return };
        client.pause.existing().into_iter().for_each(Pause::is_over);
        if let Some(report) = self.reports.settled(slot, token) {
            report.accepted();
        }
        self.settle_kept(slot, number_of(token));
    }

    /// The subscriber settled a delivery. What it gave back comes again, as often as the limit says; what it rejected does not.
    pub(super) fn settled(&mut self, key: ConnectionKey, token: Token, outcome: &Outcome, returned: Option<Box<Delivery>>) {
        let Some(slot) = self.connections.get(key).and_then(|connection| connection.client) else { return };
        let Some(client) = self.clients.get_mut(slot) else { return };
        let message = number_of(token);
        let report = self.reports.settled(slot, token);
        let (Some(refusal), Some(delivery)) = (outcome.refusal(), returned) else {
            if let Some(report) = report {
                report.accepted();
            }
            client.pause.existing().into_iter().for_each(Pause::is_over);
            return self.settle_kept(slot, message);
        };
        let message = message.filter(|_| client.number.is_some());
        let mut returned = self.returned(*delivery, message);
        let is_given_back = matches!(outcome.reason, Reason::RELEASED | Reason::MODIFIED);
        let limit = self.settings.redelivery_limit;
        match outcome.reason {
            _ if is_given_back && limit > 0 && returned.redelivery_count > limit => {
                report.into_iter().for_each(|report| report.rejected(Reason::REJECTED));
                let problem = Problem::titled("the message was given back as often as it may be").rule("redelivery_limit");
                let problem = problem.limit(u64::from(limit), u64::from(returned.redelivery_count)).retry(Retry::Never);
                self.reject(slot, &returned, Refusal::new(Reason::REJECTED, problem), By::Limit);
            }
            _ if is_given_back => {
                if let Some(report) = report {
                    returned.envelope.stamps = Some(stamped(returned.envelope.stamps, report, self.now.unix_ms));
                }
                self.give_back(slot, returned, outcome.reason, outcome.delay_ms);
            }
            reason => {
                report.into_iter().for_each(|report| report.rejected(reason));
                self.reject(slot, &returned, refusal, By::Subscriber);
            }
        }
    }

    fn returned(&self, delivery: Delivery, message: Option<MessageNumber>) -> Returned {
        let Delivery { message: body, qos, retain, hop } = delivery;
        let redelivery_count = hop.value(property::REDELIVERY_COUNT).unwrap_or(0).saturating_add(1);
        let envelope = Envelope {
            message: body,
            qos,
            retain,
            expires_at_ms: self.now.expiry_of(&hop),
            stamps: Stamps::of_hop(&hop).map(Arc::new),
            hop: lasting_keys(&hop),
        };
        Returned { envelope, qos, retain, redelivery_count: u32::try_from(redelivery_count).unwrap_or(u32::MAX), message }
    }

    /// A message that its subscriber will never take: a dead letter, where its namespace keeps them. A subscriber that has said so
    /// itself knows it; of what the limit takes and nobody keeps it is told.
    fn reject(&mut self, slot: u32, returned: &Returned, mut refusal: Refusal, by: By) {
        let filed = self.file(returned, &refusal, by == By::Subscriber);
        if let Filed::Lost(lost) = filed {
            self.counts.publish_dropped += 1;
            lost.told(refusal.problem_mut());
        }
        match by {
            By::Limit if filed == Filed::Kept => self.settle_kept(slot, returned.message),
            By::Subscriber => self.settle_kept(slot, returned.message),
            By::Limit => {
                self.drop_kept(slot, returned.message, refusal.reason);
                if let Some(client) = self.clients.get_mut(slot) {
                    client.queue.gap.make().rejected += 1;
                }
            }
        }
        let topic = returned.envelope.message.topic_str();
        // Failures of feedback create none: each telling would be rejected and told of in its turn, without end.
        if !topic.starts_with(FEEDBACK) {
            self.verdict(slot, Verdict::new(self.now.unix_ms, Kind::PubAck, refusal, Some(topic)));
        }
        self.tell_gap(slot);
    }

    /// Writes a message that a session sends again.
    pub(super) fn resend(&mut self, key: ConnectionKey, sending: &Sending) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let terms = connection.session.terms();
        let delivery = &sending.delivery;
        let form = Form { dialect: terms.dialect, qos: delivery.qos, retain: delivery.retain, experiments: terms.experiments != 0 };
        if let (false, Some(key_number), Some(id)) = (form.dialect.is_extended(), critical_key(&delivery.message), sending.id) {
            let message = connection.session.in_flight().get(id).and_then(|sent| number_of(sent.token));
            connection.session.withdraw(id);
            let slot = connection.client;
            return slot.into_iter().for_each(|slot| self.withhold(slot, delivery.message.topic_str(), key_number, message));
        }
        // What the client never got goes as new, under another identifier: that one has to be kept, as at the first sending.
        if let (false, Some(id), Some(slot)) = (sending.dup, sending.id, connection.client)
            && let Some(client) = self.clients.get_mut(slot)
            && let Some(message) = connection.session.in_flight().get(id).and_then(|sent| number_of(sent.token))
            && keep_sent(
                &mut self.keeper,
                client,
                &mut connection.session,
                Sent { slot, generation: connection.generation, message, id, qos: delivery.qos },
            )
        {
            return;
        }
        let hop = if form.dialect.is_extended() { delivery.hop.clone() } else { Dictionary::EMPTY };
        self.counts.publish_sent += 1;
        write_one(&mut connection.out, &mut self.spare, form, sending.dup, sending.id, &delivery.message, &hop);
    }
}
