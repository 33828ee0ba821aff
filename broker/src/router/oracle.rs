//! For the tests of this folder: dice with a printed seed, and topics and filters over so small an alphabet that they
//! meet.

use super::{Subscriber, Subscription};
use candor_protocol::packet::{Qos, TopicFilter};
use std::hash::{BuildHasher, RandomState};

/// Runs a case with the seeds 0 to `count` (or as many as the variable `CANDOR_SEEDS` says) and a fresh one; or only with the
/// seed in the variable `CANDOR_SEED`. The seed is printed, so it stands above the failure.
pub(super) fn for_seeds(count: u64, case: impl Fn(&mut Dice)) {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number of 64 bits"));
    let seeds: Vec<u64> = match number("CANDOR_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("CANDOR_SEEDS").unwrap_or(count)).chain([RandomState::new().hash_one(0)]).collect(),
    };
    for seed in seeds {
        println!("CANDOR_SEED={seed}");
        case(&mut Dice(seed));
    }
}

/// SplitMix64.
pub(super) struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// 0 to `end`, without `end`.
    pub(super) fn below(&mut self, end: u32) -> u32 {
        (self.roll() % u64::from(end.max(1))) as u32
    }

    pub(super) fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len() as u32) as usize]
    }

    pub(super) fn subscriber(&mut self) -> Subscriber {
        Subscriber { shard: self.below(3) as u16, slot: self.below(4) }
    }

    pub(super) fn subscription(&mut self) -> Subscription {
        let qos = Qos::ALL[self.below(3) as usize];
        Subscription { qos, no_local: self.below(2) == 0, retain_as_published: self.below(2) == 0, unordered: self.below(2) == 0 }
    }

    /// A topic name of 1 to 5 levels, empty ones, neighbours of `/` and `$` among them.
    pub(super) fn topic(&mut self) -> String {
        let len = 1 + self.below(5);
        let levels: Vec<_> = (0..len).map(|at| self.level(at)).collect();
        // A topic name has at least one character.
        Some(levels.join("/")).filter(|topic| !topic.is_empty()).unwrap_or_else(|| "a".to_owned())
    }

    /// A pattern that often matches what [`Dice::topic`] makes.
    pub(super) fn pattern(&mut self) -> String {
        let len = 1 + self.below(5);
        let mut levels: Vec<_> = (0..len).map(|at| if self.below(3) == 0 { "+" } else { self.level(at) }).collect();
        if self.below(3) == 0 {
            levels.push("#");
        }
        match levels.join("/") {
            empty if empty.is_empty() => "#".to_owned(),
            // A plain filter must not look like a shared one.
            pattern => pattern,
        }
    }

    pub(super) fn filter(&mut self) -> TopicFilter {
        TopicFilter::new(self.pattern()).expect("a valid filter")
    }

    fn level(&mut self, at: u32) -> &'static str {
        match at {
            0 => self.pick(&["a", "b", "", "$", "$s", "%", "a!"]),
            // A level of 40 bytes does not fit into a node.
            _ => self.pick(&["a", "b", "", "ab", "a!", "a0", "a-level-that-is-longer-than-a-node-holds"]),
        }
    }
}
