//! Malformed and hostile input: the connection it came on ends with the reason, or as 3.1.1 demands, and nobody else notices.

// A helper's panic is the test's: clippy knows it only inside test functions.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use candor_broker::queue::QueueLimits;
use candor_broker::shard::Settings;
use candor_protocol::codec::dictionary::Dictionary;
use candor_protocol::packet::{Overflow, Qos, Reason, property};
use candor_protocol::session::{Cause, ServerPolicy};
use candor_protocol::sim::Way;
use std::io::{Read, Write};
use std::time::Duration;
use support::{DEADLINE, TestBroker, policy, stored};

const CONNECT: &[u8] = &[0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0, 0, 1, b'h'];
const CONNECT_EXTENDED: &[u8] = &[0x10, 16, 0, 6, b'C', b'A', b'N', b'D', b'O', b'R', 1, 2, 0, 0, 0, 1, b'h', 0];

/// Sends `bytes` behind a CONNECT and reads until the broker closes; the answer without CONNACK.
fn last_words(broker: &TestBroker, connect: &[u8], bytes: &[u8]) -> Vec<u8> {
    let mut stream = broker.raw();
    stream.write_all(connect).unwrap();
    let mut head = [0; 2];
    stream.read_exact(&mut head).unwrap();
    assert_eq!(head[0], 0x20);
    let mut connack = vec![0; usize::from(head[1])];
    stream.read_exact(&mut connack).unwrap();
    stream.write_all(bytes).unwrap();
    let mut rest = Vec::new();
    stream
        .read_to_end(&mut rest)
        .unwrap_or_else(|error| panic!("no close after {:02x?}: {error}, {rest:02x?}", &bytes[..bytes.len().min(40)]));
    rest
}

/// The reason of the DISCONNECT that ends `bytes`.
fn reason_of(bytes: &[u8]) -> Option<Reason> {
    let at = bytes.iter().position(|byte| *byte == 0xE0)?;
    bytes.get(at + 2).map(|code| Reason(*code))
}

