//! A state as facts. A record is a step, and means something only behind the steps before it; a fact says how something is,
//! whatever was before.

use super::{KeptSession, Lines, State};
use crate::store::record::{MessageNumber, SessionNumber, Whose};
use candor_protocol::session::SessionState;
use std::collections::HashMap;
use std::sync::Arc;

/// How one thing is.
#[derive(Debug, Clone, PartialEq)]
pub enum Fact {
    /// A session with all that is owed to it.
    Session {
        session: SessionNumber,
        kept: Box<KeptSession>,
    },
    /// What is retained for a topic.
    Retained {
        topic: Arc<[u8]>,
        message: Option<MessageNumber>,
        version: u64,
    },
    Will {
        whose: Whose,
        message: MessageNumber,
    },
    /// Why the client's session is gone.
    Ended {
        client_id: Arc<str>,
        why: SessionState,
        unix_ms: u64,
    },
    /// All lines of the ledger on a client, with their numbers.
    Verdicts {
        whose: Whose,
        verdicts: Lines,
    },
    /// The highest numbers of sessions, messages and versions.
    Numbers([u64; 3]),
    /// When the messages behind it in its frame were received, in milliseconds since 1970; 0: it is not known. For people.
    Time(u64),
}

impl State {
    /// The facts that this state consists of: one for each thing.
    pub fn snapshot(&self) -> impl Iterator<Item = Fact> {
        let sessions = self.sessions.iter().map(|(session, kept)| Fact::Session { session: *session, kept: Box::new(kept.clone()) });
        let retained = self.retained.iter();
        let retained =
            retained.map(|(topic, (message, version))| Fact::Retained { topic: Arc::clone(topic), message: *message, version: *version });
        let wills = self.wills.values().map(|(whose, message)| Fact::Will { whose: whose.clone(), message: *message });
        let ended = self.ended.iter();
        let ended = ended.map(|(client_id, (why, unix_ms))| Fact::Ended { client_id: Arc::clone(client_id), why: *why, unix_ms: *unix_ms });
        let pages = self.pages.iter().filter_map(|whose| self.verdicts_of(whose));
        std::iter::once(Fact::Numbers(self.numbers())).chain(sessions).chain(retained).chain(wills).chain(ended).chain(pages)
    }

    pub(in crate::store) fn session_fact(&self, session: SessionNumber) -> Option<Fact> {
        let kept = Box::new(self.sessions.get(&session)?.clone());
        Some(Fact::Session { session, kept })
    }

    pub(in crate::store) fn verdicts_of(&self, whose: &Whose) -> Option<Fact> {
        Some(Fact::Verdicts { whose: whose.clone(), verdicts: self.verdicts.get(whose)?.clone() })
    }

    /// Takes a fact for true, whatever was before.
    pub fn assume(&mut self, fact: Fact) {
        match fact {
            Fact::Session { session, kept } => {
                self.last_session = self.last_session.max(session.0);
                self.begin(session, *kept);
            }
            Fact::Retained { topic, message, version } => {
                self.last_version = self.last_version.max(version);
                if let Some(message) = message {
                    self.refer(message);
                }
                self.set_retained(topic, message, version);
            }
            Fact::Will { whose, message } => self.arm(&whose, message),
            Fact::Ended { client_id, why, unix_ms } => self.remember_end(&client_id, why, unix_ms),
            Fact::Verdicts { whose, verdicts } => {
                if let Some(page) = self.verdicts.get_mut(&whose) {
                    self.weight -= page.iter().map(|(_, verdict)| Self::verdict_weight(verdict)).sum::<u64>();
                    page.clear();
                }
                verdicts.iter().for_each(|(number, verdict)| self.add_verdict(&whose, *number, verdict));
            }
            Fact::Numbers(numbers) => self.count_from(numbers),
            Fact::Time(_) => {}
        }
    }

    /// A state that takes records and facts from a log (see `store::log`), until [`State::end_replay`].
    pub(in crate::store) fn replaying() -> Self {
        Self { replaying: true, ..Self::default() }
    }

    /// The log is read: counts the references, and forgets what only a message under way could need.
    pub(in crate::store) fn end_replay(&mut self) {
        self.forget_all_cleared();
        self.replaying = false;
        let owed = self.sessions.values().flat_map(|kept| kept.owed.iter().map(|owed| owed.body));
        let retained = self.retained.values().filter_map(|(message, _)| *message);
        let mut references = HashMap::new();
        for message in owed.chain(retained).chain(self.wills.values().map(|(_, message)| *message)) {
            *references.entry(message).or_insert(0) += 1;
        }
        self.references = references;
        self.suspects = Vec::new();
    }

    /// The topic of a will that was read back: it may become the retained message of its topic.
    pub(in crate::store) fn name_topic(&mut self, message: MessageNumber, topic: &[u8]) {
        self.will_topics.insert(message, topic.into());
    }
}
