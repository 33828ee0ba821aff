//! Delivery reports: what became of one message with all who were to get it, for a publisher that asked and may know.
//!
//! A message that is reported on carries its [`Report`] to wherever it waits, and every outcome is noted there. When nothing holds the
//! message any more, all has been heard: what is not accounted for by then was dropped. The last to let go puts the report on the
//! desk of the publisher's shard, which sends it. What takes too long is told as pending.
//!
//! Messages that nobody asked about carry nothing. A report that is not told when the process ends is not told.

use super::keeping::Life;
use super::route::Routed;
use super::timers::Timer;
use super::{Crossing, CrossingTarget, Shard};
use crate::message::{Envelope, Stamps};
use crate::store::MessageNumber;
use crate::store::Record;
use crate::store::record::Owed;
use bytes::Bytes;
use candor_protocol::codec::dictionary::{Dictionary, MapBuilder};
use candor_protocol::packet::report::TOPIC;
use candor_protocol::packet::{DeliveryReport, Message, Qos, Reason, TopicFilter, TopicName, property};
use candor_protocol::session::Token;
use serde_json::{Value, json};
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// What a report takes for itself, beside the texts that it repeats.
const REPORT_BYTES: usize = 512;
/// How often the desk is looked at, where nobody calls.
const LOOK_MS: u64 = 250;

/// What the operator says about reports.
#[derive(Debug, Clone)]
pub struct ReportSettings {
    /// Whose messages may be reported on.
    pub namespaces: Vec<TopicFilter>,
    /// How long a report waits for outcomes.
    pub wait_ms: u64,
    /// The most reports of one shard that wait.
    pub open_max: usize,
    /// The most reports of one client that wait. Their bytes may be as many as those of its queue.
    pub open_of_client_max: usize,
}

impl Default for ReportSettings {
    fn default() -> Self {
        Self { namespaces: Vec::new(), wait_ms: 60_000, open_max: 10_000, open_of_client_max: 1000 }
    }
}

/// Who asked, about what.
#[derive(Debug, Clone)]
struct Asked {
    of: Life,
    id: [u8; 16],
    tag: Option<Bytes>,
    topic: String,
}

impl Asked {
    fn bytes(&self) -> usize {
        REPORT_BYTES + self.topic.len() + self.tag.as_ref().map_or(0, Bytes::len)
    }
}

/// What is heard of one message.
#[derive(Debug)]
pub struct Report {
    asked: Asked,
    tally: Mutex<DeliveryReport>,
    /// Nothing more is to be told.
    is_told: AtomicBool,
    desk: Arc<Desk>,
}

/// Two messages are the same whatever is heard of them.
impl PartialEq for Report {
    fn eq(&self, other: &Self) -> bool {
        self.asked.id == other.asked.id
    }
}

impl Eq for Report {}

impl Report {
    fn note(&self, note: impl FnOnce(&mut DeliveryReport)) {
        note(&mut self.tally.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn accepted(&self) {
        self.note(|tally| tally.accepted += 1);
    }

    pub(super) fn rejected(&self, reason: Reason) {
        self.note(|tally| tally.reject(reason));
    }

    pub(crate) fn expired(&self) {
        self.note(|tally| tally.expired += 1);
    }

    pub(super) fn routed(&self, sessions: u64) {
        self.note(|tally| tally.matched = sessions);
    }

    /// The publisher is told otherwise.
    pub(super) fn forget(&self) {
        self.is_told.store(true, Ordering::Relaxed);
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        let mut tally = std::mem::take(self.tally.get_mut().unwrap_or_else(PoisonError::into_inner));
        tally.dropped += tally.rest();
        let tally = Some(tally).filter(|_| !self.is_told.load(Ordering::Relaxed));
        let Asked { of, id, ref mut tag, ref mut topic } = self.asked;
        let asked = Asked { of, id, tag: tag.take(), topic: std::mem::take(topic) };
        self.desk.done.lock().unwrap_or_else(PoisonError::into_inner).push((asked, tally));
        self.desk.has_new.store(true, Ordering::Release);
    }
}

/// Where the reports of a shard's publishers are put, by whichever thread.
#[derive(Debug, Default)]
pub struct Desk {
    /// At most as many as are open; without a tally, what was told before.
    done: Mutex<Vec<(Asked, Option<DeliveryReport>)>>,
    has_new: AtomicBool,
}

/// The reports that one shard has to do with.
#[derive(Debug, Default)]
pub(super) struct Reports {
    /// Of its publishers: each with the time when it is told at the latest.
    open: VecDeque<(u64, Weak<Report>)>,
    is_timed: bool,
    /// How many reports there are of each of its publishers' sessions, and what they come to.
    clients: HashMap<Life, Held, foldhash::fast::RandomState>,
    all: Held,
    /// What the limit of memory counts for them.
    pub(super) counted_bytes: usize,
    /// Deliveries under way to its subscribers, by session and token.
    under_way: HashMap<(u32, Token), Arc<Report>, foldhash::fast::RandomState>,
}

/// Reports that are there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Held {
    count: usize,
    bytes: usize,
}

impl Held {
    fn add(&mut self, asked: &Asked) {
        *self = Self { count: self.count + 1, bytes: self.bytes + asked.bytes() };
    }

