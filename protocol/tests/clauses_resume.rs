//! What both ends hold is said when an extended session is resumed, and decides what is sent again.
#![allow(clippy::unwrap_used, clippy::panic, reason = "what fails in a test fails the test")]

mod talk;

use bytes::BytesMut;
use candor_protocol::codec::dictionary::{Dictionary, MapBuilder};
use candor_protocol::codec::frame::Frame;
use candor_protocol::dialect::{Dialect, write};
use candor_protocol::packet::connect::ConnAck;
use candor_protocol::packet::legality::Role;
use candor_protocol::packet::{Kind, Packet, Publish, Qos, Reason, property};
use candor_protocol::session::held::HELD_LEN_MAX;
use candor_protocol::session::{Cause, ClientSettings, Held, Mark, Outcome, Output, ServerPolicy, Session};
use candor_protocol::sim::{Fault, Pair, Way};
use std::collections::BTreeMap;
use std::sync::Arc;
use talk::{BOTH, end, message, refused, said_of, unheard};

const DOORS: [Way; 2] = [Way::Extended, Way::Offer];
const QOS: [Qos; 2] = [Qos::AtLeastOnce, Qos::ExactlyOnce];

fn stored(way: Way) -> ClientSettings {
    let mut settings = way.settings("device-1");
    let expiry = Dictionary::with(property::SESSION_EXPIRY_INTERVAL, &60);
    settings.connect.clean_session = false;
    match &mut settings.offer {
        Some(offer) => offer.dictionary = expiry,
        None if way.is_extended() => settings.connect.dictionary = expiry,
        None => {}
    }
    settings
}

/// A session whose messages are counted from its first connection on.
fn open(way: Way) -> Pair {
    let mut pair = Pair::new(stored(way), ServerPolicy::default());
    pair.server.count_mark = Some(Mark(*b"count-1."));
    pair.drive();
    pair
}

/// Ends the connection with all that is on its way, and makes the next one between the same two sessions; it has not begun.
fn next(mut pair: Pair, way: Way) -> Pair {
    pair.sever();
    let mut next = Pair::resumed(stored(way), ServerPolicy::default(), pair.client.session.park(), Some(pair.server.session.park()));
    next.server.count_mark = Some(Mark(*b"count-2."));
    next
}

fn again(pair: Pair, way: Way) -> Pair {
    let mut next = next(pair, way);
    next.drive();
    assert!(next.client.session.is_ready(), "{:?}", next.client.closed);
    next
}

fn publishes(pair: &Pair, from: Role) -> Vec<Publish> {
    let publish = |packet| if let Packet::Publish(publish) = packet { publish } else { panic!() };
    said_of(pair, from, Kind::Publish).into_iter().map(publish).collect()
}

/// What each end said it holds.
fn held(pair: &Pair) -> (Option<Dictionary>, Option<Dictionary>) {
    let of = |role, kinds: [Kind; 2]| {
        let packets = kinds.into_iter().flat_map(|kind| said_of(pair, role, kind));
        packets.filter_map(|packet| packet.dictionary().value(property::HELD)).next()
    };
    let opened =
        pair.client.events.iter().find_map(|event| if let Output::Opened(opened) = event { Some(&opened.dictionary) } else { None });
    (of(Role::Client, [Kind::Connect, Kind::Notice]), opened.and_then(|dictionary| dictionary.value(property::HELD)))
}

