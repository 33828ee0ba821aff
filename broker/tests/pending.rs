//! Connections before they have a session: how many there may be, and how many passwords are verified for them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use candor_broker::shard::{PendingLimits, Settings, VerificationLimits};
use candor_protocol::packet::Connect;
use candor_protocol::packet::legality::Role;
use candor_protocol::packet::{Packet, Qos};
use candor_protocol::session::ServerPolicy;
use candor_protocol::sim::Way;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};
use support::gate::Gate;
use support::{DEADLINE, TestBroker, policy};

/// The return codes of both dialects: accepted, busy, a wrong password.
const ACCEPTED: u8 = 0;
const BUSY: [u8; 2] = [3, 0x89];
const WRONG: [u8; 2] = [4, 0x86];

fn connect(way: Way, id: &str, password: &str) -> Vec<u8> {
    let named = Connect { user_name: Some("somebody".into()), password: Some(password.to_owned().into()), ..way.settings(id).connect };
    candor_protocol::dialect::write::to_bytes(named.dialect, Role::Client, &Packet::Connect(Box::new(named))).unwrap().to_vec()
}

/// The code of the CONNACK; `None`: the connection ended without one.
fn code(stream: &mut TcpStream) -> Option<u8> {
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut head = [0; 4];
    match stream.read_exact(&mut head) {
        Ok(()) => Some(head[3]),
        Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => None,
        Err(error) => panic!("no answer: {error}"),
    }
}