#[test]
fn what_is_no_packet_ends_the_connection_with_the_reason() {
    let broker = TestBroker::start(1);
    let too_deep = [&[0x30, 22, 0, 1, b'a', 18, 0xA1, 0x18, 100][..], &[0x81; 14], &[0x80]].concat();
    // 32,768 bytes, of which nothing else is looked at.
    let too_long = [&[0x30, 0x86, 0x80, 0x02, 0, 1, b'a', 0x80, 0x80, 0x02][..], &[0; 32_768]].concat();
    let cases: &[(&str, &[u8], Reason)] = &[
        ("packet type 0", &[0x00, 0], Reason::MALFORMED_PACKET),
        ("five length bytes", &[0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x01], Reason::MALFORMED_PACKET),
        ("QoS 3", &[0x36, 5, 0, 1, b'a', 0, 1], Reason::MALFORMED_PACKET),
        ("a wildcard in a topic name", &[0x30, 4, 0, 1, b'#', 0], Reason::PROTOCOL_ERROR),
        ("packet identifier 0", &[0x32, 6, 0, 1, b'a', 0, 0, 0], Reason::MALFORMED_PACKET),
        ("DUP at QoS 0", &[0x38, 4, 0, 1, b'a', 0], Reason::MALFORMED_PACKET),
        ("packet identifier 0 of SUBSCRIBE", &[0x82, 6, 0, 0, 0, 1, b'a', 0], Reason::MALFORMED_PACKET),
        ("packet identifier 0 of PUBREL", &[0x62, 2, 0, 0], Reason::MALFORMED_PACKET),
        ("no topic filter", &[0x82, 2, 0, 1], Reason::MALFORMED_PACKET),
        ("a field that ends behind its packet", &[0x30, 3, 0, 9, b'a'], Reason::MALFORMED_PACKET),
        ("text that is not UTF-8", &[0x30, 4, 0, 1, 0xFF, 0], Reason::MALFORMED_PACKET),
        ("text with a surrogate", &[0x30, 6, 0, 3, 0xED, 0xA0, 0x80, 0], Reason::MALFORMED_PACKET),
        ("text with an overlong character", &[0x30, 5, 0, 2, 0xC0, 0xAF, 0], Reason::MALFORMED_PACKET),
        ("text with U+0000", &[0x30, 4, 0, 1, 0, 0], Reason::MALFORMED_PACKET),
        ("wrong flags of SUBSCRIBE", &[0x80, 6, 0, 1, 0, 1, b'a', 0], Reason::MALFORMED_PACKET),
        ("wrong flags of UNSUBSCRIBE", &[0xA0, 5, 0, 1, 0, 1, b'a'], Reason::MALFORMED_PACKET),
        ("wrong flags of PUBREL", &[0x60, 2, 0, 1], Reason::MALFORMED_PACKET),
        ("wrong flags of PUBACK", &[0x41, 2, 0, 1], Reason::MALFORMED_PACKET),
        ("wrong flags of PINGREQ", &[0xC4, 0], Reason::MALFORMED_PACKET),
        ("wrong flags of DISCONNECT", &[0xE8, 0], Reason::MALFORMED_PACKET),
        ("a second CONNECT", CONNECT_EXTENDED, Reason::PROTOCOL_ERROR),
        ("a server's packet", &[0x90, 4, 0, 1, 0, 0], Reason::PROTOCOL_ERROR),
        ("a dictionary that is too deep", &too_deep, Reason::MALFORMED_PACKET),
        ("a key twice in a dictionary", &[0x30, 9, 0, 1, b'a', 5, 0xA2, 10, 0xF5, 10, 0xF5], Reason::MALFORMED_PACKET),
        ("keys of a dictionary out of order", &[0x30, 9, 0, 1, b'a', 5, 0xA2, 14, 1, 10, 0xF5], Reason::MALFORMED_PACKET),
        ("a dictionary that ends behind its packet", &[0x30, 5, 0, 1, b'a', 5, 0xA1], Reason::MALFORMED_PACKET),
        ("a dictionary of indefinite length", &[0x30, 8, 0, 1, b'a', 4, 0xBF, 10, 0xF5, 0xFF], Reason::MALFORMED_PACKET),
        (
            "a dictionary that claims 2^64 entries",
            &[0x30, 13, 0, 1, b'a', 9, 0xBB, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF],
            Reason::MALFORMED_PACKET,
        ),
        ("a dictionary that is too long", &too_long, Reason::PACKET_TOO_LARGE),
        ("a confirm without an offer", &[0xF0, 2, 0x40, 0], Reason::PROTOCOL_ERROR),
    ];
    for (name, bytes, reason) in cases {
        assert_eq!(reason_of(&last_words(&broker, CONNECT_EXTENDED, bytes)), Some(*reason), "{name}");
        // What is a dictionary to one peer is payload to the other.
        if !name.contains("dictionary") && !bytes.starts_with(b"\x10") {
            assert_eq!(last_words(&broker, CONNECT, bytes), [0u8; 0], "{name}: a plain peer gets the close alone");
        }
    }
    broker.connect(Way::Plain, "others go on").leave();
}

