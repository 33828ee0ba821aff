//! WebSocket: what is selected, and what closes.

use crate::authority::{Authority, connection};
use crate::conversation::{Client, Conversation};
use crate::passage::{CONNACK, CONNECT};
use candor_broker::transport::websocket::{BadFrame, BadUpgrade};
use candor_broker::transport::{Limits, Progress, Scheme, TransportError};
use std::io::Write;
use std::sync::Arc;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::frame::{CloseFrame, Frame};
use tungstenite::{Error, Message};

/// The same conversation with and without TLS.
fn both(mut talk: impl FnMut(Client) -> Client, mut act: impl FnMut(Conversation, Result<Progress, TransportError>)) {
    let authority = Authority::new();
    let settings = authority.settings();
    for scheme in [Scheme::Ws, Scheme::Wss] {
        let tls = if scheme.is_tls() { connection(&Arc::new(authority.client(&[]))) } else { None };
        let (conversation, outcome) = talk(Client::new(scheme, tls)).connect(Some(&settings));
        act(conversation, outcome);
    }
}

fn open(mut act: impl FnMut(Conversation)) {
    both(
        |client| client,
        |talk, outcome| {
            assert_eq!(outcome, Ok(Progress::Open));
            act(talk);
        },
    );
}

/// What the client reads next.
fn next(talk: &mut Conversation) -> Result<Message, Error> {
    talk.websocket().read()
}

#[test]
fn the_subprotocol_tells_the_dialect() {
    for (offered, selected) in
        [("mqtt", "mqtt"), ("mqtt, x-candor-1", "x-candor-1"), ("x-candor-1, mqtt", "x-candor-1"), ("mqttv3.1", "mqttv3.1")]
    {
        both(
            |client| client.subprotocols(Some(offered)),
            |talk, outcome| {
                assert_eq!(outcome, Ok(Progress::Open));
                let Some(Ok(response)) = &talk.response else { panic!("{:?}", talk.response) };
                assert_eq!(response.headers()["sec-websocket-protocol"], selected);
                assert_eq!(talk.server.peer().extended_offered, selected == "x-candor-1");
            },
        );
    }
}

#[test]
fn without_a_subprotocol_of_ours_the_client_is_told_in_http() {
    for (offered, said) in [(None, "Sec-WebSocket-Protocol is missing"), (Some("chat"), "offers \"chat\"")] {
        both(
            |client| client.subprotocols(offered),
            |talk, outcome| {
                assert!(matches!(outcome, Err(TransportError::Upgrade(BadUpgrade::NoSubprotocol { .. }))), "{outcome:?}");
                let Some(Err(Error::Http(response))) = &talk.response else { panic!("{:?}", talk.response) };
                assert_eq!(response.status(), 400);
                let body = String::from_utf8_lossy(response.body().as_deref().unwrap_or_default()).into_owned();
                assert!(body.contains(said) && body.contains("mqtt"), "{body}");
            },
        );
    }
}

#[test]
fn a_packet_may_span_frames_and_a_frame_hold_packets() {
    open(|mut talk| {
        for byte in CONNECT {
            talk.websocket().send(Message::binary(vec![*byte])).unwrap();
        }
        talk.websocket().send(Message::binary(CONNECT.repeat(3))).unwrap();
        assert_eq!(talk.pump(), Ok(Progress::Open));
        assert_eq!(talk.server_received(), CONNECT.repeat(4));
    });
}

#[test]
fn packets_come_out_before_their_frame_has_ended() {
    open(|mut talk| {
        talk.websocket().send(Message::binary(CONNECT.repeat(1000))).unwrap();
        let bytes = talk.client_bytes();
        let (first, rest) = bytes.split_at(bytes.len() - 1);
        talk.input.extend_from_slice(first);
        talk.server.receive(&mut talk.input, &mut talk.mqtt, &mut talk.output).unwrap();
        // Over TLS the record has to end first.
        if talk.server.peer().tls.is_none() {
            assert_eq!(talk.mqtt.len(), CONNECT.len() * 1000 - 1);
            assert!(talk.input.is_empty());
        }
        talk.input.extend_from_slice(rest);
        talk.server.receive(&mut talk.input, &mut talk.mqtt, &mut talk.output).unwrap();
        assert_eq!(talk.server_received(), CONNECT.repeat(1000));
    });
}

