//! `candor pub`: publishes one message, or one for each line of standard input.

use super::exit::{Exit, Failure};
use super::state::{self, Position, Resume};
use super::{flags, json, report, values};
use crate::client::Client;
use crate::error::PublishError;
use crate::event::Event;
use crate::properties::Properties;
use crate::publish::{Pending, Receipt, Restored};
use crate::reconnect::Reconnect;
use crate::report::{EndToEnd, Reported};
use crate::store::FileStore;
use bytes::Bytes;
use candor_protocol::packet::Qos;
use clap::{Arg, ArgAction, ArgGroup, ArgMatches, Command, value_parser};
use indicatif::ProgressBar;
use std::collections::VecDeque;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};

/// Lines that are on their way at once.
const WINDOW: usize = 200;
/// The longest line.
const LINE_LEN_MAX: u64 = 16 << 20;

pub(super) fn command() -> Command {
    let arg = |name: &'static str, value: &'static str| Arg::new(name).long(name).value_name(value);
    let set = |name: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue);
    flags::add(Command::new("pub").about("Publish messages"))
        .args([
            arg("topic", "TOPIC").short('t').required(true).help("The topic name"),
            arg("message", "TEXT").short('m').help("The payload"),
            arg("file", "FILE").short('f').value_parser(value_parser!(PathBuf)).help("The file that is the payload"),
            set("stdin-line").short('l').help("One message for each line of standard input"),
            set("stdin-file").short('s').help("All of standard input is the payload"),
            set("null-message").short('n').help("An empty payload"),
            arg("qos", "QOS").short('q').value_parser(values::qos).default_value("0").help("0, 1 or 2"),
            set("report")
                .help("Wait for what becomes of it with the subscribers, and print it; the broker has to make reports for the topic"),
            set("retain").short('r').help("Keep it as the topic's last message"),
            flags::prop_flag(),
            arg("timeout", "SECONDS").short('W').value_parser(value_parser!(u64).range(1..)).help("Give up after so long"),
            state::flag(
                "Keep the session in FILE: killed at any moment and run again with the same input, what was sent at QoS 2 arrives exactly \
                 once, and at QoS 1 at least once. Needs -i",
            ),
            flags::json_flag(),
            flags::events_flag(),
        ])
        .group(ArgGroup::new("payload").args(["message", "file", "stdin-line", "stdin-file", "null-message"]).required(true))
}

/// What each message has in common.
struct Shape {
    topic: String,
    qos: Qos,
    retain: bool,
    properties: Properties,
    json: bool,
    report: bool,
    store: Option<Arc<FileStore>>,
}

pub(super) async fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let store = state::open(matches)?;
    let options = state::options(flags::options(matches)?, store.as_ref(), matches).reconnect(Reconnect::never());
    let shape = Shape {
        topic: flags::string(matches, "topic").unwrap_or_default(),
        qos: matches.get_one::<Qos>("qos").copied().unwrap_or_default(),
        retain: matches.get_flag("retain"),
        properties: flags::properties(matches, "prop", &options.registry)?,
        json: matches.get_flag("json"),
        report: matches.get_flag("report"),
        store,
    };
    if shape.store.is_some() && shape.qos == Qos::AtMostOnce {
        return Err(Failure::Usage("--state: at QoS 0 nothing is kept; add -q 1 or -q 2".to_owned()));
    }
    if shape.report && (shape.store.is_some() || matches.get_flag("stdin-line")) {
        return Err(Failure::Usage("--report: of one message, and not with --state".to_owned()));
    }
    let payload = payload(matches).await?;
    let all_events = matches.get_flag("events");
    let publishing = async {
        let (client, messages, mut events) = Client::connect_observed(options).await.map_err(Failure::Connect)?;
        drop(messages);
        let telling = async {
            let mut ended = None;
            while let Some(event) = events.next().await {
                match event {
                    Event::Disconnected { .. } if !all_events => ended = Some(event),
                    event => report::event(&event, all_events, shape.json),
                }
            }
            ended
        };
        let sending = async {
            let result = match payload {
                Some(payload) => one(&client, &shape, payload).await,
                None => lines(&client, &shape).await,
            };
            client.leave().await;
            result
        };
        let (sent, ended) = tokio::join!(sending, telling);
        // What is the end of this run is told as that, once.
        if !matches!(sent, Err(Failure::Publish(PublishError::Ended(_))))
            && let Some(ended) = ended
        {
            report::event(&ended, all_events, shape.json);
        }
        let first_refusal = sent?;
        // All is settled, and the next run begins anew. It is the last step: who is killed behind it has done everything.
        shape.store.as_deref().map_or(Ok(()), |store| state::mark(store, Bytes::new()))?;
        first_refusal.map_or(Ok(()), Err)
    };
    match matches.get_one::<u64>("timeout") {
        None => publishing.await,
        Some(seconds) => match tokio::time::timeout(Duration::from_secs(*seconds), publishing).await {
            Ok(result) => result,
            Err(_) => Err(Failure::TimedOut(format!("not done within {seconds} s; what was not acknowledged may have been taken or not"))),
        },
    }
}

