//! Patterns of rules: names with `*`, topic patterns with `%u` and `%c`, and the question whether two topic patterns meet.

use candor_protocol::packet::reserved::{SHARE, is_of};
use candor_protocol::packet::topic::{InvalidTopic, TopicFilter, levels, pattern_matches};
use std::fmt;

/// The longest pattern in a rule, in bytes.
pub const LEN_MAX: usize = 4096;

/// A part of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(Box<str>),
    /// `%u`: the user name.
    User,
    /// `%c`: the client identifier.
    ClientId,
    /// `*`, in names only: any run of characters.
    Any,
}

/// Why a pattern of a rule is not one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidPattern {
    Empty,
    TooLong,
    /// `%` before something other than `u`, `c` or `%`.
    Escape(String),
    /// It is no topic filter, whatever is filled in.
    Topic(InvalidTopic),
    /// It begins with `$share/`: rights are about topics, not about groups.
    Share,
}

impl fmt::Display for InvalidPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("it is empty"),
            Self::TooLong => write!(f, "it is longer than {LEN_MAX} bytes"),
            Self::Escape(escape) => write!(f, "`{}` stands for nothing", escape.escape_debug()),
            Self::Topic(why) => write!(f, "{why}"),
            Self::Share => f.write_str("rights are about topics: leave out $share/GROUP/"),
        }
    }
}

/// What `%u` and `%c` stand for.
#[derive(Debug, Clone, Copy)]
pub struct Names<'a> {
    /// `None` for an anonymous client.
    pub user: Option<&'a str>,
    pub client_id: &'a str,
}

/// Why a name cannot stand in a topic pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// `%u`, and the client is anonymous.
    Anonymous,
    /// The name that `what` calls holds this character, or begins with `$`.
    Holds { what: &'static str, character: char },
    /// The name that this calls is empty.
    Empty(&'static str),
    /// What comes out is longer than a topic filter can be.
    TooLong,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unfit::Anonymous => f.write_str("an anonymous client has no name to fill in for `%u`"),
            Unfit::Holds { what, character: '$' } => write!(f, "the {what} begins with `$`, so it is not filled in"),
            Unfit::Holds { what, character } => write!(f, "the {what} holds {character:?}, so it is not filled in"),
            Unfit::Empty(what) => write!(f, "the {what} is empty, so it is not filled in"),
            Unfit::TooLong => f.write_str("with the names filled in it is longer than a topic filter can be"),
        }
    }
}

/// A topic pattern of a rule: a topic filter in which `%u`, `%c` and `%%` may stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicPattern(Vec<Part>);

impl TopicPattern {
    /// # Errors
    /// Why it is none.
    pub fn new(text: &str) -> Result<Self, InvalidPattern> {
        if is_of(text.as_bytes(), SHARE) {
            return Err(InvalidPattern::Share);
        }
        let pattern = Self(parts(text, false)?);
        // Names that can be filled in hold none of the characters that a filter is judged by, so one trial tells for all.
        let trial = pattern.fill(Names { user: Some("u"), client_id: "c" }).unwrap_or_default();
        TopicFilter::new(&trial).map_err(InvalidPattern::Topic)?;
        Ok(pattern)
    }

    /// The pattern for one client.
    ///
    /// A name with `/`, `+` or `#`, one that begins with `$`, and an empty one would make the pattern another one than was
    /// written, so they are not filled in at all.
    ///
    /// # Errors
    /// Why a name cannot be filled in.
    pub fn fill(&self, names: Names<'_>) -> Result<String, Unfit> {
        let mut out = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::User => out.push_str(fit("user name", names.user.ok_or(Unfit::Anonymous)?)?),
                Part::ClientId => out.push_str(fit("client identifier", names.client_id)?),
                Part::Any => {}
            }
        }
        if out.len() > candor_protocol::packet::topic::TOPIC_LEN_MAX { Err(Unfit::TooLong) } else { Ok(out) }
    }
}

fn fit<'a>(what: &'static str, name: &'a str) -> Result<&'a str, Unfit> {
    if name.is_empty() {
        return Err(Unfit::Empty(what));
    }
    match name.chars().find(|c| matches!(c, '/' | '+' | '#' | '\0')) {
        Some(character) => Err(Unfit::Holds { what, character }),
        None if name.starts_with('$') => Err(Unfit::Holds { what, character: '$' }),
        None => Ok(name),
    }
}

