//! Reading never panics, and what was read is written so that it is read as the same again.

use bytes::{Bytes, BytesMut};
use candor_protocol::codec::dictionary::{Dictionary, Limits, MapBuilder, check};
use candor_protocol::codec::frame::Frame;
use candor_protocol::dialect::read::{BadConnect, raise, raise_connect};
use candor_protocol::dialect::write::{self, PublishFrame};
use candor_protocol::dialect::{Dialect, Lowered};
use candor_protocol::packet::legality::{Role, check_keys, check_message_keys};
use candor_protocol::packet::property::{ITEMS, MESSAGE, PROBLEM, PROFILE, REQUIRE, WILL};
use candor_protocol::packet::publish::dictionary_of;
use candor_protocol::packet::{Packet, Problem, Profile, Publish, Requirement};

/// One packet as a fuzzer gives it: which dialect and limits, the first byte, and the body.
pub(crate) fn any_bytes(input: &[u8]) {
    let [selector, first, body @ ..] = input else { return };
    let dialect = Dialect::ALL[usize::from(selector % 3)];
    let limits = if selector / 3 % 2 == 0 { Limits::default() } else { Limits { len_max: 64, depth_max: 2 } };
    any_frame(dialect, &Frame { first: *first, body: Bytes::copy_from_slice(body) }, limits);
}

/// The input of [`any_bytes`] for this packet.
pub(crate) fn input_of(dialect: Dialect, frame: &Frame) -> Vec<u8> {
    let selector = Dialect::ALL.iter().position(|other| *other == dialect).unwrap_or(0) as u8;
    [&[selector, frame.first][..], &frame.body].concat()
}

pub(crate) fn any_frame(dialect: Dialect, frame: &Frame, limits: Limits) {
    let read = raise(dialect, frame, limits);
    first_packets_agree(&read, frame, limits);
    let Ok(packet) = read else { return };
    everything_in_it_can_be_looked_at(&packet, limits);
    let Some(written) = written(dialect, &packet) else { return };
    assert!(written.len() <= frame.total(), "{packet:?} came in {} bytes and is written in {}", frame.total(), written.len());
    let again = whole(written.clone());
    let reread = raise(dialect, &again, limits).unwrap_or_else(|error| panic!("{packet:?} was written and not read again: {error}"));
    assert_eq!(normal(reread.clone()), normal(packet.clone()));
    assert_eq!(self::written(dialect, &reread), Some(written), "{packet:?} is written in two ways");
    if let Packet::Publish(publish) = &packet {
        a_shared_frame_is_the_packet(dialect, publish);
    }
}

/// The one whole packet in `bytes`.
pub(crate) fn whole(mut bytes: Bytes) -> Frame {
    let frame = Frame::split(&mut bytes, u32::MAX).unwrap().unwrap();
    assert!(bytes.is_empty(), "lengths do not add up: {} bytes are left", bytes.len());
    frame
}

/// The packet as bytes; `None` where this dialect says it by a close, which must be one of the cases that are known.
fn written(dialect: Dialect, packet: &Packet) -> Option<Bytes> {
    let mut out = BytesMut::new();
    let lowered = write::lower(dialect, Role::Client, packet, &mut out);
    assert_eq!(lowered, write::fate(dialect, Role::Client, packet), "{packet:?}");
    if lowered == Lowered::Frame {
        return Some(out.freeze());
    }
    assert!(out.is_empty(), "{lowered:?} wrote bytes");
    let refused = matches!(packet, Packet::SubAck(suback) if suback.reasons.iter().any(|reason| reason.is_error()));
    assert!(dialect == Dialect::V31 && refused, "{dialect} does not write {packet:?}, which it read");
    None
}

/// A first packet is read as a later one, and only a CONNECT is read.
fn first_packets_agree(read: &Result<Packet, candor_protocol::codec::error::Malformed>, frame: &Frame, limits: Limits) {
    match (raise_connect(frame, limits), read) {
        (Ok(connect), Ok(Packet::Connect(later))) => assert_eq!(connect, **later),
        (Ok(connect), other) => panic!("first {connect:?}, later {other:?}"),
        (Err(first), Ok(Packet::Connect(later))) => panic!("first {first:?}, later {later:?}"),
        (Err(BadConnect::Malformed(first)), Err(later)) if frame.first == 0x10 => assert_eq!(first, *later),
        _ => {}
    }
}

/// A packet in the one form that writing and reading keep: the will's keys stand in CONNECT's dictionary as they are sent.
pub(crate) fn normal(mut packet: Packet) -> Packet {
    if let Packet::Connect(connect) = &mut packet
        && let Some(will) = connect.will.as_mut().filter(|_| connect.dialect.is_extended())
    {
        let whole = dictionary_of(&will.message, &will.dictionary);
        if !whole.is_empty() {
            connect.dictionary = MapBuilder::new().merge(&connect.dictionary).set(WILL, &whole).finish();
        }
    }
    packet
}

fn everything_in_it_can_be_looked_at(packet: &Packet, limits: Limits) {
    assert!(!format!("{packet:?}").is_empty());
    let dictionary = packet.dictionary();
    assert_eq!(check(dictionary.as_bytes(), limits), Ok(()));
    assert_eq!(MapBuilder::new().merge(dictionary).finish(), *dictionary, "put together again it is another");
    for role in [Role::Client, Role::Server] {
        if let Err(refusal) = check_keys(packet.kind(), role, dictionary, &|_| None) {
            assert!(refusal.problem.field.is_some() && refusal.reason.is_error(), "{refusal}");
        }
    }
    for key in [PROBLEM, PROFILE, REQUIRE, ITEMS, WILL] {
        look_at_typed_values(&dictionary.value(key).unwrap_or_default());
    }
    (0..3).for_each(|index| look_at_typed_values(&dictionary.item(index)));
    if let Packet::Publish(publish) = packet {
        assert_eq!(publish.message.compact(), publish.message);
        assert_eq!(publish.message.dictionary().as_bytes(), publish.message.map(), "the message map was checked and is lost");
        let _ = check_message_keys(&publish.message.dictionary());
    }
}

fn look_at_typed_values(map: &Dictionary) {
    let problem = Problem::of_dictionary(map);
    assert_eq!(Problem::of_dictionary(&problem.to_dictionary()), problem);
    let profile = Profile::of_dictionary(map);
    assert_eq!(Profile::of_dictionary(&profile.to_dictionary()), profile);
    if let Ok(requirement) = Requirement::of_dictionary(map) {
        assert_eq!(Requirement::of_dictionary(&requirement.to_dictionary()), Ok(requirement));
    }
}

/// A frame that is encoded once for many receivers has the bytes of the packet for each.
pub(crate) fn a_shared_frame_is_the_packet(dialect: Dialect, publish: &Publish) {
    let hop = MapBuilder::new().merge(&publish.dictionary).remove(MESSAGE.number).finish();
    let shared = PublishFrame::new(dialect, publish.qos, publish.retain, &publish.message, &hop);
    let mut out = BytesMut::from(&b"before"[..]);
    shared.write(publish.id, publish.dup, &mut out);
    // An empty message map, or a key of another type in its place, is no part of a message.
    let dictionary = dictionary_of(&publish.message, &hop);
    let packet = Packet::Publish(Publish { dictionary, ..publish.clone() });
    let bytes = write::to_bytes(dialect, Role::Server, &packet).unwrap();
    assert_eq!((&out[6..], shared.len()), (&bytes[..], bytes.len()));
}
