//! Topics that are the server's own, by what they begin with.

/// A client's own view of what became of what it did.
pub const FEEDBACK: &str = "$feedback/";
/// What the server says of itself.
pub const SYS: &str = "$SYS/";
/// `$share/GROUP/FILTER`: a filter whose messages go to one member of the group.
pub const SHARE: &str = "$share/";
/// `$envelope/FILTER`: the messages of a filter, each with all that is said of it in its payload.
pub const ENVELOPE: &str = "$envelope/";
/// Messages that subscribers rejected, or gave back too often.
pub const DEAD_LETTERS: &str = "$dead-letters/";
/// What operators ask about other clients.
pub const OPERATOR: &str = "$operator/";

/// Each of them.
pub const PREFIXES: [&str; 6] = [FEEDBACK, SYS, SHARE, ENVELOPE, DEAD_LETTERS, OPERATOR];

/// Whether a topic or filter stands below the prefix, or is its first level alone.
pub fn is_of(text: &[u8], prefix: &str) -> bool {
    let prefix = prefix.as_bytes();
    text.starts_with(prefix) || prefix.strip_suffix(b"/") == Some(text)
}

/// Whether a topic is one that only the server publishes to.
pub fn is_reserved(topic: &[u8]) -> bool {
    topic.first() == Some(&b'$') && PREFIXES.iter().any(|prefix| is_of(topic, prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_begins_with_a_prefix_or_is_its_first_level_is_reserved_and_nothing_else() {
        for prefix in PREFIXES {
            let level = prefix.strip_suffix('/').expect("a prefix ends its first level");
            for reserved in [level.to_owned(), prefix.to_owned(), format!("{prefix}a/b")] {
                assert!(is_reserved(reserved.as_bytes()), "{reserved}");
            }
            for free in [format!("{level}s"), format!("{level}s/a"), format!("a/{prefix}"), level.replace('$', ""), format!("${prefix}")] {
                assert!(!is_reserved(free.as_bytes()), "{free}");
            }
        }
        for free in ["", "$", "$/", "$sys/", "a"] {
            assert!(!is_reserved(free.as_bytes()), "{free}");
        }
    }
}
