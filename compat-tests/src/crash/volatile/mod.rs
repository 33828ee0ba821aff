//! A broker whose disk loses what was not synced when the process is killed, so that SIGKILL is a loss of power.
//!
//! ```text
//!  engine --append, create, remove--> VolatileFiles (memory) --sync, sync of the directory--> the real directory
//!                                          ^                                                      |
//!                     SIGKILL: gone -------'                             the next process reads --'
//! ```
//!
//! | what | where |
//! | --- | --- |
//! | the layer of files below the engine | [`files`] |
//! | one file: what a reader sees, and what is on the disk of it | [`content`] |
//! | what goes wrong on it, as the harness says on standard input | [`fault`] |
//! | brokers that are wrong, and have to be found out | [`mutant`] |
//! | the process | [`process`] |
//!
//! As on a disk, what was not synced need not be lost: some of it is written early, the end before the middle, and a name may be there
//! before its directory was synced.

pub mod content;
pub mod fault;
pub mod files;
pub mod mutant;
pub mod process;

pub use fault::Fault;
pub use mutant::Mutant;
