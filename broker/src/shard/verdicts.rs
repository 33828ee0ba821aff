//! Refusals and losses: where each of them passes before anybody is told.

use super::timers::Timer;
use super::{ConnectionKey, CrossingTarget, Shard};
use crate::feedback::entry::Event;
use crate::feedback::ledger::Unkept;
use crate::feedback::{Entry, Page, Swallowed, Verdict};
use crate::message::Envelope;
use crate::store::Record;
use candor_protocol::codec::dictionary::{Dictionary, MapBuilder};
use candor_protocol::packet::{Kind, Message, Notice, Packet, Qos, Reason, Refusal, TopicName, property};
use candor_protocol::shown::Shown;

/// How often at most what is new in the ledger is kept, and how many verdicts then: repetitions come to one record.
const KEEP_LEDGER_MS: u64 = 100;
const KEEP_LEDGER_MAX: usize = 1000;

impl Shard {
    /// A refusal of something that came on a connection.
    pub(super) fn verdict_on_connection(&mut self, key: ConnectionKey, packet: Kind, refusal: &Refusal, topic: Option<&str>) {
        let Some(connection) = self.connections.get(key) else { return };
        self.counts.refused += 1;
        let verdict = Verdict::new(self.now.unix_ms, packet, refusal.clone(), topic);
        match (connection.client, &connection.client_id) {
            (Some(slot), _) => self.verdict(slot, verdict),
            (None, id) => {
                tracing::info!(client = %Shown::new(id), peer = %connection.peer.address, packet = %packet, refusal = %verdict.refusal, "refused");
                if let Some(page) = Page::of(&connection.principal, id) {
                    self.write_down(page, verdict);
                }
            }
        }
    }

    /// Writes a line of a client's story.
    pub(super) fn write_down(&mut self, page: Page, entry: impl Into<Entry>) {
        self.ledger.write(page, entry.into());
        self.keep_ledger_later();
    }

    /// What is new in the ledger is to be kept, in a moment.
    pub(super) fn keep_ledger_later(&mut self) {
        if self.ledger.has_unkept() && !self.is_ledger_due {
            self.is_ledger_due = true;
            self.timers.at(self.now.ms.max(self.ledger_kept_ms + KEEP_LEDGER_MS), Timer::Ledger);
        }
    }

    /// Hands what is new in the ledger to the store. Nobody waits for it: what a crash takes is at most what the last moments said.
    pub(super) fn keep_ledger(&mut self) {
        (self.is_ledger_due, self.ledger_kept_ms) = (false, self.now.ms);
        for Unkept { page, entry, number, replaces } in self.ledger.take_unkept(KEEP_LEDGER_MAX) {
            self.keeper.keep(Record::Verdict { whose: page.whose(), number, replaces, verdict: entry.to_bytes().into() });
        }
        if self.ledger.has_unkept() {
            self.is_ledger_due = true;
            self.timers.at(self.now.ms + KEEP_LEDGER_MS, Timer::Ledger);
        }
    }

    /// A topic took a message that nobody gets, or refused one.
    pub(super) fn note_swallowed(&mut self, topic: &[u8], swallowed: Swallowed) {
        if let Some(hole) = self.holes.note(topic, swallowed, self.now.unix_ms) {
            let (undelivered, denied, since_ms) = (hole.undelivered, hole.denied, hole.since_ms);
            tracing::warn!(topic = %String::from_utf8_lossy(topic), undelivered, denied, since_ms, "black hole: a topic swallows messages");
        }
    }

    /// A verdict on a session's traffic: to the log, to the ledger, and to the session's own feedback topic.
    pub(super) fn verdict(&mut self, slot: u32, verdict: Verdict) {
        let Some(client) = self.clients.get(slot) else { return };
        tracing::info!(
            client = %Shown::new(&client.id), principal = %Shown::new(&client.principal), packet = %verdict.packet,
            topic = %Shown::new(verdict.topic.as_deref().unwrap_or_default()), refusal = %verdict.refusal, count = verdict.count, "verdict"
        );
        let page = Page::of(&client.principal, &client.id);
        // Failures of feedback create none: what does not fit the queue is dropped by the queue's own policy.
        if !client.feedback.is_empty() {
            self.tell(slot, &verdict);
        }
        if let Some(page) = page {
            self.write_down(page, verdict);
        }
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
        self.deliver_alone(
            &CrossingTarget { slot, qos: qos.min(Qos::AtLeastOnce), retain: false, message: None, has_place: false },
            &envelope,
        );
    }

    /// Delivers a message that no router knows, to the only one it is for.
    pub(super) fn deliver_alone(&mut self, target: &CrossingTarget, envelope: &Envelope) {
        // This may happen while another message is handed to many: its frames are put aside.
        let frames = std::mem::take(&mut self.frames);
        self.deliver(target, envelope, false);
        self.frames = frames;
    }

    /// What the ledger knows about a session, for one that begins to listen.
    pub(super) fn replay_ledger(&mut self, slot: u32) {
        let Some(client) = self.clients.get(slot) else { return };
        let Some(page) = Page::of(&client.principal, &client.id) else { return };
        let of_page = self.ledger.read(&page);
        let verdicts = of_page.filter_map(|entry| if let Event::Verdict(verdict) = &entry.event { Some(verdict.clone()) } else { None });
        let verdicts: Vec<Verdict> = verdicts.collect();
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
        if let Some(session) = client.number {
            self.keeper.keep(Record::GapTold { session });
        }
        for (reason, count) in gap.parts() {
            if let Some(connection) = connection.and_then(|key| self.connections.get_mut(key)) {
                let mut map = MapBuilder::new();
                map.set(property::COUNT, &count).set(property::REASON, &u64::from(reason.0));
                let notice = Notice { reason: Reason::GAP, dictionary: map.finish() };
                connection.session.answer(Packet::Notice(notice));
            }
            // What was withheld or rejected for itself has its own verdict already, with topic and problem.
            if matches!(reason, Reason::PACKET_TOO_LARGE | Reason::CRITICAL_KEY_UNKNOWN | Reason::REJECTED) {
                continue;
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
