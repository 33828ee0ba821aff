//! The packets that are little more than a reason: PUBACK, PUBREC, PUBREL, PUBCOMP (sections 3.4 to 3.7), PINGREQ and
//! PINGRESP (3.12, 3.13), DISCONNECT (3.14), and NOTICE, which is ours.

use super::id::PacketId;
use super::reason::Reason;
use crate::codec::dictionary::Dictionary;

/// PUBACK, PUBREC, PUBREL or PUBCOMP. An acknowledgement of success without a dictionary is byte for byte the one of 3.1.1.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Ack {
    pub id: PacketId,
    pub reason: Reason,
    pub dictionary: Dictionary,
}

impl Ack {
    pub fn success(id: PacketId) -> Self {
        Self { id, reason: Reason::SUCCESS, dictionary: Dictionary::EMPTY }
    }

    pub fn new(id: PacketId, reason: Reason, dictionary: Dictionary) -> Self {
        Self { id, reason, dictionary }
    }
}

/// PINGREQ or PINGRESP.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Ping {
    pub dictionary: Dictionary,
}

/// DISCONNECT; in the extended dialect either end may send it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Disconnect {
    pub reason: Reason,
    pub dictionary: Dictionary,
}

impl Disconnect {
    pub fn normal() -> Self {
        Self { reason: Reason::SUCCESS, dictionary: Dictionary::EMPTY }
    }
}

/// Advice for this connection; it may be lost with it and is never answered by another notice, but for a token renewal.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Notice {
    pub reason: Reason,
    pub dictionary: Dictionary,
}