/// clause resume.as-new MUST
/// An end MUST send a message that its peer did not receive as a new one, with another packet identifier and without DUP,
/// in the order of the first transmissions and before anything new.
#[test]
fn what_was_not_received_is_sent_as_new() {
    for (way, role, qos) in BOTH.into_iter().flat_map(|role| DOORS.map(|way| (way, role))).flat_map(|(w, r)| QOS.map(|qos| (w, r, qos))) {
        let mut pair = open(way);
        unheard(&mut pair, role);
        ["one", "two"].into_iter().zip(1..).for_each(|(text, token)| end(&mut pair, role).publish(message(text), qos, token));
        pair.drive();
        let before: Vec<_> = publishes(&pair, role).iter().map(|publish| publish.id).collect();
        let mut pair = next(pair, way);
        end(&mut pair, role).publish(message("three"), qos, 3);
        pair.drive();
        let sent = publishes(&pair, role);
        assert!(sent.iter().all(|publish| !publish.dup && !before.contains(&publish.id)), "{way:?} {role:?} {sent:?}");
        assert_eq!(end(&mut pair, role.other()).take_messages(), ["a/b one", "a/b two", "a/b three"], "{way:?} {role:?}");
        assert_eq!(end(&mut pair, role).take_outcomes(), [1, 2, 3].map(|token| (token, Reason::SUCCESS)));
        assert!(matches!(held(&pair), (Some(_), Some(_))));
    }
}

/// clause resume.open MUST
/// An end MUST send a message that its peer lists as open again with DUP and its packet identifier.
#[test]
fn what_is_open_is_sent_again_with_dup() {
    for (way, role, qos) in BOTH.into_iter().flat_map(|role| DOORS.map(|way| (way, role))).flat_map(|(w, r)| QOS.map(|qos| (w, r, qos))) {
        let mut pair = open(way);
        end(&mut pair, role.other()).settles = None;
        end(&mut pair, role).publish(message("one"), qos, 1);
        pair.drive();
        let first = publishes(&pair, role)[0].clone();
        let pair = again(pair, way);
        assert_eq!(publishes(&pair, role), [Publish { dup: true, ..first }], "{way:?} {role:?}");
    }
}

/// clause resume.outcome MUST
/// An end MUST apply the outcomes that its peer lists, and take a message within the count that is not listed for accepted,
/// without sending it again.
#[test]
fn an_acknowledgement_that_was_lost_is_told_by_the_exchange() {
    for (way, role, qos) in BOTH.into_iter().flat_map(|role| DOORS.map(|way| (way, role))).flat_map(|(w, r)| QOS.map(|qos| (w, r, qos))) {
        for outcome in [Outcome::accepted(), refused()] {
            let mut pair = open(way);
            unheard(&mut pair, role.other());
            end(&mut pair, role.other()).settles = Some(outcome.clone());
            end(&mut pair, role).publish(message("one"), qos, 1);
            pair.drive();
            assert_eq!(end(&mut pair, role.other()).take_messages().len(), 1);
            let mut pair = again(pair, way);
            assert_eq!(end(&mut pair, role).take_outcomes(), [(1, outcome.reason)], "{way:?} {role:?} {qos:?}");
            assert!(publishes(&pair, role).is_empty() && end(&mut pair, role.other()).take_messages().is_empty());
            let releases = usize::from(qos == Qos::ExactlyOnce && !outcome.reason.is_error());
            assert_eq!(said_of(&pair, role, Kind::PubRel).len(), releases);
        }
    }
}

#[test]
fn a_window_that_is_repeated_is_not_taken_for_more_than_was_agreed() {
    for (way, role) in BOTH.into_iter().flat_map(|role| DOORS.map(|way| (way, role))) {
        let narrow = |way| ClientSettings { receive_window: 2, ..with_window(stored(way)) };
        let policy = || ServerPolicy { receive_window: 2, send_window: 2, ..ServerPolicy::default() };
        let mut pair = Pair::new(narrow(way), policy());
        pair.server.count_mark = Some(Mark(*b"count-1."));
        pair.drive();
        end(&mut pair, role.other()).settles = None;
        (1..=2).for_each(|token| end(&mut pair, role).publish(message("full"), Qos::ExactlyOnce, token));
        pair.drive();
        let tickets = end(&mut pair, role.other()).take_tickets();
        pair.sever();
        let mut pair = Pair::resumed(narrow(way), policy(), pair.client.session.park(), Some(pair.server.session.park()));
        pair.server.count_mark = Some(Mark(*b"count-2."));
        pair.drive();
        assert_eq!(publishes(&pair, role).len(), 2, "{way:?} {role:?}");
        tickets.into_iter().for_each(|ticket| end(&mut pair, role.other()).session.settle(ticket, Outcome::accepted()));
        pair.drive();
        assert_eq!(end(&mut pair, role).take_outcomes(), [(1, Reason::SUCCESS), (2, Reason::SUCCESS)], "{way:?} {role:?}");
    }
}

