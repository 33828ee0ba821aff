//! A message from a client: whether it is taken, and what its acknowledgement says.

use super::keeping::{Life, Then, not_kept};
use super::report::stamped;
use super::room::Held;
use super::route::{Routed, Source};
use super::settings::StampSettings;
use super::{ConnectionKey, Shard};
use crate::feedback::Swallowed;
use crate::message::{Envelope, Stamps};
use crate::router::{Subscriber, Topical};
use candor_protocol::codec::dictionary::{Dictionary, KeyRef, MapBuilder};
use candor_protocol::packet::publish::MessageOnly;
use candor_protocol::packet::reserved::is_reserved;
use candor_protocol::packet::{Durability, Message, Problem, Publish, Qos, Reason, Refusal, Retry, property};
use candor_protocol::session::Ticket;
use std::sync::Arc;

impl Shard {
    pub(super) fn publish(&mut self, key: ConnectionKey, ticket: Option<Ticket>, publish: Publish) {
        let Some(connection) = self.connections.get(key) else { return };
        let Some(slot) = connection.client else { return };
        self.counts.publish_received += 1;
        let taken = publish.id.filter(|_| publish.qos == Qos::ExactlyOnce);
        if (connection.conduct.is_some() || self.settings.rate.is_on())
            && let Err(refusal) = self.check_conduct(key, &publish.message)
        {
            return self.refuse_publish(key, ticket, &publish, refusal);
        }
        if publish.message.topic()[0] == b'$'
            && let Some(routed) = self.settle_letter(slot, &publish, taken)
        {
            return match routed {
                Ok(routed) => self.taken(key, slot, ticket, publish.message.topic(), routed),
                Err(refusal) => self.refuse_publish(key, ticket, &publish, refusal),
            };
        }
        if let Err(refusal) = self.check_publish(key, slot, &publish) {
            return self.refuse_publish(key, ticket, &publish, refusal);
        }
        let Publish { dup, qos, retain, id, message, dictionary } = publish;
        let envelope = self.envelope(slot, &dictionary, message, qos, retain);
        let dropped = self.counts.publish_dropped;
        let routed = self.route(&envelope, Source { from: Some(slot), taken, armed: None });
        self.note_reached(routed.as_ref().map_or(0, |routed| routed.reached), dropped);
        self.report_routed(&envelope, routed.as_ref().ok());
        match routed {
            Ok(routed) => self.taken(key, slot, ticket, envelope.message.topic(), routed),
            Err(refusal) => {
                let publish = Publish { dup, qos, retain, id, message: envelope.message, dictionary };
                self.refuse_publish(key, ticket, &publish, refusal);
            }
        }
    }

    /// A message was taken: its acknowledgement follows.
    #[inline]
    fn taken(&mut self, key: ConnectionKey, slot: u32, ticket: Option<Ticket>, topic: &[u8], routed: Routed) {
        if routed.reached == 0 {
            self.note_swallowed(topic, Swallowed::Undelivered);
        }
        let is_bare = routed.reached > 0 && !routed.is_kept && routed.full.is_empty();
        if let Some(ticket) = ticket
            && !(is_bare && self.accept_at_once(key, ticket))
            && let Some((of, connection)) = self.life(slot).zip(self.connections.get(key))
        {
            let promised = connection.listener.policy.profile.durability;
            self.settle_later(routed, of, ticket, promised);
        }
    }

    /// The acknowledgement waits for what was kept, and behind that, where publishers are held back, for room in full queues.
    fn settle_later(&mut self, routed: Routed, of: Life, ticket: Ticket, promised: Durability) {
        let Routed { reached, is_kept, full, .. } = routed;
        let then = match full.is_empty() {
            true => Then::Settle { of, ticket, is_matched: reached > 0, promised },
            false => Then::Hold(Box::new(Held { full, of, ticket, promised })),
        };
        if is_kept { self.keeper.then(then) } else { self.keeper.now(then) }
    }

    pub(super) fn check_publish(&self, key: ConnectionKey, slot: u32, publish: &Publish) -> Result<(), Refusal> {
        let (Some(connection), Some(client)) = (self.connections.get(key), self.clients.get(slot)) else { return Ok(()) };
        let topic = publish.message.topic();
        check_topic(topic)?;
        let profile = &connection.listener.policy.profile;
        if publish.qos as u8 > profile.qos_max {
            let problem = Problem::titled("this server does not serve this QoS").field("QoS");
            return Err(Refusal::new(
                Reason::QOS_NOT_SUPPORTED,
                problem.limit(u64::from(profile.qos_max), publish.qos as u64).retry(Retry::Never),
            ));
        }
        if publish.retain && !profile.retain {
            let problem = Problem::titled("this server keeps no retained messages").field("retain").retry(Retry::Never);
            return Err(Refusal::new(Reason::RETAIN_NOT_SUPPORTED, problem));
        }
        if has_hop_keys(&publish.dictionary) {
            let minimum = publish.dictionary.value(property::MINIMUM_DURABILITY);
            if let Some(minimum) = minimum.filter(|minimum| *minimum > profile.durability as u64) {
                let problem = Problem::titled("the server cannot keep the message as durably as it must be")
                    .field("minimum-durability")
                    .limit(profile.durability as u64, minimum)
                    .retry(Retry::Changed);
                return Err(Refusal::new(Reason::PROFILE_NOT_AVAILABLE, problem));
            }
            let in_force = profile.durability.without_guarantee();
            if minimum.is_some_and(|minimum| minimum > in_force as u64) && self.keeper.failure().is_some() {
                return Err(not_kept());
            }
        }
        client.rights.publish(topic, publish.qos, publish.retain)?;
        // What empties a topic makes room.
        let is_removal = publish.retain && publish.message.payload().is_empty();
        if !is_removal && (publish.qos != Qos::AtMostOnce || publish.retain) {
            self.check_memory()?;
        }
        if publish.retain {
            self.check_retained(publish)?;
        }
        Ok(())
    }

