//! What went wrong, for everybody who can act on it. Every refusal and loss becomes one [`Verdict`]; from it come the
//! answer on the wire, the log line, the ledger, the counts and the messages on `$feedback/`.

pub mod breaker;
pub mod cause;
pub mod conduct;
pub mod entry;
pub mod holes;
pub mod ledger;
pub mod notices;
pub mod quarantine;
pub mod rate;
pub mod tally;
mod told;
pub mod verdict;

pub use breaker::Breaker;
pub use cause::Cause;
pub use conduct::Conduct;
pub use entry::Entry;
pub use holes::{Holes, Swallowed};
pub use ledger::{Ledger, Page};
pub use notices::Notices;
pub use quarantine::{Quarantine, QuarantineLimits};
pub use rate::{Rate, RateLimits};
pub use tally::Tally;
pub use verdict::Verdict;
