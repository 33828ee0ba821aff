//! Opening a connection, and what a session keeps from one connection to the next.
#![allow(clippy::unwrap_used, clippy::panic, reason = "what fails in a test fails the test")]

mod talk;

use bytes::BytesMut;
use candor_protocol::codec::dictionary::Dictionary;
use candor_protocol::codec::frame::Frame;
use candor_protocol::packet::kind::Kind;
use candor_protocol::packet::legality::Role;
use candor_protocol::packet::{Disconnect, Packet, Problem, Profile, Publish, Qos, Reason, Requirement, property};
use candor_protocol::session::{Cause, ClientSettings, Extended, Opened, Output, Parked, ServerPolicy, Session};
use candor_protocol::sim::{Pair, Way};
use std::sync::Arc;
use talk::{end, message, refusal, said, said_of, say};

fn opened(pair: &Pair) -> &Opened {
    let found = pair.client.events.iter().find_map(|event| if let Output::Opened(opened) = event { Some(opened) } else { None });
    found.unwrap_or_else(|| panic!("the client did not open: {:?}", pair.client.closed))
}

/// Settings whose extended CONNECT, or whose offer, holds `dictionary`.
fn saying(way: Way, dictionary: &Dictionary) -> ClientSettings {
    let mut settings = way.settings("device-1");
    match &mut settings.offer {
        Some(offer) => offer.dictionary = dictionary.clone(),
        None if way.is_extended() => settings.connect.dictionary = dictionary.clone(),
        None => {}
    }
    settings
}

/// A session that outlives its connection, by every way.
fn stored(way: Way) -> ClientSettings {
    let mut settings = saying(way, &Dictionary::with(property::SESSION_EXPIRY_INTERVAL, &60));
    settings.connect.clean_session = false;
    settings
}

fn conversation(settings: ClientSettings, policy: ServerPolicy) -> Pair {
    let mut pair = Pair::new(settings, policy);
    pair.drive();
    pair
}

/// clause negotiation.same MUST
/// A server MUST put into an accept the dictionary that it would put into the CONNACK of an extended CONNECT that says the same, but
/// for what is held of a session that is resumed.
#[test]
fn both_doors_lead_to_the_same_agreement() {
    let wishes = [
        Dictionary::EMPTY,
        Dictionary::with(property::RECEIVE_MAXIMUM, &7),
        Dictionary::with(property::SESSION_EXPIRY_INTERVAL, &60),
        Dictionary::with(property::MAXIMUM_PACKET_SIZE, &1000),
    ];
    let policy = ServerPolicy { receive_window: 5, node: "n1".into(), keep_alive_max_s: 30, ..ServerPolicy::default() };
    for wish in wishes {
        let [connect, offer] = [Way::Extended, Way::Offer].map(|way| conversation(saying(way, &wish), policy.clone()));
        assert_eq!(opened(&connect).dictionary, opened(&offer).dictionary);
        assert_eq!(connect.server.session.terms(), offer.server.session.terms());
        assert_eq!(connect.client.session.terms(), offer.client.session.terms());
    }
}

/// clause negotiation.pieces MUST
/// A server MUST come to the same end however the transport divides the bytes of CONNECT, offer, and PINGREQ.
#[test]
fn a_negotiation_does_not_depend_on_how_bytes_are_divided() {
    use candor_protocol::sim::Fault;
    for way in Way::ALL {
        let whole = conversation(way.settings("device-1"), ServerPolicy::default());
        for seed in 1..50 {
            let mut pair = Pair::new(way.settings("device-1"), ServerPolicy::default());
            pair.up.set_fault(Fault::Split(seed));
            pair.down.set_fault(Fault::Split(seed + 1000));
            pair.drive();
            assert_eq!(pair.client.session.terms(), whole.client.session.terms(), "{way:?}, seed {seed}");
            assert_eq!(pair.server.session.terms(), whole.server.session.terms(), "{way:?}, seed {seed}");
        }
    }
}

