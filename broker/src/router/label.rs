//! The levels on the way into a node of the pattern tree, and how they compare with a topic.

/// Labels up to this length stand in the node.
const INLINE_LEN_MAX: usize = 30;

/// One or more levels joined by `/`: `device/+/temperature`, or no byte for one empty level.
#[derive(Debug)]
pub(super) enum Label {
    Inline {
        len: u8,
        bytes: [u8; INLINE_LEN_MAX],
    },
    /// `inner_plus`: whether a level behind the first is `+`.
    Heap {
        inner_plus: bool,
        bytes: Box<[u8]>,
    },
}

/// Set in the length of a short label of which a level behind the first is `+`.
const INNER_PLUS: u8 = 1 << 7;

impl Default for Label {
    fn default() -> Self {
        Self::Inline { len: 0, bytes: [0; INLINE_LEN_MAX] }
    }
}

impl Label {
    pub(super) fn new(levels: &[u8]) -> Self {
        // In a valid pattern a `+` is a whole level.
        let inner_plus = levels.iter().skip(1).any(|&byte| byte == b'+');
        if levels.len() > INLINE_LEN_MAX {
            return Self::Heap { inner_plus, bytes: levels.into() };
        }
        let mut bytes = [0; INLINE_LEN_MAX];
        bytes[..levels.len()].copy_from_slice(levels);
        Self::Inline { len: levels.len() as u8 | if inner_plus { INNER_PLUS } else { 0 }, bytes }
    }

    #[inline]
    pub(super) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Inline { len, bytes } => &bytes[..usize::from(len & !INNER_PLUS)],
            Self::Heap { bytes, .. } => bytes,
        }
    }

    #[inline]
    fn has_inner_plus(&self) -> bool {
        match self {
            Self::Inline { len, .. } => len & INNER_PLUS != 0,
            Self::Heap { inner_plus, .. } => *inner_plus,
        }
    }

    /// Goes over the levels of the label, the first of which is literal, in the topic, from the level that starts at `at`. The
    /// result is where the level behind them starts, `topic.len() + 1` where the topic ends with them; `None` where they do
    /// not match.
    #[inline]
    pub(super) fn walk(&self, topic: &[u8], at: usize) -> Option<usize> {
        walk(self.as_bytes(), self.has_inner_plus(), topic, at)
    }

    /// As [`Label::walk`], for a label of which the first level is `+` and stands for the level that ends at `end`.
    #[inline]
    pub(super) fn walk_behind_plus(&self, topic: &[u8], end: usize) -> Option<usize> {
        match self.as_bytes().get(2..) {
            // The label is `+` alone.
            None => Some(end + 1),
            Some(rest) => walk(rest, self.has_inner_plus(), topic, end + 1),
        }
    }

    /// Bytes on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Self::Inline { .. } => 0,
            Self::Heap { bytes, .. } => bytes.len(),
        }
    }
}

#[inline]
fn walk(levels: &[u8], wildcards: bool, topic: &[u8], at: usize) -> Option<usize> {
    let rest = topic.get(at..)?;
    let behind = if wildcards { at + walk_wildcards(levels, rest)? } else { at + rest.strip_prefix(levels).map(|_| levels.len())? };
    matches!(topic.get(behind), None | Some(b'/')).then_some(behind + 1)
}

/// The length of what the levels match at the beginning of `topic`, which may be within a level.
fn walk_wildcards(levels: &[u8], topic: &[u8]) -> Option<usize> {
    let mut at = 0;
    for &byte in levels {
        match byte {
            // It begins a level, and so does `at`.
            b'+' => at = level_end(topic, at),
            _ if topic.get(at) == Some(&byte) => at += 1,
            _ => return None,
        }
    }
    Some(at)
}

/// Where the level that starts at `at` ends: at the next `/` or at the end of the text.
#[inline]
pub(super) fn level_end(text: &[u8], at: usize) -> usize {
    text[at..].iter().position(|&byte| byte == b'/').map_or(text.len(), |len| at + len)
}

#[inline]
pub(super) fn first_level(text: &[u8]) -> &[u8] {
    &text[..level_end(text, 0)]
}

/// Whether `level` is the whole first level of `label`.
#[inline]
pub(super) fn begins_with(label: &[u8], level: &[u8]) -> bool {
    label.strip_prefix(level).is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
}

/// The length of the levels that `a` and `b` begin with in common. Their first levels are the same.
pub(super) fn common_levels(a: &[u8], b: &[u8]) -> usize {
    let same = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let ends_level = |text: &[u8]| matches!(text.get(same), None | Some(b'/'));
    if ends_level(a) && ends_level(b) {
        return same;
    }
    a[..same].iter().rposition(|&byte| byte == b'/').unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_keeps_its_bytes_wherever_they_stand() {
        assert_eq!(size_of::<Label>(), 32);
        for len in [0, 1, INLINE_LEN_MAX, INLINE_LEN_MAX + 1, 65_535] {
            let levels = vec![b'x'; len];
            assert_eq!(Label::new(&levels).as_bytes(), levels);
        }
        assert_eq!(Label::new(&[b'x'; INLINE_LEN_MAX]).heap_bytes(), 0);
    }

    #[test]
    fn a_label_is_walked_level_by_level() {
        let cases: &[(&str, &str, usize, Option<usize>)] = &[
            ("a", "a", 0, Some(2)),
            ("a", "a/b", 0, Some(2)),
            ("a", "ab", 0, None),
            ("b", "a/b", 2, Some(4)),
            ("a/b", "a", 0, None),
            ("", "/x", 0, Some(1)),
            ("", "x/", 2, Some(3)),
            ("", "x", 2, None),
            ("/", "x/", 2, None),
            ("/", "x//", 2, Some(4)),
            ("a/+/c", "a/b/c/d", 0, Some(6)),
            ("a/+/c", "a//c", 0, Some(5)),
            ("a/+", "a", 0, None),
            ("a/+", "a/", 0, Some(3)),
            ("a/+/c", "a/b/x", 0, None),
            ("a/+/c", "a/b/cd", 0, None),
            ("a/+/c", "ab/b/c", 0, None),
            ("a/+/c", "a/b", 0, None),
            ("/+", "/", 0, Some(2)),
        ];
        for &(label, topic, at, expected) in cases {
            assert_eq!(Label::new(label.as_bytes()).walk(topic.as_bytes(), at), expected, "{label:?} in {topic:?} from {at}");
        }
        for (label, topic, end, expected) in [
            ("+", "ab", 2, Some(3)),
            ("+/", "ab/", 2, Some(4)),
            ("+/", "ab", 2, None),
            ("+/+/c", "a/b/c", 1, Some(6)),
            ("+/+", "a", 1, None),
            ("+/+", "a/", 1, Some(3)),
            ("+/c", "a/b", 1, None),
        ] {
            assert_eq!(Label::new(label.as_bytes()).walk_behind_plus(topic.as_bytes(), end), expected, "{label:?} in {topic:?}");
        }
    }

    #[test]
    fn common_levels_are_whole_levels() {
        let cases =
            [("a", "a", 1), ("a/b", "a/bc", 1), ("a/b", "a", 1), ("a/b/c", "a/b/d", 3), ("", "/x", 0), ("//x", "//y", 1), ("//", "///", 2)];
        for (a, b, expected) in cases {
            assert_eq!(common_levels(a.as_bytes(), b.as_bytes()), expected, "{a:?} and {b:?}");
            assert_eq!(common_levels(b.as_bytes(), a.as_bytes()), expected, "{b:?} and {a:?}");
        }
    }
}
