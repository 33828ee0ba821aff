//! Connections without a session: their CONNECT was not answered yet, or they are being closed. Each holds a descriptor and anybody can
//! make them, so there is a bound: for a newer one the oldest is closed, once it has had its time, and one that has sent its CONNECT last.
//! It is one of the address that has most of them, and the time is the shorter the more of all that has: so who opens connections and says
//! nothing makes room by it, and does not keep others waiting.

use super::{ConnectionKey, Shard};
use candor_protocol::packet::{Kind, Problem, Reason, Refusal, Retry};
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

/// What a connection is to the bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It has no session.
    Pending,
    /// It had none, and goes for a newer one.
    Evicted,
    /// It has a session.
    Admitted,
}

/// How many times shorter the time is of those from an address that has all of them than that of one alone: what a CONNECT takes that is
/// on its way.
const GRACE_PARTS_MAX: u64 = 50;
/// Fewer than that beside one are no crowd.
const CROWD: u64 = 4;

/// The connection that goes for a newer one, from when on.
#[derive(Debug, Clone, Copy)]
struct Next {
    /// Its place in the order.
    at: usize,
    key: ConnectionKey,
    due_ms: u64,
}

/// Whom an address belongs to, as far as can be told: the network of an IPv6 host, which has as many addresses as it likes.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) & !u128::from(u64::MAX)).into()),
        address => address,
    }
}

/// The connections of one shard that have no session.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// The oldest first, with the time that each began; those that are none any more are passed over.
    order: VecDeque<(ConnectionKey, u64, u64)>,
    waiting: usize,
    going: usize,
}

impl Pending {
    pub(super) fn enter(&mut self, key: ConnectionKey, generation: u64, now_ms: u64) {
        self.waiting += 1;
        self.order.push_back((key, generation, now_ms));
    }

    /// A connection is not what it was.
    pub(super) fn leave(&mut self, was: Standing) {
        match was {
            Standing::Pending => self.waiting = self.waiting.saturating_sub(1),
            Standing::Evicted => self.going = self.going.saturating_sub(1),
            Standing::Admitted => {}
        }
    }
}

impl Shard {
    /// Makes room for one more connection. `Err`: there is none before that time, or before a connection has gone.
    ///
    /// # Errors
    /// The time, on the clock that never runs back.
    pub fn make_room(&mut self) -> Result<(), u64> {
        let max = self.settings.pending.max.div_ceil(usize::from(self.settings.shards.max(1))).max(1);
        while self.pending.waiting > max {
            let Some(Next { at, key, due_ms }) = self.next_to_go(max) else { break };
            if due_ms > self.now.ms {
                return Err(due_ms);
            }
            self.pending.order.remove(at);
            self.evict(key);
        }
        if self.pending.waiting + self.pending.going > max { Err(u64::MAX) } else { Ok(()) }
    }

    /// The one to go: of those that have not sent their CONNECT the oldest of the address that has most, or, where all that are left wait
    /// for an answer to theirs, the oldest.
    fn next_to_go(&self, max: usize) -> Option<Next> {
        let grace_ms = self.settings.pending.grace_ms;
        let mut silent: HashMap<IpAddr, (u64, usize, ConnectionKey, u64), foldhash::fast::RandomState> = HashMap::default();
        let mut oldest = None;
        for (at, (key, generation, since_ms)) in self.pending.order.iter().copied().enumerate() {
            let Some(connection) = self.connections.get(key).filter(|connection| connection.generation == generation) else { continue };
            if connection.standing != Standing::Pending {
                continue;
            }
            match connection.connect {
                None => silent.entry(network(connection.address.ip())).or_insert((0, at, key, since_ms)).0 += 1,
                Some(_) => oldest = oldest.or(Some(Next { at, key, due_ms: since_ms.saturating_add(grace_ms) })),
            }
        }
        // Of two that have as many, the one that began first.
        let crowd = silent.into_values().max_by_key(|(count, at, ..)| (*count, std::cmp::Reverse(*at)));
        let next = crowd.map(|(count, at, key, since_ms)| {
            let others = count.saturating_sub(1);
            let parts = if others < CROWD { 1 } else { (GRACE_PARTS_MAX * others / max as u64).clamp(1, GRACE_PARTS_MAX) };
            let patience_ms = grace_ms / parts;
            Next { at, key, due_ms: since_ms.saturating_add(patience_ms) }
        });
        next.or(oldest)
    }

    /// Closes a connection without a session: told why where its dialect is known, and not waited for.
    fn evict(&mut self, key: ConnectionKey) {
        let limit = self.settings.pending.max as u64;
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.standing = Standing::Evicted;
        (self.pending.waiting, self.pending.going) = (self.pending.waiting.saturating_sub(1), self.pending.going + 1);
        if !connection.is_closing {
            let problem =
                Problem::titled("too many connections wait for a session").rule("connections_pending_max").limit(limit, limit + 1);
            let refusal = Refusal::new(Reason::SERVER_BUSY, problem.retry(Retry::After { after_ms: 5000, jitter_ms: 10_000 }));
            self.turn_away(key, &refusal);
        }
        self.touch(key);
    }

    /// Ends a connection that has no session.
    pub(super) fn turn_away(&mut self, key: ConnectionKey, refusal: &Refusal) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.connect.take().is_some() {
            self.refuse_connect(key, refusal.clone(), false);
        } else {
            // Nothing is known of whom to tell, and how.
            connection.session.lost();
            self.refused(key, Kind::Connect, refusal.clone(), None);
        }
        self.act(key);
    }

    pub(super) fn set_standing(&mut self, key: ConnectionKey, standing: Standing) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let was = std::mem::replace(&mut connection.standing, standing);
        self.pending.leave(was);
        if standing == Standing::Pending {
            self.pending.enter(key, connection.generation, self.now.ms);
        }
        // Those that were passed over without being the oldest.
        if self.pending.order.len() > 2 * self.pending.waiting + 64 {
            let connections = &self.connections;
            self.pending.order.retain(|(key, generation, _)| {
                connections.get(*key).is_some_and(|found| found.generation == *generation && found.standing == Standing::Pending)
            });
        }
    }
}
