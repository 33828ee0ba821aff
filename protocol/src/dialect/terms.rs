//! Terms: what both ends agreed on, as plain values. Behaviour reads these and never a version.

use super::Dialect;
use crate::packet::profile::Profile;

/// The most bytes of one packet where nothing else was agreed: what the framing can express.
pub const PACKET_SIZE_MAX: u32 = 268_435_460;

/// The least that an end may take: every acknowledgement fits, with its tag, receipt and message identifier.
pub const PACKET_SIZE_MIN: u32 = 64;

/// The agreement of one connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Terms {
    pub dialect: Dialect,
    /// How many messages above QoS 0 may be unacknowledged towards the peer, at least 1.
    pub send_window: u16,
    /// How many messages above QoS 0 may be unacknowledged from the peer, at least 1.
    pub receive_window: u16,
    /// The most bytes of a packet to the peer.
    pub send_size_max: u32,
    /// The most bytes of a packet from the peer.
    pub receive_size_max: u32,
    /// Seconds, 0: none.
    pub keep_alive_s: u16,
    /// Seconds that the session outlives the connection; 0: not at all, `u32::MAX`: for ever.
    pub session_expiry_s: u32,
    /// Whether acknowledgements must go in the order of the messages ([MQTT-4.6.0-2], [MQTT-4.6.0-3]).
    pub acks_in_order: bool,
    /// What the server declared; in the plain dialect, which declares nothing, what it would have declared.
    pub profile: Profile,
    /// The experiments in force: bits by position in the registry.
    pub experiments: u64,
}

impl Terms {
    /// The terms of a plain connection.
    pub fn plain(dialect: Dialect, keep_alive_s: u16, session_expiry_s: u32) -> Self {
        Self {
            dialect,
            send_window: u16::MAX,
            receive_window: u16::MAX,
            send_size_max: PACKET_SIZE_MAX,
            receive_size_max: PACKET_SIZE_MAX,
            keep_alive_s,
            session_expiry_s,
            acks_in_order: true,
            profile: Profile::default(),
            experiments: 0,
        }
    }
}
