//! The segment log: what was kept, in the order in which it was kept, on files that are only appended to.
//!
//! ```text
//!  0000000000000007.seg   header: 64 bytes | frame | frame | frame ...
//!                                            one batch each, whole or not at all
//!  0000000000000008.seg   header: "7 is good up to byte n" | frame ...       appended to
//! ```
//!
//! **A group is one write and one sync.** Its frames stand in one segment and say where it begins: since a group is written only
//! when the one before it is synced, a frame of a later group proves that everything before that group was on the disk. So a torn
//! end (nobody was told about it) and damage (somebody was) are told apart.
//!
//! **A segment says of the one before how far it is good.** What was written after that was never acknowledged: the end that a
//! loss of power tore, a group whose sync failed. It is not read, and nothing is ever cut off or written again.
//!
//! **Only the oldest segment is removed**, once what is live in it stands in the newest. A step means something only behind the
//! steps before it, and the oldest segment has none before it.

mod frame;
mod recover;
mod segment;

pub(super) use frame::{FRAME_HEAD_LEN, close_frame, open_frame};
pub(super) use recover::{Found, Recovery, recover};
pub(super) use segment::{HEADER_LEN, Header, name_of, number_of};

use super::StoreError;
use super::files::Files;
use std::collections::VecDeque;
use std::io;

/// A segment that is read: its number, and how many of its bytes are good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) number: u64,
    /// Up to here everything was synced.
    pub(super) good_len: u64,
    /// All bytes of the file.
    pub(super) len: u64,
}

#[derive(Debug)]
pub(super) struct Log<F> {
    pub(super) files: F,
    /// Oldest first; the last one is appended to.
    segments: VecDeque<Segment>,
    /// The highest number that was ever tried.
    last_number: u64,
    segment_bytes: u64,
    is_broken: bool,
    /// A file was removed, and may yet come back.
    is_removal_unsure: bool,
    /// A segment that was begun and never used may not be removed.
    is_void_left: bool,
}

impl<F: Files> Log<F> {
    /// Goes on behind what was found, in a new segment, which calls it good: so it is on the disk before. A process that was killed has
    /// left it to the system to write, and a loss of power may yet come before that.
    pub(super) fn begin(files: F, found: &[Segment], last_number: u64, segment_bytes: u64, numbers: [u64; 3]) -> Result<Self, StoreError> {
        let mut log = Self {
            files,
            segments: found.iter().copied().collect(),
            last_number,
            segment_bytes,
            is_broken: false,
            is_removal_unsure: false,
            is_void_left: true,
        };
        if let Some(newest) = log.segments.back() {
            let name = name_of(newest.number);
            log.files.sync(&name).map_err(|error| failure(&log.files, &name, &error))?;
        }
        log.roll(numbers)?;
        // It is tried again before it does harm.
        let _ = log.remove_void();
        Ok(log)
    }

    pub(super) fn is_broken(&self) -> bool {
        self.is_broken
    }

    pub(super) fn segments(&self) -> &VecDeque<Segment> {
        &self.segments
    }

