//! The text of a Rust source file as tokens: as much of the language as it takes to know what is a comment, what is a
//! string, and where a brace opens and closes.

use std::fmt;

/// A token and the line that it starts on, from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    pub line: usize,
    pub kind: TokenKind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenKind {
    /// One line of a doc comment, without its marker and the one space behind it.
    Doc { text: String, inner: bool },
    /// An identifier, a keyword or a number.
    Word(String),
    /// What stands between the quotes of a string, escapes left as they are.
    Text(String),
    /// A character or lifetime, of which nothing more is needed.
    Other,
    /// Any other character.
    Mark(char),
}

/// The text ends inside something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unterminated {
    /// Where it starts.
    pub line: usize,
    pub what: &'static str,
}

impl fmt::Display for Unterminated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the file ends inside the {} that starts here", self.what)
    }
}

/// The tokens of `text`.
///
/// # Errors
/// A string, character or comment that does not end.
pub fn tokens(text: &str) -> Result<Vec<Token>, Unterminated> {
    let mut lexer = Lexer { rest: text, line: 1, tokens: Vec::new() };
    while let Some(first) = lexer.rest.chars().next() {
        lexer.token(first)?;
    }
    Ok(lexer.tokens)
}

struct Lexer<'a> {
    rest: &'a str,
    line: usize,
    tokens: Vec<Token>,
}

impl<'a> Lexer<'a> {
    fn token(&mut self, first: char) -> Result<(), Unterminated> {
        if first.is_whitespace() {
            self.take(first.len_utf8());
        } else if self.rest.starts_with("//") {
            self.line_comment();
        } else if self.rest.starts_with("/*") {
            self.block_comment()?;
        } else if first == '"' {
            self.string(1)?;
        } else if first == '\'' {
            self.quote()?;
        } else if first.is_alphanumeric() || first == '_' {
            self.word()?;
        } else {
            self.push(self.line, TokenKind::Mark(first));
            self.take(first.len_utf8());
        }
        Ok(())
    }

    fn push(&mut self, line: usize, kind: TokenKind) {
        self.tokens.push(Token { line, kind });
    }

    /// Takes `len` bytes off and counts their lines.
    fn take(&mut self, len: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(len);
        self.line += taken.matches('\n').count();
        self.rest = rest;
        taken
    }

    fn unterminated<T>(&self, what: &'static str) -> Result<T, Unterminated> {
        Err(Unterminated { line: self.line, what })
    }

    fn line_comment(&mut self) {
        let line = self.line;
        let text = self.take(self.rest.find('\n').unwrap_or(self.rest.len()));
        let doc = |text: &str| text.strip_prefix(' ').unwrap_or(text).trim_end().to_owned();
        if let Some(text) = text.strip_prefix("//!") {
            self.push(line, TokenKind::Doc { text: doc(text), inner: true });
        } else if let Some(text) = text.strip_prefix("///").filter(|text| !text.starts_with('/')) {
            self.push(line, TokenKind::Doc { text: doc(text), inner: false });
        }
    }

    /// A block comment, which may hold others.
    fn block_comment(&mut self) -> Result<(), Unterminated> {
        let line = self.line;
        let (mut depth, mut len) = (0, 0);
        loop {
            let rest = &self.rest[len..];
            match rest.find("*/").map(|end| (end, rest.find("/*").filter(|start| *start < end))) {
                None => return self.unterminated("comment"),
                Some((_, Some(start))) => (depth, len) = (depth + 1, len + start + 2),
                Some((end, None)) => (depth, len) = (depth - 1, len + end + 2),
            }
            if depth == 0 {
                break;
            }
        }
        let text = self.take(len);
        let inner = text.starts_with("/*!");
        if inner || text.starts_with("/**") && !text.starts_with("/***") && text.len() > 4 {
            for (at, text) in text[3..text.len() - 2].lines().enumerate() {
                let text = text.trim();
                let text = text.strip_prefix('*').map_or(text, str::trim_start);
                self.push(line + at, TokenKind::Doc { text: text.to_owned(), inner });
            }
        }
        Ok(())
    }

    /// A string with escapes, whose opening quote is the last of the next `open` bytes.
    fn string(&mut self, open: usize) -> Result<(), Unterminated> {
        let line = self.line;
        let body = &self.rest[open..];
        let mut escaped = false;
        let end = body.bytes().position(|byte| {
            let ends = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            ends
        });
        let Some(end) = end else { return self.unterminated("string") };
        self.push(line, TokenKind::Text(body[..end].to_owned()));
        self.take(open + end + 1);
        Ok(())
    }