/// A pattern for user names or client identifiers: `*` stands for any run of characters, `%u` for the user name, `%%` for `%`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamePattern {
    parts: Vec<Part>,
    /// The texts between the stars; `None` where they depend on the user.
    runs: Option<Vec<String>>,
}

impl NamePattern {
    /// # Errors
    /// Why it is none.
    pub fn new(text: &str) -> Result<Self, InvalidPattern> {
        let parts = parts(text, true)?;
        if parts.contains(&Part::ClientId) {
            return Err(InvalidPattern::Escape("%c".into()));
        }
        let runs = runs(&parts, None);
        Ok(Self { parts, runs })
    }

    /// Whether it has `%u`.
    pub fn names_user(&self) -> bool {
        self.runs.is_none()
    }

    /// Whether `name` fits. A user name that is filled in for `%u` counts as it is: no character in it is a wildcard.
    pub fn matches(&self, name: &str, user: Option<&str>) -> bool {
        match &self.runs {
            Some(runs) => wildcard(runs, name),
            None => runs(&self.parts, user).is_some_and(|runs| wildcard(&runs, name)),
        }
    }
}

/// The texts between the stars.
fn runs(parts: &[Part], user: Option<&str>) -> Option<Vec<String>> {
    let mut runs = Vec::new();
    let mut run = String::new();
    for part in parts {
        match part {
            Part::Any => runs.push(std::mem::take(&mut run)),
            Part::Text(text) => run.push_str(text),
            Part::User => run.push_str(user?),
            Part::ClientId => return None,
        }
    }
    runs.push(run);
    Some(runs)
}

/// Whether `name` is the texts in their order with anything between them.
fn wildcard(runs: &[String], name: &str) -> bool {
    match runs {
        [only] => name == only,
        [first, middle @ .., last] => {
            let Some(rest) = name.strip_prefix(&**first).and_then(|rest| rest.strip_suffix(&**last)) else { return false };
            // Each text is taken as early as it can stand, which is enough since what stands between is free.
            let mut rest = rest;
            middle.iter().all(|run| rest.find(&**run).map(|at| rest = &rest[at + run.len()..]).is_some())
        }
        [] => false,
    }
}

fn parts(text: &str, star: bool) -> Result<Vec<Part>, InvalidPattern> {
    match text.len() {
        0 => return Err(InvalidPattern::Empty),
        1..=LEN_MAX => {}
        _ => return Err(InvalidPattern::TooLong),
    }
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let part = match c {
            '%' => match chars.next() {
                Some('u') => Part::User,
                Some('c') => Part::ClientId,
                Some('%') => {
                    literal.push('%');
                    continue;
                }
                other => return Err(InvalidPattern::Escape(format!("%{}", other.map_or(String::new(), String::from)))),
            },
            '*' if star => Part::Any,
            c => {
                literal.push(c);
                continue;
            }
        };
        if !literal.is_empty() {
            parts.push(Part::Text(std::mem::take(&mut literal).into()));
        }
        parts.push(part);
    }
    if !literal.is_empty() {
        parts.push(Part::Text(literal.into()));
    }
    Ok(parts)
}

/// A topic filter that many topics are compared with: what is fixed in it is compared first, and in one go.
#[derive(Debug)]
pub struct Matcher {
    pattern: Box<str>,
    shape: Shape,
}

#[derive(Debug, Clone, Copy)]
enum Shape {
    /// No wildcard.
    Exact,
    /// `a/b/#`: a topic, and everything below it.
    Below,
    /// Wildcards, the first one at this byte.
    Wild(usize),
}

impl Matcher {
    /// `pattern` is a valid topic filter.
    pub fn new(pattern: String) -> Self {
        let shape = match pattern.find(['+', '#']) {
            None => Shape::Exact,
            Some(at) if at > 0 && pattern.as_bytes().get(at) == Some(&b'#') => Shape::Below,
            Some(at) => Shape::Wild(at),
        };
        Self { pattern: pattern.into(), shape }
    }

    pub fn as_str(&self) -> &str {
        &self.pattern
    }

    /// As [`pattern_matches`].
    pub fn matches(&self, topic: &[u8]) -> bool {
        let pattern = self.pattern.as_bytes();
        match self.shape {
            Shape::Exact => topic == pattern,
            Shape::Below => {
                let stem = pattern.strip_suffix(b"/#").unwrap_or(pattern);
                topic.strip_prefix(stem).is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
            }
            Shape::Wild(at) => topic.starts_with(&pattern[..at]) && pattern_matches(pattern, topic),
        }
    }
}

