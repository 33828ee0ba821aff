//! `candor bench`: what a server costs.

mod arguments;
mod output;
mod signals;
mod values;

pub(super) use arguments::command;

use super::exit::Failure;
use super::report;
use crate::bench::{BenchError, Fault, Floor, Interim, Plan, Report, check, run_into, suite};
use clap::ArgMatches;
use indicatif::ProgressBar;
use output::Output;
use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
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
            loads(&plans, matches)
        }
        Some((name, matches)) => loads(&[values::plan(name, matches)], matches),
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

fn loads(plans: &[Plan], matches: &ArgMatches) -> Result<(), Failure> {
    let targets = values::targets(matches)?;
    let pins = matches.get_one("pin").copied().unwrap_or_default();
    check(plans, &targets, pins).map_err(failure)?;
    let output = Arc::new(Output::open(matches)?);
    let bar = if std::io::stderr().is_terminal() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
    bar.enable_steady_tick(Duration::from_millis(200));
    let interim = Interim::default();
    let tell = {
        let (output, bar) = (Arc::clone(&output), bar.clone());
        move |signal: &str, complete: &Report| {
            bar.finish_and_clear();
            report::line(&format!("candor: ended by {signal}; what is told is what was complete"));
            if complete.rows.is_empty() {
                return output.discard();
            }
            // The signal is what the status tells of.
            let _ = output.tell(complete);
        }
    };
    signals::watch(interim.clone(), tell).map_err(|error| Failure::Other(format!("signals cannot be handled: {error}")))?;
    let mut watch = |what: &str, done: u64| bar.set_message(format!("{what}: {done}"));
    let measured = run_into(&interim, plans, &targets, pins, get(matches, "runs", 1u32) as usize, &mut watch);
    let Some(report) = interim.end() else {
        // A signal has ended it: the thread that took it tells what is complete, and ends the process.
        loop {
            std::thread::park();
        }
    };
    bar.finish_and_clear();
    if let Err(error) = measured {
        output.discard();
        return Err(failure(error));
    }
    output.tell(&report)
}

fn failure(error: BenchError) -> Failure {
    match error {
        BenchError::Usage(text) => Failure::Usage(text),
        other => Failure::Other(other.to_string()),
    }
}
