//! The draft's tables, made from the tables that the code reads.

mod keys;
mod lowering;
mod reasons;
mod values;

/// A table of the draft.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    pub caption: &'static str,
    pub head: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

/// Makes a table.
pub type Make = fn() -> Table;

/// The tables by the names that `{{table NAME}}` knows them by.
pub const TABLES: &[(&str, Make)] = &[
    ("identifiers", values::identifiers),
    ("packet-parts", keys::packet_parts),
    ("packet-keys", keys::packet_keys),
    ("message-keys", keys::message_keys),
    ("key-legality", keys::key_legality),
    ("problem-keys", keys::problem_keys),
    ("profile-clauses", keys::profile_clauses),
    ("held-keys", keys::held_keys),
    ("question-keys", keys::question_keys),
    ("answer-keys", keys::answer_keys),
    ("durabilities", values::durabilities),
    ("overflows", values::overflows),
    ("reasons", reasons::reasons),
    ("reason-legality", reasons::reason_legality),
    ("lowering", lowering::by_packet),
    ("return-codes", lowering::return_codes),
];

impl Table {
    fn new(caption: &'static str, head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> Self {
        Self { caption, head: head.iter().map(|cell| (*cell).to_owned()).collect(), rows: rows.into_iter().collect() }
    }

    /// The table in kramdown's Markdown, with `name` in its anchor.
    pub fn to_markdown(&self, name: &str) -> String {
        let row = |cells: &[String]| format!("| {} |\n", cells.iter().map(|cell| cell.replace('|', "\\|")).collect::<Vec<_>>().join(" | "));
        let mut out = row(&self.head);
        out += &format!("|{}\n", "---|".repeat(self.head.len()));
        self.rows.iter().for_each(|cells| out += &row(cells));
        out + &format!("{{: #table-{name} title=\"{}\"}}\n", self.caption)
    }
}

/// A code as the draft prints it.
fn code(code: u8) -> String {
    format!("0x{code:02X}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clause::is_name;

    #[test]
    fn every_table_is_whole_and_fits_a_page() {
        for (name, table) in TABLES {
            let table = table();
            assert!(is_name(name) && !table.rows.is_empty(), "{name}");
            assert!(table.rows.iter().all(|row| row.len() == table.head.len()), "{name}");
            // Every column is as wide as its longest word, and three columns go to each border.
            let widest = |column: usize| {
                let cells = table.rows.iter().map(|row| &row[column]).chain([&table.head[column]]);
                cells.flat_map(|cell| cell.split_whitespace()).map(str::len).max().unwrap_or(0)
            };
            let width: usize = (0..table.head.len()).map(|column| widest(column) + 3).sum::<usize>() + 1;
            assert!(width <= crate::ladder::WIDTH, "{name} needs {width} columns");
        }
    }

    #[test]
    fn a_table_is_markdown_with_an_anchor() {
        let table = Table::new("Two Things", &["A", "B"], [vec!["1".into(), "x | y".into()]]);
        assert_eq!(table.to_markdown("two"), "| A | B |\n|---|---|\n| 1 | x \\| y |\n{: #table-two title=\"Two Things\"}\n");
    }
}
