//! Who comes behind all others, and who is not waited for: driven by hand, turn by turn and slice by slice, and over sockets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod futile;
mod hand;
mod refused;
mod retained;
mod slow;
#[path = "../support/mod.rs"]
mod support;
