//! `tables.json`: every reason and every registered key against every packet, written from the tables of the crate and
//! replayed in every cell. After a change of a table, write it anew with `CANDOR_WRITE_VECTORS=1`; the difference shows
//! what the change means on the wire.

use crate::case::{files, folder, role_name, unhex};
use crate::lowering::reasons_of;
use crate::view::hex;
use bytes::BytesMut;
use candor_protocol::codec::cursor::put_varint;
use candor_protocol::codec::dictionary::{Dictionary, Limits, MapBuilder, write_bool, write_bytes, write_head, write_text};
use candor_protocol::codec::error::Malformed;
use candor_protocol::codec::frame::Frame;
use candor_protocol::dialect::Dialect;
use candor_protocol::dialect::read::raise;
use candor_protocol::packet::legality::{Role, check_keys, check_message_keys};
use candor_protocol::packet::property::{
    ITEMS, KeyInfo, MESSAGE_EXPIRY_INTERVAL, MESSAGE_KEYS, PACKET_KEYS, Range, ValueType, WILL, Writer,
};
use candor_protocol::packet::{Kind, Reason};
use serde_json::{Value, json};

/// Every packet with a reason, extended: `RR` is the reason.
const REASON_TEMPLATES: [(Kind, &str); 9] = [
    (Kind::ConnAck, "20 03 00 RR 00"),
    (Kind::PubAck, "40 04 0001 RR 00"),
    (Kind::PubRec, "50 04 0001 RR 00"),
    (Kind::PubRel, "62 04 0001 RR 00"),
    (Kind::PubComp, "70 04 0001 RR 00"),
    (Kind::SubAck, "90 04 0001 00 RR"),
    (Kind::UnsubAck, "b0 04 0001 00 RR"),
    (Kind::Disconnect, "e0 02 RR 00"),
    (Kind::Notice, "f0 02 RR 00"),
];

/// Every extended packet: first byte and body; `DD` is the dictionary with its length.
const CARRIERS: [(Kind, &str, &str); 15] = [
    (Kind::Connect, "10", "0006 43414e444f52 01 02 003c 0001 63 DD"),
    (Kind::ConnAck, "20", "00 00 DD"),
    (Kind::Publish, "30", "0001 61 DD"),
    (Kind::PubAck, "40", "0001 00 DD"),
    (Kind::PubRec, "50", "0001 00 DD"),
    (Kind::PubRel, "62", "0001 00 DD"),
    (Kind::PubComp, "70", "0001 00 DD"),
    (Kind::Subscribe, "82", "0001 DD 0001 61 00"),
    (Kind::SubAck, "90", "0001 DD 00"),
    (Kind::Unsubscribe, "a2", "0001 DD 0001 61"),
    (Kind::UnsubAck, "b0", "0001 DD 00"),
    (Kind::PingReq, "c0", "DD"),
    (Kind::PingResp, "d0", "DD"),
    (Kind::Disconnect, "e0", "00 DD"),
    (Kind::Notice, "f0", "80 DD"),
];

const ABOUT: &str =
    "Every reason and every registered key against every packet of the extended dialect, written from the tables of candor-protocol.";

const ROLES: [Role; 2] = [Role::Client, Role::Server];

/// Ranges of the codes for which `holds`, as `0x10` or `0x10-0x1F`.
fn ranges(holds: impl Fn(u8) -> bool) -> Vec<String> {
    let mut ranges: Vec<(u8, u8)> = Vec::new();
    for code in (0..=0xFF).filter(|code| holds(*code)) {
        match ranges.last_mut() {
            Some((_, to)) if *to + 1 == code => *to = code,
            _ => ranges.push((code, code)),
        }
    }
    ranges.iter().map(|(from, to)| if from == to { format!("0x{from:02X}") } else { format!("0x{from:02X}-0x{to:02X}") }).collect()
}

/// A number, or a byte string of that length.
fn sized(row: &KeyInfo, size: u64) -> Vec<u8> {
    let mut out = Vec::new();
    match row.range {
        Range::Number(..) => write_head(&mut out, 0, size),
        _ => write_bytes(&mut out, &vec![7; size as usize]),
    }
    out
}

/// Values at the ends of a key's range, and beside them.
fn edges(row: &KeyInfo) -> (Vec<u64>, Vec<u64>) {
    match row.range {
        Range::Any => (vec![], vec![]),
        Range::Number(min, max) | Range::Length(min, max) => (vec![min, max], min.checked_sub(1).into_iter().chain([max + 1]).collect()),
    }
}

