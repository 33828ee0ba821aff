//! How the client of a connection publishes: the rate that it may, and what it is not to send again; and how that would be judged of a
//! message that is only asked about.

use super::verdicts::hash_of;
use super::{Connection, ConnectionKey, Shard};
use crate::feedback::Conduct;
use candor_protocol::packet::{Message, Refusal};

fn len_of(message: &Message) -> usize {
    message.topic().len() + message.map().len() + message.payload().len()
}

impl Shard {
    /// Whether the client publishes as it may, before anybody looks at what.
    ///
    /// # Errors
    /// It does not: what limit it keeps to, or until when nothing is looked at.
    pub(super) fn check_conduct(&mut self, key: ConnectionKey, message: &Message) -> Result<(), Refusal> {
        let limits = self.settings.rate;
        let Some(connection) = self.connections.get_mut(key) else { return Ok(()) };
        if limits.is_on() {
            connection.conduct.get_or_insert_default().rate.take(limits, len_of(message), self.now.ms)?;
        }
        match &connection.conduct {
            Some(conduct) => conduct.breaker.check(hash_of(message.topic()), self.now.ms),
            None => Ok(()),
        }
    }

    /// Whether [`Shard::check_conduct`] has nothing against a message and nothing to count for it, and nobody else is likely to have: what
    /// is refused costs enough when it is looked at once.
    pub(super) fn may_publish_again(&self, connection: &Connection, topic: &[u8]) -> bool {
        let now_ms = self.now.ms;
        let has_objection = |conduct: &Conduct| conduct.is_refused_lately(now_ms) || conduct.breaker.check(hash_of(topic), now_ms).is_err();
        !self.settings.rate.is_on() && !connection.conduct.as_deref().is_some_and(has_objection)
    }

    /// As [`Shard::check_conduct`], of a message that is not there.
    ///
    /// # Errors
    /// As there.
    pub(super) fn foresee_conduct(&self, key: ConnectionKey, message: &Message) -> Result<(), Refusal> {
        let limits = self.settings.rate;
        let Some(connection) = self.connections.get(key) else { return Ok(()) };
        let conduct = connection.conduct.as_deref();
        if limits.is_on() {
            // Of a copy, so that a question takes no part of the allowance.
            let mut rate = conduct.map(|conduct| conduct.rate).unwrap_or_default();
            rate.take(limits, len_of(message), self.now.ms)?;
        }
        conduct.map_or(Ok(()), |conduct| conduct.breaker.check(hash_of(message.topic()), self.now.ms))
    }

    /// What a client is told that was refused the same publish again and again.
    pub(super) fn refused_again(&mut self, key: ConnectionKey, topic: &str, refusal: Refusal) -> Refusal {
        let (limits, now_ms) = (self.settings.quarantine, self.now.ms);
        match self.connections.get_mut(key) {
            Some(connection) if connection.session.terms().dialect.is_extended() => {
                let conduct = connection.conduct.get_or_insert_default();
                conduct.breaker.refused(hash_of(topic.as_bytes()), refusal, limits, now_ms)
            }
            _ => refusal,
        }
    }

    /// As [`Shard::refused_again`], of a refusal that nobody gets.
    pub(super) fn foresee_breaker(&self, key: ConnectionKey, topic: &str, refusal: Refusal) -> Refusal {
        let conduct = self.connections.get(key).and_then(|connection| connection.conduct.as_deref());
        let mut breaker = conduct.map(|conduct| conduct.breaker.clone()).unwrap_or_default();
        breaker.refused(hash_of(topic.as_bytes()), refusal, self.settings.quarantine, self.now.ms)
    }
}
