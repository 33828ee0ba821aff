//! Packets of every type, with everything that they may hold.

use crate::codec::dictionary::{Dictionary, MapBuilder, write_bool, write_bytes, write_float, write_head, write_text};
use crate::dialect::Dialect;
use crate::dialect::offer::{Accept, OFFER_ID, Offer, TranscriptHash};
use crate::dialect::write::to_bytes;
use crate::packet::ack::{Ack, Disconnect, Notice, Ping};
use crate::packet::connect::{ConnAck, Connect, Will};
use crate::packet::id::{PacketId, Qos};
use crate::packet::legality::Role;
use crate::packet::message::Message;
use crate::packet::problem::{Problem, Retry};
use crate::packet::profile::{Durability, Overflow, Profile, Requirement};
use crate::packet::property::*;
use crate::packet::publish::Publish;
use crate::packet::reason::Reason;
use crate::packet::subscribe::{SubAck, Subscribe, SubscribeItem, UnsubAck, Unsubscribe, items_of};
use crate::packet::topic::{TopicFilter, TopicName};
use crate::packet::{Packet, problem};
use bytes::Bytes;

pub(crate) fn id(id: u16) -> PacketId {
    PacketId::new(id).unwrap()
}

pub(crate) fn problem() -> Problem {
    Problem::titled("no rule allows it").rule("sensors only").limit(10, 11).retry(Retry::After { after_ms: 90_000, jitter_ms: 500 })
}

fn message_map() -> Dictionary {
    let mut map = MapBuilder::new();
    map.set(PAYLOAD_FORMAT_INDICATOR, &1).set(CONTENT_TYPE, &"application/json".to_owned());
    map.set(CORRELATION_DATA, &Bytes::from_static(&[1, 2, 0xFF]));
    map.put_text("unit", |out| write_text(out, "°C"));
    map.finish()
}