/// Says that two messages are taken at once, by either door.
fn with_window(mut settings: ClientSettings) -> ClientSettings {
    let dictionary = settings.offer.as_mut().map_or(&mut settings.connect.dictionary, |offer| &mut offer.dictionary);
    let mut map = MapBuilder::new();
    map.merge(dictionary).set(property::RECEIVE_MAXIMUM, &2);
    *dictionary = map.finish();
    settings
}

/// clause resume.plain MUST
/// A server MUST begin a new count, in the place of the exchange, when a message above QoS 0 was sent on a plain connection
/// since the last one.
#[test]
fn a_plain_resumption_ends_the_count() {
    for way in DOORS {
        let mut pair = again(open(way), Way::Plain);
        pair.client.publish(message("one"), Qos::AtLeastOnce, 1);
        pair.drive();
        let pair = again(pair, way);
        assert_eq!(held(&pair), (None, None), "{way:?}");
        let mut pair = again(pair, way);
        assert!(matches!(held(&pair), (Some(_), Some(_))), "{way:?}: the next one has it again");
        pair.client.publish(message("two"), Qos::AtLeastOnce, 2);
        pair.drive();
        assert_eq!(pair.client.take_outcomes(), [(2, Reason::SUCCESS)]);
        // A plain connection on which nothing was said costs nothing.
        let pair = again(again(pair, Way::Plain), way);
        assert!(matches!(held(&pair), (Some(_), Some(_))), "{way:?}");
    }
}

/// clause resume.forgotten MUST NOT
/// An end that has restored its session without the count MUST NOT refer to it; the resumption then follows MQTT 3.1.1.
#[test]
fn a_server_that_has_not_kept_the_count_begins_another() {
    for way in DOORS {
        let mut pair = open(way);
        unheard(&mut pair, Role::Server);
        pair.client.publish(message("one"), Qos::AtLeastOnce, 1);
        pair.drive();
        let mut pair = next(pair, way);
        pair.server.parked.as_mut().unwrap().mark = None;
        pair.drive();
        assert_eq!(held(&pair).1, None);
        assert!(publishes(&pair, Role::Client)[0].dup);
        let mut pair = again(pair, way);
        assert!(matches!(held(&pair), (Some(_), Some(_))));
        assert_eq!((pair.client.take_outcomes(), publishes(&pair, Role::Client)), (vec![], vec![]));
    }
}

/// clause resume.older MUST
/// An end MUST send a message that was first sent before the count began, and whose repetition is above the count received, again
/// with DUP and its packet identifier.
#[test]
fn a_repetition_that_did_not_arrive_stays_a_repetition() {
    let mut pair = open(Way::Plain);
    pair.server.settles = None;
    pair.client.publish(message("one"), Qos::ExactlyOnce, 1);
    pair.drive();
    let first = publishes(&pair, Role::Client)[0].clone();
    // It is repeated, and counted, on the first extended connection; only that is lost on its way.
    let mut pair = next(pair, Way::Extended);
    unheard(&mut pair, Role::Server);
    pair.drive();
    unheard(&mut pair, Role::Client);
    pair.down.set_fault(Fault::None);
    pair.drive();
    assert_eq!(publishes(&pair, Role::Client), [Publish { dup: true, ..first.clone() }]);
    let mut pair = again(pair, Way::Extended);
    assert!(matches!(held(&pair), (Some(_), Some(_))), "the count goes on");
    assert_eq!(publishes(&pair, Role::Client), [Publish { dup: true, ..first }]);
    assert_eq!(pair.server.take_messages(), Vec::<String>::new(), "it was received before");
}

