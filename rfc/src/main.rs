//! `candor-rfc`: builds the draft, checks it, and shows what proves it.

use candor_rfc::draft::{Draft, NAME, load};
use candor_rfc::results::Results;
use candor_rfc::splice::splice;
use candor_rfc::tools::{Tools, write_markdown};
use candor_rfc::workspace::root_above;
use candor_rfc::{check, coverage};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const DONE: u8 = 0;
const FAILED: u8 = 1;
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let matches = command().get_matches();
    let root = match root(&matches) {
        Ok(root) => root,
        Err(error) => return ended(USAGE, &error),
    };
    let draft = match load(&root) {
        Ok(draft) => draft,
        Err(finding) => return ended(FAILED, &finding),
    };
    match matches.subcommand() {
        Some(("build", matches)) => build(&root, &draft, matches),
        Some(("check", matches)) => run_check(&draft, matches),
        Some(("coverage", matches)) => run_coverage(&draft, matches),
        _ => ended(USAGE, &"no command was given"),
    }
}

fn command() -> Command {
    let path = || value_parser!(PathBuf);
    let results = Arg::new("results")
        .long("results")
        .value_name("FILE")
        .action(ArgAction::Append)
        .value_parser(path())
        .help("What `cargo test > FILE 2>&1` wrote; may be given several times");
    let root = Arg::new("root").long("root").value_name("DIR").global(true).value_parser(path());
    Command::new("candor-rfc")
        .about("The Internet-Draft, built from the tests")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .arg(root.help("The repository [default: the one that holds the current folder]"))
        .subcommand(
            Command::new("build")
                .about("Builds Markdown, text and HTML of the draft")
                .arg(Arg::new("out").long("out").value_name("DIR").value_parser(path()).help("Where they go [default: target/draft]"))
                .arg(
                    Arg::new("markdown-only")
                        .long("markdown-only")
                        .action(ArgAction::SetTrue)
                        .help("Stop at the Markdown, which needs no tools"),
                ),
        )
        .subcommand(
            Command::new("check")
                .about("Fails unless every clause has a test that passes and every exchange a test that recorded it")
                .arg(results.clone().required_unless_present("static"))
                .arg(Arg::new("static").long("static").action(ArgAction::SetTrue).help("Do not look at which tests pass")),
        )
        .subcommand(
            Command::new("coverage")
                .about("Prints every clause with the test that proves it")
                .arg(results)
                .arg(Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print JSON")),
        )
}

fn root(matches: &ArgMatches) -> Result<PathBuf, String> {
    if let Some(root) = matches.get_one::<PathBuf>("root") {
        return Ok(root.clone());
    }
    let here = std::env::current_dir().map_err(|error| format!("the current folder cannot be read: {error}"))?;
    root_above(&here).ok_or_else(|| "neither this folder nor one above it holds Cargo.toml and rfc/draft; give --root DIR".to_owned())
}

fn build(root: &Path, draft: &Draft, matches: &ArgMatches) -> ExitCode {
    let spliced = splice(draft);
    let findings = check::check(draft, &spliced, None);
    findings.iter().for_each(|finding| eprintln!("{finding}"));
    if !findings.is_empty() {
        return ended(FAILED, &"the draft was not built");
    }
    let folder = matches.get_one::<PathBuf>("out").cloned().unwrap_or_else(|| root.join("target/draft"));
    if matches.get_flag("markdown-only") {
        return match write_markdown(&spliced.markdown, &folder, NAME) {
            Ok(path) => {
                println!("{}", path.display());
                ExitCode::from(DONE)
            }
            Err(error) => ended(FAILED, &error),
        };
    }
    match Tools::of_root(root).build(&spliced.markdown, &folder, NAME) {
        Ok(built) => {
            built.warnings.iter().for_each(|warning| eprintln!("{warning}"));
            println!("{}\n{}", built.text.display(), built.html.display());
            ExitCode::from(DONE)
        }
        Err(error) => ended(FAILED, &error),
    }
}

fn run_check(draft: &Draft, matches: &ArgMatches) -> ExitCode {
    let results = match results(matches) {
        Ok(results) => results,
        Err(error) => return ended(USAGE, &error),
    };
    let findings = check::check(draft, &splice(draft), results.as_ref());
    findings.iter().for_each(|finding| eprintln!("{finding}"));
    let clauses = counted(draft.scan.clauses.len(), "clause");
    let exchanges = counted(draft.exchanges.len(), "exchange");
    match (findings.len(), results) {
        (0, Some(_)) => println!("{clauses}, each proved by a test that passed; {exchanges}, each recorded by one"),
        (0, None) => println!("{clauses}, {exchanges}; whether their tests pass was not looked at"),
        (count, _) => return ended(FAILED, &counted(count, "finding")),
    }
    ExitCode::from(DONE)
}

fn run_coverage(draft: &Draft, matches: &ArgMatches) -> ExitCode {
    let results = match results(matches) {
        Ok(results) => results,
        Err(error) => return ended(USAGE, &error),
    };
    let rows = coverage::rows(&draft.scan.clauses, results.as_ref());
    if matches.get_flag("json") {
        match serde_json::to_string_pretty(&rows) {
            Ok(json) => println!("{json}"),
            Err(error) => return ended(FAILED, &error),
        }
    } else {
        print!("{}", coverage::text(&rows));
    }
    ExitCode::from(DONE)
}

/// All files of results together; `None` when there are none.
fn results(matches: &ArgMatches) -> Result<Option<Results>, String> {
    let Some(files) = matches.get_many::<PathBuf>("results") else { return Ok(None) };
    let mut results = Results::default();
    for file in files {
        let text = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
        results.add(&String::from_utf8_lossy(&text)).map_err(|error| format!("{}: {error}", file.display()))?;
    }
    Ok(Some(results))
}

fn counted(count: usize, of: &str) -> String {
    format!("{count} {of}{}", if count == 1 { "" } else { "s" })
}

fn ended(status: u8, why: &dyn fmt::Display) -> ExitCode {
    eprintln!("candor-rfc: {why}");
    ExitCode::from(status)
}
