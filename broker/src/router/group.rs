//! One shared group: its members on numbered seats in a ring, and whose turn it is.
//!
//! A turn goes to the next available seat behind the one that was served last. Seats do not move when others join, leave or
//! become unavailable, so whatever comes and goes, nobody who stays is passed over or served twice in a round. (A counter
//! modulo the number of members would jump with every change, and can favour the same member again and again.)

use super::entry::Entry;
use super::{Subscriber, Subscription};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

#[derive(Debug, Default)]
pub(super) struct Group {
    name: Box<str>,
    /// Distinguishes the groups that have had the same place in memory.
    pub(super) number: u32,
    /// The member on each seat. Seats that became free are taken again, the lowest first.
    members: Vec<Option<Entry>>,
    rows: Vec<Row>,
    /// No row in front of this one has a free seat.
    row_with_room: usize,
    /// Where each member sits, if there is more than one row: one row is looked through as fast.
    seats: BTreeMap<Subscriber, u32>,
    /// The seat from which the next turn looks on.
    cursor: AtomicU32,
}

/// A bit each for 64 seats.
#[derive(Debug, Default)]
struct Row {
    taken: u64,
    available: AtomicU64,
}

const ROW_LEN: usize = 64;

impl Group {
    pub(super) fn new(name: &str, number: u32) -> Self {
        Self { name: name.into(), number, ..Self::default() }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(super) fn subscription(&self, subscriber: Subscriber) -> Option<Subscription> {
        self.members[self.seat_of(subscriber)?].map(Entry::subscription)
    }

    fn seat_of(&self, subscriber: Subscriber) -> Option<usize> {
        match self.rows.len() {
            0 | 1 => self.members.iter().position(|member| member.is_some_and(|entry| entry.subscriber() == subscriber)),
            _ => self.seats.get(&subscriber).map(|&seat| seat as usize),
        }
    }

    /// Seats the member, available; or gives it new options where it sits. Whether it was a member.
    pub(super) fn put(&mut self, subscriber: Subscriber, subscription: Subscription) -> bool {
        let entry = Entry::new(subscriber, subscription);
        if let Some(seat) = self.seat_of(subscriber) {
            self.members[seat] = Some(entry);
            return true;
        }
        let seat = self.free_seat();
        let (row, bit) = place(seat);
        self.rows[row].taken |= bit;
        *self.rows[row].available.get_mut() |= bit;
        match self.members.get_mut(seat) {
            Some(free) => *free = Some(entry),
            None => self.members.push(Some(entry)),
        }
        match self.rows.len() {
            1 => {}
            2 if self.seats.is_empty() => self.note_seats(),
            // More than 2^32 members do not fit into any memory.
            _ => _ = self.seats.insert(subscriber, seat as u32),
        }
        false
    }

    fn note_seats(&mut self) {
        let members = self.members.iter().zip(0..);
        self.seats = members.filter_map(|(member, seat)| member.map(|entry| (entry.subscriber(), seat))).collect();
    }

    fn free_seat(&mut self) -> usize {
        while self.rows.get(self.row_with_room).is_some_and(|row| row.taken == u64::MAX) {
            self.row_with_room += 1;
        }
        if self.row_with_room == self.rows.len() {
            if self.rows.is_empty() {
                // Most groups have one row.
                self.rows.reserve_exact(1);
            }
            self.rows.push(Row::default());
        }
        self.row_with_room * ROW_LEN + self.rows[self.row_with_room].taken.trailing_ones() as usize
    }

    /// Whether the subscriber was a member.
    pub(super) fn remove(&mut self, subscriber: Subscriber) -> bool {
        let Some(seat) = self.seat_of(subscriber) else { return false };
        self.seats.remove(&subscriber);
        let (row, bit) = place(seat);
        self.rows[row].taken &= !bit;
        *self.rows[row].available.get_mut() &= !bit;
        self.members[seat] = None;
        self.row_with_room = self.row_with_room.min(row);
        self.drop_last_rows();
        true
    }

    fn drop_last_rows(&mut self) {
        while self.rows.last().is_some_and(|row| row.taken == 0) {
            self.rows.pop();
        }
        self.members.truncate(self.rows.len() * ROW_LEN);
        if self.rows.len() < 2 {
            self.seats.clear();
        }
        self.row_with_room = self.row_with_room.min(self.rows.len());
        if self.members.capacity() >= 4 * self.members.len() {
            self.members.shrink_to(2 * self.members.len());
            self.rows.shrink_to(2 * self.rows.len());
        }
    }

    /// Whether the subscriber is a member.
    pub(super) fn set_available(&self, subscriber: Subscriber, available: bool) -> bool {
        let Some(seat) = self.seat_of(subscriber) else { return false };
        let (row, bit) = place(seat);
        let bits = &self.rows[row].available;
        if available {
            bits.fetch_or(bit, Relaxed)
        } else {
            bits.fetch_and(!bit, Relaxed)
        };
        true
    }

    /// The member whose turn it is, as if those in `avoid` were no members: an available one, or any if none is available.
    pub(super) fn pick(&self, avoid: &[Subscriber]) -> Option<Entry> {
        self.pick_available(avoid).or_else(|| self.turn(avoid, |row| row.taken))
    }

    /// As [`Group::pick`], of the available ones alone.
    pub(super) fn pick_available(&self, avoid: &[Subscriber]) -> Option<Entry> {
        self.turn(avoid, |row| row.available.load(Relaxed))
    }

    fn turn(&self, avoid: &[Subscriber], wanted: impl Fn(&Row) -> u64) -> Option<Entry> {
        let mut from = self.cursor.load(Relaxed);
        loop {
            let (seat, entry) = self.next_from(from as usize, avoid, &wanted)?;
            // Another thread may have had a turn meanwhile: then this seat is served, and the next is looked for.
            match self.cursor.compare_exchange_weak(from, seat as u32 + 1, Relaxed, Relaxed) {
                Ok(_) => return Some(entry),
                Err(moved) => from = moved,
            }
        }
    }

    /// The first wanted seat from `from` on, once round the ring.
    fn next_from(&self, from: usize, avoid: &[Subscriber], wanted: impl Fn(&Row) -> u64) -> Option<(usize, Entry)> {
        let rows = self.rows.len();
        // The last seats may have gone since the last turn.
        let from = if from < rows * ROW_LEN { from } else { 0 };
        let (first, behind) = (from / ROW_LEN, !0 << (from % ROW_LEN));
        for step in 0..=rows {
            let row = (first + step) % rows.max(1);
            let seats = match step {
                0 => behind,
                // Round the ring, and back in the first row: what is in front of `from`.
                _ if step == rows => !behind,
                _ => !0,
            };
            let mut bits = wanted(self.rows.get(row)?) & seats;
            while bits != 0 {
                let seat = row * ROW_LEN + bits.trailing_zeros() as usize;
                if let Some(Some(entry)) = self.members.get(seat)
                    && !avoid.contains(&entry.subscriber())
                {
                    return Some((seat, *entry));
                }
                bits &= bits - 1;
            }
        }
        None
    }
}

/// The row of a seat, and its bit there.
fn place(seat: usize) -> (usize, u64) {
    (seat / ROW_LEN, 1 << (seat % ROW_LEN))
}

#[cfg(test)]
mod tests {
    use super::super::oracle::for_seeds;
    use super::*;
    use std::collections::BTreeSet;