    fn remove(&mut self, asked: &Asked) {
        *self = Self { count: self.count.saturating_sub(1), bytes: self.bytes.saturating_sub(asked.bytes()) };
    }
}

impl Reports {
    /// What all of them come to, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.all.bytes
    }

    fn begin(&mut self, asked: &Asked) {
        self.all.add(asked);
        self.clients.entry(asked.of).or_default().add(asked);
    }

    /// Nothing holds a report any more.
    fn end_one(&mut self, asked: &Asked) {
        self.all.remove(asked);
        if let Some(held) = self.clients.get_mut(&asked.of) {
            held.remove(asked);
            if held.count == 0 {
                self.clients.remove(&asked.of);
            }
        }
    }

    /// A message that is reported on was handed to a subscriber's connection; without a name, at QoS 0.
    pub(super) fn sent(&mut self, slot: u32, name: Option<MessageNumber>, report: &Arc<Report>) {
        match name {
            Some(name) => drop(self.under_way.insert((slot, name.0), Arc::clone(report))),
            None => report.note(|tally| tally.unconfirmed += 1),
        }
    }

    /// The report of a delivery that was settled.
    #[inline]
    pub(super) fn settled(&mut self, slot: u32, token: Token) -> Option<Arc<Report>> {
        if self.under_way.is_empty() {
            return None;
        }
        self.under_way.remove(&(slot, token))
    }

    /// The session has ended: what was under way to it is lost.
    pub(super) fn end(&mut self, slot: u32) {
        if !self.under_way.is_empty() {
            self.under_way.retain(|(other, _), _| *other != slot);
        }
    }
}

impl Shard {
    /// Begins to listen for what becomes of a message, if its publisher asks and may; where it may not, it is told so.
    pub(super) fn report_on(&mut self, slot: u32, dictionary: &Dictionary, topic: &str) -> Option<Arc<Report>> {
        if dictionary.value(property::REPORT_REQUEST) != Some(true) {
            return None;
        }
        let of = self.life(slot)?;
        let tag = dictionary.value(property::TAG);
        let asked = Asked { of, id: self.new_message_id(), tag, topic: topic.to_owned() };
        let desk = Arc::clone(self.shared.desk(self.index)?);
        let settings = &self.settings.reports;
        if !settings.namespaces.iter().any(|filter| filter.matches(topic)) {
            self.send_report(&asked, &json!({ "title": "no reports are made for this topic", "reports": "off" }));
            return None;
        }
        let (wait_ms, open_max) = (settings.wait_ms, settings.open_max);
        if let Some((title, limit)) = self.why_no_report(&asked) {
            self.send_report(&asked, &json!({ "title": title, "reports": "busy", "limit": limit }));
            return None;
        }
        self.reports.begin(&asked);
        self.count_reports();
        let report = Arc::new(Report { asked, tally: Mutex::default(), is_told: AtomicBool::new(false), desk });
        if self.reports.open.len() > 2 * open_max {
            self.reports.open.retain(|(_, report)| report.strong_count() > 0);
        }
        self.reports.open.push_back((self.now.ms + wait_ms, Arc::downgrade(&report)));
        self.time_reports();
        Some(report)
    }

    /// Why one more report cannot be kept, and the limit.
    fn why_no_report(&self, asked: &Asked) -> Option<(&'static str, usize)> {
        let Reports { clients, all, .. } = &self.reports;
        let own = clients.get(&asked.of).copied().unwrap_or_default();
        let (settings, bytes_max) = (&self.settings.reports, self.settings.queue.bytes_max);
        let limits = [
            ("as many reports wait as may; this message is not reported on", all.count + 1, settings.open_max),
            ("as many reports of this client wait as may; this message is not reported on", own.count + 1, settings.open_of_client_max),
            ("the reports of this client that wait are as large as they may be", own.bytes + asked.bytes(), bytes_max),
        ];
        let full = limits.into_iter().find(|(_, seen, limit)| seen > limit).map(|(title, _, limit)| (title, limit));
        let memory = || ("the server keeps as much for its clients as it may; this message is not reported on", self.settings.memory_limit);
        full.or_else(|| self.check_memory().is_err().then(memory))
    }

    /// How many sessions a message went to, once it is known whether it was taken.
    pub(super) fn report_routed(&self, envelope: &Envelope, routed: Option<&Routed>) {
        let Some(report) = envelope.report() else { return };
        match routed {
            Some(routed) => report.routed(routed.sessions as u64),
            None => report.forget(),
        }
    }

    fn time_reports(&mut self) {
        if !std::mem::replace(&mut self.reports.is_timed, true) {
            self.timers.at(self.now.ms + LOOK_MS, Timer::Reports);
        }
    }