fn lies(mark: Mark) -> Vec<(&'static str, Dictionary)> {
    let held = |received, unfinished: &[(u64, Option<Reason>)]| {
        let unfinished: BTreeMap<_, _> = unfinished.iter().copied().collect();
        Held { mark, received, unfinished }.to_dictionary().unwrap()
    };
    let mut no_mark = MapBuilder::new();
    no_mark.merge(&held(2, &[])).put(0, |out| out.extend_from_slice(&[0x43, 1, 2, 3]));
    let mut no_reason = MapBuilder::new();
    no_reason.merge(&held(2, &[])).put(2, |out| out.extend_from_slice(&[0xA1, 2, 0xF5]));
    vec![
        ("held: received", held(3, &[])),
        ("held: received", held(0, &[])),
        ("held: unfinished: 3", held(2, &[(3, None)])),
        ("held: unfinished: 1", held(2, &[(1, None)])),
        ("held: unfinished: 2", held(2, &[])),
        ("held: count", no_mark.finish()),
        ("held: unfinished: 2", no_reason.finish()),
    ]
}

/// A pair of which `role` has sent two QoS 2 messages: the first is settled, and of the second nothing was heard.
fn with_one_in_flight(role: Role) -> Pair {
    let mut pair = open(Way::Extended);
    end(&mut pair, role).publish(message("one"), Qos::ExactlyOnce, 1);
    pair.drive();
    unheard(&mut pair, role.other());
    end(&mut pair, role).publish(message("two"), Qos::ExactlyOnce, 2);
    pair.drive();
    pair
}

/// clause resume.lie-connect MUST
/// A server MUST refuse with reason 0x82 a CONNECT that says of the count in force what the client cannot hold: more than was
/// sent, less than it acknowledged, or a number that is not in the window; the problem names the field.
#[test]
fn a_client_that_cannot_hold_what_it_says_is_refused() {
    let mark = Mark(*b"count-1.");
    for (place, lie) in lies(mark) {
        let mut pair = with_one_in_flight(Role::Server);
        pair.sever();
        let mut settings = stored(Way::Extended);
        let mut dictionary = MapBuilder::new();
        settings.connect.dictionary = dictionary.merge(&settings.connect.dictionary).set(property::HELD, &lie).finish();
        let mut liar = Pair::resumed(settings, ServerPolicy::default(), Default::default(), Some(pair.server.session.park()));
        liar.drive();
        let Some(Cause::ConnectRefused { connack }) = &liar.client.closed else { panic!("{place}: {:?}", liar.client.closed) };
        let problem = connack.dictionary.value(property::PROBLEM).map(|map| candor_protocol::packet::Problem::of_dictionary(&map));
        assert_eq!((connack.reason, problem.unwrap().field.as_deref()), (Reason::PROTOCOL_ERROR, Some(place)));
        // The session is not the worse for it.
        let pair =
            Pair::resumed(stored(Way::Extended), ServerPolicy::default(), pair.client.session.park(), Some(liar.server.session.park()));
        let mut pair = pair;
        pair.drive();
        assert_eq!(pair.server.take_outcomes(), [(2, Reason::SUCCESS)], "{place}");
    }
}

/// clause resume.lie-connack MUST
/// A client MUST end a connection with reason 0x82 whose server says what it cannot hold.
#[test]
fn a_server_that_cannot_hold_what_it_says_is_left() {
    let mark = Mark(*b"count-1.");
    for (place, lie) in lies(mark) {
        let mut pair = with_one_in_flight(Role::Client);
        pair.sever();
        let mut client = Session::client(Arc::new(stored(Way::Extended)), pair.client.session.park(), 0);
        while client.poll().is_some() {}
        let connack = ConnAck { session_present: true, reason: Reason::SUCCESS, dictionary: Dictionary::with(property::HELD, &lie) };
        let bytes = write::to_bytes(Dialect::Extended, Role::Server, &Packet::ConnAck(Box::new(connack))).unwrap();
        client.receive(&Frame::split_mut(&mut BytesMut::from(&bytes[..]), u32::MAX).unwrap().unwrap(), 1);
        let said: Vec<_> = std::iter::from_fn(|| client.poll()).collect();
        assert!(
            matches!(&said[0], Output::Send(Packet::Disconnect(packet)) if packet.reason == Reason::PROTOCOL_ERROR),
            "{place}: {said:?}"
        );
        let Some(Output::Closed { cause: Cause::Refused(refusal), .. }) = said.last() else { panic!("{said:?}") };
        assert_eq!(refusal.problem.field.as_deref(), Some(place));
        assert_eq!((client.in_flight().len(), client.park().mark), (1, None), "what is in flight stays; the count does not");
    }
}

