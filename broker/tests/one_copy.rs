//! What a message takes that many wait for, measured: alone in its process, since memory is the process's.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "support/resident.rs"]
mod resident;
mod support;

use candor_broker::shard::Settings;
use candor_protocol::packet::Qos;
use candor_protocol::sim::Way;
use resident::resident_bytes;
use support::{Client, TestBroker, policy, stored_everywhere};

const SESSIONS: usize = 100;
const MESSAGES: usize = 16;
const PAYLOAD: usize = 64 << 10;

/// Messages in memory are held once a shard, however many sessions they wait for; whole and in order they come to each.
#[test]
fn absent_sessions_wait_for_one_copy_of_a_message() {
    let payload = "x".repeat(PAYLOAD);
    for shards in [1, 3] {
        for way in [Way::Plain, Way::Extended] {
            let broker = TestBroker::with(Settings { shards, ..Settings::default() }, policy(), false);
            let absent = |n| {
                let mut client = broker.connect_with(stored_everywhere(way, &format!("absent-{n}")));
                client.subscribe("t", Qos::AtLeastOnce);
                client.drop_connection()
            };
            let sessions: Vec<_> = (0..SESSIONS).map(absent).collect();
            let mut publisher = broker.connect(way, "publisher");
            let before = resident_bytes();
            for n in 0..MESSAGES {
                let outcome = publisher.publish("t", &format!("{n} {payload}"), Qos::AtLeastOnce);
                assert_eq!(outcome.unwrap().refusal(), None);
            }
            let growth = resident_bytes().saturating_sub(before);
            // A copy for each session would be twenty times as much.
            assert!(growth < SESSIONS * MESSAGES * PAYLOAD / 20, "{growth} bytes for {MESSAGES} messages in {shards} shards");
            for (n, parked) in sessions.into_iter().enumerate().step_by(SESSIONS / 4) {
                let mut client = Client::resume(&broker.address, stored_everywhere(way, &format!("absent-{n}")), parked);
                let arrived = client.expect(MESSAGES);
                let numbers: Vec<&str> = arrived.iter().filter_map(|text| text.split(' ').nth(1)).collect();
                assert_eq!(numbers, (0..MESSAGES).map(|n| n.to_string()).collect::<Vec<_>>());
                client.leave();
            }
            publisher.leave();
            broker.stop();
        }
    }
}
