//! What went wrong, for everybody who can act on it. Every refusal and loss becomes one [`Verdict`]; from it come the
//! answer on the wire, the log line, the ledger and the messages on `$feedback/`.

pub mod ledger;
pub mod verdict;

pub use ledger::{Ledger, Page};
pub use verdict::Verdict;
