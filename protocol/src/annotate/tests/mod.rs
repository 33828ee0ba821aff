//! Whole packets and broken ones, with the reader of a connection as the witness.

mod agreement;
mod packets;
pub(super) mod samples;
