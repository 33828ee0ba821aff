//! Puts what the tests and the tables say into the prose.
//!
//! A splice stands on a line of its own:
//!
//! | splice | what takes its place |
//! | --- | --- |
//! | `{{clauses SECTION}}` | the clauses `SECTION.*`, in the order of the sources |
//! | `{{exchange NAME}}` | the ladder and the bytes of `exchanges/NAME.json` |
//! | `{{table NAME}}` | a table of [`crate::table`] |
//! | `{{cddl NAME}}` | a block of [`crate::cddl`] |
//! | `{{index clauses}}` | every clause with the test that proves it |
//!
//! A keyword of BCP 14 may come from `{{clauses}}` and from nowhere else.

use crate::cddl::BLOCKS;
use crate::clause::{Clause, keywords};
use crate::draft::Draft;
use crate::finding::{Finding, Place};
use crate::ladder;
use crate::table::TABLES;
use crate::wrap::wrap_path;
use std::collections::BTreeMap;

/// The draft in kramdown-rfc's Markdown.
#[derive(Debug, Clone, Default)]
pub struct Spliced {
    pub markdown: String,
    /// What is wrong with the prose and its splices.
    pub findings: Vec<Finding>,
    /// The sections of clauses and the exchanges that were used, each with the place of its first use.
    pub clauses: BTreeMap<String, Place>,
    pub exchanges: BTreeMap<String, Place>,
}

const SPLICES: [&str; 5] = ["clauses", "exchange", "table", "cddl", "index"];

/// Splices every section of `draft`, in order.
pub fn splice(draft: &Draft) -> Spliced {
    let mut spliced = Spliced::default();
    for section in &draft.sections {
        let mut prose = Vec::new();
        for (at, line) in section.text.lines().enumerate() {
            let place = Place::new(&section.file, at + 1);
            match of_line(line) {
                None => {
                    prose.push((place, line));
                    spliced.markdown += line;
                    spliced.markdown.push('\n');
                }
                Some((word, name)) => {
                    spliced.lint(&mut prose);
                    spliced.fill(draft, word, name, place);
                }
            }
        }
        spliced.lint(&mut prose);
        spliced.markdown.push('\n');
    }
    spliced.unused(draft);
    spliced
}

/// The word and the name of a splice. A citation as kramdown-rfc has it, `{{RFC8949}}`, is none.
fn of_line(line: &str) -> Option<(&str, &str)> {
    let inner = line.trim().strip_prefix("{{")?.strip_suffix("}}")?;
    let (word, name) = inner.trim().split_once(char::is_whitespace)?;
    word.chars().all(|c| c.is_ascii_lowercase()).then(|| (word, name.trim()))
}

impl Spliced {
    /// Refuses a keyword in prose, which is then forgotten. A keyword and its NOT may stand on two lines, so the lines
    /// between two splices are looked at together.
    fn lint(&mut self, prose: &mut Vec<(Place, &str)>) {
        let text: Vec<&str> = prose.iter().map(|(_, line)| *line).collect();
        for (at, keyword) in keywords(&text.join("\n")) {
            let what = format!("the prose holds {keyword}: a normative sentence is a clause, written on the test that proves it");
            self.findings.push(Finding::new(prose[at].0.clone(), what));
        }
        prose.clear();
    }

    fn fill(&mut self, draft: &Draft, word: &str, name: &str, place: Place) {
        let filled = match word {
            "clauses" => {
                if let Some(first) = self.clauses.insert(name.to_owned(), place.clone()) {
                    self.findings.push(Finding::new(place, format!("the clauses {name} stand already at {first}")));
                    self.clauses.insert(name.to_owned(), first);
                }
                self.markdown += &clause_list(name, draft.scan.clauses.iter().filter(|clause| clause.section == name));
                return;
            }
            "exchange" => draft.exchanges.get(name).map(|exchange| {
                self.exchanges.entry(name.to_owned()).or_insert(place.clone());
                let (title, ladder, bytes) = (&exchange.title, ladder::ladder(exchange), ladder::bytes(exchange));
                let figure = |text: &str, kind: &str, title: &str| format!("~~~\n{text}~~~\n{{: #{kind}-{name} title=\"{title}\"}}\n");
                let bytes =
                    if bytes.is_empty() { String::new() } else { "\n".to_owned() + &figure(&bytes, "bytes", &format!("{title}: Bytes")) };
                figure(&ladder, "exchange", title) + &bytes
            }),
            "table" => TABLES.iter().find(|(known, _)| *known == name).map(|(_, table)| table().to_markdown(name)),
            "cddl" => BLOCKS.iter().find(|(known, _)| *known == name).map(|(_, block)| block().to_markdown(name)),
            "index" => (name == "clauses").then(|| index(&draft.scan.clauses)),
            _ => {
                let what = format!("{{{{{word} {name}}}}} is no splice; allowed: {}", SPLICES.join(", "));
                return self.findings.push(Finding::new(place, what));
            }
        };
        let Some(filled) = filled else {
            let what = format!("there is no {word} {name}; there is: {}", known(draft, word).join(", "));
            return self.findings.push(Finding::new(place, what));
        };
        if let Some((_, keyword)) = keywords(&filled).next() {
            self.findings.push(Finding::new(place, format!("the {word} {name} holds {keyword}, which only a clause may")));
        }
        self.markdown += &filled;
    }

