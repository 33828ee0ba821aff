//! Topic names and topic filters, parsed once into types that cannot be wrong.
//!
//! The rules are those of MQTT 3.1.1, section 4.7; levels are compared byte by byte, with no normalisation
//! ([MQTT-4.7.3-4]).

use super::reserved::{SHARE, is_of};
use std::fmt;
use std::sync::Arc;

/// The longest topic name or topic filter, in bytes ([MQTT-4.7.3-3]).
pub const TOPIC_LEN_MAX: usize = 65_535;

/// Why a string is not a topic name or not a topic filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum InvalidTopic {
    /// It has no character ([MQTT-4.7.3-1]).
    Empty,
    /// It has more than 65,535 bytes ([MQTT-4.7.3-3]).
    TooLong,
    /// It holds U+0000 ([MQTT-4.7.3-2]).
    Nul,
    /// It is not UTF-8 ([MQTT-1.5.3-1]).
    NotUtf8,
    /// A topic name holds `+` or `#` ([MQTT-4.7.1-1]).
    WildcardInName,
    /// `#` is not the whole of the last level ([MQTT-4.7.1-2]).
    MisplacedHash,
    /// `+` is not the whole of its level ([MQTT-4.7.1-3]).
    MisplacedPlus,
    /// `$share/` without a group name, without a filter behind it, or with a wildcard in the group name.
    BadShare,
}

impl InvalidTopic {
    /// The statement of MQTT 3.1.1 that is broken; empty where the rule is our own.
    pub const fn statement(self) -> &'static str {
        match self {
            Self::Empty => "MQTT-4.7.3-1",
            Self::TooLong => "MQTT-4.7.3-3",
            Self::Nul => "MQTT-4.7.3-2",
            Self::NotUtf8 => "MQTT-1.5.3-1",
            Self::WildcardInName => "MQTT-4.7.1-1",
            Self::MisplacedHash => "MQTT-4.7.1-2",
            Self::MisplacedPlus => "MQTT-4.7.1-3",
            Self::BadShare => "",
        }
    }
}

impl fmt::Display for InvalidTopic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "it is empty",
            Self::TooLong => "it is longer than 65,535 bytes",
            Self::Nul => "it holds the character U+0000",
            Self::NotUtf8 => "it is not well-formed UTF-8",
            Self::WildcardInName => "a topic name holds no wildcard (`+` or `#`)",
            Self::MisplacedHash => "`#` must be the whole of the last level",
            Self::MisplacedPlus => "`+` must be the whole of its level",
            Self::BadShare => "a shared subscription has the form $share/GROUP/FILTER, the group name without `/`, `+` or `#`",
        })
    }
}

impl std::error::Error for InvalidTopic {}

/// Checks the bytes of a topic name where they stand, without taking them over.
///
/// # Errors
/// The first rule of section 4.7 that is broken.
pub fn check_name(name: &[u8]) -> Result<(), InvalidTopic> {
    // Almost every name is ASCII without anything to object to, and that can be seen of many bytes at a time.
    if !name.is_empty() && name.len() <= TOPIC_LEN_MAX && is_plain(name) {
        return Ok(());
    }
    check_common(name)?;
    if name.iter().any(|&b| b == b'+' || b == b'#') {
        return Err(InvalidTopic::WildcardInName);
    }
    Ok(())
}

/// Whether all bytes are ASCII, and none is U+0000, `+` or `#`.
fn is_plain(name: &[u8]) -> bool {
    let (words, rest) = name.as_chunks::<8>();
    let found = words.iter().fold(0, |found, word| found | objections(*word));
    let last = match (rest, name.last_chunk::<8>()) {
        ([], _) => return found & HIGH == 0,
        (_, Some(last)) => *last,
        _ => std::array::from_fn(|at| rest.get(at).copied().unwrap_or(b'/')),
    };
    (found | objections(last)) & HIGH == 0
}

const ONES: u64 = u64::MAX / 0xFF;
/// The highest bit of each byte.
const HIGH: u64 = ONES << 7;

/// Has one of the [`HIGH`] bits exactly if a byte is no ASCII, U+0000, `+` or `#`.
fn objections(word: [u8; 8]) -> u64 {
    // They differ in this bit alone.
    const BIT: u8 = b'+' ^ b'#';
    let word = u64::from_le_bytes(word);
    let wildcards = (word & !(ONES * u64::from(BIT))) ^ (ONES * u64::from(b'#' & b'+'));
    // Of ASCII bytes only one that is 0 gets its highest bit when 1 is taken from each, or one above it.
    word | word.wrapping_sub(ONES) | wildcards.wrapping_sub(ONES)
}

fn check_common(text: &[u8]) -> Result<(), InvalidTopic> {
    if text.is_empty() {
        return Err(InvalidTopic::Empty);
    }
    if text.len() > TOPIC_LEN_MAX {
        return Err(InvalidTopic::TooLong);
    }
    if std::str::from_utf8(text).is_err() {
        return Err(InvalidTopic::NotUtf8);
    }
    if text.contains(&0) {
        return Err(InvalidTopic::Nul);
    }
    Ok(())
}

