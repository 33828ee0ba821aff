//! Dialects: how the model travels. A dialect *raises* a frame into the model ([`read`]) and *lowers* the model to a
//! frame, a close, or nothing ([`mod@write`]). [`level`] is the only place that sees a protocol
//! name or level, [`offer`] negotiates on a plain connection; everything else reads [`terms::Terms`].
//!
//! | dialect | first seen as | beyond 3.1.1 |
//! | --- | --- | --- |
//! | [`Dialect::V31`] | `MQIsdp`, level 3 | less: no session present flag, no failure in SUBACK |
//! | [`Dialect::V311`] | `MQTT`, level 4 | |
//! | [`Dialect::Extended`] | [`NAME`], level 1, or an accepted offer | reasons, dictionaries, NOTICE, DISCONNECT both ways |

pub mod bare;
pub mod level;
pub mod offer;
pub mod read;
pub mod terms;
pub mod write;

pub use bare::Bare;
pub use terms::Terms;
pub use write::Lowered;

/// The protocol name of the extended CONNECT. Experimental, as every name here: all derive from this one place.
pub const NAME: &str = "CANDOR";
/// The protocol level of the extended CONNECT.
pub const LEVEL: u8 = 1;
/// The ALPN protocol id of the extended dialect over TLS, and its WebSocket subprotocol.
pub const ALPN: &str = "x-candor-1";
/// The ALPN protocol id and WebSocket subprotocol of plain MQTT.
pub const ALPN_PLAIN: &str = "mqtt";
/// The first level of an offer's topic filter.
pub const OFFER_PREFIX: &str = "x-candor";

/// How packets travel on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dialect {
    /// MQTT 3.1.
    V31,
    /// MQTT 3.1.1.
    V311,
    /// MQTT 3.1.1's framing with reasons and dictionaries.
    Extended,
}

impl Dialect {
    pub const ALL: [Dialect; 3] = [Dialect::V31, Dialect::V311, Dialect::Extended];

    /// The name that flags, logs and output use.
    pub const fn name(self) -> &'static str {
        match self {
            Dialect::V31 => "3.1",
            Dialect::V311 => "3.1.1",
            Dialect::Extended => "extended",
        }
    }

    /// Whether packets have reasons and dictionaries.
    pub const fn is_extended(self) -> bool {
        matches!(self, Dialect::Extended)
    }

    /// Whether CONNACK says if there was a stored session; MQTT 3.1 has no such flag.
    pub const fn tells_session_present(self) -> bool {
        !matches!(self, Dialect::V31)
    }
}

impl std::fmt::Display for Dialect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
