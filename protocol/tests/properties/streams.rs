//! Byte streams: packets, bytes that are none, and any cut.

use crate::property::frames::{any_bytes, every_cut_agrees, input_of};
use crate::runner::for_all;
use bytes::BytesMut;
use candor_protocol::codec::frame::Frame;
use proptest::collection::vec;
use proptest::prelude::*;

/// One packet, its Remaining Length perhaps longer than need be.
fn packet() -> impl Strategy<Value = Vec<u8>> {
    (0x10u8..=0xFF, vec(any::<u8>(), 0..200), 0usize..3).prop_map(|(first, body, needless)| {
        let mut out = BytesMut::new();
        Frame { first, body: body.into() }.write(&mut out);
        let mut bytes = out.to_vec();
        let last = (1..).find(|at| bytes[*at] & 0x80 == 0).unwrap();
        for _ in 0..needless.min(4 - last) {
            bytes[last] |= 0x80;
            bytes.insert(last + 1, 0x80);
        }
        let end = last + needless.min(4 - last);
        bytes[end] &= 0x7F;
        bytes
    })
}

#[test]
fn a_stream_means_the_same_however_it_is_cut() {
    let limit = prop_oneof![Just(u32::MAX), 2u32..300];
    let stream = (vec(packet(), 0..6), vec(any::<u8>(), 0..12)).prop_map(|(packets, rest)| [packets.concat(), rest].concat());
    for_all(1000, (stream, vec(1usize..64, 1..8), limit), |(stream, pieces, limit)| {
        every_cut_agrees(&stream, pieces.into_iter().cycle(), limit);
        any_bytes(&input_of(&stream));
    });
}

#[test]
fn any_bytes_are_packets_and_a_rest_or_an_error() {
    for_all(2000, vec(any::<u8>(), 0..300), |bytes| any_bytes(&bytes));
}
