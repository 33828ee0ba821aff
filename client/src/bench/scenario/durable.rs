//! An absent session: so many messages are stored for it, then it comes for them.

use super::Site;
use crate::bench::BenchError;
use crate::bench::door;
use crate::bench::flow::{Errand, Topics, collect, deposit};
use crate::bench::outcome::{Cost, Meter, Outcome};
use crate::bench::plan::Plan;

pub(super) fn run(plan: &Plan, count: usize, site: &Site<'_>, watch: &mut dyn FnMut(u64)) -> Result<Outcome, BenchError> {
    let errand = Errand::new(count);
    let outcome = stored_and_fetched(plan, &errand, site, watch);
    // Whatever has become of the load.
    let ended = door::end_session(site.endpoint, plan.dialect, &errand.receiver());
    outcome.and_then(|outcome| ended.map(|()| outcome))
}

fn stored_and_fetched(plan: &Plan, errand: &Errand, site: &Site<'_>, watch: &mut dyn FnMut(u64)) -> Result<Outcome, BenchError> {
    let mut door = door::open(site.endpoint, plan.dialect, &errand.receiver(), false)?;
    door.subscribe(&[errand.filter()], plan.qos)?;
    door.leave()?;
    let before = site.disk_bytes();
    let meter = Meter::start(site.pid);
    let stored = deposit(plan, site.endpoint, errand, Topics::OfPublisher, watch)?;
    let store = meter.stop();
    let disk = site.disk_growth(before);
    let meter = Meter::start(site.pid);
    let got = collect(plan, site.endpoint, errand, false, &stored, watch)?;
    let drain = meter.stop();
    let both = |of: fn(&Cost) -> Option<f64>| of(&store).zip(of(&drain)).map(|(store, drain)| store + drain);
    let cost = Cost { server_cpu_s: both(|cost| cost.server_cpu_s), own_cpu_s: store.own_cpu_s + drain.own_cpu_s, ..drain };
    let count = stored.taken() as usize;
    let mut outcome = Outcome { sent: stored.count(), refused: stored.outcome.refused, cost, ..got };
    outcome.facts.extend(stored.outcome.facts);
    outcome.facts.extend([("store_s", stored.outcome.seconds), ("drain_s", outcome.seconds)]);
    outcome.facts.insert("stored_per_s", count as f64 / stored.outcome.seconds);
    outcome.seconds += stored.outcome.seconds;
    outcome.fact_cpu("store_cpu_us", store, count);
    outcome.fact_cpu("drain_cpu_us", drain, count);
    outcome.fact_rss("rss_bytes_a_message", store, count);
    outcome.fact_disk("disk_bytes_a_message", disk, count);
    Ok(outcome)
}
