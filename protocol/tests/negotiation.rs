//! Negotiation on a plain connection: the offer, its answers, and everything that can be wrong with them.

// A helper's panic is the test's: clippy knows it only inside test functions.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use bytes::{Bytes, BytesMut};
use candor_protocol::codec::dictionary::{Dictionary, MapBuilder};
use candor_protocol::codec::frame::Frame;
use candor_protocol::dialect::offer::{Accept, BadAccept, OFFER_ID, Offer, TranscriptHash};
use candor_protocol::dialect::{Dialect, write};
use candor_protocol::packet::legality::Role;
use candor_protocol::packet::property::Key;
use candor_protocol::packet::{
    Ack, ConnAck, Connect, Disclosure, Message, Notice, Packet, PacketId, Ping, Problem, Publish, Qos, Reason, Subscribe, SubscribeItem,
    TopicFilter, UnsubAck, Unsubscribe, property,
};
use candor_protocol::session::{Acceptance, Cause, Delivered, Delivery, Output, Parked, ServerPolicy, Session};
use candor_protocol::sim::Way;
use std::sync::Arc;

fn frame(dialect: Dialect, sender: Role, packet: &Packet) -> Frame {
    let mut bytes = BytesMut::from(&write::to_bytes(dialect, sender, packet).unwrap()[..]);
    Frame::split_mut(&mut bytes, u32::MAX).unwrap().unwrap()
}

fn outputs(session: &mut Session) -> Vec<Output> {
    std::iter::from_fn(|| session.poll()).collect()
}

fn closed(outputs: &[Output]) -> Option<&Cause> {
    outputs.iter().find_map(|output| if let Output::Closed { cause, .. } = output { Some(cause) } else { None })
}

fn sent(outputs: &[Output]) -> Vec<&Packet> {
    outputs.iter().filter_map(|output| if let Output::Send(packet) = output { Some(packet) } else { None }).collect()
}

/// A client that has made an offer and read CONNACK 0, with what it sent.
struct Offering {
    session: Session,
    connect: Bytes,
    offer: Bytes,
}

impl Offering {
    fn new() -> Self {
        let settings = Way::Offer.settings("device-1");
        let mut session = Session::client(Arc::new(settings), Parked::default(), 0);
        let packets = outputs(&mut session);
        let bytes: Vec<Bytes> =
            sent(&packets).into_iter().map(|packet| write::to_bytes(Dialect::V311, Role::Client, packet).unwrap()).collect();
        assert_eq!(bytes.len(), 3);
        let mut offering = Self { session, connect: bytes[0].clone(), offer: bytes[1].clone() };
        let connack = ConnAck { session_present: false, reason: Reason::SUCCESS, dictionary: Dictionary::EMPTY };
        assert_eq!(offering.hear(&Packet::ConnAck(Box::new(connack))), []);
        offering
    }

    fn hear(&mut self, packet: &Packet) -> Vec<Output> {
        let frame = frame(Dialect::V311, Role::Server, packet);
        self.session.receive(&frame, 1);
        outputs(&mut self.session)
    }

    fn accept(&self) -> Accept {
        let hash = TranscriptHash::of(&self.connect, &self.offer);
        Accept { nonce: [0x5A; 16], hash, session_present: false, dictionary: Dictionary::with(property::RECEIVE_MAXIMUM, &7) }
    }
}

fn unsuback(accept: Bytes) -> Packet {
    Packet::UnsubAck(Box::new(UnsubAck { id: OFFER_ID, reasons: vec![], dictionary: Dictionary::EMPTY, accept }))
}

fn publish() -> Delivery {
    Delivery { message: Message::publish("a", "x").unwrap(), qos: Qos::AtMostOnce, retain: false, hop: Dictionary::EMPTY }
}

/// clause offer.form MUST
/// An offer MUST be sent as the first packet after a CONNECT of MQTT 3.1.1: an UNSUBSCRIBE with packet identifier 0xFFFF
/// and exactly one topic filter, followed by a PINGREQ.
#[test]
fn an_offer_is_an_unsubscribe_behind_connect_with_a_pingreq_behind_it() {
    let mut session = Session::client(Arc::new(Way::Offer.settings("device-1")), Parked::default(), 0);
    let packets = outputs(&mut session);
    let [Packet::Connect(connect), Packet::Unsubscribe(offer), Packet::PingReq(_)] = sent(&packets)[..] else { panic!("{packets:?}") };
    assert_eq!((connect.dialect, offer.id, offer.filters.len()), (Dialect::V311, OFFER_ID, 1));
}