/// A value of the type, as small as it can be and still be of use.
fn sample(row: &KeyInfo) -> Vec<u8> {
    if let Range::Number(min, _) | Range::Length(min, _) = row.range {
        return sized(row, min.max(1));
    }
    let mut out = Vec::new();
    let inner = |number: i64, value: fn(&mut Vec<u8>), out: &mut Vec<u8>| MapBuilder::new().put(number, value).write(out);
    match row.value {
        ValueType::Unsigned => write_head(&mut out, 0, 1),
        ValueType::Bool => write_bool(&mut out, true),
        ValueType::Text => write_text(&mut out, "x"),
        ValueType::Bytes if row.number == 0 => write_bytes(&mut out, &[0xA1, 0x00, 0x01]),
        ValueType::Bytes => write_bytes(&mut out, &[1]),
        ValueType::TextArray => out.extend([0x81, 0x61, b'x']),
        ValueType::Map if row.number == ITEMS.number => inner(0, |out| out.push(0xA0), &mut out),
        ValueType::Map if row.number == WILL.number => inner(MESSAGE_EXPIRY_INTERVAL.number, |out| out.push(1), &mut out),
        ValueType::Map => inner(0, |out| out.push(1), &mut out),
    }
    out
}

fn dictionary_of(number: i64, value: &[u8]) -> Dictionary {
    MapBuilder::new().put(number, |out| out.extend(value)).finish()
}

fn may_write(writer: Writer, role: Role) -> bool {
    matches!((writer, role), (Writer::Both, _) | (Writer::Client, Role::Client) | (Writer::Server, Role::Server))
}

/// The packets in which `role` may write the key.
fn allowed(row: &KeyInfo, role: Role) -> Vec<&'static str> {
    if may_write(row.writer, role) { row.packets.iter().map(Kind::name).collect() } else { vec![] }
}

fn reasons() -> Vec<Value> {
    let row = |(kind, hex): &(Kind, &str)| {
        json!({
            "packet": kind.name(), "hex": hex,
            "pass": ranges(|code| Reason(code).allowed_in(*kind)), "fail": ranges(|code| !Reason(code).allowed_in(*kind)),
        })
    };
    REASON_TEMPLATES.iter().map(row).collect()
}

fn carriers() -> Vec<Value> {
    CARRIERS.iter().map(|(kind, first, body)| json!({ "packet": kind.name(), "first": first, "body": body })).collect()
}

fn keys() -> Vec<Value> {
    let values = |row: &KeyInfo, edges: Vec<u64>| -> Vec<String> {
        edges.into_iter().map(|edge| hex(dictionary_of(row.number, &sized(row, edge)).as_bytes())).collect()
    };
    let key = |registry: &str, row: &KeyInfo| {
        json!({
            "registry": registry, "number": row.number, "name": row.name, "type": row.value.name(), "critical": row.is_critical(),
            "dictionary": hex(dictionary_of(row.number, &sample(row)).as_bytes()),
            "client": allowed(row, Role::Client), "server": allowed(row, Role::Server),
            "in-range": values(row, edges(row).0), "out-of-range": values(row, edges(row).1),
        })
    };
    PACKET_KEYS.iter().map(|row| key("packet", row)).chain(MESSAGE_KEYS.iter().map(|row| key("message", row))).collect()
}

/// The whole file, one row a line.
fn written() -> String {
    let list = |name: &str, rows: Vec<Value>| {
        let rows: Vec<_> = rows.iter().map(|row| format!("    {row}")).collect();
        format!("  \"{name}\": [\n{}\n  ]", rows.join(",\n"))
    };
    let lists = [list("reasons", reasons()), list("carriers", carriers()), list("keys", keys())].join(",\n");
    format!("{{\n  \"$schema\": \"schema.json\",\n  \"about\": \"{ABOUT}\",\n{lists}\n}}\n")
}

#[test]
fn the_file_is_what_the_tables_say() {
    let path = folder().join("tables.json");
    if std::env::var_os("CANDOR_WRITE_VECTORS").is_some() {
        std::fs::write(&path, written()).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    let same = committed.lines().zip(written().lines().map(str::to_owned)).find(|(seen, expected)| seen != expected);
    assert_eq!(same, None, "tables.json is not what the tables say; write it anew with CANDOR_WRITE_VECTORS=1 and review the difference");
    assert_eq!(committed, written());
}

fn strings<'a>(row: &'a Value, name: &str) -> Vec<&'a str> {
    row[name].as_array().unwrap().iter().map(|value| value.as_str().unwrap()).collect()
}

#[test]
fn every_reason_in_every_packet_is_taken_or_refused_as_the_file_says() {
    let rows: Vec<_> = files().into_iter().flat_map(|file| file.reasons).collect();
    assert_eq!(rows.len(), REASON_TEMPLATES.len());
    for row in &rows {
        let mut seen = 0;
        for (list, taken) in [("pass", true), ("fail", false)] {
            for reason in strings(row, list).into_iter().flat_map(reasons_of) {
                let bytes = unhex(&row["hex"].as_str().unwrap().replace("RR", &format!("{:02x}", reason.0)));
                let frame = Frame::split(&mut bytes.into(), 100).unwrap().unwrap();
                let read = raise(Dialect::Extended, &frame, Limits::default()).map(|packet| packet.kind().name());
                let expected = if taken { Ok(row["packet"].as_str().unwrap()) } else { Err(Malformed::ReasonNotAllowed(reason.0)) };
                assert_eq!(read, expected, "{} with {reason}", row["packet"]);
                seen += 1;
            }
        }
        assert_eq!(seen, 256, "{}", row["packet"]);
    }
}

