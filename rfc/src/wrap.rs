//! Text in columns.

/// Breaks `text` at spaces into lines of at most `width` characters; a word that is longer is cut.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        let mut word: Vec<char> = word.chars().collect();
        let len = line.chars().count();
        if len > 0 && len + 1 + word.len() <= width {
            line.push(' ');
        } else if len > 0 {
            lines.push(std::mem::take(&mut line));
        }
        while word.len() > width {
            let rest = word.split_off(width);
            lines.push(word.into_iter().collect());
            word = rest;
        }
        line.extend(word);
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}

/// Breaks the path of an item behind a `:` or `_`, into lines of at most `width` characters.
pub(crate) fn wrap_path(path: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for part in path.split_inclusive([':', '_']) {
        let len = lines.last().map_or(0, |line| line.chars().count());
        if len > 0 && len + part.chars().count() > width {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            line.push_str(part);
        }
    }
    // A single part that is too long is cut as any other word.
    lines.iter().flat_map(|line| wrap(line, width)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_breaks_between_its_words() {
        assert_eq!(wrap_path("acks::in_order", 20), ["acks::in_order"]);
        assert_eq!(wrap_path("acks::in_order", 10), ["acks::in_", "order"]);
        assert_eq!(wrap_path("a::abcdefgh", 4), ["a::", "abcd", "efgh"]);
    }

    #[test]
    fn lines_are_as_long_as_fits_and_no_longer() {
        assert_eq!(wrap("one two  three", 7), ["one two", "three"]);
        assert_eq!(wrap("a abcdefgh b", 3), ["a", "abc", "def", "gh", "b"]);
        assert_eq!(wrap("ab abcdef", 6), ["ab", "abcdef"]);
        assert_eq!(wrap("  ", 3), [""; 0]);
    }
}