/// clause offer.silence MUST NOT
/// A client that made an offer MUST NOT send another packet between its PINGREQ and the end of the negotiation.
#[test]
fn a_client_is_silent_until_it_knows() {
    let mut offering = Offering::new();
    assert!(!offering.session.is_ready());
    assert_eq!(offering.session.deliver(publish(), 1), Delivered::Later(publish()));
    let item = SubscribeItem { filter: Ok(TopicFilter::new("a").unwrap()), qos: Qos::AtMostOnce };
    assert_eq!(offering.session.subscribe(vec![item], Dictionary::EMPTY, 1), None);
    assert_eq!(outputs(&mut offering.session), []);
}

/// clause offer.confirm MUST
/// A client that reads an accept MUST send a NOTICE with reason confirm, and the first 16 bytes of SHA-256 over the accept
/// under `confirm`, as its next packet; every packet that it sends from there on is extended.
#[test]
fn a_yes_is_confirmed_and_changes_the_dialect() {
    let mut offering = Offering::new();
    let accept = offering.accept().to_bytes();
    let heard = offering.hear(&unsuback(accept.clone()));
    let [Packet::Notice(notice)] = sent(&heard)[..] else { panic!("{heard:?}") };
    assert_eq!((notice.reason, notice.dictionary.value(property::CONFIRM_HASH)), (Reason::CONFIRM, Some(Accept::confirm_hash(&accept))));
    assert_eq!((offering.session.terms().dialect, offering.session.terms().send_window), (Dialect::Extended, 7));
    assert!(offering.session.is_ready());
}

/// clause offer.declined MUST
/// A client MUST take an UNSUBACK of two bytes for its offer, or a PINGRESP that comes before one, for a no, and go on with
/// MQTT 3.1.1.
#[test]
fn a_short_unsuback_or_a_pingresp_without_one_is_a_no() {
    for answer in [unsuback(Bytes::new()), Packet::PingResp(Ping::default())] {
        let mut offering = Offering::new();
        let heard = offering.hear(&answer);
        assert!(matches!(&heard[..], [Output::Opened(opened)] if opened.declined && !opened.terms.dialect.is_extended()), "{heard:?}");
        assert!(offering.session.is_ready() && sent(&heard).is_empty());
        // A broker that answers late says nothing new.
        assert_eq!(offering.hear(&unsuback(Bytes::new())), []);
    }
}

/// clause offer.transcript MUST
/// A client MUST close the connection, and not fall back to MQTT 3.1.1, when what follows the packet identifier in the
/// UNSUBACK for its offer is not an accept with its nonce and with the hash of CONNECT and offer as it sent them.
#[test]
fn an_accept_that_cannot_be_trusted_closes_with_its_error() {
    let good = Offering::new().accept();
    let other = TranscriptHash::of(b"another CONNECT", b"another offer");
    let cases = [
        (Accept { nonce: [1; 16], ..good.clone() }.to_bytes(), BadAccept::WrongNonce),
        (Accept { hash: other, ..good.clone() }.to_bytes(), BadAccept::WrongHash),
        (good.to_bytes().slice(..20), BadAccept::NotAnAccept),
        (Bytes::from_static(&[0]), BadAccept::NotAnAccept),
    ];
    for (bytes, error) in cases {
        let heard = Offering::new().hear(&unsuback(bytes));
        assert_eq!(closed(&heard), Some(&Cause::BadAccept(error)));
        assert!(sent(&heard).is_empty());
    }
}

/// clause offer.late MUST
/// A client MUST close the connection when an accept comes after it took the answer for a no.
#[test]
fn a_yes_after_a_no_closes() {
    let mut offering = Offering::new();
    offering.hear(&Packet::PingResp(Ping::default()));
    let accept = offering.accept().to_bytes();
    assert_eq!(closed(&offering.hear(&unsuback(accept))), Some(&Cause::BadAccept(BadAccept::TooLate)));
}

