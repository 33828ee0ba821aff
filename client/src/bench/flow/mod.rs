//! Messages that flow: pairs, fan-out and fan-in, in closed loop or at a rate.

mod aim;
mod crowd;
mod engine;
mod errand;
mod hostile;
mod publisher;
mod setup;
mod turn;

use super::BenchError;
use super::outcome::{Meter, Outcome};
use super::plan::{Kind, Plan};
use super::scenario::Site;

pub(super) use errand::{Errand, Topics, clear, collect, deposit};

/// Runs the load of `plan` once.
pub(super) fn run(plan: &Plan, site: &Site<'_>, watch: &mut dyn FnMut(u64)) -> Result<Outcome, BenchError> {
    let meter = Meter::start(site.pid);
    let mut left = setup::Left::default();
    let run = || -> Result<_, BenchError> {
        let mut engine = setup::engine(plan, site.endpoint, &mut left)?;
        let opened = meter.stop();
        let meter = Meter::start(site.pid);
        let outcome = engine.run(watch)?;
        Ok((opened, Outcome { cost: meter.stop(), ..outcome }))
    };
    let ran = run();
    let cleared = if site.is_ours { Ok(()) } else { left.clear(plan, site.endpoint) };
    let (opened, mut outcome) = ran.and_then(|ran| cleared.map(|()| ran))?;
    if let Kind::Subs { filters, .. } = plan.kind {
        outcome.fact_cpu("subscribe_cpu_us", opened, filters);
        outcome.fact_rss("rss_bytes_a_subscription", opened, filters);
    }
    Ok(outcome)
}
