//! Bytes that are not what was written: told, never taken for the end of the log.

use super::*;
use crate::store::inspect::Report;
use crate::store::samples::history_of;

fn kept(seed: u64) -> (SimDisk, Model) {
    let disk = SimDisk::new(seed);
    let mut engine = open(&disk).unwrap();
    let mut model = Model::default();
    for group in history_of(seed, 60) {
        engine.keep(&group).unwrap();
        model.keep(&group);
    }
    (disk, model)
}

/// A history of some length.
fn long() -> (SimDisk, Model) {
    kept(long_seed())
}

fn long_seed() -> u64 {
    let is_long = |seed: &u64| {
        let (disk, model) = kept(*seed);
        disk.list().len() > 4 && model.state.references.len() > 6
    };
    (0..).find(is_long).unwrap()
}

#[test]
fn a_flipped_bit_anywhere_but_in_the_last_group_refuses_the_start_with_file_and_offset() {
    let seed = long_seed();
    let (disk, _) = kept(seed);
    let files = disk.list();
    let (last, older) = files.split_last().unwrap();
    for (name, len) in older {
        for offset in (0..*len).step_by(23) {
            disk.flip_bit(name, offset, offset as u8);
            match open(&disk) {
                Err(StoreError::Damaged { file, what, .. }) => {
                    assert!(file.ends_with(name) && what.contains("salvage"), "{file}: {what}");
                }
                Err(StoreError::Failed { file, .. }) => assert!(file.ends_with(name) && offset < 64, "{file}: {offset}"),
                other => panic!("byte {offset} of {name}: {other:?}"),
            }
            disk.flip_bit(name, offset, offset as u8);
        }
    }
    assert!(last.1 > 64);
}

#[test]
fn damage_in_the_newest_segment_is_told_from_a_torn_end() {
    let disk = SimDisk::new(5);
    let mut engine = Embedded::open(disk.files(), Options::default()).unwrap();
    let mut model = Model::default();
    let history = history_of(2, 60);
    let mut ends = Vec::new();
    for group in &history {
        engine.keep(group).unwrap();
        model.keep(group);
        ends.push(disk.bytes());
    }
    drop(engine);
    let name = disk.list()[0].0.clone();
    ends.dedup();
    // In the last group nobody can tell; before it, a later group proves that it was good once.
    let last_begin = ends[ends.len() - 2];
    disk.flip_bit(&name, last_begin / 2, 3);
    assert!(matches!(open(&disk), Err(StoreError::Damaged { .. })));
    disk.flip_bit(&name, last_begin / 2, 3);
    disk.cut(&name, last_begin + 5);
    let engine = open(&disk).unwrap();
    assert_eq!((engine.lost().torn_bytes, engine.lost().damages.len()), (5, 0));
}

#[test]
fn with_salvage_what_can_be_read_is_kept_and_the_rest_is_told_as_a_gap() {
    let (disk, model) = long();
    // The body of the oldest segment that holds a message somebody is owed.
    let (name, offset) = {
        let engine = open(&disk).unwrap();
        let owed = engine.state().sessions.values().flat_map(|kept| kept.owed.iter()).next().expect("something is owed").body;
        let place = engine.image.place(owed).unwrap();
        (name_of(place.segment), u64::from(place.offset) + 5)
    };
    disk.flip_bit(&name, offset, 0);
    assert!(matches!(open(&disk), Err(StoreError::Damaged { .. })));
    let report = Report::of(&mut disk.files()).unwrap();
    assert!(!report.damages.is_empty() && report.to_string().contains("DAMAGED"), "{report}");

    let mut engine = Embedded::open(disk.files(), Options { salvage: true, ..options() }).unwrap();
    assert!(!engine.lost().damages.is_empty());
    assert!(engine.usage().messages > 0 && engine.usage().messages <= model.state.references.len() as u64);
    let messages: Vec<MessageNumber> = engine.state().references.keys().copied().collect();
    for message in messages {
        assert_eq!(engine.read(message).unwrap().as_ref(), model.envelopes.get(&message));
    }
    let state = remembered(engine.state());
    drop(engine);
    disk.restart();
    assert!(disk.list().iter().any(|(file, _)| *file == format!("{name}.damaged")), "it is put aside: {:?}", disk.list());
    assert_eq!(remembered(open(&disk).unwrap().state()), state, "and is not damaged any more");
}

