//! The `candor` command line. Not part of the library's promise: its interface is the flags, the output and the exit states.

#[cfg(target_os = "linux")]
mod bench;
mod clients;
mod dead_letters;
mod exit;
mod experiment;
mod explain;
mod flags;
mod json;
mod may_i;
mod operator;
mod output;
mod probe;
mod publish;
mod report;
mod state;
mod subscribe;
mod values;
mod why;

pub use exit::Exit;

use clap::Command;
use exit::Failure;
use std::ffi::OsString;
use std::process::ExitCode;

/// The whole command line, as data: parser, help and manual come from it.
pub fn command() -> Command {
    let command = Command::new("candor")
        .about("Publishes, subscribes and looks at MQTT servers, plain or with the extension layer")
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(true)
        .arg_required_else_help(true)
        .after_help(exit::TABLE)
        .subcommand(publish::command())
        .subcommand(subscribe::command())
        .subcommand(dead_letters::command())
        .subcommand(probe::command())
        .subcommand(why::command())
        .subcommand(clients::command())
        .subcommand(may_i::command())
        .subcommand(explain::command());
    #[cfg(target_os = "linux")]
    let command = command.subcommand(bench::command());
    command
}

/// Runs the command line.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let matches = match command().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) => {
            // Help and version are no errors, and clap knows where each goes.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage.into() } else { Exit::Done.into() };
        }
    };
    let Some((name, matches)) = matches.subcommand() else { return Exit::Usage.into() };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return finish(Err(Failure::Other(format!("the runtime cannot start: {error}"))), false),
    };
    let last = matches.subcommand().map_or(matches, |(_, last)| last);
    let json = last.try_get_one::<bool>("json").ok().flatten().copied().unwrap_or(false);
    let result = runtime.block_on(async {
        match name {
            "pub" => publish::run(matches).await,
            "sub" => subscribe::run(matches).await,
            "dead-letters" => dead_letters::run(matches).await,
            "probe" => probe::run(matches).await,
            "clients" => clients::run(matches).await,
            "may-i" => may_i::run(matches).await,
            "why" => why::run(matches).await,
            "explain" => explain::run(matches),
            #[cfg(target_os = "linux")]
            "bench" => bench::run(matches),
            other => Err(Failure::Other(format!("`{other}` is no command"))),
        }
    });
    // A thread that still reads standard input must not keep the process.
    runtime.shutdown_background();
    finish(result, json)
}

fn finish(result: Result<(), Failure>, json: bool) -> ExitCode {
    match result {
        Ok(()) => Exit::Done.into(),
        Err(failure) => {
            report::failure(&failure, json);
            failure.exit().into()
        }
    }
}
