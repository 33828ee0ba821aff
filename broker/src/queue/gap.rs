//! What was dropped of what waited.

use crate::rare::Blank;
use candor_protocol::packet::Reason;

/// What was dropped since the subscriber was last told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Gap {
    pub overflow: u64,
    pub expired: u64,
    pub too_large: u64,
    /// Messages with a key that binds their recipient, which a plain one could not be handed.
    pub withheld: u64,
    /// Messages that were given back too often.
    pub rejected: u64,
}

impl Blank for Gap {
    const BLANK: &'static Self = &Self { overflow: 0, expired: 0, too_large: 0, withheld: 0, rejected: 0 };
}

impl Gap {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Takes back what [`Gap::parts`] gave. What a store had to give up counts as overflow.
    pub fn of_parts(parts: impl Iterator<Item = (Reason, u64)>) -> Self {
        let mut gap = Self::default();
        for (reason, count) in parts {
            match reason {
                Reason::MESSAGE_EXPIRED => gap.expired += count,
                Reason::PACKET_TOO_LARGE => gap.too_large += count,
                Reason::CRITICAL_KEY_UNKNOWN => gap.withheld += count,
                Reason::REJECTED => gap.rejected += count,
                _ => gap.overflow += count,
            }
        }
        gap
    }

    /// The counts with the reason of each.
    pub fn parts(&self) -> impl Iterator<Item = (Reason, u64)> {
        let parts = [
            (Reason::QUEUE_OVERFLOW, self.overflow),
            (Reason::MESSAGE_EXPIRED, self.expired),
            (Reason::PACKET_TOO_LARGE, self.too_large),
            (Reason::CRITICAL_KEY_UNKNOWN, self.withheld),
            (Reason::REJECTED, self.rejected),
        ];
        parts.into_iter().filter(|(_, count)| *count > 0)
    }
}
