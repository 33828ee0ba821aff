//! What a sender does with what its peer holds, when an extended session is resumed.
//!
//! | the message, by its number | the peer lists it | what follows |
//! | --- | --- | --- |
//! | above the count received | it may not | as new: another identifier, no DUP, a new number |
//! | above it, first sent before the count began | it may not | as a plain resumption has it, with a new number |
//! | within it | open | PUBLISH again, with DUP and its identifier |
//! | within it, QoS 2 | with a reason below 0x80 | PUBREC has come: recorded, then PUBREL |
//! | within it | with any other reason | settled with that reason |
//! | within it | not at all | settled: accepted |
//! | none: not counted | it may not | as a plain resumption has it |
//!
//! Identifiers cannot say this. The packet that was cut may have used an identifier again whose first message the peer has.

use super::held::{Held, lie};
use super::outbound::{Again, InFlight, Outbound, Stage};
use super::{Outcome, Output, Record};
use crate::packet::id::{PacketId, Qos};
use crate::packet::{Reason, Refusal};

/// What becomes of one message.
enum Fate {
    New,
    /// Its repetition never arrived; what it repeats may have.
    Older,
    Again,
    Received(Reason),
    Settled(Outcome),
}

impl Outbound {
    /// Does what follows from what the peer holds; gives what the owner has to know.
    ///
    /// # Errors
    /// The peer cannot hold that. Then nothing was changed.
    pub(super) fn reconcile(&mut self, held: &Held) -> Result<Vec<Output>, Refusal> {
        self.check_held(held)?;
        let mut fates = Vec::new();
        for (id, message) in self.messages() {
            if let Some(fate) = fate(message, held)? {
                fates.push((id, fate));
            }
        }
        let outputs = fates.into_iter().filter_map(|(id, fate)| self.meet(id, fate)).collect();
        self.recount(held.received);
        Ok(outputs)
    }

    fn check_held(&self, held: &Held) -> Result<(), Refusal> {
        let sent = self.sent().unwrap_or(0);
        if held.received > sent {
            return Err(bounded(lie("more messages are held than were sent", "received"), sent, held.received));
        }
        if held.received < self.acknowledged() {
            return Err(bounded(lie("fewer messages are held than were acknowledged", "received"), self.acknowledged(), held.received));
        }
        for (number, outcome) in &held.unfinished {
            if *number > held.received {
                let refusal = lie("a message is listed that was not received", &format!("unfinished: {number}"));
                return Err(bounded(refusal, held.received, *number));
            }
            // An outcome may be listed again that was heard; a message that was settled cannot be open.
            if outcome.is_none() && !self.messages().any(|(_, message)| message.number == Some(*number)) {
                return Err(lie("a message is listed as open that is not in the window", &format!("unfinished: {number}")));
            }
        }
        Ok(())
    }

    fn meet(&mut self, id: PacketId, fate: Fate) -> Option<Output> {
        match fate {
            Fate::New => self.renew(id),
            Fate::Older => self.get_mut(id)?.number = None,
            Fate::Again => {}
            Fate::Received(reason) => {
                self.is_received_early(id);
                let message = self.get_mut(id)?;
                message.committed = (reason != Reason::SUCCESS).then(|| Box::new(Outcome { reason, ..Outcome::accepted() }));
                return Some(Output::Record(Record::Received(id)));
            }
            Fate::Settled(outcome) => {
                let message = self.finish(id)?;
                let returned = outcome.reason.is_error().then(|| Box::new(message.delivery));
                return Some(Output::Settled { token: message.token, outcome, returned });
            }
        }
        None
    }
}

fn bounded(mut refusal: Refusal, limit: u64, seen: u64) -> Refusal {
    let problem = refusal.problem_mut();
    (problem.limit, problem.seen) = (Some(limit), Some(seen));
    refusal
}

/// `None`: it stays as it is.
fn fate(message: &InFlight, held: &Held) -> Result<Option<Fate>, Refusal> {
    let Some(number) = message.number else {
        // It goes behind what is sent as new now, as it did before.
        return Ok((message.stage == Stage::Waiting(Again::New)).then_some(Fate::New));
    };
    let is_released = message.stage == Stage::Waiting(Again::Release);
    let place = format!("unfinished: {number}");
    if number > held.received {
        return match (is_released, message.is_older) {
            (true, _) => Err(lie("a message is not held that was acknowledged", "received")),
            (_, true) => Ok(Some(Fate::Older)),
            _ => Ok(Some(Fate::New)),
        };
    }
    let with = |reason: Reason| Outcome { reason: reason.known_or_class(), ..Outcome::accepted() };
    Ok(Some(match (message.delivery.qos, held.unfinished.get(&number)) {
        (Qos::ExactlyOnce, Some(None)) if is_released => return Err(lie("a message is open that was acknowledged", &place)),
        (Qos::ExactlyOnce, Some(Some(reason))) if reason.is_error() && is_released => {
            return Err(lie("a message is refused that was acknowledged", &place));
        }
        (_, Some(None)) => Fate::Again,
        (Qos::ExactlyOnce, Some(Some(reason))) if !reason.is_error() => {
            if is_released {
                Fate::Again
            } else {
                Fate::Received(reason.known_or_class())
            }
        }
        (_, Some(Some(reason))) => Fate::Settled(with(*reason)),
        (Qos::ExactlyOnce, None) if !is_released => return Err(lie("a message is finished that was not released", &place)),
        (Qos::ExactlyOnce, None) => Fate::Settled(message.committed.as_deref().cloned().unwrap_or_else(Outcome::accepted)),
        (_, None) => Fate::Settled(Outcome::accepted()),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::dictionary::Dictionary;
    use crate::packet::Message;
    use crate::session::outbound::{Delivery, Restored};

    #[test]
    fn a_repetition_that_never_arrived_keeps_its_identifier_since_what_it_repeats_may_have_arrived() {
        let delivery =
            Delivery { message: Message::publish("a", "x").unwrap(), qos: Qos::ExactlyOnce, retain: false, hop: Dictionary::EMPTY };
        let id = PacketId::new(7).unwrap();
        let restored = Restored { id, token: 1, delivery: delivery.clone(), received: false, number: None };
        let mut outbound = Outbound::restore([restored], None).unwrap();
        outbound.set_window(10);
        outbound.begin_count(true);
        // The first connection of the count: it is repeated and counted, a new one goes behind it, and neither arrives.
        assert_eq!(outbound.resend().map(|(id, dup, message)| (id, dup, message.number)), Some((id, true, Some(1))));
        outbound.start(delivery, 2);
        outbound.disconnect();
        outbound.reconcile(&Held { mark: crate::session::Mark([0; 8]), received: 0, unfinished: Default::default() }).unwrap();
        let mut again = Vec::new();
        while let Some((id, dup, message)) = outbound.resend() {
            again.push((id.value(), dup, message.token, message.number));
        }
        assert_eq!(again, [(7, true, 1, Some(1)), (9, false, 2, Some(2))]);
    }
}
