//! A dead letter: a message that a subscriber rejected, or gave back too often, kept with what became of it.
//!
//! Its topic is `$dead-letters/`, the message's identifier in hexadecimal digits, `/`, and the topic that it was published to. What
//! became of it stands in the packet key `dead-letter`: how often it was rejected, and the last rejections, the oldest first.

use super::id::Qos;
use super::problem::Problem;
use super::property::{Key, KeyValue};
use super::reason::Reason;
use super::reserved::DEAD_LETTERS;
use crate::codec::dictionary::{Dictionary, Item, MapBuilder};

/// How many rejections a dead letter tells of; of older ones it tells the number.
pub const REJECTIONS_MAX: usize = 8;

const COUNT: Key<u64> = Key::new("count", 0);
const REJECTIONS: Key<Dictionary> = Key::new("rejections", 2);
const QOS: Key<u64> = Key::new("qos", 4);

const REASON: Key<u64> = Key::new("reason", 0);
const PROBLEM: Key<Dictionary> = Key::new("problem", 2);
const AT: Key<u64> = Key::new("at", 4);
const REDELIVERY_COUNT: Key<u64> = Key::new("redelivery-count", 6);
const BY_PEER: Key<bool> = Key::new("by-subscriber", 8);

/// One rejection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    pub reason: Reason,
    /// Without free text, unless the operator lets a subscriber's text travel.
    pub problem: Problem,
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// How many times the message had been handed out before.
    pub redelivery_count: u64,
    /// The subscriber said so: its words are its own. Else the server's limit did.
    pub by_subscriber: bool,
}

/// What became of a message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeadLetter {
    /// How many subscribers rejected it.
    pub count: u64,
    /// The last of them, the oldest first.
    pub rejections: Vec<Rejection>,
    /// The QoS that it was delivered with, and is again when it is sent on its way once more.
    pub qos: Qos,
}

impl DeadLetter {
    /// One more subscriber rejects the message.
    pub fn add(&mut self, rejection: Rejection) {
        self.count = self.count.saturating_add(1);
        if self.rejections.len() >= REJECTIONS_MAX {
            self.rejections.remove(0);
        }
        self.rejections.push(rejection);
    }

    pub fn to_dictionary(&self) -> Dictionary {
        let mut rejections = MapBuilder::new();
        for (index, rejection) in self.rejections.iter().enumerate() {
            rejections.put(index as i64, |out| rejection.to_dictionary().write(out));
        }
        let mut map = MapBuilder::new();
        map.set(COUNT, &self.count).set(REJECTIONS, &rejections.finish()).set(QOS, &(self.qos as u64));
        map.finish()
    }

    /// Reads what it knows; what it does not know is passed over.
    pub fn of_dictionary(map: &Dictionary) -> Self {
        let rejections = map.value(REJECTIONS).unwrap_or_default();
        let rejections = rejections.entries().filter_map(|(_, item)| Dictionary::read(item));
        Self {
            count: map.value(COUNT).unwrap_or(0),
            rejections: rejections.take(REJECTIONS_MAX).map(|map| Rejection::of_dictionary(&map)).collect(),
            qos: map.value(QOS).and_then(|qos| Qos::new(u8::try_from(qos).ok()?)).unwrap_or_default(),
        }
    }
}

impl Rejection {
    fn to_dictionary(&self) -> Dictionary {
        let mut map = MapBuilder::new();
        map.set(REASON, &u64::from(self.reason.0)).set(AT, &self.at_ms).set(BY_PEER, &self.by_subscriber);
        if !self.problem.is_empty() {
            map.set(PROBLEM, &self.problem.to_dictionary());
        }
        if self.redelivery_count > 0 {
            map.set(REDELIVERY_COUNT, &self.redelivery_count);
        }
        map.finish()
    }

