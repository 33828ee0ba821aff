//! Shared subscriptions: `$share/GROUP/FILTER`. Of each group with a matching filter one member gets the message.
//!
//! Clients of both dialects ask for them by the same filter and sit in the same groups.

use super::arena::Arena;
use super::entry::Entry;
use super::group::Group;
use super::pattern_tree::{Branches, PatternTree, Place};
use super::{Subscribed, Subscriber, Subscription, Target};
use candor_protocol::packet::TopicFilter;

/// From shared filters to their groups. The same group name with another filter is another group.
///
/// A pick and a change of availability need no more than `&self`, so threads that read can do both at once.
#[derive(Debug)]
pub struct SharedGroups {
    /// The number of the list of the pattern's groups.
    patterns: PatternTree<u32>,
    /// The groups of a pattern, by name.
    lists: Arena<Vec<u32>>,
    groups: Arena<Group>,
    next_number: u32,
    len: usize,
    /// How many groups there are, and the bytes of their names.
    group_count: usize,
    name_bytes: usize,
}

/// A group, for as long as it has a member. Afterwards the identifier names nothing; it is not given to another group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId {
    index: u32,
    number: u32,
}

/// A member that was picked, and by which group: for [`SharedGroups::pick_except`], should it release the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pick {
    pub group: GroupId,
    pub target: Target,
}

/// The result of [`SharedGroups::matching`]: one pick a group, in the order of the subscribers, so by shard. A member of
/// several groups can be there several times: each group's message is another one.
///
/// Made once and used again: a call empties it, and allocates only where it finds more than any call before.
#[derive(Debug, Default)]
pub struct Picks {
    picks: Vec<Pick>,
    branches: Branches,
}

impl Picks {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn len(&self) -> usize {
        self.picks.len()
    }

    pub fn is_empty(&self) -> bool {
        self.picks.is_empty()
    }

    /// The picks, ascending by shard and slot.
    pub fn as_slice(&self) -> &[Pick] {
        &self.picks
    }

    /// The picks of each shard that has any, ascending.
    pub fn by_shard(&self) -> impl Iterator<Item = (u16, &[Pick])> {
        let shard = |pick: &Pick| pick.target.subscriber.shard;
        let shards = self.picks.chunk_by(move |a, b| shard(a) == shard(b));
        shards.filter_map(move |picks| Some((shard(picks.first()?), picks)))
    }
}

impl Default for SharedGroups {
    fn default() -> Self {
        Self {
            patterns: PatternTree::new(),
            lists: Arena::new(),
            groups: Arena::new(),
            next_number: 0,
            len: 0,
            group_count: 0,
            name_bytes: 0,
        }
    }
}

/// What a group and a member own on the average, beside their places in the arenas.
const GROUP_BYTES: usize = 240;
const MEMBER_BYTES: usize = 40;

/// Where a group is.
#[derive(Debug, Clone, Copy)]
struct Found {
    place: Place,
    list: u32,
    /// Its place in the list, or where it would be.
    at: Result<usize, usize>,
}

impl SharedGroups {
    pub fn new() -> Self {
        Self::default()
    }

    /// How many memberships there are: pairs of group and subscriber.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Makes the subscriber a member, available; who is one already gets the new options and stays as available as it was.
    pub fn subscribe(&mut self, filter: &TopicFilter, subscriber: Subscriber, subscription: Subscription) -> Subscribed {
        let group = match self.find(filter) {
            Some(Found { list, at: Ok(at), .. }) => self.lists[list][at],
            Some(Found { list, at: Err(at), .. }) => self.found(name_of(filter), list, at),
            None => {
                let place = self.patterns.make(filter.pattern().as_bytes());
                let list = self.lists.insert(Vec::new());
                *self.patterns.value_mut(place) = Some(list);
                self.found(name_of(filter), list, 0)
            }
        };
        match self.groups[group].put(subscriber, subscription) {
            true => Subscribed::Replaced,
            false => {
                self.len += 1;
                Subscribed::New
            }
        }
    }

