//! `candor explain`: what people see, what programs read, and that no input does harm.

#![allow(clippy::unwrap_used, clippy::panic, reason = "functions that tests share")]

use candor_client::explain::{BadInput, DialectChoice, ExplainOptions, Explained, INPUT_LEN_MAX, InputForm, Output, SenderChoice, run};
use candor_protocol::codec::dictionary::{Dictionary, MapBuilder, write_text};
use candor_protocol::dialect::Dialect;
use candor_protocol::dialect::offer::{Accept, OFFER_ID, Offer, TranscriptHash};
use candor_protocol::dialect::write::to_bytes;
use candor_protocol::packet::legality::Role::{self, Client, Server};
use candor_protocol::packet::property::*;
use candor_protocol::packet::subscribe::items_of;
use candor_protocol::packet::*;
use serde_json::Value;

fn explain(options: &ExplainOptions, input: impl AsRef<[u8]>) -> (Explained, String) {
    let mut out = Vec::new();
    let explained = run(options, input.as_ref(), &mut out).unwrap();
    (explained, String::from_utf8(out).unwrap())
}

fn text(input: impl AsRef<[u8]>) -> String {
    explain(&ExplainOptions::default(), input).1
}

fn json(input: impl AsRef<[u8]>) -> Value {
    let options = ExplainOptions { output: Output::Json, ..ExplainOptions::default() };
    serde_json::from_str(&explain(&options, input).1).unwrap()
}

fn wire(dialect: Dialect, sender: Role, packet: Packet) -> Vec<u8> {
    to_bytes(dialect, sender, &packet).unwrap().to_vec()
}

fn id(id: u16) -> PacketId {
    PacketId::new(id).unwrap()
}

fn connect(dialect: Dialect) -> Vec<u8> {
    let message = Message::publish("state/kitchen", "gone").unwrap();
    let extended = dialect.is_extended();
    let mut map = MapBuilder::new();
    map.set(SESSION_EXPIRY_INTERVAL, &86_400).set(RECEIVE_MAXIMUM, &100);
    let packet = Connect {
        dialect,
        clean_session: true,
        keep_alive_s: 60,
        client_id: "kitchen-7".to_owned(),
        will: Some(Will { message, qos: Qos::AtLeastOnce, retain: true, dictionary: Dictionary::EMPTY }),
        user_name: Some("ann".to_owned()),
        password: Some("secret".into()),
        dictionary: if extended { map.finish() } else { Dictionary::EMPTY },
    };
    wire(dialect, Client, Packet::Connect(Box::new(packet)))
}

fn problem() -> Dictionary {
    let retry = Retry::After { after_ms: 90_000, jitter_ms: 500 };
    Dictionary::with(PROBLEM, &Problem::titled("no rule allows it").rule("sensors only").retry(retry).to_dictionary())
}

