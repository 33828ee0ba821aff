//! `$SYS/`: what the broker says about itself. Each shard counts for itself, without a lock; once an interval it writes its
//! numbers down where the first shard finds them, which adds them up and publishes what has changed. So a number is at
//! most one interval old.
//!
//! Names are those of mosquitto where the meaning is the same; ours are below `$SYS/candor/`.

use super::Shard;
use super::timers::Timer;
use crate::feedback::Tally;
use crate::message::Envelope;
use candor_protocol::codec::dictionary::Dictionary;
use candor_protocol::packet::reserved::SYS;
use candor_protocol::packet::{Message, Qos};
use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

/// When `$SYS/` is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SysSettings {
    pub interval_ms: u64,
    /// Whether the messages are retained: only where the broker serves retained messages.
    pub retain: bool,
}

/// The first shard publishes a little after all of them have written their numbers down.
const PUBLISH_AFTER_MS: u64 = 20;

/// What one shard has counted since it started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Packets of any type.
    pub packets_received: u64,
    /// PUBLISH packets.
    pub publish_received: u64,
    /// PUBLISH packets, those that are sent again included.
    pub publish_sent: u64,
    /// Messages that a full queue lost.
    pub publish_dropped: u64,
}

/// What one shard has written down.
#[derive(Debug, Clone, Copy, Default)]
pub struct Numbers {
    counts: Counts,
    refused: Tally,
    sessions: u64,
    quarantined: u64,
    black_holes: u64,
    quarantines: u64,
    turned_away: u64,
}

/// What the first shard remembers of what it published.
#[derive(Debug, Default)]
pub(super) struct Sys {
    started_ms: Option<u64>,
    /// By topic.
    published: HashMap<String, String>,
}

impl Shard {
    /// Puts the next report among the timers, at the same time in every shard.
    pub(super) fn schedule_sys(&mut self) {
        if let Some(sys) = self.settings.sys {
            let interval_ms = sys.interval_ms.max(1);
            let at_ms = (self.now.ms / interval_ms + 1) * interval_ms;
            self.timers.at(at_ms + if self.index == 0 { PUBLISH_AFTER_MS } else { 0 }, Timer::Sys);
        }
    }

    pub(super) fn sys_due(&mut self) {
        let Some(sys) = self.settings.sys else { return };
        self.schedule_sys();
        let (quarantines, turned_away) = self.quarantine.totals();
        let numbers = Numbers {
            counts: self.counts,
            refused: self.refused,
            sessions: self.clients.len() as u64,
            black_holes: self.holes.noticed(self.now.unix_ms).count() as u64,
            quarantined: self.quarantine.inside(self.now.ms) as u64,
            quarantines,
            turned_away,
        };
        let shared = Arc::clone(&self.shared);
        let all = {
            let mut all = shared.numbers.lock().unwrap_or_else(PoisonError::into_inner);
            all.insert(self.index, numbers);
            if self.index == 0 { all.values().copied().collect() } else { Vec::new() }
        };
        if self.index == 0 {
            self.publish_sys(sys, &all);
        }
    }

    fn publish_sys(&mut self, sys: SysSettings, all: &[Numbers]) {
        let started_ms = *self.sys.started_ms.get_or_insert(self.now.ms);
        let uptime_s = (self.now.ms - started_ms) / 1000;
        let topics = self.sys_topics(uptime_s, all);
        let mut published = std::mem::take(&mut self.sys.published);
        for (topic, value) in &topics {
            // A new subscriber finds what has not changed among the retained messages, where there are any.
            if sys.retain && published.get(topic) == Some(value) {
                continue;
            }
            published.insert(topic.clone(), value.clone());
            let Ok(message) = Message::publish(format!("{SYS}{topic}"), value) else { continue };
            let (stamps, hop) = (None, Dictionary::EMPTY);
            let envelope = Envelope { message, qos: Qos::AtMostOnce, retain: sys.retain, expires_at_ms: None, stamps, hop };
            if let Err(refusal) = self.route(&envelope, super::route::Source::default()) {
                tracing::debug!(topic, refusal = %refusal, "not published");
            }
        }
        self.sys.published = published;
    }

    fn sys_topics(&self, uptime_s: u64, all: &[Numbers]) -> Vec<(String, String)> {
        let mut refused = Tally::default();
        all.iter().for_each(|numbers| refused.add(&numbers.refused));
        let sum = |field: fn(&Numbers) -> u64| all.iter().map(field).sum::<u64>();
        let (sessions, connected) = (sum(|n| n.sessions), self.shared.connections.load(Ordering::Relaxed) as u64);
        let (retained, retained_bytes) = {
            let retained = self.shared.retained();
            (retained.len() as u64, retained.bytes() as u64)
        };
        let (subscriptions, shared) = self.shared.routers().len();
        let numbers = [
            ("broker/clients/total", sessions),
            ("broker/clients/connected", connected),
            ("broker/clients/disconnected", sessions.saturating_sub(connected)),
            ("broker/messages/received", sum(|n| n.counts.packets_received)),
            ("broker/publish/messages/received", sum(|n| n.counts.publish_received)),
            ("broker/publish/messages/sent", sum(|n| n.counts.publish_sent)),
            ("broker/publish/messages/dropped", sum(|n| n.counts.publish_dropped)),
            ("broker/retained messages/count", retained),
            ("broker/subscriptions/count", subscriptions as u64),
            ("broker/shared_subscriptions/count", shared as u64),
            ("candor/retained/bytes", retained_bytes),
            ("candor/memory/bytes", self.shared.memory.bytes() as u64),
            ("candor/refused", refused.total()),
            ("candor/black-holes", sum(|n| n.black_holes)),
            ("candor/quarantine/clients", sum(|n| n.quarantined)),
            ("candor/quarantine/started", sum(|n| n.quarantines)),
            ("candor/quarantine/turned-away", sum(|n| n.turned_away)),
        ];
        let mut topics = vec![
            ("broker/version".to_owned(), concat!("candor-broker version ", env!("CARGO_PKG_VERSION")).to_owned()),
            ("broker/uptime".to_owned(), format!("{uptime_s} seconds")),
        ];
        topics.extend(numbers.map(|(topic, number)| (topic.to_owned(), number.to_string())));
        topics.extend(refused.counted().map(|(reason, count)| (format!("candor/refused/{reason}"), count.to_string())));
        topics
    }
}
