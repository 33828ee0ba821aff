//! Wrong protocols and garbage: always an error with a name, never a panic, never unbounded.

use crate::authority::{Authority, connection};
use crate::conversation::Client;
use crate::passage::CONNECT;
use bytes::BytesMut;
use candor_broker::transport::detect::{Mismatch, Spoken};
use candor_broker::transport::{INPUT_LEFT_MAX, Limits, Progress, Scheme, TlsSettings, Transport, TransportError};
use rustls::crypto::cipher::OutboundPlainMessage;
use rustls::{ConnectionTrafficSecrets, ContentType, ProtocolVersion};
use std::sync::Arc;

/// A small generator (xorshift), so that a failure can be repeated from its seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

/// What feeding a connection came to.
struct Fed {
    outcome: Result<Progress, TransportError>,
    mqtt: BytesMut,
    output: BytesMut,
}

/// Feeds bytes to a new connection in parts.
fn feed(scheme: Scheme, settings: &TlsSettings, bytes: &[u8], step: usize) -> Fed {
    let mut server = Transport::accept(scheme, Some(settings), Limits::DEFAULT).unwrap();
    feed_to(&mut server, bytes, step)
}

fn feed_to(server: &mut Transport, bytes: &[u8], step: usize) -> Fed {
    let (mut input, mut mqtt, mut output) = (BytesMut::new(), BytesMut::new(), BytesMut::new());
    let mut outcome = Ok(Progress::Handshaking);
    for part in bytes.chunks(step) {
        input.extend_from_slice(part);
        outcome = server.receive(&mut input, &mut mqtt, &mut output);
        if outcome.is_err() {
            break;
        }
        assert!(input.len() <= INPUT_LEFT_MAX.saturating_add(step));
        assert!(mqtt.len() <= bytes.len());
    }
    Fed { outcome, mqtt, output }
}

#[test]
fn a_client_of_the_wrong_protocol_is_named() {
    let authority = Authority::new();
    let settings = authority.settings();
    let hello = Client::new(Scheme::Mqtts, connection(&Arc::new(authority.client(&[])))).raw(Some(&settings)).client_bytes();
    let http = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for (scheme, bytes, spoken, readable) in [
        (Scheme::Mqtts, CONNECT, Spoken::Mqtt, false),
        (Scheme::Wss, CONNECT, Spoken::Mqtt, false),
        (Scheme::Ws, CONNECT, Spoken::Mqtt, false),
        (Scheme::Ws, &hello, Spoken::Tls, false),
        (Scheme::Mqtts, http, Spoken::Http, true),
        (Scheme::Wss, http, Spoken::Http, true),
        (Scheme::Mqtts, b"PROXY TCP4 192.0.2.1", Spoken::ProxyHeader, false),
    ] {
        for step in [1, usize::MAX] {
            let Fed { outcome, output, .. } = feed(scheme, &settings, bytes, step);
            assert_eq!(outcome, Err(TransportError::WrongProtocol(Mismatch { listener: scheme, spoken })));
            let said = String::from_utf8_lossy(&output);
            assert_eq!(said.starts_with("HTTP/1.1 400 Bad Request\r\n"), readable, "{scheme} {spoken:?}: {said}");
            assert_eq!(output.is_empty(), !readable, "{scheme} {spoken:?}");
        }
    }
}

#[test]
fn noise_is_refused_or_waited_for_on_every_scheme() {
    let authority = Authority::new();
    let settings = authority.settings();
    let seed = 0x00C0_FFEE_2026_1122;
    println!("seed {seed:#x}");
    let mut random = Random(seed);
    for round in 0..400 {
        let mut noise: Vec<u8> = (0..random.below(3000)).map(|_| random.next() as u8).collect();
        // Half of it looks like a record of the handshake at first.
        if round % 2 == 0 && noise.len() > 5 {
            noise[..5].copy_from_slice(&[0x16, 3, 1, 0, random.next() as u8]);
        }
        let step = 1 + random.below(700);
        for scheme in Scheme::ALL {
            let Fed { outcome, output, .. } = feed(scheme, &settings, &noise, step);
            assert!(outcome != Ok(Progress::Open) || scheme == Scheme::Mqtt, "round {round}, {scheme}");
            assert!(output.len() < 1000);
        }
    }
}