pub(crate) fn message() -> Message {
    Message::new(&TopicName::new("sensors/kitchen").unwrap(), &message_map(), br#"{"t":21.5}"#)
}

pub(crate) fn connect(dialect: Dialect) -> Packet {
    let mut hop = MapBuilder::new();
    hop.set(MESSAGE_EXPIRY_INTERVAL, &3600);
    let mut map = MapBuilder::new();
    let require = Requirement { durability: Some(Durability::Disk), queue_len: Some(1000), ..Requirement::default() };
    map.set(REQUIRE, &require.to_dictionary()).set(SESSION_EXPIRY_INTERVAL, &86_400).set(RECEIVE_MAXIMUM, &100);
    map.set(EXTENSIONS, &vec!["x-one".to_owned(), "x-two".to_owned()]);
    let extended = dialect.is_extended();
    let will = Message::new(&TopicName::new("state/kitchen").unwrap(), &if extended { message_map() } else { Dictionary::EMPTY }, b"gone");
    Packet::Connect(Box::new(Connect {
        dialect,
        clean_session: false,
        keep_alive_s: 60,
        client_id: "kitchen-7".to_owned(),
        will: Some(Will {
            message: will,
            qos: Qos::AtLeastOnce,
            retain: true,
            dictionary: if extended { hop.finish() } else { Dictionary::EMPTY },
        }),
        user_name: Some("ann".to_owned()),
        password: Some(Bytes::from_static(b"secret")),
        dictionary: if extended { map.finish() } else { Dictionary::EMPTY },
    }))
}

fn profile() -> Profile {
    Profile {
        durability: Durability::Disk,
        session_durability: Durability::Memory,
        queue_len_max: 1000,
        queue_bytes_max: 1 << 20,
        overflow: Overflow::RefusePublisher,
        shared_subscriptions: false,
        loss_window_ms: 50,
        ..Profile::default()
    }
}

fn connack() -> Packet {
    let mut map = MapBuilder::new();
    map.set(PROFILE, &profile().to_dictionary()).set(SESSION_STATE, &1).set(SERVER_TIME, &1_700_000_000_123);
    map.set(SESSION_INCARNATION, &Bytes::from_static(&[0, 1, 2, 3, 4, 5, 6, 7]));
    Packet::ConnAck(Box::new(ConnAck { session_present: true, reason: Reason::SUCCESS, dictionary: map.finish() }))
}

pub(crate) fn connack_refused() -> Packet {
    Packet::ConnAck(Box::new(ConnAck::refused(Reason::NOT_AUTHORIZED, Dictionary::with(PROBLEM, &problem().to_dictionary()))))
}

pub(crate) fn publish() -> Packet {
    let mut hop = MapBuilder::new();
    hop.set(RECEIPT_REQUEST, &true).set(MINIMUM_DURABILITY, &2).set(MESSAGE_EXPIRY_INTERVAL, &3600);
    hop.set(TAG, &Bytes::from_static(b"job 7"));
    Packet::Publish(Publish::new(message(), Qos::AtLeastOnce, true, Some(id(9)), &hop.finish()))
}

fn application_publish() -> Packet {
    let mut map = MapBuilder::new();
    map.put(1000, |out| write_head(out, 1, 6)).put(-1, |out| write_float(out, 0.1)).put_text("mine", |out| {
        write_head(out, 4, 3);
        write_bool(out, false);
        write_bytes(out, &[0; 40]);
        write_head(out, 5, 1);
        write_head(out, 0, 300);
        out.push(0xF6);
    });
    let message = Message::publish("a", []).unwrap();
    Packet::Publish(Publish::new(message, Qos::AtMostOnce, false, None, &map.finish()))
}

fn items() -> Dictionary {
    items_of([Dictionary::EMPTY, Dictionary::with(PROBLEM, &problem().to_dictionary())])
}

pub(crate) fn suback() -> Packet {
    let reasons = vec![Reason::GRANTED_QOS_1, Reason::NOT_AUTHORIZED];
    Packet::SubAck(Box::new(SubAck { id: id(3), reasons, dictionary: items() }))
}

fn subscribe() -> Packet {
    let item = |filter: &str, qos| SubscribeItem { filter: Ok(TopicFilter::new(filter).unwrap()), qos };
    let require = Requirement { durability: Some(Durability::Memory), ..Requirement::default() }.to_dictionary();
    let options = MapBuilder::new().set(SUBSCRIPTION_OPTIONS, &5).set(REQUIRE, &require).finish();
    Packet::Subscribe(Box::new(Subscribe {
        id: id(3),
        items: vec![item("sensors/+/t", Qos::AtLeastOnce), item("$share/g/a/#", Qos::ExactlyOnce)],
        dictionary: items_of([options]),
    }))
}

pub(crate) fn notice() -> Packet {
    let mut map = MapBuilder::new();
    map.set(COUNT, &12).set(REASON, &0xC8).set(TOPIC, &"sensors/kitchen".to_owned());
    Packet::Notice(Notice { reason: Reason::GAP, dictionary: map.finish() })
}

pub(crate) fn refusal(id: PacketId) -> Ack {
    Ack::new(id, Reason::NOT_AUTHORIZED, Dictionary::with(PROBLEM, &problem::Problem::default().rule("sensors only").to_dictionary()))
}

/// An offer and the accept that answers it; in the plain dialects alone.
pub(crate) fn offer() -> Packet {
    let mut map = MapBuilder::new();
    map.set(RECEIVE_MAXIMUM, &20).set(SESSION_EXPIRY_INTERVAL, &3600);
    let offer = Offer { nonce: *b"0123456789abcdef", dictionary: map.finish() };
    Packet::Unsubscribe(Box::new(offer.to_packet("kitchen-7").unwrap()))
}

pub(crate) fn accept() -> Packet {
    let hash = TranscriptHash::of(b"connect", b"offer");
    let dictionary = Dictionary::with(PROFILE, &profile().to_dictionary());
    let accept = Accept { nonce: *b"0123456789abcdef", hash, session_present: true, dictionary }.to_bytes();
    Packet::UnsubAck(Box::new(UnsubAck { id: OFFER_ID, reasons: Vec::new(), dictionary: Dictionary::EMPTY, accept }))
}

/// Every packet with its sender.
pub(crate) fn packets(dialect: Dialect) -> Vec<(Role, Packet)> {
    use Role::{Client, Server};
    let receipt = || Ack::new(id(9), Reason::SUCCESS, Dictionary::with(RECEIPT, &2));
    let mut packets = if dialect.is_extended() { Vec::new() } else { vec![(Client, offer()), (Server, accept())] };
    packets.extend([
        (Client, connect(dialect)),
        (Server, connack()),
        (Server, connack_refused()),
        (Client, publish()),
        (Client, application_publish()),
        (Server, Packet::PubAck(Ack::success(id(9)))),
        (Server, Packet::PubAck(refusal(id(9)))),
        (Server, Packet::PubRec(receipt())),
        (Client, Packet::PubRel(Ack::success(id(9)))),
        (Server, Packet::PubComp(Ack::new(id(9), Reason::PACKET_IDENTIFIER_NOT_FOUND, Dictionary::EMPTY))),
        (Client, subscribe()),
        (Server, suback()),
        (
            Client,
            Packet::Unsubscribe(Box::new(Unsubscribe {
                id: id(4),
                filters: vec![Ok(TopicFilter::new("a/b").unwrap()), Ok(TopicFilter::new("c").unwrap())],
                dictionary: Dictionary::EMPTY,
            })),
        ),
        (
            Server,
            Packet::UnsubAck(Box::new(UnsubAck {
                id: id(4),
                reasons: vec![Reason::SUCCESS, Reason::NO_SUBSCRIPTION_EXISTED],
                dictionary: Dictionary::EMPTY,
                accept: Bytes::new(),
            })),
        ),
        (Client, Packet::PingReq(Ping::default())),
        (Server, Packet::PingResp(Ping { dictionary: Dictionary::with(BACKLOG, &4) })),
        (Client, Packet::Disconnect(Disconnect::normal())),
        (
            Server,
            Packet::Disconnect(Disconnect { reason: Reason::SERVER_SHUTTING_DOWN, dictionary: Dictionary::with(RETRY_AFTER, &120_000) }),
        ),
        (Server, notice()),
    ]);
    packets
}

/// Their bytes, where the dialect has a way to say them.
pub(crate) fn encoded(dialect: Dialect) -> Vec<(Role, Bytes)> {
    packets(dialect).iter().filter_map(|(sender, packet)| Some((*sender, to_bytes(dialect, *sender, packet)?))).collect()
}