/// The extended packet of `carrier` with this dictionary.
fn carried(carrier: &Value, dictionary: &[u8]) -> Frame {
    let mut field = BytesMut::new();
    put_varint(&mut field, dictionary.len() as u32);
    field.extend_from_slice(dictionary);
    let first = unhex(carrier["first"].as_str().unwrap())[0];
    Frame { first, body: unhex(&carrier["body"].as_str().unwrap().replace("DD", &hex(&field))).into() }
}

#[test]
fn every_key_in_every_packet_from_either_side_is_taken_or_refused_as_the_file_says() {
    let file = files().into_iter().find(|file| !file.keys.is_empty()).unwrap();
    assert_eq!((file.carriers.len(), file.keys.len()), (Kind::ALL.len(), PACKET_KEYS.len() + MESSAGE_KEYS.len()));
    for key in file.keys.iter().filter(|key| key["registry"] == "packet") {
        let dictionary = unhex(key["dictionary"].as_str().unwrap());
        for carrier in &file.carriers {
            let packet = raise(Dialect::Extended, &carried(carrier, &dictionary), Limits::default()).unwrap();
            assert_eq!(&packet.dictionary().as_bytes()[..], dictionary);
            for role in ROLES {
                let verdict = check_keys(packet.kind(), role, packet.dictionary(), &|_| None).map_err(|refusal| refusal.reason);
                let listed = strings(key, role_name(role)).contains(&packet.kind().name());
                let expected = if listed { Ok(()) } else { Err(Reason::KEY_NOT_ALLOWED) };
                assert_eq!(verdict, expected, "{} in {} from the {}", key["name"], carrier["packet"], role_name(role));
            }
        }
    }
    for key in file.keys.iter().filter(|key| key["registry"] == "message") {
        let map = Dictionary::parse(unhex(key["dictionary"].as_str().unwrap()).into(), Limits::default()).unwrap();
        assert_eq!(check_message_keys(&map), Ok(()), "{}", key["name"]);
    }
}

#[test]
fn a_value_of_another_type_is_refused_for_every_key() {
    let samples: Vec<_> = PACKET_KEYS.iter().map(|row| (row.value, sample(row))).collect();
    for row in PACKET_KEYS.iter().chain(MESSAGE_KEYS) {
        let in_registry = PACKET_KEYS.iter().any(|other| std::ptr::eq(other, row));
        for (_, value) in samples.iter().filter(|(value, _)| *value != row.value) {
            let dictionary = dictionary_of(row.number, value);
            let verdict = if in_registry {
                let role = if may_write(row.writer, Role::Client) { Role::Client } else { Role::Server };
                check_keys(row.packets.iter().next().unwrap(), role, &dictionary, &|_| None)
            } else {
                check_message_keys(&dictionary)
            };
            let refusal = verdict.expect_err(row.name);
            assert_eq!(refusal.reason, Reason::KEY_NOT_ALLOWED, "{} with {dictionary:?}", row.name);
            assert!(refusal.problem.title.clone().unwrap().contains(row.value.name()), "{refusal}");
        }
    }
}

#[test]
fn a_value_is_taken_at_the_ends_of_its_range_and_refused_beside_them() {
    let file = files().into_iter().find(|file| !file.keys.is_empty()).unwrap();
    let mut refused = 0;
    for key in &file.keys {
        let by = [("client", Role::Client), ("server", Role::Server)].into_iter().find(|(role, _)| !strings(key, role).is_empty()).unwrap();
        let kind = Kind::ALL.into_iter().find(|kind| kind.name() == strings(key, by.0)[0]).unwrap();
        for (list, taken) in [("in-range", true), ("out-of-range", false)] {
            for dictionary in strings(key, list) {
                let map = Dictionary::parse(unhex(dictionary).into(), Limits::default()).unwrap();
                let verdict = match key["registry"].as_str() {
                    Some("packet") => check_keys(kind, by.1, &map, &|_| None),
                    _ => check_message_keys(&map),
                };
                let expected = if taken { Ok(()) } else { Err(Reason::KEY_NOT_ALLOWED) };
                assert_eq!(verdict.map_err(|refusal| refusal.reason), expected, "{} {dictionary}", key["name"]);
                refused += u32::from(!taken);
            }
        }
    }
    assert!(refused > 20, "{refused}");
}
