//! Acknowledgements: their order, the window, and what is said about identifiers that nobody holds.
#![allow(clippy::unwrap_used, clippy::panic, reason = "what fails in a test fails the test")]

mod talk;

use candor_protocol::codec::dictionary::Dictionary;
use candor_protocol::packet::legality::Role;
use candor_protocol::packet::{Ack, Kind, Packet, Publish, Qos, Reason, property};
use candor_protocol::session::{Cause, Outcome, ServerPolicy};
use candor_protocol::sim::{Pair, Way};
use talk::{BOTH, delivery, end, id, message, open, said, said_of, say, unheard};

const ABOVE_QOS_0: [Qos; 2] = [Qos::AtLeastOnce, Qos::ExactlyOnce];

/// Three messages to `role`, settled in the order 2, 0, 1; the acknowledgements of `role` after each.
fn settled_out_of_order(way: Way, role: Role, qos: Qos) -> Vec<Vec<u16>> {
    let mut pair = open(way);
    end(&mut pair, role).settles = None;
    for token in 0..3 {
        end(&mut pair, role.other()).publish(message("x"), qos, token);
    }
    pair.drive();
    let tickets = end(&mut pair, role).take_tickets();
    [2, 0, 1]
        .map(|at| {
            pair.exchange.steps.clear();
            end(&mut pair, role).session.settle(tickets[at], Outcome::accepted());
            pair.drive();
            let kind = if qos == Qos::AtLeastOnce { Kind::PubAck } else { Kind::PubRec };
            let acks = said_of(&pair, role, kind);
            acks.iter().map(|ack| if let Packet::PubAck(ack) | Packet::PubRec(ack) = ack { ack.id.value() } else { 0 }).collect()
        })
        .to_vec()
}

/// clause acks.order MUST
/// On a plain connection an end MUST send its PUBACKs, and its PUBRECs, in the order in which the messages came, whatever the
/// order in which it decided.
#[test]
fn plain_acknowledgements_keep_the_order_of_the_messages() {
    for way in [Way::V31, Way::Plain] {
        for role in BOTH {
            for qos in ABOVE_QOS_0 {
                assert_eq!(settled_out_of_order(way, role, qos), [vec![], vec![1], vec![2, 3]], "{way:?} {role:?} {qos:?}");
            }
        }
    }
}

/// clause acks.any-order MAY
/// On an extended connection an end MAY acknowledge in any order; each acknowledgement is about its identifier alone.
#[test]
fn extended_acknowledgements_go_when_they_are_decided() {
    for way in [Way::Extended, Way::Offer] {
        for role in BOTH {
            for qos in ABOVE_QOS_0 {
                assert_eq!(settled_out_of_order(way, role, qos), [vec![3], vec![1], vec![2]], "{way:?} {role:?} {qos:?}");
            }
        }
    }
}

/// clause acks.unknown-pubrel MUST
/// An end that holds nothing under the identifier of a PUBREL MUST answer with PUBCOMP, on an extended connection with reason
/// 0x92.
#[test]
fn a_pubrel_for_nothing_is_completed_and_says_so() {
    for way in Way::ALL {
        for role in BOTH {
            let mut pair = open(way);
            say(&mut pair, role.other(), &Packet::PubRel(Ack::success(id(77))));
            let reason = if way.is_extended() { Reason::PACKET_IDENTIFIER_NOT_FOUND } else { Reason::SUCCESS };
            assert_eq!(said(&pair, role), [Packet::PubComp(Ack::new(id(77), reason, Dictionary::EMPTY))], "{way:?} {role:?}");
            assert!(end(&mut pair, role).session.is_open());
        }
    }
}

/// clause acks.unknown-pubrec MUST
/// An end that has no message in flight under the identifier of a PUBREC MUST answer with PUBREL, on an extended connection
/// with reason 0x92.
///
/// Without it the receiver would keep the identifier for ever.
#[test]
fn a_pubrec_for_nothing_is_released_and_says_so() {
    for way in Way::ALL {
        for role in BOTH {
            let mut pair = open(way);
            say(&mut pair, role.other(), &Packet::PubRec(Ack::success(id(77))));
            let reason = if way.is_extended() { Reason::PACKET_IDENTIFIER_NOT_FOUND } else { Reason::SUCCESS };
            let expected = Packet::PubRel(Ack::new(id(77), reason, Dictionary::EMPTY));
            assert_eq!(said(&pair, role)[0], expected, "{way:?} {role:?}");
            assert!(end(&mut pair, role).session.is_open());
        }
    }
}

