//! `candor sub`: prints the messages of subscriptions.

use super::exit::Failure;
use super::output::Output;
use super::{flags, json, report, state, values};
use crate::client::Client;
use crate::error::{Error, NotAvailable};
use crate::incoming::{Incoming, Messages};
use crate::options::{Options, Policy, Settlement};
use crate::reconnect::Reconnect;
use crate::store::{FileStore, SessionStore};
use candor_protocol::packet::{Problem, Qos};
use clap::builder::NonEmptyStringValueParser;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

/// Messages that are printed before the output is flushed and they are settled.
const BATCH: usize = 256;

pub(super) fn command() -> Command {
    let arg = |name: &'static str, value: &'static str| Arg::new(name).long(name).value_name(value);
    let set = |name: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue);
    flags::add(Command::new("sub").about("Subscribe, and print what comes")).args([
        arg("topic", "FILTER").short('t').required(true).action(ArgAction::Append).help("A topic filter; may be repeated"),
        arg("qos", "QOS").short('q').value_parser(values::qos).default_value("0").help("The highest QoS: 0, 1 or 2"),
        arg("count", "COUNT").short('C').value_parser(value_parser!(u64).range(1..)).help("Leave after so many messages"),
        arg("timeout", "SECONDS").short('W').value_parser(value_parser!(u64).range(1..)).help("Leave after so long, with exit status 7"),
        set("verbose").short('v').help("The topic before each payload"),
        set("no-eol").short('N').help("No end of line behind a payload"),
        set("no-retained").short('R').help("No retained messages"),
        arg("unsubscribe", "FILTER").short('U').action(ArgAction::Append).help("End a subscription of the stored session first"),
        set("no-reconnect").help("End when the connection is lost"),
        state::flag(
            "Keep the session in FILE: killed at any moment and run again, nothing is lost above QoS 0. On standard output what was printed last \
             may come twice; with --output each message at QoS 2 comes exactly once. Needs -i",
        ),
        arg("output", "FILE")
            .value_parser(value_parser!(PathBuf))
            .requires("state")
            .help("Append to FILE, which is this command's alone: what a run that was killed had not finished is cut off"),
        arg("reject", "REASON")
            .conflicts_with("output")
            .value_parser(NonEmptyStringValueParser::new())
            .help("Reject each message once it is printed, with REASON as the title of the problem; needs -q 1 or 2 and the extended dialect"),
        flags::json_flag(),
        flags::events_flag(),
    ])
}

/// How messages are printed.
struct Printer {
    json: bool,
    verbose: bool,
    end_of_line: bool,
    retained: bool,
}

impl Printer {
    fn print(&self, incoming: &Incoming, out: &mut Vec<u8>) -> io::Result<()> {
        if self.json {
            return writeln!(out, "{}", json::incoming(incoming).line());
        }
        if self.verbose {
            write!(out, "{} ", incoming.topic())?;
        }
        out.write_all(incoming.payload())?;
        if self.end_of_line { out.write_all(b"\n") } else { Ok(()) }
    }
}

pub(super) async fn run(matches: &ArgMatches) -> Result<(), Failure> {
    // A message is settled when it has been printed, not before.
    let store = state::open(matches)?;
    let mut output = Output::open(matches.get_one::<PathBuf>("output"), store.as_deref())?;
    let mut options = state::options(flags::options(matches)?, store.as_ref(), matches).settlement(Settlement::Manual);
    let reject = matches.get_one::<String>("reject");
    if reject.is_some() {
        options = rejecting(options, matches)?;
    }
    if matches.get_flag("no-reconnect") {
        options = options.reconnect(Reconnect::never());
    }
    let json = matches.get_flag("json");
    let printer = Printer {
        json,
        verbose: matches.get_flag("verbose"),
        end_of_line: !matches.get_flag("no-eol"),
        retained: !matches.get_flag("no-retained"),
    };
    let all_events = matches.get_flag("events");
    let (client, messages, mut events) = Client::connect_observed(options).await.map_err(|error| {
        if reject.is_some() && matches!(error, Error::NotAvailable(NotAvailable::Extension { .. })) {
            report::line("candor: --reject needs the extended dialect: a plain server would take a rejected message for accepted");
        }
        Failure::Connect(error)
    })?;
    let telling = async {
        while let Some(event) = events.next().await {
            report::event(&event, all_events, json);
        }
    };
    let receiving = async {
        let kept = store.as_deref();
        let result = receive(&client, messages, matches, &printer, &mut output, kept).await;
        client.leave().await;
        result
    };
    tokio::join!(receiving, telling).0
}

