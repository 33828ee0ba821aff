//! The loads, one a file; messages that only flow are in `flow`.

mod durable;
mod idle;
mod retained;
mod storm;

use super::BenchError;
use super::flow;
use super::outcome::Outcome;
use super::plan::{Kind, Plan};
use super::target::Endpoint;

/// What a load needs to know beside its plan.
#[derive(Debug)]
pub(super) struct Site<'a> {
    pub(super) endpoint: &'a Endpoint,
    /// The server's process, where it is known.
    pub(super) pid: Option<u32>,
    /// The server ends with this run, so nothing has to be tidied up.
    pub(super) is_ours: bool,
}

/// Runs the load of `plan` once.
pub(super) fn run(plan: &Plan, site: &Site<'_>, watch: &mut dyn FnMut(u64)) -> Result<Outcome, BenchError> {
    match plan.kind {
        Kind::Pairs(_) | Kind::FanOut(_) | Kind::FanIn(_) | Kind::Subs { .. } => flow::run(plan, site, watch),
        Kind::Retained(count) => retained::run(plan, count, site, watch),
        Kind::Durable(count) => durable::run(plan, count, site, watch),
        Kind::Storm { connections, resume } => storm::run(plan, connections, resume, site, watch),
        Kind::Idle(connections) => idle::run(plan, connections, site, watch),
    }
}
