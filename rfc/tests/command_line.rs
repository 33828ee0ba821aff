//! `candor-rfc` as it is called, on a small repository of its own.
#![allow(clippy::unwrap_used, clippy::panic, reason = "what fails in a test fails the test")]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

/// A repository with one clause and one exchange, removed at the end of the test.
struct Repository(PathBuf);

const TEST: &str =
    "/// clause acks.order MUST\n/// Acks MUST be in order.\n#[test]\nfn acks_are_in_order() {\n    pair.record(\"ping\");\n}\n";
const PING: &str =
    r#"{"title": "A Ping", "test": "acks::acks_are_in_order", "steps": [{"from": "client", "dialect": "3.1.1", "hex": "c000"}]}"#;

impl Repository {
    fn new(test: &str) -> Self {
        let root = std::env::temp_dir().join(format!("candor-rfc-cli-{test}-{}", std::process::id()));
        let repository = Self(root);
        for folder in ["one/src", "one/tests", "rfc/draft", "rfc/exchanges"] {
            fs::create_dir_all(repository.0.join(folder)).unwrap();
        }
        repository.write("Cargo.toml", "[workspace]\nmembers = [\"one\"]\n");
        repository.write("one/Cargo.toml", "[package]\nname = \"one\"\n");
        repository.write("one/tests/acks.rs", TEST);
        repository.write("rfc/draft/10.md", "# Acks\n\nIn order.\n\n{{clauses acks}}\n\n{{exchange ping}}\n");
        repository.write("rfc/exchanges/ping.json", PING);
        repository
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.0.join(file), text).unwrap();
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_candor-rfc")).args(arguments).current_dir(&self.0).output().unwrap()
    }

    /// Status, standard output, standard error.
    fn said(&self, arguments: &[&str]) -> (i32, String, String) {
        let output = self.run(arguments);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
    }
}

impl Drop for Repository {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const PASSED: &str = "     Running tests/acks.rs (target/debug/deps/acks-0123456789abcdef)\ntest acks_are_in_order ... ok\n";

#[test]
fn check_passes_when_every_clause_has_a_test_that_passed() {
    let repository = Repository::new("check");
    repository.write("results.txt", PASSED);
    let (status, out, _) = repository.said(&["check", "--results", "results.txt"]);
    assert_eq!((status, &*out), (0, "1 clause, each proved by a test that passed; 1 exchange, each recorded by one\n"));
    repository.write("results.txt", &PASSED.replace("ok", "FAILED"));
    let (status, out, error) = repository.said(&["check", "--results", "results.txt"]);
    assert_eq!((status, &*out), (1, ""));
    assert!(
        error.starts_with("one/tests/acks.rs:1: the clause acks.order is not proved: its test acks::acks_are_in_order FAILED\n"),
        "{error}"
    );
    assert!(error.ends_with("candor-rfc: 2 findings\n"), "{error}");
}

#[test]
fn check_does_not_claim_what_it_did_not_look_at() {
    let repository = Repository::new("static");
    let (status, _, error) = repository.said(&["check"]);
    assert_eq!(status, 2);
    assert!(error.contains("--results <FILE>"), "{error}");
    let (status, out, _) = repository.said(&["check", "--static"]);
    assert_eq!((status, &*out), (0, "1 clause, 1 exchange; whether their tests pass was not looked at\n"));
    repository.write("results.txt", "nothing");
    let (status, _, error) = repository.said(&["check", "--results", "results.txt"]);
    assert_eq!(status, 2);
    assert!(error.starts_with("candor-rfc: results.txt: it holds no test of `cargo test`"), "{error}");
}

#[test]
fn a_draft_that_is_not_true_is_not_built() {
    let repository = Repository::new("untrue");
    repository.write("rfc/draft/20.md", "A server MUST be kind.\n");
    let (status, _, error) = repository.said(&["build", "--markdown-only"]);
    assert_eq!(status, 1);
    assert!(error.starts_with("rfc/draft/20.md:1: the prose holds MUST: a normative sentence is a clause"), "{error}");
    assert!(!repository.0.join("target/draft").exists());
}

#[test]
fn markdown_is_built_without_tools() {
    let repository = Repository::new("markdown");
    let (status, out, _) = repository.said(&["build", "--markdown-only", "--out", "here"]);
    assert_eq!((status, out.trim_end()), (0, "here/draft-candor-mqtt-extension-layer-00.md"));
    let markdown = fs::read_to_string(repository.0.join(out.trim_end())).unwrap();
    assert!(markdown.starts_with("# Acks\n\nIn order.\n\n{:#clause-acks-order}\\[acks.order\\]\n: Acks MUST be in order.\n"), "{markdown}");
}

#[test]
fn coverage_is_printed_for_people_and_for_programs() {
    let repository = Repository::new("coverage");
    repository.write("results.txt", PASSED);
    let (_, out, _) = repository.said(&["coverage", "--results", "results.txt"]);
    assert_eq!(out, "acks.order  MUST        ok      acks::acks_are_in_order  one/tests/acks.rs:1\n1 clause, 1 proved\n");
    let (_, out, _) = repository.said(&["coverage", "--json"]);
    assert!(out.contains("\"clause\": \"acks.order\"") && !out.contains("outcome"), "{out}");
}

#[test]
fn a_folder_outside_of_a_repository_is_refused() {
    let repository = Repository::new("outside");
    fs::remove_dir_all(repository.0.join("rfc")).unwrap();
    let (status, _, error) = repository.said(&["coverage"]);
    assert_eq!(status, 2);
    assert!(error.contains("neither this folder nor one above it holds Cargo.toml and rfc/draft; give --root DIR"), "{error}");
    let (status, _, error) = repository.said(&["coverage", "--root", "."]);
    assert_eq!(status, 1);
    assert!(error.contains("rfc/draft: it cannot be read"), "{error}");
}
