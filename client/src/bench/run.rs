//! Runs: every target in turn, again and again, so that what else the machine does falls on all of them.

use super::BenchError;
use super::outcome::Outcome;
use super::plan::{Kind, Plan};
use super::report::{Report, Row};
use super::scenario::{self, Site};
use super::target::{Running, Source, Target};
use rustix::thread::{CpuSet, sched_setaffinity};
use std::io;
use std::process::{Child, Command};

/// Which core a started server has, and which the load generator.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pins {
    pub server: Option<usize>,
    pub load: Option<usize>,
}

impl Pins {
    /// Starts a server on its core. A child has the cores of the thread that starts it, so this thread goes there and back.
    pub(super) fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        let Some(core) = self.server else { return command.spawn() };
        pin(core)?;
        let child = command.spawn();
        self.settle()?;
        child
    }

    /// Puts the calling thread on the load's core.
    pub(super) fn settle(&self) -> io::Result<()> {
        self.load.map_or(Ok(()), pin)
    }
}

fn pin(core: usize) -> io::Result<()> {
    if core >= CpuSet::MAX_CPU {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut set = CpuSet::new();
    set.set(core);
    Ok(sched_setaffinity(None, &set)?)
}

/// Measures each plan against each target, `runs` times, targets interleaved. `watch` is told what is done, and how much has come.
///
/// # Errors
/// A plan makes no sense, or the cores to pin to are not there. What goes wrong with a target stands in its row.
pub fn run(plans: &[Plan], targets: &[Target], pins: Pins, runs: usize, watch: &mut dyn FnMut(&str, u64)) -> Result<Report, BenchError> {
    if targets.is_empty() {
        return Err(BenchError::Usage("no target: give --target or --start".to_owned()));
    }
    plans.iter().try_for_each(Plan::check)?;
    pins.settle().map_err(|error| BenchError::Usage(format!("--pin: {error}; `nproc` tells how many cores there are")))?;
    let mut report = Report::default();
    for plan in plans {
        let mut rows: Vec<Row> = targets.iter().map(|target| Row::new(plan, &target.name)).collect();
        for round in 0..runs {
            for (target, row) in targets.iter().zip(&mut rows) {
                if target.source == Source::Floor && !plan.suits_floor() {
                    continue;
                }
                let what = format!("{} {} {}/{runs}", plan.name, target.name, round + 1);
                let mut watch = |done| watch(&what, done);
                watch(0);
                match once(plan, target, &pins, &mut watch) {
                    Ok(outcome) => row.outcomes.push(outcome),
                    Err(error @ BenchError::Usage(_)) => return Err(error),
                    Err(error) => row.failures.push(error.to_string()),
                }
            }
        }
        report.rows.append(&mut rows);
    }
    Ok(report)
}

fn once(plan: &Plan, target: &Target, pins: &Pins, watch: &mut dyn FnMut(u64)) -> Result<Outcome, BenchError> {
    let mut running = Running::new(target, pins, plan.dialect)?;
    match (plan.kind, &target.source) {
        (Kind::Restart { retained, sessions }, Source::Command { .. }) => {
            scenario::restart::run(plan, (retained, sessions), &mut running, watch)
        }
        _ => scenario::run(plan, &Site::of(&running), watch),
    }
}
