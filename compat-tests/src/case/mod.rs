//! The cases: each is a promise, run on every pair of peers that it applies to.

pub mod statements;
pub mod target;

pub use target::Target;
