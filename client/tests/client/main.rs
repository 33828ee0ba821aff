//! Conversations of a client with a scripted server over real sockets. Each file is a subject, each test a promise.

// A test binary has no users outside.
#![allow(unreachable_pub)]

mod command;
mod negotiation;
mod publishing;
mod reconnecting;
mod subscribing;
mod support;
mod transports;
