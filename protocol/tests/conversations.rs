//! Conversations of two sessions: each behaviour once, in every dialect and by every way into it.

// Helpers of tests may fail like tests.
#![allow(clippy::unwrap_used, clippy::panic)]

use bytes::{Bytes, BytesMut};
use candor_protocol::codec::dictionary::{Dictionary, MapBuilder};
use candor_protocol::codec::frame::Frame;
use candor_protocol::packet::property;
use candor_protocol::packet::{
    Disclosure, Durability, Kind, Message, Problem, Profile, Qos, Reason, Refusal, Requirement, Retry, SubscribeItem, TopicFilter, Will,
};
use candor_protocol::session::{Answer, Cause, ClientSettings, Delivery, Extended, Opened, Outcome, Output, ServerPolicy};
use candor_protocol::sim::{Fault, Pair, Way};

fn message(payload: &str) -> Message {
    Message::publish("a/b", payload).unwrap()
}

fn opened(pair: &Pair) -> &Opened {
    match pair.client.events.iter().find(|event| matches!(event, Output::Opened(_))) {
        Some(Output::Opened(opened)) => opened,
        _ => panic!("the client did not open: {:?}", pair.client.closed),
    }
}

fn refusal() -> Refusal {
    Refusal::new(Reason::NOT_AUTHORIZED, Problem::titled("no rule allows it").rule("rules.toml:3").retry(Retry::Changed))
}

/// Settings of a client whose session outlives its connections.
fn stored(way: Way) -> ClientSettings {
    let mut settings = way.settings("device-1");
    settings.connect.clean_session = false;
    if settings.connect.dialect.is_extended() {
        settings.connect.dictionary = Dictionary::with(property::SESSION_EXPIRY_INTERVAL, &60);
    }
    settings
}

#[test]
fn every_way_ends_in_its_dialect() {
    for way in Way::ALL {
        let pair = Pair::open(way);
        let dialect = pair.client.session.terms().dialect;
        assert_eq!(dialect.is_extended(), way.is_extended(), "{way:?}");
        assert_eq!(pair.server.session.terms().dialect, dialect);
        assert_eq!(opened(&pair).terms.dialect, dialect);
    }
}

#[test]
fn every_qos_arrives_once_both_ways() {
    for way in Way::ALL {
        for qos in Qos::ALL {
            let mut pair = Pair::open(way);
            for (token, payload) in ["one", "two", "three"].into_iter().enumerate() {
                pair.client.publish(message(payload), qos, token as u64);
                pair.server.publish(message(payload), qos, token as u64);
            }
            pair.drive();
            for end in [&mut pair.client, &mut pair.server] {
                assert_eq!(end.take_messages(), ["a/b one", "a/b two", "a/b three"], "{way:?} {qos:?}");
                let expected: Vec<_> = (0..3).map(|token| (token, Reason::SUCCESS)).filter(|_| qos != Qos::AtMostOnce).collect();
                assert_eq!(end.take_outcomes(), expected);
                assert!(end.session.in_flight().is_empty() && end.session.received().in_window() == 0);
            }
        }
    }
}

#[test]
fn bytes_may_come_in_any_pieces() {
    for way in Way::ALL {
        for seed in 1..20 {
            let mut pair = Pair::new(way.settings("device-1"), ServerPolicy::default());
            pair.up.set_fault(Fault::Split(seed));
            pair.down.set_fault(Fault::Split(seed + 1000));
            pair.drive();
            pair.client.publish(message("x"), Qos::ExactlyOnce, 1);
            pair.drive();
            assert_eq!(pair.client.take_outcomes(), [(1, Reason::SUCCESS)], "{way:?}, seed {seed}");
        }
    }
}

#[test]
fn a_refused_publish_gets_its_reason_and_the_connection_lives_or_a_plain_connection_closes() {
    for way in Way::ALL {
        for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
            let mut pair = Pair::open(way);
            pair.server.settles = Some(Outcome::refused(refusal()));
            pair.client.publish(message("x"), qos, 1);
            pair.drive();
            if way.is_extended() {
                assert_eq!(pair.client.take_settled()[0].1.refusal(), Some(refusal()));
                pair.server.settles = Some(Outcome::accepted());
                pair.client.publish(message("y"), qos, 2);
                pair.drive();
                assert_eq!(pair.client.take_outcomes(), [(2, Reason::SUCCESS)]);
            } else {
                assert_eq!(pair.client.take_outcomes(), [], "{way:?}: no success for a message that was refused");
                assert_eq!(pair.server.closed, Some(Cause::Refused(refusal())));
                assert!(pair.client.session.is_closed());
            }
        }
    }
}

