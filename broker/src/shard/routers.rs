//! Who gets a message as it is, and who gets it wrapped: one router of each kind, and which one a filter is for.

use super::shared::Matches;
use crate::router::{Router, Subscribed, Subscriber, Subscription, Target, Targets, Together};
use crate::wrapped;
use candor_protocol::packet::TopicFilter;

/// All subscriptions of all shards: what one lock is put around.
#[derive(Debug, Default)]
pub struct Routers {
    pub plain: Router,
    /// By the filters that stand behind `$envelope/`: so they match exactly what those match.
    pub wrapped: Router,
}

impl Routers {
    pub fn subscribe(&mut self, filter: &TopicFilter, subscriber: Subscriber, subscription: Subscription) -> Subscribed {
        match wrapped::inner(filter) {
            None => self.plain.subscribe(filter, subscriber, subscription),
            Some(inner) => self.wrapped.subscribe(&inner, subscriber, subscription),
        }
    }

    /// Whether there was such a subscription ([MQTT-3.10.4-1]).
    pub fn unsubscribe(&mut self, filter: &TopicFilter, subscriber: Subscriber) -> bool {
        match wrapped::inner(filter) {
            None => self.plain.unsubscribe(filter, subscriber),
            Some(inner) => self.wrapped.unsubscribe(&inner, subscriber),
        }
    }

    /// Says whether a member of a group can be handed messages at once.
    pub fn set_available(&self, filter: &TopicFilter, subscriber: Subscriber, available: bool) {
        match wrapped::inner(filter) {
            None => self.plain.shared.set_available(filter, subscriber, available),
            Some(inner) => self.wrapped.shared.set_available(&inner, subscriber, available),
        };
    }

    /// A member of a group, other than these, that can be handed a message now.
    pub fn other_member(&self, filter: &TopicFilter, except: &[Subscriber]) -> Option<Target> {
        let pick = |router: &Router, filter: &TopicFilter| {
            let group = router.shared.group(filter)?;
            router.shared.pick_available(group, except).map(|pick| pick.target)
        };
        match wrapped::inner(filter) {
            None => pick(&self.plain, filter),
            Some(inner) => pick(&self.wrapped, &inner),
        }
    }

    /// How many subscriptions there are, and how many of them are shared.
    pub fn len(&self) -> (usize, usize) {
        let shared = self.plain.shared.len() + self.wrapped.shared.len();
        (self.plain.tree.len() + self.wrapped.tree.len() + shared, shared)
    }

    /// Finds who gets a message to this topic name, and how.
    pub(super) fn matching(&self, topic: &[u8], matches: &mut Matches) {
        self.plain.matching(topic, &mut matches.targets, &mut matches.picks);
        if !self.wrapped.is_empty() || matches.has_wrapped() {
            self.wrapped.matching(topic, &mut matches.wrapped_targets, &mut matches.wrapped_picks);
        }
    }

    /// Whether the routers are such that several topics are matched sooner together.
    pub(super) fn are_matched_together(&self) -> bool {
        self.plain.is_matched_together() && self.wrapped.is_empty()
    }

    /// As [`Routers::matching`] for several topics, if [`Routers::are_matched_together`]. `false`: some targets may be missing.
    pub(super) fn matching_together(&self, topics: &[&[u8]], targets: &mut [Targets], memory: &mut Together) -> bool {
        self.plain.tree.matching_together(topics, targets, memory)
    }

    /// As [`Routers::matching`], but for shared groups.
    pub(super) fn targets(&self, topic: &[u8], matches: &mut Matches) {
        self.plain.tree.matching(topic, &mut matches.targets);
        if !self.wrapped.tree.is_empty() {
            self.wrapped.tree.matching(topic, &mut matches.wrapped_targets);
        }
    }

    /// As [`Routers::matching`], where nothing but whose turn it is has changed since.
    pub(super) fn pick_again(&self, topic: &[u8], matches: &mut Matches) {
        self.plain.shared.matching(topic, &mut matches.picks);
        if !matches.wrapped_picks.is_empty() {
            self.wrapped.shared.matching(topic, &mut matches.wrapped_picks);
        }
    }
}
