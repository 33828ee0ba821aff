//! `candor-compat`: the matrix of clients and brokers from the command line.

use candor_compat::case::coverage::Coverage;
use candor_compat::case::ours::{COMMAND, NEGOTIATION, OURS};
use candor_compat::client;
use candor_compat::crash::volatile::Mutant;
use candor_compat::crash::volatile::process::{self, Difference};
use candor_compat::crash::{Disk, Plan};
use candor_compat::outcome::{Checked, Stop};
use candor_compat::peer::{Broker, Peers, Unavailable};
use candor_compat::performance::catalogue::Scale;
use candor_compat::performance::{self, Request};
use candor_compat::report::{self, Format};
use candor_compat::run::{self, Record, SCRIPT, Trial, WIRE};
use clap::{Parser, Subcommand};
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Candor beside other people's MQTT.
#[derive(Parser)]
#[command(name = "candor-compat")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the cases on every pair, or on some.
    Matrix {
        /// Only this broker; may be repeated. `script` stands for the tests of clients alone.
        #[arg(long)]
        broker: Vec<String>,
        /// Only this client; may be repeated. `wire` stands for the tests of brokers alone, `negotiation` and `command` for what
        /// our own client and command line promise.
        #[arg(long)]
        client: Vec<String>,
        /// Only cases whose name contains this; may be repeated.
        #[arg(long)]
        case: Vec<String>,
        /// How many cases run at the same time. Most of them wait.
        #[arg(long, default_value_t = 8)]
        threads: usize,
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    /// List brokers and clients, and which of them are installed.
    Peers,
    /// List the cases, with the statements of MQTT 3.1.1 that they prove.
    Cases,
    /// Say which statements of MQTT 3.1.1 are covered by tests, and why the others are not.
    Statements,
    /// Measure everything that docs/performance.md says, beside other people's brokers, and write it: about half an hour of a machine
    /// that does nothing else.
    Performance {
        /// A thousandth of everything, once: whether it works. The figures mean nothing.
        #[arg(long)]
        quick: bool,
        /// Only loads whose name begins with this; may be repeated.
        #[arg(long)]
        only: Vec<String>,
        /// Where performance.md and performance/ are written; without it, the docs of this repository.
        #[arg(long)]
        out: Option<PathBuf>,
        /// The profile of cargo's that broker and load generator are built with.
        #[arg(long, default_value = "release")]
        profile: String,
        /// Write the page anew from the figures that were measured.
        #[arg(long)]
        render: bool,
    },
    /// Kill our broker again and again while clients use it, and say what was lost. Fails if anything was.
    Crash {
        #[arg(long, default_value_t = 200)]
        kills: u64,
        /// What everything random follows from; without it, the time.
        #[arg(long)]
        seed: Option<u64>,
        #[arg(long, default_value_t = 3)]
        threads: u16,
        /// A kill is a loss of power: what was not synced is gone.
        #[arg(long)]
        power_loss: bool,
        /// Before each kill the disk fails, and is repaired; a kill is a loss of power.
        #[arg(long)]
        faults: bool,
        /// A directory that gets what the last kill leaves, for `candor-broker inspect`.
        #[arg(long, value_name = "DIR")]
        leave: Option<PathBuf>,
    },
    /// What `crash --power-loss` kills: the broker's library on a disk that loses what was not synced. Standard input says what fails.
    #[command(hide = true)]
    VolatileBroker {
        #[command(flatten)]
        difference: Difference,
        /// Those of candor-broker.
        #[arg(last = true)]
        flags: Vec<String>,
    },
}

/// Of how many kills one has to fall between PUBREC and PUBCOMP.
const EXCHANGE_SHARE: u64 = 10;

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Matrix { broker, client, case, threads, format } => matrix(&broker, &client, &case, threads, format),
        Command::Peers => list_peers(),
        Command::Cases => list_cases(),
        Command::Statements => statements(),
        Command::Performance { quick, only, out, profile, render } => {
            let scale = if quick { Scale::Quick } else { Scale::Full };
            measure(&Request { scale, only, out: out.unwrap_or_else(performance::docs), profile, render })
        }
        Command::Crash { kills, seed, threads, power_loss, faults, leave } => {
            plan(kills, seed, threads, power_loss, faults).and_then(|plan| crash(&Plan { leaves: leave, ..plan }))
        }
        Command::VolatileBroker { difference, flags } => process::serve(&difference, &flags).map(|()| true),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(stop) => {
            eprintln!("candor-compat: {stop}");
            ExitCode::from(2)
        }
    }
}