    /// Refuses a clause and an exchange that no section shows.
    fn unused(&mut self, draft: &Draft) {
        for clause in &draft.scan.clauses {
            if !self.clauses.contains_key(&clause.section) {
                let there = self.clauses.keys().cloned().collect::<Vec<_>>().join(", ");
                let what = format!("no section of the draft has {{{{clauses {}}}}}; there is: {there}", clause.section);
                self.findings.push(Finding::new(clause.place.clone(), what));
            }
        }
        for name in draft.exchanges.keys().filter(|name| !self.exchanges.contains_key(*name)) {
            let what = format!("no section of the draft has {{{{exchange {name}}}}}");
            self.findings.push(Finding::new(Place::new(crate::draft::exchange_file(name), 0), what));
        }
    }
}

fn known(draft: &Draft, word: &str) -> Vec<String> {
    match word {
        "exchange" => draft.exchanges.keys().cloned().collect(),
        "table" => TABLES.iter().map(|(name, _)| (*name).to_owned()).collect(),
        "cddl" => BLOCKS.iter().map(|(name, _)| (*name).to_owned()).collect(),
        _ => vec!["clauses".to_owned()],
    }
}

fn clause_list<'a>(section: &str, clauses: impl Iterator<Item = &'a Clause>) -> String {
    let said: Vec<String> = clauses
        .map(|clause| format!("{{:#{}}}\\[{}\\]\n: {}\n", anchor(clause), clause.id(), clause.sentence.replace('\n', "\n  ")))
        .collect();
    match said.is_empty() {
        true => format!("(There is no clause `{section}.*` yet: no test proves one, and what the text describes is intent.)\n"),
        false => said.join("\n"),
    }
}

/// Every clause with its level and its test, ordered by id: a figure for each section, since the path of a test is
/// often wider than what a list leaves to it.
fn index(clauses: &[Clause]) -> String {
    let mut sections: BTreeMap<&str, BTreeMap<&str, &Clause>> = BTreeMap::new();
    for clause in clauses {
        sections.entry(&clause.section).or_default().insert(&clause.name, clause);
    }
    if sections.is_empty() {
        return "(There is no clause yet.)\n".to_owned();
    }
    let entry = |clause: &&Clause| {
        let test = wrap_path(&clause.test.to_string(), ladder::WIDTH - 2);
        let head = format!("[{}] {}\n", clause.id(), clause.level.keyword().to_lowercase());
        head + &test.iter().map(|line| format!("  {line}\n")).collect::<String>()
    };
    let figure = |clauses: &BTreeMap<&str, &Clause>| format!("~~~\n{}~~~\n", clauses.values().map(entry).collect::<String>());
    sections.values().map(figure).collect::<Vec<_>>().join("\n")
}

