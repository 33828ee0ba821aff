//! The message model: the parts that an extended packet has beyond 3.1.1, where they stand, and what may be left out.
#![allow(clippy::unwrap_used, clippy::panic, reason = "what fails in a test fails the test")]

mod frames;

use bytes::{Bytes, BytesMut};
use candor_protocol::codec::dictionary::{BadDictionary, Dictionary, Limits, MapBuilder};
use candor_protocol::codec::error::Malformed;
use candor_protocol::codec::frame::Frame;
use candor_protocol::dialect::Dialect;
use candor_protocol::dialect::write::{PublishFrame, to_bytes};
use candor_protocol::packet::kind::Kind;
use candor_protocol::packet::legality::{Role, check_message_keys};
use candor_protocol::packet::property::{NODE, RECEIPT_REQUEST, TAG};
use candor_protocol::packet::{Ack, ConnAck, Connect, Disconnect, Message, Packet, PacketId, Ping, Publish, Qos, Reason, TopicName, Will};
use frames::{around_dictionary, frame, frame_with, hex, read, reasons};

fn tag(text: &'static str) -> Dictionary {
    Dictionary::with(TAG, &Bytes::from_static(text.as_bytes()))
}

fn ack(kind: Kind, ack: Ack) -> Packet {
    match kind {
        Kind::PubAck => Packet::PubAck(ack),
        Kind::PubRec => Packet::PubRec(ack),
        Kind::PubRel => Packet::PubRel(ack),
        Kind::PubComp => Packet::PubComp(ack),
        other => panic!("{other} is no acknowledgement of a PUBLISH"),
    }
}

const ACKS: [Kind; 4] = [Kind::PubAck, Kind::PubRec, Kind::PubRel, Kind::PubComp];

/// clause model.success MUST
/// A PUBACK, PUBREC, PUBREL, or PUBCOMP with reason 0x00 and an empty dictionary MUST be byte for byte the packet of MQTT
/// 3.1.1.
#[test]
fn an_acknowledgement_of_success_is_the_one_of_3_1_1() {
    for (kind, first) in ACKS.into_iter().zip([0x40, 0x50, 0x62, 0x70]) {
        for id in 1..=u16::MAX {
            let [high, low] = id.to_be_bytes();
            let packet = ack(kind, Ack::success(PacketId::new(id).unwrap()));
            let extended = to_bytes(Dialect::Extended, Role::Client, &packet).unwrap();
            assert_eq!(extended[..], [first, 2, high, low], "{kind} {id}");
            assert_eq!(to_bytes(Dialect::V311, Role::Client, &packet).unwrap(), extended);
        }
    }
}

/// clause model.early-end MUST
/// A receiver MUST take a packet that may end early, and ends before its reason, as one with reason 0x00 and an empty
/// dictionary, and one that ends behind its reason as one with an empty dictionary.
#[test]
fn what_is_left_out_is_success_and_an_empty_dictionary() {
    for kind in Kind::ALL.into_iter().filter(|kind| kind.parts().may_end_early) {
        let (before, _) = around_dictionary(kind);
        let whole = read(&frame_with(kind, &[]), Limits::default()).unwrap();
        let has_reason = !reasons(&whole).is_empty();
        let fields = &before[..before.len() - usize::from(has_reason)];
        assert_eq!(read(&frame(kind, fields), Limits::default()), Ok(whole.clone()), "{kind}");
        assert_eq!(read(&frame(kind, &before), Limits::default()), Ok(whole.clone()), "{kind}");
        assert!(whole.dictionary().is_empty() && reasons(&whole).iter().all(|reason| *reason == Reason::SUCCESS));
    }
}

/// clause model.length MUST
/// A CONNECT, CONNACK, PUBLISH, SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, or NOTICE MUST carry the length of its
/// dictionary, of an empty one too.
#[test]
fn a_packet_that_may_not_end_early_has_the_length_of_its_dictionary() {
    let kinds: Vec<Kind> = Kind::ALL.into_iter().filter(|kind| !kind.parts().may_end_early).collect();
    let named =
        [Kind::Connect, Kind::ConnAck, Kind::Publish, Kind::Subscribe, Kind::SubAck, Kind::Unsubscribe, Kind::UnsubAck, Kind::Notice];
    assert_eq!(kinds, named);
    for kind in kinds {
        let (before, _) = around_dictionary(kind);
        assert_eq!(read(&frame(kind, &before), Limits::default()), Err(Malformed::Truncated), "{kind}");
    }
}

