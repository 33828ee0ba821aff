//! The table of all refusals, as a page.

use crate::stage::Row;
use candor_broker::feedback::Cause;
use candor_protocol::packet::Qos;
use candor_protocol::sim::Way;
use std::fmt::Write;
use std::path::PathBuf;

const BEGIN: &str = "<!-- table: begin -->";
const END: &str = "<!-- table: end -->";

/// How much the bytes of a row may differ from those in the page: times to wait are numbers of different lengths.
const BYTES_APART_MAX: usize = 6;

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/refusals.md")
}

fn dialect(way: Way) -> &'static str {
    match way {
        Way::V31 => "3.1",
        Way::Plain => "3.1.1",
        _ => "extended",
    }
}

fn cells(row: &Row) -> Vec<String> {
    let qos = row.qos.map_or("-", |qos| match qos {
        Qos::AtMostOnce => "0",
        Qos::AtLeastOnce => "1",
        Qos::ExactlyOnce => "2",
    });
    let texts = [row.what, dialect(row.way), qos, &row.bytes.to_string(), &row.client, &row.publisher, &row.operator];
    texts.map(|text| text.replace('|', "\\|")).to_vec()
}

fn table(rows: &[Row]) -> String {
    let mut page = String::new();
    for cause in Cause::ALL {
        let _ = writeln!(page, "\n### {}\n\n{}\n", cause.name(), cause.meaning());
        let mut of_cause = rows.iter().filter(|row| row.cause == *cause && row.way != Way::Offer).peekable();
        if of_cause.peek().is_none() {
            let _ = writeln!(page, "It cannot be brought about from outside.");
            continue;
        }
        page.push_str(
            "| what | dialect | QoS | bytes | the client | the publisher | the operator |\n| --- | --- | --- | --- | --- | --- | --- |\n",
        );
        for row in of_cause {
            let _ = writeln!(page, "| {} |", cells(row).join(" | "));
        }
    }
    page
}

/// Holds the rows against the page, or writes them there.
pub fn check(rows: &[Row]) {
    let page = std::fs::read_to_string(path()).unwrap();
    let (before, rest) = page.split_once(BEGIN).expect("the page has a mark where the table begins");
    let (there, after) = rest.split_once(END).expect("the page has a mark where the table ends");
    let made = table(rows);
    if std::env::var_os("CANDOR_WRITE_DOCS").is_some() {
        std::fs::write(path(), format!("{before}{BEGIN}{made}\n{END}{after}")).unwrap();
        return;
    }
    let lines = |text: &str| text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect::<Vec<_>>();
    let (there, made) = (lines(there), lines(&made));
    assert_eq!(there.len(), made.len(), "docs/refusals.md is behind: CANDOR_WRITE_DOCS=1 writes it");
    for (there, made) in there.iter().zip(&made) {
        let (old, new): (Vec<&str>, Vec<&str>) = (there.split(" | ").collect(), made.split(" | ").collect());
        let without_bytes =
            |cells: &[&str]| cells.iter().enumerate().filter(|(at, _)| *at != 3).map(|(_, cell)| (*cell).to_owned()).collect::<Vec<_>>();
        assert_eq!(without_bytes(&old), without_bytes(&new), "docs/refusals.md is behind: CANDOR_WRITE_DOCS=1 writes it");
        if let (Some(Ok(old)), Some(Ok(new))) = (old.get(3).map(|cell| cell.parse::<usize>()), new.get(3).map(|cell| cell.parse::<usize>()))
        {
            assert!(old.abs_diff(new) <= BYTES_APART_MAX, "{made}: {old} bytes in docs/refusals.md");
        }
    }
}