    fn of_dictionary(map: &Dictionary) -> Self {
        let reason = map.value(REASON).and_then(|reason| u8::try_from(reason).ok());
        Self {
            reason: reason.map_or(Reason::UNSPECIFIED_ERROR, Reason),
            problem: map.value(PROBLEM).map(|map| Problem::of_dictionary(&map)).unwrap_or_default(),
            at_ms: map.value(AT).unwrap_or(0),
            redelivery_count: map.value(REDELIVERY_COUNT).unwrap_or(0),
            by_subscriber: map.value(BY_PEER).unwrap_or(false),
        }
    }
}

impl KeyValue for DeadLetter {
    const TYPE: super::property::ValueType = super::property::ValueType::Map;
    fn read(item: Item<'_>) -> Option<Self> {
        Dictionary::read(item).map(|map| Self::of_dictionary(&map))
    }
    fn write(&self, out: &mut Vec<u8>) {
        self.to_dictionary().write(out);
    }
}

/// Where a dead letter lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'a> {
    /// The message's identifier.
    pub id: &'a str,
    /// The topic that it was published to.
    pub topic: &'a str,
}

impl<'a> Place<'a> {
    /// `None`: no dead letter can have this topic.
    pub fn of_topic(topic: &'a str) -> Option<Self> {
        let (id, topic) = topic.strip_prefix(DEAD_LETTERS)?.split_once('/')?;
        (!id.is_empty()).then_some(Self { id, topic })
    }

    pub fn to_topic(self) -> String {
        format!("{DEAD_LETTERS}{}/{}", self.id, self.topic)
    }
}

/// The filter of source topics whose dead letters a pattern asks for: a right to it is a right to them.
/// `None`: the pattern does not begin with [`DEAD_LETTERS`]; `Some(None)`: it does, and no dead letter can match it.
pub fn source_pattern(pattern: &str) -> Option<Option<&str>> {
    let rest = pattern.strip_prefix(DEAD_LETTERS)?;
    Some(if rest == "#" { Some("#") } else { rest.split_once('/').map(|(_, source)| source) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rejection(n: u64) -> Rejection {
        let problem = if n.is_multiple_of(2) { Problem::default() } else { Problem::default().limit(n, n + 1) };
        Rejection { reason: Reason::REJECTED, problem, at_ms: n, redelivery_count: n % 3, by_subscriber: n.is_multiple_of(2) }
    }

    #[test]
    fn a_dead_letter_is_read_as_it_was_written_and_tells_of_the_last_rejections() {
        let mut letter = DeadLetter { qos: Qos::ExactlyOnce, ..DeadLetter::default() };
        assert_eq!(DeadLetter::of_dictionary(&letter.to_dictionary()), letter);
        for n in 0..20 {
            letter.add(rejection(n));
            assert_eq!(DeadLetter::of_dictionary(&letter.to_dictionary()), letter);
        }
        assert_eq!((letter.count, letter.rejections.len(), letter.rejections[0].at_ms), (20, REJECTIONS_MAX, 12));
    }

    #[test]
    fn a_topic_says_which_message_and_a_filter_which_right() {
        let topic = Place { id: "0af3", topic: "orders/7" }.to_topic();
        assert_eq!(topic, "$dead-letters/0af3/orders/7");
        assert_eq!(Place::of_topic(&topic), Some(Place { id: "0af3", topic: "orders/7" }));
        for wrong in ["orders/7", "$dead-letters/", "$dead-letters/0af3", "$dead-letters//orders"] {
            assert_eq!(Place::of_topic(wrong), None, "{wrong}");
        }
        let sources = [
            ("orders/#", None),
            ("$dead-letters/#", Some(Some("#"))),
            ("$dead-letters/+/#", Some(Some("#"))),
            ("$dead-letters/+/orders/+", Some(Some("orders/+"))),
            ("$dead-letters/0af3/orders/7", Some(Some("orders/7"))),
            ("$dead-letters/+", Some(None)),
        ];
        for (pattern, source) in sources {
            assert_eq!(source_pattern(pattern), source, "{pattern}");
        }
    }
}
