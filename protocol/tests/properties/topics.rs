//! Topic filters against a plain reading of section 4.7.

use crate::runner::for_all;
use candor_protocol::packet::topic::{pattern_covers, pattern_matches};
use candor_protocol::packet::{TopicFilter, TopicName};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// Section 4.7, level by level, written for clarity.
fn matches(pattern: &[&str], topic: &[&str]) -> bool {
    match (pattern, topic) {
        (["#"], _) => true,
        ([], []) => true,
        (["+", pattern @ ..], [_, topic @ ..]) => matches(pattern, topic),
        ([wanted, pattern @ ..], [level, topic @ ..]) => wanted == level && matches(pattern, topic),
        _ => false,
    }
}

/// [`matches`], with the rule for topics that begin with `$` ([MQTT-4.7.2-1]).
fn oracle(pattern: &str, topic: &str) -> bool {
    let begins_with_wildcard = pattern.starts_with(['+', '#']);
    let levels = |text: &'_ str| -> Vec<String> { text.split('/').map(str::to_owned).collect() };
    let (pattern, levels_of_topic) = (levels(pattern), levels(topic));
    let pattern: Vec<&str> = pattern.iter().map(String::as_str).collect();
    let levels_of_topic: Vec<&str> = levels_of_topic.iter().map(String::as_str).collect();
    !(begins_with_wildcard && topic.starts_with('$')) && matches(&pattern, &levels_of_topic)
}

fn join(levels: Vec<&'static str>) -> String {
    levels.join("/")
}

const NAMES: [&str; 6] = ["", "a", "b", "A", "$x", "ab"];

fn topic() -> impl Strategy<Value = String> {
    vec(select(&NAMES[..]), 1..5).prop_map(join).prop_filter("a topic has a character", |topic| !topic.is_empty())
}

fn pattern() -> impl Strategy<Value = String> {
    let levels = vec(prop_oneof![select(&NAMES[..]), Just("+"), Just("+")], 0..4);
    let with_hash = (levels, any::<bool>()).prop_map(|(mut levels, hash)| {
        levels.extend(hash.then_some("#"));
        join(levels)
    });
    with_hash.prop_filter("a pattern has a character", |pattern| !pattern.is_empty())
}

#[test]
fn a_filter_matches_what_section_4_7_says() {
    for_all(5000, (pattern(), topic()), |(pattern, topic)| {
        TopicName::new(&topic).unwrap();
        let filter = TopicFilter::new(&pattern).unwrap();
        assert_eq!(filter.matches(&topic), oracle(&pattern, &topic), "{pattern} and {topic}");
        let shared = TopicFilter::new(format!("$share/g/{pattern}")).unwrap();
        assert_eq!((shared.matches(&topic), shared.group(), shared.pattern()), (filter.matches(&topic), Some("g"), pattern.as_str()));
    });
}

#[test]
fn any_text_is_a_name_a_filter_or_an_error() {
    for_all(5000, crate::values::text(12), |text| {
        let name = TopicName::new(&text);
        let filter = TopicFilter::new(&text);
        if let Ok(name) = name {
            assert_eq!(name.as_str(), text);
            // Every name is a filter that matches itself, unless it looks like a shared subscription.
            let shared = text == "$share" || text.starts_with("$share/");
            assert!(shared || filter.is_ok_and(|filter| filter.matches(&text) && !filter.has_wildcard()));
        }
    });
}

/// Every sequence of at most `len_max` of these levels, as texts with at least one character.
fn all(levels: &[&'static str], len_max: usize) -> Vec<String> {
    let mut found: Vec<Vec<&'static str>> = vec![vec![]];
    let mut from = 0;
    for _ in 0..len_max {
        let longer: Vec<_> =
            found[from..].iter().flat_map(|start| levels.iter().map(move |level| [&start[..], &[*level]].concat())).collect();
        from = found.len();
        found.extend(longer);
    }
    found.into_iter().skip(1).map(join).filter(|text| !text.is_empty()).collect()
}

#[test]
fn a_pattern_covers_another_exactly_when_it_matches_all_its_topics() {
    // One level more than the patterns have tells apart all that `#` can add.
    let topics = all(&["", "a", "b", "$"], 4);
    let patterns: Vec<_> = all(&["", "a", "$", "+", "#"], 3).into_iter().filter(|text| TopicFilter::new(text).is_ok()).collect();
    let matched: Vec<Vec<bool>> =
        patterns.iter().map(|pattern| topics.iter().map(|topic| pattern_matches(pattern.as_bytes(), topic.as_bytes())).collect()).collect();
    assert!(patterns.len() > 50, "{}", patterns.len());
    for (wide, wide_matches) in patterns.iter().zip(&matched) {
        for (narrow, narrow_matches) in patterns.iter().zip(&matched) {
            let covers = narrow_matches.iter().zip(wide_matches).all(|(narrow, wide)| *wide || !narrow);
            assert_eq!(pattern_covers(wide.as_bytes(), narrow.as_bytes()), covers, "{wide} over {narrow}");
        }
    }
}