#[test]
fn a_client_refuses_a_delivery_too() {
    for way in [Way::Extended, Way::Offer] {
        let mut pair = Pair::open(way);
        pair.client.settles = Some(Outcome::modified(250));
        pair.server.publish(message("x"), Qos::AtLeastOnce, 7);
        pair.server.publish(message("y"), Qos::ExactlyOnce, 8);
        pair.drive();
        assert_eq!(pair.server.take_settled(), [(7, Outcome::modified(250)), (8, Outcome::modified(250))]);
    }
}

#[test]
fn a_receipt_says_what_was_reached_when_it_was_asked_for() {
    let mut pair = Pair::open(Way::Offer);
    pair.server.settles = Some(Outcome::kept(Durability::Memory));
    let asked = Dictionary::with(property::RECEIPT_REQUEST, &true);
    for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
        pair.client.send(Delivery { message: message("x"), qos, retain: false, hop: asked.clone() }, 1);
        pair.client.publish(message("y"), qos, 2);
        pair.drive();
        let receipts: Vec<_> = pair.client.take_settled().into_iter().map(|(token, outcome)| (token, outcome.receipt)).collect();
        assert_eq!(receipts, [(1, Some(Durability::Memory)), (2, None)], "{qos}");
    }
}

#[test]
fn a_message_that_nobody_wanted_is_told_so_at_every_qos() {
    for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
        let mut pair = Pair::open(Way::Offer);
        pair.server.settles = Some(Outcome { reason: Reason::NO_MATCHING_SUBSCRIBERS, ..Outcome::accepted() });
        pair.client.publish(message("x"), qos, 1);
        pair.drive();
        assert_eq!(pair.client.take_outcomes(), [(1, Reason::NO_MATCHING_SUBSCRIBERS)], "{qos}");
    }
}

#[test]
fn an_acknowledgement_waits_for_its_outcome_and_plain_ones_keep_their_order() {
    for way in Way::ALL {
        let mut pair = Pair::open(way);
        pair.server.settles = None;
        pair.client.publish(message("x"), Qos::AtLeastOnce, 1);
        pair.client.publish(message("y"), Qos::AtLeastOnce, 2);
        pair.drive();
        assert_eq!(pair.client.take_outcomes(), []);
        let tickets = pair.server.take_tickets();
        pair.server.session.settle(tickets[1], Outcome::accepted());
        pair.drive();
        let expected: &[_] = if way.is_extended() { &[(2, Reason::SUCCESS)] } else { &[] };
        assert_eq!(pair.client.take_outcomes(), expected, "{way:?}");
        pair.server.session.settle(tickets[0], Outcome::accepted());
        pair.drive();
        assert_eq!(pair.client.take_outcomes().len(), if way.is_extended() { 1 } else { 2 });
    }
}

#[test]
fn the_window_bounds_what_is_in_flight() {
    for way in [Way::Plain, Way::Offer] {
        let mut settings = way.settings("device-1");
        if let Some(offer) = &mut settings.offer {
            offer.dictionary = Dictionary::with(property::RECEIVE_MAXIMUM, &3);
        }
        let mut pair = Pair::new(settings, ServerPolicy { send_window: 5, ..ServerPolicy::default() });
        pair.drive();
        pair.client.settles = None;
        for token in 0..10 {
            pair.server.publish(message("x"), Qos::AtLeastOnce, token);
        }
        pair.drive();
        assert_eq!(pair.client.take_messages().len(), if way.is_extended() { 3 } else { 5 });
        let tickets = pair.client.take_tickets();
        pair.client.session.settle(tickets[0], Outcome::accepted());
        pair.drive();
        assert_eq!(pair.client.take_messages().len(), 1);
    }
}

#[test]
fn a_cut_at_any_byte_loses_nothing_and_doubles_no_qos_2() {
    for way in Way::ALL {
        for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
            for cut in 0..60 {
                for down in [false, true] {
                    cut_once(way, qos, cut, down);
                }
            }
        }
    }
}

