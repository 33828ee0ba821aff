//! Settlement: a message is settled once, by either end, in PUBACK or PUBREC.
#![allow(clippy::unwrap_used, clippy::panic, reason = "what fails in a test fails the test")]

mod talk;

use candor_protocol::codec::dictionary::Dictionary;
use candor_protocol::packet::kind::Kind;
use candor_protocol::packet::{Ack, Packet, Publish, Qos, Reason, property};
use candor_protocol::session::{Cause, Outcome};
use candor_protocol::sim::Way;
use talk::{BOTH, delivery, end, id, message, open, refusal, refused, said, said_of, say, unheard};

const ABOVE_QOS_0: [Qos; 2] = [Qos::AtLeastOnce, Qos::ExactlyOnce];

fn settles(qos: Qos, code: u8) -> Packet {
    let ack = Ack::new(id(1), Reason(code), Dictionary::EMPTY);
    if qos == Qos::AtLeastOnce { Packet::PubAck(ack) } else { Packet::PubRec(ack) }
}

/// Reasons that PUBACK and PUBREC may carry, known or not.
fn codes() -> impl Iterator<Item = u8> {
    (0..=u8::MAX).filter(|code| Reason(*code).allowed_in(Kind::PubAck))
}

/// clause settlement.error-ends MUST
/// A sender MUST take a PUBACK or PUBREC with a reason from 0x80 for the end of the exchange: it sends no PUBREL, and the
/// packet identifier is free.
#[test]
fn a_reason_from_0x80_ends_the_exchange_for_its_sender() {
    for way in [Way::Extended, Way::Offer] {
        for role in BOTH {
            for qos in ABOVE_QOS_0 {
                for code in codes().filter(|code| *code >= 0x80) {
                    let mut pair = open(way);
                    unheard(&mut pair, role);
                    end(&mut pair, role).publish(message("x"), qos, 1);
                    pair.drive();
                    pair.exchange.steps.clear();
                    say(&mut pair, role.other(), &settles(qos, code));
                    assert_eq!(said(&pair, role), [], "{role:?} {code:02x}");
                    let known = Reason(code).known_or_class();
                    assert_eq!(end(&mut pair, role).take_outcomes(), [(1, known)]);
                    assert!(end(&mut pair, role).session.in_flight().is_empty());
                }
            }
        }
    }
}

/// clause settlement.error-frees MUST
/// A receiver that sent PUBREC with a reason from 0x80 MUST take a PUBLISH with the same packet identifier for another
/// message, and a PUBREL with it for one of which it holds nothing.
#[test]
fn a_reason_from_0x80_frees_the_identifier_for_its_receiver() {
    for way in [Way::Extended, Way::Offer] {
        for role in BOTH {
            let mut pair = open(way);
            unheard(&mut pair, role);
            end(&mut pair, role).settles = Some(refused());
            let publish = |text| Packet::Publish(Publish::new(message(text), Qos::ExactlyOnce, false, Some(id(1)), &Dictionary::EMPTY));
            say(&mut pair, role.other(), &publish("x"));
            say(&mut pair, role.other(), &Packet::PubRel(Ack::success(id(1))));
            say(&mut pair, role.other(), &publish("y"));
            assert_eq!(end(&mut pair, role).take_messages(), ["a/b x", "a/b y"], "{way:?} {role:?}");
            let answers: Vec<_> = said(&pair, role).iter().map(|packet| packet.kind()).collect();
            assert_eq!(answers, [Kind::PubRec, Kind::PubComp, Kind::PubRec]);
            let completed = Ack::new(id(1), Reason::PACKET_IDENTIFIER_NOT_FOUND, Dictionary::EMPTY);
            assert_eq!(said_of(&pair, role, Kind::PubComp), [Packet::PubComp(completed)]);
        }
    }
}

/// clause settlement.commit MUST
/// A sender MUST answer a PUBREC with a reason below 0x80 with PUBREL, and take the message for accepted whatever the reason of
/// PUBCOMP is.
#[test]
fn a_pubrec_below_0x80_commits_the_receiver() {
    for way in [Way::Extended, Way::Offer] {
        for role in BOTH {
            for code in codes().filter(|code| *code < 0x80) {
                for completed in [0x00, 0x92, 0x7F, 0xFF] {
                    let mut pair = open(way);
                    unheard(&mut pair, role);
                    end(&mut pair, role).publish(message("x"), Qos::ExactlyOnce, 1);
                    pair.drive();
                    pair.exchange.steps.clear();
                    say(&mut pair, role.other(), &settles(Qos::ExactlyOnce, code));
                    assert_eq!(said(&pair, role), [Packet::PubRel(Ack::success(id(1)))], "{role:?} {code:02x}");
                    say(&mut pair, role.other(), &Packet::PubComp(Ack::new(id(1), Reason(completed), Dictionary::EMPTY)));
                    assert_eq!(end(&mut pair, role).take_outcomes(), [(1, Reason(code).known_or_class())]);
                    assert!(end(&mut pair, role).session.in_flight().is_empty());
                }
            }
        }
    }
}

