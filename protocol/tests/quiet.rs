//! Between its accept and the client's next packet, a server's wire is silent whatever its owner does.
#![allow(clippy::unwrap_used, clippy::panic, reason = "what fails in a test fails the test")]

mod talk;

use bytes::BytesMut;
use candor_protocol::codec::dictionary::Dictionary;
use candor_protocol::codec::frame::Frame;
use candor_protocol::dialect::{Dialect, write};
use candor_protocol::packet::legality::Role;
use candor_protocol::packet::{Kind, Notice, Packet, Qos, Reason, SubAck, UnsubAck, property};
use candor_protocol::session::{Acceptance, Outcome, Output, Parked, Record, ServerPolicy, Session, SessionState};
use candor_protocol::sim::{Pair, Way};
use proptest::prelude::*;
use std::sync::Arc;
use talk::{delivery, id, message, refused};

/// The server's session after a connection on which everything stayed half done: messages both ways that nobody settled,
/// and steps that nobody recorded.
fn half_done() -> Parked {
    let mut settings = Way::Extended.settings("device-1");
    settings.connect.clean_session = false;
    let mut pair = Pair::new(settings, ServerPolicy::default());
    pair.drive();
    pair.server.records = false;
    for token in 1..=2 {
        pair.server.publish(message("down"), Qos::ExactlyOnce, token);
        pair.client.publish(message("released"), Qos::ExactlyOnce, token);
    }
    pair.drive();
    pair.server.settles = None;
    for (token, qos) in [(3, Qos::AtLeastOnce), (4, Qos::ExactlyOnce), (5, Qos::ExactlyOnce)] {
        pair.client.publish(message("up"), qos, token);
    }
    pair.drive();
    assert!(pair.server.kept.len() == 4 && pair.server.take_tickets().len() == 3);
    pair.cut();
    pair.server.session.park()
}

fn frame(dialect: Dialect, packet: &Packet) -> Frame {
    let bytes = write::to_bytes(dialect, Role::Client, packet).unwrap();
    Frame::split_mut(&mut BytesMut::from(&bytes[..]), u32::MAX).unwrap().unwrap()
}

fn drain(session: &mut Session) -> Vec<Output> {
    std::iter::from_fn(|| session.poll()).collect()
}

/// A server that has sent its accept, and the confirm that answers it.
fn accepted(parked: Option<Parked>) -> (Session, Packet) {
    let mut settings = Way::Offer.settings("device-1");
    settings.connect.clean_session = false;
    let mut client = Session::client(Arc::new(settings), Parked::default(), 0);
    let said = drain(&mut client);
    let [Output::Send(connect), Output::Send(offer), _] = &said[..] else { panic!("{said:?}") };
    let mut session = Session::server(Arc::new(ServerPolicy::default()), 0);
    session.receive(&frame(Dialect::V311, connect), 0);
    let state = if parked.is_some() { SessionState::Resumed } else { SessionState::New };
    session.accept(Acceptance { state, ..Acceptance::default() }, parked, 0);
    drain(&mut session);
    session.receive(&frame(Dialect::V311, offer), 0);
    let said = drain(&mut session);
    let [Output::Send(Packet::UnsubAck(answer))] = &said[..] else { panic!("{said:?}") };
    let hash = candor_protocol::dialect::offer::Accept::confirm_hash(&answer.accept);
    (session, Packet::Notice(Notice { reason: Reason::CONFIRM, dictionary: Dictionary::with(property::CONFIRM_HASH, &hash) }))
}

/// What an owner may do at any time.
#[derive(Debug, Clone, Copy)]
enum Act {
    Settle(u64, bool),
    Released(u16),
    Received(u16),
    Notice,
    SubAck(u16),
    UnsubAck(u16),
    Deliver(u8),
    Withdraw(u16),
    Tick(u64),
    Ping,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        (0..6u64, any::<bool>()).prop_map(|(ticket, ok)| Act::Settle(ticket, ok)),
        (1..6u16).prop_map(Act::Released),
        (1..6u16).prop_map(Act::Received),
        Just(Act::Notice),
        (1..6u16).prop_map(Act::SubAck),
        (1..6u16).prop_map(Act::UnsubAck),
        (0..3u8).prop_map(Act::Deliver),
        (1..6u16).prop_map(Act::Withdraw),
        (0..80_000u64).prop_map(Act::Tick),
        Just(Act::Ping),
    ]
}