#[test]
fn a_text_frame_closes() {
    open(|mut talk| {
        talk.websocket().send(Message::binary(CONNECT)).unwrap();
        talk.websocket().send(Message::text("{}")).unwrap();
        assert_eq!(talk.pump(), Err(TransportError::WebSocket(BadFrame::Text)));
        assert_eq!(talk.server_received(), CONNECT, "what came before counts");
        let Ok(Message::Close(Some(close))) = next(&mut talk) else { panic!("no close frame") };
        assert_eq!(close.code, CloseCode::Unsupported);
        assert!(close.reason.contains("binary frames only"), "{}", close.reason);
        let over_tls = talk.server.peer().tls.is_some();
        assert_eq!(talk.client_saw_the_end(), over_tls, "close_notify comes behind it");
    });
}

#[test]
fn a_frame_over_the_limit_closes() {
    both(
        |client| client.limits(Limits { frame_bytes_max: 1000, ..Limits::DEFAULT }),
        |mut talk, _| {
            talk.client_sends(&[0; 1000]).unwrap();
            assert_eq!(talk.server_received().len(), 1000);
            talk.websocket().send(Message::binary(vec![0; 1001])).unwrap();
            let bad = BadFrame::TooLarge { bytes: 1001, bytes_max: 1000 };
            assert_eq!(talk.pump(), Err(TransportError::WebSocket(bad)));
            let Ok(Message::Close(Some(close))) = next(&mut talk) else { panic!("no close frame") };
            assert_eq!((close.code, close.reason.as_str()), (CloseCode::Size, "a WebSocket frame of 1001 bytes; at most 1000 are taken"));
        },
    );
}

#[test]
fn an_unmasked_frame_closes() {
    open(|mut talk| {
        // The library's client cannot be made to forget the mask.
        talk.stream.write_all(b"\x82\x02\xC0\x00").unwrap();
        assert_eq!(talk.pump(), Err(TransportError::WebSocket(BadFrame::Unmasked)));
        let Ok(Message::Close(Some(close))) = next(&mut talk) else { panic!("no close frame") };
        assert_eq!(close.code, CloseCode::Protocol);
    });
}

