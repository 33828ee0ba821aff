//! What holds for all four schemes alike.

use crate::authority::{Authority, connection};
use crate::conversation::{Client, Conversation};
use bytes::BytesMut;
use candor_broker::transport::{Progress, Scheme, Transport};
use std::sync::Arc;

pub(crate) const CONNECT: &[u8] = b"\x10\x0E\x00\x04MQTT\x04\x02\x00\x3C\x00\x02id";
pub(crate) const CONNACK: &[u8] = b"\x20\x02\x00\x00";

/// The steps in which a server is fed: byte by byte, over the edges of headers, and all at once.
const STEPS: [usize; 7] = [1, 2, 3, 5, 7, 100, usize::MAX];

/// PUBLISH packets of different sizes.
fn packets(count: usize) -> Vec<u8> {
    (0..count).flat_map(|n| [&[0x30, 4 + n as u8, 0, 2, b't', b'0' + (n % 10) as u8][..], &vec![n as u8; n]].concat()).collect()
}

/// The lengths of the TLS records in these bytes.
pub(crate) fn records(mut wire: &[u8]) -> Vec<usize> {
    let mut lengths = Vec::new();
    while let [_, 3, _, high, low, rest @ ..] = wire {
        let len = usize::from(u16::from_be_bytes([*high, *low]));
        lengths.push(len);
        wire = &rest[len..];
    }
    assert!(wire.is_empty(), "whole records");
    lengths
}

fn each_scheme(mut talk: impl FnMut(Scheme, Box<dyn Fn() -> Conversation>)) {
    let authority = Authority::new();
    let settings = Arc::new(authority.settings());
    let config = Arc::new(authority.client(&[]));
    for scheme in Scheme::ALL {
        let (settings, config) = (Arc::clone(&settings), Arc::clone(&config));
        talk(
            scheme,
            Box::new(move || {
                let tls = if scheme.is_tls() { connection(&config) } else { None };
                Client::new(scheme, tls).connected(Some(&settings))
            }),
        );
    }
}

#[test]
fn a_connect_passes_unharmed_through_every_transport_however_it_is_split() {
    let authority = Authority::new();
    let settings = authority.settings();
    for scheme in Scheme::ALL {
        for step in STEPS {
            // A configuration of its own each time, so that every handshake is a full one.
            let tls = if scheme.is_tls() { connection(&Arc::new(authority.client(&[]))) } else { None };
            let mut talk = Client::new(scheme, tls).step(step).connected(Some(&settings));
            assert_eq!(talk.client_sends(CONNECT), Ok(Progress::Open));
            assert_eq!(talk.server_received(), CONNECT, "{scheme} in steps of {step}");
            assert!(talk.input.is_empty(), "an idle connection keeps nothing");
            talk.server_sends(CONNACK);
            assert_eq!(talk.client_received(), CONNACK, "{scheme} in steps of {step}");
        }
    }
}

#[test]
fn large_packets_pass_in_both_directions() {
    let large: Vec<u8> = (0..300_000_u32).map(|n| (n ^ (n >> 8)) as u8).collect();
    each_scheme(|scheme, connect| {
        let mut talk = connect();
        // In pieces that fit the buffers of the client's TLS library.
        for part in large.chunks(50_000) {
            talk.client_sends(part).unwrap();
        }
        assert!(talk.server_received() == large, "{scheme}");
        talk.server_sends(&large);
        assert!(talk.client_received() == large, "{scheme}");
    });
}

#[test]
fn the_packets_of_one_turn_are_one_record_and_one_frame() {
    let packets = packets(60);
    assert!(packets.len() > 1000);
    each_scheme(|scheme, connect| {
        let mut talk = connect();
        talk.server_sends(CONNACK);
        let wire = talk.server_sends(&packets);
        let frame = packets.len() + if scheme.is_websocket() { 4 } else { 0 };
        // TLS 1.3: the content type and the tag are inside the record.
        let expected = if scheme.is_tls() { vec![frame + 17] } else { vec![] };
        if scheme.is_tls() {
            assert_eq!(records(&wire), expected, "{scheme}");
        } else {
            assert_eq!(wire.len(), frame, "{scheme}");
        }
        assert_eq!(talk.client_received(), [CONNACK, &packets].concat());
    });
}

