//! `candor-broker`: reads its configuration, serves until it is told to stop.

use candor_broker::access::{Current, Door};
use candor_broker::auth::{self, Access, passwd};
use candor_broker::broker::{Broker, CannotStart, Setup};
use candor_broker::config::command::{self, Invocation, USAGE};
use candor_broker::config::listener::Listener;
use candor_broker::config::resolve::Loaded;
use candor_broker::config::{Available, machine};
use candor_broker::log::{self, Rates};
use candor_broker::reload::Reload;
use candor_broker::shard::Authenticate;
use candor_broker::start::{Purpose, StartError};
use candor_broker::store::inspect::inspect;
use candor_broker::{experiment, start};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Only of the binary: whoever embeds the library chooses for themselves.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// An address cannot be listened on.
const CANNOT_LISTEN: u8 = 4;
/// What is promised cannot be kept.
const GUARANTEE_NOT_AVAILABLE: u8 = 5;
const OTHER: u8 = 1;

fn status(error: &CannotStart) -> u8 {
    match error {
        CannotStart::Listen(_) => CANNOT_LISTEN,
        CannotStart::Guarantee(_) => GUARANTEE_NOT_AVAILABLE,
        _ => OTHER,
    }
}

fn main() -> ExitCode {
    let known = experiment::known();
    let experiments: Vec<&str> = known.iter().map(|experiment| experiment.protocol.name()).collect();
    let available = Available { durabilities: start::DURABILITIES, experiments: &experiments };
    match command::invocation(std::env::args_os(), &available) {
        Ok(Invocation::Serve(loaded)) => serve(&loaded),
        Ok(Invocation::Check(loaded, against)) => check_all(&loaded, against.as_deref()),
        Ok(Invocation::Show(text)) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Ok(Invocation::Passwd(request)) => match passwd::run(&request) {
            Ok(done) => {
                println!("{done}");
                ExitCode::SUCCESS
            }
            Err(error) => fail(error.exit_status(), &error),
        },
        Ok(Invocation::Inspect(request)) => match inspect(&request.data_dir) {
            Ok(report) if request.json => {
                println!("{}", report.to_json());
                ExitCode::SUCCESS
            }
            Ok(report) => {
                print!("{report}");
                ExitCode::SUCCESS
            }
            Err(error) => fail(OTHER, &error),
        },
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(USAGE)
        }
    }
}

/// Warnings, each on a line of its own; nothing where there are none.
fn say(warnings: &dyn std::fmt::Display) {
    let text = warnings.to_string();
    if !text.is_empty() {
        eprintln!("{text}");
    }
}

fn fail(status: u8, what: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("candor-broker: {what}");
    ExitCode::from(status)
}

fn check_all(loaded: &Loaded, against: Option<&Path>) -> ExitCode {
    let report = match auth::check(loaded, against) {
        Ok((report, warnings)) => {
            say(&warnings);
            report
        }
        Err(found) => return fail(USAGE, &found),
    };
    match setup(loaded, Purpose::Check) {
        Ok(_) => {
            print!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => fail(USAGE, &error),
    }
}

fn setup(loaded: &Loaded, purpose: Purpose) -> Result<(Setup, Reload), StartError> {
    let (access, warnings) = Access::load(&loaded.config.access, None).map_err(|found| StartError(found.to_string()))?;
    say(&warnings);
    let access = Arc::new(Current::new(access));
    let door =
        |listener: &Listener| -> Arc<dyn Authenticate> { Arc::new(Door { access: Arc::clone(&access), anonymous: listener.anonymous }) };
    let setup = start::setup(&loaded.config, &door, purpose)?;
    let reload = Reload::new(loaded.config.access.clone(), access, &setup);
    Ok((setup, reload))
}

fn serve(loaded: &Loaded) -> ExitCode {
    say(&loaded.warnings);
    let rates = match log::start(&loaded.config.log) {
        Ok(rates) => rates,
        Err(error) => return fail(USAGE, &error),
    };
    let (setup, reload) = match setup(loaded, Purpose::Serve) {
        Ok(ready) => ready,
        Err(error) => return fail(USAGE, &error),
    };
    if let Err(error) = machine::raise_descriptors() {
        tracing::warn!(error = %error, "the limit of open files stays as it is");
    }
    // Before the first word to whoever started it: a signal that comes at once must find its listener.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ready = runtime.and_then(|runtime| runtime.block_on(async { Signals::listen() }).map(|signals| (runtime, signals)));
    let (runtime, signals) = match ready {
        Ok(ready) => ready,
        Err(error) => return fail(OTHER, &error),
    };
    let broker = match Broker::start(setup) {
        Ok(broker) => broker,
        Err(error) => return fail(status(&error), &error),
    };
    let mut out = std::io::stdout().lock();
    for url in broker.urls() {
        // Whoever started the broker may have closed its output; that is no reason not to serve.
        let _ = writeln!(out, "listening {url}");
    }
    let _ = out.flush();
    drop(out);
    let ended = runtime.block_on(wait_for_the_end(&broker, &reload, &rates, signals)).and_then(|()| broker.stop());
    rates.tell(true);
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(OTHER, &error),
    }
}

/// The signals that the broker listens to.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        let [terminate, interrupt, hang_up] = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()].map(signal);
        Ok(Self { terminate: terminate?, interrupt: interrupt?, hang_up: hang_up? })
    }
}

/// Until SIGTERM or SIGINT, or until a shard ends by itself. SIGHUP reloads.
async fn wait_for_the_end(broker: &Broker, reload: &Reload, rates: &Rates, mut signals: Signals) -> std::io::Result<()> {
    let mut look = tokio::time::interval(std::time::Duration::from_secs(1));
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => break,
            _ = signals.interrupt.recv() => break,
            _ = signals.hang_up.recv() => reload_files(broker, reload).await,
            _ = look.tick() => {
                rates.tell(false);
                if broker.has_failed() {
                    return Err(std::io::Error::other("a shard ended although nobody told it to; its last log lines say why"));
                }
            }
        }
    }
    tracing::info!("ending");
    Ok(())
}

async fn reload_files(broker: &Broker, reload: &Reload) {
    match reload.run() {
        Ok(done) => {
            for warning in done.warnings.iter() {
                tracing::warn!("{warning}");
            }
            broker.review_rights().await;
            tracing::info!(users = done.users, rules = done.rules, certificates = done.certificates, "reloaded");
        }
        Err(wrong) => tracing::error!("not reloaded, everything stays as it was: {wrong}"),
    }
}
