//! Reading a log back: which segments belong to it, which of their bytes are good, and what they hold. Changes nothing.

use super::segment::{BadHeader, FORMAT};
use super::{FRAME_HEAD_LEN, HEADER_LEN, Header, Segment, damaged, failure, name_of, number_of, open_frame};
use crate::store::StoreError;
use crate::store::files::Files;
use std::collections::BTreeMap;

/// What a directory holds.
#[derive(Debug, Default)]
pub(in crate::store) struct Recovery {
    /// Oldest first.
    pub(in crate::store) segments: Vec<Segment>,
    /// The highest number that a file has.
    pub(in crate::store) last_number: u64,
    /// The highest numbers that the headers tell of.
    pub(in crate::store) numbers: [u64; 3],
    /// Bytes at the end that were torn: nobody was told that they are kept.
    pub(in crate::store) torn_bytes: u64,
    /// What is not as it was written.
    pub(in crate::store) damages: Vec<StoreError>,
    /// The segments that damage was found in.
    pub(in crate::store) damaged: Vec<u64>,
}

/// Who is told what is found.
pub(in crate::store) trait Found {
    /// A frame's payload, and where it stands.
    ///
    /// # Errors
    /// The payload makes no sense: at this offset in it, for this reason.
    fn frame(&mut self, segment: u64, offset: u64, payload: &[u8]) -> Result<(), (usize, &'static str)>;
}

/// Reads the log. With damage it goes on as far as possible; whether that is good enough is up to the caller.
///
/// # Errors
/// Files cannot be read, or are not a log that this broker knows.
pub(in crate::store) fn recover(files: &mut impl Files, found: &mut impl Found) -> Result<Recovery, StoreError> {
    let mut recovery = Recovery::default();
    let lengths: BTreeMap<u64, u64> = segment_files(files)?;
    recovery.last_number = lengths.keys().next_back().copied().unwrap_or_default();
    let chain = chain(files, &lengths, &mut recovery)?;
    for (at, (header, file_len)) in chain.iter().enumerate() {
        let good_len = chain.get(at + 1).and_then(|(next, _)| next.previous).filter(|(number, _)| *number == header.number);
        let segment =
            Scan { files, found, recovery: &mut recovery, number: header.number, file_len: *file_len }.run(good_len.map(|(_, len)| len))?;
        recovery.segments.push(segment);
        for (highest, number) in recovery.numbers.iter_mut().zip(header.numbers) {
            *highest = number.max(*highest);
        }
    }
    Ok(recovery)
}

fn segment_files(files: &mut impl Files) -> Result<BTreeMap<u64, u64>, StoreError> {
    let names = files.list().map_err(|error| failure(files, "", &error))?;
    Ok(names.into_iter().filter_map(|(name, len)| Some((number_of(&name)?, len))).collect())
}

/// The segments that follow from the newest by what each says of the one before, oldest first, with the lengths of their files.
fn chain(files: &mut impl Files, lengths: &BTreeMap<u64, u64>, recovery: &mut Recovery) -> Result<Vec<(Header, u64)>, StoreError> {
    let mut chain = Vec::new();
    // The number that the segment behind names; `None`: any may be the newest.
    let mut wanted: Option<u64> = None;
    for (&number, &len) in lengths.iter().rev() {
        if wanted.is_some_and(|wanted| number > wanted) {
            // It was begun and never used.
            continue;
        }
        if let Some(missing) = wanted.filter(|wanted| number < *wanted) {
            recovery.damages.push(damaged(files, &name_of(missing), 0, "the segment is missing"));
        }
        match read_header(files, number, len)? {
            Ok(header) => {
                wanted = Some(header.previous.map_or(0, |(number, _)| number));
                chain.push((header, len));
            }
            // The header is synced before anything is written behind it: the power was lost while it was begun.
            Err(_) if chain.is_empty() && len <= HEADER_LEN => {}
            Err(what) => {
                recovery.damages.push(damaged(files, &name_of(number), 0, what));
                recovery.damaged.push(number);
                // What it says of the one before is lost; its frames may be good.
                chain.push((Header { number, previous: None, numbers: [0; 3] }, len));
                wanted = lengths.range(..number).next_back().map(|(number, _)| *number);
            }
        }
    }
    chain.reverse();
    Ok(chain)
}

fn read_header(files: &mut impl Files, number: u64, len: u64) -> Result<Result<Header, &'static str>, StoreError> {
    let name = name_of(number);
    let mut bytes = vec![0; len.min(HEADER_LEN) as usize];
    files.read_at(&name, 0, &mut bytes).map_err(|error| failure(files, &name, &error))?;
    let refused = |what: String| Err(StoreError::Failed { file: files.path(&name), what });
    match Header::decode(&bytes) {
        Ok(header) if header.number == number => Ok(Ok(header)),
        Ok(header) => refused(format!("it says that it is {}; rename it, or move it away", name_of(header.number))),
        Err(BadHeader::OtherFormat(format)) => {
            let whose = if format > FORMAT { "a newer" } else { "an older" };
            refused(format!(
                "it is of format {format}, which {whose} broker wrote, and this one reads format {FORMAT}; start that one, or move the \
                 directory away to begin with an empty one"
            ))
        }
        Err(BadHeader::NotOurs) if bytes.iter().any(|byte| *byte != 0) && len > HEADER_LEN => {
            refused("it is not a segment of this broker's log; move it away, or name another directory".to_owned())
        }
        Err(_) => Ok(Err("the header is not what was written")),
    }
}

