//! Where `candor sub` prints: standard output, or a file that goes back to what was accepted when a run was killed.

use super::exit::Failure;
use super::state::{self, Position};
use crate::incoming::Incoming;
use crate::store::FileStore;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

pub(super) enum Output {
    Standard,
    File { path: PathBuf, file: File, len: u64 },
}

impl Output {
    /// Standard output where there is no `path`. A file goes back to the length that is kept in the store: what stands behind it belongs
    /// to messages that come again.
    pub(super) fn open(path: Option<&PathBuf>, store: Option<&FileStore>) -> Result<Self, Failure> {
        let (Some(path), Some(store)) = (path, store) else { return Ok(Output::Standard) };
        let failed = |error: io::Error| Failure::Other(format!("{}: {error}", path.display()));
        let mut file = OpenOptions::new().write(true).create(true).truncate(false).open(path).map_err(failed)?;
        let found = file.metadata().map_err(failed)?.len();
        let len = match Position::of(store) {
            Some(Position::Output { len }) if len <= found => len,
            Some(Position::Output { len }) => return Err(Failure::Other(too_short(path, found, len))),
            // Before the first message is printed, so that a first run knows too what was there before.
            _ => state::mark(store, Position::Output { len: found }.to_mark()).map(|()| found)?,
        };
        file.set_len(len).map_err(failed)?;
        file.seek(SeekFrom::Start(len)).map_err(failed)?;
        Ok(Output::File { path: path.clone(), file, len })
    }

    /// Prints, and gives the place where this begins. Behind it the text is as safe as the output makes it.
    pub(super) fn write(&mut self, text: &[u8]) -> io::Result<u64> {
        match self {
            Output::Standard => {
                let mut out = io::stdout().lock();
                out.write_all(text).and_then(|()| out.flush()).map(|()| 0)
            }
            Output::File { file, len, .. } => {
                file.write_all(text)?;
                // The acceptance says that it is there.
                file.sync_data()?;
                *len += text.len() as u64;
                Ok(*len - text.len() as u64)
            }
        }
    }

    /// Accepts a message whose text ends at `end`.
    pub(super) fn accept(&self, incoming: Incoming, end: u64) {
        match self {
            Output::Standard => incoming.accept(),
            Output::File { .. } => incoming.accept_with(Position::Output { len: end }.to_mark()),
        }
    }

    pub(super) fn failure(&self, error: &io::Error) -> Failure {
        match self {
            Output::Standard => Failure::Other(format!("standard output: {error}")),
            Output::File { path, .. } => Failure::Other(format!("{}: {error}", path.display())),
        }
    }
}

fn too_short(path: &Path, found: u64, kept: u64) -> String {
    format!(
        "{} has {found} bytes, and {kept} of it were accepted: it was changed or replaced; restore it, or use another state",
        path.display()
    )
}
