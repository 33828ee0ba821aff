//! What one run of one load against one target came to.

use super::process::{self, Sample};
use super::tally::Count;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// What one run came to.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Outcome {
    /// In which of the rounds, from 0 on: each has every target once, close together in time.
    pub round: usize,
    pub count: Count,
    /// Messages that were sent.
    pub sent: u64,
    /// Messages that the server refused.
    pub refused: u64,
    /// From the first send to the last delivery.
    pub seconds: f64,
    pub cost: Cost,
    /// Microseconds, where they were measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency: Option<Latency>,
    /// Further figures of this load, named with their unit.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub facts: BTreeMap<&'static str, f64>,
}

/// What it cost.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Cost {
    /// CPU seconds of the server; `None` where its process is not known.
    pub server_cpu_s: Option<f64>,
    /// CPU seconds of the load generator.
    pub own_cpu_s: f64,
    pub rss_bytes: Option<u64>,
    /// The most that it was since the server began.
    pub rss_peak_bytes: Option<u64>,
    /// How much it grew.
    pub rss_growth_bytes: Option<i64>,
    /// How much the kernel's buffers of TCP grew, on both sides; it counts them in steps of up to a mebibyte.
    pub socket_growth_bytes: i64,
}

/// From the time at which a message was to be sent to its delivery, microseconds.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Latency {
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

impl Outcome {
    /// CPU seconds of the server a million deliveries.
    pub fn cpu_per_million(&self) -> Option<f64> {
        let cpu = self.cost.server_cpu_s.filter(|_| self.count.delivered > 0)?;
        Some(cpu * 1e6 / self.count.delivered as f64)
    }

    /// CPU seconds of the load generator a million deliveries.
    pub fn own_cpu_per_million(&self) -> Option<f64> {
        (self.count.delivered > 0).then(|| self.cost.own_cpu_s * 1e6 / self.count.delivered as f64)
    }

    /// Deliveries that are missing though the server did not refuse their messages.
    pub fn lost(&self) -> u64 {
        // Everybody whom a refused message was on its way to misses it.
        let fan = (self.count.delivered + self.count.lost).checked_div(self.sent).unwrap_or(0).max(1);
        self.count.lost.saturating_sub(self.refused.saturating_mul(fan))
    }

    /// Notes what each of `count` things cost the server, in microseconds.
    pub(super) fn fact_cpu(&mut self, name: &'static str, cost: Cost, count: usize) {
        self.facts.extend(cost.server_cpu_s.map(|cpu| (name, cpu * 1e6 / count.max(1) as f64)));
    }

    /// Notes how much the server grew by each of `count` things, in bytes.
    pub(super) fn fact_rss(&mut self, name: &'static str, cost: Cost, count: usize) {
        self.facts.extend(cost.rss_growth_bytes.map(|growth| (name, growth as f64 / count.max(1) as f64)));
    }

    /// Notes how much more of the disk each of `count` things takes, in bytes; nothing where the server keeps nothing there.
    pub(super) fn fact_disk(&mut self, name: &'static str, growth: Option<f64>, count: usize) {
        self.facts.extend(growth.filter(|growth| *growth > 0.0).map(|growth| (name, growth / count.max(1) as f64)));
    }

    /// Whether something was sent, and nothing at all has come of it.
    pub fn is_unanswered(&self) -> bool {
        self.sent > 0 && self.count.delivered == 0
    }

    pub fn per_second(&self) -> f64 {
        if self.seconds > 0.0 { self.count.delivered as f64 / self.seconds } else { 0.0 }
    }
}

/// Looks at the server and at ourselves before and after the load.
#[derive(Debug)]
pub(super) struct Meter {
    pid: Option<u32>,
    server: Option<Sample>,
    own_ns: u64,
    socket_bytes: u64,
}

impl Meter {
    pub(super) fn start(pid: Option<u32>) -> Self {
        Self { pid, server: pid.and_then(Sample::of), own_ns: process::own_cpu_ns(), socket_bytes: process::socket_bytes() }
    }

    pub(super) fn stop(self) -> Cost {
        let own_cpu_s = Duration::from_nanos(process::own_cpu_ns().saturating_sub(self.own_ns)).as_secs_f64();
        let after = self.pid.and_then(Sample::of);
        let both = after.as_ref().zip(self.server.as_ref());
        Cost {
            server_cpu_s: both.map(|(after, before)| Duration::from_nanos(after.cpu_ns_since(before)).as_secs_f64()),
            own_cpu_s,
            rss_bytes: after.as_ref().map(|after| after.rss_bytes),
            rss_peak_bytes: after.as_ref().map(|after| after.peak_bytes),
            rss_growth_bytes: both.map(|(after, before)| after.rss_bytes as i64 - before.rss_bytes as i64),
            socket_growth_bytes: process::socket_bytes() as i64 - self.socket_bytes as i64,
        }
    }
}
