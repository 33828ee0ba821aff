//! Namespaces whose messages have limits of their own in every queue, beside those of the queue itself.

use super::QueueLimits;
use crate::auth::pattern::overlap;
use crate::wrapped;
use candor_protocol::packet::{Profile, TopicFilter};
use std::num::NonZeroU16;

/// A namespace, by its place among [`Namespaces`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Space(NonZeroU16);

impl Space {
    /// From 0 on.
    pub fn index(self) -> usize {
        usize::from(self.0.get()) - 1
    }

    fn of_index(index: usize) -> Option<Self> {
        NonZeroU16::new(u16::try_from(index + 1).ok()?).map(Self)
    }
}

/// What holds for the messages of a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    pub filter: TopicFilter,
    /// How many of them wait for one session, and what happens at that limit.
    pub queue: QueueLimits,
    /// Seconds that one of them waits; `u32::MAX`: no limit.
    pub message_expiry_max_s: u32,
}

/// Namespaces with limits of their own. The first that matches a topic counts; at most 65,535 are looked at.
#[derive(Debug, Clone, Default)]
pub struct Namespaces {
    list: Vec<Namespace>,
    tells_publishers: bool,
}

impl Namespaces {
    pub fn new(list: Vec<Namespace>) -> Self {
        let tells_publishers = list.iter().any(|namespace| namespace.queue.overflow.tells_publishers());
        Self { list, tells_publishers }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether a limit of one of them is the publisher's to learn of.
    pub fn tells_publishers(&self) -> bool {
        self.tells_publishers
    }

    /// The namespace that messages of a topic belong to, also where they come in an envelope.
    #[inline]
    pub fn of(&self, topic: &str) -> Option<Space> {
        if self.list.is_empty() { None } else { self.find(wrapped::inner_topic(topic)) }
    }

    fn find(&self, topic: &str) -> Option<Space> {
        Space::of_index(self.list.iter().position(|namespace| namespace.filter.matches(topic))?)
    }

    pub fn get(&self, space: Space) -> Option<&Namespace> {
        self.list.get(space.index())
    }

    /// What of a profile holds for every topic that a filter matches.
    pub fn narrowed(&self, profile: Profile, filter: &TopicFilter) -> Profile {
        if self.list.is_empty() {
            return profile;
        }
        let inner = wrapped::inner(filter);
        let pattern = inner.as_ref().unwrap_or(filter).pattern().as_bytes();
        let met = self.list.iter().filter(|namespace| overlap(namespace.filter.pattern().as_bytes(), pattern));
        met.fold(profile, |profile, Namespace { queue, message_expiry_max_s, .. }| Profile {
            queue_len_max: profile.queue_len_max.min(u32::try_from(queue.len_max).unwrap_or(u32::MAX)),
            queue_bytes_max: profile.queue_bytes_max.min(queue.bytes_max as u64),
            message_expiry_s_max: profile.message_expiry_s_max.min(*message_expiry_max_s),
            ..profile
        })
    }

    /// Those whose limit is the publishers' to learn of.
    pub fn telling(&self) -> impl Iterator<Item = (Space, &Namespace)> {
        let spaces = self.list.iter().enumerate().filter_map(|(index, namespace)| Some((Space::of_index(index)?, namespace)));
        spaces.filter(|(_, namespace)| namespace.queue.overflow.tells_publishers())
    }
}

/// How much of a queue is of one namespace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Share {
    pub len: usize,
    pub bytes: usize,
}

#[cfg(test)]
mod tests {
    use super::*;
    use candor_protocol::packet::Overflow;

    #[test]
    fn the_first_that_matches_a_topic_counts() {
        let namespace = |filter: &str, overflow| Namespace {
            filter: TopicFilter::new(filter).unwrap(),
            queue: QueueLimits { len_max: 1, bytes_max: 1, overflow },
            message_expiry_max_s: u32::MAX,
        };
        let all = Namespaces::new(vec![
            namespace("a/b", Overflow::DropOldest),
            namespace("a/#", Overflow::HoldBack),
            namespace("#", Overflow::DropNewest),
        ]);
        let of = |topic: &str| all.of(topic).map(Space::index);
        assert_eq!([of("a/b"), of("a/c"), of("b"), of("$SYS/x")], [Some(0), Some(1), Some(2), None]);
        assert_eq!((of("$envelope/a/b"), of("$envelope/$SYS/x")), (Some(0), None), "an envelope belongs where its message does");
        assert_eq!(all.telling().map(|(space, _)| space.index()).collect::<Vec<_>>(), [1]);
        assert!(all.tells_publishers() && Namespaces::default().of("a").is_none());
    }
}