/// clause model.reason-first MUST
/// A packet that carries a dictionary behind a reason MUST carry the reason, of 0x00 too.
#[test]
fn a_reason_of_success_stands_before_a_dictionary() {
    let (dictionary, id) = (tag("t1"), PacketId::new(7).unwrap());
    let bytes = &dictionary.as_bytes()[..];
    let expected =
        |first: u8, fields: &[u8]| [&[first, (fields.len() + 2 + bytes.len()) as u8], fields, &[0x00, bytes.len() as u8], bytes].concat();
    for (kind, first) in [(Kind::PubAck, 0x40), (Kind::PubRec, 0x50)] {
        let packet = ack(kind, Ack::new(id, Reason::SUCCESS, dictionary.clone()));
        assert_eq!(to_bytes(Dialect::Extended, Role::Server, &packet).unwrap(), expected(first, &[0, 7]), "{kind}");
        assert_eq!(read(&frame(kind, &expected(first, &[0, 7])[2..]), Limits::default()), Ok(packet));
    }
    let disconnect = Packet::Disconnect(Disconnect { reason: Reason::SUCCESS, dictionary: dictionary.clone() });
    assert_eq!(to_bytes(Dialect::Extended, Role::Client, &disconnect).unwrap(), expected(0xE0, &[]));
}

/// clause model.connect MUST
/// In CONNECT the dictionary MUST stand behind every field of MQTT 3.1.1.
#[test]
fn the_dictionary_of_connect_stands_behind_the_fields_of_3_1_1() {
    let message = Message::publish("will/topic", "gone").unwrap();
    let connect = |dialect| Connect {
        dialect,
        clean_session: false,
        keep_alive_s: 30,
        client_id: "c1".into(),
        will: Some(Will { message: message.clone(), qos: Qos::AtLeastOnce, retain: true, dictionary: Dictionary::EMPTY }),
        user_name: Some("user".into()),
        password: Some(Bytes::from_static(b"secret")),
        dictionary: if dialect == Dialect::Extended {
            Dictionary::with(candor_protocol::packet::property::RECEIVE_MAXIMUM, &10)
        } else {
            Dictionary::EMPTY
        },
    };
    let body = |dialect| to_bytes(dialect, Role::Client, &Packet::Connect(Box::new(connect(dialect)))).unwrap().slice(2..);
    let (plain, extended) = (body(Dialect::V311), body(Dialect::Extended));
    // Name and level differ; from the connect flags on the fields are the same, and the dictionary follows them.
    let (plain_fields, extended_fields) = (&plain[2 + 4 + 1..], &extended[2 + 6 + 1..]);
    assert_eq!(extended_fields[..plain_fields.len()], *plain_fields);
    assert_eq!(extended_fields[plain_fields.len()..], hex("03 a1 10 0a"));
}

/// clause model.trailing MUST
/// A receiver MUST treat a packet as malformed in which bytes follow the last part.
#[test]
fn nothing_follows_the_last_part() {
    let has_payload = |kind| matches!(kind, Kind::Publish | Kind::Subscribe | Kind::SubAck | Kind::Unsubscribe | Kind::UnsubAck);
    for kind in Kind::ALL.into_iter().filter(|kind| !has_payload(*kind)) {
        let mut body = frame_with(kind, &hex("a1 1864 f6")).body.to_vec();
        assert!(read(&frame(kind, &body), Limits::default()).is_ok(), "{kind}");
        body.push(0x00);
        assert_eq!(read(&frame(kind, &body), Limits::default()), Err(Malformed::TrailingBytes), "{kind}");
    }
}

/// clause model.flags MUST
/// The lower four bits of the first byte MUST be those of MQTT 3.1.1, and 0 in NOTICE.
#[test]
fn the_flags_of_the_first_byte_are_fixed() {
    for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Publish) {
        let good = frame_with(kind, &[]);
        let expected = if matches!(kind, Kind::PubRel | Kind::Subscribe | Kind::Unsubscribe) { 2 } else { 0 };
        for flags in 0..16 {
            let packet = read(&Frame { first: good.first & 0xF0 | flags, body: good.body.clone() }, Limits::default());
            assert_eq!(packet.err(), (flags != expected).then_some(Malformed::Flags), "{kind} with flags {flags:04b}");
        }
    }
}

fn message_map() -> Dictionary {
    // A registered key, one that nobody knows, one of an experiment, and one of an application.
    let mut map = MapBuilder::new();
    map.put_text("colour", |out| out.extend(hex("63 726564"))).put(2, |out| out.extend(hex("63 612f62")));
    map.put(5_000, |out| out.extend(hex("82 01 f6"))).put(-5, |out| out.extend(hex("fb 3fb999999999999a")));
    map.finish()
}

fn received(map: &[u8], hop: &Dictionary) -> Result<Publish, Malformed> {
    let mut dictionary = MapBuilder::new();
    dictionary.merge(hop).put(0, |out| candor_protocol::codec::dictionary::write_bytes(out, map));
    match read(&frame_with(Kind::Publish, dictionary.finish().as_bytes()), Limits::default())? {
        Packet::Publish(publish) => Ok(publish),
        other => panic!("{other:?}"),
    }
}

