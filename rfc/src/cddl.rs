//! The maps of the draft in CDDL (RFC 8610), made from the tables that the code reads.

use candor_protocol::packet::problem::PROBLEM_KEYS;
use candor_protocol::packet::profile::{ClauseInfo, Durability, Overflow, PROFILE_CLAUSES};
use candor_protocol::packet::property::{self, KeyInfo, MESSAGE_KEYS, PACKET_KEYS, ValueType};
use candor_protocol::packet::question::{ANSWER_KEYS, QUESTION_KEYS, QuestionInfo};
use candor_protocol::session::held::HELD_KEYS;

/// The blocks by the names that `{{cddl NAME}}` knows them by.
pub const BLOCKS: &[(&str, Make)] = &[
    ("dictionary", dictionary),
    ("message", message),
    ("problem", problem),
    ("profile", profile),
    ("require", require),
    ("held", held),
    ("questions", questions),
    ("envelope", envelope),
];

/// Makes a block.
pub type Make = fn() -> Cddl;

/// A block of CDDL with its caption.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cddl {
    pub caption: &'static str,
    pub text: String,
}

impl Cddl {
    /// The block in kramdown's Markdown, with `name` in its anchor.
    pub fn to_markdown(&self, name: &str) -> String {
        format!("~~~ cddl\n{}~~~\n{{: #cddl-{name} title=\"{}\"}}\n", self.text, self.caption)
    }
}

/// All blocks together: a whole specification.
pub fn all() -> String {
    BLOCKS.iter().map(|(_, block)| block().text).collect::<Vec<_>>().join("\n")
}

/// One entry of a map.
struct Entry {
    number: i64,
    name: &'static str,
    value: &'static str,
}

fn map(rule: &str, entries: &[Entry], open: bool) -> String {
    let said: Vec<String> = entries.iter().map(|entry| format!("? {}: {}", entry.number, entry.value)).collect();
    let width = said.iter().map(String::len).max().unwrap_or(0);
    let mut text = format!("{rule} = {{\n");
    for (entry, said) in entries.iter().zip(&said) {
        text += &format!("  {said:<width$}  ; {}\n", entry.name);
    }
    if open {
        text += "  * int => any\n  * tstr => any\n";
    }
    text + "}\n"
}

fn dictionary() -> Cddl {
    let entries: Vec<Entry> = PACKET_KEYS.iter().map(packet_entry).collect();
    let items = "items = { + uint => dictionary }\n";
    Cddl { caption: "The Dictionary", text: format!("{}\n{items}", map("dictionary", &entries, true)) }
}

fn packet_entry(key: &KeyInfo) -> Entry {
    let value = match key.number {
        n if n == property::MESSAGE.number => "bstr .cbor message",
        n if n == property::ITEMS.number => "items",
        n if n == property::WILL.number => "dictionary",
        n if n == property::PROBLEM.number => "problem",
        n if n == property::REQUIRE.number => "require",
        n if n == property::PROFILE.number => "profile",
        n if n == property::HELD.number => "held",
        n if n == property::QUESTIONS.number => "questions",
        n if n == property::ANSWERS.number => "answers",
        n if n == property::MINIMUM_DURABILITY.number || n == property::RECEIPT.number => "durability",
        _ => type_name(key.value),
    };
    Entry { number: key.number, name: key.name, value }
}

fn message() -> Cddl {
    let entry = |key: &KeyInfo| Entry { number: key.number, name: key.name, value: type_name(key.value) };
    let entries: Vec<Entry> = MESSAGE_KEYS.iter().map(entry).collect();
    Cddl { caption: "The Message Map", text: map("message", &entries, true) }
}

fn problem() -> Cddl {
    let entries: Vec<Entry> = PROBLEM_KEYS
        .iter()
        .map(|row| Entry { number: row.number, name: row.name, value: meant(row.meaning).map_or("any", type_name) })
        .collect();
    Cddl { caption: "A Problem", text: map("problem", &entries, true) }
}

fn profile() -> Cddl {
    let values = |names: &[(&str, u8)]| names.iter().map(|(name, value)| format!("{name}: {value}")).collect::<Vec<_>>().join(", ");
    let durabilities = values(&Durability::ALL.map(|one| (one.name(), one as u8)));
    let overflows = values(&Overflow::ALL.map(|one| (one.name(), one as u8)));
    let choices = format!("durability = &( {durabilities} )\noverflow = &(\n  {overflows}\n)\n");
    Cddl { caption: "A Profile", text: format!("{}\n{choices}", map("profile", &clauses(|_| true), true)) }
}

