//! `candor why`: the story of a client, as the ledger of a running broker tells it.

use super::exit::Failure;
use super::operator::text;
use super::{flags, operator, report};
use clap::{Arg, ArgAction, ArgGroup, ArgMatches, Command};
use serde_json::Value;
use std::io::{self, Write};
use std::num::NonZeroU8;
use std::time::{SystemTime, UNIX_EPOCH};
use time::OffsetDateTime;
use time::format_description::well_known::iso8601::{Config, EncodedConfig, TimePrecision};
use time::format_description::well_known::{Iso8601, Rfc3339};

pub(super) fn command() -> Command {
    flags::add_to_question(Command::new("why").about("Say what was refused to a client and what became of its connections"))
        .args([
            Arg::new("client").value_name("CLIENT").help("The client identifier"),
            Arg::new("all").long("all").action(ArgAction::SetTrue).help("Every client that the broker knows of"),
            Arg::new("black-holes")
                .long("black-holes")
                .action(ArgAction::SetTrue)
                .help("Topics that take messages which nobody gets, or refuse many"),
            Arg::new("since")
                .long("since")
                .value_name("WHEN")
                .value_parser(since)
                .help("Only what happened after that: 90s, 15m, 2h or 7d ago, or a time as in 2026-01-31T12:00:00Z"),
            flags::json_flag(),
        ])
        .group(ArgGroup::new("whom").args(["client", "all", "black-holes"]).required(true))
        .after_help(
            "The broker has to be a candor-broker, and whoever asks needs a rule that says so by name:\n  subscribe = [\"$operator/#\"]\n\
         The ledger keeps the last lines on clients that prove who they are; of others nothing is kept.",
        )
}

pub(super) async fn run(matches: &ArgMatches) -> Result<(), Failure> {
    if matches.get_flag("black-holes") {
        return black_holes(matches).await;
    }
    let client = flags::string(matches, "client");
    let question = match &client {
        Some(client) => format!("$operator/story/{}", operator::escaped(client)),
        None => "$operator/story".to_owned(),
    };
    let since_ms = matches.get_one::<u64>("since").copied().unwrap_or(0);
    let mut lines = operator::ask(matches, &question).await?;
    lines.retain(|line| line["at_ms"].as_u64() >= Some(since_ms));
    lines.sort_by_key(|line| line["at_ms"].as_u64());
    let mut out = io::stdout().lock();
    let written = match matches.get_flag("json") {
        true => lines.iter().try_for_each(|line| writeln!(out, "{line}")),
        false => write_story(&lines, client.is_none(), &mut out),
    };
    written.map_err(|error| Failure::Other(format!("standard output: {error}")))?;
    if lines.is_empty() && !matches.get_flag("json") {
        let whom = client.map_or_else(|| "any client".to_owned(), |client| format!("`{client}`"));
        report::line(&format!("candor: the ledger has nothing about {whom}; it knows only clients that prove who they are"));
    }
    Ok(())
}

async fn black_holes(matches: &ArgMatches) -> Result<(), Failure> {
    let since_ms = matches.get_one::<u64>("since").copied().unwrap_or(0);
    let mut lines = operator::ask(matches, "$operator/black-holes").await?;
    lines.retain(|line| line["at_ms"].as_u64() >= Some(since_ms));
    let mut out = io::stdout().lock();
    let written = lines.iter().try_for_each(|line| match matches.get_flag("json") {
        true => writeln!(out, "{line}"),
        false => {
            let number = |key: &str| line[key].as_u64().unwrap_or_default();
            let (reached, refused) = (number("undelivered"), number("denied"));
            let (last, first) = (moment(number("at_ms")), moment(number("first_at_ms")));
            writeln!(out, "{last}  {}: {reached} messages reached nobody, {refused} were refused, since {first}", text(line, "topic"))
        }
    });
    written.map_err(|error| Failure::Other(format!("standard output: {error}")))?;
    if lines.is_empty() && !matches.get_flag("json") {
        report::line("candor: no topic swallowed messages or refused many");
    }
    Ok(())
}

/// A moment in milliseconds since 1970: so long ago, or as RFC 3339 has it.
fn since(text: &str) -> Result<u64, String> {
    if let Ok(moment) = OffsetDateTime::parse(text, &Rfc3339) {
        return u64::try_from(moment.unix_timestamp_nanos() / 1_000_000).map_err(|_| "that is before 1970".to_owned());
    }
    let wrong = || "allowed: 90s, 15m, 2h, 7d, or a time as in 2026-01-31T12:00:00Z".to_owned();
    let at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(at);
    let unit_s = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    let ago_ms = number.parse::<u64>().map_err(|_| wrong())?.saturating_mul(unit_s * 1000);
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |passed| passed.as_millis() as u64);
    Ok(now_ms.saturating_sub(ago_ms))
}

/// One thing that happened, on one line.
struct Told {
    at_ms: u64,
    event: &'static str,
    what: String,
}

fn write_story(lines: &[Value], names_clients: bool, out: &mut impl Write) -> io::Result<()> {
    let principals = lines.iter().map(|line| line["principal"].as_str());
    let names_principals = names_clients || principals.clone().any(|one| one != principals.clone().next().flatten());
    let mut story: Vec<Told> = Vec::new();
    for line in lines {
        let mut whose = String::new();
        if names_clients {
            whose = format!("{}: ", text(line, "client"));
        }
        if names_principals {
            whose += &format!("as {}, ", text(line, "principal"));
        }
        story.extend(told(line).into_iter().map(|told| Told { what: whose.clone() + &told.what, ..told }));
    }
    // Of what happened within a millisecond, a connection's beginning comes first and its end last.
    let place = |event| ["connected", "refused", "disconnected"].iter().position(|known| *known == event);
    story.sort_by_key(|told| (told.at_ms, place(told.event).unwrap_or(usize::MAX)));
    story.iter().try_for_each(|told| writeln!(out, "{}  {:<13} {}", moment(told.at_ms), told.event, told.what))
}

