//! Runs: every target in turn, again and again, so that what else the machine does falls on all of them.

use super::BenchError;
use super::floor;
use super::interim::Interim;
use super::outcome::Outcome;
use super::plan::{Kind, Plan};
use super::report::{Report, Row};
use super::scenario::{self, Site};
use super::target::{Running, Source, Target};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
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

    /// Goes to each core and comes back: the kernel knows best which there are.
    fn check(&self) -> Result<(), BenchError> {
        let bad = |error: io::Error| BenchError::Usage(format!("--pin: {error}"));
        let home = sched_getaffinity(None).map_err(|error| bad(error.into()))?;
        for core in self.server.into_iter().chain(self.load) {
            pin(core).map_err(|error| match error.kind() {
                io::ErrorKind::InvalidInput => BenchError::Usage(format!(
                    "--pin: there is no core {core} for this process; they count from 0, and `nproc` tells how many there are"
                )),
                _ => bad(error),
            })?;
        }
        sched_setaffinity(None, &home).map_err(|error| bad(error.into()))
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

/// Finds out what can be known before anything is measured.
///
/// # Errors
/// A plan makes no sense, a target cannot be measured or is not to be told from another, or the cores to pin to are not there.
pub fn check(plans: &[Plan], targets: &[Target], pins: Pins) -> Result<(), BenchError> {
    let wrong = |text: String| Err(BenchError::Usage(text));
    if targets.is_empty() {
        return wrong("no target: give --target or --start".to_owned());
    }
    for (at, target) in targets.iter().enumerate() {
        let name = &target.name;
        if targets[..at].iter().any(|other| other.name == *name) {
            return wrong(format!("two targets are called `{name}`: give each a name of its own, NAME= before its URL or command"));
        }
        target.check()?;
    }
    for plan in plans {
        if plan.name.is_empty() {
            return wrong("--name: the name of a load is empty".to_owned());
        }
        plan.check()?;
        let runs = |target: &&Target| matches!(target.source, Source::Running { .. });
        if matches!(plan.kind, Kind::Restart { .. })
            && let Some(target) = targets.iter().find(runs)
        {
            return wrong(format!("{}: a server can be started again only where --start started it", target.name));
        }
    }
    pins.check()
}

/// Measures each plan against each target, `runs` times, targets interleaved. `watch` is told what is done, and how much has come.
///
/// # Errors
/// As [`check`]. What goes wrong with a target stands in its row.
pub fn run(plans: &[Plan], targets: &[Target], pins: Pins, runs: usize, watch: &mut dyn FnMut(&str, u64)) -> Result<Report, BenchError> {
    check(plans, targets, pins)?;
    let interim = Interim::default();
    run_into(&interim, plans, targets, pins, runs, watch)?;
    Ok(interim.end().unwrap_or_default())
}

/// The same with what was found to make sense by [`check`], into what another thread can end.
///
/// # Errors
/// What makes no sense all the same, or cannot be set up.
pub fn run_into(
    interim: &Interim,
    plans: &[Plan],
    targets: &[Target],
    pins: Pins,
    runs: usize,
    watch: &mut dyn FnMut(&str, u64),
) -> Result<(), BenchError> {
    pins.settle().map_err(BenchError::system("--pin"))?;
    for plan in plans {
        let row = |(at, target): (usize, &Target)| {
            let not_measured = if target.source == Source::Floor { floor::lacks(plan) } else { None };
            Row { not_measured, ..Row::new(plan, &target.name, at == 0) }
        };
        let rows: Vec<Row> = targets.iter().enumerate().map(row).collect();
        let takes_part: Vec<bool> = rows.iter().map(|row| row.not_measured.is_none()).collect();
        let first = interim.begin(rows);
        for round in 0..runs {
            for (at, target) in targets.iter().enumerate().filter(|(at, _)| takes_part[*at]) {
                let what = format!("{} {} {}/{runs}", plan.name, target.name, round + 1);
                let mut watch = |done| watch(&what, done);
                watch(0);
                match once(plan, target, &pins, interim, &mut watch) {
                    Ok((outcome, fault)) => interim.note(first + at, |row| {
                        row.outcomes.push(Outcome { round, ..outcome });
                        row.failures.extend(fault);
                    }),
                    Err(error @ BenchError::Usage(_)) => return Err(error),
                    Err(error) => interim.note(first + at, |row| row.failures.push(error.to_string())),
                }
            }
        }
    }
    Ok(())
}

/// One run, and what is wrong with its figures.
fn once(
    plan: &Plan,
    target: &Target,
    pins: &Pins,
    interim: &Interim,
    watch: &mut dyn FnMut(u64),
) -> Result<(Outcome, Option<String>), BenchError> {
    let mut running = Running::new(target, pins, plan.dialect, interim)?;
    let came = match (plan.kind, &target.source) {
        (Kind::Restart { retained, sessions }, Source::Command { .. }) => {
            scenario::restart::run(plan, (retained, sessions), &mut running, watch)
        }
        _ => scenario::run(plan, &Site::of(&running), watch),
    };
    match came {
        Ok(outcome) => {
            let pid = running.pid.filter(|_| outcome.cost.server_cpu_s.is_none());
            let fault = pid.map(|pid| format!("process {pid} is gone at the end of the run, so what it cost is not known"));
            Ok((outcome, fault))
        }
        // What was started may know why, and what it said goes away with it.
        Err(error) => Err(match running.last_line() {
            Some(said) => error.and(&format!("it said: {said}")),
            None => error,
        }),
    }
}
