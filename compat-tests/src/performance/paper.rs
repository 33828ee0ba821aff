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
/// What MQTT and a topic of 16 letters add to 64 bytes of payload.
const MESSAGE_BITS: f64 = 8.0 * (20.0 + 64.0);
/// TCP and IP with time stamps, and Ethernet with the gap between two frames.
const ENVELOPE_BITS: f64 = 8.0 * (52.0 + 38.0);
/// Messages that travel together in one packet, of ten pairs with a window of a hundred.
const TOGETHER: f64 = 10.0;

const SUMS: &[Sum] = &[
    // With so many shards nearly every message crosses from one to another.
    Sum { name: "cores-batched-per-s", of: |figures| Some(CORES * 1e6 / figures.cpu("shards-2-across", CandorTwo)?.median) },
    Sum { name: "cores-alone-per-s", of: |figures| Some(CORES * 1e6 / figures.cpu("qos0-w1", Candor)?.median) },
    Sum { name: "cores-alone-q1-per-s", of: |figures| Some(CORES * 1e6 / figures.cpu("qos1-w1", Candor)?.median) },
    Sum { name: "cores-fan-out-per-s", of: |figures| Some(CORES * 1e6 / figures.cpu("fanout", Candor)?.median) },
    Sum { name: "cores-batched-gbit-per-s", of: |figures| Some(gbit(TOGETHER, figures.cpu("shards-2-across", CandorTwo)?.median)) },
    Sum { name: "cores-alone-gbit-per-s", of: |figures| Some(gbit(1.0, figures.cpu("qos0-w1", Candor)?.median)) },
    // With an acknowledgement of four bytes for each.
    Sum {
        name: "cores-alone-q1-gbit-per-s",
        of: |figures| {
            let messages = gbit(1.0, figures.cpu("qos1-w1", Candor)?.median);
            Some(messages * (1.0 + (ENVELOPE_BITS + 8.0 * 4.0) / (ENVELOPE_BITS + MESSAGE_BITS)))
        },
    },
    Sum { name: "cores-fan-out-gbit-per-s", of: |figures| Some(gbit(TOGETHER, figures.cpu("fanout", Candor)?.median) / 2.0) },
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

/// Gigabits a second, in and out together, of so many messages in each packet that take so many microseconds of a core.
fn gbit(together: f64, cpu_us: f64) -> f64 {
    2.0 * (MESSAGE_BITS + ENVELOPE_BITS / together) * CORES * 1e6 / cpu_us / 1e9
}

fn fact(figures: &Figures, load: &str, name: &str) -> Option<f64> {
    Some(figures.fact(load, Candor, name)?.median)
}

/// Two digits: more would say that it was measured.
fn about(value: f64) -> String {
    if value <= 0.0 || !value.is_finite() {
        return short(value);
    }
    let unit = 10f64.powi(value.log10().floor() as i32 - 1);
    short((value / unit).round() * unit)
}

/// The figure of this name; `None` where there is no such, a dash where it cannot be calculated.
pub(super) fn sum(name: &str, figures: &Figures) -> Option<String> {
    let sum = SUMS.iter().find(|sum| sum.name == name)?;
    Some((sum.of)(figures).map_or_else(|| "–".to_owned(), about))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_paper_has_two_digits() {
        assert_eq!([244_554_834.0, 6_938_121.0, 1.674, 0.183, 0.0].map(about), ["240,000,000", "6,900,000", "1.70", "0.18", "0.00"]);
    }
}
