//! The draft's CDDL against bytes: it takes what the code writes, and refuses what a key's type forbids.
#![allow(clippy::unwrap_used, clippy::panic, reason = "what fails in a test fails the test")]

use bytes::Bytes;
use candor_protocol::codec::dictionary::{Dictionary, Limits, MapBuilder};
use candor_protocol::codec::frame::Frame;
use candor_protocol::dialect::Dialect;
use candor_protocol::dialect::read::{raise, raise_connect};
use candor_protocol::packet::problem::PROBLEM_KEYS;
use candor_protocol::packet::profile::PROFILE_CLAUSES;
use candor_protocol::packet::property::{MESSAGE_KEYS, PACKET_KEYS, ValueType};
use candor_protocol::packet::subscribe::items_of;
use candor_protocol::packet::{Durability, Problem, Profile, Requirement, Retry, property};
use candor_rfc::cddl;
use candor_rfc::draft::load;
use std::path::Path;

fn accepts(rule: &str, bytes: &[u8]) -> Result<(), String> {
    cddl_cat::validate_cbor_bytes(rule, &cddl::all(), bytes).map_err(|error| error.to_string())
}

fn accepted(rule: &str, dictionary: &Dictionary) {
    if let Err(error) = accepts(rule, dictionary.as_bytes()) {
        panic!("{rule} refuses {dictionary:?}: {error}");
    }
}

/// The dictionary of every extended packet of every exchange that the draft shows.
fn recorded() -> Vec<Dictionary> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut dictionaries = Vec::new();
    for exchange in load(root).unwrap().exchanges.values() {
        for step in exchange.steps.iter().filter(|step| step.dialect.0 == Dialect::Extended && !step.hex.is_empty()) {
            let mut bytes = Bytes::from(step.bytes());
            while let Some(frame) = Frame::split(&mut bytes, u32::MAX).unwrap() {
                dictionaries.push(match frame.first >> 4 {
                    1 => raise_connect(&frame, Limits::default()).unwrap().dictionary,
                    _ => raise(Dialect::Extended, &frame, Limits::default()).unwrap().dictionary().clone(),
                });
            }
        }
    }
    dictionaries.retain(|dictionary| !dictionary.is_empty());
    dictionaries
}

#[test]
fn the_dictionaries_of_the_recorded_exchanges_are_taken() {
    let dictionaries = recorded();
    assert!(dictionaries.len() >= 8, "{dictionaries:?}");
    dictionaries.iter().for_each(|dictionary| accepted("dictionary", dictionary));
}

/// An encoded value of this type, and one of another.
fn values(value: ValueType) -> (&'static [u8], &'static [u8]) {
    match value {
        ValueType::Unsigned => (&[0x01], &[0x20]),
        ValueType::Bool => (&[0xF5], &[0x01]),
        ValueType::Text => (&[0x61, 0x61], &[0x41, 0x61]),
        ValueType::Bytes => (&[0x43, 0xA1, 0x02, 0x60], &[0x61, 0x61]),
        ValueType::TextArray => (&[0x81, 0x61, 0x61], &[0x81, 0x01]),
        ValueType::Map => (&[0xA1, 0x19, 0x03, 0xE8, 0xA0], &[0x80]),
    }
}

fn holding(number: i64, value: &[u8]) -> Dictionary {
    let mut map = MapBuilder::new();
    map.put(number, |out| out.extend(value));
    map.finish()
}

#[test]
fn each_key_takes_its_type_and_no_other() {
    for (rule, table) in [("dictionary", PACKET_KEYS), ("message", MESSAGE_KEYS)] {
        for key in table {
            let (good, bad) = values(key.value);
            // A requirement takes its clauses only.
            let good = if key.number == property::REQUIRE.number { &[0xA1, 0x04, 0x01] } else { good };
            accepted(rule, &holding(key.number, good));
            assert!(accepts(rule, holding(key.number, bad).as_bytes()).is_err(), "{rule} takes {} of another type", key.name);
        }
    }
}

#[test]
fn keys_that_nobody_registered_are_taken() {
    let mut map = MapBuilder::new();
    map.put(1000, |out| out.push(0xF6)).put(-7, |out| out.push(0x80)).put_text("unit", |out| out.push(0xF4));
    for rule in ["dictionary", "message", "problem", "profile"] {
        accepted(rule, &map.finish());
    }
    assert!(accepts("require", map.finish().as_bytes()).is_err(), "what is not understood cannot be promised");
}

#[test]
fn profiles_requirements_and_problems_are_taken_as_the_code_writes_them() {
    let profile = Profile { durability: Durability::Quorum, qos_max: 1, retain: false, loss_window_ms: 5, ..Profile::default() };
    accepted("profile", &profile.to_dictionary());
    accepted("profile", &Profile::default().to_dictionary());
    let mut requirement = Requirement::default();
    for (name, value) in [("durability", "disk"), ("retain", "true"), ("queue-length", "7")] {
        requirement.set(name, value).unwrap();
    }
    accepted("require", &requirement.to_dictionary());
    let problem = Problem::titled("busy").detail("later").rule("r").field("f").limit(1, 2).missing_scope("s");
    accepted("problem", &problem.retry(Retry::After { after_ms: 10, jitter_ms: 5 }).to_dictionary());
    accepted("dictionary", &items_of([Dictionary::EMPTY, Dictionary::with(property::REQUIRE, &requirement.to_dictionary())]));
    for bad in [holding(0, &[0x04]), holding(6, &[0x01])] {
        assert!(accepts("profile", bad.as_bytes()).is_err() && accepts("require", bad.as_bytes()).is_err(), "{bad:?}");
    }
    let requirable = PROFILE_CLAUSES.iter().filter(|clause| {
        accepts("require", holding(clause.number, &[0x01]).as_bytes()).is_ok()
            || accepts("require", holding(clause.number, &[0xF5]).as_bytes()).is_ok()
    });
    assert!(
        requirable.map(|clause| clause.number).eq(PROFILE_CLAUSES.iter().filter(|clause| clause.requirable).map(|clause| clause.number))
    );
    assert!(PROBLEM_KEYS.iter().all(|key| accepts("problem", holding(key.number, &[0xF6]).as_bytes()).is_err()));
}
