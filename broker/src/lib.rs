//! Candor's broker: plain 3.1.1 and extended clients side by side, and everything that is refused or lost is told to whoever can act.
//!
//! ```text
//!  driver (sockets, time, threads) -> transport -> shard: sessions -> router -> queues of this shard and of others
//!                                                    |                              |
//!                                                    '-- records -> store: engine --'-> receipts -> acknowledgements
//! ```
//!
//! # The tour
//!
//! - [`config`] is one table of options; help, README, the example and what [`start`] makes of them follow from it. [`broker`] is the wiring.
//! - [`driver`] is the only place that awaits: it accepts, reads, writes and tells the time. [`transport`] are TLS and WebSocket as layers
//!   that turn bytes into bytes.
//! - [`shard`] is one core with its connections, sessions and queues; one file a concern. It has neither socket nor clock, so tests
//!   drive it by hand.
//! - [`router`] finds the subscribers of a topic and keeps retained messages; [`queue`] is what waits for one session.
//! - [`store`] is what outlives the process. A receipt of it is the only reason for an acknowledgement.
//! - [`feedback`] is what went wrong: a verdict for each refusal and loss, from which come answer, log line, ledger and counters.
//! - [`auth`] and [`access`] say who may do what; [`reload`] reads users, rules and certificates again.
//! - [`experiment`] is the broker's half of experiments, [`wrapped`] the messages of `$envelope/`.
pub mod access;
pub mod auth;
pub mod broker;
pub mod config;
pub mod driver;
pub mod experiment;
pub mod feedback;
pub mod log;
pub mod message;
pub mod out;
pub mod queue;
pub mod rare;
pub mod reload;
pub mod router;
pub mod shard;
pub mod start;
pub mod store;
pub mod transport;
pub mod wrapped;
