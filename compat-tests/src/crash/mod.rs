//! The promise of `disk`, put to the test: a real broker is killed again and again while clients publish and receive, and a ledger that
//! knows nothing of it says what was lost, doubled, out of order or forgotten.
//!
//! | what | where |
//! | --- | --- |
//! | what was acknowledged, what arrived, and what is wrong with it | [`ledger`] |
//! | a client without a socket | [`actor`] |
//! | its socket | [`socket`] |
//! | what a run is to be, on what disk | [`plan`] |
//! | a run: kills at moments that follow from a seed | [`mod@run`] |
//! | a disk that fails under load | `fault` |
//! | a broker whose disk loses what was not synced when it is killed, and mutants of it | [`volatile`] |
//!
//! The broker's own simulation (`broker/tests/simulation`) uses the same ledger and clients on a disk that loses power.

pub mod actor;
mod fault;
pub mod ledger;
pub mod plan;
pub mod run;
pub mod socket;
pub mod volatile;

pub use plan::{Disk, Plan, report};
pub use run::run;
