//! `candor clients`: the sessions of a running broker, and what they are subscribed to.

use super::exit::Failure;
use super::{flags, operator};
use clap::{ArgMatches, Command};
use std::io::{self, Write};

pub(super) fn command() -> Command {
    flags::add_to_question(Command::new("clients").about("List the sessions of a candor-broker")).arg(flags::json_flag()).after_help(
        "Whoever asks needs a rule that says so by name:\n  subscribe = [\"$operator/#\"]\n\
         With --json it is what `candor-broker --check --against FILE` reads.",
    )
}

pub(super) async fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let mut lines = operator::ask(matches, "$operator/clients").await?;
    lines.sort_by(|one, two| one["client"].as_str().cmp(&two["client"].as_str()));
    let mut out = io::stdout().lock();
    let written = lines.iter().try_for_each(|line| {
        if matches.get_flag("json") {
            return writeln!(out, "{line}");
        }
        let user = if line["user"].is_string() { operator::text(line, "user") } else { "anonymous".to_owned() };
        let state = if line["connected"] == true { "connected" } else { "away" };
        let filters = line["subscriptions"].as_array().map_or(0, Vec::len);
        writeln!(out, "{}  {user}  {state}  {filters} subscriptions", operator::text(line, "client"))
    });
    written.map_err(|error| Failure::Other(format!("standard output: {error}")))
}