/// clause negotiation.plain-only MUST
/// A server that does not serve the extension at a listener MUST refuse an extended CONNECT there with reason 0x84.
#[test]
fn an_extended_connect_to_a_plain_listener_is_refused() {
    let pair = conversation(Way::Extended.settings("device-1"), ServerPolicy { extended: Extended::Off, ..ServerPolicy::default() });
    let Some(Cause::ConnectRefused { connack }) = &pair.client.closed else { panic!("{:?}", pair.client.closed) };
    assert_eq!(connack.reason, Reason::UNSUPPORTED_PROTOCOL_VERSION);
}

/// clause negotiation.extended-only MUST
/// A server that serves only the extension at a listener MUST refuse a CONNECT of MQTT 3.1.1 there with return code 5, even
/// when an offer follows.
#[test]
fn a_plain_connect_to_an_extended_listener_is_refused() {
    for way in [Way::V31, Way::Plain, Way::Offer] {
        let policy = ServerPolicy { extended: Extended::Required, ..ServerPolicy::default() };
        let pair = conversation(way.settings("device-1"), policy);
        assert_eq!(pair.exchange.sent_by(Role::Server), [0x20, 2, 0, 5], "{way:?}");
    }
}

/// clause connect.plain-refusal MUST
/// A client that sent an extended CONNECT MUST take a CONNACK of MQTT 3.1.1 with a return code other than 0 for a refusal by a
/// server that does not know the extension, and one with return code 0 for malformed.
#[test]
fn an_old_server_refuses_in_its_own_form() {
    for code in 0..=5u8 {
        let mut session = Session::client(Arc::new(Way::Extended.settings("device-1")), Parked::default(), 0);
        while session.poll().is_some() {}
        let frame = Frame::split_mut(&mut BytesMut::from(&[0x20, 2, 0, code][..]), 100).unwrap().unwrap();
        session.receive(&frame, 1);
        let closed = std::iter::from_fn(|| session.poll()).find_map(|output| match output {
            Output::Closed { cause, .. } => Some(cause),
            _ => None,
        });
        match closed {
            Some(Cause::ConnectRefused { connack }) => assert!(code > 0 && connack.reason.is_error(), "{code}"),
            Some(Cause::Malformed(_)) => assert_eq!(code, 0),
            other => panic!("{code}: {other:?}"),
        }
    }
}

/// clause connect.keep-alive MUST
/// A client MUST use the interval under `server-keep-alive` in place of the one that it asked for.
#[test]
fn the_servers_keep_alive_is_used() {
    for way in [Way::Extended, Way::Offer] {
        let policy = ServerPolicy { keep_alive_max_s: 20, ..ServerPolicy::default() };
        let mut pair = conversation(way.settings("device-1"), policy);
        assert_eq!((pair.client.session.terms().keep_alive_s, pair.server.session.terms().keep_alive_s), (20, 20));
        pair.exchange.steps.clear();
        pair.pass(61_000);
        assert!(said_of(&pair, Role::Client, Kind::PingReq).len() >= 3, "{way:?}");
        assert!(pair.server.session.is_open());
    }
}

/// clause connect.refused MUST
/// A server that refuses an extended CONNECT MUST answer with a CONNACK that holds the reason and the problem, and close.
#[test]
fn a_refused_extended_connect_says_why() {
    let mut pair = Pair::new(Way::Extended.settings("device-1"), ServerPolicy::default());
    pair.server.refuses = Some(refusal());
    pair.drive();
    let Some(Cause::ConnectRefused { connack }) = &pair.client.closed else { panic!("{:?}", pair.client.closed) };
    let problem = Problem::of_dictionary(&connack.dictionary.value(property::PROBLEM).unwrap());
    assert_eq!((connack.reason, problem), (Reason::NOT_AUTHORIZED, (*refusal().problem).clone()));
    assert!(pair.server.session.is_closed());
}

