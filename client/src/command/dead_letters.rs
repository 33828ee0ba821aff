//! `candor dead-letters`: what subscribers rejected, and what becomes of it. Looking takes nothing away.

use super::exit::Failure;
use super::why::moment;
use super::{flags, json, report};
use crate::client::Client;
use crate::incoming::{Incoming, Messages};
use crate::reconnect::Reconnect;
use candor_protocol::packet::dead_letter::{Place, Rejection};
use candor_protocol::packet::reserved::DEAD_LETTERS;
use candor_protocol::packet::{DeadLetter, Qos, Reason, TopicName, property};
use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::Value;
use std::io::{self, Write};

pub(super) fn command() -> Command {
    let ids = || Arg::new("letters").value_name("ID").help("The identifiers that `list` shows");
    let filter = || {
        let help = "Of messages that were published to topics of this filter";
        Arg::new("topic").long("topic").short('t').value_name("FILTER").default_value("#").help(help)
    };
    let many = |name: &'static str, about: &'static str| {
        let all = Arg::new("all").long("all").action(ArgAction::SetTrue).help("All that there are");
        let ids = ids().action(ArgAction::Append).required_unless_present("all").conflicts_with("all");
        flags::add_to_question(Command::new(name).about(about)).args([ids, all, filter(), flags::json_flag()])
    };
    let list = flags::add_to_question(Command::new("list").about("List dead letters")).args([filter(), flags::json_flag()]);
    let show = flags::add_to_question(Command::new("show").about("Show one, with its payload and what became of it"));
    Command::new("dead-letters")
        .about("Look at messages that were rejected, and send them on their way again")
        .subcommand_required(true)
        .subcommand(list)
        .subcommand(show.args([ids().required(true), filter(), flags::json_flag()]))
        .subcommand(many("redrive", "Publish them again to the topics that they were published to"))
        .subcommand(many("discard", "Take them away"))
        .after_help(
            "The broker keeps them where it is started so, as in --dead-letters 'jobs/#'. To see them one needs the right to subscribe to the \
             topics that they came from; to take them away, the right to publish there. A message that nobody is subscribed to is not \
             redriven: it is shown as unwanted, and stays.",
        )
}

/// One dead letter.
struct Letter {
    id: String,
    topic: String,
    letter: DeadLetter,
    incoming: Incoming,
}

impl Letter {
    fn of(incoming: Incoming) -> Option<Self> {
        // What comes live, or is taken away meanwhile, is not of what was there.
        let Place { id, topic } = Place::of_topic(incoming.topic()).filter(|_| incoming.retain())?;
        let letter = incoming.hop().value(property::DEAD_LETTER).map(|map| DeadLetter::of_dictionary(&map)).unwrap_or_default();
        Some(Self { id: id.to_owned(), topic: topic.to_owned(), letter, incoming })
    }

    fn reason(&self) -> &'static str {
        self.letter.rejections.last().map_or("not told", |rejection| rejection.reason.name())
    }

    fn times(&self) -> String {
        if self.letter.count == 1 { "once".to_owned() } else { format!("{} times", self.letter.count) }
    }

    fn line(&self, out: &mut impl Write) -> io::Result<()> {
        let bytes = self.incoming.payload().len();
        writeln!(out, "{}  {:>8} bytes  rejected {}: {}  {}", self.id, bytes, self.times(), self.reason(), self.topic)
    }

    fn to_json(&self) -> json::Object {
        let mut object = json::incoming(&self.incoming);
        let rejections: Vec<Value> = self.letter.rejections.iter().map(|rejection| rejection_json(rejection).into()).collect();
        object.set("id", self.id.clone()).set("topic", self.topic.clone()).set("qos", self.letter.qos as u8);
        object.set("rejected", self.letter.count).set("rejections", rejections);
        object
    }

    fn show(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "id           {}\ntopic        {}\nqos          {}", self.id, self.topic, self.letter.qos as u8)?;
        for (name, value) in self.incoming.named_properties().iter().filter(|(name, _)| name != property::DEAD_LETTER.name) {
            // What is a moment in milliseconds says its date.
            let date = value.parse().ok().filter(|_| name == property::RECEIVED_AT.name).map(moment);
            writeln!(out, "{name:<12} {}", date.as_deref().unwrap_or(value))?;
        }
        writeln!(out, "rejected     {}", self.times())?;
        for Rejection { reason, problem, at_ms, redelivery_count, by_subscriber } in &self.letter.rejections {
            let by = if *by_subscriber { "a subscriber says" } else { "the server" };
            let after = match redelivery_count {
                0 => "at its first delivery".to_owned(),
                1 => "after one redelivery".to_owned(),
                count => format!("after {count} redeliveries"),
            };
            write!(out, "  {}  {by}: {} {after}", moment(*at_ms), reason.name())?;
            let texts = [&problem.title, &problem.detail, &problem.rule, &problem.field];
            for text in texts.into_iter().flatten() {
                write!(out, "; {}", text.escape_debug())?;
            }
            writeln!(out)?;
        }
        writeln!(out)?;
        out.write_all(self.incoming.payload())?;
        writeln!(out)
    }
}