/// The levels of a topic name or filter: the parts between `/`, empty ones included.
pub fn levels(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|&b| b == b'/')
}

/// A topic name: what a PUBLISH is sent to.
///
/// ```
/// use candor_protocol::packet::topic::TopicName;
/// assert!(TopicName::new("sensors/kitchen/temperature").is_ok());
/// assert!(TopicName::new("sensors/+/temperature").is_err());
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicName(Arc<str>);

impl TopicName {
    /// # Errors
    /// The first rule of section 4.7 that `name` breaks.
    pub fn new(name: impl AsRef<str>) -> Result<Self, InvalidTopic> {
        let name = name.as_ref();
        check_name(name.as_bytes())?;
        Ok(Self(name.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A topic filter: what a SUBSCRIBE asks for. `$share/GROUP/FILTER` is one filter with a group.
///
/// ```
/// use candor_protocol::packet::topic::TopicFilter;
/// let filter = TopicFilter::new("$share/readers/sensors/#").unwrap();
/// assert_eq!(filter.group(), Some("readers"));
/// assert_eq!(filter.pattern(), "sensors/#");
/// assert!(filter.matches("sensors"));
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicFilter {
    text: Arc<str>,
    /// Where the pattern starts: behind `$share/GROUP/`, or 0.
    pattern_at: u16,
}

impl TopicFilter {
    /// # Errors
    /// The first rule of section 4.7, or of the form `$share/GROUP/FILTER`, that `filter` breaks.
    pub fn new(filter: impl AsRef<str>) -> Result<Self, InvalidTopic> {
        let text = filter.as_ref();
        check_common(text.as_bytes())?;
        let pattern_at = match text.strip_prefix(SHARE) {
            None if is_of(text.as_bytes(), SHARE) => return Err(InvalidTopic::BadShare),
            None => 0,
            Some(rest) => {
                let (group, pattern) = rest.split_once('/').ok_or(InvalidTopic::BadShare)?;
                if group.is_empty() || pattern.is_empty() || group.contains(['+', '#']) {
                    return Err(InvalidTopic::BadShare);
                }
                SHARE.len() + group.len() + 1
            }
        };
        check_wildcards(&text.as_bytes()[pattern_at..])?;
        // A filter has at most 65,535 bytes, so an offset into it fits.
        Ok(Self { text: text.into(), pattern_at: pattern_at as u16 })
    }

    /// The whole filter, `$share/GROUP/` included.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The part that is matched against topic names: the filter without `$share/GROUP/`.
    pub fn pattern(&self) -> &str {
        &self.text[usize::from(self.pattern_at)..]
    }

    /// The group of a shared subscription.
    pub fn group(&self) -> Option<&str> {
        match self.pattern_at {
            0 => None,
            at => Some(&self.text[SHARE.len()..usize::from(at) - 1]),
        }
    }

    /// Whether the pattern holds `+` or `#`.
    pub fn has_wildcard(&self) -> bool {
        self.pattern().contains(['+', '#'])
    }

    /// Whether a message to `topic` belongs to this filter (section 4.7; a pattern that begins with a wildcard
    /// does not match topics that begin with `$`, [MQTT-4.7.2-1]).
    pub fn matches(&self, topic: &str) -> bool {
        pattern_matches(self.pattern().as_bytes(), topic.as_bytes())
    }
}

/// As [`TopicFilter::matches`], on a pattern and a topic name that are known to be valid.
pub fn pattern_matches(pattern: &[u8], topic: &[u8]) -> bool {
    if topic.first() == Some(&b'$') && matches!(pattern.first(), Some(b'+' | b'#')) {
        return false;
    }
    let mut topic_levels = levels(topic);
    for level in levels(pattern) {
        match (level, topic_levels.next()) {
            // `a/#` matches `a` too: `#` stands for the parent and any number of levels below it.
            (b"#", _) => return true,
            (b"+", Some(_)) => {}
            (level, Some(other)) if level == other => {}
            _ => return false,
        }
    }
    topic_levels.next().is_none()
}

/// Whether every topic that `narrow` matches is matched by `wide` too; both are valid patterns.
/// Used where a right to a pattern is compared with a filter that somebody asks for.
pub fn pattern_covers(wide: &[u8], narrow: &[u8]) -> bool {
    if narrow.first() == Some(&b'$') && matches!(wide.first(), Some(b'+' | b'#')) {
        return false;
    }
    // `#` stands for its parent too, but `#` has none and the parent of `/#` has no character, so it is no topic.
    let narrow: &[u8] = match narrow {
        b"#" => b"+/#",
        b"/#" => b"/+/#",
        other => other,
    };
    let mut narrow_levels = levels(narrow);
    for level in levels(wide) {
        match (level, narrow_levels.next()) {
            (b"#", _) => return true,
            (_, Some(b"#")) | (_, None) => return false,
            (b"+", Some(_)) => {}
            (level, Some(other)) if level == other => {}
            _ => return false,
        }
    }
    narrow_levels.next().is_none()
}

fn check_wildcards(pattern: &[u8]) -> Result<(), InvalidTopic> {
    let mut after_hash = false;
    for level in levels(pattern) {
        if after_hash {
            return Err(InvalidTopic::MisplacedHash);
        }
        match level {
            b"#" => after_hash = true,
            b"+" => {}
            _ if level.contains(&b'#') => return Err(InvalidTopic::MisplacedHash),
            _ if level.contains(&b'+') => return Err(InvalidTopic::MisplacedPlus),
            _ => {}
        }
    }
    Ok(())
}

impl fmt::Debug for TopicFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.text, f)
    }
}

impl fmt::Display for TopicFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_objection_is_found_at_every_place() {
        for len in 1..=26 {
            for at in 0..len {
                for byte in 0..=u8::MAX {
                    let mut name = vec![b'a'; len];
                    name[at] = byte;
                    let expected = byte.is_ascii() && ![0, b'+', b'#'].contains(&byte);
                    assert_eq!(is_plain(&name), expected, "{byte:#x} at {at} of {len}");
                }
            }
        }
    }

