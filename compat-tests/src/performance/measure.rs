//! Runs every load: `candor bench` once for each round, and what it says as figures.

use super::Request;
use super::catalogue::{self, Group, Load};
use super::figures::{Figures, Row, Run};
use super::machine::Machine;
use super::profile;
use crate::outcome::{Checked, Stop};
use crate::peer::Unavailable;
use crate::peer::recipe::built;
use crate::peer::scratch::Scratch;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What it takes to run a load.
pub(super) struct Bench {
    candor: PathBuf,
    pub(super) broker: PathBuf,
    /// Configuration files, and the data of brokers: on the disk that cargo builds on, as the system's folder for temporary files may
    /// be memory.
    pub(super) folder: Scratch,
    /// Whether there are two cores to bind to.
    pins: bool,
}

/// Everything that is asked for.
///
/// # Errors
/// The programs cannot be built, or no load is asked for by this name. What goes wrong with a load stands in its row.
pub(super) fn all(request: &Request, said: &mut dyn FnMut(&str)) -> Checked<Figures> {
    let wanted = |load: &Load| request.only.is_empty() || request.only.iter().any(|part| load.id.starts_with(part.as_str()));
    let mut groups = catalogue::groups(request.scale)?;
    groups.iter_mut().for_each(|group| group.loads.retain(wanted));
    let count: usize = groups.iter().map(|group| group.rounds * group.loads.len()).sum();
    let profiles = request.only.is_empty() || request.only.iter().any(|part| part == "profile");
    if count == 0 && !profiles {
        return Err(Stop::failed(format!("no load begins with any of: {}", request.only.join(", "))));
    }
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let program = |package, name| match built(package, name, &request.profile) {
        Ok(path) => Ok(path),
        Err(Unavailable::Missing(what)) => Err(Stop::failed(what)),
        Err(Unavailable::Broken(stop)) => Err(stop),
    };
    let (candor, broker) = (program("candor-client", "candor")?, program("candor-broker", "candor-broker")?);
    let folder = Scratch::within(broker.parent().unwrap_or(Path::new(".")), "performance")?;
    let bench = Bench { candor, broker, folder, pins: cores > 1 };
    let machine = Machine::here(&request.profile, bench.folder.path())?;
    let mut figures = Figures { scale: request.scale, machine, loads: Default::default(), profiles: Default::default() };
    let mut done = 0;
    for Group { rounds, loads } in &groups {
        for round in 0..*rounds {
            // There and back, so that what grows with time is nobody's disadvantage.
            let mut loads: Vec<&Load> = loads.iter().collect();
            if round % 2 == 1 {
                loads.reverse();
            }
            for load in loads {
                done += 1;
                said(&format!("{done}/{count} {} {}/{rounds}", load.id, round + 1));
                bench.once(load, round, &mut figures)?;
            }
        }
    }
    if profiles {
        said("profile");
        figures.profiles = profile::all(&bench, request.scale)?;
    }
    Ok(figures)
}

impl Bench {
    /// One round of a load against all its targets.
    fn once(&self, load: &Load, round: usize, figures: &mut Figures) -> Checked {
        let rows = figures.loads.entry(load.id.clone()).or_default();
        let mut targets = Vec::new();
        for target in &load.targets {
            match target.arguments(&self.broker, self.folder.path()) {
                Ok(arguments) => targets.extend(arguments),
                Err(Unavailable::Missing(what)) => rows.entry(target.key().to_owned()).or_default().fault(what),
                Err(Unavailable::Broken(stop)) => return Err(stop),
            }
        }
        if targets.is_empty() {
            return Ok(());
        }
        match self.rows(load, &targets) {
            Ok(said) => {
                for row in &said {
                    let name = row["target"].as_str().unwrap_or_default();
                    rows.entry(name.to_owned()).or_default().add(row, round);
                }
            }
            // One load that cannot be run is no reason to lose all the others.
            Err(stop) => load.targets.iter().for_each(|target| rows.entry(target.key().to_owned()).or_default().fault(stop.to_string())),
        }
        Ok(())
    }