#[test]
fn a_request_over_the_limit_is_refused_in_http() {
    let authority = Authority::new();
    let settings = authority.settings();
    for scheme in [Scheme::Ws, Scheme::Wss] {
        let tls = if scheme.is_tls() { connection(&Arc::new(authority.client(&[]))) } else { None };
        let mut talk = Client::new(scheme, tls).raw(Some(&settings));
        talk.stream.write_all(b"GET /mqtt HTTP/1.1\r\n").unwrap();
        let refused = loop {
            talk.stream.write_all(b"X-Padding: 0123456789012345678901234567890123456789\r\n").unwrap();
            match talk.pump() {
                Ok(progress) => assert_eq!(progress, Progress::Handshaking),
                Err(error) => break error,
            }
            assert!(talk.wire.len() < 10_000);
        };
        assert_eq!(refused, TransportError::Upgrade(BadUpgrade::TooLarge { bytes_max: 8192 }));
        let answer = String::from_utf8(talk.client_received()).unwrap();
        assert!(answer.starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\n"), "{answer}");
    }
}

#[test]
fn an_ordinary_http_request_gets_an_answer_that_a_person_can_read() {
    let mut talk = Client::new(Scheme::Ws, None).raw(None);
    talk.stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost:8083\r\nUser-Agent: a browser\r\n\r\n").unwrap();
    assert_eq!(talk.pump(), Err(TransportError::Upgrade(BadUpgrade::NotWebSocket)));
    let answer = String::from_utf8(talk.client_received()).unwrap();
    assert!(answer.starts_with("HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\n"), "{answer}");
    assert!(answer.contains("this port speaks MQTT over WebSocket"), "{answer}");
}

#[test]
fn a_ping_is_answered_at_once_and_between_packets() {
    open(|mut talk| {
        talk.websocket().send(Message::Ping(b"are you there"[..].into())).unwrap();
        talk.websocket().send(Message::binary(CONNECT)).unwrap();
        assert_eq!(talk.pump(), Ok(Progress::Open));
        talk.server_sends(CONNACK);
        assert_eq!(next(&mut talk).unwrap(), Message::Pong(b"are you there"[..].into()));
        assert_eq!(next(&mut talk).unwrap(), Message::binary(CONNACK));
        assert_eq!(talk.server_received(), CONNECT);
    });
}

#[test]
fn a_flood_of_pings_does_not_make_the_output_grow() {
    open(|mut talk| {
        let mut most = 0;
        for _ in 0..20_000 {
            talk.stream.write_all(&masked(Frame::ping(&[b'?'; 125][..]))).unwrap();
            let bytes = talk.client_bytes();
            talk.input.extend_from_slice(&bytes);
            // The client does not read, so nothing is taken from the output.
            assert_eq!(talk.server.receive(&mut talk.input, &mut talk.mqtt, &mut talk.output), Ok(Progress::Open));
            most = most.max(talk.output.len());
        }
        assert!((60_000..70_000).contains(&most), "{most}");
    });
}

#[test]
fn the_clients_close_is_answered_with_its_code() {
    open(|mut talk| {
        talk.websocket().send(Message::binary(CONNECT)).unwrap();
        talk.websocket().close(Some(CloseFrame { code: CloseCode::Away, reason: "leaving".into() })).unwrap();
        assert_eq!(talk.pump(), Ok(Progress::PeerClosed));
        assert_eq!(talk.server_received(), CONNECT);
        let Ok(Message::Close(Some(close))) = next(&mut talk) else { panic!("no close frame") };
        assert_eq!(close.code, CloseCode::Away);
        let before = talk.wire.len();
        let mut mqtt = bytes::BytesMut::from(CONNACK);
        assert_eq!(talk.server.send(&mut mqtt, &mut talk.output), Err(TransportError::Closed));
        let over_tls = talk.server.peer().tls.is_some();
        talk.server_closes();
        assert_eq!(talk.wire.len() > before, over_tls, "TLS alone has an end left to tell");
    });
}

#[test]
fn the_servers_close_lets_the_client_finish() {
    open(|mut talk| {
        talk.server_sends(CONNACK);
        talk.server_closes();
        assert_eq!(next(&mut talk).unwrap(), Message::binary(CONNACK));
        // On its way already when the close frame comes; a ping then needs no answer.
        talk.stream.write_all(&masked(Frame::ping(&b"?"[..]))).unwrap();
        talk.stream
            .write_all(&masked(Frame::message(
                CONNECT,
                tungstenite::protocol::frame::coding::OpCode::Data(tungstenite::protocol::frame::coding::Data::Binary),
                true,
            )))
            .unwrap();
        let before = talk.wire.len();
        assert_eq!(talk.pump(), Ok(Progress::Open));
        assert_eq!((talk.server_received(), talk.wire.len()), (CONNECT.to_vec(), before));
        let Ok(Message::Close(Some(close))) = next(&mut talk) else { panic!("no close frame") };
        assert_eq!(close.code, CloseCode::Normal);
        talk.websocket().flush().unwrap();
        assert_eq!(talk.pump(), Ok(Progress::PeerClosed));
        assert_eq!(talk.wire.len(), before, "one close frame is enough");
    });
}

/// A frame with a mask of zeros.
fn masked(mut frame: Frame) -> Vec<u8> {
    frame.header_mut().mask = Some([0; 4]);
    let mut bytes = Vec::new();
    frame.format(&mut bytes).unwrap();
    bytes
}