    #[test]
    fn a_name_obeys_section_4_7() {
        assert_eq!(TopicName::new(""), Err(InvalidTopic::Empty));
        assert_eq!(TopicName::new("a\0b"), Err(InvalidTopic::Nul));
        assert_eq!(TopicName::new("a/+"), Err(InvalidTopic::WildcardInName));
        assert_eq!(TopicName::new("a#"), Err(InvalidTopic::WildcardInName));
        assert_eq!(TopicName::new("x".repeat(65_536)), Err(InvalidTopic::TooLong));
        for good in ["/", "a", "/a", "a//b", "$SYS/x", "Zähler/λ", "\u{feff}a", " "] {
            assert_eq!(TopicName::new(good).map(|t| t.as_str().to_owned()), Ok(good.to_owned()));
        }
    }

    #[test]
    fn a_filter_has_its_wildcards_in_place() {
        for good in ["#", "+", "a/#", "+/+", "/+", "a/+/b/#", "/#", "//", "$SYS/#"] {
            assert!(TopicFilter::new(good).is_ok(), "{good}");
        }
        for bad in ["a#", "#/a", "a/#/b", "##"] {
            assert_eq!(TopicFilter::new(bad), Err(InvalidTopic::MisplacedHash), "{bad}");
        }
        for bad in ["a+", "+a", "a/b+/c", "++"] {
            assert_eq!(TopicFilter::new(bad), Err(InvalidTopic::MisplacedPlus), "{bad}");
        }
        for bad in ["$share", "$share/", "$share/g", "$share/g/", "$share//a", "$share/+/a", "$share/g#/a"] {
            assert_eq!(TopicFilter::new(bad), Err(InvalidTopic::BadShare), "{bad}");
        }
    }

    #[test]
    fn matching_follows_the_examples_of_section_4_7() {
        let cases: &[(&str, &str, bool)] = &[
            ("sport/tennis/player1/#", "sport/tennis/player1", true),
            ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true),
            ("sport/#", "sport", true),
            ("#", "sport", true),
            ("sport/tennis/+", "sport/tennis/player1", true),
            ("sport/tennis/+", "sport/tennis/player1/ranking", false),
            ("sport/+", "sport", false),
            ("sport/+", "sport/", true),
            ("+/+", "/finance", true),
            ("/+", "/finance", true),
            ("+", "/finance", false),
            ("#", "$SYS/monitor", false),
            ("+/monitor/Clients", "$SYS/monitor/Clients", false),
            ("$SYS/#", "$SYS/monitor", true),
            ("$SYS/monitor/+", "$SYS/monitor/Clients", true),
            ("ACCOUNTS", "Accounts", false),
            ("a/+/c", "a//c", true),
        ];
        for &(filter, topic, expected) in cases {
            assert_eq!(TopicFilter::new(filter).unwrap().matches(topic), expected, "{filter} and {topic}");
        }
    }

    #[test]
    fn covering_is_about_every_topic_of_the_narrow_filter() {
        let cases: &[(&str, &str, bool)] = &[
            ("a/#", "a/b/+", true),
            ("a/#", "a", true),
            ("a/#", "a/#", true),
            ("a/+", "a/b", true),
            ("a/+", "a/#", false),
            ("a/+", "a/+", true),
            ("+/b", "#", false),
            ("#", "$SYS/#", false),
            ("#", "+/x", true),
            ("+/#", "#", true),
            ("/+/#", "/#", true),
            ("+/+/#", "/#", true),
            ("a/+/#", "a/#", false),
            ("a/b", "a/+", false),
        ];
        for &(wide, narrow, expected) in cases {
            assert_eq!(pattern_covers(wide.as_bytes(), narrow.as_bytes()), expected, "{wide} over {narrow}");
        }
    }

    #[test]
    fn a_shared_filter_has_a_group_and_a_pattern() {
        let filter = TopicFilter::new("$share/g/a/+").unwrap();
        assert_eq!((filter.group(), filter.pattern(), filter.as_str()), (Some("g"), "a/+", "$share/g/a/+"));
        assert!(filter.matches("a/b") && !filter.matches("$share/g/a/b"));
    }
}
