//! Candor beside other people's MQTT: the same promises asked of every client on every broker.
//!
//! ```text
//! peers.toml ─ peer/ ── a broker ◀──┐                       ┌── run.rs ── report.rs
//!                                   ├── case/ (promises) ◀──┤
//!              client/ ─ a client ◀─┘          │            └── tests/*.rs (#[test]s)
//!              proxy/  ─ in between            └── wire/ (byte for byte)
//! ```
//!
//! | to add | do |
//! | --- | --- |
//! | a broker | a row in `peers.toml`, a recipe in [`peer::recipe`], a line in `setup.sh` |
//! | a client | a row in `peers.toml`, an arm in [`client::open`] (and a script in `drivers/`), a line in `setup.sh` |
//! | a case | a function, and its name in [`for_each_case`], [`for_each_statement`] or [`for_each_client_statement`] |
//!
//! How fast it is beside others, and the page that says so, is [`performance`].
//! A case ends in an [`outcome::Outcome`]; [`run`] holds it against the known gaps of `peers.toml`.
pub mod case;
pub mod client;
pub mod crash;
pub mod outcome;
pub mod peer;
pub mod performance;
pub mod proxy;
pub mod report;
pub mod run;
pub mod wire;
