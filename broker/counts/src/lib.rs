//! What a message costs, in instructions: the things that are counted, ready to be run.
//!
//! A count does not depend on how busy the machine is, so continuous integration can hold every change against the last. The
//! table of accepted counts is `counts.toml`; `cargo run -p candor-counts` counts and compares, `-- --accept` renews it.

pub mod fleet;
pub mod samples;
pub mod table;