    fn somebody(slot: u32) -> Subscriber {
        Subscriber { shard: 0, slot }
    }

    fn group_of(count: u32) -> Group {
        let mut group = Group::new("g", 0);
        (0..count).for_each(|slot| assert!(!group.put(somebody(slot), Subscription::default())));
        group
    }

    fn turn(group: &Group) -> u32 {
        group.pick(&[]).expect("a member").subscriber().slot
    }

    #[test]
    fn members_take_turns() {
        let group = group_of(3);
        assert_eq!([(); 7].map(|()| turn(&group)), [0, 1, 2, 0, 1, 2, 0]);
    }

    #[test]
    fn who_is_not_available_is_passed_over_until_nobody_is() {
        let group = group_of(3);
        group.set_available(somebody(1), false);
        assert_eq!([(); 4].map(|()| turn(&group)), [0, 2, 0, 2]);
        group.set_available(somebody(0), false);
        assert_eq!([(); 2].map(|()| turn(&group)), [2, 2]);
        group.set_available(somebody(2), false);
        assert_eq!([(); 3].map(|()| turn(&group)), [0, 1, 2]);
        group.set_available(somebody(1), true);
        assert_eq!([(); 2].map(|()| turn(&group)), [1, 1]);
    }

    #[test]
    fn a_member_that_comes_and_goes_does_not_shift_the_turns_of_the_others() {
        let group = group_of(3);
        let mut served = [0u32; 3];
        for round in 0..300 {
            group.set_available(somebody(2), round % 2 == 0);
            served[turn(&group) as usize] += 1;
        }
        assert!(served[0].abs_diff(served[1]) <= 1, "{served:?}");
        assert!(served[2] > 0 && served[2] <= served[0], "{served:?}");
    }