    /// What `candor bench` says of each target.
    pub(super) fn rows(&self, load: &Load, targets: &[String]) -> Checked<Vec<Value>> {
        let mut command = Command::new(&self.candor);
        command.arg("bench").args(&load.arguments).args(targets).arg("--json").env("TMPDIR", self.folder.path());
        if load.pinned && self.pins {
            command.args(["--pin", "0,1"]);
        }
        let output = command.stdin(Stdio::null()).output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let said: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        if said.is_empty() {
            let why = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(Stop::failed(format!("candor bench {}: {why}", load.arguments.join(" "))));
        }
        Ok(said)
    }
}

impl Row {
    fn fault(&mut self, what: String) {
        if !self.faults.contains(&what) {
            self.faults.push(what);
        }
    }

    /// Adds what `candor bench --json` says of one target.
    fn add(&mut self, row: &Value, round: usize) {
        let faults = row["faults"].as_array().into_iter().flatten().filter_map(Value::as_str);
        faults.for_each(|text| self.fault(text.to_owned()));
        self.runs.extend(row["runs"].as_array().into_iter().flatten().map(|outcome| run(outcome, round)));
    }
}

fn run(outcome: &Value, round: usize) -> Run {
    let (count, cost, latency) = (&outcome["count"], &outcome["cost"], &outcome["latency"]);
    let delivered = count["delivered"].as_u64().unwrap_or_default();
    let seconds = outcome["seconds"].as_f64().unwrap_or_default();
    let facts = outcome["facts"].as_object().into_iter().flatten();
    Run {
        round,
        cpu_us: cost["server_cpu_s"].as_f64().filter(|_| delivered > 0).map(|cpu_s| rounded(cpu_s * 1e6 / delivered as f64)),
        per_second: if seconds > 0.0 { rounded(delivered as f64 / seconds) } else { 0.0 },
        delivered,
        lost: count["lost"].as_u64().unwrap_or_default(),
        rss_bytes: cost["rss_bytes"].as_u64(),
        rss_peak_bytes: cost["rss_peak_bytes"].as_u64(),
        socket_growth_bytes: cost["socket_growth_bytes"].as_i64().unwrap_or_default(),
        p50_us: latency["p50"].as_f64().map(rounded),
        p99_us: latency["p99"].as_f64().map(rounded),
        facts: facts.filter_map(|(name, value)| Some((name.clone(), rounded(value.as_f64()?)))).collect(),
    }
}

/// More digits than anybody believes only make the file long.
fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_load_generator_says_becomes_figures_and_faults_once() {
        let said = serde_json::json!({
            "target": "it", "faults": ["3 messages lost"],
            "runs": [{
                "count": { "delivered": 2000, "lost": 3 }, "seconds": 0.5, "facts": { "drain_s": 0.25 },
                "cost": { "server_cpu_s": 0.004, "rss_bytes": 1_048_576, "rss_peak_bytes": 2_097_152, "socket_growth_bytes": -4096 },
                "latency": { "p50": 10.0, "p99": 20.0 },
            }],
        });
        let mut row = Row::default();
        row.add(&said, 0);
        row.add(&said, 1);
        assert_eq!((row.runs.len(), row.faults.len()), (2, 1));
        let run = &row.runs[1];
        assert_eq!(run.round, 1);
        assert_eq!((run.cpu_us, run.per_second, run.lost), (Some(2.0), 4000.0, 3));
        assert_eq!((run.rss_bytes, run.rss_peak_bytes, run.socket_growth_bytes), (Some(1_048_576), Some(2_097_152), -4096));
        assert_eq!((run.p50_us, run.p99_us, run.facts["drain_s"]), (Some(10.0), Some(20.0), 0.25));
    }
}
