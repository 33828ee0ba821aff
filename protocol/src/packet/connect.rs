//! CONNECT and CONNACK (sections 3.1 and 3.2).

use super::id::Qos;
use super::message::Message;
use super::reason::Reason;
use crate::codec::dictionary::Dictionary;
use crate::dialect::Dialect;
use bytes::Bytes;

/// The first packet of a connection. The dialect is what its protocol name and level say.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Connect {
    pub dialect: Dialect,
    /// Clean start: forget a stored session. In 3.1.1 it also ends the session with the connection; in the extended
    /// dialect `session-expiry-interval` alone decides that.
    pub clean_session: bool,
    /// Seconds, 0: no keep alive.
    pub keep_alive_s: u16,
    /// May be empty; then the server chooses one.
    pub client_id: String,
    pub will: Option<Will>,
    pub user_name: Option<String>,
    pub password: Option<Bytes>,
    pub dictionary: Dictionary,
}

/// What the server publishes when the connection ends without a DISCONNECT.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Will {
    pub message: Message,
    pub qos: Qos,
    pub retain: bool,
    /// The keys of the will's PUBLISH other than the message map; travels under `will` in CONNECT's dictionary.
    pub dictionary: Dictionary,
}

/// The answer to CONNECT. In the plain dialect the reason becomes a return code, or a close where none fits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ConnAck {
    pub session_present: bool,
    pub reason: Reason,
    pub dictionary: Dictionary,
}

impl ConnAck {
    pub fn refused(reason: Reason, dictionary: Dictionary) -> Self {
        Self { session_present: false, reason, dictionary }
    }
}