    #[test]
    fn where_only_an_available_member_will_do_nobody_else_is_picked() {
        let group = group_of(3);
        group.set_available(somebody(1), false);
        let pick = |avoid: &[u32]| {
            let avoid: Vec<_> = avoid.iter().map(|&slot| somebody(slot)).collect();
            group.pick_available(&avoid).map(|entry| entry.subscriber().slot)
        };
        assert_eq!([pick(&[]), pick(&[]), pick(&[0]), pick(&[0, 2])], [Some(0), Some(2), Some(2), None]);
    }

    #[test]
    fn who_is_to_be_avoided_is_as_if_it_were_no_member() {
        let group = group_of(3);
        let pick = |avoid: &[u32]| {
            let avoid: Vec<_> = avoid.iter().map(|&slot| somebody(slot)).collect();
            group.pick(&avoid).map(|entry| entry.subscriber().slot)
        };
        assert_eq!([pick(&[0]), pick(&[2]), pick(&[0, 1]), pick(&[0, 1, 2])], [Some(1), Some(0), Some(2), None]);
        // The only available one is to be avoided: one that is not available is better than none.
        group.set_available(somebody(1), false);
        group.set_available(somebody(2), false);
        assert_eq!([pick(&[0]), pick(&[0])], [Some(1), Some(2)]);
    }

    #[test]
    fn everybody_who_stays_is_served_once_a_round_whoever_joins_and_leaves() {
        for_seeds(20, |dice| {
            let staying = 1 + dice.below(150);
            let mut group = group_of(staying);
            let mut served = vec![0i64; staying as usize];
            for _ in 0..3_000 {
                let guest = somebody(1_000 + dice.below(100));
                match dice.below(4) {
                    0 => group.put(guest, Subscription::default()),
                    1 => group.remove(guest),
                    2 => group.set_available(guest, dice.below(2) == 0),
                    _ => false,
                };
                if let Some(count) = served.get_mut(turn(&group) as usize) {
                    *count += 1;
                }
            }
            let (least, most) = (served.iter().min(), served.iter().max());
            assert!(most.zip(least).is_some_and(|(most, least)| most - least <= 1), "{served:?}");
        });
    }

    #[test]
    fn turns_taken_by_several_threads_at_once_are_shared_out_evenly() {
        let group = group_of(100);
        let mut served = vec![0; 100];
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| (0..5_000).map(|_| turn(&group)).collect::<Vec<_>>())).collect();
            for slot in threads.into_iter().flat_map(|thread| thread.join().expect("picks")) {
                served[slot as usize] += 1;
            }
        });
        assert_eq!(served, vec![200; 100]);
    }

    #[test]
    fn every_member_is_known_however_the_group_grew_and_shrank() {
        for_seeds(10, |dice| {
            let (mut group, mut members) = (group_of(0), BTreeSet::new());
            for size in [200, 10, 63, 65, 64, 130, 1, 70, 0, 100] {
                while members.len() > size {
                    let slot = members.range(dice.below(1_000)..).chain(&members).next().copied().expect("a member");
                    assert!(members.remove(&slot) && group.remove(somebody(slot)));
                }
                while members.len() < size {
                    let slot = dice.below(1_000);
                    assert_eq!(group.put(somebody(slot), Subscription::default()), !members.insert(slot));
                }
                for slot in 0..1_000 {
                    assert_eq!(group.subscription(somebody(slot)).is_some(), members.contains(&slot));
                }
                assert_eq!(group.is_empty(), members.is_empty());
                let round: BTreeSet<_> = members.iter().map(|_| turn(&group)).collect();
                assert_eq!(round, members, "a round serves everybody once");
            }
        });
    }

    #[test]
    fn seats_are_used_again_and_given_back() {
        let mut group = group_of(10_000);
        assert!((0..10_000).filter(|slot| slot % 2 == 0).all(|slot| group.remove(somebody(slot))));
        assert!(!group.remove(somebody(0)));
        (20_000..25_000).for_each(|slot| assert!(!group.put(somebody(slot), Subscription::default())));
        assert_eq!(group.members.len(), 10_000);
        assert_eq!((0..25_000).filter(|&slot| group.remove(somebody(slot))).count(), 10_000);
        assert!(group.is_empty() && group.pick(&[]).is_none());
        assert_eq!((group.members.capacity(), group.rows.capacity()), (0, 0));
    }
}
