//! One file of a disk that writes late.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// As the broker's own files.
const FILE_MODE: u32 = 0o600;

/// A file: what a reader sees of it, and what a loss of power leaves.
#[derive(Debug, Default)]
pub struct Content {
    bytes: Vec<u8>,
    /// What was synced. Where a sync failed, it holds zeros: the pages count as clean and are not what was written.
    synced: Vec<u8>,
    /// Where it really stands; `None`: its name was not synced.
    real: Option<File>,
}

impl Content {
    /// A file that an earlier process has left.
    ///
    /// # Errors
    /// It cannot be read or written.
    pub fn found(path: &Path) -> io::Result<Self> {
        let bytes = std::fs::read(path)?;
        let real = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Self { synced: bytes.clone(), bytes, real: Some(real) })
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn append(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The name lasts from now on, with as much of the file as was synced.
    ///
    /// # Errors
    /// The real file system's.
    pub fn named(&mut self, path: &Path) -> io::Result<()> {
        let real = OpenOptions::new().read(true).write(true).create_new(true).mode(FILE_MODE).open(path)?;
        real.write_all_at(&self.synced, 0)?;
        self.real = Some(real);
        Ok(())
    }

    /// The first `len` bytes last from now on, if the name does.
    ///
    /// # Errors
    /// The real file system's.
    pub fn sync(&mut self, len: usize) -> io::Result<()> {
        let from = self.synced.len();
        self.synced.extend_from_slice(self.bytes.get(from..len).unwrap_or_default());
        self.write_back(from)
    }

    /// A sync that fails: what it was to keep is lost, whatever later ones say.
    ///
    /// # Errors
    /// The real file system's.
    pub fn fail_sync(&mut self) -> io::Result<()> {
        let from = self.synced.len();
        self.synced.resize(self.bytes.len(), 0);
        self.write_back(from)
    }

    fn write_back(&self, from: usize) -> io::Result<()> {
        self.real.as_ref().map_or(Ok(()), |real| real.write_all_at(&self.synced[from..], from as u64))
    }

    /// Writes a part of what was not synced although nobody asked; what is before it becomes a hole.
    ///
    /// # Errors
    /// The real file system's.
    pub fn write_early(&self, part: impl FnOnce(usize) -> std::ops::Range<usize>) -> io::Result<()> {
        let unsynced = &self.bytes[self.synced.len()..];
        let part = part(unsynced.len());
        let (Some(real), Some(bytes)) = (&self.real, unsynced.get(part.clone())) else { return Ok(()) };
        real.write_all_at(bytes, (self.synced.len() + part.start) as u64)
    }
}