/// Reads one segment.
struct Scan<'a, F, T> {
    files: &'a mut F,
    found: &'a mut T,
    recovery: &'a mut Recovery,
    number: u64,
    file_len: u64,
}

impl<F: Files, T: Found> Scan<'_, F, T> {
    /// `good_len`: what the segment behind says; `None` for the newest.
    fn run(mut self, good_len: Option<u64>) -> Result<Segment, StoreError> {
        let name = name_of(self.number);
        let wanted = good_len.unwrap_or(self.file_len);
        let mut bytes = vec![0; wanted.min(self.file_len) as usize];
        self.files.read_at(&name, 0, &mut bytes).map_err(|error| failure(self.files, &name, &error))?;
        let mut at = HEADER_LEN as usize;
        while at < bytes.len() {
            if let Some(frame) = open_frame(&bytes[at..]) {
                if let Err((offset, what)) = self.found.frame(self.number, at as u64, frame.payload) {
                    self.damage((at + FRAME_HEAD_LEN + offset) as u64, what);
                }
                at += frame.len();
                continue;
            }
            let later = later_frame(&bytes, at, good_len.is_some());
            if good_len.is_none() && later.is_none() {
                self.recovery.torn_bytes = (bytes.len() - at) as u64;
                return Ok(Segment { number: self.number, good_len: at as u64, len: self.file_len });
            }
            self.damage(at as u64, "the checksum of a frame does not agree");
            at = later.unwrap_or(bytes.len());
        }
        if self.file_len < wanted {
            self.damage(self.file_len, "the file ends before its good end");
        }
        Ok(Segment { number: self.number, good_len: at.min(bytes.len()).max(HEADER_LEN as usize) as u64, len: self.file_len })
    }

    fn damage(&mut self, offset: u64, what: &str) {
        self.recovery.damages.push(damaged(self.files, &name_of(self.number), offset, what));
        if !self.recovery.damaged.contains(&self.number) {
            self.recovery.damaged.push(self.number);
        }
    }
}

/// The next frame behind a bad one; at the end of the log, only one of a group that was begun behind the bad one, since it proves
/// that the bad one was once good.
fn later_frame(bytes: &[u8], bad_at: usize, is_synced: bool) -> Option<usize> {
    (bad_at + 1..bytes.len()).find(|at| {
        let group = bytes.get(at + 8..at + 12).map(|raw| u32::from_le_bytes([raw[0], raw[1], raw[2], raw[3]]) as usize);
        // Looked at first: a frame's group is at most where it stands, and a checksum of everything would take long.
        group.is_some_and(|group| group <= *at && group >= HEADER_LEN as usize && (is_synced || group > bad_at))
            && open_frame(&bytes[*at..]).is_some()
    })
}
