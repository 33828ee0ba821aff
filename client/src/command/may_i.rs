//! `candor may-i`: what would become of publishes and subscriptions, without doing anything.

use super::exit::{Exit, Failure};
use super::{flags, json, report, values};
use crate::client::Client;
use crate::reconnect::Reconnect;
use candor_protocol::packet::{Qos, Question, Refusal, TopicFilter, TopicName};
use clap::{Arg, ArgAction, ArgGroup, ArgMatches, Command};
use std::io::{self, Write};

pub(super) fn command() -> Command {
    let asked = |name: &'static str, value: &'static str| Arg::new(name).long(name).value_name(value).action(ArgAction::Append);
    flags::add_to_question(Command::new("may-i").about("Ask what this client may publish and subscribe to, without doing it"))
        .args([
            asked("publish", "TOPIC").help("Would a message to TOPIC be taken? May be repeated"),
            asked("subscribe", "FILTER").help("Would a subscription to FILTER be granted? May be repeated"),
            Arg::new("qos").long("qos").short('q').value_name("QOS").value_parser(values::qos).default_value("0").help("At QoS 0, 1 or 2"),
            Arg::new("retain").long("retain").short('r').action(ArgAction::SetTrue).help("Messages that would be retained"),
            flags::json_flag(),
        ])
        .group(ArgGroup::new("questions").args(["publish", "subscribe"]).multiple(true).required(true))
        .after_help("Exit status 3 where one of the answers is no. The server has to speak the extension.")
}

pub(super) async fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let strings = |name: &str| -> Vec<String> { matches.get_many::<String>(name).into_iter().flatten().cloned().collect() };
    let qos = matches.get_one::<Qos>("qos").copied().unwrap_or_default();
    let retain = matches.get_flag("retain");
    let mut questions = Vec::new();
    for topic in strings("publish") {
        let name = TopicName::new(&topic).map_err(|wrong| Failure::Usage(format!("`{topic}` is no topic name: {wrong}")))?;
        questions.push(Question::Publish { topic: name, qos, retain });
    }
    for filter in strings("subscribe") {
        let filter = TopicFilter::new(&filter).map_err(|wrong| Failure::Usage(format!("`{filter}` is no topic filter: {wrong}")))?;
        questions.push(Question::Subscribe { filter, qos });
    }
    let options = flags::options(matches)?.reconnect(Reconnect::never());
    let (client, messages) = Client::connect(options).await.map_err(Failure::Connect)?;
    let answers = client.may_i(questions.clone()).await;
    client.leave().await;
    drop(messages);
    let answers = answers.map_err(Failure::Request)?;
    for (question, answer) in questions.iter().zip(&answers) {
        print(question, answer, matches.get_flag("json")).map_err(|error| Failure::Other(format!("standard output: {error}")))?;
    }
    if answers.iter().all(Result::is_ok) { Ok(()) } else { Err(Failure::Said(Exit::Refused)) }
}

fn print(question: &Question, answer: &Result<Qos, Refusal>, as_json: bool) -> io::Result<()> {
    let (what, object) = match question {
        Question::Publish { topic, .. } => ("publish", topic.as_str()),
        Question::Subscribe { filter, .. } => ("subscribe", filter.as_str()),
    };
    if as_json {
        let mut line = json::Object::new();
        line.set(what, object).set("allowed", answer.is_ok());
        match answer {
            Ok(qos) => line.set("qos", *qos as u8),
            Err(refusal) => line.extend(json::refusal(refusal)),
        };
        line.print();
        return Ok(());
    }
    let mut out = io::stdout().lock();
    match answer {
        Ok(qos) => writeln!(out, "yes  {what} {object} at {qos}"),
        Err(refusal) => {
            writeln!(out, "no   {what} {object}")?;
            report::refusal_lines(refusal).into_iter().try_for_each(|(name, value)| writeln!(out, "       {name:<8} {value}"))
        }
    }
}
