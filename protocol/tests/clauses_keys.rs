//! Which key may stand where, who may write it, and what becomes of a key that nobody knows.
#![allow(clippy::unwrap_used, clippy::panic, reason = "what fails in a test fails the test")]

use candor_protocol::codec::dictionary::{Dictionary, MapBuilder, write_bytes, write_head};
use candor_protocol::packet::kind::Kind;
use candor_protocol::packet::legality::{Role, check_keys};
use candor_protocol::packet::property::{
    KeyInfo, MESSAGE_ID, NODE, PACKET_KEYS, PUBLISHER, RECEIVED_AT, REDELIVERY_COUNT, Range, ValueType, Writer, packet_key,
};
use candor_protocol::packet::{Reason, Refusal};

const ROLES: [Role; 2] = [Role::Client, Role::Server];

fn judged(kind: Kind, sender: Role, dictionary: &Dictionary) -> Result<(), Refusal> {
    check_keys(kind, sender, dictionary, &|_| None)
}

/// The dictionary `{number: VALUE}` with the encoded value.
fn holding(number: i64, value: &[u8]) -> Dictionary {
    let mut map = MapBuilder::new();
    map.put(number, |out| out.extend(value));
    map.finish()
}

/// An encoded value of this key's type and range.
fn good(key: &KeyInfo) -> Vec<u8> {
    match (key.value, key.range) {
        (_, Range::Number(min, _) | Range::Length(min, _)) => sized(key, min.max(1)),
        (ValueType::Unsigned, _) => vec![0x01],
        (ValueType::Bool, _) => vec![0xF5],
        (ValueType::Text, _) => vec![0x61, 0x61],
        (ValueType::Bytes, _) => vec![0x41, 0x01],
        (ValueType::TextArray, _) => vec![0x81, 0x61, 0x61],
        (ValueType::Map, _) => vec![0xA0],
    }
}

/// A number of this value, or a byte string of this length.
fn sized(key: &KeyInfo, size: u64) -> Vec<u8> {
    let mut out = Vec::new();
    match key.value {
        ValueType::Unsigned => write_head(&mut out, 0, size),
        _ => write_bytes(&mut out, &vec![0; size as usize]),
    }
    out
}

/// Encoded values of every type that a key can be refused for: with what they are not.
const OTHERS: [(&[u8], &[ValueType]); 8] = [
    (&[0x01], &[ValueType::Unsigned]),
    (&[0x20], &[]),
    (&[0xF4], &[ValueType::Bool]),
    (&[0xF6], &[]),
    (&[0xF9, 0x3C, 0x00], &[]),
    (&[0x60], &[ValueType::Text]),
    (&[0x40], &[ValueType::Bytes]),
    (&[0x81, 0x01], &[]),
];

fn may_write(writer: Writer, sender: Role) -> bool {
    writer == Writer::Both || (writer == Writer::Client) == (sender == Role::Client)
}

/// The refusal of a key names it by number and name.
fn assert_names(refusal: &Refusal, reason: u8, key: &KeyInfo) {
    assert_eq!(refusal.reason, Reason(reason));
    assert_eq!(refusal.problem.field, Some(format!("key {} ({})", key.number, key.name)));
}

/// clause keys.critical MUST
/// A receiver that does not know an integer key whose CBOR argument is odd MUST refuse what the packet asks for with
/// reason 0xC4, with the key named in the problem.
#[test]
fn an_unknown_key_with_an_odd_argument_is_refused_by_name() {
    for number in [1, 9, 59, 1_001, i64::MAX, -2, -4, -1_000, i64::MIN] {
        assert!(packet_key(number).is_none());
        for (kind, sender) in Kind::ALL.into_iter().flat_map(|kind| ROLES.map(|sender| (kind, sender))) {
            let refusal = judged(kind, sender, &holding(number, &[0xF6])).unwrap_err();
            assert_eq!((refusal.reason, refusal.problem.field.clone()), (Reason(0xC4), Some(format!("key {number}"))));
        }
    }
}

/// clause keys.ignored MUST
/// A receiver MUST ignore an integer key that it does not know and whose CBOR argument is even.
#[test]
fn an_unknown_key_with_an_even_argument_is_ignored() {
    for number in [900, 1_000, i64::MAX - 1, -1, -3, -1_001, i64::MIN + 1] {
        assert!(packet_key(number).is_none());
        for (kind, sender) in Kind::ALL.into_iter().flat_map(|kind| ROLES.map(|sender| (kind, sender))) {
            assert_eq!(judged(kind, sender, &holding(number, &[0x81, 0xF6])), Ok(()), "{number} in {kind}");
        }
    }
}

