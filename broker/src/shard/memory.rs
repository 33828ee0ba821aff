//! `memory_limit`: what clients make grow, added up, and what happens when it is too much.
//!
//! | counted | where it grows |
//! | --- | --- |
//! | messages that wait in queues, of connected and of absent sessions, each in full although several may share it; of those that only the store holds, the references | `Shard::queue` |
//! | messages in flight, for each receiver | [`Shard::flushed`], and with the session when it is away |
//! | sessions: what each takes, its names, its topic filters | `Shard::count_session` |
//! | retained messages | [`super::publish`] |
//! | delivery reports that wait for outcomes | [`super::report`] |
//! | bytes of incomplete packets, in the transport too, and packets that wait to be read | [`Shard::receive`] |
//! | a CONNECT while somebody decides about it, the password that waits to be verified included | [`Shard::receive`] |
//! | connections: what each takes, and bytes that the kernel did not take | [`Shard::flushed`] |
//!
//! Counted is what it takes: of a message its place in a queue too, of a buffer all the room that it has. Not counted, because each has
//! a limit of its own by number: the ledger, quarantines. Nor is the program itself, nor what one turn makes before it is written, nor the
//! buffers that a shard keeps for that ([`crate::out::Spare`]), nor what the allocator has not given back to the system.
//!
//! Each shard adds up its own and writes the sum down after a turn; before a turn, at most once a millisecond unless its own has changed much, the sums of
//! all are compared with the limit: so it is overstepped by what comes within a turn. At the limit a PUBLISH above QoS 0 or with retain is refused and a new connection is told that the server is
//! busy, unless it comes back to its session; what would have to wait in a queue is lost as if that were full, and its subscriber is told of the gap. A message
//! of QoS 0 that can go at once goes. A packet that goes on growing although it is not complete is not waited for: its connection ends.

use super::{ConnectionKey, Shard, TransportBytes};
use candor_protocol::packet::{Problem, Reason, Refusal, Retry};
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};

/// How much of a packet that is not complete a connection may hold although the limit is reached: an ordinary one that TCP has split.
const INCOMPLETE_BYTES: usize = 4096;
/// What a connection takes for itself, its socket and its task included.
const CONNECTION_BYTES: usize = 1536;
/// What a session takes for itself, and each of its subscriptions beside the text of its filter.
const SESSION_BYTES: usize = 1024;
pub(super) const SUBSCRIPTION_BYTES: usize = 128;

/// The sums, in bytes.
#[derive(Debug, Default)]
pub struct Memory {
    /// One for each shard, which alone writes it.
    shards: RwLock<Vec<Arc<AtomicUsize>>>,
    pub(super) retained: AtomicUsize,
    is_full: AtomicBool,
}

/// What one shard has to count with.
#[derive(Debug)]
pub(super) struct Account {
    /// Bytes that clients of this shard make it keep.
    bytes: usize,
    own: Arc<AtomicUsize>,
    /// When that was last looked at, and what it was then.
    at_ms: u64,
    judged_bytes: usize,
    /// Whether all shards together are at the limit, as of the last turn.
    pub(super) is_full: bool,
}

impl Memory {
    pub(super) fn account(&self) -> Account {
        let own = Arc::new(AtomicUsize::new(0));
        self.shards.write().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&own));
        Account { bytes: 0, own, at_ms: 0, judged_bytes: 0, is_full: false }
    }

    /// All that is counted, in bytes.
    pub fn bytes(&self) -> usize {
        let shards = self.shards.read().unwrap_or_else(PoisonError::into_inner);
        shards.iter().map(|sum| sum.load(Ordering::Relaxed)).sum::<usize>() + self.retained.load(Ordering::Relaxed)
    }

    /// Whether `bytes` is too much. Once it was, it is until an eighth of the limit is free, so that it does not flicker.
    fn judge(&self, bytes: usize, limit: usize) -> bool {
        let was_full = self.is_full.load(Ordering::Relaxed);
        let is_full = bytes >= if was_full { limit - limit / 8 } else { limit };
        // Only the shard that changes it says so.
        if is_full != was_full && self.is_full.swap(is_full, Ordering::Relaxed) != is_full {
            match is_full {
                true => tracing::warn!(bytes, limit, "at memory_limit: publishes that may have to wait, and new connections, are refused"),
                false => tracing::info!(bytes, limit, "below memory_limit again"),
            }
        }
        is_full
    }
}

impl Account {
    /// Something that was counted as `before` bytes has `now` bytes.
    fn change(&mut self, before: &mut usize, now: usize) {
        self.bytes = self.bytes.saturating_sub(*before).saturating_add(now);
        *before = now;
    }

