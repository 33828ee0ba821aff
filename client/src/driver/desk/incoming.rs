//! Messages from the server: they wait for the application, and then for their settlement.

use super::Desk;
use crate::event::Event;
use crate::incoming::{Incoming, Settled};
use crate::link::Link;
use crate::store::Record;
use candor_protocol::packet::legality::check_message_keys;
use candor_protocol::packet::{PacketId, Publish, Qos, Reason};
use candor_protocol::session::{Outcome, Ticket};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

impl Desk {
    /// Hands a message to the application.
    pub(super) fn hand_on(&mut self, ticket: Option<Ticket>, publish: Publish, link: &mut Link) {
        let dialect = link.session.terms().dialect;
        if let Err(refusal) = check_message_keys(&publish.message.dictionary()) {
            // Odd keys in the message bind its recipients: it is not handed out as if it were understood.
            self.tell(Event::NotUnderstood { topic: publish.message.topic_str().to_owned(), refusal: refusal.clone() });
            if let Some(ticket) = ticket {
                link.session.settle(ticket, Outcome::refused(refusal));
            }
            return;
        }
        if self.reports.take(&publish) {
            ticket.into_iter().for_each(|ticket| link.session.settle(ticket, Outcome::accepted()));
            return;
        }
        if let Some(ticket) = ticket {
            // Whatever is settled with a ticket has an identifier.
            self.open.insert(ticket, (publish.qos, publish.id.unwrap_or(PacketId::MIN)));
        }
        self.held.push_back(Incoming::new(publish, ticket, dialect, self.experiments.clone(), &self.settle));
        self.forward();
    }

    /// Gives held messages to the application as far as it has room.
    pub(in crate::driver) fn forward(&mut self) {
        while let Some(incoming) = self.held.pop_front() {
            match self.messages.try_send(incoming) {
                Ok(()) => {}
                Err(TrySendError::Full(incoming)) => return self.held.push_front(incoming),
                Err(TrySendError::Closed(incoming)) => self.nobody_listens(incoming),
            }
        }
    }

    fn nobody_listens(&mut self, mut incoming: Incoming) {
        if !std::mem::replace(&mut self.told_nobody_listens, true) {
            self.tell(Event::NobodyListens { topic: incoming.topic().to_owned() });
        }
        if incoming.dialect().is_extended() {
            incoming.settle(Outcome::released(), false);
        } else {
            // To say no would end the connection again and again; not saying yes leaves the message with the server.
            incoming.forget();
        }
    }

    pub(in crate::driver) fn is_held(&self) -> bool {
        !self.held.is_empty()
    }

    /// Waits until the application has room or takes no messages any more.
    pub(in crate::driver) async fn room(messages: &mpsc::Sender<Incoming>) {
        drop(messages.reserve().await);
    }

    pub(in crate::driver) fn messages(&self) -> mpsc::Sender<Incoming> {
        self.messages.clone()
    }

    /// A message was settled; `link`: where the connection is open.
    pub(in crate::driver) fn settled(&mut self, settled: Settled, dialect_extended: bool) -> Option<(Ticket, Outcome)> {
        let Settled { ticket, mut outcome, topic, dropped, mark } = settled;
        let Some((qos, id)) = self.open.remove(&ticket) else {
            self.tell(Event::SettledTooLate { topic });
            return None;
        };
        if dropped {
            self.tell(Event::DroppedUnsettled { topic: topic.clone() });
        }
        if !dialect_extended && outcome.reason == Reason::REJECTED {
            let problem = outcome.problem.take().unwrap_or_default();
            self.tell(Event::RejectedUnheard { topic, problem });
            outcome = Outcome::accepted();
        }
        match (qos, mark) {
            // PUBREC, or its absence, waits for this.
            (Qos::ExactlyOnce, mark) if !outcome.reason.is_error() => self.journal.record(Record::Taken { id, mark }),
            (_, Some(mark)) => self.journal.record(Record::Marked { mark }),
            (_, None) => {}
        }
        Some((ticket, outcome))
    }
}
