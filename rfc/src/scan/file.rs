//! One file, token by token: which doc comment belongs to which test, inside which modules.

use super::{Recording, Scan};
use crate::clause::{self, Clause, Statement};
use crate::finding::{Finding, Place};
use crate::source::{Token, TokenKind};
use crate::target::{FileTarget, TestPath};

/// What a brace opened.
enum Scope {
    Module(String),
    /// A function, and the test it is.
    Function(Option<TestPath>),
    Other,
}

pub(super) struct FileScan<'a> {
    scan: &'a mut Scan,
    file: &'a str,
    target: Option<FileTarget>,
    /// What the braces that are open opened.
    scopes: Vec<Scope>,
    /// What the next brace opens, once its item was named.
    next: Option<Scope>,
    /// How many parentheses and brackets are open.
    round: usize,
    /// The doc comment that waits for its item.
    docs: Vec<(usize, String)>,
    /// Whether an attribute that waits for its item makes it a test.
    is_test: bool,
}

impl<'a> FileScan<'a> {
    pub(super) fn new(scan: &'a mut Scan, file: &'a str, target: Option<FileTarget>) -> Self {
        Self { scan, file, target, scopes: Vec::new(), next: None, round: 0, docs: Vec::new(), is_test: false }
    }

    pub(super) fn tokens(mut self, tokens: &[Token]) {
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            at += self.token(token, &tokens[at + 1..]);
        }
        self.forget();
    }

    /// Handles a token, and tells how many were used.
    fn token(&mut self, token: &Token, rest: &[Token]) -> usize {
        match &token.kind {
            TokenKind::Doc { text, inner: false } => self.docs.push((token.line, text.clone())),
            TokenKind::Doc { text, inner: true } => {
                if clause::opens(text) {
                    self.report(token.line, "a clause stands on something that is not a test");
                }
            }
            TokenKind::Mark('#') => return 1 + self.attribute(rest),
            TokenKind::Word(word) => return 1 + self.word(token.line, word, rest),
            TokenKind::Mark(mark) => self.mark(*mark),
            TokenKind::Text(_) | TokenKind::Other => self.forget(),
        }
        1
    }

    fn mark(&mut self, mark: char) {
        match mark {
            '(' | '[' => self.round += 1,
            ')' | ']' => self.round = self.round.saturating_sub(1),
            '{' => {
                let next = if self.round == 0 { self.next.take() } else { None };
                self.scopes.push(next.unwrap_or(Scope::Other));
                self.forget();
            }
            '}' => {
                self.scopes.pop();
                self.forget();
            }
            ';' => {
                self.next = None;
                self.forget();
            }
            _ => self.forget(),
        }
    }

    /// An attribute behind its `#`; tells how many tokens it has.
    fn attribute(&mut self, rest: &[Token]) -> usize {
        let bang = usize::from(matches!(rest.first().map(|token| &token.kind), Some(TokenKind::Mark('!'))));
        if !matches!(rest.get(bang).map(|token| &token.kind), Some(TokenKind::Mark('['))) {
            self.forget();
            return 0;
        }
        let mut depth = 0usize;
        let mut path = None;
        for (at, token) in rest.iter().enumerate().skip(bang) {
            match &token.kind {
                TokenKind::Mark('[') => depth += 1,
                TokenKind::Mark(']') if depth == 1 => {
                    self.is_test |= path == Some("test");
                    return at + 1;
                }
                TokenKind::Mark(']') => depth -= 1,
                // The path of the attribute is what stands before anything but words and colons.
                TokenKind::Word(word) if depth == 1 => path = Some(word.as_str()),
                TokenKind::Mark('(') => return self.attribute_end(rest, at, path == Some("test")),
                _ => {}
            }
        }
        rest.len()
    }

    /// The rest of an attribute from its parenthesis at `from` on, where brackets may stand in strings of any depth.
    fn attribute_end(&mut self, rest: &[Token], from: usize, is_test: bool) -> usize {
        self.is_test |= is_test;
        let mut depth = 0usize;
        for (at, token) in rest.iter().enumerate().skip(from) {
            match token.kind {
                TokenKind::Mark('(' | '[') => depth += 1,
                TokenKind::Mark(']') if depth == 0 => return at + 1,
                TokenKind::Mark(')' | ']') => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        rest.len()
    }

    /// A word; tells how many tokens behind it were used.
    fn word(&mut self, line: usize, word: &str, rest: &[Token]) -> usize {
        let following = match rest.first().map(|token| &token.kind) {
            Some(TokenKind::Word(word)) => Some(word.as_str()),
            _ => None,
        };
        match (word, following) {
            // What may stand between a doc comment and its function; `pub(crate)` has its parenthesis.
            ("pub", _) if matches!(rest.first().map(|token| &token.kind), Some(TokenKind::Mark('('))) => {
                rest.iter().position(|token| token.kind == TokenKind::Mark(')')).map_or(0, |at| at + 1)
            }
            ("pub" | "async" | "unsafe" | "extern", _) => 0,
            ("const", Some("fn" | "async" | "unsafe" | "extern")) => 0,
            ("fn", Some(name)) => {
                self.function(line, name);
                1
            }
            ("mod", Some(name)) => {
                self.forget();
                self.next = Some(Scope::Module(name.to_owned()));
                1
            }
            ("record", None) => {
                self.recording(line, rest);
                0
            }
            _ => {
                self.forget();
                0
            }
        }
    }

    fn function(&mut self, line: usize, name: &str) {
        let modules: Vec<String> =
            self.scopes.iter().filter_map(|scope| if let Scope::Module(name) = scope { Some(name.clone()) } else { None }).collect();
        let is_test = std::mem::take(&mut self.is_test);
        let test = self.target.as_ref().filter(|_| is_test).map(|target| target.test(&modules, name));
        if let Some(test) = &test {
            self.scan.tests.push((test.clone(), Place::new(self.file, line)));
        }
        self.next = Some(Scope::Function(test.clone()));
        let docs = std::mem::take(&mut self.docs);
        let Some(first) = docs.iter().find(|(_, text)| clause::opens(text)).map(|(line, _)| *line) else { return };
        match test {
            Some(test) => self.clause(&docs, test),
            None if is_test => self.report(first, "a clause stands on a test of a file that is part of no target; cargo finds src/, tests/NAME.rs, and what lies in tests/NAME/ beside a main.rs"),
            None => self.report(first, "a clause stands on something that is not a test"),
        }
    }

    fn clause(&mut self, docs: &[(usize, String)], test: TestPath) {
        let opening: Vec<usize> = docs.iter().enumerate().filter(|(_, (_, text))| clause::opens(text)).map(|(at, _)| at).collect();
        let line = docs[opening[0]].0;
        if opening[0] != 0 {
            return self.report(line, "the line of a clause is the first of its doc comment");
        }
        if let [_, second, ..] = opening.as_slice() {
            return self.report(docs[*second].0, "a test proves one clause: a second one has a test of its own");
        }
        let lines: Vec<&str> = docs.iter().map(|(_, text)| text.as_str()).collect();
        match clause::parse(&lines) {
            Ok(Statement { section, name, level, sentence }) => {
                self.scan.clauses.push(Clause { section, name, level, sentence, test, place: Place::new(self.file, line) });
            }
            Err(error) => self.report(line, &error.to_string()),
        }
    }

    /// A call `record("NAME")`, which counts where it stands in a test.
    fn recording(&mut self, line: usize, rest: &[Token]) {
        self.forget();
        let [
            Token { kind: TokenKind::Mark('('), .. },
            Token { kind: TokenKind::Text(name), .. },
            Token { kind: TokenKind::Mark(')'), .. },
            ..,
        ] = rest
        else {
            return;
        };
        let test = self.scopes.iter().rev().find_map(|scope| if let Scope::Function(test) = scope { Some(test) } else { None });
        let Some(Some(test)) = test else { return };
        let test = test.clone();
        if clause::is_name(name) {
            self.scan.recordings.push(Recording { exchange: name.clone(), test, place: Place::new(self.file, line) });
        } else {
            self.report(line, &format!("`{name}` is not the name of an exchange: lower-case letters, digits and hyphens, a letter first"));
        }
    }

    /// Something other than a test came: what waited for it is dropped, and a clause among it is reported.
    fn forget(&mut self) {
        self.is_test = false;
        if let Some((line, _)) = std::mem::take(&mut self.docs).into_iter().find(|(_, text)| clause::opens(text)) {
            self.report(line, "a clause stands on something that is not a test");
        }
    }

    fn report(&mut self, line: usize, what: &str) {
        self.scan.findings.push(Finding::new(Place::new(self.file, line), what));
    }
}

#[cfg(test)]
mod tests {
    use crate::scan::tests::{findings, scanned};

    #[test]
    fn a_clause_is_found_with_the_path_of_its_test() {
        let text = r#"
            //! A module.
            use std::fmt;
            #[cfg(test)]
            mod tests {
                /// An ordinary function.
                fn helper() { if true { } }

                mod inner {
                    /// clause acks.order MUST
                    /// Acks MUST be in order.
                    #[test]
                    fn acks_are_in_order() { let s = "} /// clause x.y MUST"; }
                }
                /// clause acks.late MAY
                /// An ack MAY be late.
                #[tokio::test(flavor = "current_thread")]
                pub(crate) async fn an_ack_may_be_late() {}
            }
        "#;
        let scan = scanned("src/session/acks.rs", text);
        assert_eq!(scan.findings, []);
        let found: Vec<_> = scan.clauses.iter().map(|clause| (clause.id(), clause.test.to_string(), clause.place.to_string())).collect();
        let expect = |id: &str, test: &str, line| {
            (id.to_owned(), format!("candor_protocol::session::acks::tests::{test}"), format!("protocol/src/session/acks.rs:{line}"))
        };
        assert_eq!(found, [expect("acks.order", "inner::acks_are_in_order", 10), expect("acks.late", "an_ack_may_be_late", 15)]);
        assert_eq!(scan.clauses[0].sentence, "Acks MUST be in order.");
    }

    #[test]
    fn a_clause_inside_proptest_is_found() {
        let scan = scanned("tests/a.rs", "proptest! {\n /// clause a.b MUST\n /// It MUST.\n #[test]\n fn holds(x in 0..4u8) { }\n}");
        assert_eq!((scan.findings, scan.clauses[0].test.to_string()), (vec![], "a::holds".to_owned()));
    }

    #[test]
    fn a_clause_on_anything_but_a_test_is_refused() {
        let on = |item: &str| findings(&format!("/// clause a.b MUST\n/// It MUST.\n{item}"));
        for item in
            ["fn f() {}", "struct S;", "#[derive(Debug)]\nenum E {}", "mod m {}", "const X: u8 = 0;", "#[cfg(test)]\nfn f() {}", "", "}"]
        {
            assert_eq!(on(item), ["protocol/tests/a.rs:1: a clause stands on something that is not a test"], "{item}");
        }
        assert_eq!(on("macro_rules! m { ($n:ident) => { #[test] fn $n() {} } }").len(), 1);
        assert_eq!(findings("//! clause a.b MUST"), ["protocol/tests/a.rs:1: a clause stands on something that is not a test"]);
        assert_eq!(on("#[test]\nfn f() {}"), [""; 0]);
        assert_eq!(on("#[test]\n#[ignore = \"needs [x]\"]\n#[cfg_attr(a, b(c[0]))]\nfn f() {}"), [""; 0]);
    }

    #[test]
    fn a_test_mark_does_not_reach_the_next_function() {
        let text = "#[test]\nconst X: u8 = 0;\n/// clause a.b MUST\n/// It MUST.\nfn f() {}";
        assert_eq!(findings(text), ["protocol/tests/a.rs:3: a clause stands on something that is not a test"]);
    }

    #[test]
    fn the_faults_of_a_clause_are_told_with_their_line() {
        let test = "#[test]\nfn f() {}";
        let bad = findings(&format!("\n/// clause a MUST\n/// It MUST.\n{test}"));
        assert!(bad[0].starts_with("protocol/tests/a.rs:2: `a` is not the id of a clause"), "{bad:?}");
        let late = findings(&format!("/// It works.\n/// clause a.b MUST\n/// It MUST.\n{test}"));
        assert_eq!(late, ["protocol/tests/a.rs:2: the line of a clause is the first of its doc comment"]);
        let two = findings(&format!("/// clause a.b MUST\n/// It MUST.\n///\n/// clause a.c MUST\n/// It MUST.\n{test}"));
        assert_eq!(two, ["protocol/tests/a.rs:4: a test proves one clause: a second one has a test of its own"]);
        let unterminated = findings("\n/* ");
        assert_eq!(unterminated, ["protocol/tests/a.rs:2: the file ends inside the comment that starts here"]);
    }

    #[test]
    fn a_clause_in_a_file_of_no_target_is_refused() {
        let scan = scanned("tests/common/mod.rs", "/// clause a.b MUST\n/// It MUST.\n#[test]\nfn f() {}");
        assert!(scan.findings[0].what.contains("part of no target"), "{:?}", scan.findings);
        assert_eq!(scan.clauses, []);
    }

    #[test]
    fn a_recording_belongs_to_the_test_it_stands_in() {
        let text = "#[test]\nfn f() {\n let p = pair();\n p.record(\"refused\");\n}\nfn helper(name: &str) { record(\"not-in-a-test\"); record(name); }\n#[test]\nfn g() { span.record(\"field\", 1); p.record(\"Bad Name\"); }";
        let scan = scanned("tests/a.rs", text);
        let found: Vec<_> = scan.recordings.iter().map(|one| (&*one.exchange, one.test.to_string(), one.place.line)).collect();
        assert_eq!(found, [("refused", "a::f".to_owned(), 4)]);
        assert_eq!(scan.findings.len(), 1);
        assert!(scan.findings[0].what.starts_with("`Bad Name` is not the name of an exchange"));
    }
}
