//! `$operator/`: what operators ask a running broker. A subscription to one of these topics is a question: it is answered once, by
//! every shard for itself, with lines of JSON on the topic that was asked; asking again is subscribing again. Each answer needs a
//! right that a rule gives by name, since it is about other clients.
//!
//! | topic | what it says |
//! | --- | --- |
//! | `$operator/story/CLIENT` | the ledger's lines on one client identifier, oldest first |
//! | `$operator/story` | the lines on all clients |
//! | `$operator/black-holes` | topics that swallow messages, those that swallowed most first |
//! | `$operator/clients` | the sessions, with what they are subscribed to |

use super::allowance::Allowance;
use super::{Client, ConnectionKey, Crossing, CrossingTarget, Shard};
use crate::feedback::holes::Hole;
use crate::message::Envelope;
use crate::router::Subscriber;
use candor_protocol::codec::dictionary::Dictionary;
use candor_protocol::packet::reserved::{OPERATOR, is_of};
use candor_protocol::packet::{Message, Problem, Qos, Reason, Refusal, Retry, TopicFilter};
use serde_json::{Value, json};

const STORY: &str = "$operator/story";
const BLACK_HOLES: &str = "$operator/black-holes";
const CLIENTS: &str = "$operator/clients";

/// The most bytes of one answer; what is more goes in further ones.
const ANSWER_BYTES_MAX: usize = 32 * 1024;

/// What one connection may be told at once, and how soon it may be told more.
const TELLINGS: u32 = 32;
const TELLING_MS: u64 = 100;

/// How much of ledgers a connection may still be told: to ask takes a few bytes, to answer a look at all that is there.
pub(super) type Tellings = Allowance<TELLINGS, TELLING_MS>;

/// With so many bytes unread, nobody is told more.
const UNREAD_BYTES_MAX: usize = 1024 * 1024;

/// A question, on its way to a shard.
#[derive(Debug, Clone)]
pub struct Question {
    subject: Subject,
    /// The topic that was asked, on which the answers go.
    topic: String,
    asker: Subscriber,
    qos: Qos,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Subject {
    Story(Option<String>),
    BlackHoles,
    Clients,
}

impl Subject {
    fn of(filter: &TopicFilter) -> Option<Self> {
        match filter.as_str() {
            STORY => Some(Self::Story(None)),
            BLACK_HOLES => Some(Self::BlackHoles),
            CLIENTS => Some(Self::Clients),
            other => Some(Self::Story(Some(unescaped(other.strip_prefix(STORY)?.strip_prefix('/')?)?))),
        }
    }
}

/// A client identifier as it stands in a topic: `%25`, `%2B` and `%23` are `%`, `+` and `#`. `None`: it is not written so.
fn unescaped(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut out = parts.next()?.to_owned();
    for part in parts {
        let (code, rest) = part.split_at_checked(2)?;
        out.push(match code {
            "25" => '%',
            "2B" => '+',
            "23" => '#',
            _ => return None,
        });
        out.push_str(rest);
    }
    (!text.contains(['+', '#'])).then_some(out)
}

/// What a question comes to: about everybody, or about one.
pub(super) fn cost_of(filter: &TopicFilter) -> u32 {
    match Subject::of(filter) {
        Some(Subject::Story(None) | Subject::Clients) => TELLINGS / 4,
        _ => 1,
    }
}

/// Whether a filter asks an operator's question.
pub(super) fn is_question(filter: &TopicFilter) -> bool {
    is_of(filter.pattern().as_bytes(), OPERATOR)
}

impl Shard {
    /// Whether a client may ask this.
    ///
    /// # Errors
    /// There is no such question, or no rule lets the client ask it.
    pub(super) fn check_question(&self, slot: u32, filter: &TopicFilter) -> Result<(), Refusal> {
        let unknown = |title| {
            let problem = Problem::titled(title)
                .detail("there are $operator/story, $operator/story/CLIENT, $operator/black-holes and $operator/clients")
                .field("topic filter");
            Err(Refusal::new(Reason::TOPIC_FILTER_INVALID, problem.retry(Retry::Never)))
        };
        if filter.group().is_some() {
            return unknown("an operator's question is not shared");
        }
        if Subject::of(filter).is_none() {
            return unknown("this is not a question that operators can ask");
        }
        let Some(client) = self.clients.get(slot) else { return Err(Refusal::bare(Reason::UNSPECIFIED_ERROR)) };
        client.rights.subscribe(filter)?;
        self.check_telling(slot, cost_of(filter))
    }

    /// Whether a client may be told so much more of what the ledger has.
    ///
    /// # Errors
    /// It has asked for too much lately, or has not read what it was told.
    pub(super) fn check_telling(&self, slot: u32, cost: u32) -> Result<(), Refusal> {
        let Some(client) = self.clients.get(slot) else { return Ok(()) };
        let Some(connection) = client.connection.and_then(|key| self.connections.get(key)) else { return Ok(()) };
        let tellings = &connection.asked.tellings;
        let (left, after_ms) = (tellings.left(self.now.ms), tellings.wait_ms(cost, self.now.ms));
        if left < cost {
            let problem = Problem::titled("this connection may not ask for so much at once").limit(u64::from(left), u64::from(cost));
            return Err(Refusal::new(Reason::QUOTA_EXCEEDED, problem.retry(Retry::After { after_ms, jitter_ms: after_ms / 2 })));
        }
        let unread = connection.out.len() + client.queue.bytes();
        if unread > UNREAD_BYTES_MAX {
            let problem = Problem::titled("this connection has not read what it was told").limit(UNREAD_BYTES_MAX as u64, unread as u64);
            return Err(Refusal::new(Reason::QUOTA_EXCEEDED, problem.retry(Retry::After { after_ms: 1000, jitter_ms: 1000 })));
        }
        Ok(())
    }

