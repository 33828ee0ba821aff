//! Bytes: the fixed header and whole frames ([`frame`]), fields ([`cursor`]), dictionaries ([`dictionary`]). Nothing in
//! this folder knows a packet.

pub mod cursor;
pub mod dictionary;
pub mod error;
pub mod frame;
#[cfg(feature = "codec")]
pub mod tokio;