/// clause resume.refused-count MUST NOT
/// A client whose CONNECT was refused for what it says it holds MUST NOT say it again.
#[test]
fn a_client_that_was_refused_for_its_count_comes_back_without() {
    let mut pair = with_one_in_flight(Role::Client);
    pair.sever();
    // A server whose store lost the last messages, but not the count's name.
    let mut server = pair.server.session.park();
    server.inbound = Default::default();
    server.outbound = candor_protocol::session::outbound::Outbound::restore([], Some(0)).unwrap();
    server.inbound.restore_count(0);
    let mut pair = Pair::resumed(stored(Way::Extended), ServerPolicy::default(), pair.client.session.park(), Some(server));
    pair.drive();
    assert!(matches!(&pair.client.closed, Some(Cause::Refused(refusal)) if refusal.reason == Reason::PROTOCOL_ERROR));
    let pair = again(pair, Way::Extended);
    assert_eq!(held(&pair), (None, None));
}

/// clause resume.late MUST NOT
/// A server MUST NOT act on what a CONNECT says of a count by a name that the count had before its last exchange.
#[test]
fn a_connect_that_is_read_late_is_not_believed() {
    for qos in QOS {
        let mut pair = open(Way::Extended);
        pair.sever();
        let resumed = |client, server| Pair::resumed(stored(Way::Extended), ServerPolicy::default(), client, Some(server));
        // The client gives up a connection behind its CONNECT, and makes another, which the server reads first.
        let (given_up, server) = (pair.client.session.park(), pair.server.session.park());
        let mut pair = resumed(given_up.clone(), server);
        pair.server.count_mark = Some(Mark(*b"count-2."));
        pair.drive();
        unheard(&mut pair, Role::Client);
        pair.server.publish(message("one"), qos, 1);
        pair.drive();
        assert_eq!(pair.client.take_messages(), ["a/b one"]);
        let first = publishes(&pair, Role::Server)[0].clone();
        pair.sever();
        let client = pair.client.session.park();
        let mut late = resumed(given_up, pair.server.session.park());
        late.server.count_mark = Some(Mark(*b"count-3."));
        unheard(&mut late, Role::Server);
        late.drive();
        late.sever();
        let mut pair = resumed(client, late.server.session.park());
        pair.server.count_mark = Some(Mark(*b"count-4."));
        pair.drive();
        assert_eq!(publishes(&pair, Role::Server), [Publish { dup: true, ..first }], "{qos:?}: it may have been received");
        let repeated = if qos == Qos::ExactlyOnce { vec![] } else { vec!["a/b one"] };
        assert_eq!(pair.client.take_messages(), repeated);
        assert_eq!(pair.server.take_outcomes(), [(1, Reason::SUCCESS)]);
    }
}

/// clause resume.bounded MUST NOT
/// An end MUST NOT send more than 8192 bytes under `held`; where it would have to, it resumes without an exchange.
#[test]
fn what_is_held_is_bounded() {
    let held = |entries: u64| Held { mark: Mark([0; 8]), received: 5000, unfinished: (1..=entries).map(|number| (number, None)).collect() };
    assert!(held(2000).to_dictionary().is_some_and(|map| map.as_bytes().len() <= HELD_LEN_MAX));
    assert_eq!(held(4000).to_dictionary(), None);
}