    /// A client is told something that was granted.
    pub(super) fn take_telling(&mut self, key: ConnectionKey, cost: u32) {
        if let Some(connection) = self.connections.get_mut(key) {
            connection.asked.make().tellings.take(cost, self.now.ms);
        }
    }

    /// Asks all shards.
    pub(super) fn ask_all(&mut self, slot: u32, filter: &TopicFilter, qos: Qos) {
        let Some(subject) = Subject::of(filter) else { return };
        let question = Question { subject, topic: filter.as_str().to_owned(), asker: self.subscriber(slot), qos };
        if self.settings.shards > 1 {
            self.effects.questions.push(question.clone());
        }
        self.answer_question(&question);
    }

    /// Questions for all other shards.
    pub fn take_questions(&mut self) -> Vec<Question> {
        std::mem::take(&mut self.effects.questions)
    }

    /// Answers for this shard; the last line says that it has said everything.
    pub fn answer_question(&mut self, question: &Question) {
        let mut lines = match &question.subject {
            Subject::Story(client_id) => self.story(client_id.as_deref()),
            Subject::BlackHoles => self.black_holes(),
            Subject::Clients => self.sessions(),
        };
        let end = json!({ "shard": self.index, "shards": self.settings.shards, "lines": lines.len() });
        lines.push(json!({ "end": end }));
        let mut answer = String::new();
        for line in lines {
            let line = line.to_string();
            if !answer.is_empty() && answer.len() + line.len() > ANSWER_BYTES_MAX {
                self.send_lines(question, &std::mem::take(&mut answer));
            }
            answer.push_str(&line);
            answer.push('\n');
        }
        self.send_lines(question, &answer);
    }

    fn send_lines(&mut self, question: &Question, lines: &str) {
        let Ok(message) = Message::publish(&question.topic, lines) else { return };
        let (qos, hop) = (question.qos, Dictionary::EMPTY);
        let envelope = Envelope { message, qos, retain: false, expires_at_ms: None, stamps: None, hop };
        let Subscriber { shard, slot } = question.asker;
        let target = CrossingTarget::passing(slot, qos);
        if shard == self.index {
            self.deliver_alone(&target, &envelope);
        } else if let Some(crossings) = self.effects.crossings.get_mut(usize::from(shard)) {
            crossings.push(Crossing { envelope, targets: vec![target], redelivery_count: 0 });
        }
    }

    fn black_holes(&self) -> Vec<Value> {
        let mut holes: Vec<_> = self.holes.noticed(self.now.unix_ms).collect();
        holes.sort_by_key(|(_, hole)| std::cmp::Reverse(hole.count()));
        let line = |(topic, hole): (&[u8], &Hole)| {
            let Hole { undelivered, denied, since_ms, unix_ms } = *hole;
            let topic = String::from_utf8_lossy(topic);
            json!({ "topic": topic, "undelivered": undelivered, "denied": denied, "first_at_ms": since_ms, "at_ms": unix_ms })
        };
        holes.into_iter().map(line).collect()
    }

    /// What `candor-broker --check --against` reads.
    fn sessions(&self) -> Vec<Value> {
        let line = |client: &Client| {
            let filters: Vec<&str> = client.subscriptions.keys().map(TopicFilter::as_str).collect();
            let is_connected = client.connection.is_some();
            json!({ "client": &*client.id, "user": (!client.principal.is_empty()).then_some(&*client.principal),
                    "method": client.rights.method(), "connected": is_connected, "subscriptions": filters })
        };
        self.directory.values().filter_map(|slot| self.clients.get(*slot)).map(line).collect()
    }

    /// The ledger's lines, oldest first, each with whose it is.
    fn story(&self, client_id: Option<&str>) -> Vec<Value> {
        let mut lines: Vec<(u64, Value)> = Vec::new();
        for page in self.ledger.pages(client_id) {
            for entry in self.ledger.read(page) {
                let mut line = entry.to_json();
                if let Value::Object(map) = &mut line {
                    map.insert("client".into(), page.client_id().into());
                    map.insert("principal".into(), page.principal().into());
                }
                lines.push((entry.unix_ms(), line));
            }
        }
        lines.sort_by_key(|(unix_ms, _)| *unix_ms);
        lines.into_iter().map(|(_, line)| line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_names_its_client_whatever_it_is_called() {
        let subject = |text: &str| Subject::of(&TopicFilter::new(text).unwrap());
        let story = |client_id: &str| Some(Subject::Story(Some(client_id.to_owned())));
        assert_eq!(subject("$operator/story"), Some(Subject::Story(None)));
        assert_eq!(subject("$operator/story/device 7"), story("device 7"));
        assert_eq!(subject("$operator/story/a/b"), story("a/b"));
        assert_eq!(subject("$operator/story/%25%2B%23"), story("%+#"));
        for bad in [
            "$operator",
            "$operator/#",
            "$operator/story/+",
            "$operator/story/#",
            "$operator/story/%",
            "$operator/story/%41",
            "$operator/x",
        ] {
            assert_eq!(subject(bad), None, "{bad}");
            assert!(is_question(&TopicFilter::new(bad).unwrap()), "{bad}");
        }
        assert!(!is_question(&TopicFilter::new("$operators/x").unwrap()));
    }
}