/// Whether there is a topic that both patterns match; both are valid patterns (MQTT 3.1.1, section 4.7).
pub fn overlap(a: &[u8], b: &[u8]) -> bool {
    // A wildcard in the first level does not match topics that begin with `$` [MQTT-4.7.2-1].
    let wild = |pattern: &[u8]| matches!(pattern.first(), Some(b'+' | b'#'));
    let reserved = |pattern: &[u8]| pattern.first() == Some(&b'$');
    if (wild(a) && reserved(b)) || (wild(b) && reserved(a)) {
        return false;
    }
    let (mut a, mut b) = (levels(a), levels(b));
    // Whether all that both have in common so far is one empty level: `/#` matches the level above it, but no topic is empty.
    let mut nothing = false;
    for depth in 0.. {
        match (a.next(), b.next()) {
            (Some(b"#"), None) | (None, Some(b"#")) => return !nothing,
            (Some(b"#"), _) | (_, Some(b"#")) | (None, None) => return true,
            (Some(x), Some(y)) if x == y || x == b"+" || y == b"+" => nothing = depth == 0 && (x.is_empty() || y.is_empty()),
            _ => return false,
        }
    }
    false
}

/// A small world of topics and patterns, in which a question about all topics can be answered by trying each.
#[cfg(test)]
pub(super) mod world {
    use candor_protocol::packet::topic::TopicFilter;
    use proptest::prelude::*;

    /// All topics of up to three levels over a small alphabet, those that begin with `$` included.
    pub(in crate::auth) fn topics() -> Vec<String> {
        let words = ["", "a", "b", "$a"];
        let mut all: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        for _ in 0..2 {
            let longer: Vec<String> = all.iter().flat_map(|topic| words.map(|word| format!("{topic}/{word}"))).collect();
            all.extend(longer);
        }
        all.retain(|topic| !topic.is_empty());
        all
    }

