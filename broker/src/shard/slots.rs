//! The sessions of a shard by slot. Other shards name a session by its slot, and a message for one may still be under way
//! when the session ends: a slot is given to another session only after a time in which everything under way has arrived,
//! so that nobody gets what was meant for somebody else.

use super::client::Client;
use std::collections::VecDeque;

/// How long a slot stays unused. What is under way between two shards arrives within a turn or a few.
const REST_MS: u64 = 60_000;

#[derive(Debug, Default)]
pub struct Slots {
    places: Vec<Option<Box<Client>>>,
    /// Slots that are free, with the time since when; the oldest first.
    free: VecDeque<(u64, u32)>,
    len: usize,
}

impl Slots {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn get(&self, slot: u32) -> Option<&Client> {
        self.places.get(slot as usize)?.as_deref()
    }

    pub fn get_mut(&mut self, slot: u32) -> Option<&mut Client> {
        self.places.get_mut(slot as usize)?.as_deref_mut()
    }

    pub fn insert(&mut self, client: Client, now_ms: u64) -> u32 {
        self.len += 1;
        let rested = self.free.front().filter(|(since_ms, _)| now_ms.saturating_sub(*since_ms) >= REST_MS);
        if let Some((_, slot)) = rested.copied() {
            self.free.pop_front();
            if let Some(place) = self.places.get_mut(slot as usize) {
                *place = Some(Box::new(client));
                return slot;
            }
        }
        self.places.push(Some(Box::new(client)));
        (self.places.len() - 1) as u32
    }

    pub fn remove(&mut self, slot: u32, now_ms: u64) -> Option<Client> {
        let client = self.places.get_mut(slot as usize)?.take()?;
        self.len -= 1;
        self.free.push_back((now_ms, slot));
        Some(*client)
    }
}
