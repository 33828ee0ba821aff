//! Retained messages: the last one of each topic that was published with the retain flag (section 3.3.1.3).
//!
//! They stand in one set, ordered by the bytes of their topics, and each keeps its topic itself. A pattern with wildcards is
//! a walk through the set that seeks past what cannot match; a walk can be cut into slices, since the topic where one ended
//! is all that the next one needs.

use super::seek::{Step, first_key, step};
use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::collections::btree_set::Range;
use std::fmt;
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::ops::ControlFlow;

/// What can be retained.
pub trait Topical {
    /// The topic name: valid (section 4.7), and the same for as long as the message is kept.
    fn topic(&self) -> &[u8];

    /// What the message counts in [`Retained::bytes`]: all that it owns, and the same for as long as it is kept.
    fn bytes(&self) -> usize;
}

/// At most one message for each topic.
///
/// That an empty payload removes the message ([MQTT-3.3.1-10], [MQTT-3.3.1-11]) is for the caller to see to, who knows the
/// payload.
pub struct Retained<M> {
    messages: BTreeSet<ByTopic<M>>,
    bytes: usize,
}

/// A slice may do so much work for each match that it may show: looking at a topic counts 1.
const WORK_PER_MATCH: usize = 8;

/// Looking at so many topics one after the other is faster than one seek.
const SEEK_WORK: usize = 8;

impl<M: Topical> Retained<M> {
    pub fn new() -> Self {
        Self::default()
    }

    /// How many messages are kept.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// The sum of [`Topical::bytes`] of what is kept, and the set's own bytes a message, about: for the limit on memory.
    pub fn bytes(&self) -> usize {
        // A node of the set is on the average two thirds full.
        self.bytes + self.len() * size_of::<M>() * 3 / 2
    }

    /// Keeps the message in the place of the one with the same topic, which is returned.
    pub fn set(&mut self, message: M) -> Option<M> {
        self.bytes += message.bytes();
        let old = self.messages.replace(ByTopic(message)).map(|ByTopic(old)| old);
        self.bytes -= old.as_ref().map_or(0, Topical::bytes);
        old
    }

    pub fn remove(&mut self, topic: &[u8]) -> Option<M> {
        let ByTopic(old) = self.messages.take(topic)?;
        self.bytes -= old.bytes();
        Some(old)
    }

    pub fn get(&self, topic: &[u8]) -> Option<&M> {
        self.messages.get(topic).map(|ByTopic(message)| message)
    }

    /// All messages, in the order of their topics' bytes.
    pub fn iter(&self) -> impl Iterator<Item = &M> {
        self.messages.iter().map(|ByTopic(message)| message)
    }

    /// Shows the messages whose topic matches the pattern (section 4.7), in the order of the topics' bytes, to `visit`: from
    /// the first topic behind `after` on (`None`: from the beginning), until there are none, or `limit` were shown, or `visit`
    /// breaks off, or the work done is that of `limit` seeks. So a slice is short even where nothing matches.
    ///
    /// The result is the `after` of the next slice, `None` when all are done. The store may be changed between slices: what was
    /// set or removed behind `after` is seen, what is in front of it is not. A limit of 0 counts as 1.
    #[must_use = "where the next slice goes on; without it the rest is lost"]
    pub fn matching<'a>(
        &'a self,
        pattern: &[u8],
        after: Option<&[u8]>,
        limit: usize,
        mut visit: impl FnMut(&'a M) -> ControlFlow<()>,
    ) -> Option<&'a [u8]> {
        if !pattern.iter().any(|byte| matches!(byte, b'+' | b'#')) {
            let message = self.get(pattern).filter(|_| after.is_none_or(|after| after < pattern));
            return message.filter(|message| visit(message).is_break()).map(|message| message.topic());
        }
        let (limit, mut key) = (limit.max(1), Vec::new());
        let (mut shown, mut work) = (0, 0);
        let mut walk = self.walk(first_key(pattern), after);
        loop {
            let ByTopic(message) = walk.next()?;
            let topic = message.topic();
            work += 1;
            match step(pattern, topic, &mut key) {
                Step::End => return None,
                Step::Next => {}
                Step::Seek => work += self.seek(&mut walk, &key),
                Step::Match => {
                    shown += 1;
                    if visit(message).is_break() || shown >= limit {
                        return Some(topic);
                    }
                }
            }
            if work >= limit.saturating_mul(WORK_PER_MATCH) {
                return Some(topic);
            }
        }
    }

    fn walk(&self, key: &[u8], after: Option<&[u8]>) -> Range<'_, ByTopic<M>> {
        let from = match after {
            Some(after) if after >= key => Excluded(after),
            _ => Included(key),
        };
        self.messages.range::<[u8], _>((from, Unbounded))
    }

    /// Goes on at the first topic that is not smaller than the key: often it is near. The result is the work done.
    fn seek<'a>(&'a self, walk: &mut Range<'a, ByTopic<M>>, key: &[u8]) -> usize {
        for steps in 0..SEEK_WORK {
            let mut ahead = walk.clone();
            match ahead.next() {
                Some(ByTopic(message)) if message.topic() < key => *walk = ahead,
                _ => return steps,
            }
        }
        *walk = self.walk(key, None);
        2 * SEEK_WORK
    }
}

