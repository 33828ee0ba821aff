//! What a log adds up to, and where in it everything stands.

use super::held::Held;
use crate::store::Batch;
use crate::store::codec::{Cursor, Entry, decode};
use crate::store::log::{FRAME_HEAD_LEN, Found};
use crate::store::record::{MessageNumber, Record, SessionNumber, Whose};
use crate::store::state::{Fact, State};
use std::collections::HashMap;

type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// Where the bytes of a message stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct Place {
    pub(in crate::store) segment: u64,
    /// From the checksum in front of it on.
    pub(in crate::store) offset: u32,
    pub(in crate::store) len: u32,
}

impl Place {
    /// A group ends below 4 GiB, so offsets and lengths in it fit.
    pub(super) fn new(segment: u64, offset: u64, len: usize) -> Self {
        Self { segment, offset: offset as u32, len: len as u32 }
    }

    /// What the message takes where it is copied to, with the record around it and its time.
    fn weight(self) -> u64 {
        u64::from(self.len) + 32
    }
}

#[derive(Debug, Default)]
pub(in crate::store) struct Image {
    pub(in crate::store) state: State,
    places: Map<MessageNumber, Place>,
    /// The weight of all places.
    placed_bytes: u64,
    /// In which segment everything about a session begins.
    sessions_at: Map<SessionNumber, u64>,
    /// In which segment the verdicts on a client begin.
    pages_at: Map<Whose, u64>,
}

impl Image {
    /// One that a log is read into.
    pub(in crate::store) fn replaying() -> Self {
        Self { state: State::replaying(), ..Self::default() }
    }

    pub(super) fn place(&self, message: MessageNumber) -> Option<Place> {
        self.places.get(&message).copied()
    }

    pub(super) fn places(&self) -> impl Iterator<Item = (MessageNumber, Place)> + '_ {
        self.places.iter().map(|(message, place)| (*message, *place))
    }

    pub(super) fn messages(&self) -> usize {
        self.places.len()
    }

    /// Not less than a log takes that holds nothing dead.
    pub(in crate::store) fn owed_bytes(&self) -> u64 {
        self.placed_bytes + self.state.weight()
    }

    pub(super) fn session_at(&self, session: SessionNumber) -> Option<u64> {
        self.sessions_at.get(&session).copied()
    }

    pub(super) fn page_at(&self, whose: &Whose) -> Option<u64> {
        self.pages_at.get(whose).copied()
    }

    pub(super) fn put(&mut self, message: MessageNumber, place: Place) {
        self.placed_bytes += place.weight();
        if let Some(old) = self.places.insert(message, place) {
            self.placed_bytes -= old.weight();
        }
    }

    fn forget(&mut self, message: MessageNumber) {
        if let Some(old) = self.places.remove(&message) {
            self.placed_bytes -= old.weight();
        }
    }

    /// A fact stands in this segment from now on.
    pub(super) fn says(&mut self, fact: &Fact, segment: u64) {
        match fact {
            Fact::Session { session, .. } => drop(self.sessions_at.insert(*session, segment)),
            Fact::Verdicts { whose, .. } => drop(self.pages_at.insert(whose.clone(), segment)),
            _ => {}
        }
    }

    /// What was held stands in this segment from now on.
    pub(super) fn held(&mut self, held: &Held, segment: u64) {
        for session in held.sessions().filter(|session| self.state.sessions.contains_key(session)) {
            self.sessions_at.insert(session, segment);
        }
        for whose in held.pages() {
            self.pages_at.insert(whose.clone(), segment);
        }
    }

    /// Sessions ended that were not taken out here.
    pub(super) fn forget_ended(&mut self) {
        let state = &self.state;
        if self.sessions_at.len() > state.sessions.len() {
            self.sessions_at.retain(|session, _| state.sessions.contains_key(session));
        }
    }

    /// Batches stand in this segment from now on.
    pub(super) fn kept(&mut self, batches: &[Batch], segment: u64, places: Vec<(MessageNumber, Place)>) {
        for (message, place) in places {
            self.put(message, place);
        }
        for record in batches.iter().flat_map(|batch| &batch.records) {
            self.step(record, segment);
        }
        self.end_group();
    }

    pub(super) fn end_group(&mut self) {
        for message in self.state.end_group() {
            self.forget(message);
        }
    }

    fn step(&mut self, record: &Record, segment: u64) {
        match record {
            Record::SessionBegun { session, .. } => drop(self.sessions_at.insert(*session, segment)),
            Record::SessionEnded { session, .. } => drop(self.sessions_at.remove(session)),
            Record::Verdict { whose, .. } if !self.state.verdicts.contains_key(whose) => drop(self.pages_at.insert(whose.clone(), segment)),
            _ => {}
        }
        self.state.apply(record);
        if self.pages_at.len() > self.state.verdicts.len() {
            self.pages_at.retain(|whose, _| self.state.verdicts.contains_key(whose));
        }
    }

    /// The log is read: forgets what nothing refers to, and says which messages are owed and were not found.
    pub(in crate::store) fn end_replay(&mut self, numbers: [u64; 3]) -> Vec<MessageNumber> {
        self.state.count_from(numbers);
        self.state.end_replay();
        let references = &self.state.references;
        self.places.retain(|message, _| references.contains_key(message));
        self.places.shrink_to_fit();
        self.placed_bytes = self.places.values().map(|place| place.weight()).sum();
        let mut missing: Vec<_> = references.keys().filter(|message| !self.places.contains_key(message)).copied().collect();
        missing.sort_unstable();
        missing
    }
}

impl Found for Image {
    fn frame(&mut self, segment: u64, offset: u64, payload: &[u8]) -> Result<(), (usize, &'static str)> {
        let mut cursor = Cursor::new(payload);
        let mut result = Ok(());
        while !cursor.is_at_end() {
            let at = cursor.offset();
            match decode(&mut cursor) {
                Ok((Entry::Step(record), stored)) => {
                    if let (Record::Message { message, .. }, Some(stored)) = (&record, stored) {
                        self.put(*message, Place::new(segment, offset + (FRAME_HEAD_LEN + stored.start) as u64, stored.len()));
                    }
                    self.step(&record, segment);
                }
                Ok((Entry::Fact(fact), _)) => {
                    self.says(&fact, segment);
                    self.state.assume(fact);
                }
                Err(bad) => {
                    result = Err((at, bad.0));
                    break;
                }
            }
        }
        self.state.end_group();
        result
    }
}
