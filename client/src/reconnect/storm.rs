//! A storm: a server restarts, and all of its clients come back. The clock is virtual; the waits are those of [`Backoff`], the hints
//! those of our broker, the packets those of our encoder.
//!
//!     cargo test -p candor-client --lib storm -- --ignored --nocapture

use super::{Backoff, Reconnect, Verdict};
use crate::address::Address;
use crate::error::{Error, Refused, Step, TransportError};
use candor_protocol::codec::dictionary::{Dictionary, MapBuilder};
use candor_protocol::dialect::{Dialect, write};
use candor_protocol::packet::legality::Role;
use candor_protocol::packet::{ConnAck, Connect, Packet, Problem, Reason, Refusal, Retry, property};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// About what a resumed TLS 1.3 handshake comes to, both ways, as `broker/tests/transport/day.rs` measures it.
const HANDSHAKE_BYTES: u64 = 1_000;
/// For so long nobody listens at the server's port.
const DOWN_MS: u64 = 5_000;
/// How many CONNECT a second the server can take; the others are told that it is busy.
const CAPACITY_PER_S: u64 = 200;

/// How the clients decide when to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// Once a second, whatever happens.
    Loop,
    /// As this library does where nobody says anything.
    Alone,
    /// As this library does with what an extended server says.
    Hinted,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Toll {
    attempts: u64,
    refused: u64,
    bytes: u64,
    /// The most attempts in one second.
    peak_per_s: u64,
    all_back_ms: u64,
}

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

fn lost() -> Error {
    let server: Address = "mqtts://localhost".parse().unwrap();
    Error::Transport(TransportError { step: Step::Open, server, cause: String::new() })
}

/// What the broker says when it ends, and when it is at its limit of connections.
fn told(reason: Reason, after_ms: u64, jitter_ms: u64) -> Error {
    let problem = Problem::titled("the server is busy").retry(Retry::After { after_ms, jitter_ms });
    let refused = Refused { refusal: Refusal::new(reason, problem), retry_after_ms: None, nearest: None, dialect: Dialect::Extended };
    Error::Refused(Box::new(refused))
}

/// What a plain server says: return code 3, or nothing.
fn untold() -> Error {
    let refusal = Refusal::new(Reason::SERVER_UNAVAILABLE, Problem::default());
    Error::Refused(Box::new(Refused { refusal, retry_after_ms: None, nearest: None, dialect: Dialect::V311 }))
}

fn len(sender: Role, dialect: Dialect, packet: &Packet) -> u64 {
    write::to_bytes(dialect, sender, packet).unwrap().len() as u64
}

/// The bytes of a CONNECT and of its refusal.
fn packets(manner: Manner) -> (u64, u64) {
    let dialect = if manner == Manner::Hinted { Dialect::Extended } else { Dialect::V311 };
    let (client_id, dictionary) = ("device-0001".to_owned(), Dictionary::EMPTY);
    let connect =
        Connect { dialect, client_id, keep_alive_s: 60, clean_session: true, will: None, user_name: None, password: None, dictionary };
    let mut map = MapBuilder::new();
    if manner == Manner::Hinted {
        let Error::Refused(refused) = told(Reason::SERVER_BUSY, 10_000, 20_000) else { unreachable!() };
        map.set(property::PROBLEM, &refused.refusal.problem.to_dictionary()).set(property::RETRY_AFTER, &10_000);
    }
    let connack = ConnAck::refused(Reason::SERVER_BUSY, map.finish());
    (len(Role::Client, dialect, &Packet::Connect(Box::new(connect))), len(Role::Server, dialect, &Packet::ConnAck(Box::new(connack))))
}

fn storm(clients: usize, manner: Manner, seed: u64) -> Toll {
    let mut dice = Dice(seed);
    let (connect, refusal) = packets(manner);
    let mut backoffs: Vec<Backoff> = (0..clients).map(|_| Backoff::new(Reconnect::default())).collect();
    let mut wait_ms = |client: usize, error: &Error, lived: Option<Duration>| match manner {
        Manner::Loop => 1000,
        _ => match backoffs[client].after(error, lived, true, dice.draw()) {
            Verdict::Wait(wait) => wait.as_millis() as u64,
            Verdict::Stop => panic!("client {client} gave up for {error}"),
        },
    };
    // A long life ends, with or without a word.
    let end = if manner == Manner::Hinted { told(Reason::SERVER_SHUTTING_DOWN, 1000, 5000) } else { lost() };
    let hour = Some(Duration::from_secs(3600));
    let mut queue: BinaryHeap<Reverse<(u64, usize)>> = (0..clients).map(|client| Reverse((wait_ms(client, &end, hour), client))).collect();
    let busy = if manner == Manner::Hinted { told(Reason::SERVER_BUSY, 10_000, 20_000) } else { untold() };
    let (mut toll, mut second, mut in_second, mut taken) = (Toll::default(), 0, 0, 0);
    while let Some(Reverse((now_ms, client))) = queue.pop() {
        if now_ms / 1000 != second {
            (second, in_second, taken) = (now_ms / 1000, 0, 0);
        }
        in_second += 1;
        toll.attempts += 1;
        toll.peak_per_s = toll.peak_per_s.max(in_second);
        if now_ms < DOWN_MS {
            queue.push(Reverse((now_ms + wait_ms(client, &lost(), None), client)));
            continue;
        }
        toll.bytes += HANDSHAKE_BYTES + connect;
        if taken < CAPACITY_PER_S {
            taken += 1;
            toll.bytes += 4;
            toll.all_back_ms = now_ms;
        } else {
            toll.refused += 1;
            toll.bytes += refusal;
            queue.push(Reverse((now_ms + wait_ms(client, &busy, None), client)));
        }
    }
    toll
}

fn tolls(clients: usize, seed: u64) -> [Toll; 3] {
    let tolls = [Manner::Loop, Manner::Alone, Manner::Hinted].map(|manner| storm(clients, manner, seed));
    println!("{clients} clients, seed {seed}; the server is down for {DOWN_MS} ms and takes {CAPACITY_PER_S} a second");
    println!("| clients | attempts | refused | bytes | peak a second | all back after |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: |");
    for (name, toll) in ["once a second", "back-off, nothing said", "back-off, told when"].iter().zip(&tolls) {
        let Toll { attempts, refused, bytes, peak_per_s, all_back_ms } = toll;
        println!("| {name} | {attempts} | {refused} | {bytes} | {peak_per_s} | {} s |", all_back_ms / 1000);
    }
    tolls
}

fn is_tamed(tolls: [Toll; 3]) {
    let [endless, alone, hinted] = tolls;
    assert!(hinted.refused * 4 < alone.refused * 3 && alone.refused * 4 < endless.refused, "{tolls:?}");
    assert!(hinted.bytes < alone.bytes && alone.bytes < endless.bytes, "{tolls:?}");
    assert!(hinted.peak_per_s < alone.peak_per_s, "{tolls:?}");
}

#[test]
fn a_storm_is_smaller_where_the_server_says_when_to_come_back() {
    is_tamed(tolls(3_000, 7));
}

#[test]
#[ignore = "prints the figures of a large storm"]
fn a_storm_of_ten_thousand_clients() {
    (1..=3).for_each(|seed| is_tamed(tolls(10_000, seed)));
}
