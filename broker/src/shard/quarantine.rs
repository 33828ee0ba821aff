//! The door: clients that are kept out for a time, and what brings them there.

use super::{Connection, ConnectionKey, Shard};
use crate::feedback::{Page, Verdict};
use candor_protocol::packet::{Kind, Problem, Reason, Refusal, Retry};
use candor_protocol::shown::Shown;

impl Shard {
    /// A CONNECT has come to the shard of its session: it waits for the answer who it is, unless it is kept out.
    ///
    /// Only plain clients are: an extended one gets the reason of every refusal, and whether a retry helps.
    pub(super) fn at_the_door(&mut self, key: ConnectionKey) {
        if let Some(left_ms) = self.kept_out_ms(key) {
            return self.turn_away(key, &Refusal::new(Reason::BANNED, kept_out(left_ms)));
        }
        if self.is_ending() {
            return self.turn_away(key, &super::ending::ending());
        }
        // Whoever waits to be known takes memory, and work; but whoever comes back to its session takes what waits there.
        let is_new = self.connections.get(key).is_some_and(|connection| !self.directory.contains_key(&connection.client_id));
        if let (true, Err(refusal)) = (is_new, self.check_memory()) {
            return self.turn_away(key, &refusal);
        }
        self.effects.authenticate.push(key);
    }

    fn kept_out_ms(&mut self, key: ConnectionKey) -> Option<u64> {
        if !self.quarantine.is_on() {
            return None;
        }
        let connection = self.connections.get_mut(key)?;
        let connect = connection.connect.as_deref().filter(|connect| !connect.dialect.is_extended())?;
        connection.credentials = self.quarantine.credentials(connect);
        if self.quarantine.is_empty() {
            return None;
        }
        let subject = connection.subject(&self.quarantine);
        self.quarantine.turn_away(subject, self.now.ms)
    }

    /// A plain connection ends for a refusal. Once too often, and its client is kept out.
    pub(super) fn count_refusal(&mut self, key: ConnectionKey, packet: Kind, refusal: &Refusal, topic: Option<&str>) {
        // Who was not at the door yet has no name.
        let is_known = |connection: &Connection| !connection.client_id.is_empty();
        let is_plain = |connection: &Connection| !connection.session.terms().dialect.is_extended();
        let Some(connection) = self.connections.get(key).filter(|connection| is_known(connection) && is_plain(connection)) else { return };
        // What passes by itself is not the client's fault, but for how fast it sends.
        if matches!(refusal.problem.retry, Some(Retry::After { .. })) && refusal.reason != Reason::MESSAGE_RATE_TOO_HIGH {
            return;
        }
        let subject = connection.subject(&self.quarantine);
        let Some(started) = self.quarantine.refused(subject, (packet, refusal.reason, topic), self.now.ms) else { return };
        tracing::warn!(
            client = %Shown::new(&connection.client_id), principal = %Shown::new(&connection.principal), peer = %connection.address, packet = %packet,
            topic = %Shown::new(topic.unwrap_or_default()), refusal = %refusal, refusals = started.refusals, for_ms = started.for_ms, "quarantined"
        );
        let problem = kept_out(started.for_ms).detail(format!("{} was refused again and again: {refusal}", packet.name()));
        let verdict = Verdict::new(self.now.unix_ms, Kind::Connect, Refusal::new(Reason::BANNED, problem), topic);
        if let Some(page) = Page::of(&connection.principal, &connection.client_id) {
            self.write_down(page, verdict);
        }
    }
}

fn kept_out(after_ms: u64) -> Problem {
    Problem::titled("the client is kept out for a time, because it was refused the same thing too often")
        .rule("quarantine_refusals")
        .retry(Retry::After { after_ms, jitter_ms: 0 })
}