#[test]
fn a_connect_that_is_none_ends_the_connection_and_never_opens_it() {
    let broker = TestBroker::start(1);
    // Behind the protocol's name and level: flags, keep alive, and the payload.
    let cases: &[(&str, &[u8])] = &[
        ("the reserved flag", &[0x03, 0, 0, 0, 1, b'h']),
        ("a will of QoS 3", &[0x1E, 0, 0, 0, 1, b'h', 0, 1, b'w', 0, 0]),
        ("QoS of no will", &[0x0A, 0, 0, 0, 1, b'h']),
        ("a password without a user", &[0x42, 0, 0, 0, 1, b'h', 0, 1, b'p']),
        ("an identifier that is not UTF-8", &[0x02, 0, 0, 0, 1, 0xFE]),
        ("an identifier with U+0000", &[0x02, 0, 0, 0, 1, 0]),
        ("a will on a wildcard", &[0x06, 0, 0, 0, 1, b'h', 0, 1, b'#', 0, 0]),
        ("a will on a topic that is not UTF-8", &[0x06, 0, 0, 0, 1, b'h', 0, 1, 0xFF, 0, 0]),
        ("a user that is not UTF-8", &[0x82, 0, 0, 0, 1, b'h', 0, 1, 0xFF]),
        ("a field that ends behind the packet", &[0x02, 0, 0, 0, 9, b'h']),
        ("bytes behind the last field", &[0x02, 0, 0, 0, 1, b'h', 0, b'x', b'y']),
    ];
    for (head, rest) in [(&b"\0\x04MQTT\x04"[..], &b""[..]), (b"\0\x06CANDOR\x01", b"\0")] {
        for (name, fields) in cases {
            let body = [head, fields, rest].concat();
            let mut stream = broker.raw();
            stream.write_all(&[&[0x10, body.len() as u8][..], &body].concat()).unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).unwrap_or_else(|error| panic!("{name}: no close: {error}, {answer:02x?}"));
            let is_refused = answer.first() == Some(&0x20) && answer.get(3).is_some_and(|code| *code != 0);
            assert!(answer.is_empty() || is_refused, "{name}: {answer:02x?}");
        }
    }
    broker.connect(Way::Plain, "others go on").leave();
}

#[test]
fn an_extended_key_out_of_its_range_is_refused_by_name_and_the_connection_goes_on_or_ends_as_its_packet_has_it() {
    let broker = TestBroker::start(1);
    // CONNECT with receive-maximum 0: refused, and the key named although nobody is known yet.
    let mut stream = broker.raw();
    stream.write_all(&[0x10, 19, 0, 6, b'C', b'A', b'N', b'D', b'O', b'R', 1, 2, 0, 0, 0, 1, b'h', 3, 0xA1, 16, 0]).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert_eq!(answer.get(3), Some(&Reason::KEY_NOT_ALLOWED.0), "{answer:02x?}");
    assert!(answer.windows(24).any(|text| text == b"key 16 (receive-maximum)"), "{answer:02x?}");
    let mut client = broker.connect(Way::Extended, "client");
    let hop = Dictionary::with(property::MESSAGE_EXPIRY_INTERVAL, &0);
    let message = candor_protocol::packet::Message::publish("a", "x").unwrap();
    let refusal = client.publish_with(message, Qos::AtLeastOnce, false, hop).unwrap().refusal().unwrap();
    assert_eq!(refusal.reason, Reason::KEY_NOT_ALLOWED);
    assert_eq!(refusal.problem.field.as_deref(), Some("key 14 (message-expiry-interval)"));
    assert_eq!(client.publish("a", "x", Qos::AtLeastOnce).unwrap().refusal(), None);
}

#[test]
fn bytes_that_complete_no_packet_are_no_sign_of_life() {
    let broker = TestBroker::start(1);
    for connect in [CONNECT, CONNECT_EXTENDED] {
        let mut connect = connect.to_vec();
        // Keep alive: one second.
        let keep_alive_at = connect.iter().position(|byte| *byte == 2).unwrap() + 2;
        connect[keep_alive_at] = 1;
        let mut stream = broker.raw();
        stream.write_all(&connect).unwrap();
        // The head of a PUBLISH of 200 bytes, and one byte now and then.
        stream.write_all(&[0x30, 0xC8, 0x01]).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let until = std::time::Instant::now() + DEADLINE;
        let mut answer = [0; 100];
        while !matches!(stream.read(&mut answer), Ok(0)) {
            assert!(std::time::Instant::now() < until, "the connection lives on");
            if stream.write_all(&[0]).is_err() {
                break;
            }
        }
    }
}