#[test]
fn messages_of_a_resumed_session_may_come_in_between() {
    let mut offering = Offering::new();
    let heard = offering.hear(&Packet::Publish(Publish::new(
        Message::publish("a", "x").unwrap(),
        Qos::AtLeastOnce,
        false,
        PacketId::new(3),
        &Dictionary::EMPTY,
    )));
    assert!(matches!(heard[..], [Output::Message { .. }]));
    offering.session.settle(0, candor_protocol::session::Outcome::accepted());
    assert_eq!(outputs(&mut offering.session), [], "the client is silent until it knows");
    let accept = offering.accept().to_bytes();
    let said = offering.hear(&unsuback(accept));
    let [Packet::Notice(_), Packet::PubAck(ack)] = sent(&said)[..] else { panic!("{said:?}") };
    assert_eq!(*ack, Ack::success(PacketId::new(3).unwrap()));
}

/// clause offer.timeout MUST
/// A client MUST close a connection on which the answer to its offer has not come within the time that it gives a connection to
/// open.
#[test]
fn an_answer_is_not_waited_for_for_ever() {
    let mut offering = Offering::new();
    let until_ms = offering.session.deadline().unwrap();
    offering.session.tick(until_ms - 1);
    assert_eq!(outputs(&mut offering.session), [], "no PINGREQ either");
    offering.session.tick(until_ms);
    assert_eq!(closed(&outputs(&mut offering.session)), Some(&Cause::Silent));
}

#[test]
fn an_unsuback_for_anything_else_may_not_be_longer_than_3_1_1_says() {
    let mut offering = Offering::new();
    offering.hear(&unsuback(Bytes::new()));
    let long = UnsubAck { id: PacketId::MIN, reasons: vec![], dictionary: Dictionary::EMPTY, accept: Bytes::from_static(&[0]) };
    assert!(matches!(closed(&offering.hear(&Packet::UnsubAck(Box::new(long)))), Some(Cause::Malformed(_))));
}

/// A server that has accepted a CONNECT of 3.1.1.
fn server(policy: ServerPolicy) -> (Session, Connect, Unsubscribe) {
    let settings = Arc::new(Way::Offer.settings("device-1"));
    let mut client = Session::client(Arc::clone(&settings), Parked::default(), 0);
    let said = outputs(&mut client);
    let packets = sent(&said);
    let (Packet::Connect(connect), Packet::Unsubscribe(offer)) = (packets[0], packets[1]) else { panic!() };
    let mut session = Session::server(Arc::new(policy), 0);
    session.receive(&frame(Dialect::V311, Role::Client, packets[0]), 0);
    session.accept(Acceptance::default(), None, 0);
    outputs(&mut session);
    (session, (**connect).clone(), (**offer).clone())
}

fn say(session: &mut Session, dialect: Dialect, packet: &Packet) -> Vec<Output> {
    session.receive(&frame(dialect, Role::Client, packet), 1);
    outputs(session)
}

/// clause offer.exact MUST
/// A server MUST treat an UNSUBSCRIBE that is not the first packet after CONNECT, or whose form or client hash is not
/// exactly that of an offer of this client, as an ordinary UNSUBSCRIBE.
#[test]
fn only_the_first_packet_of_exactly_this_form_is_an_offer() {
    let (mut session, _, offer) = server(ServerPolicy::default());
    say(&mut session, Dialect::V311, &Packet::PingReq(Ping::default()));
    let heard = say(&mut session, Dialect::V311, &Packet::Unsubscribe(Box::new(offer.clone())));
    assert!(matches!(heard[..], [Output::Unsubscribe(_)]), "{heard:?}");

    let text = offer.filters[0].as_ref().unwrap().as_str().to_owned();
    let filter = |text: &str| vec![Ok(TopicFilter::new(text).unwrap())];
    let of_another_client = Offer { nonce: [0x5A; 16], dictionary: Dictionary::EMPTY }.to_packet("device-2").unwrap();
    let others = [
        Unsubscribe { id: PacketId::MIN, ..offer.clone() },
        Unsubscribe { filters: [offer.filters.clone(), filter("a")].concat(), ..offer.clone() },
        Unsubscribe { filters: filter(&format!("{text}/more")), ..offer.clone() },
        Unsubscribe { filters: filter(&text.replacen("/1/", "/2/", 1)), ..offer.clone() },
        Unsubscribe { filters: filter(&format!("{text}=")), ..offer },
        of_another_client,
    ];
    for other in others {
        let (mut session, _, _) = server(ServerPolicy::default());
        let heard = say(&mut session, Dialect::V311, &Packet::Unsubscribe(Box::new(other.clone())));
        assert!(matches!(heard[..], [Output::Unsubscribe(_)]), "{other:?}");
    }
}