/// What a line of the ledger says: of a connection that has ended, its beginning too.
fn told(line: &Value) -> Vec<Told> {
    let at_ms = line["at_ms"].as_u64().unwrap_or_default();
    let times = match (line["count"].as_u64(), line["first_at_ms"].as_u64()) {
        (Some(count @ 2..), Some(first_ms)) => format!(" ({count} times since {})", moment(first_ms)),
        _ => String::new(),
    };
    let reason = line["reason"]["name"].as_str().unwrap_or_default();
    let connected = |at_ms| Told { at_ms, event: "connected", what: format!("{}, session {}", text(line, "by"), text(line, "session")) };
    match line["event"].as_str() {
        Some("connected") => vec![connected(at_ms)],
        Some("disconnected") => {
            let end = Told { at_ms, event: "disconnected", what: format!("{reason}: {}{times}", text(line, "detail")) };
            let begin = line["connected_at_ms"].as_u64().map(connected);
            begin.into_iter().chain([end]).collect()
        }
        Some("verdict") => {
            let parts = [
                ("", "title"),
                ("", "detail"),
                ("rule ", "rule"),
                ("field ", "field"),
                ("missing ", "missing_scope"),
                ("trace ", "trace_id"),
            ];
            let said = parts.iter().filter_map(|(name, key)| line[*key].as_str().map(|_| format!("; {name}{}", text(line, key))));
            let topic = if line["topic"].is_string() { format!(" {}", text(line, "topic")) } else { String::new() };
            let what = format!("{}{topic}: {reason}{}{times}", text(line, "packet"), said.collect::<String>());
            vec![Told { at_ms, event: "refused", what }]
        }
        _ => vec![Told { at_ms, event: "expired", what: format!("the session's time was over{times}") }],
    }
}

/// With all three digits of the milliseconds, so that lines stand below each other.
const MILLISECONDS: EncodedConfig =
    Config::DEFAULT.set_time_precision(TimePrecision::Second { decimal_digits: NonZeroU8::new(3) }).encode();

/// Milliseconds since 1970 as RFC 3339 has them.
pub(super) fn moment(unix_ms: u64) -> String {
    let moment = OffsetDateTime::from_unix_timestamp_nanos(i128::from(unix_ms) * 1_000_000);
    moment.ok().and_then(|moment| moment.format(&Iso8601::<MILLISECONDS>).ok()).unwrap_or_else(|| format!("{unix_ms} ms"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_moment_is_so_long_ago_or_a_time() {
        assert_eq!(since("1970-01-01T00:00:07.5Z"), Ok(7500));
        let (hour, now) = (since("60m").unwrap(), since("0s").unwrap());
        assert!((3_600_000..3_601_000).contains(&(now - hour)) && since("1h").unwrap() - hour < 1000);
        for bad in ["", "5", "h", "5w", "-5m", "yesterday", "1969-01-01T00:00:00Z"] {
            assert!(since(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_story_is_told_in_the_order_of_time() {
        let lines = [
            json!({ "event": "verdict", "packet": "PUBLISH", "topic": "a/b\u{1b}", "reason": { "name": "not authorized" }, "title": "no", "rule": "rules.toml:3",
                    "at_ms": 2000, "first_at_ms": 1500, "count": 2, "principal": "p", "client": "c" }),
            json!({ "event": "disconnected", "by": "3.1.1 from ::1", "session": "new", "connected_at_ms": 1000, "at_ms": 3000, "first_at_ms": 1000,
                    "count": 1, "reason": { "name": "success" }, "detail": "the client left", "principal": "p", "client": "c" }),
        ];
        let mut out = Vec::new();
        write_story(&lines, false, &mut out).unwrap();
        let expected = [
            "1970-01-01T00:00:01.000Z  connected     3.1.1 from ::1, session new",
            "1970-01-01T00:00:02.000Z  refused       PUBLISH a/b\u{fffd}: not authorized; no; rule rules.toml:3 (2 times since 1970-01-01T00:00:01.500Z)",
            "1970-01-01T00:00:03.000Z  disconnected  success: the client left",
        ];
        assert_eq!(String::from_utf8(out).unwrap().lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn within_a_millisecond_a_connection_begins_is_refused_something_and_ends() {
        let lines = [
            json!({ "event": "verdict", "packet": "PUBLISH", "reason": { "name": "not authorized" }, "at_ms": 5, "trace_id": "1f" }),
            json!({ "event": "disconnected", "connected_at_ms": 5, "at_ms": 5, "reason": { "name": "not authorized" } }),
        ];
        let mut out = Vec::new();
        write_story(&lines, false, &mut out).unwrap();
        let told = String::from_utf8(out).unwrap();
        let events: Vec<_> = told.lines().filter_map(|line| line.split_whitespace().nth(1)).collect();
        assert_eq!(events, ["connected", "refused", "disconnected"]);
        assert!(told.contains("not authorized; trace 1f"), "{told}");
    }
}