fn rejection_json(rejection: &Rejection) -> json::Object {
    let refusal = candor_protocol::packet::Refusal::new(rejection.reason, rejection.problem.clone());
    let mut object = json::refusal(&refusal);
    object.set("at_ms", rejection.at_ms).set("redelivery_count", rejection.redelivery_count);
    object.set("by_subscriber", rejection.by_subscriber);
    object
}

pub(super) async fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let Some((name, matches)) = matches.subcommand() else { return Err(Failure::Usage("no subcommand".to_owned())) };
    let options = flags::options(matches)?.reconnect(Reconnect::never());
    let (client, mut messages) = Client::connect(options).await.map_err(Failure::Connect)?;
    let result = act(name, &client, &mut messages, matches).await;
    client.leave().await;
    result
}

async fn act(name: &str, client: &Client, messages: &mut Messages, matches: &ArgMatches) -> Result<(), Failure> {
    let filter = flags::string(matches, "topic").unwrap_or_else(|| "#".to_owned());
    let ids: Vec<String> = matches.try_get_many("letters").ok().flatten().map(|ids| ids.cloned().collect()).unwrap_or_default();
    let is_wanted = |letter: &Letter| ids.is_empty() || ids.contains(&letter.id);
    let mut letters = browse(client, messages, &ids, &filter).await?;
    letters.retain(is_wanted);
    letters.sort_by(|a, b| (&a.topic, &a.id).cmp(&(&b.topic, &b.id)));
    if let Some(id) = ids.iter().find(|id| !letters.iter().any(|letter| letter.id == **id)) {
        return Err(Failure::Other(format!(
            "there is no dead letter {id} of topics {filter}; `candor dead-letters list` shows which are there"
        )));
    }
    let is_json = matches.get_flag("json");
    if letters.is_empty() && !is_json {
        report::line(&format!("candor: there are no dead letters of topics {filter}"));
    }
    for letter in &letters {
        let done = match name {
            "redrive" | "discard" => Some(take_away(client, letter, name == "discard").await?),
            _ => None,
        };
        let mut out = io::stdout().lock();
        let shown = match (name, done) {
            (_, done) if is_json => {
                let mut object = letter.to_json();
                if let Some(done) = done {
                    object.set("done", done.word());
                }
                object.print();
                Ok(())
            }
            ("show", _) => letter.show(&mut out),
            (_, None) => letter.line(&mut out),
            (_, Some(done)) => write!(out, "{:<9}  ", done.word()).and_then(|()| letter.line(&mut out)),
        };
        // Whoever read this has gone; what is left is done.
        let _ = shown;
    }
    Ok(())
}

/// The dead letters that are there. They come behind SUBACK, a part in each turn of the server: when two questions in a row are answered with
/// none before the answer, all of them have come.
async fn browse(client: &Client, messages: &mut Messages, ids: &[String], filter: &str) -> Result<Vec<Letter>, Failure> {
    let id = match ids {
        [id] if TopicName::new(id).is_ok() => id,
        _ => "+",
    };
    let granted = client.subscribe(format!("{DEAD_LETTERS}{id}/{filter}")).qos(Qos::AtMostOnce).await.map_err(Failure::Request)?;
    for granted in granted {
        granted.result.map_err(|refusal| Failure::Filter { filter: granted.filter.to_string(), refusal })?;
    }
    let (mut letters, mut quiet) = (Vec::new(), 0);
    while quiet < 2 {
        let before = letters.len();
        let ping = client.ping();
        tokio::pin!(ping);
        loop {
            tokio::select! {
                biased;
                incoming = messages.next() => match incoming {
                    Some(incoming) => letters.extend(Letter::of(incoming)),
                    None => return Err(Failure::Later(client.ended().await)),
                },
                answer = &mut ping => {
                    answer.map_err(Failure::Request)?;
                    break;
                }
            }
        }
        while let Some(incoming) = messages.ready() {
            letters.extend(Letter::of(incoming));
        }
        quiet = if letters.len() == before { quiet + 1 } else { 0 };
    }
    Ok(letters)
}

/// What was done with a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Done {
    Redriven,
    Discarded,
    /// It was to be redriven, and nobody is subscribed to its topic: it stays where it is.
    Unwanted,
}

impl Done {
    fn word(self) -> &'static str {
        match self {
            Done::Redriven => "redriven",
            Done::Discarded => "discarded",
            Done::Unwanted => "unwanted",
        }
    }
}

async fn take_away(client: &Client, letter: &Letter, discard: bool) -> Result<Done, Failure> {
    let topic = Place { id: &letter.id, topic: &letter.topic }.to_topic();
    let receipt = client.publish(topic, "").qos(Qos::AtLeastOnce).retain(discard).await.map_err(Failure::Publish)?;
    Ok(match discard {
        true => Done::Discarded,
        false if receipt.reason == Reason::NO_MATCHING_SUBSCRIBERS => Done::Unwanted,
        false => Done::Redriven,
    })
}
