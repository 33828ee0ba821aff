//! Deadlines: until when the opening must be done, until when the peer must be heard, when a PINGREQ is due.

use super::opening::Trial;
use super::{Cause, Output, Phase, Session};
use crate::packet::legality::Role;
use crate::packet::{Packet, Problem, Reason, Refusal, Retry};
use std::num::NonZeroU64;

/// Times of one connection, in milliseconds of the driver's clock.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Clock {
    last_heard_ms: u64,
    last_sent_ms: u64,
    /// When the PINGREQ that is not answered yet was sent.
    ping_sent_ms: Option<NonZeroU64>,
}

impl Clock {
    pub(super) fn new(now_ms: u64) -> Self {
        Self { last_heard_ms: now_ms, last_sent_ms: now_ms, ping_sent_ms: None }
    }

    pub(super) fn heard(&mut self, now_ms: u64) {
        self.last_heard_ms = now_ms;
        self.ping_sent_ms = None;
    }
}

/// A client sends PINGREQ when this part of the interval has passed in silence, so that a late timer does not make it
/// miss the interval ([MQTT-3.1.2-23]).
const PING_AFTER_EIGHTHS: u64 = 7;

impl Session {
    /// Packets left for the peer; a client's keep alive counts from here.
    pub fn sent(&mut self, now_ms: u64) {
        self.clock.last_sent_ms = now_ms;
    }

    /// The peer counts as heard although nothing was taken from it: a driver that does not read, because its owner has no
    /// room, must not take its own deafness for the peer's silence.
    pub fn heard(&mut self, now_ms: u64) {
        self.clock.heard(now_ms);
    }

    /// When [`Session::tick`] is due; `None`: not before something else happens.
    pub fn deadline(&self) -> Option<u64> {
        match &self.phase {
            Phase::Closed => None,
            Phase::Open => self.keep_alive_deadline(),
            Phase::Opening(_) | Phase::Trial(_) => {
                let others = || [self.keep_alive_deadline(), self.hold_deadline()].into_iter().flatten().min();
                self.opening_deadline().or_else(others)
            }
        }
    }

    /// Until when the connection must be open. A client that made an offer is silent until it knows, and it does not wait for ever.
    #[inline]
    fn opening_deadline(&self) -> Option<u64> {
        match &self.phase {
            Phase::Opening(opening) => Some(opening.until_ms),
            Phase::Trial(trial) => match **trial {
                Trial::AwaitAnswer { until_ms, .. } => Some(until_ms),
                _ => None,
            },
            Phase::Open | Phase::Closed => None,
        }
    }

    fn keep_alive_deadline(&self) -> Option<u64> {
        let interval_ms = 1000 * u64::from(self.terms.keep_alive_s);
        if interval_ms == 0 {
            return None;
        }
        Some(match (self.role(), self.clock.ping_sent_ms) {
            // [MQTT-3.1.2-24]
            (Role::Server, _) => self.clock.last_heard_ms + interval_ms + interval_ms / 2,
            (Role::Client, Some(sent_ms)) => sent_ms.get() + (interval_ms / 2).max(1000),
            (Role::Client, None) => self.clock.last_sent_ms + interval_ms * PING_AFTER_EIGHTHS / 8,
        })
    }

    /// Time passes.
    pub fn tick(&mut self, now_ms: u64) {
        self.outbound.rest();
        self.inbound.rest();
        let is_due = |deadline: Option<u64>| deadline.is_some_and(|deadline| now_ms >= deadline);
        if self.is_closed() {
            return;
        }
        match self.opening_deadline() {
            Some(until_ms) if now_ms >= until_ms => self.opening_due(),
            Some(_) => {}
            None => {
                if is_due(self.hold_deadline()) {
                    self.end_hold();
                }
                if is_due(self.keep_alive_deadline()) {
                    self.keep_alive_due(now_ms);
                }
            }
        }
    }

    fn opening_due(&mut self) {
        let problem = Problem::titled("the connection was not opened in time").retry(Retry::After { after_ms: 0, jitter_ms: 1000 });
        self.end_for(Refusal::new(Reason::KEEP_ALIVE_TIMEOUT, problem), |_| Cause::Silent);
    }

    fn keep_alive_due(&mut self, now_ms: u64) {
        if self.role() == Role::Client && self.clock.ping_sent_ms.is_none() {
            // The first millisecond stands for the one before it.
            self.clock.ping_sent_ms = Some(NonZeroU64::new(now_ms).unwrap_or(NonZeroU64::MIN));
            self.clock.last_sent_ms = now_ms;
            self.outputs.push_back(Output::Send(Packet::PingReq(Default::default())));
            return;
        }
        let problem = Problem::titled("nothing was heard for one and a half times the keep alive interval")
            .limit(u64::from(self.terms.keep_alive_s), now_ms.saturating_sub(self.clock.last_heard_ms) / 1000)
            .retry(Retry::After { after_ms: 0, jitter_ms: 1000 });
        self.end_for(Refusal::new(Reason::KEEP_ALIVE_TIMEOUT, problem), |_| Cause::Silent);
    }
}
