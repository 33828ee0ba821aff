//! Frames of the extended dialect written by hand, so that what the tests prove does not rest on the code that writes.
#![allow(dead_code, reason = "every test file uses some of it")]

use bytes::Bytes;
use candor_protocol::codec::cursor::put_varint;
use candor_protocol::codec::dictionary::Limits;
use candor_protocol::codec::error::Malformed;
use candor_protocol::codec::frame::Frame;
use candor_protocol::dialect::Dialect;
use candor_protocol::dialect::read::{BadConnect, raise, raise_connect};
use candor_protocol::packet::kind::Kind;
use candor_protocol::packet::{Packet, Reason};

/// Bytes from hexadecimal digits, with spaces where they help the reader.
pub(crate) fn hex(digits: &str) -> Vec<u8> {
    let digits: String = digits.split_whitespace().collect();
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

/// A dictionary as it travels: its length and its bytes.
pub(crate) fn with_length(dictionary: &[u8]) -> Vec<u8> {
    let mut out = bytes::BytesMut::new();
    put_varint(&mut out, dictionary.len() as u32);
    out.extend_from_slice(dictionary);
    out.to_vec()
}

/// What stands before the dictionary of a packet of this type, and what stands behind it, in the smallest packet there is.
pub(crate) fn around_dictionary(kind: Kind) -> (Vec<u8>, Vec<u8>) {
    let (before, behind) = match kind {
        Kind::Connect => ("0006 43414e444f52 01 02 0000 0001 63", ""),
        Kind::ConnAck => ("00 00", ""),
        Kind::Publish => ("0001 74", "7061796c6f6164"),
        Kind::PubAck | Kind::PubRec | Kind::PubRel | Kind::PubComp => ("0001 00", ""),
        Kind::Subscribe => ("0001", "0001 74 00"),
        Kind::SubAck | Kind::UnsubAck => ("0001", "00"),
        Kind::Unsubscribe => ("0001", "0001 74"),
        Kind::PingReq | Kind::PingResp => ("", ""),
        Kind::Disconnect => ("00", ""),
        Kind::Notice => ("41", ""),
    };
    (hex(before), hex(behind))
}

/// A frame of this type with any body.
pub(crate) fn frame(kind: Kind, body: &[u8]) -> Frame {
    Frame { first: (kind as u8) << 4 | kind.fixed_flags().unwrap_or(0), body: Bytes::copy_from_slice(body) }
}

/// The smallest frame of this type with `dictionary`.
pub(crate) fn frame_with(kind: Kind, dictionary: &[u8]) -> Frame {
    let (before, behind) = around_dictionary(kind);
    frame(kind, &[before, with_length(dictionary), behind].concat())
}

/// Reads a frame in the extended dialect, as the first of a connection if it is a CONNECT.
pub(crate) fn read(frame: &Frame, limits: Limits) -> Result<Packet, Malformed> {
    if frame.first >> 4 == Kind::Connect as u8 {
        return match raise_connect(frame, limits) {
            Ok(connect) => Ok(Packet::Connect(Box::new(connect))),
            Err(BadConnect::Malformed(error)) => Err(error),
            Err(error) => panic!("{error:?}"),
        };
    }
    raise(Dialect::Extended, frame, limits)
}

/// Reads the smallest packet of every type with `dictionary`.
pub(crate) fn in_every_packet(dictionary: &[u8]) -> Vec<(Kind, Result<Packet, Malformed>)> {
    Kind::ALL.into_iter().map(|kind| (kind, read(&frame_with(kind, dictionary), Limits::default()))).collect()
}

/// The reasons of a packet, wherever they stand in it.
pub(crate) fn reasons(packet: &Packet) -> Vec<Reason> {
    match packet {
        Packet::ConnAck(packet) => vec![packet.reason],
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => vec![ack.reason],
        Packet::SubAck(packet) => packet.reasons.clone(),
        Packet::UnsubAck(packet) => packet.reasons.clone(),
        Packet::Disconnect(packet) => vec![packet.reason],
        Packet::Notice(packet) => vec![packet.reason],
        _ => vec![],
    }
}
