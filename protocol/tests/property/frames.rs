//! Framing: lengths add up, and a stream means the same however it is cut into pieces.

use bytes::{Bytes, BytesMut};
use candor_protocol::codec::error::Malformed;
use candor_protocol::codec::frame::{Frame, Header};

/// A stream as a fuzzer gives it: a byte that chooses the limit, four that say how it is cut, and the stream.
pub(crate) fn any_bytes(input: &[u8]) {
    let [selector, a, b, c, d, stream @ ..] = input else { return };
    let limit = [u32::MAX, 268_435_460, 130, 16][usize::from(selector % 4)];
    let pieces = [a, b, c, d].map(|len| usize::from(len % 32) + 1);
    every_cut_agrees(stream, pieces.into_iter().cycle(), limit);
}

/// The input of [`any_bytes`] for this stream.
pub(crate) fn input_of(stream: &[u8]) -> Vec<u8> {
    [&[0, 0, 2, 4, 6], stream].concat()
}

/// What a receiver makes of a stream: its packets, what is wrong behind them, and how many bytes those take.
#[derive(Debug, PartialEq)]
struct Heard {
    frames: Vec<Frame>,
    error: Option<Malformed>,
    taken: usize,
}

pub(crate) fn every_cut_agrees(stream: &[u8], pieces: impl Iterator<Item = usize>, limit: u32) {
    let heard = in_one_piece(stream, limit);
    assert_eq!(piece_by_piece(stream, pieces, limit), heard, "taken off while they come");
    for frame in &heard.frames {
        let mut out = BytesMut::new();
        frame.write(&mut out);
        assert_eq!(out.len(), frame.total());
        assert_eq!(Frame::split_mut(&mut out, u32::MAX), Ok(Some(frame.clone())));
    }
}

fn in_one_piece(stream: &[u8], limit: u32) -> Heard {
    let mut bytes = Bytes::copy_from_slice(stream);
    let (mut frames, mut error) = (Vec::new(), None);
    loop {
        let header = Header::read(&bytes, limit);
        let before = bytes.len();
        match Frame::split(&mut bytes, limit) {
            Ok(Some(frame)) => {
                let header = header.unwrap().unwrap();
                assert_eq!((header.first, header.remaining as usize), (frame.first, frame.body.len()));
                assert_eq!(before - bytes.len(), header.total(), "lengths do not add up");
                assert!(header.total() <= limit as usize && frame.total() <= header.total());
                frames.push(frame);
            }
            Ok(None) => break,
            Err(malformed) => {
                error = Some(malformed);
                break;
            }
        }
    }
    Heard { frames, error, taken: stream.len() - bytes.len() }
}

/// The pieces of a stream.
fn cut(mut stream: &[u8], lens: impl Iterator<Item = usize>) -> impl Iterator<Item = &[u8]> {
    lens.map_while(move |len| {
        let (piece, rest) = stream.split_at(len.min(stream.len()));
        stream = rest;
        (!piece.is_empty()).then_some(piece)
    })
}

fn piece_by_piece(stream: &[u8], pieces: impl Iterator<Item = usize>, limit: u32) -> Heard {
    let mut heard = Heard { frames: Vec::new(), error: None, taken: 0 };
    let mut buffer = BytesMut::new();
    for piece in cut(stream, pieces) {
        buffer.extend_from_slice(piece);
        while heard.error.is_none() {
            let before = buffer.len();
            match Frame::split_mut(&mut buffer, limit) {
                Ok(Some(frame)) => heard.frames.push(frame),
                Ok(None) => break,
                Err(malformed) => heard.error = Some(malformed),
            }
            heard.taken += before - buffer.len();
        }
    }
    heard
}