/// A requirement is closed: what a server does not understand it cannot promise.
fn require() -> Cddl {
    Cddl { caption: "A Requirement", text: map("require", &clauses(|row| row.requirable), false) }
}

fn held() -> Cddl {
    let value = |value| if value == ValueType::Map { "{ * uint => uint / false }" } else { type_name(value) };
    let entries: Vec<Entry> = HELD_KEYS.iter().map(|row| Entry { number: row.number, name: row.name, value: value(row.value) }).collect();
    Cddl { caption: "What One End Holds", text: map("held", &entries, true) }
}

fn questions() -> Cddl {
    let entries = |rows: &'static [QuestionInfo]| -> Vec<Entry> {
        let value = |row: &QuestionInfo| if row.value == ValueType::Map { "problem" } else { type_name(row.value) };
        rows.iter().map(|row| Entry { number: row.number, name: row.name, value: value(row) }).collect()
    };
    let lists = "questions = { * uint => question }\nanswers = { * uint => answer }\n";
    let maps = map("question", &entries(QUESTION_KEYS), true) + "\n" + &map("answer", &entries(ANSWER_KEYS), true);
    Cddl { caption: "Questions and Answers", text: format!("{lists}\n{maps}") }
}

fn envelope() -> Cddl {
    let stamps = [property::PUBLISHER.number, property::NODE.number, property::RECEIVED_AT.number, property::MESSAGE_ID.number];
    let entries: Vec<Entry> = PACKET_KEYS.iter().filter(|key| stamps.contains(&key.number)).map(packet_entry).collect();
    let array = "envelope = [ topic: tstr, stamps, message, payload: bstr ]\n";
    Cddl { caption: "A Message in Its Envelope", text: format!("{array}\n{}", map("stamps", &entries, true)) }
}

fn clauses(wanted: impl Fn(&ClauseInfo) -> bool) -> Vec<Entry> {
    let value = |row: &ClauseInfo| match row.name {
        "durability" | "session-durability" => "durability",
        "overflow" => "overflow",
        _ => meant(row.meaning).map_or("any", type_name),
    };
    PROFILE_CLAUSES.iter().filter(|row| wanted(row)).map(|row| Entry { number: row.number, name: row.name, value: value(row) }).collect()
}

fn type_name(value: ValueType) -> &'static str {
    match value {
        ValueType::Unsigned => "uint",
        ValueType::Bool => "bool",
        ValueType::Text => "tstr",
        ValueType::Bytes => "bstr",
        ValueType::TextArray => "[* tstr]",
        ValueType::Map => "{ * any => any }",
    }
}

/// The type that a meaning begins with, as in `Boolean: whether ...`: the tables of problems and profiles have no other
/// column for it.
fn meant(meaning: &str) -> Option<ValueType> {
    const TYPES: [ValueType; 4] = [ValueType::Unsigned, ValueType::Bool, ValueType::Text, ValueType::Bytes];
    let head = meaning.split_once(':')?.0;
    let head = head.split_once(" (").map_or(head, |(head, _)| head).to_lowercase();
    TYPES.into_iter().find(|value| value.name() == head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_a_type() {
        for meaning in PROBLEM_KEYS.iter().map(|row| row.meaning).chain(PROFILE_CLAUSES.iter().map(|row| row.meaning)) {
            assert!(meant(meaning).is_some(), "{meaning}");
        }
    }

    #[test]
    fn every_key_stands_in_its_block() {
        let dictionary = dictionary().text;
        for key in PACKET_KEYS {
            assert!(
                dictionary.contains(&format!("  ? {}: ", key.number)) && dictionary.contains(&format!("; {}\n", key.name)),
                "{}",
                key.name
            );
        }
        assert!(require().text.contains("? 0: durability") && !require().text.contains("any"), "{}", require().text);
    }

    #[test]
    fn a_block_fits_a_page() {
        for (name, block) in BLOCKS {
            assert!(block().text.lines().all(|line| line.len() <= crate::ladder::WIDTH), "{name}");
        }
    }
}
