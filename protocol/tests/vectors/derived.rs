//! What follows for every case without being written down: the packet cut short, made longer, or said in another dialect.

use crate::case::{Case, Failure, cases};
use crate::replay::for_every_case;
use candor_protocol::codec::error::Malformed;
use candor_protocol::codec::frame::{Frame, Header};
use candor_protocol::dialect::{Dialect, write};
use candor_protocol::packet::{Kind, Packet};

/// Of a longer body only this many lengths at either end are tried.
const LENGTHS_MAX: usize = 2_048;

fn frame_of(case: &Case) -> Option<Frame> {
    case.packet.is_some().then(|| case.frame().unwrap())
}

/// The lengths of the proper prefixes of `len` bytes.
fn prefixes(len: usize) -> impl Iterator<Item = usize> {
    (0..len).filter(move |at| *at < LENGTHS_MAX || len - at <= LENGTHS_MAX)
}

#[test]
fn a_body_cut_short_is_refused_or_listed_as_an_early_end() {
    for_every_case(|case| {
        let Some(frame) = frame_of(case) else { return Ok(()) };
        for len in prefixes(frame.body.len()) {
            let cut = Frame { first: frame.first, body: frame.body.slice(..len) };
            match (case.read_frame(&cut), case.may_end_at(len)) {
                (Ok(_), true) => {}
                // Without its filters a request is whole but empty.
                (Err(Failure::Malformed(Malformed::Truncated | Malformed::NoTopicFilter)), false) => {}
                (read, listed) => return Err(format!("{len} bytes of {}, listed: {listed}: {read:?}", frame.body.len())),
            }
        }
        let beyond = case.early_ends.iter().find(|(from, to)| from > to || *to >= frame.body.len());
        beyond.map_or(Ok(()), |range| Err(format!("the early ends {range:?} are not inside {} bytes", frame.body.len())))
    });
}

#[test]
fn a_packet_that_has_not_come_whole_is_waited_for() {
    for_every_case(|case| {
        let bytes = case.hex.bytes();
        if Header::read(&bytes, case.limits.packet_size_max).is_err() {
            return Ok(());
        }
        for len in prefixes(bytes.len()) {
            let mut part = bytes[..len].to_vec().into();
            if Frame::split(&mut part, case.limits.packet_size_max) != Ok(None) {
                return Err(format!("{len} of {} bytes are taken for a packet", bytes.len()));
            }
        }
        Ok(())
    });
}

/// Whether the packet has all its parts and none of them takes whatever follows.
fn is_closed(case: &Case, kind: Kind, body_len: usize) -> bool {
    let extended = case.dialect.is_extended();
    match kind {
        Kind::Connect | Kind::ConnAck | Kind::Notice => true,
        Kind::Publish | Kind::Subscribe | Kind::SubAck | Kind::Unsubscribe | Kind::UnsubAck => false,
        Kind::PubAck | Kind::PubRec | Kind::PubRel | Kind::PubComp => !extended || body_len > 3,
        Kind::Disconnect => !extended || body_len > 1,
        Kind::PingReq | Kind::PingResp => !extended || body_len > 0,
    }
}

#[test]
fn a_byte_more_is_refused_where_nothing_may_follow() {
    for_every_case(|case| {
        let Some(frame) = frame_of(case) else { return Ok(()) };
        let kind = Kind::of_first_byte(frame.first).ok_or("no packet type")?;
        if !is_closed(case, kind, frame.body.len()) {
            return Ok(());
        }
        for byte in [0x00, 0x01, 0xFF] {
            let longer = Frame { first: frame.first, body: [&frame.body[..], &[byte]].concat().into() };
            let read = case.read_frame(&longer);
            if read != Err(Malformed::TrailingBytes.into()) {
                return Err(format!("with 0x{byte:02X} behind it: {read:?}"));
            }
        }
        Ok(())
    });
}

