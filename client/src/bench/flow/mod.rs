//! Messages that flow: pairs, fan-out and fan-in, in closed loop or at a rate.

mod engine;
mod publisher;
mod setup;

use super::BenchError;
use super::outcome::{Meter, Outcome};
use super::plan::Plan;
use super::target::Endpoint;

/// Runs the load of `plan` once.
pub(super) fn run(plan: &Plan, endpoint: &Endpoint, pid: Option<u32>, watch: &mut dyn FnMut(u64)) -> Result<Outcome, BenchError> {
    let mut engine = setup::engine(plan, endpoint)?;
    let meter = Meter::start(pid);
    let outcome = engine.run(watch)?;
    Ok(Outcome { cost: meter.stop(), ..outcome })
}
