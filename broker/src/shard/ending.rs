//! The end of a server: nobody new is let in, everybody is told, what was taken gets its answer, and only then the connections end.

use super::timers::Timer;
use super::{ConnectionKey, Shard};
use candor_protocol::codec::dictionary::Dictionary;
use candor_protocol::packet::{Notice, Packet, Problem, Reason, Refusal, Retry, property};

/// How long the end waits, at most, for answers that are owed.
const DRAIN_MS: u64 = 2000;
/// When clients are to come back, and over which time they are to spread.
const BACK_MS: (u64, u64) = (1000, 5000);

/// The refusal of everybody by a server that ends.
pub(super) fn ending() -> Refusal {
    let (after_ms, jitter_ms) = BACK_MS;
    Refusal::new(Reason::SERVER_SHUTTING_DOWN, Problem::titled("the server is ending").retry(Retry::After { after_ms, jitter_ms }))
}

impl Shard {
    /// From here on nobody new is let in. Extended clients that have to wait for the end are told of it.
    pub fn announce_end(&mut self) {
        self.ends_ms = Some(self.now.ms + DRAIN_MS);
        self.timers.at(self.now.ms + DRAIN_MS, Timer::Ending);
        if self.may_end() {
            return;
        }
        for key in self.connection_keys() {
            let Some(connection) = self.connections.get_mut(key) else { continue };
            let disclosed = connection.listener.disclosed(&ending());
            let dictionary = Dictionary::with(property::PROBLEM, &disclosed.problem.to_dictionary());
            connection.session.answer(Packet::Notice(Notice { reason: Reason::DRAINING, dictionary }));
            self.act(key);
        }
    }

    pub(super) fn is_ending(&self) -> bool {
        self.ends_ms.is_some()
    }

    /// Whether every answer that is owed was given, or its time is over.
    pub fn may_end(&self) -> bool {
        let is_over = self.ends_ms.is_some_and(|ends_ms| ends_ms <= self.now.ms);
        is_over || (!self.keeper.is_waiting() && self.held.is_empty())
    }

    /// Ends every connection.
    pub fn end_all(&mut self) {
        for key in self.connection_keys() {
            self.end_connection(key, ending());
            self.act(key);
            self.touch(key);
        }
        self.keep_ledger();
    }

    fn connection_keys(&self) -> Vec<ConnectionKey> {
        self.connections.iter().map(|(key, _)| key).collect()
    }
}
