//! Every subscription that is not shared.

use super::arena::Arena;
use super::entry::{Entry, NO_ENTRY};
use super::pattern_tree::together::Together;
use super::pattern_tree::{PatternTree, Place};
use super::roster::Roster;
use super::{Subscribed, Subscriber, Subscription, Targets};
use candor_protocol::packet::TopicFilter;
use std::num::NonZeroU64;

/// From topic filters to subscribers.
///
/// | what | cost |
/// | --- | --- |
/// | a match | levels of the topic, and what matches; not the number of filters |
/// | a subscribe or unsubscribe | levels of the filter; nearly nothing for the number of its subscribers |
/// | memory | about 100 bytes a filter with one subscriber, 8 to 16 a further subscriber |
///
/// The group of a shared filter is not looked at here: [`Router`](super::Router) takes those to
/// [`SharedGroups`](super::SharedGroups).
#[derive(Debug)]
pub struct SubscriptionTree {
    patterns: PatternTree<Holders>,
    /// The subscribers of filters that have two or more.
    rosters: Arena<Roster>,
    /// How many subscribers stand in rosters.
    in_rosters: usize,
    len: usize,
}

/// Who holds a filter: an [`Entry`], or with the bit [`NO_ENTRY`] the number of a [`Roster`] from bit [`ROSTER_AT`] on.
#[derive(Debug, Clone, Copy)]
struct Holders(NonZeroU64);

const ROSTER_AT: u32 = 16;

/// What a subscriber takes in a roster on the average: more in one of two, less in one of thousands.
const ROSTERED_BYTES: usize = 16;

#[derive(Debug, Clone, Copy)]
enum Held {
    ByOne(Entry),
    ByMany(u32),
}

impl Holders {
    fn one(entry: Entry) -> Self {
        Self(entry.bits())
    }

    fn many(roster: u32) -> Self {
        Self(NonZeroU64::MIN | NO_ENTRY | u64::from(roster) << ROSTER_AT)
    }

    #[inline]
    fn held(self) -> Held {
        let bits = self.0.get();
        if bits & NO_ENTRY == 0 { Held::ByOne(Entry::of_bits(self.0)) } else { Held::ByMany((bits >> ROSTER_AT) as u32) }
    }
}

impl Default for SubscriptionTree {
    fn default() -> Self {
        Self { patterns: PatternTree::new(), rosters: Arena::new(), in_rosters: 0, len: 0 }
    }
}

impl SubscriptionTree {
    pub fn new() -> Self {
        Self::default()
    }

    /// How many subscriptions there are: pairs of filter and subscriber.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds the subscription. Of the same subscriber and a filter that is the same byte for byte there is only ever one: it is
    /// replaced in one step, so that no message is missed meanwhile ([MQTT-3.8.4-3]).
    pub fn subscribe(&mut self, filter: &TopicFilter, subscriber: Subscriber, subscription: Subscription) -> Subscribed {
        let entry = Entry::new(subscriber, subscription);
        let place = self.patterns.make(filter.pattern().as_bytes());
        let value = self.patterns.value_mut(place);
        let replaced = match value.map(Holders::held) {
            None => {
                *value = Some(Holders::one(entry));
                false
            }
            Some(Held::ByOne(one)) if one.key() == entry.key() => {
                *value = Some(Holders::one(entry));
                true
            }
            Some(Held::ByOne(one)) => {
                let mut roster = Roster::of(one);
                roster.put(entry);
                *value = Some(Holders::many(self.rosters.insert(roster)));
                self.in_rosters += 2;
                false
            }
            Some(Held::ByMany(roster)) => {
                let replaced = self.rosters[roster].put(entry);
                self.in_rosters += usize::from(!replaced);
                replaced
            }
        };
        self.len += usize::from(!replaced);
        if replaced { Subscribed::Replaced } else { Subscribed::New }
    }

