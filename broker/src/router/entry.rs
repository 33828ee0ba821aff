//! A subscriber and its subscription in eight bytes: what the tree keeps a million of, and what sorting and merging compare.
//!
//! ```text
//! bit 63      48 47           16 15    7  6   5   4   3  2 1  0
//!     | shard   | slot          | 0     | UN| 0 | RP| NL| QoS| 1 |
//! ```
//!
//! The subscriber stands above the options, so that the order of the numbers is the order of the subscribers. Bit 0 is set,
//! so that no entry costs no space; bit 5 is left to the tree, which tells an entry from the number of a roster by it.

use super::{Subscriber, Subscription, Target};
use candor_protocol::packet::Qos;
use std::num::NonZeroU64;

const PRESENT: NonZeroU64 = NonZeroU64::MIN;
const QOS_AT: u32 = 1;
const QOS: u64 = 0b11 << QOS_AT;
const NO_LOCAL: u64 = 1 << 3;
const RETAIN_AS_PUBLISHED: u64 = 1 << 4;
/// Never set in an entry.
pub(super) const NO_ENTRY: u64 = 1 << 5;
const UNORDERED: u64 = 1 << 6;
const SUBSCRIBER_AT: u32 = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry(NonZeroU64);

impl Entry {
    pub(super) fn new(subscriber: Subscriber, subscription: Subscription) -> Self {
        let mut options = (subscription.qos as u64) << QOS_AT;
        if subscription.no_local {
            options |= NO_LOCAL;
        }
        if subscription.retain_as_published {
            options |= RETAIN_AS_PUBLISHED;
        }
        if subscription.unordered {
            options |= UNORDERED;
        }
        Self(PRESENT | Self::key_of(subscriber) << SUBSCRIBER_AT | options)
    }

    /// Takes back what [`Entry::bits`] gave.
    pub(super) fn of_bits(bits: NonZeroU64) -> Self {
        Self(bits)
    }

    pub(super) fn bits(self) -> NonZeroU64 {
        self.0
    }

    /// The subscriber as a number, in the subscribers' order.
    #[inline]
    pub(super) fn key(self) -> u64 {
        self.0.get() >> SUBSCRIBER_AT
    }

    pub(super) fn key_of(subscriber: Subscriber) -> u64 {
        u64::from(subscriber.shard) << 32 | u64::from(subscriber.slot)
    }

    #[inline]
    pub(super) fn subscriber(self) -> Subscriber {
        Subscriber { shard: self.shard(), slot: self.key() as u32 }
    }

    #[inline]
    pub(super) fn shard(self) -> u16 {
        (self.key() >> 32) as u16
    }

    #[inline]
    pub(super) fn subscription(self) -> Subscription {
        let bits = self.0.get();
        Subscription {
            qos: Qos::new(((bits & QOS) >> QOS_AT) as u8).unwrap_or_default(),
            no_local: bits & NO_LOCAL != 0,
            retain_as_published: bits & RETAIN_AS_PUBLISHED != 0,
            unordered: bits & UNORDERED != 0,
        }
    }

    #[inline]
    pub(super) fn target(self) -> Target {
        Target { subscriber: self.subscriber(), subscription: self.subscription() }
    }

    /// One entry for two overlapping filters of one subscriber, as [`Subscription::merged`] says.
    pub(super) fn merged(self, other: Self) -> Self {
        let (a, b) = (self.0.get(), other.0.get());
        let qos = (a & QOS).max(b & QOS);
        let (all, any) = (a & b & (NO_LOCAL | UNORDERED), (a | b) & RETAIN_AS_PUBLISHED);
        Self(PRESENT | a & !(QOS | NO_LOCAL | RETAIN_AS_PUBLISHED | UNORDERED) | qos | all | any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscriptions() -> Vec<Subscription> {
        let of_bits =
            |qos, bits: u8| Subscription { qos, no_local: bits & 1 != 0, retain_as_published: bits & 2 != 0, unordered: bits & 4 != 0 };
        Qos::ALL.iter().flat_map(|&qos| (0..8).map(move |bits| of_bits(qos, bits))).collect()
    }

    #[test]
    fn an_entry_gives_back_what_went_in() {
        for (shard, slot) in [(0, 0), (1, u32::MAX), (u16::MAX, 7), (u16::MAX, u32::MAX)] {
            for subscription in subscriptions() {
                let subscriber = Subscriber { shard, slot };
                let entry = Entry::new(subscriber, subscription);
                assert_eq!(entry.target(), Target { subscriber, subscription });
                assert_eq!(Entry::of_bits(entry.bits()), entry);
                assert_eq!(entry.bits().get() & NO_ENTRY, 0);
                assert_eq!(size_of::<Option<Entry>>(), 8);
            }
        }
    }

    #[test]
    fn entries_are_ordered_as_their_subscribers() {
        let subscribers = [(0, 0), (0, 1), (0, u32::MAX), (1, 0), (u16::MAX, 0)].map(|(shard, slot)| Subscriber { shard, slot });
        for pair in subscribers.windows(2) {
            for a in subscriptions() {
                for b in subscriptions() {
                    assert!(Entry::new(pair[0], a) < Entry::new(pair[1], b), "{pair:?}");
                }
            }
        }
    }

    #[test]
    fn merging_entries_is_merging_subscriptions() {
        let subscriber = Subscriber { shard: 3, slot: 9 };
        for a in subscriptions() {
            for b in subscriptions() {
                let merged = Entry::new(subscriber, a).merged(Entry::new(subscriber, b));
                assert_eq!(merged.target(), Target { subscriber, subscription: a.merged(b) });
            }
        }
    }
}