    /// Something is gone that was counted as so many bytes.
    pub(super) fn release(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

impl Shard {
    /// Counts a session as it is now: its queue, what is in flight while it is away, its names and filters.
    pub(super) fn count_session(&mut self, slot: u32) {
        if let Some(client) = self.clients.get_mut(slot) {
            let in_flight = client.parked.as_ref().map_or(0, |parked| parked.outbound.bytes());
            let names = client.id.len() + client.principal.len();
            let bytes = SESSION_BYTES + names + client.filter_bytes() + client.queue.near_bytes() + in_flight;
            self.account.change(&mut client.counted_bytes, bytes);
        }
    }

    /// Counts the reports of this shard's publishers as they are now.
    pub(super) fn count_reports(&mut self) {
        let bytes = self.reports.bytes();
        self.account.change(&mut self.reports.counted_bytes, bytes);
    }

    /// Counts a connection's buffers as they are now.
    pub(super) fn count_buffers(&mut self, key: ConnectionKey) {
        if let Some(connection) = self.connections.get_mut(key) {
            let TransportBytes { unread, unwritten } = connection.in_transport;
            let buffers = connection.out.memory() + connection.held_memory() + unread as usize + unwritten as usize;
            let bytes = CONNECTION_BYTES + buffers + connection.session.held_bytes();
            // Almost always there is as much as before.
            if connection.counted_bytes != bytes {
                self.account.change(&mut connection.counted_bytes, bytes);
            }
        }
    }

    /// Counts what waits in a connection's transport.
    pub fn count_transport(&mut self, key: ConnectionKey, waiting: TransportBytes) {
        if let Some(connection) = self.connections.get_mut(key)
            && connection.in_transport != waiting
        {
            connection.in_transport = waiting;
            self.count_buffers(key);
            self.bound_incomplete(key);
        }
    }

    /// At the limit, ends a connection whose incomplete packet grows: what it has sent is given back, and would be more.
    pub(super) fn bound_incomplete(&mut self, key: ConnectionKey) {
        if !self.account.is_full {
            return;
        }
        let Some(connection) = self.connections.get(key) else { return };
        let is_small = connection.held_len().max(connection.in_transport.unread as usize) <= INCOMPLETE_BYTES;
        // What is held because nothing is wanted now is complete, and is read when its turn comes.
        if is_small || connection.is_closing || connection.is_put_off || !connection.session.wants_frames() {
            return;
        }
        let Err(refusal) = self.check_memory() else { return };
        match connection.client {
            None => self.turn_away(key, &refusal),
            Some(_) => {
                self.end_connection(key, refusal);
                self.act(key);
            }
        }
        self.touch(key);
        self.count_buffers(key);
    }

    /// At the end of a turn, and when it was written: tells the others what is kept here.
    pub fn tell_bytes(&self) {
        self.account.own.store(self.account.bytes, Ordering::Relaxed);
    }

    /// At the beginning of a turn, at most once a millisecond unless much has changed here: looks whether all together are at the limit.
    pub(super) fn balance(&mut self) {
        let limit = self.settings.memory_limit;
        let is_other = || self.account.bytes.abs_diff(self.account.judged_bytes) > limit / 64;
        if limit < usize::MAX && (self.now.ms != self.account.at_ms || is_other()) {
            (self.account.at_ms, self.account.judged_bytes) = (self.now.ms, self.account.bytes);
            self.account.is_full = self.shared.memory.judge(self.shared.memory.bytes(), self.settings.memory_limit);
        }
    }

    /// # Errors
    /// The server is at its limit.
    pub(super) fn check_memory(&self) -> Result<(), Refusal> {
        if !self.account.is_full {
            return Ok(());
        }
        let (limit, seen) = (self.settings.memory_limit as u64, self.shared.memory.bytes() as u64);
        let problem = Problem::titled("the server keeps as much for its clients as it may").rule("memory_limit").limit(limit, seen);
        Err(Refusal::new(Reason::SERVER_BUSY, problem.retry(Retry::After { after_ms: 5000, jitter_ms: 10_000 })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_full_at_the_limit_and_until_an_eighth_is_free() {
        let memory = Memory::default();
        let judged = [79, 80, 79, 70, 69, 70, 80].map(|bytes| memory.judge(bytes, 80));
        assert_eq!(judged, [false, true, true, true, false, false, true]);
    }

    #[test]
    fn the_sums_of_all_shards_and_the_retained_messages_count_together() {
        let memory = Memory::default();
        let [mut one, mut two] = [memory.account(), memory.account()];
        let (mut first, mut second) = (0, 0);
        one.change(&mut first, 100);
        one.change(&mut first, 40);
        two.change(&mut second, 7);
        for account in [&one, &two] {
            account.own.store(account.bytes, Ordering::Relaxed);
        }
        memory.retained.store(1000, Ordering::Relaxed);
        assert_eq!(memory.bytes(), 1047);
        one.release(first);
        assert_eq!(one.bytes, 0);
    }
}