/// clause offer.keys MUST
/// A server MUST treat an offer whose dictionary holds a key that it would refuse in an extended CONNECT as an ordinary UNSUBSCRIBE.
#[test]
fn an_offer_with_a_key_that_cannot_be_taken_is_none() {
    let wrong = [
        Dictionary::with(property::RECEIVE_MAXIMUM, &0),
        Dictionary::with(property::MAXIMUM_PACKET_SIZE, &0),
        Dictionary::with(property::NODE, &"n1".to_owned()),
        Dictionary::with(Key::<u64>::new("unknown", 1001), &0),
        Dictionary::with(Key::<bool>::new("of another type", property::RECEIVE_MAXIMUM.number), &true),
    ];
    let offering = |dictionary: Dictionary| Offer { nonce: [0x5A; 16], dictionary }.to_packet("device-1").unwrap();
    for dictionary in wrong {
        let (mut session, _, _) = server(ServerPolicy::default());
        let heard = say(&mut session, Dialect::V311, &Packet::Unsubscribe(Box::new(offering(dictionary.clone()))));
        assert!(matches!(heard[..], [Output::Unsubscribe(_)]), "{dictionary:?}: {heard:?}");
    }
    let (mut session, _, _) = server(ServerPolicy::default());
    let good = offering(Dictionary::with(property::RECEIVE_MAXIMUM, &1));
    let heard = say(&mut session, Dialect::V311, &Packet::Unsubscribe(Box::new(good)));
    assert!(matches!(sent(&heard)[..], [Packet::UnsubAck(_)]), "{heard:?}");
}

/// clause keys.connack MUST
/// A client that has to refuse a key of CONNACK, or of an accept, MUST end the connection, at an extended one by a DISCONNECT with
/// the reason.
#[test]
fn an_agreement_with_a_key_that_cannot_be_taken_ends_the_connection() {
    let wrong = [
        (Dictionary::with(property::RECEIVE_MAXIMUM, &0), Reason::KEY_NOT_ALLOWED, "key 16 (receive-maximum)"),
        (Dictionary::with(property::MAXIMUM_PACKET_SIZE, &63), Reason::KEY_NOT_ALLOWED, "key 18 (maximum-packet-size)"),
        (Dictionary::with(property::SERVER_KEEP_ALIVE, &65_536), Reason::KEY_NOT_ALLOWED, "key 22 (server-keep-alive)"),
        (Dictionary::with(Key::<u64>::new("unknown", 1001), &0), Reason::CRITICAL_KEY_UNKNOWN, "key 1001"),
    ];
    for (dictionary, reason, field) in wrong {
        let mut client = Session::client(Arc::new(Way::Extended.settings("device-1")), Parked::default(), 0);
        outputs(&mut client);
        let connack = ConnAck { session_present: false, reason: Reason::SUCCESS, dictionary: dictionary.clone() };
        client.receive(&frame(Dialect::Extended, Role::Server, &Packet::ConnAck(Box::new(connack))), 1);
        let mut offering = Offering::new();
        let accept = Accept { dictionary, ..offering.accept() };
        for heard in [outputs(&mut client), offering.hear(&unsuback(accept.to_bytes()))] {
            let Some(Cause::Refused(refusal)) = closed(&heard) else { panic!("{heard:?}") };
            assert_eq!((refusal.reason, refusal.problem.field.as_deref()), (reason, Some(field)));
            assert!(!heard.iter().any(|output| matches!(output, Output::Opened(_))), "{heard:?}");
        }
    }
}

