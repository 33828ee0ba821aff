//! Opening: reading the log back, and what is done about damage.

use super::held::Held;
use super::{Embedded, Image, Place};
use crate::store::codec::{encode_fact, encode_moved};
use crate::store::files::Files;
use crate::store::log::{self, FRAME_HEAD_LEN, HEADER_LEN, Log, Recovery, close_frame, name_of, number_of};
use crate::store::record::{MessageNumber, Record};
use crate::store::state::Fact;
use crate::store::{Engine, StoreError};
use candor_protocol::packet::Reason;

/// How an embedded engine is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// When a segment has so many bytes, the next group goes into a new one.
    pub segment_bytes: u64,
    /// A log that is damaged is read as far as it can be, and what is lost is told as a gap. Else it is refused.
    pub salvage: bool,
    /// Space is not given back: damage was met while it was.
    pub(super) is_cleaning_off: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { segment_bytes: 8 * 1024 * 1024, salvage: false, is_cleaning_off: false }
    }
}

/// What was found when the log was opened and is no longer there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lost {
    /// Bytes at the end that nobody was told were kept: the power was lost while they were written.
    pub torn_bytes: u64,
    /// What is damaged.
    pub damages: Vec<StoreError>,
    /// Messages that were owed and cannot be read: those who are owed them are told of a gap.
    pub messages: u64,
}

/// How many bytes are copied with one sync.
const COPY_BYTES: usize = 1024 * 1024;

impl<F: Files> Embedded<F> {
    /// Opens what is there, or begins.
    ///
    /// # Errors
    /// The directory is in use, cannot be read or written, holds something else, or is damaged.
    pub fn open(mut files: F, options: Options) -> Result<Self, StoreError> {
        files.lock().map_err(|error| log::failure(&files, "lock", &error))?;
        refuse_others(&mut files)?;
        let mut image = Image::replaying();
        let mut recovery = log::recover(&mut files, &mut image)?;
        let missing = image.end_replay(recovery.numbers);
        note_missing(&files, &mut recovery, &image, &missing);
        if let Some(damage) = recovery.damages.first().filter(|_| !options.salvage) {
            return Err(refusal(damage, recovery.damages.len()));
        }
        leave_empty_out(&mut recovery);
        let numbers = image.state.numbers();
        let log = Log::begin(files, &recovery.segments, recovery.last_number, options.segment_bytes, numbers)?;
        let lost = Lost { torn_bytes: recovery.torn_bytes, damages: recovery.damages, messages: missing.len() as u64 };
        let mut engine = Self { log, image, held: Held::default(), options, cleaning: None, lost, buffer: Vec::new() };
        engine.name_wills()?;
        if !engine.lost.damages.is_empty() {
            engine.give_up(&missing);
            engine.rewrite(&recovery.damaged)?;
        }
        Ok(engine)
    }

    /// A will that is published may become retained, for which its topic is needed.
    fn name_wills(&mut self) -> Result<(), StoreError> {
        let wills: Vec<MessageNumber> = self.image.state.wills.values().map(|(_, message)| *message).collect();
        for message in wills {
            let envelope = match self.read(message) {
                Err(StoreError::Damaged { .. }) if self.options.salvage => continue,
                read => read?,
            };
            if let Some(envelope) = envelope {
                self.image.state.name_topic(message, envelope.message.topic());
            }
        }
        Ok(())
    }

    /// Messages that cannot be read are owed no more; those who were owed them are told.
    fn give_up(&mut self, missing: &[MessageNumber]) {
        let is_missing = |message: &MessageNumber| missing.binary_search(message).is_ok();
        let state = &self.image.state;
        let owed = state.sessions.iter().flat_map(|(session, kept)| kept.owed.iter().map(|owed| (*session, *owed)));
        let dropped: Vec<_> = owed.filter(|(_, owed)| is_missing(&owed.body)).map(|(session, owed)| (session, owed.message)).collect();
        let wills = state.wills.values().filter(|(_, message)| is_missing(message));
        let wills: Vec<_> = wills.map(|(whose, message)| (whose.client_id.clone(), *message)).collect();
        let retained = state.retained.iter().filter(|(_, (message, _))| message.as_ref().is_some_and(is_missing));
        let retained: Vec<_> = retained.map(|(topic, (_, version))| (topic.clone(), *version)).collect();
        for (session, message) in dropped {
            self.image.state.apply(&Record::Dropped { session, message, reason: Reason::UNSPECIFIED_ERROR });
        }
        for (client_id, message) in wills {
            self.image.state.apply(&Record::WillDisarmed { client_id, message });
        }
        for (topic, version) in retained {
            let fact = Fact::Retained { topic, message: None, version };
            self.image.state.assume(fact);
        }
        self.image.end_group();
        self.image.state.forget_all_cleared();
    }

