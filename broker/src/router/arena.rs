//! Values that are named by a number of 32 bits, in pages: half the size of a pointer, no allocation for each, and
//! growing never moves what is there. A page without a value goes back to the allocator.

use std::collections::BTreeSet;
use std::ops::{Index, IndexMut};

const PAGE_BITS: u32 = 7;
const PAGE_LEN: usize = 1 << PAGE_BITS;

#[derive(Debug)]
pub(super) struct Arena<T> {
    /// [`PAGE_LEN`] values each, or none where no value of the page is in use.
    pages: Vec<Box<[T]>>,
    /// For every page, a bit for each value in use.
    used: Vec<u128>,
    /// The pages with room. The lowest is filled first, so that the higher ones can become empty.
    open: BTreeSet<u32>,
    pages_in_use: usize,
}

impl<T: Default> Arena<T> {
    pub(super) fn new() -> Self {
        Self { pages: Vec::new(), used: Vec::new(), open: BTreeSet::new(), pages_in_use: 0 }
    }

    /// Keeps the value; its number stays until [`Arena::remove`] and is given to another one later.
    pub(super) fn insert(&mut self, value: T) -> u32 {
        let page = match self.open.first() {
            Some(&page) => page as usize,
            None => self.add_page(),
        };
        if self.used[page] == 0 {
            self.pages[page] = (0..PAGE_LEN).map(|_| T::default()).collect();
            self.pages_in_use += 1;
        }
        let slot = self.used[page].trailing_ones() as usize;
        self.used[page] |= 1 << slot;
        if self.used[page] == u128::MAX {
            self.open.remove(&(page as u32));
        }
        self.pages[page][slot] = value;
        (page << PAGE_BITS | slot) as u32
    }

    fn add_page(&mut self) -> usize {
        let page = self.pages.len();
        self.pages.push(Box::default());
        self.used.push(0);
        self.open.insert(page as u32);
        page
    }

    /// Takes the value out. The number must be one in use.
    pub(super) fn remove(&mut self, id: u32) -> T {
        let (page, slot) = place(id);
        let value = std::mem::take(&mut self.pages[page][slot]);
        self.used[page] &= !(1 << slot);
        self.open.insert(page as u32);
        if self.used[page] == 0 {
            self.pages[page] = Box::default();
            self.pages_in_use -= 1;
            self.drop_last_pages();
        }
        value
    }

    /// The value with this number, if it is in use.
    pub(super) fn get(&self, id: u32) -> Option<&T> {
        let (page, slot) = place(id);
        let used = self.used.get(page).is_some_and(|used| used >> slot & 1 == 1);
        used.then(|| &self.pages[page][slot])
    }

    fn drop_last_pages(&mut self) {
        while self.used.last() == Some(&0) {
            self.used.pop();
            self.pages.pop();
            self.open.remove(&(self.pages.len() as u32));
        }
        if self.pages.capacity() >= 4 * self.pages.len().max(4) {
            self.pages.shrink_to(2 * self.pages.len());
            self.used.shrink_to(2 * self.used.len());
        }
    }

    /// Bytes of the pages.
    pub(super) fn page_bytes(&self) -> usize {
        self.pages_in_use * PAGE_LEN * size_of::<T>()
    }

    /// Bytes on the heap, without what the values own there.
    pub(super) fn heap_bytes(&self) -> usize {
        self.page_bytes() + self.pages.capacity() * size_of::<Box<[T]>>() + self.used.capacity() * size_of::<u128>()
    }
}

fn place(id: u32) -> (usize, usize) {
    ((id >> PAGE_BITS) as usize, id as usize % PAGE_LEN)
}

impl<T> Index<u32> for Arena<T> {
    type Output = T;

    #[inline]
    fn index(&self, id: u32) -> &T {
        let (page, slot) = place(id);
        &self.pages[page][slot]
    }
}

impl<T> IndexMut<u32> for Arena<T> {
    #[inline]
    fn index_mut(&mut self, id: u32) -> &mut T {
        let (page, slot) = place(id);
        &mut self.pages[page][slot]
    }
}

#[cfg(test)]
impl<T: Default> Arena<T> {
    /// How many values are in use.
    pub(super) fn len(&self) -> usize {
        self.used.iter().map(|used| used.count_ones() as usize).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::super::oracle::for_seeds;
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn a_number_names_its_value_until_it_is_removed() {
        for_seeds(4, |dice| {
            let (mut arena, mut model) = (Arena::<String>::new(), BTreeMap::new());
            for step in 0..5_000 {
                if dice.below(10) < if step < 2_500 { 7 } else { 3 } {
                    let value = step.to_string();
                    assert_eq!(model.insert(arena.insert(value.clone()), value), None);
                } else if let Some((&id, _)) = model.range(dice.below(2_500)..).next() {
                    assert_eq!(Some(arena.remove(id)), model.remove(&id));
                    assert_eq!(arena.get(id), None);
                }
            }
            assert_eq!(arena.len(), model.len());
            assert!(model.iter().all(|(&id, value)| &arena[id] == value && arena.get(id) == Some(value)));
            assert_eq!(arena.pages_in_use, arena.used.iter().filter(|&&used| used != 0).count());
        });
    }

    #[test]
    fn pages_without_a_value_go_back() {
        let mut arena = Arena::<u64>::new();
        let ids: Vec<_> = (0..100_000).map(|value| arena.insert(value)).collect();
        let full = arena.heap_bytes();
        assert!(full < 9 * ids.len(), "{full}");
        for &id in &ids[1_000..] {
            arena.remove(id);
        }
        assert!(arena.heap_bytes() < full / 50, "{} of {full} bytes for one value in a hundred", arena.heap_bytes());
        for &id in &ids[..1_000] {
            arena.remove(id);
        }
        assert_eq!(arena.len(), 0);
        assert!(arena.heap_bytes() < 1_024, "{} bytes for nothing", arena.heap_bytes());
    }

    #[test]
    fn low_numbers_are_given_first_so_that_high_pages_empty() {
        let mut arena = Arena::<u64>::new();
        let ids: Vec<_> = (0..1_000).map(|value| arena.insert(value)).collect();
        arena.remove(ids[900]);
        arena.remove(ids[3]);
        assert_eq!(arena.insert(0), ids[3]);
    }
}