    /// A raw string: `prefix` letters, `hashes` hashes, a quote.
    fn raw_string(&mut self, prefix: usize, hashes: usize) -> Result<(), Unterminated> {
        let line = self.line;
        let open = prefix + hashes + 1;
        let close = format!("\"{}", "#".repeat(hashes));
        let body = &self.rest[open..];
        let Some(end) = body.find(&close) else { return self.unterminated("raw string") };
        self.push(line, TokenKind::Text(body[..end].to_owned()));
        self.take(open + end + close.len());
        Ok(())
    }

    /// A character, or a lifetime.
    fn quote(&mut self) -> Result<(), Unterminated> {
        let mut chars = self.rest.char_indices().skip(1);
        let (first, second) = (chars.next(), chars.next());
        let len = match (first, second) {
            (Some((_, '\\')), Some((at, escape))) => {
                let from = at + escape.len_utf8();
                match self.rest[from..].find('\'') {
                    Some(end) => from + end + 1,
                    None => return self.unterminated("character"),
                }
            }
            (_, Some((at, '\''))) => at + 1,
            _ => 1 + self.rest[1..].find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(self.rest.len() - 1),
        };
        self.push(self.line, TokenKind::Other);
        self.take(len);
        Ok(())
    }

    /// A word, or what its letters are the prefix of: a string, a character, a raw identifier.
    fn word(&mut self) -> Result<(), Unterminated> {
        let len = self.rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(len);
        let hashes = rest.bytes().take_while(|byte| *byte == b'#').count();
        match (word, rest[hashes..].chars().next()) {
            ("r" | "br" | "cr", Some('"')) => return self.raw_string(len, hashes),
            ("b" | "c", Some('"')) if hashes == 0 => return self.string(len + 1),
            ("b", Some('\'')) if hashes == 0 => {
                self.take(len);
                return self.quote();
            }
            ("r", Some(first)) if hashes == 1 && (first.is_alphanumeric() || first == '_') => {
                // The word alone would read like the keyword that it is not.
                let len = rest[1..].find(|c: char| !c.is_alphanumeric() && c != '_').map_or(self.rest.len(), |len| 2 + len);
                self.push(self.line, TokenKind::Word(self.rest[..len].to_owned()));
                self.take(len);
                return Ok(());
            }
            _ => {}
        }
        self.push(self.line, TokenKind::Word(word.to_owned()));
        self.take(len);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words and marks as they are, strings in «», doc lines in (), characters and lifetimes as `'`.
    fn shown(text: &str) -> String {
        let show = |token: Token| match token.kind {
            TokenKind::Doc { text, inner } => format!("({}{text})", if inner { "!" } else { "" }),
            TokenKind::Word(word) => word,
            TokenKind::Text(text) => format!("«{text}»"),
            TokenKind::Other => "'".to_owned(),
            TokenKind::Mark(mark) => mark.to_string(),
        };
        tokens(text).unwrap().into_iter().map(show).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn comments_are_left_out_and_doc_comments_are_kept() {
        assert_eq!(shown("a // b\n/// c\n//// d\n//! e\n/* f /* g */ h */ i"), "a (c) (!e) i");
        assert_eq!(shown("/** one\n * two */ fn"), "(one) (two) fn");
        assert_eq!(shown("/**/ /***/ x"), "x");
    }

    #[test]
    fn what_looks_like_code_inside_a_string_is_a_string() {
        assert_eq!(shown(r#"f("/// clause \" {", x)"#), r#"f ( «/// clause \" {» , x )"#);
        assert_eq!(shown(r##"r#"a "quoted" one"# b"\\" c"##), r#"«a "quoted" one» «\\» c"#);
        assert_eq!(shown("r\"\\\" x"), "«\\» x");
    }

    #[test]
    fn a_quote_begins_a_character_or_a_lifetime() {
        assert_eq!(shown("'{' '\\'' b'\"' '\\u{7f}' x"), "' ' ' ' x");
        assert_eq!(shown("&'a str + 'static"), "& ' str + '");
    }

    #[test]
    fn a_raw_identifier_is_not_its_keyword() {
        assert_eq!(shown("r#fn r#type"), "r#fn r#type");
    }

    #[test]
    fn lines_are_counted_through_strings_and_comments() {
        let lines = tokens("a\n\"x\ny\"\n/*\n*/ b").unwrap().into_iter().map(|token| token.line).collect::<Vec<_>>();
        assert_eq!(lines, [1, 2, 5]);
    }

    #[test]
    fn what_does_not_end_is_told_with_its_first_line() {
        let error = |text| tokens(text).unwrap_err();
        assert_eq!(error("\n\"abc\n"), Unterminated { line: 2, what: "string" });
        assert_eq!(error("/* /* */"), Unterminated { line: 1, what: "comment" });
        assert_eq!(error("r#\"abc\""), Unterminated { line: 1, what: "raw string" });
        assert_eq!(error("/* a").to_string(), "the file ends inside the comment that starts here");
    }
}
