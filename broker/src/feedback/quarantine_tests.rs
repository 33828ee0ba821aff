use super::*;

const LIMITS: QuarantineLimits = QuarantineLimits { refusals: 3, window_ms: 60_000, first_ms: 10_000, max_ms: 40_000 };
const PUBLISH: (Kind, Reason, Option<&str>) = (Kind::Publish, Reason::NOT_AUTHORIZED, Some("deny/a"));

/// Refuses the same thing as often as it takes; how long the client is kept out for it.
fn offend(quarantine: &mut Quarantine, subject: Subject, now_ms: u64) -> u64 {
    assert_eq!(quarantine.refused(subject, PUBLISH, now_ms), None);
    assert_eq!(quarantine.refused(subject, PUBLISH, now_ms + 1), None);
    quarantine.refused(subject, PUBLISH, now_ms + 2).unwrap().for_ms
}

#[test]
fn the_third_equal_refusal_within_the_window_starts_it_and_time_ends_it() {
    let mut quarantine = Quarantine::new(LIMITS);
    let subject = Subject(1);
    assert_eq!(offend(&mut quarantine, subject, 100_000), 10_000);
    assert_eq!(quarantine.turn_away(subject, 100_003), Some(9_999));
    assert_eq!(quarantine.inside(100_003), 1);
    assert_eq!(quarantine.turn_away(subject, 110_002), None);
    assert_eq!((quarantine.inside(110_002), quarantine.totals()), (0, (1, 1)));
    assert_eq!(quarantine.turn_away(Subject(2), 100_003), None, "nobody else is concerned");
}

#[test]
fn refusals_of_other_things_or_of_long_ago_are_not_counted_together() {
    let mut quarantine = Quarantine::new(LIMITS);
    let subject = Subject(1);
    for now_ms in [0, 30_001, 60_002, 90_003, 120_004] {
        assert_eq!(quarantine.refused(subject, PUBLISH, now_ms), None, "at {now_ms}");
        for topic in ["a", "b", "c", "d", "e"] {
            assert_eq!(quarantine.refused(subject, (Kind::Publish, Reason::NOT_AUTHORIZED, Some(topic)), now_ms), None);
        }
    }
}

#[test]
fn a_relapse_doubles_the_time_up_to_the_longest_and_a_good_time_begins_anew() {
    let mut quarantine = Quarantine::new(LIMITS);
    let subject = Subject(1);
    let mut now_ms = 100_000;
    for expected_ms in [10_000, 20_000, 40_000, 40_000] {
        let for_ms = offend(&mut quarantine, subject, now_ms);
        assert_eq!(for_ms, expected_ms);
        now_ms += for_ms + 10;
    }
    assert_eq!(offend(&mut quarantine, subject, now_ms + 100_000), 10_000);
}

#[test]
fn a_flood_of_clients_does_not_make_it_grow_and_lets_nobody_out() {
    let mut quarantine = Quarantine::new(LIMITS);
    for number in 0..30_000 {
        quarantine.refused(Subject(number + 10), PUBLISH, number);
        assert!(quarantine.records.len() <= SUBJECTS_MAX);
    }
    let subject = Subject(1);
    offend(&mut quarantine, subject, 30_000);
    for number in 0..3000 {
        quarantine.refused(Subject(number + 40_000), PUBLISH, 30_003);
    }
    assert!(quarantine.turn_away(subject, 30_004).is_some());
}

#[test]
fn off_means_never() {
    let mut quarantine = Quarantine::new(QuarantineLimits::default());
    for now_ms in 0..100 {
        assert_eq!(quarantine.refused(Subject(1), PUBLISH, now_ms), None);
    }
    assert!(quarantine.records.is_empty());
}