/// The one payload that the flags name; `None`: lines of standard input.
async fn payload(matches: &ArgMatches) -> Result<Option<Bytes>, Failure> {
    if let Some(text) = flags::string(matches, "message") {
        return Ok(Some(text.into()));
    }
    if let Some(path) = matches.get_one::<PathBuf>("file") {
        let read = tokio::fs::read(path).await;
        return read.map(|bytes| Some(bytes.into())).map_err(|error| Failure::Usage(format!("{}: {error}", path.display())));
    }
    if matches.get_flag("null-message") {
        return Ok(Some(Bytes::new()));
    }
    if matches.get_flag("stdin-file") {
        let mut all = Vec::new();
        // One packet cannot hold more.
        let limit = u64::from(candor_protocol::dialect::terms::PACKET_SIZE_MAX);
        let read = tokio::io::stdin().take(limit).read_to_end(&mut all).await;
        return read.map(|_| Some(all.into())).map_err(|error| Failure::Other(format!("standard input: {error}")));
    }
    Ok(None)
}

async fn start(client: &Client, shape: &Shape, payload: Bytes, position: Position) -> Result<OnTheWay, Failure> {
    let publish = client.publish(&shape.topic, payload).qos(shape.qos).retain(shape.retain).properties(shape.properties.clone());
    let publish = if shape.store.is_some() { publish.mark(position.to_mark()) } else { publish };
    let pending = publish.send().await.map_err(Failure::Publish)?;
    Ok(OnTheWay { restored: None, pending })
}

/// A message whose receipt is waited for.
struct OnTheWay {
    /// Topic and QoS of a message that an earlier run was given.
    restored: Option<(String, Qos)>,
    pending: Pending,
}

/// What an earlier run left unsettled.
fn restored(client: &Client) -> VecDeque<OnTheWay> {
    let of = |restored: Restored| OnTheWay {
        restored: Some((restored.message.topic_str().to_owned(), restored.qos)),
        pending: restored.pending,
    };
    client.restored().into_iter().map(of).collect()
}

/// As [`lines`], for one message.
async fn one(client: &Client, shape: &Shape, payload: Bytes) -> Result<Option<Failure>, Failure> {
    if shape.report {
        return reported(client, shape, payload).await;
    }
    let mut on_the_way = restored(client);
    let position = Position::message(&shape.topic, &payload);
    match shape.store.as_deref().and_then(Position::of) {
        Some(Position::Lines { count, .. }) => {
            let text =
                format!("--state: an earlier run has taken {count} lines and did not come to its end; run it again, or use another file");
            return Err(Failure::Usage(text));
        }
        // An earlier run was killed between taking it and its end.
        Some(taken) if taken == position => {}
        _ => on_the_way.push_back(start(client, shape, payload, position).await?),
    }
    let mut sent = Sent::new();
    for message in on_the_way {
        sent.settled(shape, message.restored, message.pending.await)?;
    }
    Ok(sent.finish())
}