impl<M> Default for Retained<M> {
    fn default() -> Self {
        Self { messages: BTreeSet::new(), bytes: 0 }
    }
}

impl<M: Topical> fmt::Debug for Retained<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} retained messages, {} bytes", self.len(), self.bytes())
    }
}

/// A message that is compared by its topic.
#[derive(Clone)]
struct ByTopic<M>(M);

impl<M: Topical> Borrow<[u8]> for ByTopic<M> {
    fn borrow(&self) -> &[u8] {
        self.0.topic()
    }
}

impl<M: Topical> Ord for ByTopic<M> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.topic().cmp(other.0.topic())
    }
}

impl<M: Topical> PartialOrd for ByTopic<M> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<M: Topical> PartialEq for ByTopic<M> {
    fn eq(&self, other: &Self) -> bool {
        self.0.topic() == other.0.topic()
    }
}

impl<M: Topical> Eq for ByTopic<M> {}

#[cfg(test)]
mod tests {
    use super::super::oracle::{Dice, for_seeds};
    use super::*;
    use candor_protocol::packet::Message;
    use candor_protocol::packet::topic::pattern_matches;
    use std::cell::Cell;
    use std::collections::BTreeMap;

    thread_local! {
        /// How often a topic was looked at.
        static LOOKS: Cell<usize> = const { Cell::new(0) };
    }

    #[derive(Debug, Clone, PartialEq)]
    struct Kept(Message);

    impl Topical for Kept {
        fn topic(&self) -> &[u8] {
            LOOKS.set(LOOKS.get() + 1);
            self.0.topic()
        }

        fn bytes(&self) -> usize {
            self.0.len()
        }
    }

    fn kept(topic: &str, payload: &str) -> Kept {
        Kept(Message::publish(topic, payload).expect("a valid topic"))
    }

    fn of(topics: impl IntoIterator<Item = impl AsRef<str>>) -> Retained<Kept> {
        let mut retained = Retained::new();
        for topic in topics {
            assert_eq!(retained.set(kept(topic.as_ref(), "x")), None);
        }
        retained
    }

    /// All topics that match, in slices of `limit`.
    fn in_slices(retained: &Retained<Kept>, pattern: &str, limit: usize) -> Vec<String> {
        let (mut topics, mut after) = (Vec::new(), None::<Vec<u8>>);
        loop {
            let mut shown = 0;
            let next = retained.matching(pattern.as_bytes(), after.as_deref(), limit, |message| {
                shown += 1;
                topics.push(message.0.topic_str().to_owned());
                ControlFlow::Continue(())
            });
            assert!(shown <= limit);
            match next {
                None => return topics,
                Some(next) => {
                    assert!(after.as_deref().is_none_or(|after| after < next), "the walk goes on");
                    after = Some(next.to_owned());
                }
            }
        }
    }

    fn looks(look: impl FnOnce()) -> usize {
        let before = LOOKS.get();
        look();
        LOOKS.get() - before
    }

    fn check(retained: &Retained<Kept>, model: &BTreeMap<String, String>, dice: &mut Dice) {
        let pattern = dice.pattern();
        let expected: Vec<_> = model.keys().filter(|topic| pattern_matches(pattern.as_bytes(), topic.as_bytes())).cloned().collect();
        let limit = [1, 2, 7, 1_000][dice.below(4) as usize];
        assert_eq!(in_slices(retained, &pattern, limit), expected, "{pattern:?} in slices of {limit} among {:?}", model.keys());
    }