/// Whether something, or the end, can be read now.
fn has_answer(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    !matches!(stream.peek(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock)
}

/// Waits until `count` of the streams can be read; the others.
fn until_answered(streams: Vec<TcpStream>, count: usize) -> (Vec<TcpStream>, Vec<TcpStream>) {
    let until = Instant::now() + DEADLINE;
    loop {
        if streams.iter().filter(|stream| has_answer(stream)).count() >= count {
            return streams.into_iter().partition(has_answer);
        }
        assert!(Instant::now() < until, "fewer than {count} were answered");
        std::thread::yield_now();
    }
}

/// A connection from another address of this machine.
fn from(address: &str, broker: &TestBroker) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&format!("{address}:0").parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    socket.connect(&broker.address.parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    socket.into()
}

#[test]
fn two_hundred_wrong_passwords_of_one_address_keep_nobody_else_out() {
    const COUNT: usize = 200;
    const WAITING: usize = 8;
    for shards in [1, 3] {
        let verifications = VerificationLimits { running_max: 1, waiting_max: 100, per_address_max: WAITING };
        let gate = Gate::default();
        let broker = TestBroker::behind(Settings { shards, verifications, ..Settings::default() }, policy(), false, gate.door().0);
        let guesses = (0..COUNT).map(|n| {
            let mut stream = broker.raw();
            let way = if n % 2 == 0 { Way::Plain } else { Way::Extended };
            stream.write_all(&connect(way, &format!("guess-{n}"), "wrong")).unwrap();
            stream
        });
        // No password has been verified, and all but a few are answered.
        let (refused, waiting) = until_answered(guesses.collect(), COUNT - WAITING);
        assert_eq!((refused.len(), waiting.len()), (COUNT - WAITING, WAITING));
        for mut stream in refused {
            assert!(code(&mut stream).is_some_and(|code| BUSY.contains(&code)));
        }
        let mut good = from("127.0.0.2", &broker);
        good.write_all(&connect(Way::Plain, "good", "right")).unwrap();
        gate.open();
        assert_eq!(code(&mut good), Some(ACCEPTED));
        for mut stream in waiting {
            assert!(code(&mut stream).is_some_and(|code| WRONG.contains(&code)));
        }
        broker.stop();
    }
}

#[test]
fn an_answer_is_for_the_connection_that_asked_and_for_no_other_in_its_place() {
    let gate = Gate::default();
    let (door, asks) = gate.door();
    let broker = TestBroker::behind(Settings::default(), ServerPolicy { connect_timeout_ms: 200, ..policy() }, false, door);
    let mut first = broker.raw();
    first.write_all(&connect(Way::Plain, "first", "right")).unwrap();
    assert_eq!(asks.recv_timeout(DEADLINE).unwrap(), "first");
    // Its time is over before the password was verified.
    assert_eq!(code(&mut first), None);
    drop(first);
    let mut second = broker.raw();
    second.write_all(&connect(Way::Plain, "second", "wrong")).unwrap();
    assert_eq!(asks.recv_timeout(DEADLINE).unwrap(), "second");
    gate.open();
    assert_eq!(code(&mut second), Some(WRONG[0]), "the right password was that of another connection");
}

fn bounded(max: usize, grace_ms: u64) -> Settings {
    Settings { pending: PendingLimits { max, grace_ms }, ..Settings::default() }
}

#[test]
fn the_oldest_connection_that_says_nothing_goes_for_a_newer_one() {
    let broker = TestBroker::with(bounded(3, 0), policy(), false);
    let mut idle: Vec<TcpStream> = (0..3).map(|_| broker.raw()).collect();
    let mut newer = broker.raw();
    assert_eq!(code(&mut idle[0]), None, "the oldest goes");
    for (id, stream) in (b'a'..).zip(idle.iter_mut().skip(1).chain([&mut newer])) {
        stream.write_all(&[0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0, 0, 1, id]).unwrap();
        assert_eq!(code(stream), Some(ACCEPTED), "the others stay");
    }
}

#[test]
fn who_has_a_session_is_no_part_of_the_bound_and_a_flood_keeps_nobody_out() {
    for shards in [1, 3] {
        let broker = TestBroker::with(Settings { shards, ..bounded(6, 0) }, policy(), false);
        let mut admitted: Vec<_> = (0..20).map(|n| broker.connect(Way::ALL[n % 4], &format!("admitted-{n}"))).collect();
        let flood: Vec<TcpStream> = (0..100).map(|_| broker.raw()).collect();
        let mut late = broker.connect(Way::Offer, "late");
        late.subscribe("a", Qos::AtMostOnce);
        for client in &mut admitted {
            client.publish("a", "here", Qos::AtLeastOnce);
        }
        assert_eq!(late.expect(20).len(), 20);
        let (gone, _) = until_answered(flood, 100 - 6);
        assert!(gone.len() >= 100 - 6);
        broker.stop();
    }
}

/// What says nothing makes room for the next of its own address, and sooner the more there are.
#[test]
fn a_hundred_and_fifty_connections_that_say_nothing_keep_nobody_waiting() {
    for shards in [1, 3] {
        let grace = Duration::from_secs(2);
        let broker = TestBroker::with(Settings { shards, ..bounded(20, grace.as_millis() as u64) }, policy(), false);
        // It takes its time, and is alone on its address.
        let mut slow = from("127.0.0.3", &broker);
        let began = Instant::now();
        let flood: Vec<TcpStream> = (0..150).map(|_| broker.raw()).collect();
        for (address, way) in [("127.0.0.2", Way::Extended), ("127.0.0.1", Way::Plain)] {
            let mut honest = from(address, &broker);
            honest.write_all(&connect(way, address, "right")).unwrap();
            assert_eq!(code(&mut honest), Some(ACCEPTED), "{address}");
        }
        let waited = began.elapsed();
        assert!(waited < grace, "{shards} shards: an honest client waited for {waited:?}");
        slow.write_all(&connect(Way::Plain, "slow", "right")).unwrap();
        assert_eq!(code(&mut slow), Some(ACCEPTED), "{shards} shards: it had its time");
        drop(flood);
        broker.stop();
    }
}

#[test]
fn a_connection_has_its_time_before_it_goes_and_others_wait_meanwhile() {
    let grace = Duration::from_millis(300);
    let broker = TestBroker::with(bounded(1, grace.as_millis() as u64), policy(), false);
    let began = Instant::now();
    let mut first = broker.raw();
    let second = broker.raw();
    assert_eq!(code(&mut first), None);
    // The broker counts whole milliseconds.
    assert!(began.elapsed() + Duration::from_millis(1) >= grace, "{:?}", began.elapsed());
    drop(second);
    broker.connect(Way::Plain, "third").leave();
}

#[test]
fn who_waits_for_an_answer_is_told_that_the_server_is_busy() {
    let gate = Gate::default();
    let (door, asks) = gate.door();
    let broker = TestBroker::behind(bounded(2, 300), policy(), false, door);
    let mut waiting: Vec<TcpStream> = [Way::Plain, Way::Extended]
        .map(|way| {
            let mut stream = broker.raw();
            stream.write_all(&connect(way, "waiting", "right")).unwrap();
            asks.recv_timeout(DEADLINE).unwrap();
            stream
        })
        .into();
    // One that has said nothing goes before them; these have said as much as they have.
    assert_eq!(code(&mut broker.raw()), None);
    let _newer = ["third", "fourth"].map(|id| {
        let mut stream = broker.raw();
        stream.write_all(&connect(Way::Plain, id, "right")).unwrap();
        stream
    });
    for (stream, busy) in waiting.iter_mut().zip(BUSY) {
        assert_eq!(code(stream), Some(busy));
    }
    gate.open();
}

#[test]
fn who_does_not_take_the_end_of_its_connection_goes_too() {
    let broker = TestBroker::with(bounded(1, 0), policy(), false);
    // Refused, and its end is not taken: the broker would linger for two seconds.
    let mut refused = broker.raw();
    refused.write_all(&[0xFF; 2]).unwrap();
    let began = Instant::now();
    let waiting = [broker.raw(), broker.raw()];
    broker.connect(Way::Plain, "next").leave();
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    drop((refused, waiting));
}