#[test]
fn a_packet_over_the_limit_is_refused_by_its_header_alone() {
    let broker = TestBroker::with(Settings::default(), ServerPolicy { packet_size_max: 1000, ..policy() }, false);
    let answer = last_words(&broker, CONNECT_EXTENDED, &[0x30, 0xFF, 0xFF, 0xFF, 0x7F]);
    assert_eq!(reason_of(&answer), Some(Reason::PACKET_TOO_LARGE));
    let mut stream = broker.raw();
    stream.write_all(&[0x10, 0xFF, 0xFF, 0xFF, 0x7F]).unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, [0u8; 0]);
}

#[test]
fn a_connection_that_does_not_get_to_its_connect_is_closed_in_time() {
    let broker = TestBroker::with(Settings::default(), ServerPolicy { connect_timeout_ms: 300, ..policy() }, false);
    for bytes in [&b""[..], &CONNECT[..5]] {
        let mut stream = broker.raw();
        stream.write_all(bytes).unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, [0u8; 0]);
    }
    // One byte now and then does not put the deadline off.
    let mut stream = broker.raw();
    stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let until = std::time::Instant::now() + DEADLINE;
    let closed = CONNECT.iter().cycle().any(|byte| {
        assert!(std::time::Instant::now() < until);
        let mut answer = [0];
        stream.write_all(&[*byte]).is_err() || matches!(stream.read(&mut answer), Ok(0))
    });
    assert!(closed);
}

#[test]
fn a_connect_may_come_byte_by_byte_and_garbage_never_hurts() {
    let broker = TestBroker::start(1);
    let mut stream = broker.raw();
    for byte in CONNECT {
        stream.write_all(&[*byte]).unwrap();
    }
    let mut connack = [0; 4];
    stream.read_exact(&mut connack).unwrap();
    assert_eq!(connack, [0x20, 2, 0, 0]);
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0x16, 3, 1, 0, 5, 1, 2, 3, 4, 5], &[0xFF; 300], &[0; 300]] {
        let mut stream = broker.raw();
        stream.write_all(garbage).unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, [0u8; 0]);
    }
}

#[test]
fn a_window_that_is_overrun_ends_an_extended_connection() {
    let broker = TestBroker::with(Settings::default(), ServerPolicy { receive_window: 2, ..policy() }, false);
    // With the memory engine every message is settled at once, so the window never fills; QoS 2 messages that are not
    // released fill it on the sender's side, which is what the client keeps to.
    let mut client = broker.connect(Way::Extended, "eager");
    assert_eq!(client.session.terms().send_window, 2);
    for n in 0..10 {
        assert!(client.publish("w", &n.to_string(), Qos::ExactlyOnce).is_some());
    }
    client.leave();
}

#[test]
fn a_subscriber_that_never_reads_loses_its_own_messages_and_is_told_how_many() {
    let queue = QueueLimits { len_max: 100, bytes_max: 1024 * 1024, overflow: Overflow::DropOldest };
    let settings = Settings { queue, out_bytes_max: 64 * 1024, ..Settings::default() };
    for way in Way::ALL {
        let broker = TestBroker::with(settings.clone(), policy(), false);
        flood_one_that_sleeps(&broker, way);
        broker.stop();
    }
}

fn flood_one_that_sleeps(broker: &TestBroker, way: Way) {
    let mut asleep = broker.connect(way, "asleep");
    asleep.subscribe("flood", Qos::AtMostOnce);
    let mut awake = broker.connect(Way::Plain, "awake");
    awake.subscribe("flood", Qos::AtMostOnce);
    let mut publisher = broker.connect(Way::Plain, "publisher");
    let payload = "x".repeat(8 * 1024);
    let total = 3000;
    for n in 0..total {
        publisher.publish("flood", &payload, if n % 50 == 49 { Qos::AtLeastOnce } else { Qos::AtMostOnce });
        if n % 50 == 49 {
            awake.until(|client| client.messages.len() == n + 1);
        }
    }
    awake.until(|client| client.messages.len() == total);
    if !way.is_extended() {
        // Nobody can tell it; what it gets is the same, and no more than what fits.
        asleep.settle_down();
        assert!((1..total).contains(&asleep.messages.len()), "{}", asleep.messages.len());
        return;
    }
    asleep.until(|client| client.notices.iter().any(|notice| notice.reason == Reason::GAP));
    asleep.settle_down();
    let gap: u64 = asleep.notices.iter().filter_map(|notice| notice.dictionary.value(property::COUNT)).sum();
    assert_eq!(asleep.messages.len() as u64 + gap, total as u64);
    assert!(gap > 0);
}

