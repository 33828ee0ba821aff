//! Advice, leave-taking, and the answers to packets that are refused before anybody looked at what they want.
#![allow(clippy::unwrap_used, clippy::panic, reason = "what fails in a test fails the test")]

mod talk;

use bytes::Bytes;
use candor_protocol::codec::dictionary::{Dictionary, MapBuilder};
use candor_protocol::packet::kind::Kind;
use candor_protocol::packet::legality::Role;
use candor_protocol::packet::reason::REASONS;
use candor_protocol::packet::{
    Ack, Disconnect, Notice, Packet, Ping, Problem, Publish, Qos, Reason, Subscribe, SubscribeItem, TopicFilter, Unsubscribe, Will,
    property,
};
use candor_protocol::session::{Cause, Outcome, Output, ServerPolicy};
use candor_protocol::sim::{Pair, Way};
use talk::{BOTH, delivery, end, id, inject, message, open, refusal, refused, said, said_of, say, unheard, unknown_critical};

fn notice(code: u8, dictionary: Dictionary) -> Packet {
    Packet::Notice(Notice { reason: Reason(code), dictionary })
}

fn problem_of(packet: &Packet) -> Problem {
    Problem::of_dictionary(&packet.dictionary().value(property::PROBLEM).unwrap_or_default())
}

/// clause notices.not-answered MUST NOT
/// An end MUST NOT answer a NOTICE with a NOTICE.
///
/// Tokens, whose renewal will be the exception, do not exist yet.
#[test]
fn advice_is_not_answered_with_advice() {
    for way in [Way::Extended, Way::Offer] {
        for role in BOTH {
            for code in (0..=u8::MAX).filter(|code| Reason(*code).allowed_in(Kind::Notice)) {
                for dictionary in [Dictionary::EMPTY, Dictionary::with(property::COUNT, &3), unknown_critical()] {
                    let mut pair = open(way);
                    say(&mut pair, role.other(), &notice(code, dictionary));
                    assert_eq!(said_of(&pair, role, Kind::Notice), [], "{role:?} {code:02x}");
                }
            }
        }
    }
}

/// clause notices.unknown MUST
/// A receiver MUST go on with the connection after a NOTICE whose reason it does not know.
#[test]
fn advice_that_is_not_understood_harms_nobody() {
    for way in [Way::Extended, Way::Offer] {
        for role in BOTH {
            let mut pair = open(way);
            let codes: Vec<u8> = (0..=u8::MAX).filter(|code| Reason(*code).info().is_none()).collect();
            codes.iter().for_each(|code| say(&mut pair, role.other(), &notice(*code, Dictionary::EMPTY)));
            assert!(codes.len() > 100 && end(&mut pair, role).session.is_open());
            assert_eq!(said(&pair, role), []);
            end(&mut pair, role).publish(message("x"), Qos::AtLeastOnce, 1);
            pair.drive();
            assert_eq!(end(&mut pair, role).take_outcomes(), [(1, Reason::SUCCESS)]);
        }
    }
}

/// clause notices.confirm MUST
/// An end MUST close the connection, with reason 0x82, on a NOTICE with the reason confirm that ends no negotiation.
#[test]
fn a_confirm_of_nothing_closes() {
    for way in [Way::Extended, Way::Offer] {
        for role in BOTH {
            let mut pair = open(way);
            // Only a client may say a hash at all.
            let hash = Dictionary::with(property::CONFIRM_HASH, &Bytes::from_static(&[0; 16]));
            let dictionary = if role == Role::Server { hash } else { Dictionary::EMPTY };
            say(&mut pair, role.other(), &notice(Reason::CONFIRM.0, dictionary));
            assert!(matches!(&end(&mut pair, role).closed, Some(Cause::Refused(refusal)) if refusal.reason == Reason::PROTOCOL_ERROR));
        }
    }
}

