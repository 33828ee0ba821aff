//! The draft of this repository: what can be said of it without running the tests of the other crates.
#![allow(clippy::unwrap_used, clippy::panic, reason = "what fails in a test fails the test")]

use candor_rfc::check::check;
use candor_rfc::draft::{NAME, load};
use candor_rfc::finding::Finding;
use candor_rfc::splice::splice;
use candor_rfc::tools::Tools;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

#[test]
fn the_draft_has_no_findings() {
    let draft = load(&root()).unwrap();
    let findings: Vec<String> = check(&draft, &splice(&draft), None).iter().map(Finding::to_string).collect();
    assert_eq!(findings, [""; 0], "\n{}", findings.join("\n"));
    assert!(draft.scan.clauses.len() > 40 && draft.exchanges.len() >= 10, "{} clauses", draft.scan.clauses.len());
}

#[test]
fn every_document_that_is_cited_is_described_here() {
    let prose: String = load(&root()).unwrap().sections.into_iter().map(|section| section.text).collect();
    let references = root().join("rfc/refs");
    let cited: Vec<String> = prose
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter_map(|word| word.strip_prefix("RFC").filter(|number| number.len() == 4 && number.bytes().all(|byte| byte.is_ascii_digit())))
        .map(|number| format!("reference.RFC.{number}.xml"))
        .collect();
    assert!(cited.len() > 10);
    for file in cited {
        assert!(references.join(&file).is_file(), "rfc/refs/{file} is missing");
    }
}

#[test]
#[ignore = "needs the tools that rfc/tools.sh installs"]
fn the_same_draft_gives_the_same_bytes() {
    let draft = load(&root()).unwrap();
    let markdown = splice(&draft).markdown;
    let tools = Tools::of_root(&root());
    let built = ["one", "two"].map(|run| {
        let folder = std::env::temp_dir().join(format!("candor-rfc-build-{run}-{}", std::process::id()));
        let built = tools.build(&markdown, &folder, NAME).unwrap();
        let bytes = [&built.xml, &built.text, &built.html].map(|path| fs::read(path).unwrap());
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(built.warnings, [""; 0]);
        bytes
    });
    assert!(built[0] == built[1], "two builds of one draft differ");
    let text = String::from_utf8_lossy(&built[0][1]).into_owned();
    assert!(text.contains("[dictionary.empty]  A dictionary without entries MUST be written"), "the clauses are in the text");
}
