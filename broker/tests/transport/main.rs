//! Transports in conversation with other people's clients, over memory: every byte that either side writes is carried by
//! hand, whole or split.

// A helper's panic is the test's: clippy knows it only inside test functions.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod authority;
mod conversation;
mod day;
mod hostile;
mod passage;
mod tls;
mod websocket;
