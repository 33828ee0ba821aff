//! Who gets a message: topic filters, shared groups and retained messages. Synchronous and pure: no socket, no clock, no lock.
//!
//! ```text
//! SUBSCRIBE ──▶ Router ─┬─ SubscriptionTree   a/+/#            every subscriber, once
//!                       └─ SharedGroups       $share/G/a/+/#   one member of each group
//!                              │
//! PUBLISH ──▶ matching ────────┴─▶ Targets and Picks, ordered by shard
//!        └──▶ Retained ◀── matching, in slices ── a new subscription
//! ```
//!
//! | what | where |
//! | --- | --- |
//! | filters to subscribers | `tree`, over `pattern_tree`, whose nodes stand in an `arena` and are found by `edges` and `label` |
//! | several topics at once, where there are many filters | `pattern_tree::together` |
//! | many subscribers of one filter | `roster`, of `entry` |
//! | the result of a match | `targets` |
//! | shared subscriptions | `shared`, over another `pattern_tree`; each `group` with its ring of members |
//! | retained messages | `retained`, with `seek` to pass over what cannot match |
//!
//! Whoever shares a [`Router`] between threads puts one lock around it: a match reads (`&self`, any number at once), a
//! subscription writes. A match allocates nothing once its [`Targets`] and [`Picks`] are warm.

mod arena;
mod edges;
mod entry;
mod group;
mod label;
mod pattern_tree;
mod retained;
mod roster;
mod seek;
mod shared;
mod targets;
mod tree;

#[cfg(test)]
mod oracle;

pub use pattern_tree::together::Together;
pub use retained::{Retained, Topical};
pub use shared::{GroupId, Pick, Picks, SharedGroups};
pub use targets::Targets;
pub use tree::SubscriptionTree;

use candor_protocol::packet::{Qos, TopicFilter};

/// Where a session lives: its shard, and its place there. The shards give these out; the router only compares them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subscriber {
    pub shard: u16,
    pub slot: u32,
}

/// What a subscriber asked for with a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Subscription {
    /// The QoS granted. A message is sent with the lower of this and its own ([MQTT-3.8.4-6]).
    pub qos: Qos,
    /// The subscriber's own messages are not sent back to it.
    pub no_local: bool,
    /// The retain flag is sent as it was published; else it is 0 ([MQTT-3.3.1-9]).
    pub retain_as_published: bool,
    /// A message that the subscriber puts off lets others pass.
    pub unordered: bool,
}

impl Subscription {
    /// What holds for a message that two filters of one subscriber match: the higher QoS ([MQTT-3.3.5-1]); no message of
    /// its own only if both say so, and others past what is put off too; the retain flag as published if either does, so that no filter
    /// gets less than it asked for.
    pub fn merged(self, other: Self) -> Self {
        Self {
            qos: self.qos.max(other.qos),
            no_local: self.no_local && other.no_local,
            retain_as_published: self.retain_as_published || other.retain_as_published,
            unordered: self.unordered && other.unordered,
        }
    }
}

/// A subscriber that gets a message, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Target {
    pub subscriber: Subscriber,
    pub subscription: Subscription,
}

/// What became of a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Subscribed {
    New,
    /// The same subscriber had the same filter: the options are the new ones ([MQTT-3.8.4-3]).
    Replaced,
}

/// All subscriptions: what one lock is put around.
#[derive(Debug, Default)]
pub struct Router {
    pub tree: SubscriptionTree,
    pub shared: SharedGroups,
}

impl Router {
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the subscription to the tree, or to its group if the filter is `$share/GROUP/FILTER`.
    pub fn subscribe(&mut self, filter: &TopicFilter, subscriber: Subscriber, subscription: Subscription) -> Subscribed {
        match filter.group() {
            None => self.tree.subscribe(filter, subscriber, subscription),
            Some(_) => self.shared.subscribe(filter, subscriber, subscription),
        }
    }

    /// Whether there was such a subscription ([MQTT-3.10.4-1]).
    pub fn unsubscribe(&mut self, filter: &TopicFilter, subscriber: Subscriber) -> bool {
        match filter.group() {
            None => self.tree.unsubscribe(filter, subscriber),
            Some(_) => self.shared.unsubscribe(filter, subscriber),
        }
    }

    /// Whether there is so much in the tree that a match waits for memory, and nothing in the groups, in which a match takes somebody's
    /// turn: then [`SubscriptionTree::matching_together`] says who gets a message, and sooner.
    pub fn is_matched_together(&self) -> bool {
        self.tree.is_large() && self.shared.is_empty()
    }

    pub fn is_empty(&self) -> bool {
        self.tree.is_empty() && self.shared.is_empty()
    }

    /// Finds who gets a message to this topic name: into `targets` every subscriber with a filter that matches, into `picks`
    /// one member of every group. Who has both gets the message for each.
    pub fn matching(&self, topic: &[u8], targets: &mut Targets, picks: &mut Picks) {
        self.tree.matching(topic, targets);
        self.shared.matching(topic, picks);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_filter_goes_to_its_group_and_a_plain_one_to_the_tree() {
        let mut router = Router::new();
        let (plain, shared) = (TopicFilter::new("a/#").unwrap(), TopicFilter::new("$share/g/a/#").unwrap());
        let somebody = |slot| Subscriber { shard: 0, slot };
        for slot in 0..3 {
            assert_eq!(router.subscribe(&plain, somebody(slot), Subscription::default()), Subscribed::New);
            assert_eq!(router.subscribe(&shared, somebody(slot), Subscription::default()), Subscribed::New);
        }
        assert_eq!(router.subscribe(&shared, somebody(1), Subscription::default()), Subscribed::Replaced);

        let (mut targets, mut picks) = (Targets::new(), Picks::new());
        router.matching(b"a/b", &mut targets, &mut picks);
        assert_eq!((targets.len(), picks.len()), (3, 1));

        assert!(router.unsubscribe(&plain, somebody(1)) && !router.unsubscribe(&plain, somebody(1)));
        assert!((0..3).all(|slot| router.unsubscribe(&shared, somebody(slot))));
        router.matching(b"a/b", &mut targets, &mut picks);
        assert_eq!((targets.len(), picks.len()), (2, 0));
    }

    #[test]
    fn merging_gives_no_filter_less_than_it_asked_for() {
        let a = Subscription { qos: Qos::AtMostOnce, no_local: true, retain_as_published: true, unordered: true };
        let b = Subscription { qos: Qos::ExactlyOnce, no_local: false, retain_as_published: false, unordered: false };
        assert_eq!(a.merged(b), Subscription { no_local: false, retain_as_published: true, ..b });
        assert!(a.merged(a).no_local);
    }
}
