//! Faults of other people's brokers that hit any case by chance, whatever it is about, and leave a mark in the broker's log. A case is
//! run again only where that mark says that it was hit.

use std::collections::{BTreeMap, VecDeque};

/// A fault that hits by chance.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    /// What the broker does.
    pub reason: &'static str,
    /// Whether these lines of its log say that it did so to a client whose identifier begins like this.
    pub hit: fn(&VecDeque<String>, &str) -> bool,
}

/// rumqttd 0.20 hears twice that a client is gone which sends DISCONNECT and closes: from the packet, and from the socket. The second
/// names the connection by a number that was free since the first, so it ends whatever connection has that number by then, before or
/// after its CONNACK (`Event::Disconnect` in its `router/routing.rs`).
pub const RUMQTTD: Fault = Fault { reason: "ended a connection because an earlier one with its number was gone", hit: ended_for_another };

/// Its log has an event a line, with the spans around it on lines of their own behind that, the innermost first. A connection that ends
/// by itself says so before the router hears of it.
fn ended_for_another(lines: &VecDeque<String>, id: &str) -> bool {
    let mark = format!("client_id: \"{id}");
    let mut gone: BTreeMap<String, usize> = BTreeMap::new();
    for event in events(lines) {
        let Some(client) = event.iter().find_map(|line| line.split_once(&mark)).and_then(|(_, rest)| rest.split('"').next()) else {
            continue;
        };
        let (says, is_within) = (event[0], |span: &str| event[1..].iter().any(|line| line.contains(span)));
        let count = gone.entry(client.to_owned()).or_default();
        if is_within("_link with") && says.contains(": disconnected") {
            *count += 1;
        }
        // Not because of what the client sent, and not because it has connected once more.
        let is_by_number =
            is_within("incoming_disconnect with") && !is_within("incoming_payload with") && !is_within("incoming_connect with");
        if is_by_number && says.contains("Disconnecting connection") {
            match count.checked_sub(1) {
                Some(left) => *count = left,
                None => return true,
            }
        }
    }
    false
}

fn events(lines: &VecDeque<String>) -> Vec<Vec<&str>> {
    let mut events: Vec<Vec<&str>> = vec![];
    for line in lines {
        match events.last_mut() {
            Some(event) if line.trim_start().starts_with("in ") => event.push(line),
            _ => events.push(vec![line]),
        }
    }
    events
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection, and an end of it within these spans.
    fn log(link_says: Option<&str>, spans: &[&str]) -> VecDeque<String> {
        let connected = [
            "  2026-11-29T20:00:00.000000Z  INFO rumqttd::router::routing: Client connection registered, connection_id: 4",
            "    in rumqttd::router::routing::incoming_connect with client_id: \"c7xnamed\"",
            "    in rumqttd::router::routing::[>] incoming with connection_id: 0",
        ];
        let link = "    in rumqttd::server::broker::remote_link with tenant_id: None, client_id: \"c7xnamed\", connection_id: 4";
        let said = link_says.map(|says| [format!("  2026-11-29T20:00:00.100000Z  INFO rumqttd::server::broker: {says}"), link.to_owned()]);
        let ended = [
            "  2026-11-29T20:00:00.200000Z  INFO rumqttd::router::routing: Disconnecting connection",
            "    in rumqttd::router::routing::incoming_disconnect with client_id: \"c7xnamed\"",
        ];
        let around = spans.iter().map(|span| format!("    in rumqttd::router::routing::{span}"));
        let ended = ended.iter().map(|line| (*line).to_owned()).chain(around);
        connected.iter().map(|line| (*line).to_owned()).chain(said.into_iter().flatten()).chain(ended).collect()
    }

    #[test]
    fn a_connection_that_ends_for_another_is_told_from_one_that_ends_by_itself() {
        let incoming = "[>] incoming with connection_id: 4";
        let aborted = Some("disconnected, error: Custom { kind: ConnectionAborted, error: \"connection closed by peer\" }");
        assert!(ended_for_another(&log(None, &[incoming]), "c7x"));
        assert!(!ended_for_another(&log(None, &[incoming]), "c8x"), "it was another case's");
        assert!(!ended_for_another(&log(aborted, &[incoming]), "c7x"), "its own socket was gone");
        let payload = "incoming_payload with client_id: \"c7xnamed\"";
        assert!(!ended_for_another(&log(None, &[payload, incoming]), "c7x"), "it was ended for what it sent");
        let connect = "incoming_connect with client_id: \"c7xnamed\"";
        assert!(!ended_for_another(&log(None, &[connect, incoming]), "c7x"), "it was taken over");
    }

    #[test]
    fn a_second_life_is_held_against_its_own_end() {
        let incoming = "[>] incoming with connection_id: 4";
        let mut lines = log(Some("disconnected, error: ..."), &[incoming]);
        lines.extend(log(None, &[incoming]));
        assert!(ended_for_another(&lines, "c7x"));
    }
}