    pub(super) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.len).sum()
    }

    /// The segment that is appended to, and its length: where the next group begins.
    pub(super) fn end(&self) -> (u64, u64) {
        self.segments.back().map_or((0, 0), |segment| (segment.number, segment.good_len))
    }

    /// Makes room for a group: a new segment, if this one is long enough.
    ///
    /// # Errors
    /// Nothing can be kept until [`Log::mend`].
    pub(super) fn make_room(&mut self, numbers: [u64; 3]) -> Result<(), StoreError> {
        if self.is_broken {
            return Err(StoreError::NotMended);
        }
        if self.end().1 < self.segment_bytes {
            return Ok(());
        }
        self.roll(numbers).inspect_err(|_| self.is_broken = true)
    }

    /// Writes the frames of a group, and returns when they are on the disk.
    ///
    /// # Errors
    /// They are not, and nothing can be kept until [`Log::mend`].
    pub(super) fn commit(&mut self, frames: &[u8]) -> Result<(), StoreError> {
        if self.is_broken {
            return Err(StoreError::NotMended);
        }
        let Some(segment) = self.segments.back_mut() else { return Err(StoreError::NotMended) };
        let name = name_of(segment.number);
        let files = &mut self.files;
        let result = files.append(&name, frames).and_then(|()| files.sync(&name));
        segment.len += frames.len() as u64;
        match result {
            Ok(()) => segment.good_len = segment.len,
            Err(error) => {
                self.is_broken = true;
                return Err(failure(&self.files, &name, &error));
            }
        }
        Ok(())
    }

    /// Goes on in a new segment after a failure. What was written and not synced is void from then on.
    ///
    /// # Errors
    /// It is not possible yet.
    pub(super) fn mend(&mut self, numbers: [u64; 3]) -> Result<(), StoreError> {
        if self.is_broken {
            self.roll(numbers)?;
            self.is_broken = false;
        }
        Ok(())
    }

    /// Begins a segment. Its number was never used, so that what an earlier attempt left there does not matter.
    fn roll(&mut self, numbers: [u64; 3]) -> Result<(), StoreError> {
        self.last_number += 1;
        let number = self.last_number;
        let previous = self.segments.back().map(|segment| (segment.number, segment.good_len));
        let header = Header { number, previous, numbers };
        let name = name_of(number);
        let files = &mut self.files;
        let begun = files.create(&name).and_then(|()| files.append(&name, &header.encode()));
        let begun = begun.and_then(|()| files.sync(&name)).and_then(|()| files.sync_directory());
        if let Err(error) = begun {
            let error = failure(&self.files, &name, &error);
            // It holds nothing. If it cannot be removed yet, it is before the log goes past it. Others stay: as long as no later header
            // stands, that of an empty segment may be all that tells of the highest numbers.
            self.is_void_left |= self.files.remove(&name).is_err();
            return Err(error);
        }
        self.segments.push_back(Segment { number, good_len: HEADER_LEN, len: HEADER_LEN });
        Ok(())
    }

    /// Begins a segment although there is room in this one: so that this one can be removed.
    pub(super) fn leave(&mut self, numbers: [u64; 3]) -> Result<(), StoreError> {
        if self.is_broken {
            return Err(StoreError::NotMended);
        }
        self.roll(numbers).inspect_err(|_| self.is_broken = true)
    }

    /// Removes what is left of segments that were begun and never used. As long as an older segment stands, the one behind them
    /// tells that they are none of the log; later they would look as if the segments behind them were missing.
    ///
    /// # Errors
    /// Some are still there.
    fn remove_void(&mut self) -> Result<(), StoreError> {
        if !self.is_void_left {
            return Ok(());
        }
        let names = self.files.list().map_err(|error| failure(&self.files, "", &error))?;
        let is_void = |name: &str| number_of(name).is_some_and(|number| self.segments.iter().all(|segment| segment.number != number));
        for (name, _) in names.iter().filter(|(name, _)| is_void(name)) {
            self.is_removal_unsure = true;
            self.files.remove(name).map_err(|error| failure(&self.files, name, &error))?;
        }
        self.is_void_left = false;
        Ok(())
    }

    /// Removes the oldest segment, in which nothing is live any more; or puts it aside under the name.
    ///
    /// # Errors
    /// It is still there, or may be; nothing is lost by that.
    pub(super) fn remove_oldest(&mut self, aside: bool) -> Result<(), StoreError> {
        let Some(segment) = self.segments.front().filter(|_| self.segments.len() > 1) else { return Ok(()) };
        let name = name_of(segment.number);
        self.remove_void()?;
        if self.is_removal_unsure {
            // One after the other, so that what is left has no hole.
            self.files.sync_directory().map_err(|error| failure(&self.files, &name, &error))?;
            self.is_removal_unsure = false;
        }
        let removed = if aside { self.files.rename(&name, &format!("{name}.damaged")) } else { self.files.remove(&name) };
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failure(&self.files, &name, &error)),
            _ => {}
        }
        self.segments.pop_front();
        self.is_removal_unsure = true;
        self.files.sync_directory().map_err(|error| failure(&self.files, &name, &error))?;
        self.is_removal_unsure = false;
        Ok(())
    }

    /// Reads bytes of a segment that are good.
    pub(super) fn read(&mut self, number: u64, offset: u64, into: &mut [u8]) -> Result<(), StoreError> {
        let name = name_of(number);
        self.files.read_at(&name, offset, into).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => damaged(&self.files, &name, offset, "the file ends before it"),
            _ => failure(&self.files, &name, &error),
        })
    }
}

/// What an error of the file system means for the store.
pub(super) fn failure(files: &impl Files, name: &str, error: &io::Error) -> StoreError {
    let (file, what) = (files.path(name), error.to_string());
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => StoreError::Full { file, what },
        _ => StoreError::Failed { file, what },
    }
}

pub(super) fn damaged(files: &impl Files, name: &str, offset: u64, what: &str) -> StoreError {
    StoreError::Damaged { file: files.path(name), offset, what: what.to_owned() }
}
