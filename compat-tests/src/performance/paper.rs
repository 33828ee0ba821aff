//! What larger machines would carry, on paper: every figure follows from measured ones.

use super::figures::{Figures, short};
use super::target::Target::{Candor, CandorTwo};

/// A figure that is calculated.
struct Sum {
    name: &'static str,
    /// `None`: what it follows from was not measured.
    of: fn(&Figures) -> Option<f64>,
}

const CORES: f64 = 64.0;
const CONNECTIONS: f64 = 1e6;
/// Between two PINGREQ of a connection.
const KEEP_ALIVE_S: f64 = 60.0;
const GIB: f64 = 1024.0 * 1024.0 * 1024.0;
/// TCP and IP with time stamps, what MQTT and a topic of 16 letters add, and 64 bytes of payload.
const PACKET_BITS: f64 = 8.0 * (52.0 + 20.0 + 64.0);

const SUMS: &[Sum] = &[
    // With so many shards nearly every message crosses from one to another.
    Sum { name: "cores-batched-per-s", of: |figures| Some(CORES * 1e6 / figures.cpu("shards-2-across", CandorTwo)?.median) },
    Sum { name: "cores-alone-per-s", of: |figures| Some(CORES * 1e6 / figures.cpu("qos0-w1", Candor)?.median) },
    Sum { name: "cores-alone-q1-per-s", of: |figures| Some(CORES * 1e6 / figures.cpu("qos1-w1", Candor)?.median) },
    Sum { name: "cores-fan-out-per-s", of: |figures| Some(CORES * 1e6 / figures.cpu("fanout", Candor)?.median) },
    Sum {
        name: "cores-alone-gbit-per-s",
        // In and out.
        of: |figures| Some(2.0 * PACKET_BITS * CORES * 1e6 / figures.cpu("qos0-w1", Candor)?.median / 1e9),
    },
    Sum { name: "million-rss-gib", of: |figures| Some(CONNECTIONS * fact(figures, "idle", "rss_bytes_a_connection")? / GIB) },
    // Measured are both ends of a connection; one of them is the server's.
    Sum { name: "million-kernel-gib", of: |figures| Some(CONNECTIONS * fact(figures, "idle", "kernel_bytes_a_connection")? / 2.0 / GIB) },
    Sum { name: "million-subscriptions-gib", of: |figures| Some(CONNECTIONS * fact(figures, "subs", "rss_bytes_a_subscription")? / GIB) },
    Sum { name: "million-storm-core-s", of: |figures| Some(CONNECTIONS * figures.cpu("storm", Candor)?.median / 1e6) },
    Sum { name: "million-storm-64-s", of: |figures| Some(CONNECTIONS * figures.cpu("storm", Candor)?.median / 1e6 / CORES) },
    Sum { name: "million-ping-cores", of: |figures| Some(CONNECTIONS / KEEP_ALIVE_S * figures.cpu("idle", Candor)?.median / 1e6) },
    Sum {
        name: "million-minute-cores",
        // Each publishes once a minute, to one subscriber.
        of: |figures| Some(CONNECTIONS / 60.0 * figures.cpu("qos1-w1", Candor)?.median / 1e6),
    },
];

fn fact(figures: &Figures, load: &str, name: &str) -> Option<f64> {
    Some(figures.fact(load, Candor, name)?.median)
}

/// The figure of this name; `None` where there is no such, a dash where it cannot be calculated.
pub(super) fn sum(name: &str, figures: &Figures) -> Option<String> {
    let sum = SUMS.iter().find(|sum| sum.name == name)?;
    Some((sum.of)(figures).map_or_else(|| "–".to_owned(), short))
}
