//! What every shard has to know of the sessions of all others, by slot: under which number a session is kept, and whether its
//! queue is full. Read for each target of a message, so it takes no lock, and no space in the router.

use crate::store::SessionNumber;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Slots of the first chunk; each further one is as large as all before it.
const FIRST: u32 = 1024;
const CHUNKS: usize = 23;
const FULL: u64 = 1 << 63;
const OVER: u64 = 1 << 62;
const ROOM: u64 = FULL | OVER;

/// How full a queue is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Room {
    Free,
    /// It holds as much as it should.
    Full,
    /// What is under way is all that it can still take.
    Over,
}

/// The sessions of one shard. Only that shard writes.
#[derive(Debug, Default)]
pub struct Roll {
    chunks: [OnceLock<Box<[AtomicU64]>>; CHUNKS],
}

/// The chunk of a slot, the chunk's length, and the place in it.
fn place(slot: u32) -> (usize, usize, usize) {
    if slot < FIRST {
        return (0, FIRST as usize, slot as usize);
    }
    let order = slot.ilog2();
    ((order - FIRST.ilog2()) as usize + 1, 1 << order, (slot - (1 << order)) as usize)
}

impl Roll {
    fn get(&self, slot: u32) -> u64 {
        let (chunk, _, at) = place(slot);
        let entry = self.chunks.get(chunk).and_then(OnceLock::get).and_then(|chunk| chunk.get(at));
        entry.map_or(0, |entry| entry.load(Ordering::Acquire))
    }

    fn change(&self, slot: u32, change: impl Fn(u64) -> u64) {
        let (chunk, len, at) = place(slot);
        let Some(chunk) = self.chunks.get(chunk) else { return };
        let chunk = chunk.get_or_init(|| (0..len).map(|_| AtomicU64::new(0)).collect());
        if let Some(entry) = chunk.get(at) {
            entry.store(change(entry.load(Ordering::Relaxed)), Ordering::Release);
        }
    }

    /// The number under which the session in a slot is kept; `None`: it is not, or there is none.
    pub fn session(&self, slot: u32) -> Option<SessionNumber> {
        Some(self.get(slot) & !ROOM).filter(|number| *number != 0).map(SessionNumber)
    }

    /// How full the queue of the session in a slot is.
    pub fn room(&self, slot: u32) -> Room {
        match self.get(slot) & ROOM {
            0 => Room::Free,
            FULL => Room::Full,
            _ => Room::Over,
        }
    }

    pub fn set_session(&self, slot: u32, session: Option<SessionNumber>) {
        self.change(slot, |entry| entry & ROOM | session.map_or(0, |session| session.0));
    }

    pub fn set_room(&self, slot: u32, room: Room) {
        let bits = match room {
            Room::Free => 0,
            Room::Full => FULL,
            Room::Over => ROOM,
        };
        self.change(slot, |entry| entry & !ROOM | bits);
    }

    /// Nobody is in the slot.
    pub fn clear(&self, slot: u32) {
        if self.get(slot) != 0 {
            self.change(slot, |_| 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_has_a_place_of_its_own() {
        let roll = Roll::default();
        let slots = [0, 1, 1023, 1024, 1025, 2047, 2048, 4095, 100_000];
        let room = |n| [Room::Free, Room::Full, Room::Over][n % 3];
        for (n, slot) in slots.into_iter().enumerate() {
            assert_eq!((roll.session(slot), roll.room(slot)), (None, Room::Free));
            roll.set_session(slot, Some(SessionNumber(n as u64 + 1)));
            roll.set_room(slot, room(n));
        }
        for (n, slot) in slots.into_iter().enumerate() {
            assert_eq!((roll.session(slot), roll.room(slot)), (Some(SessionNumber(n as u64 + 1)), room(n)));
        }
        roll.set_session(1024, None);
        assert_eq!((roll.session(1024), roll.room(1024)), (None, room(3)));
        roll.clear(0);
        assert_eq!(roll.session(0), None);
        let (chunk, len, at) = place(u32::MAX);
        assert!(chunk < CHUNKS && at < len);
    }
}