    /// Founds a group at this place of the list.
    fn found(&mut self, name: &str, list: u32, at: usize) -> u32 {
        let group = self.groups.insert(Group::new(name, self.next_number));
        self.next_number = self.next_number.wrapping_add(1);
        (self.group_count, self.name_bytes) = (self.group_count + 1, self.name_bytes + name.len());
        let list = &mut self.lists[list];
        // Nearly every pattern has one group.
        if list.is_empty() {
            list.reserve_exact(1);
        }
        list.insert(at, group);
        group
    }

    /// Whether the subscriber was a member. A group without a member is gone, its turn forgotten.
    pub fn unsubscribe(&mut self, filter: &TopicFilter, subscriber: Subscriber) -> bool {
        let Some(Found { place, list, at: Ok(at) }) = self.find(filter) else { return false };
        let group = self.lists[list][at];
        if !self.groups[group].remove(subscriber) {
            return false;
        }
        self.len -= 1;
        if self.groups[group].is_empty() {
            let gone = self.groups.remove(group);
            (self.group_count, self.name_bytes) = (self.group_count - 1, self.name_bytes - gone.name().len());
            self.lists[list].remove(at);
        }
        if self.lists[list].is_empty() {
            self.lists.remove(list);
            self.patterns.clear(place);
        }
        true
    }

    /// The subscription of this member of exactly this group.
    pub fn subscription(&self, filter: &TopicFilter, subscriber: Subscriber) -> Option<Subscription> {
        self.groups[self.group_at(filter)?].subscription(subscriber)
    }

    /// Says whether a member can take a message now; where it cannot, its turn goes to the next. Whether it is a member.
    pub fn set_available(&self, filter: &TopicFilter, subscriber: Subscriber, available: bool) -> bool {
        self.group_at(filter).is_some_and(|group| self.groups[group].set_available(subscriber, available))
    }

    /// The group of this filter, if it has a member.
    pub fn group(&self, filter: &TopicFilter) -> Option<GroupId> {
        self.group_at(filter).map(|index| self.id(index))
    }

    /// Picks one member of every group whose filter matches the topic name (section 4.7): the next in turn of those that are
    /// available, of all if none is. What `out` held before is gone.
    pub fn matching(&self, topic: &[u8], out: &mut Picks) {
        let Picks { picks, branches } = out;
        picks.clear();
        if self.is_empty() {
            return;
        }
        self.patterns.matching(topic, branches, |&list| picks.extend(self.lists[list].iter().filter_map(|&group| self.pick(group, &[]))));
        picks.sort_unstable_by_key(|pick| (pick.target.subscriber, pick.group.index));
    }

    /// Picks a member of this group as if those in `avoid` were no members: for a message that they have released. `None` where
    /// nobody else is there, or the group is gone.
    pub fn pick_except(&self, group: GroupId, avoid: &[Subscriber]) -> Option<Pick> {
        self.groups.get(group.index).filter(|found| found.number == group.number)?;
        self.pick(group.index, avoid)
    }

    /// As [`SharedGroups::pick_except`], of those members alone that are available.
    pub fn pick_available(&self, group: GroupId, avoid: &[Subscriber]) -> Option<Pick> {
        let found = self.groups.get(group.index).filter(|found| found.number == group.number)?;
        let entry = found.pick_available(avoid)?;
        Some(Pick { group, target: Entry::target(entry) })
    }

    fn pick(&self, index: u32, avoid: &[Subscriber]) -> Option<Pick> {
        let entry = self.groups[index].pick(avoid);
        entry.map(|entry| Pick { group: self.id(index), target: Entry::target(entry) })
    }

    fn id(&self, index: u32) -> GroupId {
        GroupId { index, number: self.groups[index].number }
    }

    fn group_at(&self, filter: &TopicFilter) -> Option<u32> {
        let found = self.find(filter)?;
        found.at.ok().map(|at| self.lists[found.list][at])
    }

    fn find(&self, filter: &TopicFilter) -> Option<Found> {
        let place = self.patterns.find(filter.pattern().as_bytes())?;
        let &list = self.patterns.value(place)?;
        let at = self.lists[list].binary_search_by(|&group| self.groups[group].name().cmp(name_of(filter)));
        Some(Found { place, list, at })
    }

