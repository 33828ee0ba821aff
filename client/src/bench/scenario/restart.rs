//! A server that is stopped with much to keep, and started again: how long until it serves, and whether it has kept it.

use super::Site;
use super::absent::Absent;
use crate::bench::BenchError;
use crate::bench::flow::{Errand, Topics, collect, deposit};
use crate::bench::outcome::{Meter, Outcome};
use crate::bench::plan::Plan;
use crate::bench::target::Running;

pub(in crate::bench) fn run(
    plan: &Plan,
    (retained, sessions): (usize, usize),
    running: &mut Running,
    watch: &mut dyn FnMut(u64),
) -> Result<Outcome, BenchError> {
    let errand = Errand::new(retained);
    let site = Site::of(running);
    let absent = Absent::new(plan, &site, sessions, |at| format!("bench/absent/{at}"), watch)?;
    let stored = deposit(plan, site.endpoint, &errand, Topics::retained(retained), watch)?;
    let (stop, start) = running.restart()?;
    let site = Site::of(running);
    let disk = site.disk_bytes();
    let present = absent.present(&site)?;
    // Its whole memory counts, since it has done nothing but start.
    let rss = Meter::start(site.pid).stop().rss_bytes;
    let meter = Meter::start(site.pid);
    let got = collect(plan, site.endpoint, &errand, true, &stored, watch)?;
    let mut outcome = Outcome { sent: stored.count(), refused: stored.outcome.refused, cost: meter.stop(), ..got };
    outcome.facts.extend([("stop_s", stop.as_secs_f64()), ("start_s", start.as_secs_f64())]);
    outcome.facts.insert("sessions_kept_share", present as f64 / sessions.max(1) as f64);
    outcome.facts.extend(rss.map(|bytes| ("rss_bytes_after_start", bytes as f64)));
    outcome.facts.extend(disk.map(|bytes| ("disk_bytes_in_all", bytes as f64)));
    Ok(outcome)
}