fn cut_once(way: Way, qos: Qos, cut: usize, down: bool) {
    let mut pair = Pair::new(stored(way), ServerPolicy::default());
    pair.drive();
    let pipe = if down { &mut pair.down } else { &mut pair.up };
    pipe.set_fault(Fault::CutAfter(cut));
    for token in 0..3 {
        pair.client.publish(message(&token.to_string()), qos, token);
    }
    pair.drive();
    let mut received = pair.server.take_messages();
    let mut settled = pair.client.take_outcomes();
    let queued = std::mem::take(&mut pair.client.queue);
    let mut pair = pair.reconnect(stored(way), ServerPolicy::default());
    pair.client.queue = queued;
    pair.drive();
    received.extend(pair.server.take_messages());
    settled.extend(pair.client.take_outcomes());
    let context = format!("{way:?} {qos:?} cut at {cut}, down: {down}\n{}", pair.exchange);
    settled.sort();
    assert_eq!(settled, (0..3).map(|token| (token, Reason::SUCCESS)).collect::<Vec<_>>(), "{context}");
    let mut firsts = received.clone();
    firsts.sort();
    firsts.dedup();
    assert_eq!(firsts, ["a/b 0", "a/b 1", "a/b 2"], "{context}");
    if qos == Qos::ExactlyOnce {
        assert_eq!(received.len(), 3, "{context}");
    }
}

#[test]
fn a_subscription_is_granted_filter_by_filter() {
    for way in Way::ALL {
        let mut pair = Pair::open(way);
        let item = |filter: &str, qos| SubscribeItem { filter: Ok(TopicFilter::new(filter).unwrap()), qos };
        let items = vec![item("a/#", Qos::AtLeastOnce), item("b", Qos::ExactlyOnce)];
        assert!(pair.client.session.subscribe(items, Dictionary::EMPTY, 5).is_some());
        pair.drive();
        let answer = pair.client.events.iter().find_map(|event| match event {
            Output::Answered { token: 5, answer: Answer::Subscribed(suback) } => Some(suback.reasons.clone()),
            _ => None,
        });
        assert_eq!(answer, Some(vec![Reason::GRANTED_QOS_1, Reason::GRANTED_QOS_2]), "{way:?}");
    }
}

#[test]
fn a_message_that_is_refused_for_its_keys_is_told_with_its_topic() {
    for way in Way::ALL.into_iter().filter(|way| way.is_extended()) {
        let mut pair = Pair::open(way);
        let mut unknown = MapBuilder::new();
        unknown.put(1001, |out| out.push(0xF5));
        let delivery = Delivery { message: message("x"), qos: Qos::AtLeastOnce, retain: false, hop: unknown.finish() };
        pair.client.queue.push_back((delivery, 1));
        pair.drive();
        let told = pair.server.events.iter().find_map(|event| match event {
            Output::Refused { kind, refusal, publish: Some(publish) } => {
                Some((*kind, publish.message.topic_str().to_owned(), refusal.reason))
            }
            _ => None,
        });
        assert_eq!(told, Some((Kind::Publish, "a/b".to_owned(), Reason::CRITICAL_KEY_UNKNOWN)), "{way:?}");
    }
}

#[test]
fn an_answer_to_nothing_is_told_and_ends_an_extended_connection_alone() {
    for way in Way::ALL {
        for (kind, first) in [(Kind::SubAck, 0x90), (Kind::UnsubAck, 0xB0)] {
            let mut pair = Pair::open(way);
            let body: &[u8] = match (kind, way.is_extended()) {
                (Kind::SubAck, false) => &[0, 7, 1],
                (_, true) => &[0, 7, 0, 0],
                (_, false) => &[0, 7],
            };
            let frame = Frame { first, body: Bytes::copy_from_slice(body) };
            pair.client.session.receive(&frame, pair.now_ms);
            pair.drive();
            let told =
                pair.client.events.iter().any(|event| matches!(event, Output::Refused { kind: of, publish: None, .. } if *of == kind));
            assert_eq!((told, pair.client.closed.is_some()), (!way.is_extended(), way.is_extended()), "{way:?} {kind}");
            if !way.is_extended() {
                // It goes on serving.
                pair.client.publish(message("on"), Qos::AtLeastOnce, 3);
                pair.drive();
                assert_eq!(pair.client.take_outcomes(), [(3, Reason::SUCCESS)], "{way:?} {kind}");
            }
        }
    }
}

