//! Small registries: the names on the wire, and the values of a few keys.

use super::Table;
use candor_protocol::dialect::level::name_and_level;
use candor_protocol::dialect::{ALPN, ALPN_PLAIN, Dialect, OFFER_PREFIX};
use candor_protocol::packet::profile::{Durability, Overflow};

pub(super) fn identifiers() -> Table {
    let (name, level) = name_and_level(Dialect::Extended);
    let row = |what: &str, value: &str| vec![what.to_owned(), format!("`{value}`")];
    let rows = [
        row("Protocol name of the extended CONNECT", name),
        row("Protocol level of the extended CONNECT", &level.to_string()),
        row("ALPN protocol id of the extended dialect", ALPN),
        row("ALPN protocol id of plain MQTT", ALPN_PLAIN),
        row("WebSocket subprotocol of the extended dialect", ALPN),
        row("WebSocket subprotocol of plain MQTT", ALPN_PLAIN),
        row("First level of the topic filter of an offer", OFFER_PREFIX),
    ];
    Table::new("Experimental Identifiers", &["Identifier", "Value"], rows)
}

pub(super) fn durabilities() -> Table {
    let meaning = |durability| match durability {
        Durability::None => "It is lost with the connection.",
        Durability::Memory => "It survives the connection, but not the process of the server.",
        Durability::Disk => "It was written to stable storage: it survives the process and the loss of power.",
        Durability::Quorum => "It survives the loss of a node.",
    };
    let rows = Durability::ALL.map(|one| vec![(one as u8).to_string(), one.name().to_owned(), meaning(one).to_owned()]);
    Table::new("Durabilities", &["Value", "Name", "Meaning"], rows)
}

pub(super) fn overflows() -> Table {
    let meaning = |overflow| match overflow {
        Overflow::DropOldest => "The oldest message of the queue is dropped, and the subscriber is told of the gap.",
        Overflow::DropNewest => "The new message is dropped for this subscriber, which is told of the gap.",
        Overflow::RefusePublisher => "The publisher is refused.",
        Overflow::HoldBack => "The acknowledgement waits until there is room.",
    };
    let rows = Overflow::ALL.map(|one| vec![(one as u8).to_string(), one.name().to_owned(), meaning(one).to_owned()]);
    Table::new("Overflow Policies", &["Value", "Name", "Meaning"], rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candor_protocol::dialect::NAME;

    #[test]
    fn the_identifiers_are_those_of_the_code() {
        let rows = identifiers().rows;
        assert_eq!(rows[0][1], format!("`{NAME}`"));
        assert_eq!(rows[2][1], rows[4][1]);
    }
}
