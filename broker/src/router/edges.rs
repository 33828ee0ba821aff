//! From a hash to a node: one table for the literal children of all nodes, eight bytes a slot.
//!
//! It is cut into segments by the first bits of the hash, and each grows by itself, so that no single subscribe pays
//! for moving a million entries. Within a segment: open addressing, linear probing, the hash kept beside the node so
//! that neither growing nor passing over a stranger touches a node.

use std::hint::black_box;

/// A power of two.
const SEGMENTS: usize = 256;
const SLOTS_MIN: usize = 8;
const EMPTY: u64 = 0;

#[derive(Debug)]
pub(super) struct Edges {
    segments: Box<[Segment]>,
}

#[derive(Debug, Default)]
struct Segment {
    /// The lower half of the hash above the node, or [`EMPTY`]; as many as a power of two, or none.
    slots: Vec<u64>,
    len: usize,
}

impl Edges {
    pub(super) fn new() -> Self {
        Self { segments: (0..SEGMENTS).map(|_| Segment::default()).collect() }
    }

    /// The node under `hash` for which `is_it` is true.
    // A call is a good part of what a search costs.
    #[inline(always)]
    pub(super) fn find(&self, hash: u64, is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let segment = &self.segments[segment_of(hash)];
        segment.place(hash as u32, is_it).map(|at| segment.slots[at] as u32)
    }

    /// Reads where the search for this hash begins, so that it is in the cache when that comes.
    #[inline]
    pub(super) fn touch(&self, hash: u64) {
        let slots = &self.segments[segment_of(hash)].slots;
        if let Some(mask) = slots.len().checked_sub(1) {
            black_box(slots[hash as u32 as usize & mask]);
        }
    }

    /// `node` is not 0 and not in the table.
    pub(super) fn insert(&mut self, hash: u64, node: u32) {
        self.segments[segment_of(hash)].insert(hash as u32, node);
    }

    /// Puts `new` where `old` is.
    pub(super) fn replace(&mut self, hash: u64, old: u32, new: u32) {
        let segment = &mut self.segments[segment_of(hash)];
        if let Some(at) = segment.place(hash as u32, |node| node == old) {
            segment.slots[at] = slot_of(hash as u32, new);
        }
    }

    pub(super) fn remove(&mut self, hash: u64, node: u32) {
        self.segments[segment_of(hash)].remove(hash as u32, node);
    }

    /// Bytes on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        let slots: usize = self.segments.iter().map(|segment| segment.slots.capacity()).sum();
        slots * size_of::<u64>() + SEGMENTS * size_of::<Segment>()
    }
}

fn segment_of(hash: u64) -> usize {
    (hash >> 56) as usize % SEGMENTS
}

fn slot_of(tag: u32, node: u32) -> u64 {
    u64::from(tag) << 32 | u64::from(node)
}

impl Segment {
    #[inline(always)]
    fn place(&self, tag: u32, mut is_it: impl FnMut(u32) -> bool) -> Option<usize> {
        let mask = self.slots.len().checked_sub(1)?;
        let mut at = tag as usize & mask;
        loop {
            let slot = self.slots[at];
            if slot == EMPTY {
                return None;
            }
            if (slot >> 32) as u32 == tag && is_it(slot as u32) {
                return Some(at);
            }
            at = (at + 1) & mask;
        }
    }

    fn insert(&mut self, tag: u32, node: u32) {
        // At most three quarters full: a probe then passes over few strangers.
        if (self.len + 1) * 4 > self.slots.len() * 3 {
            self.resize((self.slots.len() * 2).max(SLOTS_MIN));
        }
        self.put(slot_of(tag, node));
        self.len += 1;
    }

    fn put(&mut self, slot: u64) {
        let mask = self.slots.len() - 1;
        let mut at = (slot >> 32) as usize & mask;
        while self.slots[at] != EMPTY {
            at = (at + 1) & mask;
        }
        self.slots[at] = slot;
    }

    fn remove(&mut self, tag: u32, node: u32) {
        let Some(mut hole) = self.place(tag, |other| other == node) else { return };
        let mask = self.slots.len() - 1;
        // Whoever was pushed past the hole moves up into it, so that no probe ends there too early.
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let slot = self.slots[at];
            if slot == EMPTY {
                break;
            }
            let wanted = (slot >> 32) as usize & mask;
            if at.wrapping_sub(wanted) & mask >= at.wrapping_sub(hole) & mask {
                self.slots[hole] = slot;
                hole = at;
            }
        }
        self.slots[hole] = EMPTY;
        self.len -= 1;
        if self.len == 0 {
            self.slots = Vec::new();
        } else if self.len * 8 < self.slots.len() && self.slots.len() > SLOTS_MIN {
            self.resize(self.slots.len() / 2);
        }
    }

    fn resize(&mut self, slots: usize) {
        let old = std::mem::replace(&mut self.slots, vec![EMPTY; slots]);
        for slot in old.into_iter().filter(|&slot| slot != EMPTY) {
            self.put(slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::oracle::for_seeds;
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn an_edge_is_found_until_it_is_removed_whatever_its_neighbours_do() {
        for_seeds(8, |dice| {
            let (mut edges, mut model) = (Edges::new(), BTreeMap::<u32, u64>::new());
            // Few segments and few tags: long rows of neighbours.
            let tags = [3, 50, 100_000][dice.below(3) as usize];
            for step in 1..6_000u32 {
                if dice.below(10) < if step < 3_000 { 7 } else { 3 } {
                    let hash = u64::from(dice.below(2)) << 56 | u64::from(dice.below(tags));
                    edges.insert(hash, step);
                    model.insert(step, hash);
                } else if let Some((&node, &hash)) = model.range(dice.below(step)..).next() {
                    match dice.below(3) {
                        0 => {
                            edges.replace(hash, node, node + 1_000_000);
                            edges.replace(hash, node + 1_000_000, node);
                        }
                        _ => {
                            edges.remove(hash, node);
                            model.remove(&node);
                            assert_eq!(edges.find(hash, |other| other == node), None);
                        }
                    }
                }
            }
            for (&node, &hash) in &model {
                assert_eq!(edges.find(hash, |other| other == node), Some(node));
            }
            assert_eq!(edges.segments.iter().map(|segment| segment.len).sum::<usize>(), model.len());
        });
    }

    #[test]
    fn the_table_shrinks_with_what_it_holds() {
        let mut edges = Edges::new();
        let empty = edges.heap_bytes();
        let hash = |node: u32| u64::from(node).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (1..=100_000).for_each(|node| edges.insert(hash(node), node));
        let full = edges.heap_bytes();
        assert!(full < empty + 22 * 100_000, "{full}");
        (1..=98_000).for_each(|node| edges.remove(hash(node), node));
        assert!(edges.heap_bytes() < empty + full / 10, "{}", edges.heap_bytes());
        (98_001..=100_000).for_each(|node| edges.remove(hash(node), node));
        assert_eq!(edges.heap_bytes(), empty);
    }
}