/// clause disconnect.reason MUST
/// An end that ends an extended connection of its own will MUST send DISCONNECT with the reason before it closes.
#[test]
fn the_peer_is_told_why_the_connection_ends() {
    for way in [Way::Extended, Way::Offer] {
        for role in BOTH {
            let by_itself: [(&[u8], Reason); 4] = [
                (&[0x00, 0x00], Reason::MALFORMED_PACKET),
                (&[0x36, 6, 0, 1, b'a', 0, 1, 0], Reason::MALFORMED_PACKET),
                (&[0x20, 3, 0, 0, 0], Reason::PROTOCOL_ERROR),
                (&[0x10, 16, 0, 6, b'C', b'A', b'N', b'D', b'O', b'R', 1, 2, 0, 0, 0, 1, b'h', 0], Reason::PROTOCOL_ERROR),
            ];
            for (bytes, reason) in by_itself {
                let mut pair = open(way);
                inject(&mut pair, role.other(), bytes);
                let Some(Cause::PeerLeft { reason: told, problem, .. }) = &end(&mut pair, role.other()).closed else {
                    panic!("{role:?} {bytes:02x?}: {:?}", end(&mut pair, role.other()).closed)
                };
                assert_eq!(*told, reason, "{role:?} {bytes:02x?}");
                assert!(problem.as_ref().is_some_and(|problem| problem.title.is_some()));
            }
            let mut pair = open(way);
            end(&mut pair, role).session.refuse_connection(refusal());
            pair.drive();
            let Some(Cause::PeerLeft { reason, problem, .. }) = &end(&mut pair, role.other()).closed else { panic!() };
            assert_eq!((*reason, problem.as_ref()), (Reason::NOT_AUTHORIZED, Some(&refusal().problem)));
        }
    }
}

/// clause disconnect.plain MUST NOT
/// A server MUST NOT send DISCONNECT on a plain connection: the close itself is what the client is told.
#[test]
fn a_plain_client_gets_the_close_alone() {
    for way in [Way::V31, Way::Plain] {
        for bytes in [&[0x00, 0x00][..], &[0x20, 2, 0, 0]] {
            let mut pair = open(way);
            inject(&mut pair, Role::Client, bytes);
            assert!(pair.server.session.is_closed());
            assert_eq!((said(&pair, Role::Server), &pair.client.closed), (vec![], &Some(Cause::Lost)), "{way:?} {bytes:02x?}");
        }
        let mut pair = open(way);
        pair.server.session.refuse_connection(refusal());
        pair.drive();
        assert_eq!(said(&pair, Role::Server), []);
    }
}

/// clause disconnect.silence MUST
/// A server that has heard nothing for one and a half times the keep alive interval MUST close the connection, on an
/// extended connection with reason 0x8D.
#[test]
fn silence_ends_a_connection_with_its_reason() {
    for way in Way::ALL {
        let mut pair = open(way);
        unheard(&mut pair, Role::Client);
        // The client notices that nobody answers its PINGREQ; the server's word is on its way all the same.
        pair.pass(200_000);
        assert!(pair.server.session.is_closed(), "{way:?}");
        let said = said(&pair, Role::Server);
        match way.is_extended() {
            true => assert!(
                matches!(&said[..], [Packet::Disconnect(packet)] if packet.reason == Reason::KEEP_ALIVE_TIMEOUT),
                "{way:?} {said:?}"
            ),
            false => assert_eq!(said, []),
        }
    }
}

/// What becomes of a will when the client sends this DISCONNECT, or none.
fn will_after(way: Way, disconnect: Option<&Packet>) -> bool {
    let mut settings = way.settings("device-1");
    let will = Will { message: message("gone"), qos: Qos::AtLeastOnce, retain: false, dictionary: Dictionary::EMPTY };
    settings.connect.will = Some(will);
    let mut pair = Pair::new(settings, ServerPolicy::default());
    pair.drive();
    match disconnect {
        Some(packet) => say(&mut pair, Role::Client, packet),
        None => pair.cut(),
    }
    assert!(pair.server.session.is_closed());
    pair.server.will.is_some()
}

/// clause disconnect.will MUST
/// A server MUST drop the will on a DISCONNECT with reason 0x00, and publish it when the connection ends with any other
/// reason from the client, or with none.
#[test]
fn reason_0x00_alone_drops_the_will() {
    for way in Way::ALL {
        let disconnect = |code| Packet::Disconnect(Disconnect { reason: Reason(code), dictionary: Dictionary::EMPTY });
        assert!(!will_after(way, Some(&disconnect(0x00))), "{way:?}");
        assert!(will_after(way, None), "{way:?}");
        if way.is_extended() {
            for code in (1..=u8::MAX).filter(|code| Reason(*code).allowed_in(Kind::Disconnect)) {
                assert!(will_after(way, Some(&disconnect(code))), "{way:?} {code:02x}");
            }
        }
    }
}

