//! Whether the draft is true: every clause proved by a test that passes, every exchange recorded by one, and no
//! normative word that is not a clause.

use crate::draft::{Draft, exchange_file};
use crate::finding::{Finding, Place};
use crate::results::{Outcome, Results};
use crate::splice::Spliced;
use crate::target::TestPath;

/// Everything that is wrong, by place. Without `results` it is not looked at which tests pass.
pub fn check(draft: &Draft, spliced: &Spliced, results: Option<&Results>) -> Vec<Finding> {
    let mut findings: Vec<Finding> = draft.findings.iter().chain(&spliced.findings).cloned().collect();
    exchanges(draft, &mut findings);
    if let Some(results) = results {
        for clause in &draft.scan.clauses {
            unproved(results, &clause.test, &clause.place, &format!("the clause {}", clause.id()), &mut findings);
        }
        for recording in &draft.scan.recordings {
            unproved(results, &recording.test, &recording.place, &format!("the exchange {}", recording.exchange), &mut findings);
        }
    }
    findings.sort();
    findings.dedup();
    findings
}

/// Every file has the one test that records it, and every recording its file.
fn exchanges(draft: &Draft, findings: &mut Vec<Finding>) {
    for (name, exchange) in &draft.exchanges {
        let place = Place::new(exchange_file(name), 0);
        let what = match draft.scan.recordings.iter().find(|recording| recording.exchange == *name) {
            None => format!("no test records it: call record(\"{name}\") in the test whose exchange it is, or remove the file"),
            Some(recording) if recording.test.to_string() != exchange.test => {
                format!("it names {} as its test, but {} records it at {}", exchange.test, recording.test, recording.place)
            }
            Some(_) => continue,
        };
        findings.push(Finding::new(place, what));
    }
    for recording in &draft.scan.recordings {
        let file = exchange_file(&recording.exchange);
        let unreadable = draft.findings.iter().any(|finding| finding.place.file == file);
        if !draft.exchanges.contains_key(&recording.exchange) && !unreadable {
            findings
                .push(Finding::new(recording.place.clone(), format!("there is no {file}: run the test with CANDOR_RECORD=1 to write it")));
        }
    }
}

fn unproved(results: &Results, test: &TestPath, place: &Place, what: &str, findings: &mut Vec<Finding>) {
    let said = match results.outcome(test) {
        Some(Outcome::Ok) => return,
        Some(Outcome::Failed) => format!("{what} is not proved: its test {test} FAILED"),
        Some(Outcome::Ignored) => format!("{what} is not proved: its test {test} was ignored"),
        None => format!("{what} is not proved: the results have no test {test} of {}", test.root),
    };
    findings.push(Finding::new(place.clone(), said));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clause::{Clause, Level};
    use crate::exchange::Exchange;
    use crate::scan::Recording;
    use crate::splice::splice;

    fn test(name: &str) -> TestPath {
        TestPath { root: "tests/a.rs".into(), krate: "a".into(), test: name.into() }
    }

    fn draft() -> Draft {
        let clause = |name: &str| Clause {
            section: "acks".into(),
            name: name.into(),
            level: Level::May,
            sentence: "It MAY.".into(),
            test: test(name),
            place: Place::new("a.rs", 1),
        };
        let section = crate::draft::Section { file: "10.md".into(), text: "{{clauses acks}}\n{{exchange ping}}\n".into() };
        let mut draft = Draft { sections: vec![section], ..Draft::default() };
        draft.scan.clauses = vec![clause("f"), clause("g")];
        draft.scan.recordings = vec![Recording { exchange: "ping".into(), test: test("f"), place: Place::new("a.rs", 3) }];
        let json = r#"{"title": "t", "test": "a::f", "steps": [{"from": "client", "dialect": "3.1.1", "hex": "c000"}]}"#;
        draft.exchanges.insert("ping".into(), Exchange::parse(json).unwrap());
        draft
    }

    fn told(draft: &Draft, results: Option<&str>) -> Vec<String> {
        let results = results.map(|text| {
            let mut results = Results::default();
            results.add(&format!("Running tests/a.rs (target/debug/deps/a-00)\n{text}")).unwrap();
            results
        });
        check(draft, &splice(draft), results.as_ref()).iter().map(Finding::to_string).collect()
    }

    #[test]
    fn a_draft_whose_tests_pass_is_true() {
        assert_eq!(told(&draft(), None), [""; 0]);
        assert_eq!(told(&draft(), Some("test f ... ok\ntest g ... ok\n")), [""; 0]);
    }

    #[test]
    fn a_clause_is_proved_by_a_test_that_ran_and_passed() {
        assert_eq!(
            told(&draft(), Some("test f ... ok\ntest g ... FAILED\n")),
            ["a.rs:1: the clause acks.g is not proved: its test a::g FAILED"]
        );
        assert_eq!(
            told(&draft(), Some("test f ... ok\ntest g ... ignored\n")),
            ["a.rs:1: the clause acks.g is not proved: its test a::g was ignored"]
        );
        assert_eq!(
            told(&draft(), Some("test g ... ok\n")),
            [
                "a.rs:1: the clause acks.f is not proved: the results have no test a::f of tests/a.rs",
                "a.rs:3: the exchange ping is not proved: the results have no test a::f of tests/a.rs"
            ]
        );
    }

    #[test]
    fn an_exchange_is_recorded_by_the_test_it_names() {
        let mut unrecorded = draft();
        unrecorded.scan.recordings.clear();
        assert_eq!(
            told(&unrecorded, None),
            ["rfc/exchanges/ping.json: no test records it: call record(\"ping\") in the test whose exchange it is, or remove the file"]
        );
        let mut other = draft();
        other.scan.recordings[0].test = test("h");
        assert_eq!(told(&other, None), ["rfc/exchanges/ping.json: it names a::f as its test, but a::h records it at a.rs:3"]);
        let mut missing = draft();
        missing.exchanges.clear();
        missing.sections[0].text = "{{clauses acks}}\n".into();
        assert_eq!(told(&missing, None), ["a.rs:3: there is no rfc/exchanges/ping.json: run the test with CANDOR_RECORD=1 to write it"]);
    }
}