    /// Tells what is to be told, here or, by a call, in other shards. At the end of each turn.
    pub(super) fn tell_reports(&mut self) {
        if self.settings.reports.namespaces.is_empty() {
            return;
        }
        for shard in 0..self.settings.shards {
            let Some(desk) = self.shared.desk(shard).filter(|desk| desk.has_new.load(Ordering::Acquire)) else { continue };
            if shard == self.index {
                desk.has_new.store(false, Ordering::Release);
                let done = std::mem::take(&mut *desk.done.lock().unwrap_or_else(PoisonError::into_inner));
                for (asked, tally) in done {
                    self.reports.end_one(&asked);
                    if let Some(tally) = tally {
                        self.send_report(&asked, &tally.to_json());
                    }
                }
                self.count_reports();
            } else if let Some(crossings) = self.effects.crossings.get_mut(usize::from(shard))
                && crossings.is_empty()
            {
                // A crossing for nobody: its shard takes a turn, and looks.
                if let Ok(message) = Message::publish(TOPIC, "") {
                    let envelope = Envelope::bare(message, Qos::AtMostOnce);
                    crossings.push(Crossing { envelope, targets: Vec::new(), redelivery_count: 0 });
                }
            }
        }
    }

    /// Tells what has waited for as long as reports do.
    pub(super) fn reports_due(&mut self) {
        self.reports.is_timed = false;
        while let Some((at_ms, report)) = self.reports.open.front() {
            let Some(report) = report.upgrade() else {
                self.reports.open.pop_front();
                continue;
            };
            if *at_ms > self.now.ms {
                break;
            }
            self.reports.open.pop_front();
            if !report.is_told.swap(true, Ordering::Relaxed) {
                let mut tally = DeliveryReport::default();
                report.note(|heard| tally = heard.clone());
                tally.pending = tally.rest();
                self.send_report(&report.asked, &tally.to_json());
            }
        }
        self.reports.under_way.retain(|_, report| !report.is_told.load(Ordering::Relaxed));
        self.tell_reports();
        if !self.reports.open.is_empty() {
            self.time_reports();
        }
    }

    /// A report is a message of the publisher's own session, kept as any other; if that is gone, nobody wants to know.
    fn send_report(&mut self, asked: &Asked, content: &Value) {
        let Some(client) = self.clients.get(asked.of.slot).filter(|client| client.incarnation == asked.of.life) else { return };
        let session = client.number.filter(|_| self.keeper.keeps());
        let mut content = content.clone();
        content["topic"] = asked.topic.as_str().into();
        content["message_id"] = super::dead_letter::hex(&asked.id).into();
        content["at_ms"] = self.now.unix_ms.into();
        let Ok(name) = TopicName::new(TOPIC) else { return };
        let envelope = Envelope {
            message: Message::new(&name, &Dictionary::EMPTY, content.to_string().as_bytes()),
            qos: Qos::AtLeastOnce,
            retain: false,
            expires_at_ms: None,
            stamps: None,
            hop: MapBuilder::new().set_some(property::TAG, asked.tag.as_ref()).finish(),
        };
        let message = session.map(|session| {
            let message = self.shared.next_message();
            let owed = vec![Owed { session, qos: Qos::AtLeastOnce, retain: false }];
            self.keeper.keep(Record::Message { message, envelope: envelope.clone(), owed });
            message
        });
        self.frames.start();
        self.deliver(
            &CrossingTarget { slot: asked.of.slot, qos: Qos::AtLeastOnce, retain: false, message, has_place: false },
            &envelope,
            false,
        );
    }
}

/// The stamps of a message that is reported on.
pub(super) fn stamped(stamps: Option<Arc<Stamps>>, report: Arc<Report>, unix_ms: u64) -> Arc<Stamps> {
    let others = stamps.as_deref().cloned().unwrap_or(Stamps { received_at_ms: unix_ms, ..Stamps::default() });
    Arc::new(Stamps { message_id: Some(report.asked.id), report: Some(report), ..others })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(desk: &Arc<Desk>) -> Arc<Report> {
        let asked = Asked { of: Life { slot: 0, life: 1 }, id: [0; 16], tag: None, topic: "t".into() };
        Arc::new(Report { asked, tally: Mutex::default(), is_told: AtomicBool::new(false), desk: Arc::clone(desk) })
    }

    #[test]
    fn a_report_is_told_when_nothing_holds_the_message_and_what_is_not_accounted_for_was_dropped() {
        let desk = Arc::new(Desk::default());
        let held = report(&desk);
        let other = Arc::clone(&held);
        held.routed(5);
        held.accepted();
        other.rejected(Reason::REJECTED);
        other.expired();
        drop(held);
        assert!(desk.done.lock().unwrap().is_empty(), "one is still under way");
        drop(other);
        let (_, tally) = desk.done.lock().unwrap().pop().unwrap();
        let tally = tally.unwrap();
        assert_eq!((tally.matched, tally.accepted, tally.expired, tally.dropped, tally.pending), (5, 1, 1, 2, 0));
        assert_eq!(tally.rejected, [(Reason::REJECTED, 1)]);
    }

    #[test]
    fn what_was_told_is_not_told_again() {
        let desk = Arc::new(Desk::default());
        let held = report(&desk);
        held.forget();
        drop(held);
        let (asked, tally) = desk.done.lock().unwrap().pop().unwrap();
        assert_eq!((asked.topic.as_str(), tally), ("t", None), "it is gone, and nobody is told");
    }
}