#[test]
fn a_requirement_that_cannot_be_kept_is_refused_with_the_clause_and_the_nearest_profile() {
    let mut settings = Way::Extended.settings("device-1");
    let requirement = Requirement { durability: Some(Durability::Disk), ..Requirement::default() };
    settings.connect.dictionary = Dictionary::with(property::REQUIRE, &requirement.to_dictionary());
    let mut policy = ServerPolicy::default();
    policy.profile.durability = Durability::Memory;
    let mut pair = Pair::new(settings, policy.clone());
    pair.drive();
    let Some(Cause::ConnectRefused { connack }) = &pair.client.closed else { panic!("{:?}", pair.client.closed) };
    assert_eq!(connack.reason, Reason::PROFILE_NOT_AVAILABLE);
    let problem = Problem::of_dictionary(&connack.dictionary.value(property::PROBLEM).unwrap());
    assert_eq!(problem.field.as_deref(), Some("require: durability"));
    assert_eq!(problem.detail.as_deref(), Some("required disk, available memory"));
    let nearest: Dictionary = connack.dictionary.value(property::PROFILE).unwrap();
    assert_eq!(Profile::of_dictionary(&nearest), policy.profile);
}

#[test]
fn a_client_that_is_not_known_yet_is_told_the_reason_of_a_refusal_at_most() {
    let mut settings = Way::Extended.settings("");
    settings.connect.clean_session = false;
    for (disclosure, reason) in [
        (Disclosure::Full, Reason::CLIENT_IDENTIFIER_NOT_VALID),
        (Disclosure::Code, Reason::CLIENT_IDENTIFIER_NOT_VALID),
        (Disclosure::Opaque, Reason::UNSPECIFIED_ERROR),
    ] {
        let mut pair = Pair::new(settings.clone(), ServerPolicy { disclosure, ..ServerPolicy::default() });
        pair.drive();
        let Some(Cause::ConnectRefused { connack }) = &pair.client.closed else { panic!("{:?}", pair.client.closed) };
        assert_eq!(connack.reason, reason, "{disclosure:?}");
        let problem = Problem::of_dictionary(&connack.dictionary.value(property::PROBLEM).unwrap());
        assert_eq!(problem, Problem::default().retry(Retry::Never), "{disclosure:?}");
    }
}

#[test]
fn what_a_session_refuses_by_itself_is_disclosed_as_the_listener_says() {
    for (disclosure, reason, is_titled) in [
        (Disclosure::Full, Reason::MALFORMED_PACKET, true),
        (Disclosure::Code, Reason::MALFORMED_PACKET, false),
        (Disclosure::Opaque, Reason::UNSPECIFIED_ERROR, false),
    ] {
        let mut pair = Pair::new(Way::Extended.settings("device-1"), ServerPolicy { disclosure, ..ServerPolicy::default() });
        pair.drive();
        // SUBSCRIBE without its flags ([MQTT-3.8.1-1]).
        pair.server.session.receive(&Frame::split_mut(&mut BytesMut::from(&b"\x80\x02\x00\x01"[..]), u32::MAX).unwrap().unwrap(), 0);
        pair.drive();
        let Some(Cause::PeerLeft { reason: told, problem, .. }) = &pair.client.closed else { panic!("{:?}", pair.client.closed) };
        assert_eq!((*told, problem.as_ref().is_some_and(|problem| problem.title.is_some())), (reason, is_titled), "{disclosure:?}");
    }
}

#[test]
fn a_refused_connect_gets_its_reason_or_the_return_code_of_the_dialect() {
    for way in Way::ALL {
        let mut pair = Pair::new(way.settings("device-1"), ServerPolicy::default());
        pair.server.refuses = Some(refusal());
        pair.drive();
        let Some(Cause::ConnectRefused { connack }) = &pair.client.closed else { panic!("{:?}", pair.client.closed) };
        assert_eq!(connack.reason, Reason::NOT_AUTHORIZED, "{way:?}");
        assert_eq!(connack.dictionary.is_empty(), way != Way::Extended);
    }
}

#[test]
fn a_key_that_offends_is_named_in_the_acknowledgement_and_the_connection_lives() {
    let mut pair = Pair::open(Way::Offer);
    let mut unknown = MapBuilder::new();
    unknown.put(1001, |out| out.push(0));
    pair.client.send(Delivery { message: message("x"), qos: Qos::AtLeastOnce, retain: false, hop: unknown.finish() }, 1);
    pair.drive();
    let settled = pair.client.take_settled();
    assert_eq!(settled[0].1.reason, Reason::CRITICAL_KEY_UNKNOWN);
    assert_eq!(settled[0].1.problem.as_ref().unwrap().field.as_deref(), Some("key 1001"));
    assert!(pair.client.session.is_open() && pair.server.take_messages().is_empty());
}