#[test]
fn an_absent_session_keeps_the_newest_and_is_told_of_the_gap() {
    for way in [Way::Extended, Way::Offer] {
        let queue = QueueLimits { len_max: 10, bytes_max: 1024 * 1024, overflow: Overflow::DropOldest };
        let broker = TestBroker::with(Settings { queue, ..Settings::default() }, policy(), false);
        let mut settings = stored(way, "away");
        if let Some(offer) = &mut settings.offer {
            offer.dictionary = Dictionary::with(property::SESSION_EXPIRY_INTERVAL, &3600);
        }
        let mut client = broker.connect_with(settings.clone());
        client.subscribe("away", Qos::AtLeastOnce);
        let parked = client.drop_connection();
        let mut publisher = broker.connect(Way::Plain, "publisher");
        for n in 0..25 {
            publisher.publish("away", &n.to_string(), Qos::AtLeastOnce);
        }
        let mut client = support::Client::resume(&broker.address, settings, parked);
        client.until(|client| !client.notices.is_empty() && client.messages.len() == 10);
        assert_eq!(client.notices[0].dictionary.value(property::COUNT), Some(15));
        assert_eq!(client.notices[0].dictionary.value(property::REASON), Some(u64::from(Reason::QUEUE_OVERFLOW.0)));
        assert_eq!(client.expect(1), ["away 15"]);
    }
}

#[test]
fn a_client_that_falls_silent_is_closed_after_one_and_a_half_intervals() {
    let broker = TestBroker::start(1);
    for way in Way::ALL {
        let mut settings = way.settings("silent");
        settings.connect.keep_alive_s = 1;
        settings.connect.will = support::with_will(way.settings("x"), "silent/will", false).connect.will;
        let mut watcher = broker.connect(Way::Plain, "watcher");
        watcher.subscribe("silent/#", Qos::AtMostOnce);
        let mut client = broker.connect_with(settings);
        match client.expect_close() {
            Cause::PeerLeft { reason, .. } => assert_eq!(reason, Reason::KEEP_ALIVE_TIMEOUT),
            cause => assert!(!way.is_extended(), "{cause:?}"),
        }
        assert_eq!(watcher.expect(1), ["silent/will gone"]);
    }
}

/// Who sends without end takes its turn with the others: it is not read to its end before anybody looks at them.
#[test]
fn a_flood_leaves_others_their_turn() {
    const PINGS: usize = 150_000;
    let broker = TestBroker::start(1);
    let mut honest = broker.connect(Way::Extended, "honest");
    let mut flood = broker.raw();
    flood.write_all(CONNECT).unwrap();
    flood.read_exact(&mut [0; 4]).unwrap();
    let mut writer = flood.try_clone().unwrap();
    let sending = std::thread::spawn(move || writer.write_all(&[0xC0, 0].repeat(PINGS)));
    flood.read_exact(&mut [0; 2]).unwrap();
    honest.ping(Dictionary::EMPTY);
    flood.set_nonblocking(true).unwrap();
    let (mut answered, mut buffer) = (2, [0; 65_536]);
    while let Ok(len @ 1..) = flood.read(&mut buffer) {
        answered += len;
    }
    assert!(answered < 2 * PINGS, "all of the flood was answered first");
    sending.join().unwrap().unwrap();
}
