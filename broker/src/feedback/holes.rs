//! Topics that swallow messages: that take them and have nobody to give them to, or that refuse them again and again. The table has
//! a bound: for one more, the one goes that swallowed least of a few, so that a flood of names costs little for each and drives out only
//! what is like it.

use std::collections::HashMap;
use std::sync::Arc;

/// The most topics of one shard.
const TOPICS_MAX: usize = 256;
/// Among how many topics the one is found that makes room.
const LOOKED_AT: usize = 8;
/// From so many messages on a topic counts as a black hole.
const NOTICED_FROM: u64 = 100;
/// A topic that swallowed nothing for so long begins anew.
const FORGOTTEN_AFTER_MS: u64 = 3_600_000;
/// The longest name, in bytes: longer ones are counted under what they begin with.
const NAME_LEN_MAX: usize = 256;
/// How often at most something is said of them.
const SAID_EVERY_MS: u64 = 1000;

/// What a topic has done to messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Swallowed {
    /// It was taken, and nobody got it.
    Undelivered,
    /// It was refused.
    Denied,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Hole {
    pub undelivered: u64,
    pub denied: u64,
    /// The first, in milliseconds since 1970.
    pub since_ms: u64,
    /// The last.
    pub unix_ms: u64,
}

impl Hole {
    pub fn count(&self) -> u64 {
        self.undelivered.saturating_add(self.denied)
    }

    pub fn is_noticed(&self) -> bool {
        self.count() >= NOTICED_FROM
    }

    fn is_old(&self, unix_ms: u64) -> bool {
        unix_ms.saturating_sub(self.unix_ms) > FORGOTTEN_AFTER_MS
    }
}

/// The topics of one shard.
#[derive(Debug, Default)]
pub struct Holes {
    /// Where each is in the row.
    topics: HashMap<Arc<[u8]>, usize, foldhash::fast::RandomState>,
    row: Vec<(Arc<[u8]>, Hole)>,
    /// From where on it is looked next for one that makes room.
    next: usize,
    said_ms: u64,
}

impl Holes {
    /// A topic has swallowed one more. `Some`: an operator should hear of it now.
    pub fn note(&mut self, topic: &[u8], swallowed: Swallowed, unix_ms: u64) -> Option<Hole> {
        let name = topic.get(..NAME_LEN_MAX).unwrap_or(topic);
        let at = match self.topics.get(name) {
            Some(at) => *at,
            None => self.enter(name.into(), unix_ms),
        };
        let (_, hole) = self.row.get_mut(at)?;
        if hole.is_old(unix_ms) {
            *hole = Hole { since_ms: unix_ms, ..Hole::default() };
        }
        match swallowed {
            Swallowed::Undelivered => hole.undelivered += 1,
            Swallowed::Denied => hole.denied += 1,
        }
        hole.unix_ms = unix_ms;
        // At a hundred, a thousand, ten thousand, and so on.
        let count = hole.count();
        let is_due = count >= NOTICED_FROM && 10u64.checked_pow(count.ilog10()) == Some(count);
        let says = is_due && unix_ms.saturating_sub(self.said_ms) >= SAID_EVERY_MS;
        says.then(|| {
            self.said_ms = unix_ms;
            *hole
        })
    }

    /// A place for one more, where there is no room in that of another.
    fn enter(&mut self, name: Arc<[u8]>, unix_ms: u64) -> usize {
        let at = if self.row.len() < TOPICS_MAX {
            self.row.push((Arc::clone(&name), Hole::default()));
            self.row.len() - 1
        } else {
            let weight = |at: &usize| match self.row.get(*at) {
                Some((_, hole)) if !hole.is_old(unix_ms) => (hole.count(), hole.unix_ms),
                _ => (0, 0),
            };
            let looked_at = (self.next..self.next + LOOKED_AT).map(|at| at % TOPICS_MAX);
            let least = looked_at.min_by_key(weight).unwrap_or_default();
            // The next to come looks at others.
            self.next = (self.next + LOOKED_AT) % TOPICS_MAX;
            if let Some(place) = self.row.get_mut(least) {
                let (before, _) = std::mem::replace(place, (Arc::clone(&name), Hole::default()));
                self.topics.remove(&before);
            }
            least
        };
        self.topics.insert(name, at);
        at
    }

    /// Those that count as black holes, with their topics.
    pub fn noticed(&self, unix_ms: u64) -> impl Iterator<Item = (&[u8], &Hole)> {
        let noticed = self.row.iter().filter(move |(_, hole)| hole.is_noticed() && !hole.is_old(unix_ms));
        noticed.map(|(name, hole)| (&**name, hole))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT_MS: u64 = 1_700_000_000_000;

    fn noticed(holes: &Holes, unix_ms: u64) -> Vec<(String, u64, u64)> {
        let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
        let mut noticed: Vec<_> = holes.noticed(unix_ms).map(|(name, hole)| (text(name), hole.undelivered, hole.denied)).collect();
        noticed.sort();
        noticed
    }

    #[test]
    fn a_topic_is_noticed_at_a_hundred_and_said_at_every_tenfold() {
        let mut holes = Holes::default();
        let said: Vec<u64> = (1..=10_000)
            .filter(|n| {
                let swallowed = if n % 4 == 0 { Swallowed::Denied } else { Swallowed::Undelivered };
                holes.note(b"a/b", swallowed, AT_MS + 10_000 * n).is_some()
            })
            .collect();
        assert_eq!(said, [100, 1000, 10_000]);
        assert_eq!(noticed(&holes, AT_MS + 100_000_000), [("a/b".to_owned(), 7500, 2500)]);
        assert_eq!(noticed(&holes, AT_MS + 100_000_000 + FORGOTTEN_AFTER_MS + 1), []);
        holes.note(b"a/b", Swallowed::Denied, AT_MS + 100_000_000 + FORGOTTEN_AFTER_MS + 1);
        assert_eq!(noticed(&holes, AT_MS), []);
    }

    #[test]
    fn a_flood_of_names_neither_makes_it_grow_nor_hides_what_was_noticed() {
        let mut holes = Holes::default();
        for n in 0..150 {
            holes.note(b"hole", Swallowed::Undelivered, AT_MS + n);
        }
        for n in 0..10_000u64 {
            holes.note(format!("random/{n}/{}", "x".repeat(1000)).as_bytes(), Swallowed::Denied, AT_MS + n);
            assert!(holes.topics.len() <= TOPICS_MAX && holes.row.len() == holes.topics.len());
        }
        assert!(holes.topics.keys().all(|name| name.len() <= NAME_LEN_MAX));
        assert_eq!(noticed(&holes, AT_MS), [("hole".to_owned(), 150, 0)]);
    }

    #[test]
    fn what_is_said_is_limited_whatever_is_swallowed() {
        let mut holes = Holes::default();
        let said = (0..200)
            .flat_map(|topic| (0..100).map(move |_| topic))
            .filter(|topic| holes.note(format!("t/{topic}").as_bytes(), Swallowed::Undelivered, AT_MS).is_some());
        assert_eq!(said.count(), 1);
    }
}
