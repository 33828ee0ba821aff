//! The loads, one a file; messages that only flow are in `flow`.

mod absent;
mod durable;
mod idle;
pub(super) mod restart;
mod retained;
mod storm;

use super::outcome::Outcome;
use super::plan::{Kind, Plan};
use super::target::{Endpoint, Running};
use super::{BenchError, flow, process};
use std::path::Path;

/// What a load needs to know beside its plan.
#[derive(Debug)]
pub(super) struct Site<'a> {
    pub(super) endpoint: &'a Endpoint,
    /// The server's process, where it is known.
    pub(super) pid: Option<u32>,
    /// The server ends with this run, so nothing has to be tidied up.
    pub(super) is_ours: bool,
    /// The folder that was made for it.
    folder: Option<&'a Path>,
}

impl<'a> Site<'a> {
    pub(super) fn of(running: &'a Running) -> Self {
        let folder = running.folder.as_deref();
        Self { endpoint: &running.endpoint, pid: running.pid, is_ours: folder.is_some(), folder }
    }

    /// What the server keeps on the disk, where that is known.
    fn disk_bytes(&self) -> Option<u64> {
        self.folder.map(process::disk_bytes)
    }

    /// How much that has grown.
    fn disk_growth(&self, before: Option<u64>) -> Option<f64> {
        self.disk_bytes().zip(before).map(|(now, before)| now as f64 - before as f64)
    }
}

/// Runs the load of `plan` once.
pub(super) fn run(plan: &Plan, site: &Site<'_>, watch: &mut dyn FnMut(u64)) -> Result<Outcome, BenchError> {
    match plan.kind {
        Kind::Pairs(_) | Kind::FanOut(_) | Kind::FanIn(_) | Kind::Subs { .. } => flow::run(plan, site, watch),
        Kind::Retained(count) => retained::run(plan, count, site, watch),
        Kind::Durable { messages, .. } => durable::run(plan, messages, site, watch),
        Kind::Offline { sessions, messages, shared } => absent::run(plan, (sessions, messages, shared), site, watch),
        Kind::Restart { .. } => Err(BenchError::Usage("a server can be started again only where --start started it".to_owned())),
        Kind::Storm { connections, resume } => storm::run(plan, connections, resume, site, watch),
        Kind::Idle(connections) => idle::run(plan, connections, site, watch),
    }
}