/// clause connect.packet-size MUST NOT
/// An end MUST NOT send a PUBLISH of more bytes than its peer has said under `maximum-packet-size`.
#[test]
fn no_message_is_larger_than_the_peer_takes() {
    for way in [Way::Extended, Way::Offer] {
        let settings = saying(way, &Dictionary::with(property::MAXIMUM_PACKET_SIZE, &100));
        let mut pair = conversation(settings, ServerPolicy { packet_size_max: 200, ..ServerPolicy::default() });
        for (role, limit) in [(Role::Server, 100), (Role::Client, 200)] {
            pair.exchange.steps.clear();
            for len in 0..=limit {
                end(&mut pair, role).publish(message(&"x".repeat(len)), Qos::AtMostOnce, len as u64);
            }
            pair.drive();
            let longest = pair.exchange.steps.iter().filter(|step| step.from == role).map(|step| step.bytes.len()).max();
            assert!(longest.is_some_and(|longest| longest <= limit && longest + 20 > limit), "{way:?} {role:?} {longest:?}");
            assert!(end(&mut pair, role).take_outcomes().iter().all(|(_, reason)| *reason == Reason::PACKET_TOO_LARGE));
        }
    }
}

/// clause held.until-packet MUST
/// A server MUST hold back the messages of a stored session whose last connection was extended, on a new plain connection, until
/// the client's next packet has come, but for no longer than 1 second.
#[test]
fn a_session_that_was_extended_waits_for_the_offer() {
    let interrupted = || {
        let mut pair = conversation(stored(Way::Offer), ServerPolicy::default());
        pair.client.settles = None;
        pair.server.publish(message("x"), Qos::AtLeastOnce, 1);
        pair.drive();
        pair.client.take_messages();
        pair
    };
    let deliveries = |pair: &Pair| pair.exchange.steps.iter().filter(|step| step.bytes[0] >> 4 == 3).cloned().collect::<Vec<_>>();
    let pair = interrupted().reconnect(stored(Way::Offer), ServerPolicy::default());
    let again = deliveries(&pair);
    assert!(again.len() == 1 && again[0].dialect.is_extended() && again[0].bytes[0] & 0x08 != 0, "{}", pair.exchange);
    // A client that says something else is served at its first packet, one that says nothing after a second.
    let mut pair = interrupted().reconnect(stored(Way::Plain), ServerPolicy::default());
    assert_eq!(deliveries(&pair), []);
    pair.client.session.ping();
    pair.drive();
    assert_eq!(deliveries(&pair).len(), 1);
    let mut pair = interrupted().reconnect(stored(Way::Plain), ServerPolicy::default());
    pair.pass(999);
    assert_eq!(deliveries(&pair), []);
    pair.pass(1);
    assert_eq!(deliveries(&pair).len(), 1);
}

/// clause held.plain MUST NOT
/// A server MUST NOT hold back the messages of a stored session whose last connection was plain.
#[test]
fn a_session_that_was_plain_does_not_wait() {
    for way in [Way::V31, Way::Plain] {
        let mut pair = conversation(stored(way), ServerPolicy::default());
        pair.client.settles = None;
        pair.server.publish(message("x"), Qos::AtLeastOnce, 1);
        pair.drive();
        pair.client.take_messages();
        let mut pair = pair.reconnect(stored(way), ServerPolicy::default());
        assert_eq!((pair.now_ms, pair.client.take_messages()), (0, vec!["a/b x".to_owned()]), "{way:?}");
    }
}

