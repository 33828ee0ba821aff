//! Where a walk over topics in byte order goes on: whether a topic matches a pattern, and if not, in front of which key no
//! later topic can.
//!
//! The levels of a topic are not in the order of its bytes: between `a` and `a/b` stand `a!` and `a!/b`, since `!` is smaller
//! than `/`. What holds is that all topics that begin with the same levels and a `/` stand together: from `a/` up to, and
//! without, `a0`, since `0` is the byte behind `/`.

use super::label::level_end;

/// The byte behind `/`.
const BEHIND_SLASH: u8 = b'/' + 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Match,
    /// It does not match, and the very next topic might.
    Next,
    /// It does not match, nor does any topic from it up to, and without, the key.
    Seek,
    /// No later topic matches.
    End,
}

/// The smallest key that a topic with this pattern can have.
pub(super) fn first_key(pattern: &[u8]) -> &[u8] {
    match pattern.iter().position(|byte| matches!(byte, b'+' | b'#')) {
        None => pattern,
        // `a/#` matches `a`.
        Some(hash) if pattern[hash] == b'#' => &pattern[..hash.saturating_sub(1)],
        Some(plus) => &pattern[..plus],
    }
}

/// Compares a topic with a pattern; where the result is [`Step::Seek`], `key` is what to seek.
pub(super) fn step(pattern: &[u8], topic: &[u8], key: &mut Vec<u8>) -> Step {
    // Wildcards do not match a first level that begins with `$` ([MQTT-4.7.2-1]).
    if topic.first() == Some(&b'$') && matches!(pattern.first(), Some(b'+' | b'#')) {
        return seek(key, &[b'$' + 1], &[]);
    }
    let (mut p, mut t) = (0, 0);
    // Where the level ends that the last `+` stands for: with another value there, more might match.
    let mut plus_end = None;
    loop {
        let wanted = &pattern[p..level_end(pattern, p)];
        if wanted == b"#" {
            return Step::Match;
        }
        let end = level_end(topic, t);
        if wanted == b"+" {
            plus_end = Some(end);
        } else if wanted != &topic[t..end] {
            return pass(pattern, p, topic, t, key).unwrap_or_else(|| other_plus(topic, plus_end, key));
        }
        p += wanted.len() + 1;
        t = end + 1;
        match (p > pattern.len(), t > topic.len()) {
            (true, true) => return Step::Match,
            (true, false) => return other_plus(topic, plus_end, key),
            (false, true) => return longer(pattern, p, wanted, topic, key),
            (false, false) => {}
        }
    }
}

fn seek(key: &mut Vec<u8>, front: &[u8], back: &[u8]) -> Step {
    key.clear();
    key.extend_from_slice(front);
    key.extend_from_slice(back);
    Step::Seek
}

/// The literal level at `p` is another one than the topic's at `t`: if what the pattern wants comes later, behind what both
/// begin with, that is where to go on.
fn pass(pattern: &[u8], p: usize, topic: &[u8], t: usize, key: &mut Vec<u8>) -> Option<Step> {
    let more = &pattern[p..];
    let first = first_key(more);
    if first > &topic[t..] {
        return Some(seek(key, &topic[..t], first));
    }
    // `a/#` wants `a`, and what begins with `a/`; `a!` stands in between.
    let below = more.strip_prefix(first)? == b"/#";
    seek(key, &topic[..t], first);
    key.push(b'/');
    (below && key.as_slice() > topic).then_some(Step::Seek)
}

/// Nothing more can match with the value that the last `+` has here.
fn other_plus(topic: &[u8], plus_end: Option<usize>, key: &mut Vec<u8>) -> Step {
    match plus_end {
        None => Step::End,
        Some(end) => seek(key, &topic[..end], &[BEHIND_SLASH]),
    }
}

/// The topic matches as far as it goes, but the pattern has more levels, from `p` on. `last` is the level before.
fn longer(pattern: &[u8], p: usize, last: &[u8], topic: &[u8], key: &mut Vec<u8>) -> Step {
    let more = &pattern[p..];
    if more == b"#" {
        return Step::Match;
    }
    if last == b"+" {
        // `a!` comes before `a/`: another value of this `+`.
        return Step::Next;
    }
    seek(key, topic, b"/");
    key.extend_from_slice(first_key(more));
    Step::Seek
}

#[cfg(test)]
mod tests {
    use super::super::oracle::for_seeds;
    use super::*;
    use candor_protocol::packet::topic::pattern_matches;
    use std::collections::BTreeSet;

    fn step_of(pattern: &str, topic: &str) -> (Step, String) {
        let mut key = Vec::new();
        let step = step(pattern.as_bytes(), topic.as_bytes(), &mut key);
        (step, if step == Step::Seek { String::from_utf8(key).expect("UTF-8") } else { String::new() })
    }

    #[test]
    fn a_step_goes_as_far_as_the_pattern_allows() {
        let cases: &[(&str, &str, Step, &str)] = &[
            ("+/x/+", "a/x/b", Step::Match, ""),
            ("+/x/+", "a/b/c", Step::Seek, "a/x/"),
            ("+/x/+", "a/y/c", Step::Seek, "a0"),
            ("+/x/+", "a/x/b/c", Step::Seek, "a/x/b0"),
            ("+/x/+", "a/x", Step::Seek, "a/x/"),
            ("+/x/+", "a", Step::Next, ""),
            ("+/x/+", "$a/x/b", Step::Seek, "%"),
            ("a/+/b", "a/1/c", Step::Seek, "a/10"),
            ("a/+/b", "a/1/a/9", Step::Seek, "a/1/b"),
            ("a/+/b", "a!/1/b", Step::Seek, "a/"),
            ("a/+/b", "b", Step::End, ""),
            ("a/#", "a", Step::Match, ""),
            ("a/#", "a!", Step::Seek, "a/"),
            ("a/#", "a/b/c", Step::Match, ""),
            ("a/#", "a0", Step::End, ""),
            ("+/b/#", "a/b!/c", Step::Seek, "a/b/"),
            ("+/b/#", "a/a", Step::Seek, "a/b"),
            ("#", "$SYS/x", Step::Seek, "%"),
            ("#", "a", Step::Match, ""),
            ("+/x/y/+/z", "a/b", Step::Seek, "a/x/y/"),
            ("+/a/+", "x/a", Step::Seek, "x/a/"),
        ];
        for &(pattern, topic, expected, key) in cases {
            assert_eq!(step_of(pattern, topic), (expected, key.to_owned()), "{pattern} at {topic}");
        }
    }

    #[test]
    fn no_topic_that_matches_is_passed_over() {
        for_seeds(300, |dice| {
            let topics: BTreeSet<String> = (0..200).map(|_| dice.topic()).collect();
            let pattern = dice.pattern();
            let matches = |topic: &str| pattern_matches(pattern.as_bytes(), topic.as_bytes());
            assert!(topics.iter().filter(|topic| matches(topic)).all(|topic| topic.as_bytes() >= first_key(pattern.as_bytes())));
            for topic in &topics {
                let (step, key) = step_of(&pattern, topic);
                assert_eq!(step == Step::Match, matches(topic), "{pattern} at {topic}");
                let passed: Vec<_> = match step {
                    Step::Match | Step::Next => Vec::new(),
                    Step::Seek => {
                        assert!(key > *topic, "{pattern} goes back from {topic} to {key}");
                        topics.range(topic.clone()..key).collect()
                    }
                    Step::End => topics.range(topic.clone()..).collect(),
                };
                assert_eq!(passed.iter().find(|topic| matches(topic)), None, "{pattern} at {topic}");
            }
        });
    }
}
