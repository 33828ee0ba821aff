//! Candor beside other people's MQTT: the same promises asked of every client on every broker.
//!
//! | what | where |
//! | --- | --- |
//! | how peers are got, started and stopped | [`peer`], `peers.toml`, `setup.sh` |
//! | one end of a connection, byte by byte | [`wire`] |
//! | what a case comes to | [`outcome`] |
pub mod case;
pub mod client;
pub mod outcome;
pub mod peer;
pub mod proxy;
pub mod wire;
