//! What stands under packet identifiers that the peer chooses. Almost every peer counts upwards, so what it has open lies close
//! together: that is found by its distance from the first. A peer may choose as it likes, though; what lies further off stands in a
//! tree.

use crate::packet::id::PacketId;
use std::collections::{BTreeMap, VecDeque};
use std::hash::{Hash, Hasher};

/// The most places beside each other: what few identifiers can make the ring take, however far apart they are.
const SPAN_MAX: usize = 256;

/// Most peers have none open: then it is a pointer.
#[derive(Debug, Clone)]
pub(super) struct ById<T>(Option<Box<Places<T>>>);

#[derive(Debug, Clone)]
struct Places<T> {
    /// The identifier of the first place.
    first: u16,
    /// It does not begin with an empty place. The one of 0, which is no identifier, is always empty.
    ring: VecDeque<Option<T>>,
    in_ring: usize,
    /// None of them stands in the ring as well.
    others: BTreeMap<PacketId, T>,
}

impl<T> Default for ById<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Default for Places<T> {
    fn default() -> Self {
        Self { first: 0, ring: VecDeque::new(), in_ring: 0, others: BTreeMap::new() }
    }
}

impl<T> Places<T> {
    #[inline]
    fn at(&self, id: PacketId) -> usize {
        usize::from(id.value().wrapping_sub(self.first))
    }

    #[inline]
    fn get(&self, id: PacketId) -> Option<&T> {
        match self.ring.get(self.at(id)) {
            Some(Some(value)) => Some(value),
            _ if self.others.is_empty() => None,
            _ => self.others.get(&id),
        }
    }

    #[inline]
    fn get_mut(&mut self, id: PacketId) -> Option<&mut T> {
        let at = self.at(id);
        match self.ring.get_mut(at) {
            Some(Some(value)) => Some(value),
            _ if self.others.is_empty() => None,
            _ => self.others.get_mut(&id),
        }
    }

    fn insert(&mut self, id: PacketId, value: T) {
        if let Some(there) = self.get_mut(id) {
            *there = value;
            return;
        }
        if self.ring.is_empty() {
            self.first = id.value();
        }
        let at = self.at(id);
        if at >= SPAN_MAX {
            self.others.insert(id, value);
            return;
        }
        while self.ring.len() <= at {
            self.ring.push_back(None);
        }
        if let Some(place) = self.ring.get_mut(at) {
            *place = Some(value);
            self.in_ring += 1;
        }
    }

    fn remove(&mut self, id: PacketId) -> Option<T> {
        let at = self.at(id);
        let Some(value) = self.ring.get_mut(at).and_then(Option::take) else { return self.others.remove(&id) };
        self.in_ring -= 1;
        while let Some(None) = self.ring.front() {
            self.ring.pop_front();
            self.first = self.first.wrapping_add(1);
        }
        Some(value)
    }

    fn iter(&self) -> impl Iterator<Item = (PacketId, &T)> {
        let first = self.first;
        let places = self.ring.iter().enumerate().filter_map(|(at, place)| Some((at, place.as_ref()?)));
        let ring = places.filter_map(move |(at, value)| Some((PacketId::new(first.wrapping_add(at as u16))?, value)));
        ring.chain(self.others.iter().map(|(id, value)| (*id, value)))
    }
}

impl<T> ById<T> {
    pub(super) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |places| places.in_ring + places.others.len())
    }

    #[inline]
    pub(super) fn get(&self, id: PacketId) -> Option<&T> {
        self.0.as_ref()?.get(id)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, id: PacketId) -> Option<&mut T> {
        self.0.as_mut()?.get_mut(id)
    }

    #[inline]
    pub(super) fn insert(&mut self, id: PacketId, value: T) {
        self.0.get_or_insert_default().insert(id, value);
    }

    #[inline]
    pub(super) fn remove(&mut self, id: PacketId) -> Option<T> {
        self.0.as_mut()?.remove(id)
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Gives the memory back if nothing is in it.
    pub(super) fn rest(&mut self) {
        if self.len() == 0 {
            self.clear();
        }
    }

    /// In no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (PacketId, &T)> {
        self.0.iter().flat_map(|places| places.iter())
    }

    /// In no order.
    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.0.iter_mut().flat_map(|places| places.ring.iter_mut().flatten().chain(places.others.values_mut()))
    }

    fn sorted(&self) -> BTreeMap<PacketId, &T> {
        self.iter().collect()
    }
}

/// Where something stands says nothing of it.
impl<T: PartialEq> PartialEq for ById<T> {
    fn eq(&self, other: &Self) -> bool {
        self.sorted() == other.sorted()
    }
}

impl<T: Eq> Eq for ById<T> {}

impl<T: Hash> Hash for ById<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.sorted().hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(value: u16) -> PacketId {
        PacketId::new(value).unwrap()
    }

    #[test]
    fn it_is_a_map_whatever_identifiers_a_peer_chooses() {
        for seed in 0..40u64 {
            println!("seed {seed}");
            let (mut by_id, mut expected, mut state) = (ById::default(), BTreeMap::new(), seed);
            let mut below = |end: u64| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) % end
            };
            // Upwards and around the end, in a few places, or anywhere.
            let mut next = 65_535 - below(600) as u16;
            for n in 0..4000u64 {
                let any = match (seed % 4, below(20)) {
                    (0, _) | (1, 1..) => next.wrapping_sub(below(100) as u16),
                    (2, _) => below(400) as u16,
                    _ => below(65_536) as u16,
                };
                let Some(any) = PacketId::new(any) else { continue };
                match below(3) {
                    0 => {
                        next = next.checked_add(1).unwrap_or(1);
                        by_id.insert(id(next), n);
                        expected.insert(id(next), n);
                    }
                    1 => {
                        by_id.insert(any, n);
                        expected.insert(any, n);
                    }
                    _ => assert_eq!(by_id.remove(any), expected.remove(&any)),
                }
                assert_eq!((by_id.get(any), by_id.len()), (expected.get(&any), expected.len()));
                assert_eq!(by_id.get_mut(any), expected.get_mut(&any));
                if let Some(places) = &by_id.0 {
                    assert!(places.ring.len() <= SPAN_MAX && !matches!(places.ring.front(), Some(None)));
                }
            }
            by_id.values_mut().chain(expected.values_mut()).for_each(|value| *value += 1);
            assert_eq!(by_id.sorted(), expected.iter().map(|(id, value)| (*id, value)).collect());
            let mut other = ById::default();
            expected.iter().rev().for_each(|(id, value)| other.insert(*id, *value));
            assert_eq!(other, by_id);
        }
    }

    #[test]
    fn a_peer_that_counts_upwards_needs_no_tree_and_leaves_nothing_behind() {
        let mut by_id = ById::default();
        for n in 1..=70_000u32 {
            let at = |n: u32| id(((n - 1) % 65_535 + 1) as u16);
            by_id.insert(at(n), n);
            if n > 100 {
                assert_eq!(by_id.remove(at(n - 100)), Some(n - 100));
            }
            assert!(by_id.0.as_ref().is_some_and(|places| places.others.is_empty()), "{n}");
        }
        for n in 69_901..=70_000 {
            by_id.remove(id((n - 65_535) as u16));
        }
        by_id.rest();
        assert!(by_id.0.is_none());
    }
}
