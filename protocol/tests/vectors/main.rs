//! The wire vectors of `protocol/vectors/*.json`, replayed against this implementation.
//!
//! | file | what it proves |
//! | --- | --- |
//! | [`replay`] | every case decodes to its packet or fails with its cause, and is written back as it came |
//! | [`derived`] | what follows for every case: cut short, made longer, said in another dialect |
//! | [`streams`] | framing: whole packets at the front of a stream |
//! | [`lowering`] | what each packet becomes for a plain peer, over all reasons and both senders |
//! | [`tables`] | `tables.json` is what the reason and key tables say, and every cell of it is true |
//! | [`coverage`] | no cause, reason, key or packet is without a vector |
//! | [`schema`] | the files follow `schema.json` |

// Helpers of tests may fail like tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod case;
mod coverage;
mod derived;
mod lowering;
mod replay;
mod schema;
mod streams;
mod tables;
mod view;
