//! The keys of dictionaries, the parts of packets, and which packet carries which key.

use super::Table;
use super::reasons::short;
use candor_protocol::packet::kind::Kind;
use candor_protocol::packet::legality::{PARTS, ReasonPart};
use candor_protocol::packet::problem::PROBLEM_KEYS;
use candor_protocol::packet::profile::PROFILE_CLAUSES;
use candor_protocol::packet::property::{KeyInfo, MESSAGE_KEYS, PACKET_KEYS, Writer};
use candor_protocol::packet::question::{ANSWER_KEYS, QUESTION_KEYS, QuestionInfo};
use candor_protocol::session::held::HELD_KEYS;

pub(super) fn packet_keys() -> Table {
    Table::new("Packet Keys", &["Key", "Name", "Meaning"], PACKET_KEYS.iter().map(key_row))
}

pub(super) fn message_keys() -> Table {
    Table::new("Message Keys", &["Key", "Name", "Meaning"], MESSAGE_KEYS.iter().map(key_row))
}

fn key_row(key: &KeyInfo) -> Vec<String> {
    let writer = match key.writer {
        Writer::Both => String::new(),
        one => format!(", from the {} only", one.name()),
    };
    let mut kind = key.value.name().to_owned();
    kind[..1].make_ascii_uppercase();
    vec![key.number.to_string(), key.name.to_owned(), format!("{kind}{writer}. {}", key.meaning)]
}

/// The column of a packet. PINGREQ is the client's alone and PINGRESP the server's, so the mark tells them apart: the page is narrow.
fn column(kind: Kind) -> &'static str {
    match kind {
        Kind::PingReq | Kind::PingResp => "PI",
        other => short(other),
    }
}

pub(super) fn key_legality() -> Table {
    let carries = |row: &KeyInfo, name: &str| Kind::ALL.into_iter().any(|kind| column(kind) == name && row.packets.contains(kind));
    let mut columns: Vec<&str> = Kind::ALL.into_iter().map(column).collect();
    columns.dedup();
    columns.retain(|name| PACKET_KEYS.iter().any(|row| carries(row, name)));
    let rows = PACKET_KEYS.iter().map(|row| {
        let mark = match row.writer {
            Writer::Both => "x",
            Writer::Client => "c",
            Writer::Server => "s",
        };
        let marks = columns.iter().map(|name| if carries(row, name) { mark } else { "" }.to_owned());
        std::iter::once(row.number.to_string()).chain(marks).collect()
    });
    let head: Vec<&str> = std::iter::once("Key").chain(columns.iter().copied()).collect();
    Table::new("Packet Keys by Packet", &head, rows)
}

pub(super) fn packet_parts() -> Table {
    let rows = PARTS.iter().map(|parts| {
        let reason = match parts.reason {
            ReasonPart::None => "none",
            ReasonPart::Byte => "one byte before the dictionary",
            ReasonPart::ReturnCode => "the return code",
            ReasonPart::PerFilter => "one byte per filter, in the payload",
        };
        let dictionary = if parts.may_end_early { "may be left out when empty" } else { "always" };
        vec![(parts.kind as u8).to_string(), parts.kind.name().to_owned(), reason.to_owned(), dictionary.to_owned()]
    });
    Table::new("Parts of the Packets", &["Type", "Packet", "Reason", "Dictionary"], rows)
}

pub(super) fn problem_keys() -> Table {
    let rows = PROBLEM_KEYS.iter().map(|row| vec![row.number.to_string(), row.name.to_owned(), row.meaning.to_owned()]);
    Table::new("Problem Keys", &["Key", "Name", "Meaning"], rows)
}

pub(super) fn held_keys() -> Table {
    let rows = HELD_KEYS.iter().map(|row| vec![row.number.to_string(), row.name.to_owned(), row.meaning.to_owned()]);
    Table::new("Keys of What Is Held", &["Key", "Name", "Meaning"], rows)
}

pub(super) fn question_keys() -> Table {
    of_question("Keys of a Question", QUESTION_KEYS)
}

pub(super) fn answer_keys() -> Table {
    of_question("Keys of an Answer", ANSWER_KEYS)
}

fn of_question(caption: &'static str, rows: &[QuestionInfo]) -> Table {
    let rows = rows.iter().map(|row| vec![row.number.to_string(), row.name.to_owned(), row.meaning.to_owned()]);
    Table::new(caption, &["Key", "Name", "Meaning"], rows)
}

pub(super) fn profile_clauses() -> Table {
    let rows = PROFILE_CLAUSES.iter().map(|row| {
        let requirable = if row.requirable { "yes" } else { "no" };
        vec![row.number.to_string(), row.name.to_owned(), requirable.to_owned(), row.meaning.to_owned()]
    });
    Table::new("Profile Clauses", &["Key", "Name", "Requirable", "Meaning"], rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_tells_type_and_writer() {
        let row = |number: &str| packet_keys().rows.into_iter().find(|row| row[0] == number).unwrap();
        assert!(row("32")[2].starts_with("Text, from the server only. The principal"), "{:?}", row("32"));
        assert!(row("28")[2].starts_with("Byte string. At most 32 bytes"), "{:?}", row("28"));
    }

    #[test]
    fn a_key_is_marked_with_who_may_write_it() {
        let table = key_legality();
        let row = table.rows.iter().find(|row| row[0] == "34").unwrap();
        let marked: Vec<_> = table.head.iter().zip(row).skip(1).filter(|(_, mark)| !mark.is_empty()).collect();
        assert_eq!(marked, [(&"CA".to_owned(), &"s".to_owned()), (&"PU".to_owned(), &"s".to_owned())]);
    }

    #[test]
    fn the_parts_are_those_of_the_packets() {
        let rows = packet_parts().rows;
        assert_eq!(rows[3], ["4", "PUBACK", "one byte before the dictionary", "may be left out when empty"]);
        assert_eq!(rows[2], ["3", "PUBLISH", "none", "always"]);
        assert_eq!(rows.len(), 15);
    }
}
