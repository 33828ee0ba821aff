//! Retained messages: so many are stored, then one subscription gets them all.

use super::Site;
use crate::bench::BenchError;
use crate::bench::flow::{Errand, Topics, clear, collect, deposit};
use crate::bench::outcome::{Meter, Outcome};
use crate::bench::plan::Plan;

pub(super) fn run(plan: &Plan, count: usize, site: &Site<'_>, watch: &mut dyn FnMut(u64)) -> Result<Outcome, BenchError> {
    let errand = Errand::new(count);
    let outcome = stored_and_fetched(plan, &errand, site, watch);
    let cleared = if site.is_ours { Ok(()) } else { clear(plan, site.endpoint, &errand) };
    outcome.and_then(|outcome| cleared.map(|()| outcome))
}

fn stored_and_fetched(plan: &Plan, errand: &Errand, site: &Site<'_>, watch: &mut dyn FnMut(u64)) -> Result<Outcome, BenchError> {
    let count = errand.count();
    let before = site.disk_bytes();
    let meter = Meter::start(site.pid);
    // Above QoS 0, so that all are known to be stored.
    let stored = deposit(&Plan { qos: plan.qos.max(1), ..plan.clone() }, site.endpoint, errand, Topics::retained(count), watch)?;
    let store = meter.stop();
    let disk = site.disk_growth(before);
    let meter = Meter::start(site.pid);
    let got = collect(plan, site.endpoint, errand, true, &stored, watch)?;
    let mut outcome = Outcome { sent: stored.count(), refused: stored.outcome.refused, cost: meter.stop(), ..got };
    let count = stored.taken() as usize;
    outcome.fact_cpu("store_cpu_us", store, count);
    outcome.fact_rss("rss_bytes_a_message", store, count);
    outcome.fact_disk("disk_bytes_a_message", disk, count);
    Ok(outcome)
}
