//! What an operator asks.

use super::Client;
use candor_protocol::packet::{Qos, Reason};
use serde_json::Value;

/// Asks, and waits until every shard has said everything.
pub fn ask(operator: &mut Client, question: &str) -> Vec<Value> {
    assert_eq!(operator.subscribe(question, Qos::AtLeastOnce), Reason(1), "{question}");
    let lines = |client: &Client| -> Vec<Value> {
        let payloads = client.messages.iter().filter(|publish| publish.message.topic_str() == question);
        let text: Vec<String> = payloads.map(|publish| String::from_utf8(publish.message.payload().to_vec()).unwrap()).collect();
        text.iter().flat_map(|text| text.lines()).map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let ends = |lines: &[Value]| lines.iter().filter_map(|line| line["end"]["shards"].as_u64()).collect::<Vec<_>>();
    operator.until(|client| {
        let ends = ends(&lines(client));
        ends.first().is_some_and(|shards| *shards == ends.len() as u64)
    });
    let mut lines = lines(operator);
    operator.messages.clear();
    let said: u64 = lines.iter().filter_map(|line| line["end"]["lines"].as_u64()).sum();
    lines.retain(|line| line.get("end").is_none());
    assert_eq!(said, lines.len() as u64);
    lines
}
