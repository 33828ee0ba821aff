//! Open connections that do nothing, and what it costs to answer their PINGREQ.

use super::Site;
use crate::bench::door::{self, Door};
use crate::bench::outcome::{Meter, Outcome};
use crate::bench::plan::Plan;
use crate::bench::tally::Count;
use crate::bench::{BenchError, process};
use std::time::Instant;

/// Connections that are pinged before their answers are read.
const AT_ONCE: usize = 100;

pub(super) fn run(plan: &Plan, connections: usize, site: &Site<'_>, watch: &mut dyn FnMut(u64)) -> Result<Outcome, BenchError> {
    let prefix = format!("bench-{:08x}", crate::random::number() as u32);
    let kernel = kernel_bytes();
    let meter = Meter::start(site.pid);
    let mut doors = Vec::with_capacity(connections);
    for at in 0..connections {
        doors.push(door::open(site.endpoint, plan.dialect, &format!("{prefix}-{at}"), true)?);
        watch(at as u64);
    }
    let opened = meter.stop();
    let kernel_growth = kernel_bytes() as f64 - kernel as f64;
    let (start, meter) = (Instant::now(), Meter::start(site.pid));
    let mut answered = 0;
    for doors in doors.chunks_mut(AT_ONCE) {
        doors.iter_mut().try_for_each(Door::ping)?;
        for door in doors {
            door.pong()?;
            answered += 1;
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    let count = Count { delivered: answered, lost: connections as u64 - answered, ..Count::default() };
    let mut outcome = Outcome { count, sent: connections as u64, seconds, cost: meter.stop(), ..Outcome::default() };
    outcome.fact_cpu("connect_cpu_us", opened, connections);
    outcome.fact_rss("rss_bytes_a_connection", opened, connections);
    // Something else on the machine may have given back more than a few connections take.
    if kernel_growth > 0.0 {
        outcome.facts.insert("kernel_bytes_a_connection", kernel_growth / connections.max(1) as f64);
    }
    Ok(outcome)
}

/// What the kernel holds for sockets, of both sides: they themselves, and their buffers.
fn kernel_bytes() -> u64 {
    process::slab_bytes() + process::socket_bytes()
}