/// Packets of a client that have an acknowledgement, with a dictionary.
fn acknowledged(dictionary: &Dictionary) -> Vec<(Packet, Kind)> {
    let filter = || Ok(TopicFilter::new("a").unwrap());
    let publish = |qos| Packet::Publish(Publish::new(message("x"), qos, false, Some(id(9)), dictionary));
    let item = SubscribeItem { filter: filter(), qos: Qos::AtMostOnce };
    vec![
        (publish(Qos::AtLeastOnce), Kind::PubAck),
        (publish(Qos::ExactlyOnce), Kind::PubRec),
        (Packet::Subscribe(Box::new(Subscribe { id: id(9), items: vec![item], dictionary: dictionary.clone() })), Kind::SubAck),
        (Packet::Unsubscribe(Box::new(Unsubscribe { id: id(9), filters: vec![filter()], dictionary: dictionary.clone() })), Kind::UnsubAck),
    ]
}

/// Dictionaries that a server refuses in any packet, with the reason and the field.
fn offending() -> [(Dictionary, Reason, &'static str); 2] {
    let mut wrong_type = MapBuilder::new();
    wrong_type.put(property::SESSION_STATE.number, |out| out.push(0x00));
    [
        (unknown_critical(), Reason::CRITICAL_KEY_UNKNOWN, "key 1001"),
        (wrong_type.finish(), Reason::KEY_NOT_ALLOWED, "key 26 (session-state)"),
    ]
}

/// clause refusals.acknowledgement MUST
/// A receiver that refuses PUBLISH of QoS 1 or 2, SUBSCRIBE, or UNSUBSCRIBE for a key MUST answer with the packet's
/// acknowledgement, with the reason and a problem that names the key, act on nothing in the packet, and keep the connection.
#[test]
fn a_packet_refused_for_its_keys_has_its_acknowledgement() {
    for way in [Way::Extended, Way::Offer] {
        for (dictionary, reason, field) in offending() {
            for (packet, answer) in acknowledged(&dictionary) {
                let mut pair = open(way);
                unheard(&mut pair, Role::Server);
                say(&mut pair, Role::Client, &packet);
                let said = said(&pair, Role::Server);
                assert_eq!(said.iter().map(Packet::kind).collect::<Vec<_>>(), [answer]);
                let told = match &said[0] {
                    Packet::PubAck(ack) | Packet::PubRec(ack) => ack.reason,
                    Packet::SubAck(suback) => suback.reasons[0],
                    Packet::UnsubAck(unsuback) => unsuback.reasons[0],
                    other => panic!("{other:?}"),
                };
                assert_eq!((told, problem_of(&said[0]).field.as_deref()), (reason, Some(field)));
                assert!(pair.server.session.is_open() && pair.server.take_messages().is_empty());
                let acted = |output: &Output| matches!(output, Output::Subscribe(_) | Output::Unsubscribe(_));
                assert!(!pair.server.events.iter().any(acted));
            }
        }
    }
}

#[test]
fn a_qos_0_message_refused_for_its_keys_is_given_to_the_owner_who_tells_of_it() {
    for way in [Way::Extended, Way::Offer] {
        for (dictionary, reason, field) in offending() {
            let mut pair = open(way);
            pair.server.session.trace_from(0xA7);
            pair.client.send(delivery("x", Qos::AtMostOnce, dictionary), 1);
            pair.drive();
            assert_eq!(said(&pair, Role::Server), []);
            let refused = pair.server.events.iter().find_map(|output| match output {
                Output::Refused { kind: Kind::Publish, refusal, publish: Some(publish) } => Some((refusal, publish)),
                _ => None,
            });
            let (refusal, publish) = refused.unwrap();
            assert_eq!((refusal.reason, refusal.problem.field.as_deref()), (reason, Some(field)));
            assert_eq!(refusal.problem.trace_id.as_deref(), Some("00000000000000a7"));
            assert_eq!((publish.message.topic_str(), publish.qos), ("a/b", Qos::AtMostOnce));
            assert!(pair.server.session.is_open() && pair.server.take_messages().is_empty());
        }
    }
}

/// clause refusals.disconnect MUST
/// A receiver MUST answer a packet that it refuses for a key, and that has no acknowledgement, with a DISCONNECT with the
/// reason and a problem that names the key, unless it is a PUBLISH.
#[test]
fn a_packet_without_acknowledgement_is_refused_with_the_connection() {
    for way in [Way::Extended, Way::Offer] {
        for role in BOTH {
            let dictionary = unknown_critical();
            let ack = Ack::new(id(1), Reason::SUCCESS, dictionary.clone());
            let ping = Ping { dictionary: dictionary.clone() };
            let packets = [
                Packet::PubAck(ack.clone()),
                Packet::PubRel(ack),
                if role == Role::Server { Packet::PingReq(ping) } else { Packet::PingResp(ping) },
                notice(Reason::GAP.0, dictionary),
            ];
            for packet in packets {
                let mut pair = open(way);
                say(&mut pair, role.other(), &packet);
                let said = said(&pair, role);
                let [Packet::Disconnect(told)] = &said[..] else { panic!("{packet:?}: {said:?}") };
                assert_eq!(told.reason, Reason::CRITICAL_KEY_UNKNOWN);
                assert_eq!(problem_of(&said[0]).field.as_deref(), Some("key 1001"));
            }
        }
    }
}

/// clause refusals.filter MUST
/// A server MUST refuse a topic filter that is not valid for itself, with reason 0x8F in its place of the SUBACK, and act on the
/// others of the packet.
#[test]
fn a_filter_that_is_not_valid_does_not_harm_the_others() {
    for way in [Way::Extended, Way::Offer] {
        let mut pair = open(way);
        let item = |filter: &str| SubscribeItem {
            filter: TopicFilter::new(filter).map_err(|error| (filter.to_owned(), error)),
            qos: Qos::AtLeastOnce,
        };
        let items = vec![item("a/+"), item("a/#/b"), item("c")];
        pair.client.session.subscribe(items, Dictionary::EMPTY, 1).unwrap();
        pair.drive();
        let said = said(&pair, Role::Server);
        let [Packet::SubAck(suback)] = &said[..] else { panic!("{said:?}") };
        assert_eq!(suback.reasons, [Reason::GRANTED_QOS_1, Reason::TOPIC_FILTER_INVALID, Reason::GRANTED_QOS_1], "{way:?}");
    }
}

/// clause refusals.tag MUST
/// A receiver that refuses a PUBLISH MUST repeat the `tag` of the PUBLISH in its PUBACK or PUBREC.
#[test]
fn a_refusal_repeats_the_tag_of_the_message() {
    for way in [Way::Extended, Way::Offer] {
        for role in BOTH {
            for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
                for refuses in [true, false] {
                    let mut pair = open(way);
                    end(&mut pair, role).settles = Some(if refuses { refused() } else { Outcome::accepted() });
                    let tag = Dictionary::with(property::TAG, &Bytes::from_static(b"job 7"));
                    end(&mut pair, role.other()).send(delivery("x", qos, tag), 1);
                    pair.drive();
                    let said = said(&pair, role);
                    let told = said[0].dictionary().value(property::TAG);
                    // An acknowledgement of success stays the one of 3.1.1.
                    assert_eq!(told.as_deref(), refuses.then_some(&b"job 7"[..]), "{way:?} {role:?} {qos:?}");
                }
            }
        }
    }
}

