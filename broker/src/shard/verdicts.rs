//! Refusals and losses: where each of them passes before anybody is told.

use super::{ConnectionKey, Shard};
use crate::feedback::Verdict;
use crate::message::Envelope;
use candor_protocol::codec::dictionary::{Dictionary, MapBuilder};
use candor_protocol::packet::{Kind, Message, Notice, Packet, Qos, Refusal, TopicName, property};
use std::sync::Arc;

impl Shard {
    /// A refusal of something that came on a connection.
    pub(super) fn verdict_on_connection(&mut self, key: ConnectionKey, packet: Kind, refusal: &Refusal, topic: Option<&str>) {
        let Some(connection) = self.connections.get(key) else { return };
        let verdict = Verdict::new(self.now.unix_ms, packet, refusal.clone(), topic);
        match (connection.client, &connection.client_id) {
            (Some(slot), _) => self.verdict(slot, verdict),
            (None, id) => {
                tracing::info!(client = %id, peer = %connection.peer.address, packet = %packet, refusal = %verdict.refusal, "refused");
                if connection.is_authenticated {
                    self.ledger.write(&Arc::clone(id), verdict);
                }
            }
        }
    }

    /// A verdict on a session's traffic: to the log, to the ledger, and to the session's own feedback topic.
    pub(super) fn verdict(&mut self, slot: u32, verdict: Verdict) {
        let Some(client) = self.clients.get(slot) else { return };
        tracing::info!(
            client = %client.id, principal = %client.principal, packet = %verdict.packet,
            topic = verdict.topic.as_deref().unwrap_or_default(), refusal = %verdict.refusal, count = verdict.count, "verdict"
        );
        let id = Arc::clone(&client.id);
        // Failures of feedback create none: what does not fit the queue is dropped by the queue's own policy.
        if !client.feedback.is_empty() {
            self.tell(slot, &verdict);
        }
        self.ledger.write(&id, verdict);
    }

    /// Sends a verdict on the session's own `$feedback/` topic, if it listens there.
    pub(super) fn tell(&mut self, slot: u32, verdict: &Verdict) {
        let topic = verdict.topic_name();
        let Some(client) = self.clients.get(slot) else { return };
        let matching = client.feedback.iter().filter(|(filter, _)| filter.matches(&topic));
        let Some(qos) = matching.map(|(_, qos)| *qos).max() else { return };
        let Ok(name) = TopicName::new(&topic) else { return };
        let payload = verdict.to_json().to_string();
        let envelope = Envelope {
            message: Message::new(&name, &Dictionary::EMPTY, payload.as_bytes()),
            qos,
            retain: false,
            expires_at_ms: None,
            stamps: None,
            hop: Dictionary::EMPTY,
        };
        self.frames.start();
        self.deliver(slot, &envelope, qos.min(Qos::AtLeastOnce), false, false);
    }

    /// What the ledger knows about a session, for one that begins to listen.
    pub(super) fn replay_ledger(&mut self, slot: u32) {
        let Some(client) = self.clients.get(slot) else { return };
        let verdicts: Vec<Verdict> = self.ledger.read(&client.id).cloned().collect();
        for verdict in verdicts {
            self.tell(slot, &verdict);
        }
    }

    /// Tells a subscriber what it has missed: by NOTICE where the connection knows it, and in the ledger always.
    pub(super) fn tell_gap(&mut self, slot: u32) {
        let Some(client) = self.clients.get_mut(slot) else { return };
        if client.queue.gap.is_empty() {
            return;
        }
        let gap = std::mem::take(&mut client.queue.gap);
        let connection = client.connection;
        for (reason, count) in gap.parts() {
            if let Some(connection) = connection.and_then(|key| self.connections.get_mut(key)) {
                let mut map = MapBuilder::new();
                map.set(property::COUNT, &count).set(property::REASON, &u64::from(reason.0));
                let notice = Notice { reason: candor_protocol::packet::Reason::GAP, dictionary: map.finish() };
                connection.session.answer(Packet::Notice(notice));
            }
            let mut verdict = Verdict::new(self.now.unix_ms, Kind::Publish, Refusal::bare(reason), None);
            verdict.count = count;
            self.verdict(slot, verdict);
        }
        if let Some(key) = connection {
            self.act(key);
        }
    }
}