#[test]
fn more_than_a_record_holds_takes_as_few_records_as_it_can() {
    each_scheme(|scheme, connect| {
        let mut talk = connect();
        let wire = talk.server_sends(&vec![0x30; 100_000]);
        if scheme.is_tls() {
            let lengths = records(&wire);
            assert_eq!(lengths.len(), 7, "{scheme}: 100,000 bytes in records of 16,384");
        }
        assert_eq!(talk.client_received().len(), 100_000);
    });
}

#[test]
fn output_is_appended_behind_what_waits_there() {
    each_scheme(|scheme, connect| {
        let mut talk = connect();
        for n in 0..5_u8 {
            talk.server.send(&mut BytesMut::from(&[0xC0, n][..]), &mut talk.output).unwrap();
        }
        talk.pump().unwrap();
        assert_eq!(talk.client_received(), [0xC0, 0, 0xC0, 1, 0xC0, 2, 0xC0, 3, 0xC0, 4], "{scheme}");
    });
}

#[test]
fn sending_does_not_wait_for_half_a_record_or_frame() {
    each_scheme(|scheme, connect| {
        for cut in 1..8 {
            let mut talk = connect();
            talk.client_sends(b"").unwrap();
            let mut other = connect();
            std::mem::swap(&mut talk, &mut other);
            if scheme.is_websocket() {
                talk.websocket().send(tungstenite::Message::binary(CONNECT)).unwrap();
            } else {
                std::io::Write::write_all(&mut talk.stream, CONNECT).unwrap();
            }
            let bytes = talk.client_bytes();
            let (first, rest) = bytes.split_at(cut);
            talk.input.extend_from_slice(first);
            assert_eq!(talk.server.receive(&mut talk.input, &mut talk.mqtt, &mut talk.output), Ok(Progress::Open));
            talk.server_sends(CONNACK);
            assert_eq!(talk.client_received(), CONNACK, "{scheme} cut at {cut}");
            talk.input.extend_from_slice(rest);
            assert_eq!(talk.server.receive(&mut talk.input, &mut talk.mqtt, &mut talk.output), Ok(Progress::Open));
            assert_eq!(talk.server_received(), CONNECT, "{scheme} cut at {cut}");
        }
    });
}

#[test]
fn nothing_is_sent_before_the_handshake_is_done_and_nothing_is_lost() {
    let authority = Authority::new();
    let settings = authority.settings();
    for scheme in [Scheme::Mqtts, Scheme::Ws, Scheme::Wss] {
        let mut server = Transport::accept(scheme, Some(&settings), Default::default()).unwrap();
        assert!(server.is_handshaking());
        let (mut mqtt, mut output) = (BytesMut::from(CONNACK), BytesMut::new());
        server.send(&mut mqtt, &mut output).unwrap();
        assert_eq!((&mqtt[..], output.len()), (CONNACK, 0), "{scheme}");
        server.close(&mut output);
        assert!(output.is_empty() && !server.is_handshaking());
        assert!(server.send(&mut mqtt, &mut output).is_err());
    }
}

#[test]
fn a_connection_goes_on_in_another_thread() {
    let authority = Authority::new();
    let settings = authority.settings();
    let config = Arc::new(authority.client(&[]));
    for scheme in Scheme::ALL {
        let tls = if scheme.is_tls() { connection(&config) } else { None };
        let mut talk = Client::new(scheme, tls).connected(Some(&settings));
        if scheme.is_websocket() {
            talk.websocket().send(tungstenite::Message::binary(CONNECT)).unwrap();
        } else {
            std::io::Write::write_all(&mut talk.stream, CONNECT).unwrap();
        }
        let bytes = talk.client_bytes();
        // Handed over in the middle of a record or frame, with what has been read of it.
        let mut input = BytesMut::from(&bytes[..3]);
        let (mut mqtt, mut output) = (BytesMut::new(), BytesMut::new());
        talk.server.receive(&mut input, &mut mqtt, &mut output).unwrap();
        let mut server = std::mem::replace(&mut talk.server, Transport::tcp());
        let rest = bytes[3..].to_vec();
        let (server, received, answer) = std::thread::spawn(move || {
            input.extend_from_slice(&rest);
            server.receive(&mut input, &mut mqtt, &mut output).unwrap();
            server.send(&mut BytesMut::from(CONNACK), &mut output).unwrap();
            (server, mqtt, output)
        })
        .join()
        .unwrap();
        assert_eq!(&received[..], CONNECT, "{scheme}");
        (talk.server, talk.output) = (server, answer);
        talk.pump().unwrap();
        assert_eq!(talk.client_received(), CONNACK, "{scheme}");
    }
}
