//! What a client is shown of a refusal. Nothing else in a shard refuses anything on the wire, so that every refusal is a verdict
//! first (see [`super::verdicts`]); the packets themselves are the dialect's.

use super::keeping::Life;
use super::timers::Timer;
use super::{ConnectionKey, Shard};
use crate::feedback::{Swallowed, Verdict};
use candor_protocol::codec::dictionary::{Dictionary, MapBuilder};
use candor_protocol::packet::{Kind, Packet, Publish, Qos, Reason, Refusal, property};
use candor_protocol::session::inbound::tag_of;
use candor_protocol::session::{Outcome, Ticket};

impl Shard {
    /// A PUBLISH is refused: by its acknowledgement, by a close where the dialect has no other, by NOTICE at QoS 0.
    pub(super) fn refuse_publish(&mut self, key: ConnectionKey, ticket: Option<Ticket>, publish: &Publish, refusal: Refusal) {
        let topic = publish.message.topic_str();
        self.note_swallowed(topic.as_bytes(), Swallowed::Denied);
        let refusal = self.refused_again(key, topic, refusal);
        let refusal = self.refused(key, Kind::Publish, refusal, Some(topic));
        if publish.qos == Qos::AtMostOnce {
            return self.notice(key, publish, &refusal);
        }
        let Some(connection) = self.connections.get(key) else { return };
        // Only where an operator wrote so.
        let is_acknowledged = connection.listener.acknowledges_refused && !connection.session.terms().dialect.is_extended();
        let outcome = if is_acknowledged { Outcome::accepted() } else { Outcome::refused(connection.listener.disclosed(&refusal)) };
        if !is_acknowledged {
            self.count_refusal(key, Kind::Publish, &refusal, Some(topic));
        }
        if let (Some(ticket), Some(connection)) = (ticket, self.connections.get_mut(key)) {
            connection.session.settle(ticket, outcome);
        }
    }

    /// A session has refused something by itself; what is owed for it is on its way.
    pub(super) fn session_refused(&mut self, key: ConnectionKey, packet: Kind, refusal: Refusal, publish: Option<&Publish>) {
        let topic = publish.map(|publish| publish.message.topic_str());
        let refusal = self.refused(key, packet, refusal, topic);
        match publish {
            Some(publish) if publish.qos == Qos::AtMostOnce => self.notice(key, publish, &refusal),
            _ => self.count_refusal(key, packet, &refusal, topic),
        }
    }

    /// Tells of a refused message at QoS 0, together with others like it.
    fn notice(&mut self, key: ConnectionKey, publish: &Publish, refusal: &Refusal) {
        let now_ms = self.now.ms;
        let Some(connection) = self.connections.get_mut(key).filter(|c| c.session.terms().dialect.is_extended()) else { return };
        let disclosed = connection.listener.disclosed(refusal);
        let tag = tag_of(&publish.dictionary);
        let notices = &mut connection.conduct.get_or_insert_default().notices;
        if let Some(due_ms) = notices.add(disclosed, publish.message.topic_str(), tag, now_ms) {
            self.timers.at(due_ms, Timer::notices(key, connection.generation));
        }
    }

    /// Notices that waited for their time, or for the end of a turn.
    pub(super) fn notices_due(&mut self, key: ConnectionKey, generation: u64) {
        let now_ms = self.now.ms;
        let Some(connection) = self.connections.get_mut(key).filter(|connection| connection.generation == generation) else { return };
        let Some(conduct) = &mut connection.conduct else { return };
        let (notices, next_ms) = conduct.notices.take(now_ms);
        if let Some(next_ms) = next_ms {
            self.timers.at(next_ms, Timer::notices(key, generation));
        }
        for notice in notices {
            connection.session.answer(Packet::Notice(notice));
        }
        self.act(key);
    }

