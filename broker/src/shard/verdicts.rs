//! Refusals and losses: where each of them passes before anybody is told.
//!
//! ```text
//!  a refusal --> refused --+                        +--> what the client is shown: super::answers
//!                          +--> one Verdict, with --+--> log, counts for $SYS/
//!  a loss -----> verdict --+    its trace id        +--> ledger, and from there the store
//!                                                   '--> $feedback/ of the session
//! ```

use super::timers::Timer;
use super::{ConnectionKey, CrossingTarget, Shard};
use crate::feedback::conduct::Line;
use crate::feedback::entry::Event;
use crate::feedback::ledger::Unkept;
use crate::feedback::{Entry, Page, Swallowed, Verdict};
use crate::message::Envelope;
use crate::store::Record;
use candor_protocol::codec::dictionary::{Dictionary, MapBuilder};
use candor_protocol::packet::{Kind, Message, Notice, Packet, Problem, Qos, Reason, Refusal, property};
use candor_protocol::shown::Shown;
use std::hash::BuildHasher;

/// How often at most what is new in the ledger is kept, and how many verdicts then: repetitions come to one record.
const KEEP_LEDGER_MS: u64 = 100;
const KEEP_LEDGER_MAX: usize = 1000;

/// A topic as counters of one connection name it. Who finds two with the same number gains nothing by it.
pub(super) fn hash_of(topic: &[u8]) -> u64 {
    foldhash::fast::FixedState::with_seed(0).hash_one(topic)
}

impl Shard {
    /// A refusal of something that came on a connection. The result, with its trace id, is what its answer is made of.
    pub(super) fn refused(&mut self, key: ConnectionKey, packet: Kind, refusal: Refusal, topic: Option<&str>) -> Refusal {
        self.refused_together(key, packet, refusal, topic, 1)
    }

    /// As [`Shard::refused`], of so many things that came in one packet and are refused for the same reason.
    pub(super) fn refused_together(
        &mut self,
        key: ConnectionKey,
        packet: Kind,
        mut refusal: Refusal,
        topic: Option<&str>,
        count: u64,
    ) -> Refusal {
        self.try_patience(key);
        let Some(connection) = self.connections.get_mut(key) else { return refusal };
        let mut line = Line::New { before: 0 };
        // What a session has refused by itself was told already, under a trace id of its own.
        if refusal.problem.trace_id.is_none() {
            let conduct = connection.conduct.get_or_insert_default();
            line = conduct.line((packet, refusal.reason, hash_of(topic.unwrap_or_default().as_bytes())), self.now.ms);
            refusal.problem_mut().trace_id = match &line {
                Line::New { .. } => connection.session.next_trace_id(),
                Line::Same { trace_id } => trace_id.clone(),
            };
            if let (Line::New { .. }, Some(conduct)) = (&line, &mut connection.conduct) {
                conduct.wrote(refusal.problem.trace_id.clone());
            }
        }
        let mut verdict = Verdict::new(self.now.unix_ms, packet, refusal.clone(), topic);
        verdict.count = count;
        if let Line::New { before } = line {
            tracing::info!(
                client = %Shown::new(&connection.client_id), principal = %Shown::new(&connection.principal), peer = %connection.address, packet = %packet,
                topic = %Shown::new(verdict.topic.as_deref().unwrap_or_default()), cause = verdict.cause().name(), refusal = %verdict.refusal,
                trace = verdict.refusal.problem.trace_id.as_deref().unwrap_or_default(), before, count, "refused"
            );
        }
        let (slot, page) = (connection.client, Page::of(&connection.principal, &connection.client_id));
        self.pass_on(slot, page, verdict);
        refusal
    }

    /// A loss in a session's traffic, or a refusal for which no connection is there.
    pub(super) fn verdict(&mut self, slot: u32, mut verdict: Verdict) {
        let Some(client) = self.clients.get(slot) else { return };
        if verdict.refusal.problem.trace_id.is_none() {
            let connection = client.connection.and_then(|key| self.connections.get_mut(key));
            let trace_id = connection.and_then(|connection| connection.session.next_trace_id());
            verdict.refusal.problem_mut().trace_id = Some(trace_id.unwrap_or_else(|| format!("{:016x}", self.random.draw())));
        }
        tracing::info!(
            client = %Shown::new(&client.id), principal = %Shown::new(&client.principal), packet = %verdict.packet,
            topic = %Shown::new(verdict.topic.as_deref().unwrap_or_default()), cause = verdict.cause().name(), refusal = %verdict.refusal,
            trace = verdict.refusal.problem.trace_id.as_deref().unwrap_or_default(), count = verdict.count, "verdict"
        );
        let page = Page::of(&client.principal, &client.id);
        self.pass_on(Some(slot), page, verdict);
    }

    /// To the counts, to the session's own feedback topic, and to the ledger.
    fn pass_on(&mut self, slot: Option<u32>, page: Option<Page>, verdict: Verdict) {
        self.refused.count(verdict.reason(), verdict.count);
        // Failures of feedback create none: what does not fit the queue is dropped by the queue's own policy.
        if let Some(slot) = slot
            && self.clients.get(slot).is_some_and(|client| !client.feedback.is_empty())
        {
            self.tell(slot, &verdict);
        }
        if let Some(page) = page {
            self.write_down(page, verdict);
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
            let topic = String::from_utf8_lossy(topic);
            tracing::warn!(topic = %Shown::new(&topic), undelivered, denied, since_ms, "black hole: a topic swallows messages");
        }
    }

    /// Sends a verdict on the session's own `$feedback/` topic, if it listens there: as much of it as its listener discloses.
    pub(super) fn tell(&mut self, slot: u32, verdict: &Verdict) {
        let (Some(name), Some(client)) = (verdict.topic_name(), self.clients.get(slot)) else { return };
        let matching = client.feedback.iter().filter(|(filter, _)| filter.matches(name.as_str()));
        let Some(qos) = matching.map(|(_, qos)| *qos).max() else { return };
        let Some(connection) = client.connection.and_then(|key| self.connections.get(key)) else { return };
        let payload = verdict.to_text(&connection.listener.disclosed(&verdict.refusal));
        let envelope = Envelope {
            message: Message::new(name, &Dictionary::EMPTY, &payload),
            qos,
            retain: false,
            expires_at_ms: None,
            stamps: None,
            hop: Dictionary::EMPTY,
        };
        self.deliver_alone(&CrossingTarget::passing(slot, qos.min(Qos::AtLeastOnce)), &envelope);
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
        let gap = client.queue.gap.take();
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
            self.lose(slot, reason, count, "messages that waited for this session were dropped");
        }
        if let Some(key) = connection {
            self.act(key);
        }
    }

    /// So many messages that a session was owed are lost.
    pub(super) fn lose(&mut self, slot: u32, reason: Reason, count: u64, title: &str) {
        let mut verdict = Verdict::new(self.now.unix_ms, Kind::Publish, Refusal::new(reason, Problem::titled(title)), None);
        verdict.count = count;
        self.verdict(slot, verdict);
    }
}