/// clause settlement.no-refusal MUST NOT
/// An end MUST NOT send PUBREL or PUBCOMP with a reason other than 0x00 and 0x92, nor answer a PUBREL for a committed message
/// with anything but PUBCOMP 0x00.
#[test]
fn nothing_is_refused_behind_pubrec() {
    for way in [Way::Extended, Way::Offer] {
        for role in BOTH {
            let mut pair = open(way);
            let other = role.other();
            end(&mut pair, role).records = false;
            end(&mut pair, other).publish(message("x"), Qos::ExactlyOnce, 1);
            pair.drive();
            // From here on the receiver would refuse everything; this message is committed.
            end(&mut pair, role).settles = Some(refused());
            let record = end(&mut pair, role).kept.remove(0);
            end(&mut pair, role).session.recorded(record);
            pair.drive();
            assert_eq!(said_of(&pair, role, Kind::PubComp), [Packet::PubComp(Ack::success(id(1)))], "{way:?} {role:?}");
            assert_eq!(end(&mut pair, other).take_outcomes(), [(1, Reason::SUCCESS)]);
        }
    }
    for reason in candor_protocol::packet::reason::REASONS {
        for kind in [Kind::PubRel, Kind::PubComp] {
            assert_eq!(reason.packets.contains(kind), [0x00, 0x92].contains(&reason.reason.0), "{kind} {:?}", reason.reason);
        }
    }
}

/// clause settlement.once MUST NOT
/// A receiver MUST NOT change an outcome that it has sent.
#[test]
fn a_message_is_settled_once() {
    for way in [Way::Extended, Way::Offer] {
        for role in BOTH {
            for qos in ABOVE_QOS_0 {
                let mut pair = open(way);
                unheard(&mut pair, role);
                end(&mut pair, role).settles = None;
                let publish = |dup| {
                    let publish = Publish::new(message("x"), qos, false, Some(id(1)), &Dictionary::EMPTY);
                    Packet::Publish(Publish { dup, ..publish })
                };
                say(&mut pair, role.other(), &publish(false));
                let ticket = end(&mut pair, role).take_tickets()[0];
                end(&mut pair, role).session.settle(ticket, Outcome::accepted());
                end(&mut pair, role).session.settle(ticket, refused());
                pair.drive();
                assert_eq!(said(&pair, role), [settles(qos, 0)], "{way:?} {role:?} {qos:?}");
                if qos == Qos::ExactlyOnce {
                    pair.exchange.steps.clear();
                    say(&mut pair, role.other(), &publish(true));
                    assert_eq!(said(&pair, role), [settles(qos, 0)]);
                }
            }
        }
    }
}

/// clause settlement.problem MUST
/// A receiver that refuses a message on an extended connection MUST send the reason in its PUBACK or PUBREC, and keep the
/// connection.
#[test]
fn a_refusal_is_an_acknowledgement_whoever_refuses() {
    for way in [Way::Extended, Way::Offer] {
        for role in BOTH {
            for qos in ABOVE_QOS_0 {
                let mut pair = open(way);
                let other = role.other();
                end(&mut pair, role).settles = Some(refused());
                end(&mut pair, other).publish(message("x"), qos, 1);
                pair.drive();
                assert_eq!(end(&mut pair, other).take_settled()[0].1.refusal(), Some(refusal()), "{way:?} {role:?} {qos:?}");
                end(&mut pair, role).settles = Some(Outcome::modified(250));
                end(&mut pair, other).publish(message("x"), qos, 2);
                pair.drive();
                assert_eq!(end(&mut pair, other).take_settled(), [(2, Outcome::modified(250))]);
                assert!(pair.client.session.is_open() && pair.server.session.is_open());
            }
        }
    }
}

/// clause settlement.plain MUST
/// A server that refuses a message of QoS 1 or 2 on a plain connection MUST close the connection without acknowledging it; a
/// client does the same.
#[test]
fn a_plain_peer_is_closed_on_rather_than_told_a_lie() {
    for way in [Way::V31, Way::Plain] {
        for role in BOTH {
            for qos in ABOVE_QOS_0 {
                let mut pair = open(way);
                let other = role.other();
                end(&mut pair, role).settles = Some(refused());
                end(&mut pair, other).publish(message("x"), qos, 1);
                pair.drive();
                assert_eq!(said(&pair, role), [], "{way:?} {role:?} {qos:?}");
                assert_eq!(end(&mut pair, role).closed, Some(Cause::Refused(refusal())));
                assert_eq!(end(&mut pair, other).take_outcomes(), []);
            }
        }
    }
}

/// clause settlement.pubrec-says MUST
/// A sender MUST take the reason and the receipt of a QoS 2 message from its PUBREC.
#[test]
fn what_a_pubrec_said_is_the_outcome_when_pubcomp_has_come() {
    for way in [Way::Extended, Way::Offer] {
        for role in BOTH {
            let mut pair = open(way);
            let nobody = Outcome { reason: Reason::NO_MATCHING_SUBSCRIBERS, ..Outcome::accepted() };
            end(&mut pair, role).settles = Some(nobody.clone());
            let asks = Dictionary::with(property::RECEIPT_REQUEST, &true);
            end(&mut pair, role.other()).send(delivery("x", Qos::ExactlyOnce, asks), 1);
            pair.drive();
            assert_eq!(end(&mut pair, role.other()).take_settled(), [(1, nobody)], "{way:?} {role:?}");
        }
    }
}