    /// A message that was taken as far as the store could not be kept there.
    pub(super) fn refuse_settled(&mut self, of: Life, ticket: Ticket, refusal: Refusal) {
        let Some(client) = self.clients.get(of.slot).filter(|client| client.incarnation == of.life) else { return };
        match client.connection.filter(|_| client.parked.is_none()) {
            Some(key) => {
                let refusal = self.refused(key, Kind::Publish, refusal, None);
                let Some(connection) = self.connections.get_mut(key) else { return };
                connection.session.settle(ticket, Outcome::refused(connection.listener.disclosed(&refusal)));
                self.drain(key);
                // The window may have been full.
                self.read_held(key);
            }
            None => {
                self.verdict(of.slot, Verdict::new(self.now.unix_ms, Kind::Publish, refusal.clone(), None));
                if let Some(parked) = self.clients.get_mut(of.slot).and_then(|client| client.parked.as_mut()) {
                    parked.settle(ticket, Outcome::refused(refusal));
                }
            }
        }
    }

    /// A CONNECT is refused; `is_known`: the client has proved who it is.
    pub(super) fn refuse_connect(&mut self, key: ConnectionKey, refusal: Refusal, is_known: bool) {
        let refusal = self.refused(key, Kind::Connect, refusal, None);
        self.count_refusal(key, Kind::Connect, &refusal, None);
        if let Some(connection) = self.connections.get_mut(key) {
            let disclosure = connection.listener.policy.disclosure;
            let disclosure = if is_known { disclosure } else { disclosure.before_authentication() };
            connection.session.refuse(disclosure.of(&refusal));
        }
    }

    /// A connection is ended, for something that its client hears by DISCONNECT. The result is the trace id.
    pub(super) fn end_connection(&mut self, key: ConnectionKey, refusal: Refusal) -> Option<String> {
        let refusal = self.refused(key, Kind::Disconnect, refusal, None);
        if let Some(connection) = self.connections.get_mut(key) {
            let disclosed = connection.listener.disclosed(&refusal);
            connection.session.refuse_connection(disclosed);
        }
        refusal.problem.trace_id.clone()
    }

    /// A topic filter is refused: its place in SUBACK.
    pub(super) fn refuse_filter(&mut self, key: ConnectionKey, filter: &str, refusal: Refusal) -> (Reason, Dictionary) {
        let refusal = self.refused(key, Kind::Subscribe, refusal, Some(filter));
        self.item_of(key, refusal)
    }

    /// So many filters behind the first ones of a packet are not looked at: their reason in SUBACK, and the place of the first of them.
    pub(super) fn refuse_filters(&mut self, key: ConnectionKey, count: usize, refusal: Refusal) -> (Reason, Dictionary) {
        let refusal = self.refused_together(key, Kind::Subscribe, refusal, None, count as u64);
        self.item_of(key, refusal)
    }

    fn item_of(&self, key: ConnectionKey, refusal: Refusal) -> (Reason, Dictionary) {
        let disclosed = self.connections.get(key).map_or(refusal.clone(), |connection| connection.listener.disclosed(&refusal));
        let item = match disclosed.problem.is_empty() {
            true => Dictionary::EMPTY,
            false => Dictionary::with(property::PROBLEM, &disclosed.problem.to_dictionary()),
        };
        (disclosed.reason, item)
    }

    /// Turns every success in a SUBACK into a refusal.
    pub(super) fn refuse_all(&mut self, key: ConnectionKey, packet: &mut Packet, refusal: Refusal) {
        // Of a subscription that ended, nothing has to be taken back.
        let Packet::SubAck(packet) = packet else { return };
        let (reasons, dictionary) = (&mut packet.reasons, &mut packet.dictionary);
        let refusal = self.refused(key, Kind::Subscribe, refusal, None);
        let Some(connection) = self.connections.get(key) else { return };
        let refusal = connection.listener.disclosed(&refusal);
        reasons.iter_mut().filter(|reason| !reason.is_error()).for_each(|reason| *reason = refusal.reason);
        if !refusal.problem.is_empty() {
            *dictionary = MapBuilder::new().merge(dictionary).set(property::PROBLEM, &refusal.problem.to_dictionary()).finish();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    /// What puts a refusal on the wire.
    const WORDS: [&str; 3] = ["session.refuse(", "refuse_connection(", "Outcome::refused("];

    #[test]
    fn nothing_is_refused_on_the_wire_but_here() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/shard");
        let mut looked_at = 0;
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let text = fs::read_to_string(&path).unwrap();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            looked_at += 1;
            if name == "answers.rs" {
                continue;
            }
            for word in WORDS {
                assert!(!text.contains(word), "{name} has {word:?}: let answers.rs say it, so that it is a verdict first");
            }
        }
        assert!(looked_at > 20);
    }
}
