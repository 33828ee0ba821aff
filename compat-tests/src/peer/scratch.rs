//! A folder for one broker's files, gone when the broker is.

use crate::outcome::{Checked, Stop};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes a new folder in the system's folder for temporary files.
    ///
    /// # Errors
    /// The file system's.
    pub fn new(name: &str) -> Checked<Self> {
        Self::within(&std::env::temp_dir(), name)
    }

    /// Makes a new folder in `parent`, for what has to be on its disk.
    ///
    /// # Errors
    /// The file system's.
    pub fn within(parent: &Path, name: &str) -> Checked<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let serial = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = parent.join(format!("candor-compat-{}-{serial}-{name}", std::process::id()));
        std::fs::create_dir_all(&dir).map_err(|error| Stop::failed(format!("cannot make {}: {error}", dir.display())))?;
        Ok(Self(dir))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left behind is small and in the folder for temporary files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
