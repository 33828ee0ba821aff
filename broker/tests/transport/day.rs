//! One day of a device with a wrong right: it measures every minute, and a rule denies what it publishes. What that costs depends on
//! what it is told. Every byte is one that our encoder or TLS has made; the transcript stands in `docs/refusals.md`:
//!
//!     CANDOR_WRITE_DOCS=1 cargo test -p candor-broker --test transport one_day

use crate::authority::{Authority, connection};
use crate::conversation::{Client, Conversation};
use bytes::{Bytes, BytesMut};
use candor_broker::transport::Scheme;
use candor_broker::transport::tls::TlsSettings;
use candor_protocol::codec::dictionary::Dictionary;
use candor_protocol::dialect::Dialect;
use candor_protocol::dialect::write::{PublishFrame, to_bytes};
use candor_protocol::packet::legality::Role;
use candor_protocol::packet::{
    Ack, ConnAck, Connect, Disclosure, Message, Packet, PacketId, Problem, Profile, Qos, Reason, Refusal, Retry, property,
};
use rustls::ClientConfig;
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;

const MINUTES: u64 = 24 * 60;
const PAYLOAD_LEN: usize = 200;
/// A client that was closed comes back after so long, as many do; where its CONNECT is refused it waits twice as long each time.
const RECONNECT_S: u64 = 5;
const RECONNECT_S_MAX: u64 = 120;
/// The quarantine of plain clients: as the options are by default.
const REFUSALS: u64 = 3;
const FIRST_S: u64 = 60;
const LONGEST_S: u64 = 3600;

/// Bytes that a device has sent and received, and how often it did what.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Spent {
    sent: u64,
    received: u64,
    handshakes: u64,
    publishes: u64,
}

impl Spent {
    fn add(&mut self, other: Self) {
        self.sent += other.sent;
        self.received += other.received;
        self.handshakes += other.handshakes;
        self.publishes += other.publishes;
    }
}

/// How many visits of a kind are made for real: then their handshakes have long been resumed ones, and the next cost the same.
const REAL_VISITS: u32 = 20;

/// What a visit of a kind costs.
#[derive(Default)]
struct Visits {
    made: u32,
    last: Spent,
}

impl Visits {
    fn next(&mut self, visit: impl FnOnce() -> Spent) -> Spent {
        if self.made < REAL_VISITS {
            (self.made, self.last) = (self.made + 1, visit());
        }
        self.last
    }
}

struct World {
    config: Arc<ClientConfig>,
    settings: TlsSettings,
}

/// A connection of the device over TLS; every byte is counted.
struct Line {
    talk: Conversation,
    spent: Spent,
}

impl Line {
    fn open(world: &World, dialect: Dialect) -> Self {
        let mut talk = Client::new(Scheme::Mqtts, connection(&world.config)).raw(Some(&world.settings));
        let mut spent = Spent { handshakes: 1, ..Spent::default() };
        talk.counted_pump(&mut spent.sent);
        let mut line = Self { talk, spent };
        line.says(&connect(dialect));
        line.hears(&connack(dialect, Reason::SUCCESS, None));
        line
    }

    fn says(&mut self, mqtt: &[u8]) {
        self.talk.client_writes(mqtt);
        self.talk.counted_pump(&mut self.spent.sent);
    }

    fn hears(&mut self, mqtt: &[u8]) {
        self.talk.server_sends(mqtt);
        self.talk.counted_pump(&mut self.spent.sent);
    }

    fn close(mut self) -> Spent {
        self.talk.server_closes();
        self.talk.counted_pump(&mut self.spent.sent);
        self.spent()
    }

    fn spent(&self) -> Spent {
        Spent { received: self.talk.wire.len() as u64, ..self.spent }
    }
}

fn bytes(dialect: Dialect, sender: Role, packet: &Packet) -> Bytes {
    to_bytes(dialect, sender, packet).unwrap()
}

fn connect(dialect: Dialect) -> Bytes {
    let connect = Connect {
        dialect,
        client_id: "device-0001".to_owned(),
        user_name: Some("device-0001".to_owned()),
        password: Some(Bytes::from_static(b"a password of 24 letters")),
        keep_alive_s: 300,
        clean_session: false,
        will: None,
        dictionary: Dictionary::EMPTY,
    };
    bytes(dialect, Role::Client, &Packet::Connect(Box::new(connect)))
}

fn connack(dialect: Dialect, reason: Reason, problem: Option<&Problem>) -> Bytes {
    let mut map = candor_protocol::codec::dictionary::MapBuilder::new();
    if dialect.is_extended() && !reason.is_error() {
        map.set(property::PROFILE, &Profile::default().to_dictionary()).set(property::RECEIVE_MAXIMUM, &1000);
    }
    map.set_some(property::PROBLEM, problem.map(Problem::to_dictionary).as_ref());
    let packet = match reason.is_error() {
        true => ConnAck::refused(reason, map.finish()),
        false => ConnAck { session_present: true, reason, dictionary: map.finish() },
    };
    bytes(dialect, Role::Server, &Packet::ConnAck(Box::new(packet)))
}

fn publish(dialect: Dialect) -> Bytes {
    let message = Message::publish("plant/7/line/3/temperature", "x".repeat(PAYLOAD_LEN)).unwrap();
    let mut out = BytesMut::new();
    PublishFrame::new(dialect, Qos::AtLeastOnce, false, &message, &Dictionary::EMPTY).write(PacketId::new(1), false, &mut out);
    out.freeze()
}