/// clause sessions.again MUST
/// On a resumed session an end MUST send the messages that are not settled again, with DUP and their packet identifiers, in the
/// order in which they were first sent, before any other message; for one that PUBREC has come for it sends PUBREL.
#[test]
fn what_was_not_settled_is_sent_again_in_its_order() {
    for first in Way::ALL {
        for next in Way::ALL {
            for role in [Role::Client, Role::Server] {
                let mut pair = conversation(stored(first), ServerPolicy::default());
                let other = role.other();
                end(&mut pair, other).settles = None;
                for (token, qos) in [Qos::AtLeastOnce, Qos::ExactlyOnce, Qos::ExactlyOnce, Qos::AtLeastOnce].into_iter().enumerate() {
                    end(&mut pair, role).publish(message(&token.to_string()), qos, token as u64);
                }
                pair.drive();
                // The second message gets as far as PUBREC, whose PUBREL is not answered.
                let tickets = end(&mut pair, other).take_tickets();
                end(&mut pair, other).records = false;
                if !first.is_extended() {
                    end(&mut pair, other).session.settle(tickets[0], candor_protocol::session::Outcome::accepted());
                }
                end(&mut pair, other).session.settle(tickets[1], candor_protocol::session::Outcome::accepted());
                pair.drive();
                let mut pair = pair.reconnect(stored(next), ServerPolicy::default());
                end(&mut pair, role).publish(message("new"), Qos::AtLeastOnce, 9);
                pair.drive();
                pair.pass(1000);
                let told: Vec<String> = said_after_opening(&pair, role);
                let mut expected = vec!["PUBLISH 1 dup", "PUBREL 2", "PUBLISH 3 dup", "PUBLISH 4 dup"];
                if !first.is_extended() {
                    expected.remove(0);
                }
                assert_eq!(told[..expected.len()], expected, "{first:?} to {next:?}, {role:?}: {told:?}");
                let new = told.iter().filter(|packet| packet.starts_with("PUBLISH") && !packet.ends_with("dup"));
                assert_eq!(new.count(), 1, "{first:?} to {next:?}, {role:?}: {told:?} {:?}", end(&mut pair, role).session);
            }
        }
    }
}

fn said_after_opening(pair: &Pair, role: Role) -> Vec<String> {
    let mut pair_said = pair.exchange.clone();
    pair_said.steps.retain(|step| step.from == role && matches!(step.bytes[0] >> 4, 3 | 6));
    let dialect_of = |bytes: &[u8], dialect| {
        let frame = Frame::split_mut(&mut BytesMut::from(bytes), u32::MAX).unwrap().unwrap();
        candor_protocol::dialect::read::raise(dialect, &frame, Default::default()).unwrap()
    };
    let packets = pair_said.steps.iter().map(|step| dialect_of(&step.bytes, step.dialect));
    packets
        .map(|packet| match packet {
            Packet::Publish(Publish { id, dup, .. }) => format!("PUBLISH {}{}", id.unwrap().value(), if dup { " dup" } else { "" }),
            Packet::PubRel(ack) => format!("PUBREL {}", ack.id.value()),
            other => panic!("{other:?}"),
        })
        .collect()
}

/// clause sessions.lost MUST
/// A client that asked for its stored session and reads that it is not present MUST forget which identifiers of the server are
/// taken, and report its own messages that were in flight as lost or send them as new ones.
#[test]
fn a_session_that_is_gone_is_not_carried_on() {
    for way in [Way::Plain, Way::Extended, Way::Offer] {
        let mut pair = conversation(stored(way), ServerPolicy::default());
        pair.server.settles = None;
        pair.client.publish(message("x"), Qos::AtLeastOnce, 7);
        pair.drive();
        pair.cut();
        let mut pair = Pair::resumed(stored(way), ServerPolicy::default(), pair.client.session.park(), None);
        pair.drive();
        let lost: Vec<_> = opened(&pair).lost.iter().map(|(token, delivery, _)| (*token, delivery.qos)).collect();
        assert_eq!(lost, [(7, Qos::AtLeastOnce)], "{way:?}");
        assert!(said_of(&pair, Role::Client, Kind::Publish).is_empty() && pair.client.session.in_flight().is_empty());
    }
}

