//! The reasons, and which packet carries which.

use super::{Table, code};
use candor_protocol::packet::kind::Kind;
use candor_protocol::packet::reason::REASONS;

pub(super) fn reasons() -> Table {
    let rows = REASONS.iter().map(|row| vec![code(row.reason.0), row.name.to_owned(), row.meaning.to_owned()]);
    Table::new("Reasons", &["Code", "Name", "Meaning"], rows)
}

pub(super) fn reason_legality() -> Table {
    let kinds: Vec<Kind> = Kind::ALL.into_iter().filter(|kind| REASONS.iter().any(|row| row.packets.contains(*kind))).collect();
    let mut head = vec!["Code"];
    head.extend(kinds.iter().map(|kind| short(*kind)));
    let rows = REASONS.iter().map(|row| {
        let marks = kinds.iter().map(|kind| if row.packets.contains(*kind) { "x" } else { "" }.to_owned());
        std::iter::once(code(row.reason.0)).chain(marks).collect()
    });
    Table::new("Reasons by Packet", &head, rows)
}

/// A packet type in two letters, for the head of a column.
pub(super) const fn short(kind: Kind) -> &'static str {
    match kind {
        Kind::Connect => "CO",
        Kind::ConnAck => "CA",
        Kind::Publish => "PU",
        Kind::PubAck => "PA",
        Kind::PubRec => "PR",
        Kind::PubRel => "PL",
        Kind::PubComp => "PC",
        Kind::Subscribe => "SU",
        Kind::SubAck => "SA",
        Kind::Unsubscribe => "US",
        Kind::UnsubAck => "UA",
        Kind::PingReq => "PQ",
        Kind::PingResp => "PP",
        Kind::Disconnect => "DI",
        Kind::Notice => "NO",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candor_protocol::packet::Reason;

    #[test]
    fn a_reason_is_marked_where_it_is_allowed() {
        let table = reason_legality();
        let row = table.rows.iter().find(|row| row[0] == "0x04").unwrap();
        let marked: Vec<_> = table.head.iter().zip(row).filter(|(_, mark)| *mark == "x").map(|(head, _)| head.as_str()).collect();
        assert_eq!(marked, [short(Kind::Disconnect)]);
        assert!(Reason(0x04).allowed_in(Kind::Disconnect));
    }

    #[test]
    fn every_short_name_is_used_once() {
        let mut names = Kind::ALL.map(short);
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
    }
}
