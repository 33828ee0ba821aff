//! The draft as it is written: its prose, a file per section, and the exchanges it can show.

use crate::exchange::Exchange;
use crate::finding::{Finding, Place};
use crate::scan::{self, Scan};
use crate::workspace::{files_in, read};
use std::collections::BTreeMap;
use std::path::Path;

/// The name of the draft, and of the files that are built.
pub const NAME: &str = "draft-candor-mqtt-extension-layer-00";
/// Where the prose is; its files follow each other in the order of their names.
pub const PROSE: &str = "rfc/draft";
/// Where the recorded exchanges are.
pub const EXCHANGES: &str = "rfc/exchanges";
/// Where the descriptions of cited documents are.
pub const REFERENCES: &str = "rfc/refs";

/// A file of the prose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// Relative to the root of the repository.
    pub file: String,
    pub text: String,
}

/// All that the draft is made of, but for the tables.
#[derive(Debug, Clone, Default)]
pub struct Draft {
    pub sections: Vec<Section>,
    /// By name.
    pub exchanges: BTreeMap<String, Exchange>,
    pub scan: Scan,
    /// What is wrong with the sources and the exchanges.
    pub findings: Vec<Finding>,
}

/// Reads the prose, the exchanges and the sources of the repository at `root`.
///
/// # Errors
/// A file that cannot be read. What is wrong with a file that could be read is among the findings.
pub fn load(root: &Path) -> Result<Draft, Finding> {
    let mut draft = Draft { scan: scan::workspace(root)?, ..Draft::default() };
    draft.findings.append(&mut draft.scan.findings);
    for name in files_in(root, PROSE, "md")? {
        let file = format!("{PROSE}/{name}");
        draft.sections.push(Section { text: read(root, &file)?, file });
    }
    for name in files_in(root, EXCHANGES, "json")? {
        let file = format!("{EXCHANGES}/{name}");
        match Exchange::parse(&read(root, &file)?) {
            Ok(exchange) => {
                draft.exchanges.insert(name.trim_end_matches(".json").to_owned(), exchange);
            }
            Err(error) => draft.findings.push(Finding::new(Place::new(file, 0), error.to_string())),
        }
    }
    Ok(draft)
}

/// The file of the exchange `name`.
pub fn exchange_file(name: &str) -> String {
    format!("{EXCHANGES}/{name}.json")
}