/// clause acks.unknown-final MUST
/// An end MUST ignore a PUBACK or PUBCOMP for an identifier under which it has nothing in flight that it could end.
#[test]
fn an_end_of_nothing_is_ignored() {
    for way in Way::ALL {
        for role in BOTH {
            let mut pair = open(way);
            let other = role.other();
            end(&mut pair, other).settles = None;
            end(&mut pair, role).publish(message("x"), Qos::ExactlyOnce, 1);
            pair.drive();
            pair.exchange.steps.clear();
            // The message under 1 is QoS 2 and no PUBREC has come for it.
            for packet in [Packet::PubAck(Ack::success(id(77))), Packet::PubComp(Ack::success(id(77)))] {
                say(&mut pair, other, &packet);
            }
            for packet in [Packet::PubAck(Ack::success(id(1))), Packet::PubComp(Ack::success(id(1)))] {
                say(&mut pair, other, &packet);
            }
            assert_eq!(said(&pair, role), [], "{way:?} {role:?}");
            assert_eq!(end(&mut pair, role).take_outcomes(), []);
            assert_eq!(end(&mut pair, role).session.in_flight().len(), 1);
        }
    }
}

/// clause acks.repeated MUST NOT
/// A receiver MUST NOT hand on a QoS 2 message again whose identifier is taken; it answers with the PUBREC that it has sent,
/// or sends none until the outcome is known.
#[test]
fn a_repeated_qos_2_message_is_known_again() {
    for way in Way::ALL {
        for role in BOTH {
            let mut pair = open(way);
            end(&mut pair, role).settles = None;
            unheard(&mut pair, role);
            let again = |dup| {
                let publish = Publish::new(message("x"), Qos::ExactlyOnce, false, Some(id(5)), &Dictionary::EMPTY);
                Packet::Publish(Publish { dup, ..publish })
            };
            say(&mut pair, role.other(), &again(false));
            say(&mut pair, role.other(), &again(true));
            assert_eq!(said(&pair, role), [], "the outcome is not known yet");
            let tickets = end(&mut pair, role).take_tickets();
            assert_eq!(tickets.len(), 1);
            end(&mut pair, role).session.settle(tickets[0], Outcome::accepted());
            pair.drive();
            pair.exchange.steps.clear();
            say(&mut pair, role.other(), &again(true));
            assert_eq!(said(&pair, role), [Packet::PubRec(Ack::success(id(5)))], "{way:?} {role:?}");
            assert_eq!(end(&mut pair, role).take_messages(), ["a/b x"]);
        }
    }
}

/// clause acks.window MUST NOT
/// An end MUST NOT have more messages above QoS 0 in flight, sent and neither acknowledged nor completed, than its peer has
/// said under `receive-maximum`.
#[test]
fn what_is_in_flight_stays_within_the_window_of_the_peer() {
    for qos in ABOVE_QOS_0 {
        let mut settings = Way::Extended.settings("device-1");
        settings.connect.dictionary = Dictionary::with(property::RECEIVE_MAXIMUM, &3);
        let mut pair = Pair::new(settings, ServerPolicy { receive_window: 2, ..ServerPolicy::default() });
        pair.drive();
        for (role, window) in [(Role::Client, 2), (Role::Server, 3)] {
            let other = role.other();
            end(&mut pair, other).settles = None;
            (0..10).for_each(|token| end(&mut pair, role).publish(message("x"), qos, token));
            pair.drive();
            let mut received = end(&mut pair, other).take_messages().len();
            assert_eq!(received, window, "{role:?} {qos:?}");
            while received < 10 {
                let tickets = end(&mut pair, other).take_tickets();
                end(&mut pair, other).session.settle(tickets[0], Outcome::accepted());
                let kept: Vec<_> = tickets[1..].to_vec();
                pair.drive();
                assert_eq!(end(&mut pair, other).take_messages().len(), 1, "one more for each that ends");
                received += 1;
                kept.into_iter().for_each(|ticket| end(&mut pair, other).session.settle(ticket, Outcome::accepted()));
                pair.drive();
                received += end(&mut pair, other).take_messages().len();
            }
        }
    }
}

/// clause acks.window-exceeded MUST
/// A receiver MUST close an extended connection, with reason 0x93, on which more messages above QoS 0 wait for its
/// acknowledgement than it has said under `receive-maximum`.
#[test]
fn a_window_that_is_overrun_closes_an_extended_connection() {
    for way in [Way::Extended, Way::Offer] {
        let mut pair = Pair::new(way.settings("device-1"), ServerPolicy { receive_window: 2, ..ServerPolicy::default() });
        pair.drive();
        pair.server.settles = None;
        for number in 1..=3 {
            assert!(pair.server.session.is_open());
            let publish = Publish::new(message("x"), Qos::AtLeastOnce, false, Some(id(number)), &Dictionary::EMPTY);
            say(&mut pair, Role::Client, &Packet::Publish(publish));
        }
        assert!(matches!(&pair.client.closed, Some(Cause::PeerLeft { reason: Reason::RECEIVE_MAXIMUM_EXCEEDED, .. })), "{way:?}");
    }
}

