//! What a subscriber does not get: told to it, and to the store.

use super::Shard;
use crate::feedback::Verdict;
use crate::store::{MessageNumber, Record};
use candor_protocol::packet::{Kind, Problem, Reason, Refusal, Retry};

impl Shard {
    /// What a queue has dropped is owed no more.
    pub(super) fn keep_dropped(&mut self, slot: u32) {
        let Some(client) = self.clients.get_mut(slot) else { return };
        let Some(session) = client.number else { return };
        for (message, reason) in client.queue.take_dropped() {
            self.keeper.keep(Record::Dropped { session, message, reason });
        }
    }

    /// A message that was taken out of the queue, or never came into it, is not delivered.
    pub(super) fn drop_kept(&mut self, slot: u32, message: Option<MessageNumber>, reason: Reason) {
        if let (Some(session), Some(message)) = (self.clients.get(slot).and_then(|client| client.number), message) {
            self.keeper.keep(Record::Dropped { session, message, reason });
        }
    }

    /// A message with a key that binds its recipients is never handed stripped to one that cannot see the key.
    pub(super) fn withhold(&mut self, slot: u32, topic: &str, key: i64, message: Option<MessageNumber>) {
        self.drop_kept(slot, message, Reason::CRITICAL_KEY_UNKNOWN);
        let problem = Problem::titled("the message binds its recipients to a key that the plain dialect cannot show them");
        let refusal = Refusal::new(Reason::CRITICAL_KEY_UNKNOWN, problem.field(format!("key {key}")).retry(Retry::Changed));
        self.verdict(slot, Verdict::new(self.now.unix_ms, Kind::Publish, refusal, Some(topic)));
        if let Some(client) = self.clients.get_mut(slot) {
            client.queue.gap.make().withheld += 1;
        }
        self.tell_gap(slot);
    }

    /// A message that a subscriber's maximum packet size keeps from it is a gap.
    pub(super) fn too_large(&mut self, slot: u32, topic: &str, len: usize, message: Option<MessageNumber>) {
        self.drop_kept(slot, message, Reason::PACKET_TOO_LARGE);
        let limit = self.clients.get(slot).and_then(|client| self.connections.get(client.connection?));
        let limit = limit.map_or(0, |connection| connection.session.terms().send_size_max);
        let problem =
            Problem::titled("the message is larger than the subscriber takes").limit(u64::from(limit), len as u64).retry(Retry::Never);
        let verdict = Verdict::new(self.now.unix_ms, Kind::Publish, Refusal::new(Reason::PACKET_TOO_LARGE, problem), Some(topic));
        self.verdict(slot, verdict);
        if let Some(client) = self.clients.get_mut(slot) {
            client.queue.gap.make().too_large += 1;
        }
        self.tell_gap(slot);
    }
}