#[test]
fn damage_to_good_bytes_never_panics() {
    let authority = Authority::new();
    let settings = authority.settings();
    let seed = 0x0BAD_5EED_2026_1122;
    println!("seed {seed:#x}");
    let mut random = Random(seed);
    let mut seen = 0;
    for round in 0..300 {
        let scheme = Scheme::ALL[1 + random.below(3)];
        let tls = if scheme.is_tls() { connection(&Arc::new(authority.client(&[]))) } else { None };
        let mut talk = Client::new(scheme, tls).connected(Some(&settings));
        if scheme.is_websocket() {
            talk.websocket().send(tungstenite::Message::binary(CONNECT.repeat(5))).unwrap();
            talk.websocket().send(tungstenite::Message::Ping(CONNECT.into())).unwrap();
        } else {
            std::io::Write::write_all(&mut talk.stream, &CONNECT.repeat(5)).unwrap();
        }
        let mut bytes = talk.client_bytes();
        for _ in 0..1 + random.below(3) {
            let at = random.below(bytes.len());
            bytes[at] ^= 1 << random.below(8);
        }
        let step = 1 + random.below(bytes.len());
        let Fed { outcome, mqtt, .. } = feed_to(&mut talk.server, &bytes, step);
        // A bit flipped in a WebSocket payload is nothing that the transport can see. In TLS nothing damaged comes out.
        if scheme.is_tls() {
            assert!(CONNECT.repeat(5).starts_with(&mqtt), "round {round}");
            seen += u32::from(outcome.is_err());
        }
        // Whatever happened, closing and sending are safe.
        let mut output = BytesMut::new();
        let _ = talk.server.send(&mut BytesMut::from(CONNECT), &mut output);
        talk.server.close(&mut output);
    }
    assert!(seen > 100, "most damage to TLS is an error: {seen}");
}

#[test]
fn a_message_split_after_the_handshake_is_refused() {
    // What the TLS library keeps of such a message refers to the input buffer, which is not at hand when sending.
    let authority = Authority::new();
    let settings = authority.settings();
    let mut config = authority.client(&[]);
    config.enable_secret_extraction = true;
    let talk = Client::new(Scheme::Mqtts, connection(&Arc::new(config))).connected(Some(&settings));
    let (client, mut server) = talk.into_client_tls();
    let suite = client.negotiated_cipher_suite().and_then(|suite| suite.tls13()).unwrap();
    let (sequence, secrets) = client.dangerous_extract_secrets().unwrap().tx;
    let (key, iv) = match secrets {
        ConnectionTrafficSecrets::Aes128Gcm { key, iv }
        | ConnectionTrafficSecrets::Aes256Gcm { key, iv }
        | ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (key, iv),
        _ => panic!("another cipher suite"),
    };
    // Two of the five bytes of a KeyUpdate.
    let half = OutboundPlainMessage { typ: ContentType::Handshake, version: ProtocolVersion::TLSv1_2, payload: b"\x18\x00"[..].into() };
    let record = suite.aead_alg.encrypter(key, iv).encrypt(half, sequence).unwrap().encode();
    let Fed { outcome, .. } = feed_to(&mut server, &record, usize::MAX);
    let said = outcome.unwrap_err().to_string();
    assert!(said.contains("split over records"), "{said}");
    let mut output = BytesMut::new();
    assert_eq!(server.send(&mut BytesMut::from(CONNECT), &mut output), Err(TransportError::Closed));
    server.close(&mut output);
}

#[test]
fn a_handshake_message_in_tiny_records_is_bounded() {
    let authority = Authority::new();
    let settings = authority.settings();
    // A ClientHello that claims 60,000 bytes, each in a record of its own.
    let hello = [&[1, 0, 0xEA, 0x60][..], &[0; 60_000]].concat();
    let bytes: Vec<u8> = hello.iter().flat_map(|byte| [0x16, 3, 1, 0, 1, *byte]).collect();
    assert!(bytes.len() > 5 * INPUT_LEFT_MAX);
    let Fed { outcome, .. } = feed(Scheme::Mqtts, &settings, &bytes, 1000);
    let said = outcome.unwrap_err().to_string();
    assert!(said.contains("takes more than 65536 bytes with its records"), "{said}");
}

#[test]
fn input_taken_away_is_misuse_and_not_a_panic() {
    let authority = Authority::new();
    let settings = authority.settings();
    let hello = Client::new(Scheme::Mqtts, connection(&Arc::new(authority.client(&[])))).raw(Some(&settings)).client_bytes();
    let mut server = Transport::accept(Scheme::Mqtts, Some(&settings), Limits::DEFAULT).unwrap();
    let (mut input, mut mqtt, mut output) = (BytesMut::from(&hello[..50]), BytesMut::new(), BytesMut::new());
    assert_eq!(server.receive(&mut input, &mut mqtt, &mut output), Ok(Progress::Handshaking));
    input.clear();
    assert_eq!(server.receive(&mut input, &mut mqtt, &mut output), Err(TransportError::InputLost));
}
