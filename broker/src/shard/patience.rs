//! How much of a turn refusals take: what is refused costs more than what is taken, and whoever sends it decides how much of it comes.
//!
//! A connection that was refused too much in a turn is not read on before the next one, so that its bytes wait with its peer in the
//! end. Each gets its share of a turn; where many are refused, each gets one refusal a turn until everybody had one.

use super::{ConnectionKey, Shard};
use crate::feedback::conduct::Share;

/// Refusals of one connection in a turn: well below a millisecond of work.
const OF_CONNECTION: u32 = 32;
/// Refusals of all connections in a turn, after which each connection gets one.
const OF_TURN: u32 = 128;

/// What refusals have taken of the turn.
#[derive(Debug, Default)]
pub(super) struct Patience {
    /// Counts the turns, so that no connection has to be looked at when one begins.
    turn: u64,
    refusals: u32,
    /// Connections that wait for the next turn.
    put_off: Vec<(ConnectionKey, u64)>,
}

impl Patience {
    pub(super) fn is_lost(&self) -> bool {
        !self.put_off.is_empty()
    }
}

impl Shard {
    /// A connection was refused something. With too much of it, what else it sends waits for the next turn.
    pub(super) fn try_patience(&mut self, key: ConnectionKey) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        self.patience.refusals += 1;
        let share = &mut connection.conduct.get_or_insert_default().share;
        if share.turn != self.patience.turn {
            *share = Share { turn: self.patience.turn, refusals: 0 };
        }
        share.refusals += 1;
        let max = if self.patience.refusals > OF_TURN { 1 } else { OF_CONNECTION };
        if share.refusals >= max && !std::mem::replace(&mut connection.is_put_off, true) {
            self.patience.put_off.push((key, connection.generation));
        }
    }

    /// A turn begins: goes on with those that had to wait for it.
    pub(super) fn take_up_put_off(&mut self) {
        self.patience.turn += 1;
        self.patience.refusals = 0;
        for (key, generation) in std::mem::take(&mut self.patience.put_off) {
            let Some(connection) = self.connections.get_mut(key).filter(|connection| connection.generation == generation) else { continue };
            connection.is_put_off = false;
            self.read_held(key);
            self.count_buffers(key);
            self.bound_incomplete(key);
            // So that the driver looks whether it is wanted again.
            self.touch(key);
        }
    }
}
