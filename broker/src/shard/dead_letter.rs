//! Dead letters: what was rejected is kept, where the operator says so, as a retained message of the server's own below
//! `$dead-letters/`, in the same batch that ends the delivery. So it is found by a subscription, in every dialect, and survives
//! what retained messages survive.
//!
//! A publish without a payload to its topic takes it away: with the retain flag it is gone, without it is sent on its way again.

use super::publish::experiment_keys;
use super::returned::Returned;
use super::route::{Routed, Source};
use super::{RetainedMessage, Shard};
use crate::message::{Envelope, Stamps};
use crate::router::Topical;
use crate::wrapped;
use candor_protocol::codec::dictionary::{Dictionary, MapBuilder};
use candor_protocol::packet::dead_letter::{Place, Rejection, source_pattern};
use candor_protocol::packet::{
    DeadLetter, Message, PacketId, Problem, Publish, Qos, Reason, Refusal, Retry, TopicFilter, TopicName, property,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// What the operator says about dead letters.
#[derive(Debug, Clone, Default)]
pub struct DeadLetterSettings {
    /// The namespaces: a rejected message belongs to the first that matches its topic, and is kept; others are not.
    pub namespaces: Vec<TopicFilter>,
    /// Per namespace.
    pub len_max: usize,
    /// Per namespace.
    pub bytes_max: usize,
    /// Whether the free text of a subscriber's problem is kept.
    pub keeps_text: bool,
}

/// What each namespace holds. Changed under the lock of the retained messages.
#[derive(Debug, Default)]
pub struct DeadLetters {
    namespaces: Vec<(TopicFilter, AtomicUsize, AtomicUsize)>,
}

impl DeadLetters {
    pub fn new(settings: &DeadLetterSettings) -> Self {
        let namespace = |filter: &TopicFilter| (filter.clone(), AtomicUsize::new(0), AtomicUsize::new(0));
        Self { namespaces: settings.namespaces.iter().map(namespace).collect() }
    }

    /// The namespace of a topic that a message was published to. A topic that begins with `$` has none, so that nothing follows on a
    /// dead letter that is rejected itself.
    fn of(&self, topic: &str) -> Option<usize> {
        let is_own = topic.starts_with('$');
        self.namespaces.iter().position(|(filter, ..)| !is_own && filter.matches(topic))
    }

    /// How many it holds, and of how many bytes.
    fn held(&self, namespace: usize) -> (usize, usize) {
        self.namespaces.get(namespace).map_or((0, 0), |(_, len, bytes)| (len.load(Relaxed), bytes.load(Relaxed)))
    }

    /// A retained message took the place of another, or of none.
    pub(super) fn changed(&self, before: Option<&RetainedMessage>, now: Option<&RetainedMessage>) {
        let any = before.or(now).filter(|message| message.topic().first() == Some(&b'$'));
        let Some(topic) = any.map(|message| message.envelope.message.topic_str()) else { return };
        let namespace = Place::of_topic(topic).and_then(|place| self.of(place.topic));
        let Some((_, len, bytes)) = namespace.and_then(|at| self.namespaces.get(at)) else { return };
        if let Some(now) = now {
            len.fetch_add(1, Relaxed);
            bytes.fetch_add(now.bytes(), Relaxed);
        }
        if let Some(before) = before {
            len.fetch_sub(1, Relaxed);
            bytes.fetch_sub(before.bytes(), Relaxed);
        }
    }
}

/// What became of a message that was rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Filed {
    /// Its namespace keeps no dead letters.
    Off,
    Kept,
    /// There was no room for it, or nothing is kept now.
    Lost(Lost),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lost {
    rule: &'static str,
    limit: u64,
    seen: u64,
}

impl Lost {
    /// Says in the problem of a rejection that no dead letter was kept.
    pub(super) fn told(self, problem: &mut Problem) {
        let Self { rule, limit, seen } = self;
        problem.detail = Some(match limit {
            0 => format!("no dead letter was kept: {rule}"),
            _ => format!("no dead letter was kept: {rule} is {limit}, and it would be {seen}"),
        });
    }
}

impl Shard {
    /// The name of a message that may become a dead letter; none for all others.
    pub(super) fn message_id(&mut self, topic: &str) -> Option<[u8; 16]> {
        if self.settings.dead_letters.namespaces.is_empty() {
            return None;
        }
        self.shared.dead_letters.of(topic)?;
        Some(self.new_message_id())
    }

    pub(super) fn new_message_id(&mut self) -> [u8; 16] {
        let mut id = [0; 16];
        let (first, last) = id.split_at_mut(8);
        first.copy_from_slice(&self.random.draw().to_be_bytes());
        last.copy_from_slice(&self.random.draw().to_be_bytes());
        id
    }

    /// Keeps a message that was rejected, once, however many subscribers reject it.
    pub(super) fn file(&mut self, returned: &Returned, refusal: &Refusal, by_subscriber: bool) -> Filed {
        let Returned { envelope, qos, redelivery_count, .. } = returned;
        // What came wrapped is filed as it was.
        let inner = wrapped::unwrap(envelope);
        let envelope = inner.as_ref().unwrap_or(envelope);
        let topic = envelope.message.topic_str();
        let Some(namespace) = self.shared.dead_letters.of(topic) else {
            // A dead letter that is rejected itself is dropped, and counted.
            self.counts.publish_dropped += u64::from(Place::of_topic(topic).is_some());
            return Filed::Off;
        };
        let stamps = envelope.stamps.as_deref().cloned().unwrap_or_default();
        let id = stamps.message_id.unwrap_or_else(|| self.new_message_id());
        let Ok(name) = TopicName::new(Place { id: &hex(&id), topic }.to_topic()) else {
            return Filed::Lost(Lost { rule: "its topic would be longer than 65535 bytes", limit: 0, seen: 0 });
        };
        // A retained message without a payload is none.
        if envelope.message.payload().is_empty() {
            return Filed::Lost(Lost { rule: "it has no payload", limit: 0, seen: 0 });
        }
        if self.keeper.failure().is_some() {
            return Filed::Lost(Lost { rule: "the store takes nothing now", limit: 0, seen: 0 });
        }
        let before = self.shared.retained().get(name.as_str().as_bytes()).map(|before| letter_of(&before.envelope));
        let message = Message::new(&name, &envelope.message.dictionary(), envelope.message.payload());
        if let (None, Some(lost)) = (&before, self.has_no_room(namespace, message.len())) {
            return Filed::Lost(lost);
        }
        let mut letter = before.unwrap_or_default();
        letter.qos = letter.qos.max(*qos);
        letter.add(Rejection {
            reason: refusal.reason,
            problem: self.travels(&refusal.problem, by_subscriber),
            at_ms: self.now.unix_ms,
            redelivery_count: u64::from(redelivery_count.saturating_sub(1)),
            by_subscriber,
        });
        let hop = MapBuilder::new().merge(&envelope.hop).set(property::DEAD_LETTER, &letter.to_dictionary()).finish();
        let stamps = Some(Arc::new(Stamps { message_id: Some(id), report: None, ..stamps }));
        let kept = Envelope { message, qos: Qos::AtLeastOnce, retain: true, expires_at_ms: None, stamps, hop };
        match self.route(&kept, Source::default()) {
            Ok(_) => Filed::Kept,
            Err(_) => Filed::Lost(Lost { rule: "the store takes nothing now", limit: 0, seen: 0 }),
        }
    }

    /// Shards that look at the same moment may go over the limit by one message each.
    fn has_no_room(&self, namespace: usize, len: usize) -> Option<Lost> {
        let (held, bytes) = self.shared.dead_letters.held(namespace);
        let settings = &self.settings.dead_letters;
        let limits = [("dead_letters_max", settings.len_max, held + 1), ("dead_letters_bytes_max", settings.bytes_max, bytes + len)];
        let full = limits.into_iter().find(|(_, limit, seen)| seen > limit);
        full.map(|(rule, limit, seen)| Lost { rule, limit: limit as u64, seen: seen as u64 })
    }

    /// What of a problem goes from a subscriber to whoever reads the dead letter.
    fn travels(&self, problem: &Problem, by_subscriber: bool) -> Problem {
        let mut travels = problem.clone();
        if by_subscriber && !self.settings.dead_letters.keeps_text {
            (travels.title, travels.detail) = (None, None);
        }
        let texts = [
            &mut travels.title,
            &mut travels.detail,
            &mut travels.rule,
            &mut travels.field,
            &mut travels.missing_scope,
            &mut travels.trace_id,
        ];
        texts.into_iter().flatten().for_each(cut);
        travels
    }

    /// What a publish to a dead letter's topic does; `None`: it is no such topic.
    pub(super) fn settle_letter(&mut self, slot: u32, publish: &Publish, taken: Option<PacketId>) -> Option<Result<Routed, Refusal>> {
        let topic = publish.message.topic_str();
        let place = Place::of_topic(topic)?;
        Some(self.take_away(slot, publish, place, taken))
    }

    fn take_away(&mut self, slot: u32, publish: &Publish, place: Place<'_>, taken: Option<PacketId>) -> Result<Routed, Refusal> {
        if !publish.message.payload().is_empty() {
            let problem = Problem::titled("only the server writes dead letters; an empty payload takes one away").field("payload");
            return Err(Refusal::new(Reason::TOPIC_NAME_INVALID, problem.retry(Retry::Never)));
        }
        if let Some(client) = self.clients.get(slot) {
            client.rights.publish(place.topic.as_bytes(), publish.qos, false)?;
        }
        let letter = self.shared.retained().get(publish.message.topic()).cloned();
        let none = || {
            let problem = Problem::titled("there is no such dead letter").field("topic").retry(Retry::Never);
            Refusal::new(Reason::TOPIC_NAME_INVALID, problem)
        };
        let RetainedMessage { envelope: letter, .. } = letter.ok_or_else(none)?;
        let name = TopicName::new(place.topic).map_err(|_| none())?;
        let own = TopicName::new(publish.message.topic_str()).map_err(|_| none())?;
        let nothing = Message::new(&own, &Dictionary::EMPTY, b"");
        let nothing =
            Envelope { message: nothing, qos: Qos::AtMostOnce, retain: true, expires_at_ms: None, stamps: None, hop: Dictionary::EMPTY };
        if publish.retain {
            return self.route(&nothing, Source { from: Some(slot), taken, armed: None });
        }
        let qos = letter_of(&letter).qos;
        // It goes with the QoS that it had, so the right to that one is needed.
        if let Some(client) = self.clients.get(slot) {
            client.rights.publish(place.topic.as_bytes(), qos, false)?;
        }
        let again = Envelope {
            message: Message::new(&name, &letter.message.dictionary(), letter.message.payload()),
            qos,
            retain: false,
            hop: experiment_keys(&letter.hop),
            ..letter
        };
        let routed = self.route(&again, Source { from: Some(slot), taken, armed: None })?;
        // What nobody gets stays where it can be found.
        if routed.reached > 0 {
            self.route(&nothing, Source::default())?;
        }
        Ok(routed)
    }
}

/// The filter that a right is needed to: that of the source topics where dead letters are asked for.
///
/// # Errors
/// No dead letter can match it.
pub(super) fn right_filter(filter: &TopicFilter) -> Result<Option<TopicFilter>, Refusal> {
    let inner = wrapped::inner(filter);
    let filter = inner.as_ref().unwrap_or(filter);
    let Some(source) = source_pattern(filter.pattern()) else { return Ok(None) };
    let source = source.and_then(|source| TopicFilter::new(source).ok());
    source.map(Some).ok_or_else(|| {
        let problem = Problem::titled("a filter on dead letters is $dead-letters/+/FILTER").field("topic filter").retry(Retry::Never);
        Refusal::new(Reason::TOPIC_FILTER_INVALID, problem)
    })
}

fn letter_of(envelope: &Envelope) -> DeadLetter {
    envelope.hop.value(property::DEAD_LETTER).map(|map| DeadLetter::of_dictionary(&map)).unwrap_or_default()
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A text of a peer may be of any length; what is kept of it is not.
fn cut(text: &mut String) {
    const LEN_MAX: usize = 256;
    if text.len() > LEN_MAX {
        let at = (0..=LEN_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(at);
    }
}