#[test]
fn an_extended_acknowledgement_of_success_is_byte_for_byte_the_plain_one() {
    for_every_case(|case| {
        let Some(frame) = frame_of(case).filter(|_| case.dialect == Dialect::V311) else { return Ok(()) };
        let kind = Kind::of_first_byte(frame.first).ok_or("no packet type")?;
        if !kind.parts().may_end_early {
            return Ok(());
        }
        let packet = case.read().map_err(|failure| failure.name())?;
        let extended = write::to_bytes(Dialect::Extended, case.sender, &packet);
        if extended.as_deref() == Some(&case.hex.bytes()) { Ok(()) } else { Err(format!("it is {extended:?}")) }
    });
}

#[test]
fn a_publish_without_metadata_costs_one_byte_over_3_1_1() {
    for_every_case(|case| {
        let Some(plain) = frame_of(case).filter(|_| case.dialect == Dialect::V311) else { return Ok(()) };
        let Ok(packet @ Packet::Publish(_)) = case.read() else { return Ok(()) };
        let mut extended = write::to_bytes(Dialect::Extended, case.sender, &packet).ok_or("not written")?;
        let extended = Frame::split(&mut extended, u32::MAX).map_err(|error| error.to_string())?.ok_or("not whole")?;
        let more = extended.body.len() - plain.body.len();
        if (extended.first, more) == (plain.first, 1) { Ok(()) } else { Err(format!("it costs {more} bytes")) }
    });
}

#[test]
fn both_plain_dialects_write_the_same_bytes_but_for_connect() {
    for_every_case(|case| {
        let Some(_) = frame_of(case).filter(|_| case.dialect == Dialect::V311) else { return Ok(()) };
        let packet = case.read().map_err(|failure| failure.name())?;
        let old = write::to_bytes(Dialect::V31, case.sender, &packet);
        let same = match &packet {
            Packet::Connect(_) => true,
            // 3.1 has no session present flag and no return code for a refused filter.
            Packet::ConnAck(connack) if connack.session_present => old.as_deref() == Some(&[0x20, 2, 0, 0]),
            Packet::SubAck(suback) if suback.reasons.iter().any(|reason| reason.is_error()) => old.is_none(),
            _ => old == write::to_bytes(Dialect::V311, case.sender, &packet),
        };
        if same { Ok(()) } else { Err(format!("3.1 writes {old:?}")) }
    });
}

#[test]
fn the_first_packet_is_a_connect_or_refused() {
    for (title, case) in cases() {
        let Some(frame) = frame_of(&case).filter(|frame| frame.first >> 4 != 1) else { continue };
        let first = candor_protocol::dialect::read::raise_connect(&frame, case.limits.dictionary());
        assert_eq!(first, Err(Malformed::PacketType(frame.first >> 4).into()), "{title}");
    }
}

#[test]
fn a_plain_packet_leaves_the_dictionary_out_and_keeps_the_rest() {
    for_every_case(|case| {
        if !case.dialect.is_extended() {
            return Ok(());
        }
        let Ok(packet) = case.read() else { return Ok(()) };
        let kept = match packet.kind() {
            Kind::Publish | Kind::PingReq | Kind::PingResp => true,
            // A filter that section 4.7 does not allow cannot be sent to a plain peer.
            Kind::Subscribe | Kind::Unsubscribe => !crate::view::packet(&packet).to_string().contains("\"invalid\""),
            _ => false,
        };
        if !kept {
            return Ok(());
        }
        let mut plain = write::to_bytes(Dialect::V311, case.sender, &packet).ok_or("not written")?;
        let frame = Frame::split(&mut plain, u32::MAX).map_err(|error| error.to_string())?.ok_or("not whole")?;
        let read = candor_protocol::dialect::read::raise(Dialect::V311, &frame, case.limits.dictionary());
        let mut expected = crate::view::packet(&packet);
        let fields = expected.as_object_mut().ok_or("no object")?;
        fields.retain(|name, _| name != "dictionary" && name != "message");
        let seen = read.map(|packet| crate::view::packet(&packet)).map_err(|error| error.to_string())?;
        if seen == expected { Ok(()) } else { Err(format!("it is read as {seen}")) }
    });
}
