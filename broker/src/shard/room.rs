//! Queues that are full, where publishers learn of it: they are refused before anything is kept (see [`super::route`]), or their
//! acknowledgements wait here until there is room. Reading goes on: what holds a publisher back is its own window.

use super::Shard;
use super::keeping::Then;
use crate::router::Subscriber;
use candor_protocol::packet::Overflow;

/// An acknowledgement that waits for room.
#[derive(Debug)]
pub(super) struct Held {
    full: Vec<Subscriber>,
    then: Then,
}

impl Shard {
    /// Holds an acknowledgement until none of these queues is full.
    pub(super) fn hold(&mut self, full: Vec<Subscriber>, then: Then) {
        self.held.push(Held { full, then });
    }

    /// Says to all shards whether a session's queue is full.
    pub(super) fn note_room(&mut self, slot: u32) {
        if !self.tells_publishers() {
            return;
        }
        let is_full = self.clients.get(slot).is_some_and(|client| client.is_durable() && client.queue.is_full());
        let Some(roll) = self.shared.roll(self.index).filter(|roll| roll.is_full(slot) != is_full) else { return };
        roll.set_full(slot, is_full);
        self.has_room |= !is_full;
    }

    pub(super) fn tells_publishers(&self) -> bool {
        matches!(self.settings.queue.overflow, Overflow::RefusePublisher | Overflow::HoldBack)
    }

    /// Whether a queue of this shard has room again, so that others have to look; asked once a turn.
    pub fn take_room(&mut self) -> bool {
        let has_room = std::mem::take(&mut self.has_room);
        if has_room {
            self.look_for_room();
        }
        has_room
    }

    /// A queue somewhere has room again: what waited for it may go on.
    pub fn look_for_room(&mut self) {
        for held in std::mem::take(&mut self.held) {
            let is_full = |subscriber: &Subscriber| self.shared.roll(subscriber.shard).is_some_and(|roll| roll.is_full(subscriber.slot));
            match held.full.iter().any(is_full) {
                true => self.held.push(held),
                false => self.keeper.then(held.then),
            }
        }
        self.release();
    }
}