/// clause keys.shortened MUST
/// An end MUST leave `topic`, then `items`, then `problem` out of an answer or a NOTICE that would be longer with them than its
/// receiver takes.
#[test]
fn what_only_explains_is_left_out_where_it_is_too_long() {
    let mut settings = Way::Extended.settings("device-1");
    for (packet_size_max, has_problem) in [(None, true), (Some(64), false)] {
        if let Some(limit) = packet_size_max {
            settings.connect.dictionary = Dictionary::with(property::MAXIMUM_PACKET_SIZE, &limit);
        }
        let mut session = Session::server(Arc::new(ServerPolicy::default()), 0);
        session.receive(&frame(Dialect::Extended, Role::Client, &Packet::Connect(Box::new(settings.connect.clone()))), 0);
        session.accept(Acceptance::default(), None, 0);
        outputs(&mut session);
        let topic = "x".repeat(20_000);
        let publish = Publish {
            message: Message::publish(&topic, "").unwrap(),
            dup: false,
            qos: Qos::AtMostOnce,
            retain: false,
            id: None,
            dictionary: Dictionary::with(property::MESSAGE_EXPIRY_INTERVAL, &0),
        };
        let heard = say(&mut session, Dialect::Extended, &Packet::Publish(publish));
        let [Output::Refused { refusal, publish: Some(publish), .. }] = &heard[..] else { panic!("{heard:?}") };
        // Its owner tells all of it, and the session what fits.
        let mut all = MapBuilder::new();
        all.set(property::PROBLEM, &refusal.problem.to_dictionary()).set(property::TOPIC, &publish.message.topic_str().to_owned());
        session.answer(Packet::Notice(Notice { reason: refusal.reason, dictionary: all.finish() }));
        let heard = outputs(&mut session);
        let [Packet::Notice(notice)] = sent(&heard)[..] else { panic!("{heard:?}") };
        assert_eq!(notice.reason, Reason::KEY_NOT_ALLOWED);
        assert_eq!(notice.dictionary.value(property::TOPIC), None);
        assert_eq!(notice.dictionary.value::<Problem>(Key::new("problem", property::PROBLEM.number)).is_some(), has_problem);
        let bytes = write::to_bytes(Dialect::Extended, Role::Server, &Packet::Notice(notice.clone())).unwrap();
        assert!(bytes.len() as u64 <= packet_size_max.unwrap_or(16 * 1024), "{} bytes", bytes.len());
    }
}

/// clause keys.connect MUST
/// A server MUST name in the problem of its CONNACK the key for which it refuses a CONNECT, although it does not know who the client
/// is, where its policy discloses problems at all.
#[test]
fn the_key_for_which_a_connect_is_refused_is_named() {
    let wrong = [
        (Dictionary::with(property::RECEIVE_MAXIMUM, &0), Reason::KEY_NOT_ALLOWED, "key 16 (receive-maximum)"),
        (Dictionary::with(property::RECEIVE_MAXIMUM, &65_536), Reason::KEY_NOT_ALLOWED, "key 16 (receive-maximum)"),
        (Dictionary::with(property::MAXIMUM_PACKET_SIZE, &0), Reason::KEY_NOT_ALLOWED, "key 18 (maximum-packet-size)"),
        (Dictionary::with(property::SESSION_EXPIRY_INTERVAL, &(1 << 32)), Reason::KEY_NOT_ALLOWED, "key 12 (session-expiry-interval)"),
        (Dictionary::with(Key::<u64>::new("unknown", 1001), &0), Reason::CRITICAL_KEY_UNKNOWN, "key 1001"),
    ];
    for (dictionary, reason, field) in wrong {
        for (disclosure, said) in [(Disclosure::Full, Some(field)), (Disclosure::Code, None)] {
            let mut connect = Way::Extended.settings("device-1").connect;
            connect.dictionary = dictionary.clone();
            let mut session = Session::server(Arc::new(ServerPolicy { disclosure, ..ServerPolicy::default() }), 0);
            let heard = say(&mut session, Dialect::Extended, &Packet::Connect(Box::new(connect)));
            let [Packet::ConnAck(connack)] = sent(&heard)[..] else { panic!("{heard:?}") };
            let problem = connack.dictionary.value(property::PROBLEM).map(|map| Problem::of_dictionary(&map)).unwrap_or_default();
            assert_eq!((connack.reason, problem.field.as_deref()), (reason, said));
        }
    }
}

/// clause offer.as-received MUST
/// A server MUST compute the hash of its accept over the bytes of CONNECT and offer as it received them.
#[test]
fn the_hash_of_an_accept_is_over_what_was_received() {
    let (mut session, connect, offer) = server(ServerPolicy::default());
    let [connect, offer] = [Packet::Connect(Box::new(connect)), Packet::Unsubscribe(Box::new(offer))];
    let heard = say(&mut session, Dialect::V311, &offer);
    let [Packet::UnsubAck(answer)] = sent(&heard)[..] else { panic!("{heard:?}") };
    let [connect, offer] = [connect, offer].map(|packet| write::to_bytes(Dialect::V311, Role::Client, &packet).unwrap());
    let hash = TranscriptHash::of(&connect, &offer);
    assert!(Accept::of_bytes(&answer.accept, &[0x5A; 16], &hash, candor_protocol::codec::dictionary::Limits::default()).is_ok());
}

