//! `--state FILE`: what a command finds again after it was killed, so that it can be run again as if nothing had happened.

use super::exit::Failure;
use super::flags;
use crate::error::Error;
use crate::options::Options;
use crate::store::{FileStore, Record, SessionStore, StoreError};
use bytes::{Buf, Bytes};
use clap::{Arg, ArgMatches, value_parser};
use std::path::PathBuf;
use std::sync::Arc;

pub(super) fn flag(help: &'static str) -> Arg {
    Arg::new("state").long("state").value_name("FILE").value_parser(value_parser!(PathBuf)).requires("id").help(help)
}

fn failed(error: StoreError) -> Failure {
    Failure::Connect(Error::Store(error))
}

/// The session that the flags name.
pub(super) fn open(matches: &ArgMatches) -> Result<Option<Arc<FileStore>>, Failure> {
    let path = matches.get_one::<PathBuf>("state");
    path.map(|path| FileStore::open(path).map(Arc::new).map_err(failed)).transpose()
}

/// Has the client keep its session there, and the server keep it for as long as the flags say.
pub(super) fn options(options: Options, store: Option<&Arc<FileStore>>, matches: &ArgMatches) -> Options {
    match store {
        None => options,
        Some(store) => {
            let expiry_s = flags::number(matches, "session-expiry").unwrap_or(u32::MAX);
            options.store(Arc::clone(store) as Arc<dyn SessionStore>).session_expiry_s(expiry_s)
        }
    }
}

/// Keeps a mark beside what the client keeps; only while there is no client.
pub(super) fn mark(store: &FileStore, mark: Bytes) -> Result<(), Failure> {
    store.keep(&[Record::Marked { mark }]).map_err(failed)
}

const LINES: u8 = b'l';
const MESSAGE: u8 = b'm';
const OUTPUT: u8 = b'o';

/// How far a command had come. It is kept in the same step as the message that it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Position {
    /// So many lines of standard input were taken, and they were these.
    Lines { count: u64, digest: u64 },
    /// The one message was taken.
    Message { digest: u64 },
    /// The output has so many bytes.
    Output { len: u64 },
}

/// FNV-1a, which tells inputs apart that were confused, not forged.
fn digest(start: u64, parts: &[&[u8]]) -> u64 {
    let step = |digest: u64, byte: &u8| (digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3);
    parts.iter().fold(start, |digest, part| part.iter().chain((part.len() as u64).to_le_bytes().iter()).fold(digest, step))
}

const DIGEST_START: u64 = 0xCBF2_9CE4_8422_2325;

impl Position {
    /// Before the first line.
    pub(super) const START: Position = Position::Lines { count: 0, digest: DIGEST_START };

    /// Where the message with this topic and payload has been taken.
    pub(super) fn message(topic: &str, payload: &[u8]) -> Self {
        Position::Message { digest: digest(DIGEST_START, &[topic.as_bytes(), payload]) }
    }

    /// Behind one more line.
    pub(super) fn behind(self, line: &[u8]) -> Self {
        match self {
            Position::Lines { count, digest: before } => Position::Lines { count: count + 1, digest: digest(before, &[line]) },
            other => other,
        }
    }

    pub(super) fn to_mark(self) -> Bytes {
        let (kind, numbers) = match self {
            Position::Lines { count, digest } => (LINES, [count, digest]),
            Position::Message { digest } => (MESSAGE, [1, digest]),
            Position::Output { len } => (OUTPUT, [len, 0]),
        };
        [&[kind][..], &numbers[0].to_le_bytes(), &numbers[1].to_le_bytes()].concat().into()
    }

    /// What is kept in a store; `None`: nothing, or nothing of this program's.
    pub(super) fn of(store: &FileStore) -> Option<Self> {
        let mut mark = store.load().mark;
        if mark.len() != 17 {
            return None;
        }
        let (kind, first, second) = (mark.get_u8(), mark.get_u64_le(), mark.get_u64_le());
        match kind {
            LINES => Some(Position::Lines { count: first, digest: second }),
            MESSAGE => Some(Position::Message { digest: second }),
            OUTPUT => Some(Position::Output { len: first }),
            _ => None,
        }
    }
}

/// Passes over the lines that an earlier run has taken.
#[derive(Debug)]
pub(super) struct Resume {
    at: Position,
    /// Where the earlier run was; `None`: everything is new.
    taken: Option<Position>,
}

impl Resume {
    pub(super) fn new(store: Option<&FileStore>) -> Self {
        let lines = |position: &Position| matches!(position, Position::Lines { .. });
        Self { at: Position::START, taken: store.and_then(Position::of).filter(lines) }
    }

    /// Whether this line was taken already, else where the input is behind it.
    pub(super) fn pass(&mut self, line: &[u8]) -> Result<Option<Position>, Failure> {
        self.at = self.at.behind(line);
        let (Some(Position::Lines { count, digest }), Position::Lines { count: at, digest: seen }) = (self.taken, self.at) else {
            return Ok(Some(self.at));
        };
        if at < count {
            return Ok(None);
        }
        self.taken = None;
        if digest == seen { Ok(None) } else { Err(Self::other_input(count)) }
    }

    /// The input has ended.
    pub(super) fn end(&self) -> Result<(), Failure> {
        match self.taken {
            Some(Position::Lines { count, .. }) => Err(Self::other_input(count)),
            _ => Ok(()),
        }
    }

    fn other_input(count: u64) -> Failure {
        Failure::Usage(format!(
            "--state: an earlier run has taken {count} lines of another input and did not come to its end: \
             give that input again, or use another file"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn behind(lines: &[&str]) -> Position {
        lines.iter().fold(Position::START, |at, line| at.behind(line.as_bytes()))
    }

    fn resume(taken: Position) -> Resume {
        Resume { at: Position::START, taken: Some(taken) }
    }

    #[test]
    fn lines_that_were_taken_are_passed_over_and_no_others() {
        let mut resume = resume(behind(&["a", "b"]));
        assert!(matches!((resume.pass(b"a"), resume.pass(b"b")), (Ok(None), Ok(None))));
        assert_eq!(resume.pass(b"c").unwrap(), Some(behind(&["a", "b", "c"])));
        assert!(resume.end().is_ok());
    }

    #[test]
    fn another_input_is_refused() {
        let mut other = resume(behind(&["a", "b"]));
        assert!(other.pass(b"ab").is_ok() && other.pass(b"").is_err(), "the borders of lines count");
        let mut short = resume(behind(&["a", "b"]));
        assert!(short.pass(b"a").is_ok() && short.end().is_err());
    }
}