/// clause keys.text MUST
/// A receiver MUST ignore a text key that it does not know.
#[test]
fn a_text_key_is_never_critical() {
    for name in ["", "a", "b", "candor", "message"] {
        let mut map = MapBuilder::new();
        map.put_text(name, |out| out.push(0xF6));
        for kind in Kind::ALL {
            assert_eq!(judged(kind, Role::Client, &map.finish()), Ok(()), "{name:?} in {kind}");
        }
    }
}

/// clause keys.packet MUST
/// A receiver MUST refuse, with reason 0xC5 and the key named in the problem, a registered key in a packet that
/// {{table-key-legality}} does not mark for it.
#[test]
fn a_key_stands_in_the_packets_of_its_row_only() {
    for key in PACKET_KEYS {
        for (kind, sender) in Kind::ALL.into_iter().flat_map(|kind| ROLES.map(|sender| (kind, sender))) {
            let judged = judged(kind, sender, &holding(key.number, &good(key)));
            match key.packets.contains(kind) {
                true => assert_eq!(judged.is_ok(), may_write(key.writer, sender), "{} in {kind}", key.name),
                false => assert_names(&judged.unwrap_err(), 0xC5, key),
            }
        }
    }
}

/// clause keys.writer MUST
/// A receiver MUST refuse, with reason 0xC5 and the key named in the problem, a registered key from an end that may not
/// write it.
#[test]
fn a_key_is_written_by_the_end_of_its_row_only() {
    for key in PACKET_KEYS.iter().filter(|key| key.writer != Writer::Both) {
        for kind in key.packets.iter() {
            for sender in ROLES {
                let judged = judged(kind, sender, &holding(key.number, &good(key)));
                match may_write(key.writer, sender) {
                    true => assert_eq!(judged, Ok(()), "{} in {kind} from the {sender:?}", key.name),
                    false => assert_names(&judged.unwrap_err(), 0xC5, key),
                }
            }
        }
    }
}

/// clause keys.type MUST
/// A receiver MUST refuse, with reason 0xC5 and the key named in the problem, a registered key whose value is not of the
/// key's type.
#[test]
fn a_value_has_the_type_of_its_key() {
    for key in PACKET_KEYS {
        let kind = key.packets.iter().next().unwrap();
        let sender = if may_write(key.writer, Role::Client) { Role::Client } else { Role::Server };
        for (value, types) in OTHERS {
            let judged = judged(kind, sender, &holding(key.number, value));
            match types.contains(&key.value) {
                true if key.range == Range::Any => assert_eq!(judged, Ok(()), "{} as {value:02x?}", key.name),
                true => {}
                false => assert_names(&judged.unwrap_err(), 0xC5, key),
            }
        }
    }
}

/// clause keys.range MUST
/// A receiver MUST refuse, with reason 0xC5 and the key named in the problem, a registered key whose value is outside the
/// range that its row states.
#[test]
fn a_value_is_within_the_range_of_its_key() {
    let mut ranged = 0;
    for key in PACKET_KEYS {
        let (Range::Number(min, max) | Range::Length(min, max)) = key.range else { continue };
        ranged += 1;
        let kind = key.packets.iter().next().unwrap();
        let sender = if may_write(key.writer, Role::Client) { Role::Client } else { Role::Server };
        let judge = |size| judged(kind, sender, &holding(key.number, &sized(key, size)));
        for size in [min, max] {
            assert_eq!(judge(size), Ok(()), "{} of {size}", key.name);
        }
        for (bound, size) in [(min, min.checked_sub(1)), (max, Some(max + 1))].into_iter().filter_map(|(bound, size)| Some((bound, size?)))
        {
            let refusal = judge(size).unwrap_err();
            assert_names(&refusal, 0xC5, key);
            assert_eq!((refusal.problem.limit, refusal.problem.seen), (Some(bound), Some(size)), "{}", key.name);
        }
    }
    assert!(ranged >= 15, "{ranged} keys state a range");
}

/// clause keys.stamps MUST NOT
/// A client MUST NOT write publisher, node, received-at, message-id, or redelivery-count into a PUBLISH.
#[test]
fn a_client_cannot_forge_a_stamp() {
    for number in [PUBLISHER.number, NODE.number, RECEIVED_AT.number, MESSAGE_ID.number, REDELIVERY_COUNT.number] {
        let key = packet_key(number).unwrap();
        let stamp = holding(number, &good(key));
        assert_names(&judged(Kind::Publish, Role::Client, &stamp).unwrap_err(), 0xC5, key);
        assert_eq!(judged(Kind::Publish, Role::Server, &stamp), Ok(()));
    }
}
