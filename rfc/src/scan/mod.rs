//! Finds the clauses, and the calls that record exchanges, in the sources of the workspace.
//!
//! It reads tokens, not a syntax tree: doc comments, attributes, `mod`, `fn` and braces are enough to know which test a
//! doc comment belongs to and what cargo will call it. What it cannot place it reports; it never passes over a clause.

mod file;

use crate::clause::Clause;
use crate::finding::{Finding, Place};
use crate::source::tokens;
use crate::target::{self, TestPath};
use crate::workspace::{Package, SourceFile, packages, sources};
use file::FileScan;
use std::collections::BTreeMap;
use std::path::Path;

/// What the sources say about the draft.
#[derive(Debug, Clone, Default)]
pub struct Scan {
    /// In the order of packages, files and lines.
    pub clauses: Vec<Clause>,
    pub recordings: Vec<Recording>,
    /// Every test that was seen: so that a name which stands for two tests can be refused.
    pub tests: Vec<(TestPath, Place)>,
    pub findings: Vec<Finding>,
}

/// A call `record("NAME")` in a test: that test writes `exchanges/NAME.json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recording {
    pub exchange: String,
    pub test: TestPath,
    pub place: Place,
}

/// Scans every package of the workspace at `root`.
///
/// # Errors
/// A manifest or source that cannot be read. What is wrong with the sources is among the findings.
pub fn workspace(root: &Path) -> Result<Scan, Finding> {
    let mut scan = Scan::default();
    for package in packages(root)? {
        for file in sources(root, &package)? {
            scan.file(&package, &file);
        }
    }
    scan.refuse_duplicates();
    Ok(scan)
}

impl Scan {
    /// Scans one file.
    pub fn file(&mut self, package: &Package, file: &SourceFile) {
        match tokens(&file.text) {
            Ok(tokens) => {
                let target = target::of_file(package, &file.in_package);
                FileScan::new(self, &file.name, target).tokens(&tokens);
            }
            Err(error) => self.findings.push(Finding::new(Place::new(&file.name, error.line), error.to_string())),
        }
    }

    /// Refuses an id that stands twice, and a clause or recording whose test shares its name with another: the results
    /// of the two could not be told apart.
    pub fn refuse_duplicates(&mut self) {
        let mut ids: BTreeMap<String, &Place> = BTreeMap::new();
        let mut recorded: BTreeMap<&str, &Place> = BTreeMap::new();
        let mut findings = Vec::new();
        for clause in &self.clauses {
            if let Some(first) = ids.insert(clause.id(), &clause.place) {
                findings.push(Finding::new(clause.place.clone(), format!("the clause {} stands already at {first}", clause.id())));
            }
        }
        for recording in &self.recordings {
            if let Some(first) = recorded.insert(&recording.exchange, &recording.place) {
                let what = format!("the exchange {} is recorded already at {first}", recording.exchange);
                findings.push(Finding::new(recording.place.clone(), what));
            }
        }
        let wanted = self.clauses.iter().map(|clause| &clause.test).chain(self.recordings.iter().map(|recording| &recording.test));
        for test in wanted {
            let places: Vec<&Place> = self.tests.iter().filter(|(path, _)| path == test).map(|(_, place)| place).collect();
            if let [first, second, ..] = places.as_slice() {
                let what =
                    format!("cargo prints two tests as {test}, the other at {first}: rename one, so that their results can be told apart");
                findings.push(Finding::new((*second).clone(), what));
            }
        }
        findings.sort();
        findings.dedup();
        self.findings.append(&mut findings);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package() -> Package {
        Package { dir: "protocol".into(), name: "candor-protocol".into(), has_library: true, targets: vec![], test_mains: vec![] }
    }

    pub(super) fn scanned(in_package: &str, text: &str) -> Scan {
        let mut scan = Scan::default();
        let file = SourceFile { name: format!("protocol/{in_package}"), in_package: in_package.into(), text: text.into() };
        scan.file(&package(), &file);
        scan.refuse_duplicates();
        scan
    }

    pub(super) fn findings(text: &str) -> Vec<String> {
        scanned("tests/a.rs", text).findings.iter().map(Finding::to_string).collect()
    }

    #[test]
    fn an_id_stands_once() {
        let one = |name| format!("/// clause a.b MUST\n/// It MUST.\n#[test]\nfn {name}() {{}}\n");
        assert_eq!(findings(&(one("f") + &one("g"))), ["protocol/tests/a.rs:5: the clause a.b stands already at protocol/tests/a.rs:1"]);
    }

    #[test]
    fn a_test_that_proves_a_clause_has_a_name_of_its_own() {
        let mut scan = Scan::default();
        for (dir, doc) in [("broker", ""), ("protocol", "/// clause a.b MUST\n/// It MUST.\n")] {
            let text = format!("{doc}#[test]\nfn f() {{}}");
            let file = SourceFile { name: format!("{dir}/tests/a.rs"), in_package: "tests/a.rs".into(), text };
            scan.file(&package(), &file);
        }
        scan.refuse_duplicates();
        let what = "protocol/tests/a.rs:4: cargo prints two tests as a::f, the other at broker/tests/a.rs:2: rename one, so that their results can be told apart";
        assert_eq!(scan.findings.iter().map(Finding::to_string).collect::<Vec<_>>(), [what]);
    }
}
