//! The exchange of an extended resumption: both ends say what they hold, so that nothing is sent twice that arrived, and
//! nothing is taken for sent that did not.
//!
//! ```text
//! extended CONNECT   client: CONNECT held    server: CONNACK held, count or, where it is skipped, count
//! offer              server: accept  held, count             client: confirm held     or, skipped, nothing
//! ```
//! By the offer the server speaks first, because the confirm is the first packet in which a client may say anything extended. So
//! an accept says what follows in both cases, and the client's confirm decides.
//!
//! A *count* is begun by the server on a connection: with a new session, or where an exchange cannot be made. It ends where one
//! end can no longer know what the other has counted: with the first message above QoS 0 on a plain connection, with a message
//! that was withdrawn, with a store that has not kept it. Then the server names a new count, and this one resumption follows
//! MQTT 3.1.1.
//!
//! A count goes on under another name with each exchange. A CONNECT can be read late, from a connection that its client has given up,
//! when a later one was served already: what it says of the count was true once, and messages that have arrived since would go as new.
//! It names the count as it was called before, so it is not believed.

use super::held::{Held, Mark, is_about_held, lie};
use super::{Output, Session};
use crate::codec::dictionary::{Dictionary, MapBuilder};
use crate::packet::{Problem, Refusal, property};
use bytes::Bytes;

impl Session {
    /// A new count, or none: `mark` is empty where the owner wants none.
    fn begin_count(&mut self, mark: Option<Mark>) {
        self.mark = mark;
        self.inbound.begin_count(mark.is_some());
        self.outbound.begin_count(mark.is_some());
    }

    /// The count goes on under this name, if there is one.
    fn rename_count(&mut self, next: Option<Mark>) {
        self.mark = next.or(self.mark);
    }

    /// From here on the two ends can no longer know the same.
    pub(super) fn end_count(&mut self) {
        if self.mark.is_some() {
            self.begin_count(None);
        }
    }

    /// A message above QoS 0 goes, or has come: a plain connection counts none.
    pub(super) fn uncounted_if_plain(&mut self) {
        if self.mark.is_some() && !self.terms.dialect.is_extended() {
            self.end_count();
        }
    }

    /// What this end holds, as a dictionary with `held`; `None`: it has no count, or too much to say.
    fn held(&mut self) -> Option<Dictionary> {
        let (mark, received) = (self.mark?, self.inbound.counted()?);
        self.outbound.sent()?;
        let held = Held { mark, received, unfinished: self.inbound.list() };
        Some(Dictionary::with(property::HELD, &held.to_dictionary()?))
    }

    /// Client: what CONNECT says, once its parked session is in its place.
    pub(super) fn held_of_client(&mut self) -> Dictionary {
        self.held().unwrap_or_default()
    }

    fn read_held(&self, dictionary: &Dictionary) -> Result<Option<Held>, Refusal> {
        dictionary.value(property::HELD).map(|map: Dictionary| Held::of_dictionary(&map)).transpose()
    }

    fn named_count(dictionary: &Dictionary) -> Option<Mark> {
        dictionary.value(property::COUNT_MARK).and_then(|bytes: Bytes| Mark::of(&bytes))
    }

    /// Server: what an extended CONNECT says of what the client holds, and what CONNACK then says.
    pub(super) fn resume_by_connect(&mut self, connect: &Dictionary, next: Option<Mark>) -> Result<(Dictionary, Vec<Output>), Refusal> {
        let theirs = self.read_held(connect)?.filter(|held| self.mark == Some(held.mark));
        let ours = if theirs.is_some() { self.held() } else { None };
        if let (Some(theirs), Some(ours)) = (theirs, ours) {
            let outputs = self.outbound.reconcile(&theirs)?;
            self.inbound.listed(true);
            self.rename_count(next);
            return Ok((MapBuilder::new().merge(&ours).merge(&count_of(next)).finish(), outputs));
        }
        self.inbound.listed(false);
        self.begin_count(next);
        Ok((count_of(self.mark), Vec::new()))
    }

    /// Server: what an accept says beyond what a CONNACK would: both what is held, and which count begins if that is not known.
    pub(super) fn resume_offered(&mut self, session_present: bool, next: Option<Mark>) -> Dictionary {
        let mut map = MapBuilder::new();
        map.merge(&count_of(next));
        // Where there is no other count to fall back on, the client could not say no.
        if session_present && next.is_some() {
            map.merge(&self.held().unwrap_or_default());
        }
        map.finish()
    }

    /// Server: what the confirm says.
    pub(super) fn resume_by_confirm(&mut self, accept: &Dictionary, confirm: &Dictionary) -> Result<Vec<Output>, Refusal> {
        let Some(theirs) = self.read_held(confirm)? else {
            self.inbound.listed(false);
            self.begin_count(Self::named_count(accept));
            return Ok(Vec::new());
        };
        // What happened since the accept may have ended the count; the client has acted on what it was told all the same.
        if self.mark != Some(theirs.mark) || accept.value(property::HELD).is_none() {
            return Err(lie("the confirm refers to a count that the accept did not", "count"));
        }
        let outputs = self.outbound.reconcile(&theirs)?;
        self.inbound.listed(true);
        self.rename_count(Self::named_count(accept));
        Ok(outputs)
    }

    /// Client: what the confirm says in answer to an accept; empty where the exchange is skipped.
    pub(super) fn held_for_confirm(&mut self, session_present: bool, accept: &Dictionary) -> Result<Dictionary, Refusal> {
        let theirs = self.read_held(accept)?.filter(|held| session_present && self.mark == Some(held.mark));
        Ok(if theirs.is_some() { self.held().unwrap_or_default() } else { Dictionary::EMPTY })
    }

    /// Client: what CONNACK, or an accept, says; `said` is what this end has told of what it holds.
    pub(super) fn resume_as_client(&mut self, answer: &Dictionary, said: bool) -> Result<Vec<Output>, Refusal> {
        match self.read_held(answer)? {
            Some(theirs) if said && self.mark == Some(theirs.mark) => {
                let outputs = self.outbound.reconcile(&theirs)?;
                self.inbound.listed(true);
                self.rename_count(Self::named_count(answer));
                Ok(outputs)
            }
            // An accept answers a client of which the server does not know yet what it holds.
            Some(_) if answer.value(property::COUNT_MARK).is_none() => {
                Err(lie("the server refers to a count that this client did not", "count"))
            }
            _ => {
                self.inbound.listed(false);
                self.begin_count(Self::named_count(answer));
                Ok(Vec::new())
            }
        }
    }

    /// Client: the server refused what this end says it holds. Saying it again would be refused again, so the next connection
    /// resumes as MQTT 3.1.1 has it.
    pub(super) fn forget_refused_count(&mut self, dictionary: &Dictionary) {
        let problem = dictionary.value(property::PROBLEM).map(|map: Dictionary| Problem::of_dictionary(&map));
        if problem.is_some_and(|problem| is_about_held(&problem)) {
            self.end_count();
        }
    }
}

fn count_of(mark: Option<Mark>) -> Dictionary {
    mark.map(|mark| Dictionary::with(property::COUNT_MARK, &mark.to_bytes())).unwrap_or_default()
}