/// Whether nothing is to be looked at.
fn matrix(brokers: &[String], clients: &[String], cases: &[String], threads: usize, format: Format) -> Checked<bool> {
    for name in brokers.iter().filter(|name| *name != SCRIPT) {
        Peers::broker(name)?;
    }
    for name in clients.iter().filter(|name| ![WIRE, NEGOTIATION, COMMAND].contains(&name.as_str())) {
        Peers::client(name)?;
    }
    let wanted = |list: &[String], name: &str| list.is_empty() || list.iter().any(|wanted| wanted == name);
    let chosen = |trial: &Trial| {
        let name = trial.subject.name();
        wanted(brokers, trial.broker) && wanted(clients, trial.client) && (cases.is_empty() || cases.iter().any(|part| name.contains(part)))
    };
    let trials: Vec<Trial> = run::trials()?.into_iter().filter(chosen).collect();
    if trials.is_empty() {
        return Err(Stop::failed("no case is chosen; `candor-compat cases` lists them"));
    }
    let progress = Progress { all: trials.len(), done: AtomicUsize::new(0), shown: std::io::stderr().is_terminal() };
    let records = run::run_all(&trials, threads, |record| progress.hear(record));
    progress.end();
    write!(std::io::stdout(), "{}", report::write(&records, format))?;
    Ok(!records.iter().any(|record| record.verdict.is_bad()))
}

/// A line that is overwritten, when somebody looks.
struct Progress {
    all: usize,
    done: AtomicUsize,
    shown: bool,
}

impl Progress {
    fn hear(&self, record: &Record) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        if self.shown {
            eprint!("\r\x1b[K{done}/{} {} on {}: {}", self.all, record.trial.client, record.trial.broker, record.trial.subject.name());
        }
    }

    fn end(&self) {
        if self.shown {
            eprint!("\r\x1b[K");
        }
    }
}

fn list_peers() -> Checked<bool> {
    let mut out = std::io::stdout();
    let peers = Peers::load()?;
    for peer in &peers.broker {
        let state = state(Broker::start(&peer.name).map(|_| ()));
        writeln!(out, "broker  {:<18} {:<16} {:<32} {state}", peer.name, peer.version, peer.from)?;
    }
    for peer in &peers.client {
        let state = state(client::open(&peer.name).map(|_| ()));
        writeln!(out, "client  {:<18} {:<16} {:<32} {state}", peer.name, peer.version, peer.from)?;
    }
    Ok(true)
}

fn state(started: Result<(), Unavailable>) -> String {
    match started {
        Ok(()) => "ready".into(),
        Err(Unavailable::Missing(what)) => format!("missing: {what}"),
        Err(Unavailable::Broken(stop)) => format!("broken: {stop}"),
    }
}

fn list_cases() -> Checked<bool> {
    let mut out = std::io::stdout();
    for case in candor_compat::case::CASES {
        writeln!(out, "pair    {}", case.name)?;
    }
    for case in candor_compat::case::mixed::MIXED {
        writeln!(out, "mixed   {}", case.name)?;
    }
    for case in OURS {
        writeln!(out, "{:<11} {} ({})", case.about, case.name, case.against)?;
    }
    for statement in candor_compat::case::statements::STATEMENTS {
        writeln!(out, "broker  {} [{}]", statement.name, statement.ids.join(", "))?;
    }
    for statement in candor_compat::case::client_statements::CLIENT_STATEMENTS {
        writeln!(out, "client  {} [{}]", statement.name, statement.ids.join(", "))?;
    }
    Ok(true)
}

fn plan(kills: u64, seed: Option<u64>, threads: u16, power_loss: bool, has_faults: bool) -> Checked<Plan> {
    let of_time = || std::time::UNIX_EPOCH.elapsed().map_or(1, |since| since.as_millis() as u64);
    let disk = match power_loss || has_faults {
        true => Disk::Volatile { program: std::env::current_exe()?, mutant: Mutant::None },
        false => Disk::Real,
    };
    Ok(Plan { seed: seed.unwrap_or_else(of_time), kills, threads, disk, has_faults, leaves: None })
}

/// Whether nothing was lost, and enough kills came where it is hard.
fn crash(plan: &Plan) -> Checked<bool> {
    let how = match (&plan.disk, plan.has_faults) {
        (Disk::Real, _) => "",
        (_, false) => " --power-loss",
        (_, true) => " --faults",
    };
    writeln!(std::io::stdout(), "candor-compat crash --kills {} --threads {} --seed {}{how}", plan.kills, plan.threads, plan.seed)?;
    let ledger = candor_compat::crash::run(plan)?;
    write!(std::io::stdout(), "{}", candor_compat::crash::report(plan, &ledger))?;
    let counts = &ledger.counts;
    let is_hard = counts.kills_in_exchange >= counts.kills / EXCHANGE_SHARE;
    if !is_hard {
        writeln!(std::io::stdout(), "too few kills between PUBREC and PUBCOMP: at least one in {EXCHANGE_SHARE} was expected")?;
    }
    Ok(counts.is_clean() && is_hard)
}

/// True: a load that went wrong stands on the page.
fn measure(request: &Request) -> Checked<bool> {
    let shown = std::io::stderr().is_terminal();
    let begin = if shown { "\r\x1b[K" } else { "" };
    let end = if shown { "" } else { "\n" };
    performance::run(request, &mut |what| eprint!("{begin}{what}{end}"))?;
    eprint!("{begin}");
    writeln!(std::io::stdout(), "written: {}", request.out.join("performance.md").display())?;
    Ok(true)
}

/// Whether every statement is covered, or has a reason why not.
fn statements() -> Checked<bool> {
    let coverage = Coverage::of_all();
    write!(std::io::stdout(), "{coverage}")?;
    Ok(coverage.is_complete())
}