fn puback(dialect: Dialect, refusal: Option<Refusal>) -> Bytes {
    let id = PacketId::new(1).unwrap();
    let ack = match refusal {
        None => Ack::success(id),
        Some(refusal) => Ack::new(id, refusal.reason, Dictionary::with(property::PROBLEM, &refusal.problem.to_dictionary())),
    };
    bytes(dialect, Role::Server, &Packet::PubAck(ack))
}

fn denied() -> Refusal {
    let problem = Problem { trace_id: Some("5f0c2a9be1d34477".to_owned()), ..Problem::titled("no rule allows this publish") };
    let problem = problem.rule("rules.toml:12").missing_scope("publish:plant/7/line/3/temperature").retry(Retry::Changed);
    Disclosure::Full.of(&Refusal::new(Reason::NOT_AUTHORIZED, problem))
}

/// It is told that each message was taken, and each is dropped.
fn acknowledged_and_dropped(world: &World) -> Spent {
    let dialect = Dialect::V311;
    let mut line = Line::open(world, dialect);
    for _ in 0..MINUTES {
        line.says(&publish(dialect));
        line.hears(&puback(dialect, None));
        line.spent.publishes += 1;
    }
    line.spent()
}

/// Its connection is closed for each message, and it comes back and sends it again, as MQTT 3.1.1 has it.
fn closed(world: &World, is_kept_out: bool) -> Spent {
    let (dialect, mut total) = (Dialect::V311, Spent::default());
    let (mut at_s, mut refusals, mut out_until_s, mut last_s) = (0, 0, 0, 0);
    let mut wait_s = RECONNECT_S;
    let (mut turned_away, mut closed) = (Visits::default(), Visits::default());
    while at_s < MINUTES * 60 {
        if at_s < out_until_s {
            // Kept out: CONNACK 3 behind a handshake, and nothing is published.
            total.add(turned_away.next(|| Line::refused(world, dialect).close()));
            wait_s = (2 * wait_s).min(RECONNECT_S_MAX);
            at_s += wait_s;
            continue;
        }
        total.add(closed.next(|| {
            let mut line = Line::open(world, dialect);
            line.says(&publish(dialect));
            line.spent.publishes = 1;
            line.close()
        }));
        refusals += 1;
        wait_s = RECONNECT_S;
        at_s += wait_s;
        if is_kept_out && refusals >= REFUSALS {
            last_s = if last_s == 0 { FIRST_S } else { (last_s * 2).min(LONGEST_S) };
            (refusals, out_until_s) = (0, at_s + last_s);
        }
    }
    total
}

impl Line {
    /// A CONNECT that is refused.
    fn refused(world: &World, dialect: Dialect) -> Self {
        let mut talk = Client::new(Scheme::Mqtts, connection(&world.config)).raw(Some(&world.settings));
        let mut spent = Spent { handshakes: 1, ..Spent::default() };
        talk.counted_pump(&mut spent.sent);
        let mut line = Self { talk, spent };
        line.says(&connect(dialect));
        line.hears(&connack(dialect, Reason::BANNED, None));
        line
    }
}

/// It is told why with the first message: what is missing, and that only a change helps. It keeps its connection, publishes no more
/// of this, and tries again once an hour.
fn told(world: &World) -> Spent {
    let dialect = Dialect::Extended;
    let mut line = Line::open(world, dialect);
    for _ in 0..24 {
        line.says(&publish(dialect));
        line.hears(&puback(dialect, Some(denied())));
        line.spent.publishes += 1;
        // It lives on: twelve times in an hour it shows that it does.
        for _ in 0..12 {
            line.says(&bytes(dialect, Role::Client, &Packet::PingReq(Default::default())));
            line.hears(&bytes(dialect, Role::Server, &Packet::PingResp(Default::default())));
        }
    }
    line.spent()
}

const BEGIN: &str = "<!-- day: begin -->";
const END: &str = "<!-- day: end -->";

fn page(rows: &[(&str, Spent)]) -> String {
    let mut page =
        "\n| the device | publishes | TLS handshakes | bytes sent | bytes received |\n| --- | ---: | ---: | ---: | ---: |\n".to_owned();
    for (name, spent) in rows {
        let _ = writeln!(page, "| {name} | {} | {} | {} | {} |", spent.publishes, spent.handshakes, spent.sent, spent.received);
    }
    page
}

#[test]
fn one_day_of_a_device_with_a_wrong_right() {
    let authority = Authority::new();
    let world = World { settings: authority.settings(), config: Arc::new(authority.client(&[])) };
    let rows = [
        ("3.1.1, acknowledged and dropped: it believes that all is well", acknowledged_and_dropped(&world)),
        ("3.1.1, closed, back after 5 s, for ever", closed(&world, false)),
        ("3.1.1, closed, and kept out for a growing time", closed(&world, true)),
        ("extended, told what is missing; tries again once an hour", told(&world)),
    ];
    let all = |at: usize| rows[at].1.sent + rows[at].1.received;
    assert!(all(1) > 5 * all(2), "a quarantine saves most of what a loop costs");
    assert!(all(0) > 5 * all(3) && all(2) > 5 * all(3), "who is told why pays least");
    assert!(rows[0].1.publishes == MINUTES && rows[1].1.publishes == MINUTES * 60 / RECONNECT_S && rows[3].1.publishes == 24);
    print!("{}", page(&rows));
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/refusals.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (there, after) = rest.split_once(END).unwrap();
    if std::env::var_os("CANDOR_WRITE_DOCS").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{}\n{END}{after}", page(&rows))).unwrap();
    } else {
        // Certificates and tickets differ by some bytes from one run to the next.
        assert_eq!(there.trim().lines().count(), page(&rows).trim().lines().count(), "CANDOR_WRITE_DOCS=1 writes it");
    }
}