#[test]
fn a_missing_segment_is_missed() {
    let (disk, _) = long();
    let name = disk.list()[1].0.clone();
    disk.files().remove(&name).unwrap();
    let Err(StoreError::Damaged { file, .. }) = open(&disk) else { panic!("it was not missed") };
    assert!(file.ends_with(&name), "{file}");
}

#[test]
fn what_is_not_ours_or_newer_is_refused_by_name() {
    let disk = SimDisk::new(1);
    disk.files().create("holiday.jpg").unwrap();
    let Err(StoreError::Failed { file, what }) = open(&disk) else { panic!("it was not refused") };
    assert!(file.ends_with("holiday.jpg") && what.contains("empty directory"), "{what}");

    let disk = SimDisk::new(1);
    disk.files().create(&name_of(1)).unwrap();
    disk.files().append(&name_of(1), &[b'x'; 100]).unwrap();
    let Err(StoreError::Failed { what, .. }) = open(&disk) else { panic!("it was not refused") };
    assert!(what.contains("not a segment"), "{what}");

    let disk = SimDisk::new(1);
    let mut header = crate::store::log::Header { number: 1, previous: None, numbers: [0; 3] }.encode();
    header[8] = 2;
    let checksum = crc32fast::hash(&header[..60]).to_le_bytes();
    header[60..].copy_from_slice(&checksum);
    disk.files().create(&name_of(1)).unwrap();
    disk.files().append(&name_of(1), &header).unwrap();
    let Err(StoreError::Failed { what, .. }) = open(&disk) else { panic!("it was not refused") };
    assert!(what.contains("format 2") && what.contains("newer broker"), "{what}");
}

#[test]
fn inspection_changes_nothing_and_says_what_is_owed() {
    let (disk, model) = long();
    let before = (disk.list(), disk.operations());
    let report = Report::of(&mut disk.files()).unwrap();
    assert_eq!((disk.list(), disk.operations()), before);
    assert_eq!(report.sessions.len(), model.state.sessions.len());
    assert_eq!(report.messages, model.state.references.len() as u64);
    let owed: usize = model.state.sessions.values().map(|kept| kept.owed.len()).sum();
    assert_eq!(report.sessions.iter().map(|session| session.owed).sum::<u64>(), owed as u64);
    assert_eq!(report.to_json()["sessions"].as_array().unwrap().len(), report.sessions.len());
    assert!(report.to_string().contains("in flight"), "{report}");
    assert!(report.sessions.iter().any(|session| session.oldest_ms.is_some()));
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    /// Whatever the bytes are: with salvage it starts, and then starts again without.
    #[test]
    fn any_damage_at_all_is_told_or_salvaged(hits in proptest::collection::vec((0..5usize, 64..3_000u64, 0..8u8), 1..12), cut in 64..3_000u64) {
        let (disk, model) = long();
        for (file, offset, bit) in hits {
            let name = disk.list()[file.min(disk.list().len() - 1)].0.clone();
            disk.flip_bit(&name, offset, bit);
        }
        let name = disk.list()[0].0.clone();
        disk.cut(&name, cut);
        let _ = open(&disk);
        let mut engine = Embedded::open(disk.files(), Options { salvage: true, ..options() }).unwrap();
        let messages: Vec<MessageNumber> = engine.state().references.keys().copied().collect();
        for message in messages {
            let read = engine.read(message).unwrap();
            assert_eq!(read.as_ref(), model.envelopes.get(&message));
        }
        let state = remembered(engine.state());
        drop(engine);
        disk.restart();
        let again = open(&disk).unwrap_or_else(|error| panic!("{error}"));
        let found = remembered(again.state());
        assert!(found == state, "{}", difference(&found, &state));
    }
}