/// clause sessions.expiry-granted MUST
/// A server MUST say in CONNACK, or in its accept, for how many seconds the session is kept after the connection, which is
/// no more than its profile's `session-expiry`; a client that asks for nothing gets 0.
#[test]
fn the_expiry_that_is_granted_is_told() {
    for way in [Way::Extended, Way::Offer] {
        for (asked, most, granted) in [(None, 100, 0), (Some(60), 100, 60), (Some(600), 100, 100), (Some(600), 0, 0)] {
            let wish = asked.map_or(Dictionary::EMPTY, |asked| Dictionary::with(property::SESSION_EXPIRY_INTERVAL, &asked));
            let mut policy = ServerPolicy::default();
            policy.profile.session_expiry_s_max = most;
            let pair = conversation(saying(way, &wish), policy);
            assert_eq!(opened(&pair).dictionary.value(property::SESSION_EXPIRY_INTERVAL), Some(granted), "{way:?} {asked:?}");
            assert_eq!(u64::from(pair.server.session.terms().session_expiry_s), granted);
            assert_eq!(u64::from(pair.client.session.terms().session_expiry_s), granted);
        }
    }
}

/// clause sessions.expiry-changed MUST
/// A server MUST keep a session for the `session-expiry-interval` of a DISCONNECT, up to the one of its profile, in place of the
/// one that was agreed, unless that was 0.
#[test]
fn a_client_that_leaves_may_change_the_expiry() {
    for way in [Way::Extended, Way::Offer] {
        for (agreed, said, kept) in [(60, Some(0), 0), (60, Some(30), 30), (60, Some(9999), 100), (60, None, 60), (0, Some(30), 0)] {
            let mut policy = ServerPolicy::default();
            policy.profile.session_expiry_s_max = 100;
            let mut pair = conversation(saying(way, &Dictionary::with(property::SESSION_EXPIRY_INTERVAL, &agreed)), policy);
            let dictionary = said.map_or(Dictionary::EMPTY, |said| Dictionary::with(property::SESSION_EXPIRY_INTERVAL, &said));
            say(&mut pair, Role::Client, &Packet::Disconnect(Disconnect { reason: Reason::SUCCESS, dictionary }));
            assert_eq!(pair.server.session.terms().session_expiry_s, kept, "{way:?}: {agreed}, then {said:?}");
        }
    }
}

/// clause profiles.declared MUST
/// A server MUST send its profile in the CONNACK of an extended CONNECT and in an accept.
#[test]
fn a_server_declares_its_profile() {
    for way in [Way::Extended, Way::Offer] {
        let profile = Profile { retain: false, qos_max: 1, queue_len_max: 10, loss_window_ms: 5, ..Profile::default() };
        let pair = conversation(way.settings("device-1"), ServerPolicy { profile: profile.clone(), ..ServerPolicy::default() });
        assert_eq!(Profile::of_dictionary(&opened(&pair).dictionary.value(property::PROFILE).unwrap()), profile, "{way:?}");
        assert_eq!(pair.client.session.terms().profile, profile);
    }
}

/// clause profiles.subscribe MUST
/// A server MUST refuse every filter of a SUBSCRIBE whose requirement fails, with reason 0xC3 and a problem that names the
/// clause.
#[test]
fn a_subscription_may_require_a_profile() {
    use candor_protocol::packet::{Durability, SubscribeItem, TopicFilter};
    for way in [Way::Extended, Way::Offer] {
        let mut pair = talk::open(way);
        let requirement = Requirement { durability: Some(Durability::Quorum), ..Requirement::default() };
        let items = ["a", "b"].map(|filter| SubscribeItem { filter: Ok(TopicFilter::new(filter).unwrap()), qos: Qos::AtLeastOnce });
        let dictionary = Dictionary::with(property::REQUIRE, &requirement.to_dictionary());
        pair.client.session.subscribe(items.to_vec(), dictionary, 1).unwrap();
        pair.drive();
        let said = said(&pair, Role::Server);
        let [Packet::SubAck(suback)] = &said[..] else { panic!("{said:?}") };
        assert_eq!(suback.reasons, [Reason::PROFILE_NOT_AVAILABLE; 2], "{way:?}");
        let problem = Problem::of_dictionary(&suback.dictionary.value(property::PROBLEM).unwrap());
        assert_eq!(problem.field.as_deref(), Some("require: durability"));
        assert!(!pair.server.events.iter().any(|event| matches!(event, Output::Subscribe(_))));
    }
}
