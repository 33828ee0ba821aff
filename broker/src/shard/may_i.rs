//! PINGREQ: what its client is told of the server, and what it may do. The questions are put to the same judges as the packets that
//! they are about, so an answer is what would happen now.

use super::{ConnectionKey, Shard};
use candor_protocol::codec::dictionary::{Dictionary, MapBuilder};
use candor_protocol::packet::question::{Answer, Question, answers_to_dictionary, questions_of_dictionary};
use candor_protocol::packet::{Message, Packet, Ping, Problem, Publish, Reason, Refusal, Retry, property};
use std::sync::atomic::Ordering;

/// How many questions a connection may ask at once, and how many more in each second.
const BURST: u32 = 1000;
const PER_SECOND: u32 = 100;

/// How many questions a connection may still ask.
#[derive(Debug)]
pub(super) struct Allowance {
    left: u32,
    at_ms: u64,
}

impl Default for Allowance {
    fn default() -> Self {
        Self { left: BURST, at_ms: 0 }
    }
}

impl Allowance {
    /// Takes one, if there is one; else tells in how many milliseconds there is.
    fn take(&mut self, now_ms: u64) -> Result<(), u64> {
        let step_ms = u64::from(1000 / PER_SECOND);
        let more = now_ms.saturating_sub(self.at_ms) / step_ms;
        if more > 0 {
            self.left = self.left.saturating_add(u32::try_from(more).unwrap_or(u32::MAX)).min(BURST);
            self.at_ms += more * step_ms;
        }
        if self.left == 0 {
            return Err(step_ms.saturating_sub(now_ms.saturating_sub(self.at_ms)).max(1));
        }
        self.left -= 1;
        Ok(())
    }
}

impl Shard {
    pub(super) fn pong(&mut self, key: ConnectionKey, asked: &Dictionary) {
        let Some(connection) = self.connections.get(key) else { return };
        let waiting = connection.client.and_then(|slot| self.clients.get(slot)).map_or(0, |client| client.queue.len());
        let mut map = MapBuilder::new();
        map.set(property::BACKLOG, &(waiting as u64)).set(property::SERVER_TIME, &self.now.unix_ms);
        map.set(property::LOAD, &self.load());
        if self.keeper.failure().is_some() {
            let profile = connection.listener.policy.profile.clone().without_guarantee();
            map.set(property::PROFILE, &profile.to_dictionary());
        }
        if let Some(questions) = asked.value(property::QUESTIONS) {
            let answers: Vec<(i64, Answer)> =
                questions_of_dictionary(&questions).into_iter().map(|(index, question)| (index, self.may(key, question))).collect();
            map.set(property::ANSWERS, &answers_to_dictionary(&answers));
        }
        if let Some(connection) = self.connections.get_mut(key) {
            connection.session.answer(Packet::PingResp(Ping { dictionary: map.finish() }));
        }
    }

    /// In per cent of the limit that is nearest: of memory, or of connections.
    fn load(&self) -> u64 {
        let part = |used: usize, limit: usize| (used as u128 * 100 / (limit as u128).max(1)) as u64;
        let memory = part(self.shared.memory.bytes(), self.settings.memory_limit);
        memory.max(part(self.shared.connections.load(Ordering::Relaxed), self.settings.connections_max))
    }

    /// What would become of this packet of the client's now. What is no question counts as one: its answer costs as much.
    fn may(&mut self, key: ConnectionKey, question: Result<Question, Refusal>) -> Answer {
        let now_ms = self.now.ms;
        let (slot, listener) = match self.connections.get_mut(key) {
            Some(connection) => {
                connection.questions.take(now_ms).map_err(too_many)?;
                (connection.client, connection.listener.clone())
            }
            None => return Err(Refusal::bare(Reason::UNSPECIFIED_ERROR)),
        };
        let slot = slot.ok_or_else(|| Refusal::bare(Reason::UNSPECIFIED_ERROR))?;
        let judged = match &question? {
            Question::Publish { topic, qos, retain } => {
                // A retained message without a payload would take one away.
                let message = Message::new(topic, &Dictionary::EMPTY, b"?");
                let publish = Publish { dup: false, qos: *qos, retain: *retain, id: None, message, dictionary: Dictionary::EMPTY };
                self.check_publish(key, slot, &publish).map(|()| *qos)
            }
            Question::Subscribe { filter, qos } => self.check_subscribe(key, slot, filter, *qos, &Dictionary::EMPTY),
        };
        judged.map_err(|refusal| listener.disclosed(&refusal))
    }
}

fn too_many(after_ms: u64) -> Refusal {
    let problem = Problem::titled("so many questions are not answered at once").limit(u64::from(BURST), u64::from(BURST) + 1);
    Refusal::new(Reason::MESSAGE_RATE_TOO_HIGH, problem.retry(Retry::After { after_ms, jitter_ms: after_ms }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_limited_in_number_and_in_rate() {
        let mut allowance = Allowance::default();
        let ask = |allowance: &mut Allowance, now_ms| (0..2 * BURST).filter(|_| allowance.take(now_ms).is_ok()).count() as u32;
        assert_eq!(ask(&mut allowance, 5), BURST);
        assert_eq!(allowance.take(5), Err(5));
        assert_eq!(ask(&mut allowance, 1005), PER_SECOND);
        assert_eq!(ask(&mut allowance, 10_000_000), BURST);
    }
}
