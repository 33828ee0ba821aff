//! What holds although it could not be kept (see [`Record::survives_failure`]): it is in the state already, and is written when the
//! engine is mended. Of a session or a page of verdicts only its name is held, since a fact will say everything about it; so what
//! is held is never more than the state.

use crate::store::codec::{Entry, encode_fact, encode_record};
use crate::store::record::{Record, SessionNumber, Whose};
use crate::store::state::{Fact, State};
use std::collections::HashSet;
use std::sync::Arc;

#[derive(Debug, Default)]
pub(super) struct Held {
    /// In their order.
    entries: Vec<Entry>,
    sessions: HashSet<SessionNumber>,
    pages: HashSet<Whose>,
}

impl Held {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.sessions.is_empty() && self.pages.is_empty()
    }

    pub(super) fn sessions(&self) -> impl Iterator<Item = SessionNumber> + '_ {
        self.sessions.iter().copied()
    }

    pub(super) fn pages(&self) -> impl Iterator<Item = &Whose> {
        self.pages.iter()
    }

    /// Takes a record of a batch that failed.
    pub(super) fn hold(&mut self, state: &mut State, record: &Record) {
        state.count_numbers(record);
        if !record.survives_failure() {
            return;
        }
        if let Some(entry) = self.entry(state, record) {
            self.entries.push(entry);
        }
        state.apply(record);
    }

    /// What to write for it but facts about sessions and pages.
    fn entry(&mut self, state: &State, record: &Record) -> Option<Entry> {
        let has_effect = match record {
            Record::SessionEnded { session, .. } => {
                self.sessions.remove(session);
                state.sessions.contains_key(session)
            }
            Record::EndTold { client_id } => state.ended.contains_key(client_id),
            Record::WillDisarmed { client_id, message } => state.wills.get(client_id).is_some_and(|(_, armed)| armed == message),
            Record::RetainedCleared { topic, version } => {
                state.retained.get(topic).is_some_and(|(message, other)| message.is_some() && version > other)
            }
            Record::Retained { message, version } => return Self::retained(state, *message, *version),
            Record::Verdict { whose, .. } => {
                self.pages.insert(whose.clone());
                false
            }
            other => {
                self.sessions.extend(other.session().filter(|session| state.sessions.contains_key(session)));
                false
            }
        };
        has_effect.then(|| Entry::Step(record.clone()))
    }

    fn retained(state: &State, message: crate::store::MessageNumber, version: u64) -> Option<Entry> {
        let topic = Arc::clone(state.topic(message)?);
        let is_newer = state.retained.get(&topic).is_none_or(|(_, other)| version > *other);
        is_newer.then(|| Entry::Fact(Fact::Retained { topic, message: Some(message), version }))
    }

    pub(super) fn encode(&self, state: &State, out: &mut Vec<u8>) {
        for entry in &self.entries {
            match entry {
                Entry::Step(record) => drop(encode_record(record, out)),
                Entry::Fact(fact) => encode_fact(fact, out),
            }
        }
        self.sessions.iter().filter_map(|session| state.session_fact(*session)).for_each(|fact| encode_fact(&fact, out));
        self.pages.iter().filter_map(|whose| state.verdicts_of(whose)).for_each(|fact| encode_fact(&fact, out));
    }
}