    /// Removes the subscription; whether there was one. Filters are compared byte for byte ([MQTT-3.10.4-1]).
    pub fn unsubscribe(&mut self, filter: &TopicFilter, subscriber: Subscriber) -> bool {
        let Some((place, held)) = self.held(filter) else { return false };
        let removed = match held {
            Held::ByOne(one) => {
                let is_it = one.subscriber() == subscriber;
                if is_it {
                    self.patterns.clear(place);
                }
                is_it
            }
            Held::ByMany(roster) => self.leave(place, roster, subscriber),
        };
        self.len -= usize::from(removed);
        removed
    }

    fn leave(&mut self, place: Place, roster: u32, subscriber: Subscriber) -> bool {
        let members = &mut self.rosters[roster];
        if !members.remove(subscriber) {
            return false;
        }
        self.in_rosters -= 1;
        if members.len() < 2 {
            self.in_rosters -= members.len();
            let last = members.first();
            self.rosters.remove(roster);
            *self.patterns.value_mut(place) = last.map(Holders::one);
        }
        true
    }

    /// The subscription of this subscriber with exactly this filter.
    pub fn subscription(&self, filter: &TopicFilter, subscriber: Subscriber) -> Option<Subscription> {
        let entry = match self.held(filter)?.1 {
            Held::ByOne(one) => Some(one).filter(|one| one.subscriber() == subscriber),
            Held::ByMany(roster) => self.rosters[roster].entry(subscriber),
        };
        entry.map(Entry::subscription)
    }

    fn held(&self, filter: &TopicFilter) -> Option<(Place, Held)> {
        let place = self.patterns.find(filter.pattern().as_bytes())?;
        self.patterns.value(place).map(|holders| (place, holders.held()))
    }

    /// Finds every subscriber with a filter that matches the topic name (section 4.7), each once: where several of its
    /// filters match, with [`Subscription::merged`]. What `out` held before is gone.
    pub fn matching(&self, topic: &[u8], out: &mut Targets) {
        out.clear();
        let mut branches = std::mem::take(&mut out.branches);
        self.patterns.matching(topic, &mut branches, |holders| self.found(holders, out));
        out.branches = branches;
        out.finish();
        out.remember(topic);
    }

    /// As [`SubscriptionTree::matching`], for several topics at once; best [`Together::TOPICS`] of them. `false`: that takes too much
    /// memory, and some may be missing.
    pub fn matching_together(&self, topics: &[&[u8]], out: &mut [Targets], memory: &mut Together) -> bool {
        out.iter_mut().for_each(Targets::clear);
        let is_whole = self.patterns.matching_together(topics, memory, |topic, holders| {
            if let Some(out) = out.get_mut(topic) {
                self.found(holders, out);
            }
        });
        for (topic, out) in topics.iter().zip(out) {
            out.finish();
            out.remember(topic);
        }
        is_whole
    }

    /// Whether there is so much of it that a match waits for memory.
    pub(super) fn is_large(&self) -> bool {
        self.patterns.is_large()
    }

    #[inline(always)]
    fn found(&self, holders: &Holders, out: &mut Targets) {
        match holders.held() {
            Held::ByOne(entry) => out.push(entry),
            Held::ByMany(roster) => out.extend(self.rosters[roster].runs()),
        }
    }