#[test]
fn silence_closes_after_one_and_a_half_intervals_and_a_client_is_never_silent() {
    for way in Way::ALL {
        let mut pair = Pair::open(way);
        pair.pass(600_000);
        assert!(pair.client.session.is_open() && pair.server.session.is_open(), "{way:?}");
        pair.up.set_fault(Fault::Stall);
        pair.pass(600_000);
        assert!(matches!(pair.client.closed, Some(Cause::Silent)), "{way:?}: {:?}", pair.client.closed);
    }
}

#[test]
fn an_end_that_does_not_listen_does_not_take_its_own_deafness_for_silence() {
    for way in Way::ALL {
        let mut client = Pair::open(way).client.session;
        let mut pings = 0;
        for now_ms in (0..600_000).step_by(1000) {
            client.heard(now_ms);
            client.tick(now_ms);
            while let Some(output) = client.poll() {
                assert!(matches!(&output, Output::Send(packet) if packet.kind() == Kind::PingReq), "{way:?}: {output:?}");
                pings += 1;
            }
        }
        assert!(client.is_open() && pings > 10, "{way:?}: {pings}, because the server listens all the same");
    }
}

#[test]
fn a_will_is_published_unless_the_client_took_its_leave() {
    for way in Way::ALL {
        for (leaves, with_will) in [(true, false), (true, true), (false, false)] {
            let mut settings = way.settings("device-1");
            let will = Will { message: message("gone"), qos: Qos::AtLeastOnce, retain: true, dictionary: Dictionary::EMPTY };
            settings.connect.will = Some(will);
            let mut pair = Pair::new(settings, ServerPolicy::default());
            pair.drive();
            if leaves {
                pair.client.session.leave(with_will);
            } else {
                pair.cut();
            }
            pair.drive();
            assert_eq!(pair.server.will.is_some(), !leaves || with_will, "{way:?}");
            assert_eq!(pair.client.closed, Some(if leaves { Cause::Left } else { Cause::Lost }), "{way:?}");
        }
    }
}

#[test]
fn a_listener_may_serve_only_one_of_the_dialects() {
    let off = ServerPolicy { extended: Extended::Off, ..ServerPolicy::default() };
    let required = ServerPolicy { extended: Extended::Required, ..ServerPolicy::default() };
    let mut declined = Pair::new(Way::Offer.settings("device-1"), off.clone());
    declined.drive();
    assert!(opened(&declined).declined && declined.client.session.is_ready());
    let reason = |pair: &Pair| match &pair.client.closed {
        Some(Cause::ConnectRefused { connack }) => connack.reason,
        other => panic!("{other:?}"),
    };
    let mut refused = Pair::new(Way::Extended.settings("device-1"), off);
    refused.drive();
    assert_eq!(reason(&refused), Reason::UNSUPPORTED_PROTOCOL_VERSION);
    let mut plain = Pair::new(Way::Plain.settings("device-1"), required);
    plain.drive();
    assert_eq!(reason(&plain), Reason::NOT_AUTHORIZED);
}

#[test]
fn a_resumed_session_that_was_extended_waits_for_the_offer_before_it_delivers() {
    let mut pair = Pair::new(stored(Way::Offer), ServerPolicy::default());
    pair.drive();
    pair.client.settles = None;
    pair.server.publish(message("x"), Qos::AtLeastOnce, 1);
    pair.drive();
    let mut pair = pair.reconnect(stored(Way::Offer), ServerPolicy::default());
    let first_delivery = pair.exchange.steps.iter().find(|step| step.bytes[0] >> 4 == 3).unwrap();
    assert!(first_delivery.dialect.is_extended() && first_delivery.bytes[0] & 0x08 != 0, "{}", pair.exchange);
    pair.client.settles = None;
    pair.server.publish(message("y"), Qos::AtLeastOnce, 2);
    pair.drive();
    pair.client.take_messages();
    // A plain client comes instead: it is served after its first packet, or after a second of silence.
    let mut pair = pair.reconnect(stored(Way::Plain), ServerPolicy::default());
    assert_eq!(pair.client.take_messages(), [] as [&str; 0]);
    pair.pass(1000);
    assert_eq!(pair.client.take_messages(), ["a/b y"]);
}
