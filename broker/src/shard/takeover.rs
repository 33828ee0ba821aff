//! A connection that takes a session which another one holds: both are told, and the one that lost it when to try again.

use super::{ConnectionKey, Shard};
use candor_protocol::codec::dictionary::MapBuilder;
use candor_protocol::packet::{Notice, Packet, Problem, Reason, Refusal, Retry, property};
use candor_protocol::shown::Shown;
use std::sync::Arc;

/// How long the first one that lost its session is to stay away; each time in a row it is twice as long.
const FIRST_MS: u64 = 5000;
const DOUBLINGS: u32 = 6;
/// A session that was held undisturbed for so long begins anew.
const UNDISPUTED_MS: u64 = 300_000;

/// The retry hint for the `count`th takeover in a row, from 1 on. The time is spread, so that two clients with one identifier do
/// not meet again at once.
fn back_off(count: u32) -> Retry {
    let after_ms = FIRST_MS << count.saturating_sub(1).min(DOUBLINGS);
    Retry::After { after_ms, jitter_ms: after_ms }
}

impl Shard {
    /// Ends the connection that holds a session, for another that takes it ([MQTT-3.1.4-2]). The session may end with it: how many
    /// times in a row that was, and when, is for the next one to remember.
    pub(super) fn take_over(&mut self, slot: u32, by: ConnectionKey) -> Option<(u32, u64)> {
        let now_ms = self.now.ms;
        let client = self.clients.get(slot)?;
        let old = client.connection?;
        let (count, last_ms) = client.takeovers;
        let count = if now_ms.saturating_sub(last_ms) < UNDISPUTED_MS { count.saturating_add(1) } else { 1 };
        let told = |title: &str| Problem::titled(title).detail(format!("{count} in a row"));
        let lost = told("another connection with this client identifier took the session").retry(back_off(count));
        let address = |key| self.connections.get(key).map(|connection| connection.address);
        let (id, addresses) = (Arc::clone(&client.id), address(by).zip(address(old)));
        let trace_id = self.end_connection(old, Refusal::new(Reason::SESSION_TAKEN_OVER, lost));
        // Where the other one is, is an operator's to know: this line has it, and the story of the client, which is not the client's to read.
        if let Some((winner, loser)) = addresses {
            tracing::info!(client = %Shown::new(&id), %winner, %loser, count, "session taken over");
        }
        self.act(old);
        let mut took = told("this connection took the session from another with the same client identifier");
        if let Some(connection) = self.connections.get_mut(by) {
            took.trace_id = trace_id;
            connection.conduct.get_or_insert_default().took_over = Some((took, count));
        }
        Some((count, now_ms))
    }

    /// Tells an extended client that it has taken its session from somebody; others read it in what they lost themselves.
    pub(super) fn tell_takeover(&mut self, key: ConnectionKey) {
        let Some(connection) = self.connections.get_mut(key).filter(|c| c.session.terms().dialect.is_extended()) else { return };
        let Some((problem, count)) = connection.conduct.as_mut().and_then(|conduct| conduct.took_over.take()) else { return };
        let refusal = connection.listener.disclosed(&Refusal::new(Reason::SESSION_TAKEN_OVER, problem));
        let mut map = MapBuilder::new();
        map.set(property::PROBLEM, &refusal.problem.to_dictionary()).set(property::COUNT, &u64::from(count));
        connection.session.answer(Packet::Notice(Notice { reason: Reason::SESSION_TAKEN_OVER, dictionary: map.finish() }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_takeover_in_a_row_doubles_the_time_to_stay_away() {
        let after: Vec<u64> = (1..9)
            .map(|count| match back_off(count) {
                Retry::After { after_ms, jitter_ms } if after_ms == jitter_ms => after_ms,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(after, [5000, 10_000, 20_000, 40_000, 80_000, 160_000, 320_000, 320_000]);
    }
}
