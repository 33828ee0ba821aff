//! What operators ask a running broker: a question is a subscription below `$operator/`, the answers are lines of JSON, and the last
//! line of each of the broker's shards says that it has said everything.

use super::exit::Failure;
use super::flags;
use crate::client::Client;
use crate::error::Error;
use crate::incoming::Messages;
use crate::reconnect::Reconnect;
use candor_protocol::packet::Qos;
use clap::ArgMatches;
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Asks a question on a connection of its own.
pub(super) async fn ask(matches: &ArgMatches, question: &str) -> Result<Vec<Value>, Failure> {
    let options = flags::options(matches)?.reconnect(Reconnect::never());
    let (client, messages) = Client::connect(options).await.map_err(Failure::Connect)?;
    let answer = tokio::time::timeout(PATIENCE, answer(&client, messages, question)).await;
    client.leave().await;
    answer.unwrap_or_else(|_| {
        let why = "no complete answer came; only a candor-broker gives one";
        Err(Failure::TimedOut(format!("{why} ({} s have passed)", PATIENCE.as_secs())))
    })
}

async fn answer(client: &Client, mut messages: Messages, question: &str) -> Result<Vec<Value>, Failure> {
    for granted in client.subscribe(question).qos(Qos::AtLeastOnce).await.map_err(Failure::Request)? {
        granted.result.map_err(|refusal| Failure::Filter { filter: question.to_owned(), refusal })?;
    }
    let (mut lines, mut ended) = (Vec::new(), BTreeSet::new());
    while let Some(incoming) = messages.next().await {
        let text = String::from_utf8_lossy(incoming.payload()).into_owned();
        incoming.accept();
        for line in text.lines() {
            let line: Value = serde_json::from_str(line).map_err(|error| Failure::Other(format!("the answer is no JSON: {error}")))?;
            let Some(end) = line.get("end") else {
                lines.push(line);
                continue;
            };
            ended.insert(end["shard"].as_u64());
            if end["shards"].as_u64().is_none_or(|shards| ended.len() as u64 >= shards) {
                return Ok(lines);
            }
        }
    }
    match client.ended().await {
        Error::Left => Err(Failure::Other("the connection ended before the answer".to_owned())),
        error => Err(Failure::Later(error)),
    }
}

/// Text for a topic level that must hold no wildcard.
pub(super) fn escaped(client_id: &str) -> String {
    client_id.replace('%', "%25").replace('+', "%2B").replace('#', "%23")
}

/// A text that others have chosen, without what could steer a terminal.
pub(super) fn text(line: &Value, key: &str) -> String {
    let text = line[key].as_str().unwrap_or_default();
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}
