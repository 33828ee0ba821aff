//! `candor bench`: a load generator for any MQTT server, and the figures that come of it.
//!
//! ```text
//!  target (URL, or a command that is started) -> door (connections) -> scenario (load) -> outcome
//!                                                       process (CPU, memory) ------------^
//!  several targets and runs, interleaved -> report (medians, ratios, JSON, HTML)
//! ```
//! Every message carries its stream and number, so what is lost, doubled or out of order is counted exactly. The load is closed
//! loop: a publisher has at most a window of messages that are not acknowledged and delivered, so nothing is lost by overrunning
//! a queue. The figure to compare is the CPU time a delivered message costs the server; messages a second are what was left of
//! the machine.
//!
//! Not part of the library's promise: its interface is the command, its flags, output and exit states.

mod door;
mod error;
mod floor;
mod flow;
mod histogram;
mod interim;
mod link;
mod outcome;
mod plan;
mod process;
mod report;
mod run;
mod scenario;
mod suite;
mod tally;
mod target;
mod tls;
mod wire;

pub use error::BenchError;
pub use floor::{Fault, Floor};
pub use interim::Interim;
pub use outcome::{Cost, Latency, Outcome};
pub use plan::{Beside, FORBIDDEN, Kind, Plan};
pub use report::{Report, Row};
pub use run::{Pins, check, run, run_into};
pub use suite::suite;
pub use tally::Count;
pub use target::{Endpoint, Source, Target};