/// clause offer.until-confirmed MUST NOT
/// A server that sent an accept MUST NOT send or read anything extended before the confirm has come; when any other packet
/// but one PINGREQ comes first, the connection stays plain.
#[test]
fn a_server_stays_plain_until_the_confirm() {
    let (mut session, _, offer) = server(ServerPolicy::default());
    let heard = say(&mut session, Dialect::V311, &Packet::Unsubscribe(Box::new(offer)));
    assert!(matches!(sent(&heard)[..], [Packet::UnsubAck(answer)] if !answer.accept.is_empty()));
    assert_eq!(session.terms().dialect, Dialect::V311);
    assert_eq!(sent(&say(&mut session, Dialect::V311, &Packet::PingReq(Ping::default()))).len(), 1);
    let item = SubscribeItem { filter: Ok(TopicFilter::new("a").unwrap()), qos: Qos::AtMostOnce };
    let subscribe = Subscribe { id: PacketId::MIN, items: vec![item], dictionary: Dictionary::EMPTY };
    assert!(matches!(say(&mut session, Dialect::V311, &Packet::Subscribe(Box::new(subscribe)))[..], [Output::Subscribe(_)]));
    // A confirm that comes now comes too late: packet type 15 does not exist here.
    let confirm = Packet::Notice(Notice { reason: Reason::CONFIRM, dictionary: Dictionary::EMPTY });
    assert!(closed(&say(&mut session, Dialect::Extended, &confirm)).is_some());
}

/// clause offer.quiet MUST NOT
/// A server that sent an accept MUST NOT send messages before the client's next packet has come: the client reads
/// everything behind the accept as extended.
#[test]
fn a_server_delivers_nothing_between_its_accept_and_the_next_packet() {
    let (mut session, _, offer) = server(ServerPolicy::default());
    assert!(session.is_ready());
    let heard = say(&mut session, Dialect::V311, &Packet::Unsubscribe(Box::new(offer)));
    let [Packet::UnsubAck(answer)] = sent(&heard)[..] else { panic!("{heard:?}") };
    session.tick(60_000);
    assert_eq!(session.deliver(publish(), 1), Delivered::Later(publish()));
    let hash = Accept::confirm_hash(&answer.accept);
    let confirm = Notice { reason: Reason::CONFIRM, dictionary: Dictionary::with(property::CONFIRM_HASH, &hash) };
    say(&mut session, Dialect::Extended, &Packet::Notice(confirm));
    assert_eq!(session.deliver(publish(), 1), Delivered::Now(None));
    assert!(session.terms().dialect.is_extended());
}

/// clause offer.wrong-confirm MUST
/// A server MUST close the connection when a confirm does not carry the hash of the accept that it sent.
#[test]
fn a_confirm_of_another_accept_closes() {
    let (mut session, _, offer) = server(ServerPolicy::default());
    say(&mut session, Dialect::V311, &Packet::Unsubscribe(Box::new(offer)));
    let dictionary = Dictionary::with(property::CONFIRM_HASH, &Bytes::from_static(&[9; 16]));
    let heard = say(&mut session, Dialect::Extended, &Packet::Notice(Notice { reason: Reason::CONFIRM, dictionary }));
    assert!(matches!(closed(&heard), Some(Cause::Refused(refusal)) if refusal.reason == Reason::PROTOCOL_ERROR));
}

/// clause offer.refused-plainly MUST
/// A server MUST answer a CONNECT of MQTT 3.1.1 that it refuses with the CONNACK of MQTT 3.1.1, or with a close, and nothing
/// more, whatever follows it.
#[test]
fn a_refused_connect_gets_its_return_code_and_its_offer_nothing() {
    let settings = Way::Offer.settings("device-1");
    let mut session = Session::server(Arc::new(ServerPolicy::default()), 0);
    let connect = Packet::Connect(Box::new(settings.connect));
    session.receive(&frame(Dialect::V311, Role::Client, &connect), 0);
    outputs(&mut session);
    session.refuse(candor_protocol::packet::Refusal::bare(Reason::NOT_AUTHORIZED));
    let said = outputs(&mut session);
    let mut bytes = BytesMut::new();
    for packet in sent(&said) {
        assert_eq!(session.lower(packet, &mut bytes), candor_protocol::dialect::Lowered::Frame);
    }
    assert_eq!(&bytes[..], [0x20, 2, 0, 5]);
    assert!(!session.wants_frames());
}
