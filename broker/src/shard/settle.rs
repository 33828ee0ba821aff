//! What a subscriber settles, and what is sent again.

use super::deliver::{Form, write_one};
use super::keeping::{Sent, keep_sent, number_of};
use super::publish::experiment_keys;
use super::timers::Timer;
use super::{ConnectionKey, Shard};
use crate::feedback::Verdict;
use crate::message::{Envelope, Stamps, critical_key};
use crate::queue::Waiting;
use crate::store::Record;
use candor_protocol::codec::dictionary::Dictionary;
use candor_protocol::packet::{Kind, Reason, property};
use candor_protocol::session::{Delivery, Outcome, Sending, Token};
use std::sync::Arc;

/// How long deliveries pause after a message was released for the first time; each time in a row doubles it.
const RELEASE_PAUSE_MS: u64 = 100;
const RELEASE_DOUBLINGS: u32 = 7;
/// The longest delay that a client may ask for.
const DELAY_MS_MAX: u64 = 3_600_000;

impl Shard {
    /// The subscriber settled a delivery. What it released comes again, after a pause that doubles; what it rejected does
    /// not.
    pub(super) fn settled(&mut self, key: ConnectionKey, token: Token, outcome: &Outcome, returned: Option<Box<Delivery>>) {
        let Some(slot) = self.connections.get(key).and_then(|connection| connection.client) else { return };
        let Some(client) = self.clients.get_mut(slot) else { return };
        let kept = client.number.zip(number_of(token));
        let (Some(refusal), Some(delivery)) = (outcome.refusal(), returned) else {
            client.releases = 0;
            if let Some((session, message)) = kept {
                self.keeper.keep(Record::Settled { session, message });
            }
            return;
        };
        let delay_ms = match (outcome.reason, outcome.delay_ms) {
            (Reason::RELEASED, _) => RELEASE_PAUSE_MS << client.releases.min(RELEASE_DOUBLINGS),
            (Reason::MODIFIED, delay_ms) => delay_ms.unwrap_or(RELEASE_PAUSE_MS).min(DELAY_MS_MAX),
            _ => {
                if let Some((session, message)) = kept {
                    self.keeper.keep(Record::Settled { session, message });
                }
                let verdict = Verdict::new(self.now.unix_ms, Kind::PubAck, refusal, Some(delivery.message.topic_str()));
                return self.verdict(slot, verdict);
            }
        };
        client.releases += 1;
        client.paused_until_ms = self.now.ms + delay_ms;
        let redelivery_count = delivery.hop.value(property::REDELIVERY_COUNT).unwrap_or(0) as u32 + 1;
        let envelope = Envelope {
            message: delivery.message,
            qos: delivery.qos,
            retain: delivery.retain,
            expires_at_ms: self.now.expiry_of(&delivery.hop),
            stamps: Stamps::of_hop(&delivery.hop).map(Arc::new),
            hop: experiment_keys(&delivery.hop),
        };
        let message = kept.map(|(_, message)| message);
        client.queue.push_front(Waiting { envelope, qos: delivery.qos, retain: delivery.retain, redelivery_count, message });
        if let Some((session, message)) = kept {
            self.keeper.keep(Record::Returned { session, message, redelivery_count });
        }
        self.timers.at(client.paused_until_ms, Timer::Pump(slot, client.generation));
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
            && keep_sent(&mut self.keeper, client, Sent { slot, generation: connection.generation, message, id, qos: delivery.qos })
        {
            return;
        }
        let hop = if form.dialect.is_extended() { delivery.hop.clone() } else { Dictionary::EMPTY };
        self.counts.publish_sent += 1;
        write_one(&mut connection.out, form, sending.dup, sending.id, &delivery.message, &hop);
    }
}
