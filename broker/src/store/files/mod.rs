//! The narrow layer between the log and a file system: what it asks for, no more, so that a disk can be simulated that fails in
//! every way a real one does.
//!
//! | what | where |
//! | --- | --- |
//! | a directory of the real file system | [`Directory`] |
//! | a disk in memory that loses power, tears writes, is full, lies | [`SimDisk`] |

mod directory;
mod sim;

pub use directory::Directory;
pub use sim::{Mishap, SimDisk, SimFiles};

use std::fmt;
use std::io;

/// The files of one directory. They are only ever appended to.
pub trait Files: fmt::Debug + Send {
    /// Makes this process the only one that writes here, until the value is dropped.
    ///
    /// # Errors
    /// Another one holds the directory: the text names its process.
    fn lock(&mut self) -> io::Result<()>;

    /// The regular files, with their lengths.
    fn list(&mut self) -> io::Result<Vec<(String, u64)>>;

    /// Makes an empty file, which must not exist. It outlives a loss of power once the directory is synced.
    fn create(&mut self, name: &str) -> io::Result<()>;

    /// Appends all of the bytes. After an error any part of them may stand there.
    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()>;

    /// Returns when everything that was appended outlives a loss of power. After an error nobody knows, and asking again
    /// tells nothing.
    fn sync(&mut self, name: &str) -> io::Result<()>;

    /// Returns when files that were created and removed stay so over a loss of power.
    fn sync_directory(&mut self) -> io::Result<()>;

    /// Fills `into` from the offset on.
    fn read_at(&mut self, name: &str, offset: u64, into: &mut [u8]) -> io::Result<()>;

    fn remove(&mut self, name: &str) -> io::Result<()>;

    fn rename(&mut self, name: &str, to: &str) -> io::Result<()>;

    /// The file as an operator would name it.
    fn path(&self, name: &str) -> String;
}
