//! What `cargo test` printed, read back: which tests passed.
//!
//! Cargo names the target of the tests that follow on standard error and the tests are listed on standard output, so a
//! file of results holds both: `cargo test > results.txt 2>&1`.

use crate::target::TestPath;
use std::collections::HashMap;
use std::fmt;

/// What became of a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// It was listed, but not run.
    Ignored,
    Ok,
    Failed,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Outcome::Ignored => "ignored",
            Outcome::Ok => "ok",
            Outcome::Failed => "FAILED",
        })
    }
}

/// The outcomes of all files of results together. A test that ran several times is as bad as its worst run.
#[derive(Debug, Clone, Default)]
pub struct Results(HashMap<TestPath, Outcome>);

impl Results {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn outcome(&self, test: &TestPath) -> Option<Outcome> {
        self.0.get(test).copied()
    }

    /// Adds what one file holds.
    ///
    /// # Errors
    /// It holds no results, or results before the line that names their target.
    pub fn add(&mut self, text: &str) -> Result<(), BadResults> {
        let mut target: Option<(String, String)> = None;
        let mut any = false;
        let mut in_doc_tests = false;
        for line in text.lines().map(without_colours) {
            let line = line.trim();
            if let Some(running) = line.strip_prefix("Running ") {
                if let Some(found) = target_of(running) {
                    (target, in_doc_tests) = (Some(found), false);
                }
            } else if line.starts_with("Doc-tests ") {
                in_doc_tests = true;
            } else if let Some((test, outcome)) = result_of(line).filter(|_| !in_doc_tests) {
                let (root, krate) = target.clone().ok_or(BadResults::NoTarget)?;
                let path = TestPath { root, krate, test };
                let entry = self.0.entry(path).or_insert(outcome);
                *entry = outcome.max(*entry);
                any = true;
            }
        }
        if any { Ok(()) } else { Err(BadResults::Empty) }
    }
}

/// Why a file is not a file of results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BadResults {
    /// It holds no line of a test.
    Empty,
    /// Its tests are not preceded by the name of their target.
    NoTarget,
}

impl fmt::Display for BadResults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "it holds no test of `cargo test`; write it with: cargo test > FILE 2>&1 (without --quiet)",
            Self::NoTarget => {
                "its tests have no line `Running ...` before them, which cargo prints on standard error; write it with: cargo test > FILE 2>&1"
            }
        })
    }
}

impl std::error::Error for BadResults {}

/// `unittests src/lib.rs (target/debug/deps/candor_protocol-7cb704f76eb3b2ee)` as root file and crate.
fn target_of(running: &str) -> Option<(String, String)> {
    let (root, binary) = running.strip_suffix(')')?.rsplit_once(" (")?;
    let root = root.strip_prefix("unittests ").unwrap_or(root);
    let file = binary.rsplit(['/', '\\']).next()?;
    let file = file.strip_suffix(".exe").unwrap_or(file);
    let (krate, _hash) = file.rsplit_once('-')?;
    Some((root.replace('\\', "/"), krate.to_owned()))
}

/// `test frame::tests::it_works ... ok`, with ` - should panic` behind the name of such a test.
fn result_of(line: &str) -> Option<(String, Outcome)> {
    let (test, outcome) = line.strip_prefix("test ")?.rsplit_once(" ... ")?;
    let outcome = match outcome.split([' ', ',']).next()? {
        "ok" => Outcome::Ok,
        "FAILED" => Outcome::Failed,
        "ignored" => Outcome::Ignored,
        _ => return None,
    };
    let test = test.strip_suffix(" - should panic").unwrap_or(test);
    Some((test.to_owned(), outcome))
}

/// The line without the escape sequences that colour it.
fn without_colours(line: &str) -> String {
    let mut parts = line.split('\x1b');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.split_once('m').map_or("", |(_, rest)| rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(root: &str, krate: &str, test: &str) -> TestPath {
        TestPath { root: root.into(), krate: krate.into(), test: test.into() }
    }

    const OUTPUT: &str = "   Compiling candor-protocol v0.1.0\n\
        \u{20}    Running unittests src/lib.rs (target/debug/deps/candor_protocol-7cb704f76eb3b2ee)\n\nrunning 4 tests\n\
        test frame::tests::a ... ok\n\
        test frame::tests::b - should panic ... ok\n\
        test frame::tests::c ... ignored, needs a peer\n\
        test frame::tests::d ... FAILED\n\ntest result: FAILED. 2 passed; 1 failed\n\
        \x1b[1m\x1b[32m     Running\x1b[0m tests/dictionary.rs (target/debug/deps/dictionary-0011223344556677)\n\
        test frame::tests::a ... \x1b[31mFAILED\x1b[0m\n\
        \u{20}  Doc-tests candor_protocol\n\
        test protocol/src/topic.rs - topic (line 102) ... ok\n";

    #[test]
    fn the_outcomes_are_read_by_target() {
        let mut results = Results::default();
        results.add(OUTPUT).unwrap();
        let unit = |test| results.outcome(&path("src/lib.rs", "candor_protocol", test));
        assert_eq!(unit("frame::tests::a"), Some(Outcome::Ok));
        assert_eq!(unit("frame::tests::b"), Some(Outcome::Ok));
        assert_eq!(unit("frame::tests::c"), Some(Outcome::Ignored));
        assert_eq!(unit("frame::tests::d"), Some(Outcome::Failed));
        assert_eq!(unit("frame::tests::e"), None);
        assert_eq!(results.outcome(&path("tests/dictionary.rs", "dictionary", "frame::tests::a")), Some(Outcome::Failed));
        assert_eq!(results.len(), 5);
    }

    #[test]
    fn a_test_is_as_bad_as_its_worst_run() {
        let run = |outcome| format!("Running tests/a.rs (target/debug/deps/a-00)\ntest f ... {outcome}\n");
        for (first, second, worst) in [("ok", "FAILED", Outcome::Failed), ("FAILED", "ok", Outcome::Failed), ("ignored", "ok", Outcome::Ok)]
        {
            let mut results = Results::default();
            results.add(&run(first)).unwrap();
            results.add(&run(second)).unwrap();
            assert_eq!(results.outcome(&path("tests/a.rs", "a", "f")), Some(worst));
        }
    }

    #[test]
    fn a_file_without_results_or_targets_is_refused() {
        let error = |text| Results::default().add(text).unwrap_err();
        assert_eq!(error("   Compiling x\n"), BadResults::Empty);
        assert_eq!(error("test f ... ok\n"), BadResults::NoTarget);
        assert!(BadResults::NoTarget.to_string().ends_with("cargo test > FILE 2>&1"));
    }
}