/// Sends one message and prints what became of it with those who were to get it.
async fn reported(client: &Client, shape: &Shape, payload: Bytes) -> Result<Option<Failure>, Failure> {
    let publish = client.publish(&shape.topic, payload).qos(shape.qos).retain(shape.retain).properties(shape.properties.clone());
    let EndToEnd { receipt, reported } = publish.end_to_end().await.map_err(Failure::Publish)?;
    if shape.json {
        json::receipt(&shape.topic, shape.qos as u8, &receipt).extend(json::reported(&reported)).print();
    } else {
        // When standard output is closed there is nobody to tell.
        let _ = report::reported(&reported, &mut std::io::stdout());
    }
    Ok(match reported {
        Reported::Told(_) => None,
        Reported::NotMade(_) => Some(Failure::Said(Exit::NotAvailable)),
    })
}

/// Sends lines with a bounded number on their way; a refused line does not stop the others, and the first refusal is the result. `Err`: it
/// did not come to the end.
async fn lines(client: &Client, shape: &Shape) -> Result<Option<Failure>, Failure> {
    let mut input = BufReader::new(tokio::io::stdin());
    let mut on_the_way = restored(client);
    let mut resume = Resume::new(shape.store.as_deref());
    let mut sent = Sent::new();
    loop {
        let mut line = Vec::new();
        let read = (&mut input).take(LINE_LEN_MAX).read_until(b'\n', &mut line).await;
        if read.map_err(|error| Failure::Other(format!("standard input: {error}")))? == 0 {
            break;
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        } else if line.len() as u64 == LINE_LEN_MAX {
            return Err(Failure::Other(format!("a line has more than {LINE_LEN_MAX} bytes; -s sends all of standard input as one")));
        }
        if on_the_way.len() >= WINDOW
            && let Some(oldest) = on_the_way.pop_front()
        {
            sent.settled(shape, oldest.restored, oldest.pending.await)?;
        }
        if let Some(position) = resume.pass(&line)? {
            on_the_way.push_back(start(client, shape, line.into(), position).await?);
        }
    }
    resume.end()?;
    for message in on_the_way {
        sent.settled(shape, message.restored, message.pending.await)?;
    }
    Ok(sent.finish())
}

/// What became of the lines so far.
struct Sent {
    bar: ProgressBar,
    first_refusal: Option<Failure>,
    refused: u64,
    count: u64,
    noted: bool,
}

impl Sent {
    fn new() -> Self {
        let bar = if std::io::stderr().is_terminal() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar, first_refusal: None, refused: 0, count: 0, noted: false }
    }

    fn settled(&mut self, shape: &Shape, restored: Option<(String, Qos)>, outcome: crate::publish::Outcome) -> Result<(), Failure> {
        self.count += 1;
        match outcome {
            Ok(receipt) => {
                let (topic, qos) = restored.unwrap_or_else(|| (shape.topic.clone(), shape.qos));
                if shape.json {
                    json::receipt(&topic, qos as u8, &receipt).print();
                }
                if !std::mem::replace(&mut self.noted, true) {
                    note_stripped(shape, &receipt);
                }
            }
            Err(error) => {
                let failure = Failure::Publish(error);
                if failure.refusal().is_none() {
                    return Err(failure);
                }
                self.refused += 1;
                if self.first_refusal.is_none() {
                    self.first_refusal = Some(failure);
                } else {
                    report::failure(&failure, shape.json);
                }
            }
        }
        self.bar.set_message(format!("{} messages, {} refused", self.count, self.refused));
        Ok(())
    }

    fn finish(self) -> Option<Failure> {
        self.bar.finish_and_clear();
        self.first_refusal
    }
}

fn note_stripped(shape: &Shape, receipt: &Receipt) {
    if receipt.stripped && !shape.json {
        report::line(&format!("candor: the properties were not sent: the server speaks MQTT {}, which has none", receipt.dialect));
    }
}