    /// Bytes on the heap, for a limit on memory; those of filters with several subscribers are an estimate. Takes less than a
    /// microsecond, whatever the number of filters.
    pub fn heap_bytes(&self) -> usize {
        self.patterns.heap_bytes() + self.rosters.heap_bytes() + self.in_rosters * ROSTERED_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::super::oracle::{Dice, for_seeds};
    use super::*;
    use candor_protocol::packet::Qos;
    use std::collections::BTreeMap;

    fn filter(text: &str) -> TopicFilter {
        TopicFilter::new(text).expect("a valid filter")
    }

    fn somebody(slot: u32) -> Subscriber {
        Subscriber { shard: (slot % 4) as u16, slot }
    }

    fn with(qos: Qos) -> Subscription {
        Subscription { qos, ..Subscription::default() }
    }

    #[test]
    fn an_answer_is_given_again_only_by_the_same_tree_with_the_same_subscriptions() {
        let (mut tree, mut other, mut targets) = (SubscriptionTree::new(), SubscriptionTree::new(), Targets::new());
        let mut slots = |tree: &SubscriptionTree, topic: &str| {
            tree.matching(topic.as_bytes(), &mut targets);
            targets.iter().map(|target| target.subscriber.slot).collect::<Vec<_>>()
        };
        assert_eq!(slots(&tree, "a"), Vec::<u32>::new());
        tree.subscribe(&filter("a"), somebody(1), Subscription::default());
        other.subscribe(&filter("a"), somebody(9), Subscription::default());
        assert_eq!((slots(&tree, "a"), slots(&tree, "a")), (vec![1], vec![1]));
        assert_eq!((slots(&other, "a"), slots(&tree, "b")), (vec![9], vec![]));
        tree.subscribe(&filter("+"), somebody(2), Subscription::default());
        assert_eq!((slots(&tree, "a"), slots(&tree, "ab")), (vec![1, 2], vec![2]));
        tree.unsubscribe(&filter("a"), somebody(1));
        assert_eq!(slots(&tree, "a"), [2]);
    }

    type Model = BTreeMap<(Subscriber, TopicFilter), Subscription>;

    fn check(tree: &SubscriptionTree, model: &Model, targets: &mut Targets, dice: &mut Dice) {
        for _ in 0..10 {
            let topic = dice.topic();
            let mut expected: BTreeMap<Subscriber, Subscription> = BTreeMap::new();
            for ((subscriber, _), &subscription) in model.iter().filter(|((_, filter), _)| filter.matches(&topic)) {
                let merged = expected.get(subscriber).map_or(subscription, |other| other.merged(subscription));
                expected.insert(*subscriber, merged);
            }
            tree.matching(topic.as_bytes(), targets);
            let found: Vec<_> = targets.iter().map(|target| (target.subscriber, target.subscription)).collect();
            assert_eq!(found, expected.into_iter().collect::<Vec<_>>(), "{topic:?} among {model:?}");
        }
    }

    #[test]
    fn every_subscriber_with_a_matching_filter_is_found_once_after_any_sequence() {
        for_seeds(60, |dice| {
            let (mut tree, mut model, mut targets) = (SubscriptionTree::new(), Model::new(), Targets::new());
            for step in 0..500 {
                let (subscriber, filter) = (dice.subscriber(), dice.filter());
                if dice.below(10) < if step < 300 { 8 } else { 3 } {
                    let subscription = dice.subscription();
                    let subscribed = tree.subscribe(&filter, subscriber, subscription);
                    let expected = model.insert((subscriber, filter), subscription).map_or(Subscribed::New, |_| Subscribed::Replaced);
                    assert_eq!(subscribed, expected);
                } else {
                    assert_eq!(tree.unsubscribe(&filter, subscriber), model.remove(&(subscriber, filter)).is_some());
                }
                assert_eq!(tree.len(), model.len());
                if step % 50 == 0 {
                    check(&tree, &model, &mut targets, dice);
                }
            }
            check(&tree, &model, &mut targets, dice);
            for ((subscriber, filter), &subscription) in &model {
                assert_eq!(tree.subscription(filter, *subscriber), Some(subscription));
                assert!(tree.unsubscribe(filter, *subscriber));
                assert_eq!(tree.subscription(filter, *subscriber), None);
            }
            assert!(tree.is_empty());
            assert_eq!((tree.patterns.nodes(), tree.rosters.len(), tree.in_rosters), (1, 0, 0), "nothing is left");
        });
    }

    #[test]
    fn an_equal_filter_replaces_and_others_add_up_to_the_highest_qos() {
        let (mut tree, mut targets) = (SubscriptionTree::new(), Targets::new());
        let me = somebody(1);
        assert_eq!(tree.subscribe(&filter("a/b"), me, with(Qos::ExactlyOnce)), Subscribed::New);
        assert_eq!(tree.subscribe(&filter("a/b"), me, with(Qos::AtMostOnce)), Subscribed::Replaced);
        tree.matching(b"a/b", &mut targets);
        assert_eq!(targets.iter().next(), Some(super::super::Target { subscriber: me, subscription: with(Qos::AtMostOnce) }));

        tree.subscribe(&filter("a/#"), me, with(Qos::AtLeastOnce));
        tree.matching(b"a/b", &mut targets);
        assert_eq!(targets.iter().map(|target| target.subscription.qos).collect::<Vec<_>>(), [Qos::AtLeastOnce]);
    }

    #[test]
    fn ten_thousand_subscribers_of_one_topic_come_in_order_and_leave_nothing_behind() {
        let (mut tree, mut targets) = (SubscriptionTree::new(), Targets::new());
        let empty = tree.heap_bytes();
        let news = filter("news");
        // Coming in no order.
        let slots: Vec<u32> = (0..10_000u32).map(|i| i * 7_919 % 10_000).collect();
        for &slot in &slots {
            assert_eq!(tree.subscribe(&news, somebody(slot), with(Qos::AtMostOnce)), Subscribed::New);
        }
        tree.subscribe(&filter("#"), somebody(5), with(Qos::ExactlyOnce));
        tree.matching(b"news", &mut targets);
        assert_eq!(targets.len(), 10_000);
        let real: usize = tree.rosters.get(0).map(Roster::heap_bytes).expect("the roster");
        assert!((10_000 * 8..=10_000 * ROSTERED_BYTES).contains(&real), "{real} bytes");
        assert!(targets.iter().is_sorted_by_key(|target| target.subscriber));
        assert_eq!(
            targets.by_shard().map(|(shard, batch)| (shard, batch.len())).collect::<Vec<_>>(),
            [0, 1, 2, 3].map(|shard| (shard, 2_500))
        );
        assert_eq!(targets.iter().filter(|target| target.subscription.qos == Qos::ExactlyOnce).count(), 1);

        assert!(slots.iter().all(|&slot| tree.unsubscribe(&news, somebody(slot))));
        assert!(tree.unsubscribe(&filter("#"), somebody(5)));
        assert!(tree.heap_bytes() < empty + 4_096, "{} bytes, {empty} when new", tree.heap_bytes());
    }

    #[test]
    fn a_filter_with_one_subscriber_costs_well_under_three_hundred_bytes() {
        let mut tree = SubscriptionTree::new();
        let empty = tree.heap_bytes();
        for device in 0..100_000 {
            let text = format!("site/{}/device/{device}/temperature", device % 100);
            tree.subscribe(&filter(&text), somebody(device), with(Qos::AtLeastOnce));
        }
        let each = (tree.heap_bytes() - empty) / 100_000;
        assert!(each < 100, "{each} bytes a subscription");
    }

    #[test]
    fn a_warm_match_keeps_its_memory() {
        let (mut tree, mut targets) = (SubscriptionTree::new(), Targets::new());
        for slot in 0..1_000 {
            tree.subscribe(&filter("a/+"), somebody(slot), with(Qos::AtMostOnce));
            tree.subscribe(&filter("+/b"), somebody(slot), with(Qos::AtMostOnce));
        }
        tree.matching(b"a/b", &mut targets);
        let warm = targets.capacities();
        for _ in 0..100 {
            tree.matching(b"a/b", &mut targets);
        }
        assert_eq!(targets.capacities(), warm);
    }

    #[test]
    fn several_threads_match_at_once() {
        let mut tree = SubscriptionTree::new();
        for slot in 0..100 {
            tree.subscribe(&filter("a/+"), somebody(slot), with(Qos::AtMostOnce));
        }
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let mut targets = Targets::new();
                        let mut found = 0;
                        for _ in 0..100 {
                            tree.matching(b"a/b", &mut targets);
                            found += targets.len();
                        }
                        found
                    })
                })
                .collect();
            assert!(threads.into_iter().all(|thread| thread.join().is_ok_and(|found| found == 100 * 100)));
        });
    }
}
