//! Profiles and what a client requires of them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "what fails in a test fails the test")]

use candor_protocol::codec::dictionary::{Dictionary, MapBuilder};
use candor_protocol::packet::profile::PROFILE_CLAUSES;
use candor_protocol::packet::{Durability, Profile, Requirement};

fn holding(number: i64, value: &[u8]) -> Dictionary {
    let mut map = MapBuilder::new();
    map.put(number, |out| out.extend(value));
    map.finish()
}

/// clause profiles.not-understood MUST
/// A server MUST refuse a requirement of which it does not understand every clause, and name the clause.
#[test]
fn what_is_not_understood_is_not_promised() {
    for number in [26, 99, 1_000, -1] {
        assert_eq!(Requirement::of_dictionary(&holding(number, &[0x01])), Err(number.to_string()));
    }
    let mut text = MapBuilder::new();
    text.put_text("speed", |out| out.push(0x01));
    assert_eq!(Requirement::of_dictionary(&text.finish()), Err("\"speed\"".to_owned()));
    for clause in PROFILE_CLAUSES {
        let null = Requirement::of_dictionary(&holding(clause.number, &[0xF6]));
        assert_eq!(null, Err(clause.name.to_owned()), "null is no value of a clause");
        let is_understood = [&[0x01][..], &[0xF5]].iter().any(|value| Requirement::of_dictionary(&holding(clause.number, value)).is_ok());
        assert_eq!(is_understood, clause.requirable, "{}", clause.name);
    }
    assert_eq!(Requirement::of_dictionary(&holding(0, &[0x04])), Err("durability".to_owned()), "a durability that nobody knows");
}

/// clause profiles.at-least MUST
/// A server MUST take a requirement as fulfilled exactly when its profile reaches, in every clause that is required, the
/// value that is required or a better one.
#[test]
fn a_requirement_is_a_least_value_for_each_clause() {
    let profile = Profile {
        durability: Durability::Disk,
        session_durability: Durability::Memory,
        qos_max: 1,
        retain: false,
        session_expiry_s_max: 3_600,
        queue_len_max: 1_000,
        ..Profile::default()
    };
    for (clause, value, fails) in [
        ("durability", "memory", false),
        ("durability", "disk", false),
        ("durability", "quorum", true),
        ("session-durability", "disk", true),
        ("maximum-qos", "1", false),
        ("maximum-qos", "2", true),
        ("retain", "false", false),
        ("retain", "true", true),
        ("will", "true", false),
        ("session-expiry", "3600", false),
        ("session-expiry", "3601", true),
        ("queue-length", "1001", true),
    ] {
        let mut requirement = Requirement::default();
        requirement.set(clause, value).unwrap();
        let travelled = Requirement::of_dictionary(&requirement.to_dictionary()).unwrap();
        assert_eq!(travelled.failing(&profile).map(|failed| failed.name), fails.then_some(clause), "{clause}={value}");
    }
    assert_eq!(Requirement::default().failing(&profile), None);
}

/// clause profiles.defaults MUST
/// A receiver MUST take a clause that a profile leaves out as having the default of {{table-profile-clauses}}.
#[test]
fn a_clause_that_is_left_out_has_its_default() {
    let empty = Profile::of_dictionary(&Dictionary::EMPTY);
    assert_eq!((empty.durability, empty.session_durability), (Durability::None, Durability::None));
    assert_eq!((empty.qos_max, empty.retain, empty.will, empty.shared_subscriptions), (2, true, true, true));
    assert_eq!((empty.session_expiry_s_max, empty.message_expiry_s_max), (u32::MAX, u32::MAX));
    assert!(empty.will_on_server_close && empty.loss_window_ms == 0);
    for profile in [Profile::default(), Profile { retain: false, qos_max: 0, loss_window_ms: 50, ..Profile::default() }] {
        assert_eq!(Profile::of_dictionary(&profile.to_dictionary()), profile);
    }
}