fn publish() -> Vec<u8> {
    let mut map = MapBuilder::new();
    map.set(CONTENT_TYPE, &"application/json".to_owned()).put_text("unit", |out| write_text(out, "°C"));
    let message = Message::new(&TopicName::new("sensors/kitchen").unwrap(), &map.finish(), br#"{"t":21.5}"#);
    let mut hop = MapBuilder::new();
    hop.set(MINIMUM_DURABILITY, &2).set(RECEIPT_REQUEST, &true).put(1000, |out| out.push(7));
    wire(Dialect::Extended, Client, Packet::Publish(Publish::new(message, Qos::AtLeastOnce, false, Some(id(9)), &hop.finish())))
}

fn confirm(accept: &[u8]) -> Vec<u8> {
    let dictionary = Dictionary::with(CONFIRM_HASH, &Accept::confirm_hash(accept));
    wire(Dialect::Extended, Client, Packet::Notice(Notice { reason: Reason::CONFIRM, dictionary }))
}

/// CONNECT, offer and PINGREQ of a client, and the accept of the server.
fn negotiation() -> (Vec<u8>, Vec<u8>, Vec<u8>) {
    let connect = connect(Dialect::V311);
    let offer = Offer { nonce: [7; 16], dictionary: Dictionary::with(RECEIVE_MAXIMUM, &20) };
    let offer = wire(Dialect::V311, Client, Packet::Unsubscribe(Box::new(offer.to_packet("kitchen-7").unwrap())));
    let hash = TranscriptHash::of(&connect, &offer);
    let accept = Accept { nonce: [7; 16], hash, session_present: false, dictionary: Dictionary::with(SESSION_STATE, &1) }.to_bytes();
    let mut asked = [connect, offer].concat();
    asked.extend([0xC0, 0x00]);
    let unsuback = UnsubAck { id: OFFER_ID, reasons: Vec::new(), dictionary: Dictionary::EMPTY, accept: accept.clone() };
    (asked, wire(Dialect::V311, Server, Packet::UnsubAck(Box::new(unsuback))), accept.to_vec())
}

#[test]
fn a_plain_client_is_explained_from_connect_to_disconnect() {
    let mut input = connect(Dialect::V311);
    let message = Message::publish("sensors/kitchen", "21.5").unwrap();
    input.extend(wire(
        Dialect::V311,
        Client,
        Packet::Publish(Publish::new(message, Qos::ExactlyOnce, true, Some(id(1)), &Dictionary::EMPTY)),
    ));
    input.extend([0xC0, 0x00, 0xE0, 0x00]);
    insta::assert_snapshot!(text(input));
}

#[test]
fn an_extended_connect_is_explained() {
    insta::assert_snapshot!(text(connect(Dialect::Extended)));
}

#[test]
fn a_connect_of_mqtt_3_1_is_explained() {
    insta::assert_snapshot!(text(connect(Dialect::V31)));
}

#[test]
fn a_refused_connack_is_explained_in_both_dialects() {
    let packet = || Packet::ConnAck(Box::new(ConnAck::refused(Reason::NOT_AUTHORIZED, problem())));
    let both = [Dialect::V311, Dialect::Extended].map(|dialect| text(wire(dialect, Server, packet())));
    insta::assert_snapshot!(both.join("\n"));
}

#[test]
fn a_publish_with_a_dictionary_and_a_message_map_is_explained() {
    insta::assert_snapshot!(text(publish()));
}

#[test]
fn a_puback_tells_its_problem() {
    insta::assert_snapshot!(text(wire(Dialect::Extended, Server, Packet::PubAck(Ack::new(id(9), Reason::NOT_AUTHORIZED, problem())))));
}

#[test]
fn a_suback_tells_each_filter_its_own() {
    let reasons = vec![Reason::GRANTED_QOS_1, Reason::NOT_AUTHORIZED];
    let dictionary = items_of([Dictionary::EMPTY, problem()]);
    insta::assert_snapshot!(text(wire(Dialect::Extended, Server, Packet::SubAck(Box::new(SubAck { id: id(3), reasons, dictionary })))));
}

#[test]
fn a_notice_is_explained() {
    let mut map = MapBuilder::new();
    map.set(COUNT, &12).set(REASON, &0xC8).set(TOPIC, &"sensors/kitchen".to_owned());
    insta::assert_snapshot!(text(wire(
        Dialect::Extended,
        Server,
        Packet::Notice(Notice { reason: Reason::GAP, dictionary: map.finish() })
    )));
}

#[test]
fn an_offer_is_followed_into_the_extended_dialect() {
    let (asked, _, accept) = negotiation();
    let input = [asked, confirm(&accept), publish()].concat();
    insta::assert_snapshot!(text(input));
}

#[test]
fn what_is_wrong_stands_below_the_bytes_it_is_about() {
    // A reserved QoS, bad UTF-8, a topic longer than its packet, a packet identifier of 0, bad filters.
    insta::assert_snapshot!(text(
        "36 05 0001 61 0001 | 30 05 0003 61ff62 | 30 05 0009 616263 | 40 02 0000 \
         82 14 0001 0003 612b62 01 0004 612f232b 03 0001 61 00"
    ));
}

#[test]
fn a_broken_dictionary_is_explained_up_to_the_break_and_behind_it() {
    let options = ExplainOptions { dialect: DialectChoice::Given(Dialect::Extended), ..ExplainOptions::default() };
    // A key twice; a tag inside the message map; a key that a client may not write.
    let input =
        "32 0e 0001 61 0009 07 a3 0a f5 0a f5 0e 01 68\n30 0d 0001 61 07 a1 00 44 a1 02 c0 00 68 69\n30 0a 0001 61 05 a1 18 2e 03 05 68";
    insta::assert_snapshot!(explain(&options, input).1);
}

#[test]
fn a_packet_that_is_cut_off_says_how_many_bytes_are_missing() {
    insta::assert_snapshot!(text("c000 30 14 0003 612f62 68 65"));
    let explained = explain(&ExplainOptions::default(), "30 14 0003 612f62 68 65").0;
    assert_eq!((explained.exit_status(), explained), (1, Explained::Faulty));
}

#[test]
fn a_narrow_terminal_gets_narrow_lines() {
    for width in [0, 60, 72, 80, 92, 100, 500] {
        let options = ExplainOptions { output: Output::Text { width, color: false, brief: false }, ..ExplainOptions::default() };
        for input in [publish(), connect(Dialect::Extended), b"82 14 0001 0003 612b62 01 0004 612f232b 03 0001 61 00".to_vec()] {
            let (_, out) = explain(&options, input);
            let longest = out.lines().map(|line| line.chars().count()).max().unwrap();
            assert!(longest <= width.clamp(60, 100), "{longest} columns of {width}:\n{out}");
        }
    }
}

#[test]
fn brief_leaves_out_bits_and_meanings() {
    let options = ExplainOptions { output: Output::Text { width: 72, color: false, brief: true }, ..ExplainOptions::default() };
    insta::assert_snapshot!(explain(&options, publish()).1);
}

#[test]
fn colours_are_there_only_when_asked_for_and_change_nothing_else() {
    let with = |color| ExplainOptions { output: Output::Text { width: 100, color, brief: false }, ..ExplainOptions::default() };
    let input = [publish(), vec![0x40, 0x02, 0, 0]].concat();
    let (plain, colored) = (explain(&with(false), &input).1, explain(&with(true), &input).1);
    assert!(!plain.contains('\u{1b}') && colored.contains("\u{1b}[1;31m"));
    let mut bare = String::new();
    for part in colored.split("\u{1b}[") {
        bare.push_str(if bare.is_empty() && !colored.starts_with('\u{1b}') {
            part
        } else {
            part.split_once('m').map_or(part, |(_, text)| text)
        });
    }
    // Inside colours, lines may be filled up with spaces.
    let trimmed = |text: &str| text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
    assert_eq!(trimmed(&bare), trimmed(&plain));
}

#[test]
fn programs_read_the_same_content() {
    let input =
        [wire(Dialect::Extended, Server, Packet::PubAck(Ack::new(id(9), Reason::NOT_AUTHORIZED, problem()))), vec![0x40, 2, 0, 0, 0xD0]];
    let options = ExplainOptions { output: Output::Json, ..ExplainOptions::default() };
    let (explained, out) = explain(&options, input.concat());
    assert_eq!(explained, Explained::Faulty);
    insta::assert_snapshot!(serde_json::to_string_pretty(&serde_json::from_str::<Value>(&out).unwrap()).unwrap());
}

#[test]
fn the_fields_of_the_json_cover_every_byte() {
    let input = [connect(Dialect::Extended), publish(), vec![0x40, 2, 0, 0, 0xD0]].concat();
    let options = ExplainOptions { output: Output::Json, show_secrets: true, ..ExplainOptions::default() };
    let said: Value = serde_json::from_str(&explain(&options, &input).1).unwrap();
    let packets = said["packets"].as_array().unwrap();
    let fields = packets.iter().flat_map(|packet| packet["annotations"].as_array().unwrap()).filter(|row| row["part"] == "field");
    let digits: String = fields.map(|row| row["hex"].as_str().unwrap()).collect();
    assert_eq!(digits, input.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
}

#[test]
fn a_password_is_shown_only_when_asked_for() {
    let secret = "73 65 63 72 65 74";
    let input = connect(Dialect::V311);
    let hidden = text(&input);
    assert!(!hidden.contains(secret) && !hidden.contains("secret") && hidden.contains("Password: 6 bytes, hidden"), "{hidden}");
    assert!(!json(&input).to_string().contains(&secret.replace(' ', "")));
    let shown = explain(&ExplainOptions { show_secrets: true, ..ExplainOptions::default() }, &input).1;
    assert!(shown.contains(secret), "{shown}");
}

#[test]
fn the_dialect_is_decided_as_it_is_said() {
    let decided = |input: &[u8]| {
        let said = json(input);
        (said["dialect"].as_str().unwrap().to_owned(), said["dialect_why"].as_str().unwrap().to_owned())
    };
    let decided_hex = |input: &str| decided(input.as_bytes());
    let said = |dialect: &str, why: &str| (dialect.to_owned(), why.to_owned());
    for (dialect, name) in
        [(Dialect::V31, "\"MQIsdp\", level 3"), (Dialect::V311, "\"MQTT\", level 4"), (Dialect::Extended, "\"CANDOR\", level 1")]
    {
        assert_eq!(decided(&connect(dialect)), said(dialect.name(), &format!("CONNECT says {name}")));
    }
    assert_eq!(
        decided_hex("10 0d 0004 4d515454 05 02 0000 00 0000"),
        said("3.1.1", "CONNECT asks for level 5 (MQTT 5.0), which is not served; the rest is read as 3.1.1")
    );
    assert_eq!(decided_hex("40 02 0009"), said("3.1.1", "no CONNECT; this packet is the same in the extended dialect"));
    assert_eq!(decided_hex("c000 d000"), said("3.1.1", "no CONNECT; these packets are the same in the extended dialect"));
    assert_eq!(decided_hex("30 04 0001 61 68"), said("3.1.1", "no CONNECT; well formed in 3.1.1 and not in the extended dialect"));
    assert_eq!(decided_hex("30 05 0001 61 00 68"), said("3.1.1", "no CONNECT; extended is possible too: see --dialect extended"));
    assert_eq!(
        decided_hex("30 07 0001 61 03 a1 00 40"),
        said("extended", "no CONNECT; 3.1.1 is possible too, with a payload that looks like a dictionary: see --dialect 3.1.1")
    );
    assert_eq!(
        decided_hex("c000 40 03 0009 87"),
        said(
            "extended",
            "no CONNECT; well formed in the extended dialect and not in 3.1.1 (packet 2, byte 6: bytes follow the last field of the packet)"
        )
    );
    assert_eq!(
        decided_hex("40 02 0000"),
        said(
            "3.1.1",
            "no CONNECT; malformed in both dialects, and extended reads no more of it (packet 1, byte 2: the packet identifier is 0)"
        )
    );
    assert_eq!(
        decided_hex("40 03 0009 87 40 02 0000"),
        said(
            "extended",
            "no CONNECT; malformed in both dialects, and 3.1.1 reads no more of it (packet 1, byte 4: bytes follow the last field of the packet)"
        )
    );
}

#[test]
fn the_sender_is_what_the_packet_types_tell() {
    let told = |input: &str| {
        let said = json(input);
        let each: Vec<_> = said["packets"].as_array().unwrap().iter().map(|packet| packet["sender"].as_str().map(str::to_owned)).collect();
        (said["sender_why"].as_str().unwrap().to_owned(), each)
    };
    let some = |name: &str| Some(name.to_owned());
    assert_eq!(told("40 02 0009 c000"), ("PINGREQ comes from the client".to_owned(), vec![some("client"), some("client")]));
    assert_eq!(told("c000 40 02 0009 d000"), ("both ends: PINGREQ and PINGRESP".to_owned(), vec![some("client"), None, some("server")]));
    assert_eq!(told("40 02 0009"), ("either end sends such packets; --sender says which".to_owned(), vec![None]));
    let options = ExplainOptions { sender: SenderChoice::Given(Server), ..ExplainOptions::default() };
    let (explained, out) = explain(&options, "c000");
    assert_eq!(explained, Explained::Faulty);
    assert!(out.contains("REFUSED at byte 0: a server does not send PINGREQ"), "{out}");
}

#[test]
fn a_server_that_accepted_an_offer_is_followed_too() {
    let (_, unsuback, _) = negotiation();
    let refusal = wire(Dialect::Extended, Server, Packet::PubAck(Ack::new(id(9), Reason::NOT_AUTHORIZED, problem())));
    let said = json([&[0x20, 2, 0, 0][..], &unsuback, &[0xD0, 0], &refusal].concat());
    let dialects: Vec<_> = said["packets"].as_array().unwrap().iter().map(|packet| packet["dialect"].as_str().unwrap()).collect();
    assert_eq!(dialects, ["3.1.1", "3.1.1", "3.1.1", "extended"]);
    // Without a confirm the connection may have stayed plain.
    let said = json([&[0x20, 2, 0, 0][..], &unsuback, &[0xD0, 0], &[0x90, 3, 0, 9, 0]].concat());
    assert_eq!(said["packets"][3]["dialect"], "3.1.1");
}

#[test]
fn input_that_is_not_bytes_of_packets_is_unusable_and_says_where() {
    for (input, message) in [
        (&b""[..], "there is no byte to explain"),
        (b"  \n ", "there is no byte to explain"),
        (b"c0 00\n c0 0x0 0z", "line 2, column 7: the digit '0' has no pair"),
        (b"c0 00\n c0 zz", "line 2, column 5: 'z' is no hexadecimal digit; allowed are the digits 0-9, a-f and A-F"),
    ] {
        let (explained, out) = explain(&ExplainOptions::default(), input);
        let Explained::Unusable(error) = &explained else { panic!("{explained:?}") };
        assert!(error.to_string().starts_with(message), "{error}");
        assert_eq!((explained.exit_status(), out.as_str()), (2, ""));
        assert_eq!(json(input)["unusable"].as_str().unwrap(), error.to_string());
    }
    let too_long = vec![0xC0; INPUT_LEN_MAX + 1];
    assert_eq!(explain(&ExplainOptions::default(), too_long).0, Explained::Unusable(BadInput::TooLong { len: INPUT_LEN_MAX + 1 }));
}

#[test]
fn a_file_is_read_as_raw_bytes_or_as_hexadecimal_text() {
    let raw = connect(Dialect::V311);
    let digits: String = raw.iter().map(|byte| format!("0x{byte:02X}, ")).collect();
    assert_eq!(text(&raw), text(digits));
    let forced = ExplainOptions { form: InputForm::Raw, ..ExplainOptions::default() };
    assert_ne!(explain(&forced, "c000").1, text("c000"));
}

#[test]
fn the_flags_of_the_command_line_are_parsed_here() {
    assert_eq!("auto".parse(), Ok(DialectChoice::Auto));
    assert_eq!("3.1".parse(), Ok(DialectChoice::Given(Dialect::V31)));
    assert_eq!("3.1.1".parse(), Ok(DialectChoice::Given(Dialect::V311)));
    assert_eq!("extended".parse(), Ok(DialectChoice::Given(Dialect::Extended)));
    assert_eq!("5".parse::<DialectChoice>(), Err("`5` is not a dialect; allowed: auto, 3.1, 3.1.1, extended".to_owned()));
    assert_eq!("server".parse(), Ok(SenderChoice::Given(Server)));
    assert_eq!("broker".parse::<SenderChoice>(), Err("`broker` is not a sender; allowed: auto, client, server".to_owned()));
}

/// A generator of bytes that repeats for a seed (xorshift64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

#[test]
fn no_input_does_harm() {
    let seed = std::process::id() as u64 | 0x9E37_79B9_0000_0000;
    println!("seed {seed:#x}");
    let mut random = Random(seed);
    let (asked, unsuback, accept) = negotiation();
    let seeds = [asked, unsuback, confirm(&accept), publish(), connect(Dialect::Extended), b"c0 00 0x30, 03\n0001:61|".to_vec()];
    for round in 0..800 {
        let mut input: Vec<u8> = (0..1 + random.below(3)).flat_map(|_| seeds[random.below(seeds.len())].clone()).collect();
        for _ in 0..random.below(6) {
            let at = random.below(input.len());
            input[at] = random.next() as u8;
        }
        if random.below(3) == 0 {
            input.truncate(random.below(input.len()));
        }
        for output in [Output::default(), Output::Text { width: 60, color: false, brief: round % 2 == 0 }, Output::Json] {
            let dialect = [DialectChoice::Auto, DialectChoice::Given(Dialect::ALL[round % 3])][round % 2];
            let options = ExplainOptions { output, dialect, ..ExplainOptions::default() };
            let (explained, out) = explain(&options, &input);
            assert!(!out.contains(|c: char| c.is_control() && c != '\n'), "a control character from {input:02x?}");
            match output {
                Output::Json => assert!(serde_json::from_str::<Value>(&out).is_ok(), "{out}"),
                Output::Text { .. } => assert_eq!(out.is_empty(), matches!(explained, Explained::Unusable(_))),
            }
        }
    }
}
