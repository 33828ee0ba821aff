use super::*;
use crate::store::samples::histories;
use crate::store::state::State;
use proptest::prelude::*;

fn decode_all(bytes: &[u8]) -> Result<Vec<Entry>, Bad> {
    let mut cursor = Cursor::new(bytes);
    let mut entries = Vec::new();
    while !cursor.is_at_end() {
        entries.push(decode(&mut cursor)?.0);
    }
    Ok(entries)
}

fn encode_all(groups: &[Vec<Record>]) -> (Vec<Entry>, Vec<u8>) {
    let mut state = State::default();
    let (mut entries, mut bytes) = (Vec::new(), Vec::new());
    for record in groups.iter().flatten() {
        let stored = encode_record(record, &mut bytes);
        if let Record::Message { envelope, .. } = record {
            assert_eq!(open_stored(&bytes[stored.unwrap()]).as_ref(), Ok(envelope));
        }
        entries.push(Entry::Step(record.clone()));
        state.apply(record);
    }
    for fact in state.snapshot() {
        encode_fact(&fact, &mut bytes);
        entries.push(Entry::Fact(fact));
    }
    (entries, bytes)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn entries_come_back_as_they_were(groups in histories(12)) {
        let (entries, bytes) = encode_all(&groups);
        prop_assert_eq!(decode_all(&bytes).unwrap(), entries);
    }

    #[test]
    fn facts_are_not_longer_than_their_weight(groups in histories(30)) {
        let mut state = State::default();
        groups.iter().flatten().for_each(|record| state.apply(record));
        let mut bytes = Vec::new();
        state.snapshot().for_each(|fact| encode_fact(&fact, &mut bytes));
        prop_assert!(bytes.len() as u64 <= state.weight() + 31, "{} bytes of {}", bytes.len(), state.weight());
    }

    #[test]
    fn any_bytes_are_entries_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode_all(&bytes);
        let _ = decode_envelope(&bytes);
    }

    /// The checksums of frames are not asked here: what decodes is well formed, and is encoded again to the same entries.
    #[test]
    fn damaged_bytes_are_entries_or_an_error(
        groups in histories(6), hits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4), cut in any::<prop::sample::Index>()
    ) {
        let (_, mut bytes) = encode_all(&groups);
        for (at, byte) in hits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(cut.index(bytes.len() + 1));
        let mut cursor = Cursor::new(&bytes);
        while let Ok((entry, _)) = decode(&mut cursor) {
            let mut again = Vec::new();
            match &entry {
                Entry::Step(record) => drop(encode_record(record, &mut again)),
                Entry::Fact(fact) => encode_fact(fact, &mut again),
            }
            prop_assert_eq!(decode_all(&again).unwrap(), [entry]);
        }
    }
}

#[test]
fn a_damaged_message_is_not_a_message() {
    let envelope = Record::Message { message: crate::store::MessageNumber(1), envelope: sample(), owed: vec![] };
    let mut bytes = Vec::new();
    let stored = encode_record(&envelope, &mut bytes).unwrap();
    for bit in 0..stored.len() * 8 {
        let mut damaged = bytes[stored.clone()].to_vec();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(open_stored(&damaged), Err(Bad("the checksum of a message does not agree")));
    }
}

fn sample() -> crate::message::Envelope {
    let message = candor_protocol::packet::Message::publish("a/b", "payload").unwrap();
    let qos = candor_protocol::packet::Qos::ExactlyOnce;
    crate::message::Envelope { message, qos, retain: true, expires_at_ms: Some(5), stamps: None, hop: Default::default() }
}
