use super::value::check_log;
use super::*;
use crate::config::Draft;
use crate::config::diagnostic::Origin;
use crate::config::kind::Kind::Seconds;
use DefaultValue::{Computed, Text, Unset};

#[test]
fn names_are_unique_and_can_be_keys_and_flags() {
    let mut names: Vec<_> = options().map(|option| option.name).collect();
    assert!(names.iter().all(|name| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')));
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), options().count());
}

#[test]
fn every_default_is_within_its_own_range() {
    let mut draft = Draft::default();
    for option in options() {
        let text = match option.default {
            Text(text) => text.to_owned(),
            Computed { text, .. } => text(),
            Unset(_) => continue,
        };
        let set = option.kind.set(&mut draft, &text, std::path::Path::new(""), Origin::Default);
        assert_eq!(set, Ok(()), "{}", option.name);
    }
}

#[test]
fn every_row_is_one_sentence_and_every_chosen_number_has_a_reason() {
    for option in options() {
        assert!(option.sentence.ends_with('.') && !option.sentence.trim_end_matches('.').contains(". "), "{}", option.name);
        assert!(option.why.is_empty() || option.why.ends_with('.'), "{}", option.name);
    }
}

#[test]
fn times_name_their_unit_last() {
    for option in options() {
        assert_eq!(matches!(option.kind, Seconds { .. }), option.name.ends_with("_s"), "{}", option.name);
    }
}

#[test]
fn headings_are_unique_and_have_rows() {
    let mut headings: Vec<_> = GROUPS.iter().map(|group| group.heading).collect();
    headings.sort_unstable();
    headings.dedup();
    assert_eq!(headings.len(), GROUPS.len());
    assert!(GROUPS.iter().all(|group| !group.options.is_empty()));
}

#[test]
fn a_misspelt_level_is_not_taken_for_a_module() {
    for good in ["info", "INFO", "off", "info,candor_broker::session=debug", "warn,candor_broker=trace"] {
        assert_eq!(check_log(good), Ok(()), "{good}");
    }
    assert_eq!(check_log("inof"), Err("is not a level; did you mean `info`?".into()));
    assert_eq!(check_log("info,candor_broker=loud"), Err("has `loud` where a level stands".into()));
    assert_eq!(check_log("=info"), Err("has a `=` without a module before it".into()));
    assert_eq!(check_log("warn, x=info"), Err("holds a space; its parts are separated by `,` alone".into()));
    assert_eq!(check_log(""), Err("is not a level".into()));
}