/// A rejection is told to somebody or not taken on: never on a plain connection, nor where nothing is settled.
fn rejecting(options: Options, matches: &ArgMatches) -> Result<Options, Failure> {
    let usage = |text: &str| Err(Failure::Usage(text.to_owned()));
    if matches.get_one::<Qos>("qos").copied().unwrap_or_default() == Qos::AtMostOnce {
        return usage("--reject needs -q 1 or -q 2: at QoS 0 nothing is settled");
    }
    match matches.get_one::<Policy>("dialect") {
        Some(Policy::Plain | Policy::Plain31) => {
            usage("--reject needs the extended dialect: a plain one cannot say it; leave out --dialect")
        }
        _ => Ok(options.policy(Policy::Require)),
    }
}

async fn receive(
    client: &Client,
    mut messages: Messages,
    matches: &ArgMatches,
    printer: &Printer,
    output: &mut Output,
    store: Option<&FileStore>,
) -> Result<(), Failure> {
    let timeout = matches.get_one::<u64>("timeout").copied();
    let until = tokio::time::Instant::now() + Duration::from_secs(timeout.unwrap_or(u64::from(u32::MAX)));
    let timed_out = || Failure::TimedOut(format!("{} s have passed", timeout.unwrap_or_default()));
    let taking = async {
        subscribe(client, matches, store).await?;
        take(client, &mut messages, matches, printer, output).await
    };
    tokio::select! {
        result = taking => result,
        () = tokio::time::sleep_until(until) => Err(timed_out()),
        () = interrupted() => Ok(()),
    }
}

async fn take(
    client: &Client,
    messages: &mut Messages,
    matches: &ArgMatches,
    printer: &Printer,
    output: &mut Output,
) -> Result<(), Failure> {
    let reject = matches.get_one::<String>("reject");
    let mut left = matches.get_one::<u64>("count").copied().unwrap_or(u64::MAX);
    while left > 0 {
        let Some(first) = messages.next().await else {
            return match client.ended().await {
                Error::Left => Ok(()),
                error => Err(Failure::Later(error)),
            };
        };
        let mut batch = vec![first];
        while batch.len() < BATCH
            && (batch.len() as u64) < left
            && let Some(incoming) = messages.ready()
        {
            batch.push(incoming);
        }
        let mut text = Vec::new();
        let mut ends = Vec::with_capacity(batch.len());
        for incoming in &batch {
            if printer.retained || !incoming.retain() {
                left -= 1;
                printer.print(incoming, &mut text).map_err(|error| output.failure(&error))?;
            }
            ends.push(text.len());
        }
        match output.write(&text) {
            Ok(before) => batch.into_iter().zip(ends).for_each(|(incoming, end)| match reject {
                Some(reason) => incoming.reject(Problem::titled(reason.as_str())),
                None => output.accept(incoming, before + end as u64),
            }),
            // Whoever read this has gone; what was not printed is released.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(output.failure(&error)),
        }
    }
    Ok(())
}

async fn subscribe(client: &Client, matches: &ArgMatches, store: Option<&FileStore>) -> Result<(), Failure> {
    let strings = |name: &str| -> Vec<String> { matches.get_many::<String>(name).into_iter().flatten().cloned().collect() };
    let ended = strings("unsubscribe");
    if !ended.is_empty() {
        client.unsubscribe(ended.as_slice()).await.map_err(Failure::Request)?;
    }
    let qos = matches.get_one::<Qos>("qos").copied().unwrap_or_default();
    let agreement = client.agreement();
    let extended = agreement.as_ref().is_some_and(|agreement| agreement.dialect.is_extended());
    // What a session has that was resumed is not asked for again: retained messages would come again as new ones.
    let resumed = agreement.is_some_and(|agreement| agreement.session_present);
    let known = store.filter(|_| resumed).map(|store| store.load().subscriptions).unwrap_or_default();
    let mut filters = strings("topic");
    filters.retain(|filter| !known.iter().any(|known| known.filter.as_str() == filter && known.qos == qos));
    if filters.is_empty() {
        return Ok(());
    }
    let mut asked = client.subscribe(filters.as_slice()).qos(qos);
    if matches.get_flag("no-retained") && extended {
        asked = asked.no_retained();
    }
    for granted in asked.await.map_err(Failure::Request)? {
        let filter = granted.filter.to_string();
        match granted.result {
            Ok(lower) if lower < qos => report::line(&format!("candor: `{filter}` is granted at {lower}, less than asked for")),
            Ok(_) => {}
            Err(refusal) => return Err(Failure::Filter { filter, refusal }),
        }
    }
    Ok(())
}

/// The user or the system asks to end.
async fn interrupted() {
    let interrupt = tokio::signal::ctrl_c();
    match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! {
                _ = interrupt => {}
                _ = terminate.recv() => {}
            }
        }
        Err(_) => drop(interrupt.await),
    }
}
