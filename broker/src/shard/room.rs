//! Queues that are full, where publishers learn of it: they are refused before anything is kept (see [`super::route`]), or their
//! acknowledgements wait here until there is room. Reading goes on: what holds a publisher back is its own window.

use super::Shard;
use super::keeping::Then;
use super::roll::Room;
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
        let client = self.clients.get(slot).filter(|client| client.is_durable());
        let room = client.map_or(Room::Free, |client| client.queue.room());
        let Some(roll) = self.shared.roll(self.index) else { return };
        let before = roll.room(slot);
        if before != room {
            roll.set_room(slot, room);
            self.has_room |= before > Room::Free && room == Room::Free;
        }
    }

    /// Whether a queue is full, or worse.
    pub(super) fn room(&self, subscriber: Subscriber) -> Room {
        self.shared.roll(subscriber.shard).map_or(Room::Free, |roll| roll.room(subscriber.slot))
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
            match held.full.iter().any(|subscriber| self.room(*subscriber) > Room::Free) {
                true => self.held.push(held),
                false => self.keeper.then(held.then),
            }
        }
        self.release();
    }
}