/// clause message.forwarded MUST
/// A server MUST forward the message map byte for byte, whether or not it knows the keys in it.
#[test]
fn a_message_map_is_forwarded_byte_for_byte() {
    let map = message_map();
    let mut hop = MapBuilder::new();
    hop.set(TAG, &Bytes::from_static(b"t1")).set(RECEIPT_REQUEST, &true);
    let publish = received(map.as_bytes(), &hop.finish()).unwrap();
    // The next hop has a stamp of its own, another QoS, and a copy in memory of its own.
    let stamp = Dictionary::with(NODE, &"n1".to_owned());
    let frame = PublishFrame::new(Dialect::Extended, Qos::AtLeastOnce, false, &publish.message.compact(), &stamp);
    let mut out = BytesMut::new();
    frame.write(PacketId::new(9), false, &mut out);
    let mut bytes = out.freeze();
    let frame = Frame::split(&mut bytes, u32::MAX).unwrap().unwrap();
    let Packet::Publish(forwarded) = read(&frame, Limits::default()).unwrap() else { panic!("{frame:?}") };
    assert_eq!(forwarded.message.map(), &map.as_bytes()[..]);
    assert_eq!(forwarded.message.payload(), publish.message.payload());
    let numbers: Vec<String> = forwarded.dictionary.entries().map(|(key, _)| format!("{key:?}")).collect();
    assert_eq!(numbers, ["0", "34"], "the keys of the first hop end there");
}

/// clause message.first MUST
/// The message map MUST be the first entry of the dictionary of a PUBLISH that has one.
#[test]
fn the_message_map_is_the_first_entry() {
    let topic = TopicName::new("t").unwrap();
    let message = Message::new(&topic, &message_map(), b"payload");
    for number in [1, 2, 28, 23, 24, 256, i64::MAX, -1, -300, i64::MIN] {
        let mut hop = MapBuilder::new();
        hop.put(number, |out| out.push(0xF6)).put_text("", |out| out.push(0xF6));
        let publish = Publish::new(message.clone(), Qos::AtMostOnce, false, None, &hop.finish());
        let bytes = publish.dictionary.as_bytes();
        assert_eq!((bytes[0], bytes[1]), (0xA3, 0x00), "with key {number}: {bytes:02x?}");
    }
}

/// clause message.form MUST
/// The bytes under the key message MUST be exactly one map in the form of a dictionary.
#[test]
fn a_message_map_has_the_form_of_a_dictionary() {
    assert!(received(message_map().as_bytes(), &Dictionary::EMPTY).is_ok());
    use BadDictionary::*;
    for (map, cause) in [
        ("a0", EmptyMap),
        ("80", NotAMap),
        ("a1 00", Truncated),
        ("a1 00 00 00", TrailingBytes),
        ("a1 18 00 00", NotShortest),
        ("a2 02 00 00 00", KeysNotAscending),
        ("a2 00 00 00 00", DuplicateKey),
        ("a1 02 c0 60", Tag),
        ("bf 00 00 ff", IndefiniteLength),
    ] {
        assert_eq!(received(&hex(map), &Dictionary::EMPTY).unwrap_err(), Malformed::Dictionary(cause), "{map}");
    }
}

/// clause message.critical MUST
/// A recipient that does not know an integer key of the message map whose CBOR argument is odd MUST refuse the message
/// with reason 0xC4, with the key named in the problem.
#[test]
fn a_critical_key_of_the_message_map_binds_the_recipient() {
    assert_eq!(check_message_keys(&message_map()), Ok(()), "5000 and -5 may be ignored");
    for number in [1, 5_001, -2, -5_000] {
        let mut map = MapBuilder::new();
        map.merge(&message_map()).put(number, |out| out.push(0xF6));
        let refusal = check_message_keys(&map.finish()).unwrap_err();
        assert_eq!(refusal.reason, Reason(0xC4));
        assert_eq!(refusal.problem.field, Some(format!("key {number}")));
        // On the way the map is not looked into: the packet itself is taken.
        assert!(received(&map.finish().as_bytes()[..], &Dictionary::EMPTY).is_ok());
    }
}

/// What a packet costs beyond 3.1.1 when there is nothing to say: no clause, but what the draft's prose says of it.
#[test]
fn a_packet_with_nothing_to_say_costs_a_byte_at_most() {
    let id = PacketId::new(1).unwrap();
    let publish = Publish::new(Message::publish("a/b", "x").unwrap(), Qos::AtMostOnce, false, None, &Dictionary::EMPTY);
    let connack = ConnAck { session_present: false, reason: Reason::SUCCESS, dictionary: Dictionary::EMPTY };
    for (packet, cost) in [
        (Packet::Publish(publish), 1),
        (Packet::ConnAck(Box::new(connack)), 1),
        (Packet::PubAck(Ack::success(id)), 0),
        (Packet::PingReq(Ping::default()), 0),
        (Packet::Disconnect(Disconnect::normal()), 0),
    ] {
        let len = |dialect| to_bytes(dialect, Role::Client, &packet).unwrap().len();
        assert_eq!(len(Dialect::Extended) - len(Dialect::V311), cost, "{packet:?}");
    }
}
