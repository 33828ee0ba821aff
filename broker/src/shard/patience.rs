//! Refused clients come behind all others: what is refused costs more than what is taken, and whoever sends it decides how much comes.
//! So does who sends much of which nobody gets anything: messages that all went into queues that were full, where each pushed out another.
//! It is slowed by nothing but the others; whoever gets one of its messages makes it like them.
//!
//! Who comes behind is not read with the others. It waits in a row, its bytes in the kernel and with its peer, and the
//! driver takes up the row a slice at a time, behind everything that a turn had to do for the others; between two slices it looks at all
//! sockets. What a slice has no room for goes to the end of the row, so that each gets as much as any other. Nothing sleeps: where there
//! is nothing else to do, one slice follows the other.
//!
//! A slice has retained messages, too: of a subscription that gets more than a few, the others are not to wait for all of them.

use super::{ConnectionKey, Shard};
use std::collections::VecDeque;

/// Refusals in a slice, and as many in the rest of a turn, which are of those whose first it is: about as long as a message of others takes.
const SLICE: u32 = 8;
/// What the sockets of one connection cost in a slice, in refusals.
const LOOK: u32 = 2;
/// So many messages of one read that came to nothing put their publisher behind the others.
const FUTILE_MIN: u64 = 16;
/// How long at least a deadline waits that falls due while its connection has not been read: what its peer has sent counts.
pub(super) const GRACE_MS: u64 = 1000;

/// Who waits, and what is left of the slice.
#[derive(Debug, Default)]
pub(super) struct Patience {
    left: u32,
    /// Each once; one that ended meanwhile has another generation.
    waiting: VecDeque<(ConnectionKey, u64)>,
}

impl Patience {
    pub(super) fn begin(&mut self) {
        self.left = SLICE;
    }
}

impl Shard {
    /// `reached` get a message that was taken since so many were dropped: whether all that came of it is that each queue lost one.
    pub(super) fn note_reached(&mut self, reached: usize, dropped_before: u64) {
        let dropped = self.counts.publish_dropped - dropped_before;
        self.futile += u64::from(reached > 0 && dropped >= reached as u64);
    }

    /// A connection was refused something. Where that was too much, what else it sends waits for its slice.
    pub(super) fn try_patience(&mut self, key: ConnectionKey) {
        self.patience.left = self.patience.left.saturating_sub(1);
        if self.patience.left == 0 {
            self.make_wait(key);
        }
    }

    /// Whether a connection that has something to read has to wait in the row, by [`Shard::make_wait`].
    pub fn comes_behind(&self, key: ConnectionKey) -> bool {
        let conduct = self.connections.get(key).and_then(|connection| connection.conduct.as_deref());
        conduct.is_some_and(|conduct| conduct.comes_behind(self.now.ms))
    }

    /// So many messages of a connection came in one read, and so many of them to nothing.
    pub(super) fn judge_read(&mut self, key: ConnectionKey, came: u64, futile: u64) {
        if futile < FUTILE_MIN || futile < came {
            return;
        }
        if let Some(connection) = self.connections.get_mut(key) {
            connection.conduct.get_or_insert_default().note_futile(self.now.ms);
        }
        // They are as much work as a slice may be.
        self.patience.left = 0;
    }

    /// To the end of the row: the connection is not read until [`Shard::take_up`] has come to it.
    pub fn make_wait(&mut self, key: ConnectionKey) {
        if let Some(connection) = self.connections.get_mut(key)
            && !std::mem::replace(&mut connection.is_put_off, true)
        {
            self.patience.waiting.push_back((key, connection.generation));
        }
    }

    /// Whether anybody waits in the row, or for more of the retained messages that it has subscribed to.
    pub fn has_waiting(&self) -> bool {
        !(self.patience.waiting.is_empty() && self.replaying.is_empty())
    }

    /// Begins a slice, with retained messages for those who wait longest for more of them.
    pub fn begin_slice(&mut self) {
        self.patience.begin();
        self.continue_replays();
    }

    /// Goes on with who waits longest: with what the shard holds of it, and then, if it is wanted, with what the driver reads. `None`:
    /// the slice is over, or nobody waits.
    pub fn take_up(&mut self) -> Option<ConnectionKey> {
        while self.patience.left > LOOK
            && let Some((key, generation)) = self.patience.waiting.pop_front()
        {
            let Some(connection) = self.connections.get_mut(key).filter(|connection| connection.generation == generation) else { continue };
            connection.is_put_off = false;
            self.patience.left -= LOOK;
            self.read_held(key);
            self.count_buffers(key);
            self.bound_incomplete(key);
            return Some(key);
        }
        None
    }
}
