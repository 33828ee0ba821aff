//! Giving space back: what is live in the oldest segment goes to the end of the log, and the file goes.

use super::image::Place;
use super::{Embedded, Image};
use crate::store::StoreError;
use crate::store::codec::{Cursor, Entry, Stored, decode, encode_fact, encode_moved};
use crate::store::files::Files;
use crate::store::log::{FRAME_HEAD_LEN, HEADER_LEN, close_frame, damaged, name_of, open_frame};
use crate::store::record::{MessageNumber, Record, SessionNumber, Whose};
use crate::store::state::{Fact, State};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// How much of a segment one step reads: at least a frame.
const STEP_BYTES: u64 = 512 * 1024;

/// How far the oldest segment is cleaned.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cleaning {
    segment: u64,
    offset: u64,
    good_len: u64,
}

impl<F: Files> Embedded<F> {
    /// One step; whether there is more to do.
    pub(super) fn clean(&mut self) -> Result<bool, StoreError> {
        if self.log.is_broken() {
            return Err(StoreError::NotMended);
        }
        let Some(cleaning) = self.cleaning else { return self.begin_cleaning() };
        if cleaning.offset < cleaning.good_len {
            let read_len = self.clean_frames(cleaning).inspect_err(|error| {
                if matches!(error, StoreError::Damaged { .. }) {
                    // The rest of the log is as good as before; the space behind the damage stays taken.
                    self.options.is_cleaning_off = true;
                    self.cleaning = None;
                }
            })?;
            self.cleaning = Some(Cleaning { offset: cleaning.offset + read_len, ..cleaning });
        } else {
            let removed = self.log.remove_oldest(false);
            // It may be gone although nobody knows whether it stays so. The one behind it is not clean.
            if self.log.segments().front().is_none_or(|oldest| oldest.number != cleaning.segment) {
                self.cleaning = None;
            }
            removed?;
        }
        Ok(self.cleaning.is_some() || self.is_wasteful())
    }

    fn begin_cleaning(&mut self) -> Result<bool, StoreError> {
        if !self.is_wasteful() {
            return Ok(false);
        }
        if self.log.segments().len() == 1 {
            self.log.leave(self.image.state.numbers())?;
        }
        let oldest = self.log.segments().front();
        self.cleaning = oldest.map(|oldest| Cleaning { segment: oldest.number, offset: HEADER_LEN, good_len: oldest.good_len });
        Ok(self.cleaning.is_some())
    }

    /// More than half is dead, not counting the segment that is written; or there are many small files.
    fn is_wasteful(&self) -> bool {
        let (bytes, segment_bytes) = (self.log.bytes(), self.options.segment_bytes.max(1));
        let is_half_dead = bytes > 2 * self.image.owed_bytes() + segment_bytes;
        let is_scattered = self.log.segments().len() as u64 > 16 + 2 * (bytes / segment_bytes);
        (is_half_dead || is_scattered) && !self.options.is_cleaning_off
    }

    /// Copies what is live in the next frames; how many bytes it looked at.
    fn clean_frames(&mut self, cleaning: Cleaning) -> Result<u64, StoreError> {
        let bytes = self.read_frames(cleaning)?;
        self.log.make_room(self.image.state.numbers())?;
        let (segment, end) = self.log.end();
        let mut copy = Copy::new(&self.image, cleaning.segment, &mut self.buffer);
        let mut at = 0;
        while let Some(frame) = open_frame(&bytes[at..]) {
            let offset = cleaning.offset + (at + FRAME_HEAD_LEN) as u64;
            copy.frame(offset, frame.payload).map_err(|what| damaged(&self.log.files, &name_of(cleaning.segment), offset, what))?;
            at += frame.len();
        }
        if at == 0 {
            return Err(damaged(&self.log.files, &name_of(cleaning.segment), cleaning.offset, "the checksum of a frame does not agree"));
        }
        let (moved, facts) = (copy.moved, copy.facts);
        if self.buffer.len() > FRAME_HEAD_LEN {
            close_frame(&mut self.buffer, 0, u32::try_from(end).unwrap_or(u32::MAX));
            self.log.commit(&self.buffer)?;
        }
        for (message, stored) in moved {
            self.image.put(message, Place::new(segment, end + stored.start as u64, stored.len()));
        }
        facts.iter().for_each(|fact| self.image.says(fact, segment));
        Ok(at as u64)
    }

    /// Bytes from where cleaning stands on: whole frames, and perhaps a part of one more.
    fn read_frames(&mut self, cleaning: Cleaning) -> Result<Vec<u8>, StoreError> {
        let left = cleaning.good_len - cleaning.offset;
        let mut len = left.min(STEP_BYTES);
        let mut head = [0; 4];
        if left >= FRAME_HEAD_LEN as u64 {
            self.log.read(cleaning.segment, cleaning.offset, &mut head)?;
        }
        len = len.max((u64::from(u32::from_le_bytes(head)) + FRAME_HEAD_LEN as u64).min(left));
        let mut bytes = vec![0; len as usize];
        self.log.read(cleaning.segment, cleaning.offset, &mut bytes)?;
        Ok(bytes)
    }
}

