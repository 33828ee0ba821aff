//! `candor bench`: what a server costs.

mod arguments;
mod values;

pub(super) use arguments::command;

use super::exit::{Exit, Failure};
use super::report;
use crate::bench::{BenchError, Fault, Floor, Plan, Report, run as measure, suite};
use clap::ArgMatches;
use indicatif::ProgressBar;
use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use values::get;

pub(super) fn run(matches: &ArgMatches) -> Result<(), Failure> {
    match matches.subcommand() {
        Some(("floor", matches)) => floor(matches),
        Some(("suite", matches)) => {
            let chosen: Vec<&String> = matches.get_many("only").into_iter().flatten().collect();
            let mut plans = suite(matches.get_flag("quick"), matches.get_one("time").copied());
            plans.retain(|plan| chosen.is_empty() || chosen.contains(&&plan.name));
            told(&loads(&plans, matches)?, matches)
        }
        Some((name, matches)) => told(&loads(&[values::plan(name, matches)], matches)?, matches),
        None => Err(Failure::Usage("bench: no scenario".to_owned())),
    }
}

fn floor(matches: &ArgMatches) -> Result<(), Failure> {
    let address = matches.get_one::<SocketAddr>("listen").copied().unwrap_or_else(|| ([127, 0, 0, 1], 1883).into());
    let fault = matches.get_one::<Fault>("fault").copied().unwrap_or_default();
    let bad = |error: std::io::Error| Failure::Other(format!("{address}: {error}"));
    let floor = Floor::bind(address, fault).map_err(bad)?;
    let _ = writeln!(std::io::stdout(), "listening mqtt://{}", floor.address().map_err(bad)?);
    floor.run(&Arc::new(AtomicBool::new(false))).map_err(bad)
}

fn loads(plans: &[Plan], matches: &ArgMatches) -> Result<Report, Failure> {
    let targets = values::targets(matches)?;
    let bar = if std::io::stderr().is_terminal() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
    bar.enable_steady_tick(Duration::from_millis(200));
    let mut watch = |what: &str, done: u64| bar.set_message(format!("{what}: {done}"));
    let pins = matches.get_one("pin").copied().unwrap_or_default();
    let report = measure(plans, &targets, pins, get(matches, "runs", 1u32) as usize, &mut watch);
    bar.finish_and_clear();
    report.map_err(failure)
}

fn failure(error: BenchError) -> Failure {
    match error {
        BenchError::Usage(text) => Failure::Usage(text),
        other => Failure::Other(other.to_string()),
    }
}

fn told(result: &Report, matches: &ArgMatches) -> Result<(), Failure> {
    let mut out = std::io::stdout();
    if let Some(path) = matches.get_one::<PathBuf>("html") {
        std::fs::write(path, result.to_html()).map_err(|error| Failure::Other(format!("{}: {error}", path.display())))?;
    }
    // When standard output is closed there is nobody to tell.
    if matches.get_flag("json") {
        for line in result.to_json_lines() {
            let _ = writeln!(out, "{line}");
        }
    } else {
        let _ = out.write_all(result.to_text().as_bytes());
    }
    let faults = result.faults();
    if faults.is_empty() {
        return Ok(());
    }
    if matches.get_flag("json") {
        faults.iter().for_each(|fault| report::line(&format!("candor: {fault}")));
    }
    Err(Failure::Said(Exit::Other))
}
