//! `candor bench`: what a server costs.

use super::exit::{Exit, Failure};
use super::flags;
use super::report;
use crate::bench::{BenchError, Fault, Floor, Kind, Pins, Plan, Report, Target, run as measure};
use candor_protocol::dialect::Dialect;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use indicatif::ProgressBar;
use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

fn arg(name: &'static str, value: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value)
}

pub(super) fn command() -> Command {
    let scenario = |name: &'static str, about: &'static str| load_flags(Command::new(name).about(about));
    let connections = |command: Command, help: &'static str, count: &'static str| {
        command
            .arg(arg("connections", "COUNT").short('n').value_parser(value_parser!(u32).range(1..=20_000)).default_value(count).help(help))
    };
    Command::new("bench")
        .about("Measure what a server costs: CPU, memory, latency, and whether it loses anything")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(connections(scenario("pairs", "So many publishers, each with one subscriber"), "Pairs", "10"))
        .subcommand(connections(scenario("fan-out", "One publisher, so many subscribers"), "Subscribers", "100"))
        .subcommand(connections(scenario("fan-in", "So many publishers, one subscriber"), "Publishers", "50"))
        .subcommand(
            Command::new("floor").about("The built-in relay: the least that any server must cost. No broker for anything else").args([
                arg("listen", "ADDRESS").default_value("127.0.0.1:1883").value_parser(value_parser!(SocketAddr)).help("ADDRESS:PORT"),
                arg("fault", "WHAT=EVERY")
                    .value_parser(fault)
                    .help("Do wrong on purpose, once in EVERY messages: drop, double or swap; shows that a fault is seen"),
            ]),
        )
}

fn fault(text: &str) -> Result<Fault, String> {
    let wrong = || "allowed: drop=EVERY, double=EVERY, swap=EVERY with a number from 1 on".to_owned();
    let (what, every) = text.split_once('=').ok_or_else(wrong)?;
    let every = every.parse().ok().filter(|every| *every > 0).ok_or_else(wrong)?;
    match what {
        "drop" => Ok(Fault::Drop(every)),
        "double" => Ok(Fault::Double(every)),
        "swap" => Ok(Fault::Swap(every)),
        _ => Err(wrong()),
    }
}

fn load_flags(command: Command) -> Command {
    let command = target_flags(command);
    command.args([
        arg("qos", "QOS").short('q').value_parser(value_parser!(u8).range(0..=2)).default_value("0").help("0, 1 or 2"),
        arg("payload", "BYTES").value_parser(value_parser!(usize)).default_value("64").help("At least 16"),
        arg("window", "COUNT")
            .short('w')
            .value_parser(value_parser!(usize))
            .default_value("100")
            .help("Messages of a publisher that are not acknowledged and delivered, at most"),
        arg("rate", "PER_SECOND").value_parser(value_parser!(f64)).help("Messages over all publishers; default: as the window allows"),
        arg("count", "COUNT").value_parser(value_parser!(u64).range(1..)).default_value("100000000").help("Messages, at most"),
        arg("time", "SECONDS").value_parser(value_parser!(f64)).default_value("3").help("The load lasts, at most"),
        arg("stall", "SECONDS").value_parser(value_parser!(f64)).default_value("5").help("Silence after which what is missing is lost"),
        arg("dialect", "DIALECT").short('V').value_parser(["3.1.1", "extended"]).default_value("3.1.1").help("3.1.1 or extended"),
        arg("dictionary", "BYTES").value_parser(value_parser!(usize)).default_value("0").help("Metadata with each extended message"),
    ])
}

fn target_flags(command: Command) -> Command {
    command.args([
        arg("target", "[NAME=]URL[,pid=N]")
            .short('t')
            .action(ArgAction::Append)
            .help("A server that runs, with its process where its cost is wanted; or `floor`, the built-in relay; may be repeated"),
        arg("start", "[NAME=]COMMAND")
            .short('s')
            .action(ArgAction::Append)
            .help("A server that is started anew for each run: {port} is its port, {config:FILE} a copy of FILE with {port} filled in"),
        arg("runs", "COUNT").short('r').value_parser(value_parser!(u32).range(1..=1000)).default_value("1").help("Targets interleaved"),
        arg("pin", "SERVER,LOAD").value_parser(pins).help("The cores of what is started and of the load"),
        flags::json_flag(),
    ])
}

fn pins(text: &str) -> Result<Pins, String> {
    let cores = text.split_once(',').and_then(|(server, load)| Some((server.parse().ok()?, load.parse().ok()?)));
    let (server, load) = cores.ok_or_else(|| "the form is CORE,CORE, as in 0,1".to_owned())?;
    Ok(Pins { server: Some(server), load: Some(load) })
}

pub(super) fn run(matches: &ArgMatches) -> Result<(), Failure> {
    match matches.subcommand() {
        Some(("floor", matches)) => floor(matches),
        Some((name, matches)) => {
            let plan = plan(name, matches);
            told(&loads(&[plan], matches)?, matches)
        }
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

fn get<T: Clone + Send + Sync + 'static>(matches: &ArgMatches, name: &str, default: T) -> T {
    matches.get_one::<T>(name).cloned().unwrap_or(default)
}

fn plan(name: &str, matches: &ArgMatches) -> Plan {
    let connections = get(matches, "connections", 10u32) as usize;
    let kind = match name {
        "fan-out" => Kind::FanOut(connections),
        "fan-in" => Kind::FanIn(connections),
        _ => Kind::Pairs(connections),
    };
    let seconds = |name, default| Duration::try_from_secs_f64(get(matches, name, default)).unwrap_or(Duration::from_secs(3600));
    Plan {
        name: name.to_owned(),
        kind,
        qos: get(matches, "qos", 0),
        payload_len: get(matches, "payload", 64),
        window: get(matches, "window", 100),
        rate: matches.get_one("rate").copied(),
        count: get(matches, "count", 100_000_000),
        time: seconds("time", 3.0),
        stall: seconds("stall", 5.0),
        dialect: if get(matches, "dialect", String::new()) == "extended" { Dialect::Extended } else { Dialect::V311 },
        dictionary_len: get(matches, "dictionary", 0),
    }
}

/// The targets in the order in which they stand on the command line.
fn targets(matches: &ArgMatches) -> Result<Vec<Target>, Failure> {
    let mut found = Vec::new();
    for (name, parse) in [("target", Target::parse as fn(&str) -> Result<Target, BenchError>), ("start", Target::parse_command)] {
        let places = matches.indices_of(name).into_iter().flatten();
        for (place, text) in places.zip(matches.get_many::<String>(name).into_iter().flatten()) {
            found.push((place, parse(text).map_err(failure)?));
        }
    }
    found.sort_by_key(|(place, _)| *place);
    Ok(found.into_iter().map(|(_, target)| target).collect())
}

fn loads(plans: &[Plan], matches: &ArgMatches) -> Result<Report, Failure> {
    let targets = targets(matches)?;
    let bar = if std::io::stderr().is_terminal() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
    bar.enable_steady_tick(Duration::from_millis(200));
    let mut watch = |what: &str, done: u64| bar.set_message(format!("{what}: {done}"));
    let report = measure(plans, &targets, get(matches, "pin", Pins::default()), get(matches, "runs", 1u32) as usize, &mut watch);
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