fn perform(session: &mut Session, act: Act) {
    match act {
        Act::Settle(ticket, true) => session.settle(ticket, Outcome::accepted()),
        Act::Settle(ticket, false) => session.settle(ticket, refused()),
        Act::Released(n) => session.recorded(Record::Released(id(n))),
        Act::Received(n) => session.recorded(Record::Received(id(n))),
        Act::Notice => session.answer(Packet::Notice(Notice { reason: Reason::GAP, dictionary: Dictionary::EMPTY })),
        Act::SubAck(n) => {
            let answer = SubAck { id: id(n), reasons: vec![Reason::SUCCESS], dictionary: Dictionary::EMPTY };
            session.answer(Packet::SubAck(Box::new(answer)));
        }
        Act::UnsubAck(n) => {
            let answer = UnsubAck { id: id(n), reasons: vec![], dictionary: Dictionary::EMPTY, accept: Default::default() };
            session.answer(Packet::UnsubAck(Box::new(answer)));
        }
        Act::Deliver(qos) => {
            let qos = [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce][usize::from(qos)];
            let outcome = session.deliver(delivery("new", qos, Dictionary::EMPTY), 9);
            assert!(matches!(outcome, candor_protocol::session::Delivered::Later(_)), "{outcome:?}");
        }
        Act::Withdraw(n) => drop(session.withdraw(id(n))),
        Act::Tick(now_ms) => session.tick(now_ms),
        Act::Ping => session.receive(&frame(Dialect::V311, &Packet::PingReq(Default::default())), 1),
    }
}

proptest! {
    /// clause offer.silent MUST NOT
    /// A server that sent an accept MUST NOT send anything but PINGRESP before the client's next packet has come.
    #[test]
    fn a_server_is_silent_between_accept_and_confirm(resumed: bool, acts in prop::collection::vec(act(), 0..20)) {
        let (mut session, confirm) = accepted(resumed.then(half_done));
        let mut pinged = false;
        for act in acts {
            if matches!(act, Act::Ping) && std::mem::replace(&mut pinged, true) {
                // A second one is the packet that leaves the connection plain.
                continue;
            }
            perform(&mut session, act);
            for output in drain(&mut session) {
                let is_silent = match &output {
                    Output::Send(packet) => packet.kind() == Kind::PingResp,
                    Output::Publish(_) => false,
                    _ => true,
                };
                prop_assert!(is_silent, "{:?} made it say {:?}", act, output);
                if let Output::Send(packet) = &output {
                    let [plain, extended] = [Dialect::V311, Dialect::Extended].map(|dialect| write::to_bytes(dialect, Role::Server, packet));
                    prop_assert_eq!(plain, extended);
                }
            }
        }
        session.receive(&frame(Dialect::Extended, &confirm), 2);
        drain(&mut session);
        prop_assert!(session.is_closed() || session.terms().dialect.is_extended());
    }
}

/// What an owner answers too early is not lost: it leaves behind the confirm, extended, or with the packet that makes the
/// connection stay plain.
#[test]
fn what_was_held_back_leaves_in_the_dialect_that_was_agreed() {
    for confirms in [true, false] {
        let (mut session, confirm) = accepted(None);
        perform(&mut session, Act::SubAck(7));
        assert_eq!(drain(&mut session), []);
        let next = if confirms {
            confirm
        } else {
            Packet::Disconnect(candor_protocol::packet::Disconnect { reason: Reason::SUCCESS, dictionary: Dictionary::EMPTY })
        };
        session.receive(&frame(if confirms { Dialect::Extended } else { Dialect::V311 }, &next), 2);
        let said = drain(&mut session);
        assert!(said.iter().any(|output| matches!(output, Output::Send(Packet::SubAck(answer)) if answer.id == id(7))), "{said:?}");
        assert_eq!(session.terms().dialect.is_extended(), confirms);
    }
}

/// clause resume.settled-meanwhile MUST NOT
/// An end MUST NOT answer a message of an earlier connection before the message was listed with its outcome or repeated,
/// even if it is settled in between.
#[test]
fn a_late_settlement_waits_for_the_repetition() {
    let (mut session, confirm) = accepted(Some(half_done()));
    // The third message was of QoS 1 and comes again; the fourth is open under its ticket.
    session.settle(3, refused());
    session.recorded(Record::Released(id(1)));
    session.recorded(Record::Received(id(1)));
    assert_eq!(drain(&mut session), []);
    session.receive(&frame(Dialect::Extended, &confirm), 2);
    let acknowledged =
        |said: &[Output]| said.iter().filter(|output| matches!(output, Output::Send(Packet::PubRec(_) | Packet::PubComp(_)))).count();
    assert_eq!(acknowledged(&drain(&mut session)), 0);
    let publish = candor_protocol::packet::Publish {
        dup: true,
        qos: Qos::ExactlyOnce,
        retain: false,
        id: Some(id(4)),
        message: message("up"),
        dictionary: Dictionary::EMPTY,
    };
    session.receive(&frame(Dialect::Extended, &Packet::Publish(publish)), 3);
    let said = drain(&mut session);
    assert!(matches!(&said[..], [Output::Send(Packet::PubRec(ack))] if ack.reason == Reason::NOT_AUTHORIZED), "{said:?}");
}