    /// Bytes on the heap, for a limit on memory; those of the members are an estimate. Takes less than a microsecond, whatever
    /// the number of groups.
    pub fn heap_bytes(&self) -> usize {
        let groups = self.group_count * GROUP_BYTES + self.name_bytes + self.len * MEMBER_BYTES;
        self.patterns.heap_bytes() + self.lists.heap_bytes() + self.groups.heap_bytes() + groups
    }
}

/// A group's name is never empty, so a filter without one has a group of its own.
fn name_of(filter: &TopicFilter) -> &str {
    filter.group().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::oracle::{Dice, for_seeds};
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    fn filter(text: &str) -> TopicFilter {
        TopicFilter::new(text).expect("a valid filter")
    }

    fn somebody(slot: u32) -> Subscriber {
        Subscriber { shard: (slot % 2) as u16, slot }
    }

    fn picked(groups: &SharedGroups, topic: &str) -> Vec<u32> {
        let mut picks = Picks::new();
        groups.matching(topic.as_bytes(), &mut picks);
        picks.as_slice().iter().map(|pick| pick.target.subscriber.slot).collect()
    }

    fn join(groups: &mut SharedGroups, text: &str, slots: impl IntoIterator<Item = u32>) {
        for slot in slots {
            assert_eq!(groups.subscribe(&filter(text), somebody(slot), Subscription::default()), Subscribed::New);
        }
    }

    /// For each filter, its members and whether they are available.
    type Model = BTreeMap<TopicFilter, BTreeMap<Subscriber, (Subscription, bool)>>;

    fn check(groups: &SharedGroups, model: &Model, dice: &mut Dice) {
        let topic = dice.topic();
        let mut picks = Picks::new();
        groups.matching(topic.as_bytes(), &mut picks);
        let mut by_group: BTreeMap<GroupId, Target> = BTreeMap::new();
        for pick in picks.as_slice() {
            assert_eq!(by_group.insert(pick.group, pick.target), None, "two picks of one group");
        }
        for (filter, members) in model.iter().filter(|(filter, _)| filter.matches(&topic)) {
            let group = groups.group(filter).expect("the group");
            let Target { subscriber, subscription } = by_group.remove(&group).unwrap_or_else(|| panic!("no pick of {filter}"));
            let (expected, available) = members[&subscriber];
            assert_eq!(subscription, expected);
            assert!(available || members.values().all(|&(_, available)| !available), "{subscriber:?} of {filter} in {members:?}");

            let avoid: Vec<_> = members.keys().copied().filter(|_| dice.below(2) == 0).collect();
            let others: BTreeSet<_> = members.keys().filter(|member| !avoid.contains(member)).collect();
            match groups.pick_except(group, &avoid) {
                None => assert!(others.is_empty(), "{others:?}"),
                Some(pick) => assert!(others.contains(&pick.target.subscriber)),
            }
        }
        assert!(by_group.is_empty(), "{by_group:?} match {topic:?} only here");
    }

    #[test]
    fn every_matching_group_picks_one_member_that_can_take_it_after_any_sequence() {
        for_seeds(60, |dice| {
            let (mut groups, mut model) = (SharedGroups::new(), Model::new());
            for step in 0..500 {
                let (subscriber, pattern) = (dice.subscriber(), dice.pattern());
                let filter = filter(&format!(
                    "$share/{}/{pattern}",
                    dice.pick(&["g", "h", ""].map(|name| if name.is_empty() { "$" } else { name }))
                ));
                match dice.below(10) {
                    0..=5 => {
                        let subscription = dice.subscription();
                        let members = model.entry(filter.clone()).or_default();
                        let known = members.get(&subscriber).copied();
                        members.insert(subscriber, (subscription, known.is_none_or(|(_, available)| available)));
                        let expected = if known.is_some() { Subscribed::Replaced } else { Subscribed::New };
                        assert_eq!(groups.subscribe(&filter, subscriber, subscription), expected);
                    }
                    6..=7 => {
                        let known = model.get_mut(&filter).is_some_and(|members| members.remove(&subscriber).is_some());
                        model.retain(|_, members| !members.is_empty());
                        assert_eq!(groups.unsubscribe(&filter, subscriber), known);
                    }
                    _ => {
                        let available = dice.below(2) == 0;
                        let known = model.get_mut(&filter).and_then(|members| members.get_mut(&subscriber));
                        assert_eq!(groups.set_available(&filter, subscriber, available), known.is_some());
                        known.into_iter().for_each(|member| member.1 = available);
                    }
                }
                assert_eq!(groups.len(), model.values().map(BTreeMap::len).sum::<usize>());
                if step % 10 == 0 {
                    check(&groups, &model, dice);
                }
            }
            for (filter, members) in &model {
                for (&subscriber, &(subscription, _)) in members {
                    assert_eq!(groups.subscription(filter, subscriber), Some(subscription));
                    assert!(groups.unsubscribe(filter, subscriber));
                }
            }
            assert!(groups.is_empty());
            assert_eq!((groups.patterns.nodes(), groups.lists.len(), groups.groups.len()), (1, 0, 0), "nothing is left");
            assert_eq!((groups.group_count, groups.name_bytes), (0, 0));
        });
    }

    #[test]
    fn one_name_on_two_filters_is_two_groups() {
        let mut groups = SharedGroups::new();
        join(&mut groups, "$share/g/a/+", [2, 4]);
        join(&mut groups, "$share/g/a/b", [2, 4]);
        join(&mut groups, "$share/h/a/b", [6]);
        assert_eq!(picked(&groups, "a/b"), [2, 2, 6]);
        assert_eq!(picked(&groups, "a/x"), [4]);
        assert_eq!(picked(&groups, "a/b"), [2, 4, 6]);
    }

    #[test]
    fn a_released_message_goes_to_another_member_of_its_group() {
        let mut groups = SharedGroups::new();
        join(&mut groups, "$share/g/a", [1, 2, 3]);
        let mut picks = Picks::new();
        groups.matching(b"a", &mut picks);
        let Pick { group, target } = picks.as_slice()[0];
        let second = groups.pick_except(group, &[target.subscriber]).expect("another");
        let third = groups.pick_except(group, &[target.subscriber, second.target.subscriber]).expect("the last");
        let all: BTreeSet<_> = [target, second.target, third.target].map(|target| target.subscriber).into();
        assert_eq!(all.len(), 3);
        assert_eq!(groups.pick_except(group, &all.into_iter().collect::<Vec<_>>()), None);
    }

    #[test]
    fn the_identifier_of_a_group_that_is_gone_names_no_later_one() {
        let mut groups = SharedGroups::new();
        join(&mut groups, "$share/g/a", [1]);
        let gone = groups.group(&filter("$share/g/a")).expect("the group");
        assert!(groups.unsubscribe(&filter("$share/g/a"), somebody(1)));
        assert_eq!(groups.pick_except(gone, &[]), None);
        join(&mut groups, "$share/g/a", [2]);
        assert_ne!(groups.group(&filter("$share/g/a")), Some(gone));
        assert_eq!(groups.pick_except(gone, &[]), None);
    }

    #[test]
    fn picks_come_in_one_batch_a_shard() {
        let mut groups = SharedGroups::new();
        for slot in 0..6 {
            join(&mut groups, &format!("$share/g{slot}/a/#"), [slot]);
        }
        let mut picks = Picks::new();
        groups.matching(b"a", &mut picks);
        let batches: Vec<(u16, Vec<u32>)> =
            picks.by_shard().map(|(shard, batch)| (shard, batch.iter().map(|pick| pick.target.subscriber.slot).collect())).collect();
        assert_eq!(batches, [(0, vec![0, 2, 4]), (1, vec![1, 3, 5])]);
    }

    #[test]
    fn groups_that_are_left_by_all_give_their_memory_back() {
        let mut groups = SharedGroups::new();
        let empty = groups.heap_bytes();
        for slot in 0..10_000 {
            join(&mut groups, &format!("$share/g{}/a/{}/#", slot % 3, slot % 1_000), [slot]);
        }
        for slot in 0..10_000 {
            assert!(groups.unsubscribe(&filter(&format!("$share/g{}/a/{}/#", slot % 3, slot % 1_000)), somebody(slot)));
        }
        assert!(groups.heap_bytes() < empty + 8_192, "{} bytes, {empty} when new", groups.heap_bytes());
    }
}
