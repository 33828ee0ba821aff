//! Framing: whole packets at the front of a stream, in one piece and byte by byte.

use crate::case::{Failure, Stream, files};
use bytes::{Bytes, BytesMut};
use candor_protocol::codec::error::Malformed;
use candor_protocol::codec::frame::Frame;

fn for_every_stream(check: impl Fn(&Stream)) {
    let streams: Vec<_> = files().into_iter().flat_map(|file| file.streams).collect();
    assert!(!streams.is_empty());
    streams.iter().for_each(check);
}

fn outcome(stream: &Stream) -> Option<&str> {
    assert!(stream.rest.is_some() != stream.must_fail.is_some(), "{}: either rest or must_fail", stream.name);
    stream.must_fail.as_deref()
}

fn name(result: Result<(), Malformed>) -> Option<String> {
    result.err().map(|error| Failure::from(error).name())
}

#[test]
fn packets_are_taken_off_one_by_one() {
    for_every_stream(|stream| {
        let mut bytes = Bytes::from(stream.hex.bytes());
        let mut taken = Vec::new();
        let end = loop {
            let before = bytes.clone();
            match Frame::split(&mut bytes, stream.limits.packet_size_max) {
                Ok(Some(frame)) => {
                    let raw = before.slice(..before.len() - bytes.len());
                    assert!(raw.first() == Some(&frame.first) && raw.ends_with(&frame.body), "{}", stream.name);
                    taken.push(raw.to_vec());
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        let expected: Vec<_> = stream.frames.iter().map(|frame| frame.bytes()).collect();
        assert!(taken == expected, "{}: {} packets", stream.name, taken.len());
        assert_eq!(name(end).as_deref(), outcome(stream), "{}", stream.name);
        assert_eq!(stream.rest.unwrap_or(bytes.len()), bytes.len(), "{}", stream.name);
    });
}

#[test]
fn bytes_that_trickle_in_make_the_same_packets() {
    for_every_stream(|stream| {
        // Long streams come in pieces of a prime length, so that no boundary falls on a packet's by chance.
        let bytes = stream.hex.bytes();
        let piece = if bytes.len() < 1000 { 1 } else { 997 };
        let mut buffer = BytesMut::new();
        let mut bodies = Vec::new();
        let mut error = None;
        for part in bytes.chunks(piece) {
            buffer.extend_from_slice(part);
            while error.is_none() {
                match Frame::split_mut(&mut buffer, stream.limits.packet_size_max) {
                    Ok(Some(frame)) => bodies.push((frame.first, frame.body)),
                    Ok(None) => break,
                    Err(malformed) => error = Some(malformed),
                }
            }
        }
        assert_eq!(error.and_then(|error| name(Err(error))).as_deref(), outcome(stream), "{}", stream.name);
        assert_eq!(bodies.len(), stream.frames.len(), "{}", stream.name);
        for ((first, body), expected) in bodies.iter().zip(&stream.frames) {
            let expected = expected.bytes();
            assert!(expected[0] == *first && expected.ends_with(body), "{}", stream.name);
        }
    });
}