/// clause acks.plain-window MUST NOT
/// A server MUST NOT close a plain connection because of how many messages wait for an acknowledgement; it reads on when it
/// has acknowledged some.
#[test]
fn a_plain_peer_cannot_break_what_it_was_never_told() {
    for way in [Way::V31, Way::Plain] {
        let mut pair = Pair::new(way.settings("device-1"), ServerPolicy { receive_window: 2, ..ServerPolicy::default() });
        pair.drive();
        pair.server.settles = None;
        (0..10).for_each(|token| pair.client.publish(message("x"), Qos::AtLeastOnce, token));
        pair.drive();
        let mut received = 0;
        while received < 10 {
            assert!(!pair.server.session.wants_frames() || received + 3 >= 10, "{received}");
            let tickets = pair.server.take_tickets();
            assert!(!tickets.is_empty());
            received += tickets.len();
            tickets.into_iter().for_each(|ticket| pair.server.session.settle(ticket, Outcome::accepted()));
            pair.drive();
        }
        assert!(pair.server.session.is_open(), "{way:?}");
        assert_eq!(pair.client.take_outcomes().len(), 10);
    }
}

/// clause custody.wait MUST NOT
/// A receiver MUST NOT send PUBACK or PUBREC before the outcome of the message is known.
#[test]
fn an_acknowledgement_waits_for_its_outcome() {
    for way in Way::ALL {
        for role in BOTH {
            for qos in ABOVE_QOS_0 {
                let mut pair = open(way);
                end(&mut pair, role).settles = None;
                end(&mut pair, role.other()).publish(message("x"), qos, 1);
                pair.drive();
                pair.pass(5000);
                assert_eq!(said(&pair, role), [], "{way:?} {role:?} {qos:?}");
                let ticket = end(&mut pair, role).take_tickets()[0];
                end(&mut pair, role).session.settle(ticket, Outcome::accepted());
                pair.drive();
                assert_eq!(end(&mut pair, role.other()).take_outcomes(), [(1, Reason::SUCCESS)]);
            }
        }
    }
}

/// clause custody.steps MUST NOT
/// An end MUST NOT send PUBREL before it has kept, as durably as it keeps the session, that PUBREC came, nor PUBCOMP before it
/// has kept that the identifier is free.
#[test]
fn a_step_of_qos_2_is_kept_before_the_next_one_is_told() {
    for way in Way::ALL {
        for role in BOTH {
            let mut pair = open(way);
            let other = role.other();
            end(&mut pair, role).records = false;
            end(&mut pair, role).publish(message("x"), Qos::ExactlyOnce, 1);
            pair.drive();
            assert_eq!(said_of(&pair, role, Kind::PubRel), [], "{way:?} {role:?}");
            let record = end(&mut pair, role).kept.remove(0);
            end(&mut pair, other).records = false;
            end(&mut pair, role).session.recorded(record);
            pair.drive();
            assert_eq!(said_of(&pair, role, Kind::PubRel).len(), 1);
            assert_eq!(said_of(&pair, other, Kind::PubComp), []);
            let record = end(&mut pair, other).kept.remove(0);
            end(&mut pair, other).session.recorded(record);
            pair.drive();
            assert_eq!(said_of(&pair, other, Kind::PubComp).len(), 1);
            assert_eq!(end(&mut pair, role).take_outcomes(), [(1, Reason::SUCCESS)]);
        }
    }
}

/// clause custody.receipt MUST
/// A receiver MUST put the durability that the message reached under `receipt` into its PUBACK or PUBREC when the PUBLISH held
/// `receipt-request` with the value true.
#[test]
fn a_receipt_is_sent_when_it_is_asked_for_and_says_what_was_reached() {
    use candor_protocol::packet::Durability;
    for way in [Way::Extended, Way::Offer] {
        for role in BOTH {
            for qos in ABOVE_QOS_0 {
                for reached in Durability::ALL {
                    let mut pair = open(way);
                    end(&mut pair, role).settles = Some(Outcome::kept(reached));
                    let other = role.other();
                    end(&mut pair, other).send(delivery("x", qos, Dictionary::with(property::RECEIPT_REQUEST, &true)), 1);
                    end(&mut pair, other).send(delivery("y", qos, Dictionary::with(property::RECEIPT_REQUEST, &false)), 2);
                    end(&mut pair, other).send(delivery("z", qos, Dictionary::EMPTY), 3);
                    pair.drive();
                    let settled = end(&mut pair, other).take_settled();
                    let receipts: Vec<_> = settled.into_iter().map(|(_, outcome)| outcome.receipt).collect();
                    let told = said(&pair, role).iter().filter_map(|packet| packet.dictionary().value(property::RECEIPT)).next();
                    assert_eq!(told, Some(reached as u64), "{way:?} {role:?} {qos:?}");
                    assert_eq!(receipts, [Some(reached), None, None]);
                }
            }
        }
    }
}
