//! Clause by clause, the test that proves it.

use crate::clause::Clause;
use crate::results::{Outcome, Results};
use serde::Serialize;

/// One line of the coverage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    pub clause: String,
    pub level: &'static str,
    pub test: String,
    pub place: String,
    /// `ok`, `FAILED`, `ignored`, `missing`; `None` where no results were given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
}

/// The coverage, ordered by clause.
pub fn rows(clauses: &[Clause], results: Option<&Results>) -> Vec<Row> {
    let outcome =
        |clause: &Clause| results.map(|results| results.outcome(&clause.test).map_or("missing".to_owned(), |outcome| outcome.to_string()));
    let mut rows: Vec<Row> = clauses
        .iter()
        .map(|clause| Row {
            clause: clause.id(),
            level: clause.level.keyword(),
            test: clause.test.to_string(),
            place: clause.place.to_string(),
            outcome: outcome(clause),
        })
        .collect();
    rows.sort_by(|a, b| a.clause.cmp(&b.clause));
    rows
}

/// The coverage in columns, with a line that counts.
pub fn text(rows: &[Row]) -> String {
    let width = |cell: fn(&Row) -> usize| rows.iter().map(cell).max().unwrap_or(0);
    let (clause, test) = (width(|row| row.clause.len()), width(|row| row.test.len()));
    let mut out = String::new();
    for row in rows {
        let outcome = row.outcome.as_deref().map_or(String::new(), |outcome| format!("{outcome:<8}"));
        out += &format!("{:<clause$}  {:<10}  {outcome}{:<test$}  {}\n", row.clause, row.level, row.test, row.place);
    }
    let proved = rows.iter().filter(|row| row.outcome.as_deref() == Some(&Outcome::Ok.to_string())).count();
    let (count, plural) = (rows.len(), if rows.len() == 1 { "" } else { "s" });
    match rows.iter().any(|row| row.outcome.is_some()) {
        true => out + &format!("{count} clause{plural}, {proved} proved\n"),
        false => out + &format!("{count} clause{plural}; no results were given, so which tests pass is not known\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clause::Level;
    use crate::finding::Place;
    use crate::target::TestPath;

    fn clause(name: &str) -> Clause {
        let test = TestPath { root: "tests/a.rs".into(), krate: "a".into(), test: name.into() };
        Clause {
            section: "acks".into(),
            name: name.into(),
            level: Level::MustNot,
            sentence: String::new(),
            test,
            place: Place::new("a.rs", 4),
        }
    }

    #[test]
    fn each_clause_has_its_test_and_its_outcome() {
        let mut results = Results::default();
        results.add("Running tests/a.rs (target/debug/deps/a-00)\ntest first ... ok\n").unwrap();
        let clauses = [clause("second"), clause("first")];
        let expected =
            "acks.first   MUST NOT    ok      a::first   a.rs:4\nacks.second  MUST NOT    missing a::second  a.rs:4\n2 clauses, 1 proved\n";
        assert_eq!(text(&rows(&clauses, Some(&results))), expected);
        assert!(text(&rows(&clauses[..1], None)).ends_with("1 clause; no results were given, so which tests pass is not known\n"));
    }
}
