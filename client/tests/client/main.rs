//! Conversations of a client with a scripted server over real sockets. Each file is a subject, each test a promise.

// A test binary has no users outside, and its helpers may fail as its tests do.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod command;
mod crashing;
mod negotiation;
mod probing;
mod publishing;
mod reconnecting;
mod settling;
mod storing;
mod subscribing;
mod support;
mod transports;
