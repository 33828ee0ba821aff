//! Space is given back: the disk holds at most about twice what is owed, and two segments.

use super::*;
use crate::store::inspect::Report;
use crate::store::samples::history_of;
use crate::store::state::Progress;

const SEGMENT: u64 = 2_000;

fn check(engine: &Embedded<SimFiles>, disk: &SimDisk, group_bytes: u64, at: &str) {
    let usage = engine.usage();
    assert_eq!(usage.bytes, disk.bytes(), "{at}");
    // A group stands in one segment, so that one may be longer by a group.
    let bound = 2 * usage.owed_bytes + 2 * (SEGMENT + group_bytes);
    assert!(usage.bytes <= bound, "{at}: {} bytes on the disk, {} are owed", usage.bytes, usage.owed_bytes);
}

#[test]
fn the_disk_holds_at_most_twice_what_is_owed_and_two_segments() {
    for seed in 0..10 {
        let disk = SimDisk::new(seed);
        let mut engine = Embedded::open(disk.files(), Options { segment_bytes: SEGMENT, ..Options::default() }).unwrap();
        for (at, group) in history_of(seed, 400).iter().enumerate() {
            let before = disk.bytes();
            engine.keep(group).unwrap();
            let group_bytes = disk.bytes() - before;
            loop {
                let is_more = engine.tidy().unwrap();
                if !is_more {
                    break;
                }
                check(&engine, &disk, group_bytes + SEGMENT, &format!("seed {seed}, group {at}, cleaning"));
            }
            check(&engine, &disk, group_bytes, &format!("seed {seed}, group {at}"));
        }
    }
}

/// However many batches stand in a group: what each message costs falls with their number.
#[test]
fn a_group_is_one_append_and_one_sync() {
    for seed in 0..10 {
        let disk = SimDisk::new(seed);
        let mut engine = Embedded::open(disk.files(), Options::default()).unwrap();
        let groups = history_of(seed, 100);
        assert!(groups.iter().any(|group| group.len() > 1), "every group of seed {seed} is of one batch");
        for group in &groups {
            let (before, bytes) = (disk.operations(), disk.bytes());
            engine.keep(group).unwrap();
            // A group that changes nothing, as one about a session that has ended, is not written.
            let expected = if disk.bytes() > bytes { 2 } else { 0 };
            assert_eq!(disk.operations() - before, expected, "seed {seed}");
        }
    }
}

const BEGIN_MS: u64 = 1_700_000_000_000;

/// What is owed for long does not hold the space of what passes by.
#[test]
fn much_that_comes_and_goes_leaves_no_more_than_what_stays() {
    let disk = SimDisk::new(1);
    let mut engine = Embedded::open(disk.files(), Options { segment_bytes: SEGMENT, ..Options::default() }).unwrap();
    let session = SessionNumber(1);
    let begun = Record::SessionBegun { session, client_id: "c".into(), principal: "p".into(), incarnation: 1 };
    let keep = |engine: &mut Embedded<SimFiles>, unix_ms, records| {
        engine.keep(&[Batch { records, unix_ms, ..Batch::default() }]).unwrap();
        tidy(engine).unwrap();
    };
    keep(&mut engine, BEGIN_MS, vec![begun]);
    let mut written = 0;
    for number in 1..3_000 {
        let payload = format!("{number:0200}");
        let message = candor_protocol::packet::Message::publish("t", &payload).unwrap();
        let envelope =
            Envelope { message, qos: Default::default(), retain: false, expires_at_ms: None, stamps: None, hop: Default::default() };
        let owed = vec![crate::store::record::Owed { session, qos: Default::default(), retain: false }];
        written += payload.len();
        let message = MessageNumber(number);
        keep(&mut engine, BEGIN_MS + number, vec![Record::Message { message, envelope, owed }]);
        if number > 5 {
            // The first five stay.
            keep(&mut engine, BEGIN_MS + number, vec![Record::Settled { session, message }]);
        }
    }
    assert!(written > 500_000 && disk.bytes() < 8_000, "{} bytes for five messages", disk.bytes());
    let owed: Vec<_> = engine.state().sessions[&session].owed.iter().map(|owed| (owed.message.0, owed.progress)).collect();
    assert_eq!(owed, (1..=5).map(|number| (number, Progress::Waiting)).collect::<Vec<_>>());
    for number in 1..=5 {
        assert!(engine.read(MessageNumber(number)).unwrap().is_some());
    }
    // They were copied many times, and are as old as they were.
    let report = Report::of(&mut disk.files()).unwrap();
    assert_eq!(report.sessions[0].oldest_ms, Some(BEGIN_MS + 1));
}

#[test]
fn many_restarts_leave_few_files() {
    let disk = SimDisk::new(1);
    for turn in 0..200 {
        let mut engine = open(&disk).unwrap();
        if turn % 3 == 0 {
            let whose = crate::store::record::Whose { principal: "p".into(), client_id: "c".into() };
            engine
                .keep(&[Batch {
                    shard: 0,
                    turn,
                    records: vec![Record::Verdict { whose, number: turn + 1, replaces: Vec::new(), verdict: [1; 3].into() }],
                    ..Batch::default()
                }])
                .unwrap();
        }
        tidy(&mut engine).unwrap();
    }
    assert!(disk.list().len() <= 20, "{:?}", disk.list());
}