/// Collects what is live in a segment into one frame.
#[derive(Debug)]
struct Copy<'a> {
    image: &'a Image,
    segment: u64,
    out: &'a mut Vec<u8>,
    moved: Vec<(MessageNumber, Stored)>,
    facts: Vec<Fact>,
    sessions: HashSet<SessionNumber>,
    pages: HashSet<Whose>,
    /// When the messages were received that are read, and that of those that are written; 0: it is not known.
    times: (u64, u64),
}

impl<'a> Copy<'a> {
    fn new(image: &'a Image, segment: u64, out: &'a mut Vec<u8>) -> Self {
        out.clear();
        out.resize(FRAME_HEAD_LEN, 0);
        Self { image, segment, out, moved: Vec::new(), facts: Vec::new(), sessions: HashSet::new(), pages: HashSet::new(), times: (0, 0) }
    }

    fn state(&self) -> &'a State {
        &self.image.state
    }

    /// `offset` is where the payload stands in the segment.
    fn frame(&mut self, offset: u64, payload: &[u8]) -> Result<(), &'static str> {
        let mut cursor = Cursor::new(payload);
        self.times.0 = 0;
        let mut topics: HashMap<MessageNumber, Arc<[u8]>> = HashMap::new();
        while !cursor.is_at_end() {
            let (entry, stored) = decode(&mut cursor).map_err(|bad| bad.0)?;
            match entry {
                Entry::Step(Record::Message { message, envelope, .. }) => {
                    topics.insert(message, envelope.message.topic().into());
                    self.message(message, offset, payload, stored.unwrap_or_default());
                }
                Entry::Step(Record::Retained { message, version }) => {
                    topics.get(&message).into_iter().for_each(|topic| self.retained(topic, message, version));
                }
                Entry::Step(record) => self.step(&record),
                Entry::Fact(fact) => self.said(&fact),
            }
        }
        Ok(())
    }

    fn message(&mut self, message: MessageNumber, offset: u64, payload: &[u8], stored: Stored) {
        let here = Place::new(self.segment, offset + stored.start as u64, stored.len());
        if self.image.place(message) == Some(here) {
            let (read, written) = self.times;
            if read != written {
                encode_fact(&Fact::Time(read), self.out);
                self.times.1 = read;
            }
            self.moved.push((message, encode_moved(message, &payload[stored], self.out)));
        }
    }

    fn step(&mut self, record: &Record) {
        match record {
            Record::SessionBegun { session, client_id, .. } => self.session(*session, client_id),
            Record::WillArmed { whose, message } => self.will(whose, *message),
            Record::Verdict { whose, .. } => self.page(whose),
            // All others change something that a fact says as it is now, or took away something that no longer stands before.
            _ => {}
        }
    }

    fn said(&mut self, fact: &Fact) {
        match fact {
            Fact::Session { session, kept } => self.session(*session, &kept.client_id),
            Fact::Retained { topic, message: Some(message), version } => self.retained(topic, *message, *version),
            Fact::Will { whose, message } => self.will(whose, *message),
            Fact::Ended { client_id, .. } => self.ended(client_id),
            Fact::Verdicts { whose, .. } => self.page(whose),
            Fact::Time(unix_ms) => self.times.0 = *unix_ms,
            Fact::Retained { .. } | Fact::Numbers(_) => {}
        }
    }

    fn say(&mut self, fact: Fact) {
        encode_fact(&fact, self.out);
        if matches!(fact, Fact::Session { .. } | Fact::Verdicts { .. }) {
            self.facts.push(fact);
        }
    }

    /// A session begins here; or did, and is gone, and its client is to be told why.
    fn session(&mut self, session: SessionNumber, client_id: &Arc<str>) {
        match self.image.session_at(session) {
            Some(at) if at == self.segment && self.sessions.insert(session) => {
                self.state().session_fact(session).into_iter().for_each(|fact| self.say(fact));
            }
            Some(_) => {}
            None => self.ended(client_id),
        }
    }

    fn ended(&mut self, client_id: &Arc<str>) {
        if let Some((why, unix_ms)) = self.state().ended.get(client_id) {
            self.say(Fact::Ended { client_id: Arc::clone(client_id), why: *why, unix_ms: *unix_ms });
        }
    }

    fn page(&mut self, whose: &Whose) {
        if self.image.page_at(whose) == Some(self.segment) && self.pages.insert(whose.clone()) {
            self.state().verdicts_of(whose).into_iter().for_each(|fact| self.say(fact));
        }
    }

    fn retained(&mut self, topic: &Arc<[u8]>, message: MessageNumber, version: u64) {
        if self.state().retained.get(topic) == Some(&(Some(message), version)) {
            self.say(Fact::Retained { topic: Arc::clone(topic), message: Some(message), version });
        }
    }

    fn will(&mut self, whose: &Whose, message: MessageNumber) {
        if self.state().wills.get(&whose.client_id).is_some_and(|(other, armed)| (other, *armed) == (whose, message)) {
            self.say(Fact::Will { whose: whose.clone(), message });
        }
    }
}
