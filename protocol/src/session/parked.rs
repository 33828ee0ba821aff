//! What outlives a connection.

use super::{Inbound, Mark, Outbound, Outcome, Record, Session, Ticket};

/// What outlives a connection.
///
/// A store that keeps only some of it may restore what it has ([`Outbound::restore`], [`Inbound::restore`]) and leave `mark` empty:
/// the next extended connection then resumes as MQTT 3.1.1 has it, and begins a new count.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Parked {
    pub inbound: Inbound,
    pub outbound: Outbound,
    /// Whether the last connection was extended: the next plain one may become so, and deliveries wait for that.
    pub was_extended: bool,
    /// The count that both ends keep. It stands for exact numbers at both ends: where `inbound` or `outbound` were restored without
    /// theirs, it must be `None`.
    pub mark: Option<Mark>,
}

impl Default for Parked {
    fn default() -> Self {
        Self { inbound: Inbound::default(), outbound: Outbound::new(1), was_extended: false, mark: None }
    }
}

impl Parked {
    /// Settles a message that was handed on before the connection ended.
    pub fn settle(&mut self, ticket: Ticket, outcome: Outcome) {
        self.inbound.settle(ticket, outcome, false, |_, _| {});
    }

    /// A step of a QoS 2 exchange was kept although the connection is gone.
    pub fn recorded(&mut self, record: Record) {
        match record {
            Record::Released(id) => {
                self.inbound.released(id);
            }
            Record::Received(id) => {
                self.outbound.recorded(id);
            }
        }
    }
}

impl Session {
    /// What outlives the connection; the session has been closed.
    pub fn park(mut self) -> Parked {
        self.take_parked()
    }

    /// As [`Session::park`], where the session itself has to stay in its place a little longer.
    pub fn take_parked(&mut self) -> Parked {
        Parked {
            inbound: std::mem::take(&mut self.inbound),
            outbound: std::mem::replace(&mut self.outbound, Outbound::new(1)),
            was_extended: self.terms.dialect.is_extended(),
            mark: self.mark.take(),
        }
    }
}