    #[test]
    fn slices_show_every_matching_message_once_and_in_order_after_any_sequence() {
        for_seeds(60, |dice| {
            let (mut retained, mut model) = (Retained::new(), BTreeMap::new());
            for step in 0..600 {
                let (topic, payload) = (dice.topic(), step.to_string());
                if dice.below(10) < if step < 400 { 8 } else { 4 } {
                    let old = retained.set(kept(&topic, &payload));
                    let expected = model.insert(topic.clone(), payload).map(|payload| kept(&topic, &payload));
                    assert_eq!(old, expected);
                } else {
                    let expected = model.remove(&topic).map(|payload| kept(&topic, &payload));
                    assert_eq!(retained.remove(topic.as_bytes()), expected);
                }
                let topic = dice.topic();
                assert_eq!(retained.get(topic.as_bytes()).cloned(), model.get(&topic).map(|payload| kept(&topic, payload)));
                if step % 20 == 0 {
                    check(&retained, &model, dice);
                }
            }
            assert_eq!(retained.len(), model.len());
            assert!(retained.iter().map(|message| message.0.topic_str()).eq(model.keys()));
            assert_eq!(retained.bytes, model.iter().map(|(topic, payload)| topic.len() + payload.len()).sum::<usize>());
            model.keys().for_each(|topic| assert!(retained.remove(topic.as_bytes()).is_some()));
            assert_eq!((retained.len(), retained.bytes()), (0, 0));
        });
    }

    #[test]
    fn a_walk_goes_on_where_it_ended_whatever_happened_meanwhile() {
        let mut retained = of(["a", "b", "c", "d"]);
        let mut shown = Vec::new();
        let mut slice = |retained: &Retained<Kept>, after: Option<&[u8]>| {
            let next = retained.matching(b"#", after, 2, |message| {
                shown.push(message.0.topic_str().to_owned());
                ControlFlow::Continue(())
            });
            next.map(<[u8]>::to_owned)
        };
        let after = slice(&retained, None);
        assert_eq!(after.as_deref(), Some(b"b".as_slice()));
        retained.remove(b"b");
        retained.remove(b"c");
        retained.set(kept("a!", "new"));
        retained.set(kept("bb", "new"));
        let after = slice(&retained, after.as_deref());
        let end = slice(&retained, after.as_deref());
        assert_eq!(end, None);
        assert_eq!(shown, ["a", "b", "bb", "d"]);
    }

    #[test]
    fn a_visit_can_break_off_and_the_next_slice_goes_on_behind_it() {
        let retained = of(["a/1", "a/2", "a/3"]);
        let mut shown = Vec::new();
        let after = retained.matching(b"a/+", None, 100, |message| {
            shown.push(message.0.topic_str().to_owned());
            if shown.len() == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert_eq!((shown.len(), after), (2, Some(b"a/2".as_slice())));
        // An exact topic as well.
        assert_eq!(retained.matching(b"a/1", None, 1, |_| ControlFlow::Break(())), Some(b"a/1".as_slice()));
        assert_eq!(retained.matching(b"a/1", Some(b"a/1"), 1, |_| panic!("it was shown")), None);
    }

    #[test]
    fn a_pattern_seeks_and_does_not_look_at_everything() {
        let topics = (0..20_000).map(|i| format!("site/{}/device/{}/{}", i / 1_000, i / 10 % 100, i % 10));
        let retained = of(topics);
        let cost = |pattern: &str, found: usize| {
            let looks = looks(|| assert_eq!(in_slices(&retained, pattern, usize::MAX).len(), found));
            println!("{pattern}: {looks} looks for {found}");
            looks
        };
        // A seek in 20,000 looks at some 40 topics.
        assert!(cost("site/7/device/7/7", 1) < 100);
        assert!(cost("site/7/device/7/#", 10) < 200);
        assert!(cost("site/+/device/7/7", 20) < 20 * 3 * 60);
        assert!(cost("+/3/device/+/4", 100) < 100 * 60);
        assert!(cost("+/+/gateway/#", 0) < 20 * 2 * 60);
        assert!(cost("other/#", 0) < 100);
    }

    #[test]
    fn a_slice_ends_even_if_nothing_matches() {
        // Each of them could be followed by its own `/x`, so each is looked at.
        let retained = of((0..10_000).map(|i| format!("d{i}")));
        let work = looks(|| assert!(retained.matching(b"+/x", None, 10, |_| panic!("a match")).is_some()));
        assert!(work < 1_000, "{work} looks in one slice");
        assert_eq!(in_slices(&retained, "+/x", 10), Vec::<String>::new());
    }
}