    /// Whether the store of retained messages has room for one more.
    fn check_retained(&self, publish: &Publish) -> Result<(), Refusal> {
        let retained = self.shared.retained();
        if publish.message.payload().is_empty() {
            return Ok(());
        }
        let before = retained.get(publish.message.topic()).map(Topical::bytes);
        let full = |rule: &str, limit: usize, seen: usize| {
            let problem = Problem::titled("the store of retained messages is full").rule(rule).limit(limit as u64, seen as u64);
            Err(Refusal::new(Reason::QUOTA_EXCEEDED, problem.retry(Retry::Changed)))
        };
        if before.is_none() && retained.len() >= self.settings.retained_max {
            return full("retained_max", self.settings.retained_max, retained.len() + 1);
        }
        let bytes = (retained.bytes() + publish.message.len()).saturating_sub(before.unwrap_or(0));
        // What gets smaller is taken even if a new limit is lower than what is there.
        if before.is_none_or(|before| publish.message.len() > before) && bytes > self.settings.retained_bytes_max {
            return full("retained_bytes_max", self.settings.retained_bytes_max, bytes);
        }
        Ok(())
    }

    fn envelope(&mut self, slot: u32, dictionary: &Dictionary, message: Message, qos: Qos, retain: bool) -> Envelope {
        let (mut expires_at_ms, mut hop, mut report) = (None, Dictionary::EMPTY, None);
        if has_hop_keys(dictionary) {
            expires_at_ms = self.now.expiry_of(dictionary);
            hop = experiment_keys(dictionary);
            report = self.report_on(slot, dictionary, message.topic_str());
        }
        if !self.settings.marks_messages() {
            let stamps = report.map(|report| stamped(None, report, self.now.unix_ms));
            return Envelope { message, qos, retain, expires_at_ms, stamps, hop };
        }
        let mut stamps = self.stamps(message.topic_str(), || self.clients.get(slot).map(|client| Arc::clone(&client.principal)));
        if !self.settings.dead_letters.namespaces.is_empty()
            && let Some(id) = self.message_id(message.topic_str())
        {
            let others = stamps.as_deref().cloned().unwrap_or(Stamps { received_at_ms: self.now.unix_ms, ..Stamps::default() });
            stamps = Some(Arc::new(Stamps { message_id: Some(id), ..others }));
        }
        if let Some(report) = report {
            stamps = Some(stamped(stamps, report, self.now.unix_ms));
        }
        let mut envelope = Envelope { message, qos, retain, expires_at_ms, stamps, hop };
        if let Some(deadline) = self.settings.experiments.deadline(&envelope) {
            envelope.expire_by(deadline);
        }
        envelope
    }

    /// What this server says of a message to this topic, where it says anything.
    pub(super) fn stamps(&self, topic: &str, principal: impl FnOnce() -> Option<Arc<str>>) -> Option<Arc<Stamps>> {
        let StampSettings { node, namespaces } = &self.settings.stamps;
        if !namespaces.iter().any(|filter| filter.matches(topic)) {
            return None;
        }
        let publisher = principal().filter(|principal| !principal.is_empty());
        Some(Arc::new(Stamps { publisher, node: Some(Arc::clone(node)), received_at_ms: self.now.unix_ms, message_id: None, report: None }))
    }

    pub(super) fn subscriber(&self, slot: u32) -> Subscriber {
        Subscriber { shard: self.index, slot }
    }
}

/// Whether a client may publish to a topic at all, whatever its rights.
///
/// # Errors
/// Only the server does.
#[inline]
pub(super) fn check_topic(topic: &[u8]) -> Result<(), Refusal> {
    if is_reserved(topic) {
        let problem = Problem::titled("only the server publishes here").field("topic").retry(Retry::Never);
        return Err(Refusal::new(Reason::TOPIC_NAME_INVALID, problem));
    }
    Ok(())
}

/// Whether the dictionary holds keys that concern this hop.
fn has_hop_keys(dictionary: &Dictionary) -> bool {
    !dictionary.is_empty() && !MessageOnly::is(dictionary)
}

/// The keys of experiments, which travel on where they are in force; everything else concerned this hop alone.
pub(super) fn experiment_keys(dictionary: &Dictionary) -> Dictionary {
    keys(dictionary, |number| number < 0)
}

/// What is left where no experiment is in force.
pub(super) fn registered_keys(dictionary: &Dictionary) -> Dictionary {
    keys(dictionary, |number| number >= 0)
}

/// What of a message's last hop belongs to the message: the keys of experiments, and what became of a dead letter.
pub(super) fn lasting_keys(dictionary: &Dictionary) -> Dictionary {
    keys(dictionary, |number| number < 0 || number == property::DEAD_LETTER.number)
}

fn keys(dictionary: &Dictionary, stays: impl Fn(i64) -> bool) -> Dictionary {
    if !dictionary.entries().any(|(key, _)| matches!(key, KeyRef::Number(number) if stays(number))) {
        return Dictionary::EMPTY;
    }
    let mut map = MapBuilder::new();
    map.merge(dictionary);
    for (key, _) in dictionary.entries() {
        if let KeyRef::Number(number) = key
            && !stays(number)
        {
            map.remove(number);
        }
    }
    map.finish()
}
