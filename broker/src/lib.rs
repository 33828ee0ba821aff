//! Candor's broker: MQTT 3.1.1 and its extension, side by side.
pub mod config;