    /// Writes everything that is owed anew, and puts what is damaged aside.
    fn rewrite(&mut self, damaged: &[u64]) -> Result<(), StoreError> {
        let old_last = self.log.segments().iter().rev().nth(1).map_or(0, |segment| segment.number);
        let facts: Vec<Fact> = self.image.state.snapshot().collect();
        for fact in &facts {
            if self.buffer.is_empty() {
                self.buffer.resize(FRAME_HEAD_LEN, 0);
            }
            encode_fact(fact, &mut self.buffer);
            if self.buffer.len() >= COPY_BYTES {
                self.commit_copies()?;
            }
        }
        let segment = self.commit_copies()?;
        facts.iter().for_each(|fact| self.image.says(fact, segment));
        self.rewrite_messages()?;
        while self.log.segments().front().is_some_and(|oldest| oldest.number <= old_last) {
            let is_damaged = self.log.segments().front().is_some_and(|oldest| damaged.contains(&oldest.number));
            self.log.remove_oldest(is_damaged)?;
        }
        Ok(())
    }

    fn rewrite_messages(&mut self) -> Result<(), StoreError> {
        let places: Vec<(MessageNumber, Place)> = self.image.places().collect();
        let mut moved = Vec::new();
        for (message, place) in places {
            let stored = self.stored(place)?;
            if self.buffer.is_empty() {
                self.buffer.resize(FRAME_HEAD_LEN, 0);
            }
            moved.push((message, encode_moved(message, &stored, &mut self.buffer)));
            if self.buffer.len() >= COPY_BYTES {
                self.commit_moved(&mut moved)?;
            }
        }
        self.commit_moved(&mut moved)
    }

    fn commit_moved(&mut self, moved: &mut Vec<(MessageNumber, std::ops::Range<usize>)>) -> Result<(), StoreError> {
        self.log.make_room(self.image.state.numbers())?;
        let end = self.log.end().1;
        let segment = self.commit_copies()?;
        for (message, stored) in moved.drain(..) {
            self.image.put(message, Place::new(segment, end + stored.start as u64, stored.len()));
        }
        Ok(())
    }

    /// Writes the frame in the buffer, if there is one; the segment that it stands in.
    fn commit_copies(&mut self) -> Result<u64, StoreError> {
        self.log.make_room(self.image.state.numbers())?;
        let (segment, end) = self.log.end();
        if !self.buffer.is_empty() {
            close_frame(&mut self.buffer, 0, u32::try_from(end).unwrap_or(u32::MAX));
            self.log.commit(&self.buffer)?;
            self.buffer.clear();
        }
        Ok(segment)
    }
}

/// A directory with other people's files and no log is rather a mistake than a place to begin.
fn refuse_others(files: &mut impl Files) -> Result<(), StoreError> {
    let names = files.list().map_err(|error| log::failure(files, "", &error))?;
    let is_ours = |name: &str| number_of(name).is_some() || name == "lock" || name.starts_with('.') || name.ends_with(".damaged");
    if names.iter().any(|(name, _)| number_of(name).is_some()) {
        return Ok(());
    }
    match names.iter().find(|(name, _)| !is_ours(name)) {
        Some((name, _)) => Err(StoreError::Failed {
            file: files.path(name),
            what: "it is not a file of this broker; name an empty directory, or one that does not exist".to_owned(),
        }),
        None => Ok(()),
    }
}

/// Messages that are owed and stand nowhere are damage, unless it is known already where they stood.
fn note_missing(files: &impl Files, recovery: &mut Recovery, image: &Image, missing: &[MessageNumber]) {
    if let (Some(first), true) = (missing.first(), recovery.damages.is_empty()) {
        let newest = recovery.segments.last().map_or(0, |segment| segment.number);
        let what =
            format!("{} messages of {} that are owed are missing, the first is {}", missing.len(), image.state.references.len(), first.0);
        recovery.damages.push(log::damaged(files, &name_of(newest), 0, &what));
    }
}

fn refusal(damage: &StoreError, damages: usize) -> StoreError {
    let advice = format!(
        "{damages} damaged places were found; restore the directory from a copy, or start once with --salvage, which keeps what can be read"
    );
    match damage.clone() {
        StoreError::Damaged { file, offset, what } => StoreError::Damaged { file, offset, what: format!("{what}; {advice}") },
        other => other,
    }
}

/// Segments at the end in which nothing stands, so that every start does not leave one.
fn leave_empty_out(recovery: &mut Recovery) {
    while recovery.segments.last().is_some_and(|last| last.good_len <= HEADER_LEN && !recovery.damaged.contains(&last.number)) {
        recovery.segments.pop();
    }
}