/// clause refusals.tag-length MUST
/// A receiver MUST refuse a PUBLISH with a `tag` of more than 32 bytes with reason 0xC5.
#[test]
fn a_tag_is_short() {
    for way in [Way::Extended, Way::Offer] {
        for (len, reason) in [(32, Reason::SUCCESS), (33, Reason::KEY_NOT_ALLOWED)] {
            let mut pair = open(way);
            let tag = Dictionary::with(property::TAG, &Bytes::from(vec![b't'; len]));
            pair.client.send(delivery("x", Qos::AtLeastOnce, tag), 1);
            pair.drive();
            assert_eq!(pair.client.take_outcomes(), [(1, reason)], "{way:?} {len}");
        }
    }
}

/// clause notices.reasons MUST
/// A receiver MUST refuse a NOTICE with a reason that {{table-reason-legality}} does not mark for it, with reason 0x82.
#[test]
fn a_notice_says_what_a_notice_may_say() {
    for role in BOTH {
        for row in REASONS.iter().filter(|row| !row.packets.contains(Kind::Notice)) {
            let mut pair = open(Way::Extended);
            inject(&mut pair, role.other(), &[0xF0, 2, row.reason.0, 0]);
            let closed = &end(&mut pair, role.other()).closed;
            assert!(matches!(closed, Some(Cause::PeerLeft { reason: Reason::PROTOCOL_ERROR, .. })), "{:?}: {closed:?}", row.reason);
        }
    }
}
