//! The engine on a disk of its own: a segment log holds everything, and what it adds up to stands in memory.
//!
//! ```text
//!  keep ──▶ sieve ──▶ frames ──▶ one write, one sync ──▶ state, places        read ──▶ places ──▶ pread, checksum
//!                                    │ failed
//!                                    └──▶ held ──▶ mend: a new segment, with what holds all the same
//!  tidy ──▶ oldest segment ──▶ what is live in it goes to the end of the log ──▶ unlink
//! ```
//!
//! | what | where |
//! | --- | --- |
//! | the state, and where in the log everything stands | `image` |
//! | which records have an effect, so that a log holds no others | `sieve` |
//! | what holds although it could not be kept | `held` |
//! | giving space back | `clean` |
//! | opening, damage, salvage | `open` |
//!
//! **Why the oldest segment, and not the emptiest.** A step means something only behind the steps before it: if a settlement were
//! dropped with an empty segment while an older one still holds the message, the message would come back. The oldest segment has
//! nothing before it, so that whatever is live in it can be said by facts at the end. The price is that what lives long is copied
//! once in a turn of the log, which is at most one byte for each byte that is written, since a turn begins when half is dead.

mod clean;
mod held;
mod image;
mod open;
mod sieve;

#[cfg(test)]
mod tests;

pub(super) use image::Image;
pub use open::{Lost, Options};

use super::codec::{encode_fact, encode_record, open_stored};
use super::files::Files;
use super::log::{FRAME_HEAD_LEN, Log, close_frame, damaged, name_of};
use super::state::{Fact, State};
use super::{Batch, Engine, MessageNumber, StoreError, Usage};
use crate::message::Envelope;
use candor_protocol::packet::Durability;
use held::Held;
use image::Place;
use sieve::{Sieve, Worth};

#[derive(Debug)]
pub struct Embedded<F> {
    log: Log<F>,
    image: Image,
    /// What holds and does not stand in the log yet.
    held: Held,
    options: Options,
    cleaning: Option<clean::Cleaning>,
    lost: Lost,
    /// The group that is being written, for its memory.
    buffer: Vec<u8>,
}

/// A group larger than this gives its memory back.
const BUFFER_KEPT: usize = 1024 * 1024;

impl<F: Files> Embedded<F> {
    /// What was found damaged when it was opened, and is lost.
    pub fn lost(&self) -> &Lost {
        &self.lost
    }

    fn write(&mut self, batches: &[Batch]) -> Result<(), StoreError> {
        let numbers = self.image.state.numbers();
        self.log.make_room(numbers)?;
        let (segment, at) = self.log.end();
        let places = self.encode(batches, segment, at)?;
        if !self.buffer.is_empty() {
            self.log.commit(&self.buffer)?;
        }
        self.image.held(&self.held, segment);
        self.held = Held::default();
        self.image.kept(batches, segment, places);
        Ok(())
    }

    /// Puts the frames of the group into the buffer, and says where its messages will stand.
    fn encode(&mut self, batches: &[Batch], segment: u64, at: u64) -> Result<Vec<(MessageNumber, Place)>, StoreError> {
        let mut places = Vec::new();
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER_KEPT);
        // The offset is below the limit of a segment, or that of its only group.
        let group = u32::try_from(at).unwrap_or(u32::MAX);
        if !self.held.is_empty() {
            self.buffer.resize(FRAME_HEAD_LEN, 0);
            self.held.encode(&self.image.state, &mut self.buffer);
            close_frame(&mut self.buffer, 0, group);
        }
        let mut sieve = Sieve::new(&self.image.state, batches);
        for batch in batches {
            let begin = self.buffer.len();
            self.buffer.resize(begin + FRAME_HEAD_LEN, 0);
            sieve.next_batch();
            let mut time = (batch.unix_ms > 0).then_some(Fact::Time(batch.unix_ms));
            for record in &batch.records {
                match sieve.worth(record) {
                    Worth::Nothing => {}
                    Worth::Step => {
                        if matches!(record, super::Record::Message { .. }) {
                            time.take().into_iter().for_each(|time| encode_fact(&time, &mut self.buffer));
                        }
                        if let (Some(stored), super::Record::Message { message, .. }) = (encode_record(record, &mut self.buffer), record) {
                            places.push((*message, Place::new(segment, at + stored.start as u64, stored.len())));
                        }
                    }
                    Worth::Fact(fact) => encode_fact(&fact, &mut self.buffer),
                }
            }
            if self.buffer.len() == begin + FRAME_HEAD_LEN {
                self.buffer.truncate(begin);
            } else {
                close_frame(&mut self.buffer, begin, group);
            }
        }
        if at + self.buffer.len() as u64 > u64::from(u32::MAX) {
            let what = format!("a group of {} bytes is more than a segment can hold; batches have to be smaller", self.buffer.len());
            return Err(StoreError::Failed { file: self.log.files.path(&name_of(segment)), what });
        }
        Ok(places)
    }

    /// Of a group that failed, what holds all the same.
    fn hold(&mut self, batches: &[Batch]) {
        for record in batches.iter().flat_map(|batch| &batch.records) {
            self.held.hold(&mut self.image.state, record);
        }
        self.image.forget_ended();
        self.image.end_group();
    }

    /// The bytes of a message with their checksum.
    fn stored(&mut self, place: Place) -> Result<Vec<u8>, StoreError> {
        let mut stored = vec![0; place.len as usize];
        self.log.read(place.segment, u64::from(place.offset), &mut stored)?;
        Ok(stored)
    }
}

impl<F: Files> Engine for Embedded<F> {
    fn durability(&self) -> Durability {
        Durability::Disk
    }

    fn keep(&mut self, batches: &[Batch]) -> Result<Durability, StoreError> {
        match self.write(batches) {
            Ok(()) => Ok(Durability::Disk),
            Err(error) => {
                self.hold(batches);
                Err(error)
            }
        }
    }

    fn mend(&mut self) -> Result<(), StoreError> {
        self.log.mend(self.image.state.numbers())?;
        if self.held.is_empty() { Ok(()) } else { self.write(&[]) }
    }

    fn read(&mut self, message: MessageNumber) -> Result<Option<Envelope>, StoreError> {
        let Some(place) = self.image.place(self.image.state.body(message)) else { return Ok(None) };
        let stored = self.stored(place)?;
        let envelope =
            open_stored(&stored).map_err(|bad| damaged(&self.log.files, &name_of(place.segment), u64::from(place.offset), bad.0))?;
        Ok(Some(envelope))
    }

    fn state(&self) -> &State {
        &self.image.state
    }

    fn tidy(&mut self) -> Result<bool, StoreError> {
        self.clean()
    }

    fn usage(&self) -> Usage {
        Usage {
            bytes: self.log.bytes(),
            owed_bytes: self.image.owed_bytes(),
            messages: self.image.messages() as u64,
            sessions: self.image.state.sessions.len() as u64,
            segments: self.log.segments().len() as u64,
        }
    }
}