    pub(in crate::auth) fn pattern() -> impl Strategy<Value = String> {
        let level = prop::sample::select(vec!["", "a", "b", "+", "$a"]);
        (prop::collection::vec(level, 1..=3), any::<bool>())
            .prop_map(|(levels, hash)| if hash && levels.len() < 3 { format!("{}/#", levels.join("/")) } else { levels.join("/") })
            .prop_filter("valid", |text| TopicFilter::new(text).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::world::{pattern, topics};
    use super::*;
    use candor_protocol::packet::topic::pattern_covers;
    use proptest::prelude::*;

    fn fill(pattern: &str, user: Option<&str>, client_id: &str) -> Result<String, Unfit> {
        TopicPattern::new(pattern).unwrap().fill(Names { user, client_id })
    }

    #[test]
    fn names_are_filled_in() {
        assert_eq!(fill("plant/%u/+/%c/#", Some("alice"), "c1"), Ok("plant/alice/+/c1/#".into()));
        assert_eq!(fill("dev-%c-x/100%%", None, "c1"), Ok("dev-c1-x/100%".into()));
        assert_eq!(fill("%u", Some("Zähler λ*%"), ""), Ok("Zähler λ*%".into()));
    }

    #[test]
    fn a_name_never_widens_or_moves_a_pattern() {
        for name in ["a/b", "/", "+", "#", "a+", "a#", "+/#", "$SYS", "$share", "a\0", ""] {
            assert!(fill("t/%u/#", Some(name), "c").is_err(), "{name:?}");
            assert!(fill("%c/#", Some("u"), name).is_err(), "{name:?}");
            assert!(fill("x%c", Some("u"), name).is_err(), "{name:?}");
        }
        assert_eq!(fill("t/%u", None, "c"), Err(Unfit::Anonymous));
        assert_eq!(fill("t/%u", Some("a#b"), "c").unwrap_err().to_string(), "the user name holds '#', so it is not filled in");
        assert_eq!(fill("t/%c", None, "$x").unwrap_err().to_string(), "the client identifier begins with `$`, so it is not filled in");
        assert_eq!(fill(&"%c".repeat(2000), None, &"x".repeat(100)), Err(Unfit::TooLong));
    }

    #[test]
    fn a_pattern_that_is_none_is_told_why() {
        let why = |text: &str| TopicPattern::new(text).unwrap_err().to_string();
        assert_eq!(why(""), "it is empty");
        assert_eq!(why("a/#/b"), "`#` must be the whole of the last level");
        assert_eq!(why("a/%u+"), "`+` must be the whole of its level");
        assert_eq!(why("a/%x"), "`%x` stands for nothing");
        assert_eq!(why("a/%"), "`%` stands for nothing");
        assert_eq!(why("$share/g/a"), "rights are about topics: leave out $share/GROUP/");
        assert_eq!(why("a\0"), "it holds the character U+0000");
        assert_eq!(why(&"a".repeat(5000)), "it is longer than 4096 bytes");
        assert_eq!(NamePattern::new("%c").unwrap_err().to_string(), "`%c` stands for nothing");
    }

    #[test]
    fn a_star_stands_for_any_run_of_characters() {
        let cases = [
            ("alice", "alice", true),
            ("alice", "alice2", false),
            ("*", "", true),
            ("sensor-*", "sensor-", true),
            ("sensor-*", "sensor-1/x", true),
            ("*-prod", "a-prod-prod", true),
            ("*-prod", "a-prod-", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("a*a", "a", false),
            ("a**b", "ab", true),
            ("%u-*", "bob-7", true),
            ("*-%u", "7-bob", true),
            ("%u*%u", "bobbob", true),
            ("%u*%u", "bob", false),
            ("*x%uy*", "..xboby..", true),
            ("*x%uy*", "..x.boby..", false),
            ("*x%uy*", "xboxboby", true),
            ("100%%", "100%", true),
        ];
        for (pattern, name, expected) in cases {
            assert_eq!(NamePattern::new(pattern).unwrap().matches(name, Some("bob")), expected, "{pattern} and {name}");
        }
    }

    #[test]
    fn a_star_in_a_user_name_is_no_wildcard() {
        assert!(!NamePattern::new("%u").unwrap().matches("anything", Some("*")));
        assert!(NamePattern::new("%u").unwrap().matches("*", Some("*")));
        assert!(!NamePattern::new("%u").unwrap().matches("x", None));
    }

    #[test]
    fn hostile_names_do_not_make_matching_slow() {
        let pattern = NamePattern::new(&"*a".repeat(1000)).unwrap();
        let start = std::time::Instant::now();
        assert!(!pattern.matches(&"b".repeat(65_535), None));
        assert!(!pattern.matches(&format!("{}b", "a".repeat(65_534)), None));
        assert!(start.elapsed().as_secs() < 5);
    }

    #[test]
    fn the_empty_topic_is_no_meeting_place() {
        for (a, b, expected) in [("/#", "+", false), ("/#", "/+", true), ("+/#", "+", true), ("/#", "/#", true), ("$a/#", "+", false)] {
            assert_eq!((overlap(a.as_bytes(), b.as_bytes()), overlap(b.as_bytes(), a.as_bytes())), (expected, expected), "{a} and {b}");
        }
    }

    proptest! {
        #[test]
        fn the_short_way_matches_what_the_long_way_does(pattern in pattern()) {
            let matcher = Matcher::new(pattern.clone());
            for topic in topics() {
                prop_assert_eq!(matcher.matches(topic.as_bytes()), pattern_matches(pattern.as_bytes(), topic.as_bytes()), "{} and {}", pattern, topic);
            }
        }

        #[test]
        fn patterns_overlap_exactly_where_they_share_a_topic(a in pattern(), b in pattern()) {
            let shared = topics().iter().any(|t| pattern_matches(a.as_bytes(), t.as_bytes()) && pattern_matches(b.as_bytes(), t.as_bytes()));
            prop_assert_eq!(overlap(a.as_bytes(), b.as_bytes()), shared, "{} and {}", a, b);
            prop_assert_eq!(overlap(a.as_bytes(), b.as_bytes()), overlap(b.as_bytes(), a.as_bytes()));
        }

        #[test]
        fn what_covers_overlaps(a in pattern(), b in pattern()) {
            let has_topic = topics().iter().any(|t| pattern_matches(b.as_bytes(), t.as_bytes()));
            if has_topic && pattern_covers(a.as_bytes(), b.as_bytes()) {
                prop_assert!(overlap(a.as_bytes(), b.as_bytes()), "{} over {}", a, b);
            }
        }
    }
}
