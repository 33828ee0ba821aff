//! What went wrong, for everybody who can act on it. Every refusal and loss becomes one [`Verdict`]; from it come the
//! answer on the wire, the log line, the ledger and the messages on `$feedback/`.

pub mod entry;
pub mod holes;
pub mod ledger;
pub mod quarantine;
pub mod verdict;

pub use entry::Entry;
pub use holes::{Holes, Swallowed};
pub use ledger::{Ledger, Page};
pub use quarantine::{Quarantine, QuarantineLimits};
pub use verdict::Verdict;