fn anchor(clause: &Clause) -> String {
    format!("clause-{}-{}", clause.section, clause.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clause::Level;
    use crate::draft::Section;
    use crate::exchange::Exchange;
    use crate::target::TestPath;

    fn clause(section: &str, name: &str) -> Clause {
        let test = TestPath { root: "tests/a.rs".into(), krate: "a".into(), test: format!("{name}_holds") };
        let sentence = "A sender MUST do so,\nalways.".to_owned();
        Clause { section: section.into(), name: name.into(), level: Level::Must, sentence, test, place: Place::new("tests/a.rs", 7) }
    }

    fn draft(text: &str) -> Draft {
        let ping = r#"{"title": "A Ping", "test": "a::b", "steps": [{"from": "client", "dialect": "3.1.1", "hex": "c000"}]}"#;
        Draft {
            sections: vec![Section { file: "rfc/draft/10.md".into(), text: text.into() }],
            exchanges: [("ping".to_owned(), Exchange::parse(ping).unwrap())].into(),
            scan: crate::scan::Scan { clauses: vec![clause("acks", "order")], ..Default::default() },
            findings: vec![],
        }
    }

    const ALL_USED: &str = "{{clauses acks}}\n{{exchange ping}}\n";

    fn findings(text: &str) -> Vec<String> {
        splice(&draft(&format!("{ALL_USED}{text}"))).findings.iter().map(Finding::to_string).collect()
    }

    #[test]
    fn clauses_stand_where_their_section_is_named() {
        let markdown = splice(&draft("# Acks\n\n{{clauses acks}}\n\nMore, see {{RFC8949}}.\n")).markdown;
        assert_eq!(
            markdown,
            "# Acks\n\n{:#clause-acks-order}\\[acks.order\\]\n: A sender MUST do so,\n  always.\n\nMore, see {{RFC8949}}.\n\n"
        );
        let none = splice(&draft("{{clauses sessions}}\n")).markdown;
        assert!(none.starts_with("(There is no clause `sessions.*` yet: no test proves one"), "{none}");
    }

    #[test]
    fn an_exchange_is_a_figure_of_arrows_and_one_of_bytes() {
        let markdown = splice(&draft("{{exchange ping}}\n")).markdown;
        assert!(markdown.contains("| [1] PINGREQ") && markdown.contains("0000 c0 00"), "{markdown}");
        assert!(markdown.contains("{: #exchange-ping title=\"A Ping\"}") && markdown.contains("{: #bytes-ping title=\"A Ping: Bytes\"}"));
    }

    #[test]
    fn tables_cddl_and_the_index_are_filled_in() {
        let spliced = splice(&draft(&format!("{ALL_USED}{{{{table reasons}}}}\n{{{{cddl problem}}}}\n{{{{index clauses}}}}\n")));
        assert_eq!(spliced.findings, []);
        for part in ["{: #table-reasons title=\"Reasons\"}", "~~~ cddl\nproblem = {\n", "~~~\n[acks.order] must\n  a::order_holds\n~~~\n"] {
            assert!(spliced.markdown.contains(part), "{part}");
        }
    }

    #[test]
    fn a_keyword_in_the_prose_is_refused() {
        assert_eq!(findings("It must be so.\n"), [""; 0]);
        let what = "the prose holds MUST NOT: a normative sentence is a clause, written on the test that proves it";
        assert_eq!(findings("It MUST\nNOT be so.\n"), [format!("rfc/draft/10.md:3: {what}")]);
    }

    #[test]
    fn a_keyword_in_a_figure_is_refused() {
        let mut draft = draft(ALL_USED);
        draft.exchanges.get_mut("ping").unwrap().title = "A Ping That SHOULD Be".into();
        let told: Vec<_> = splice(&draft).findings.iter().map(Finding::to_string).collect();
        assert_eq!(told, ["rfc/draft/10.md:2: the exchange ping holds SHOULD, which only a clause may"]);
    }

    #[test]
    fn a_splice_that_does_not_resolve_is_refused() {
        assert_eq!(findings("{{exchange pong}}\n"), ["rfc/draft/10.md:3: there is no exchange pong; there is: ping"]);
        assert!(findings("{{table seasons}}\n")[0].starts_with("rfc/draft/10.md:3: there is no table seasons; there is: identifiers, "));
        assert!(findings("{{cddl x}}\n")[0].contains("there is: dictionary, message, problem, profile, require"));
        assert_eq!(findings("{{index tests}}\n"), ["rfc/draft/10.md:3: there is no index tests; there is: clauses"]);
        assert_eq!(
            findings("{{clause acks}}\n"),
            ["rfc/draft/10.md:3: {{clause acks}} is no splice; allowed: clauses, exchange, table, cddl, index"]
        );
        assert_eq!(findings("{{clauses acks}}\n"), ["rfc/draft/10.md:3: the clauses acks stand already at rfc/draft/10.md:1"]);
    }

    #[test]
    fn what_no_section_shows_is_refused() {
        let told: Vec<_> = splice(&draft("{{clauses other}}\n")).findings.iter().map(Finding::to_string).collect();
        assert_eq!(
            told,
            [
                "tests/a.rs:7: no section of the draft has {{clauses acks}}; there is: other",
                "rfc/exchanges/ping.json: no section of the draft has {{exchange ping}}"
            ]
        );
    }
}
