//! How an engine is opened when a broker starts.

use super::embedded::{Embedded, Options};
use super::files::Directory;
use super::{Engine, StoreError};
use std::fmt;
use std::path::PathBuf;

/// Opens an engine.
pub trait OpenEngine: fmt::Debug + Send + Sync {
    /// # Errors
    /// The store cannot be opened, or is not what was written; the text says which file, and what to do.
    fn open(&self) -> Result<Box<dyn Engine>, StoreError>;
}

/// The embedded engine in a folder, which is made if it is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataDir {
    pub path: PathBuf,
    /// Open it although files are damaged, with what can be read.
    pub salvage: bool,
}

impl OpenEngine for DataDir {
    fn open(&self) -> Result<Box<dyn Engine>, StoreError> {
        let failed = |what: String| StoreError::Failed { file: self.path.display().to_string(), what };
        let directory = Directory::create(&self.path).map_err(|error| failed(error.to_string()))?;
        let mut options = Options::default();
        options.salvage = self.salvage;
        let engine = Embedded::open(directory, options)?;
        let lost = engine.lost();
        if lost.torn_bytes > 0 {
            tracing::warn!(data_dir = %self.path.display(), bytes = lost.torn_bytes, "what was being written when the last process ended is dropped; nobody was told that it was kept");
        }
        for damage in &lost.damages {
            tracing::error!(data_dir = %self.path.display(), damage = %damage, "damaged, and put aside; what could be read is kept");
        }
        if lost.messages > 0 {
            tracing::error!(messages = lost.messages, "messages that were owed are lost; those who are owed them are told of a gap");
        }
        let usage = engine.usage();
        tracing::info!(data_dir = %self.path.display(), sessions = usage.sessions, messages = usage.messages, bytes = usage.bytes, "store opened");
        Ok(Box::new(engine))
    }
}
