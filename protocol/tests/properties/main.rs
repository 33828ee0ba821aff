//! Properties over generated packets, maps, streams and topics. Each run draws a new seed; a failure prints it, and
//! `CANDOR_SEED` set to it repeats the run.

// Helpers of tests may fail like tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../property/mod.rs"]
mod property;

mod dictionaries;
mod flaws;
mod packets;
mod round_trips;
mod runner;
mod streams;
mod topics;
mod values;
