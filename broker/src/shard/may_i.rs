//! PINGREQ: what its client is told of the server, and what it may do. The questions are put to the same judges as the packets that
//! they are about, so an answer is what would happen now.

use super::allowance::Allowance;
use super::{ConnectionKey, Shard};
use candor_protocol::codec::dictionary::{Dictionary, MapBuilder};
use candor_protocol::packet::question::{Answer, Answers, Question, questions_len, questions_of_dictionary};
use candor_protocol::packet::{Message, Packet, Ping, Problem, Publish, Reason, Refusal, Retry, property};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// How many questions a connection may ask at once, and in how many milliseconds it may ask one more.
const BURST: u32 = 500;
const STEP_MS: u64 = 10;
/// How many questions of all connections one turn of a shard answers: some milliseconds' worth.
pub(super) const TURN_MAX: usize = 1000;

/// How many questions a connection may still ask.
pub(super) type Questions = Allowance<BURST, STEP_MS>;

impl Shard {
    pub(super) fn pong(&mut self, key: ConnectionKey, asked: &Dictionary) {
        let Some(connection) = self.connections.get(key) else { return };
        let waiting = connection.client.and_then(|slot| self.clients.get(slot)).map_or(0, |client| client.queue.len());
        let mut map = MapBuilder::new();
        map.set(property::BACKLOG, &(waiting as u64)).set(property::SERVER_TIME, &self.now.unix_ms);
        map.set(property::LOAD, &self.load());
        if self.keeper.failure().is_some() {
            let declared = &connection.session.terms().profile;
            let profile = declared.clone().without_guarantee();
            if profile != *declared {
                map.set(property::PROFILE, &profile.to_dictionary());
            }
        }
        if let Some(questions) = asked.value(property::QUESTIONS) {
            self.answers(key, &questions).put_into(&mut map);
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

    /// Answers as many questions as this turn and the connection's allowance have room for, and refuses the rest together.
    fn answers(&mut self, key: ConnectionKey, questions: &Dictionary) -> Answers {
        let (mut answers, count, now_ms) = (Answers::default(), questions_len(questions), self.now.ms);
        let Some(connection) = self.connections.get_mut(key) else { return answers };
        let allowance = &mut connection.asked.make().questions;
        let allowed = allowance.left(now_ms) as usize;
        let answered = count.min(allowed).min(self.questions_left);
        allowance.take(answered as u32, now_ms);
        let after_ms = allowance.wait_ms(u32::try_from(count - answered).unwrap_or(u32::MAX), now_ms);
        self.questions_left -= answered;
        let Some((slot, listener)) = connection.client.map(|slot| (slot, Arc::clone(&connection.listener))) else { return answers };
        for (index, question) in questions_of_dictionary(questions).take(answered) {
            let answer = question.and_then(|question| self.may(key, slot, &question));
            answers.add(index, &answer.map_err(|refusal| listener.disclosed(&refusal)));
        }
        if answered < count {
            let refusal = if answered == allowed { too_many(answered, count, after_ms) } else { busy(answered, count) };
            answers.refuse_rest(count - answered, listener.disclosed(&refusal));
        }
        answers
    }

    /// What would become of this packet of the client's now: the judges of the packet itself say so, in their order.
    fn may(&self, key: ConnectionKey, slot: u32, question: &Question) -> Answer {
        match question {
            Question::Publish { topic, qos, retain } => {
                // A retained message without a payload would take one away.
                let message = Message::new(topic, &Dictionary::EMPTY, b"?");
                let publish = Publish { dup: false, qos: *qos, retain: *retain, id: None, message, dictionary: Dictionary::EMPTY };
                let conduct = self.foresee_conduct(key, &publish.message);
                let judged =
                    conduct.and_then(|()| self.check_publish(key, slot, &publish)).and_then(|()| self.foresee_room(slot, &publish));
                judged.map(|()| *qos).map_err(|refusal| self.foresee_breaker(key, topic.as_str(), refusal))
            }
            Question::Subscribe { filter, qos } => self.check_subscribe(key, slot, filter, *qos, [&Dictionary::EMPTY; 2]),
        }
    }
}

/// The connection has asked as much as it may. In `after_ms` it may ask the rest, or the most that it ever may.
fn too_many(answered: usize, asked: usize, after_ms: u64) -> Refusal {
    let problem = Problem::titled("this connection may not ask so much at once").limit(answered as u64, asked as u64);
    Refusal::new(Reason::MESSAGE_RATE_TOO_HIGH, problem.retry(Retry::After { after_ms, jitter_ms: after_ms / 2 }))
}

/// Others have asked as much as one turn has time for.
fn busy(answered: usize, asked: usize) -> Refusal {
    let problem = Problem::titled("the server is asked so much that it answers some of it later").limit(answered as u64, asked as u64);
    Refusal::new(Reason::SERVER_BUSY, problem.retry(Retry::After { after_ms: 100, jitter_ms: 1000 }))
}
