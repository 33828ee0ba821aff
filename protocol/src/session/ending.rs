//! How a connection ends, and what the other end is told of it.

use super::{Answer, Cause, Output, Phase, Session, Side};
use crate::codec::dictionary::Dictionary;
use crate::dialect::{Lowered, write};
use crate::packet::ack::Disconnect;
use crate::packet::{Packet, Reason, Refusal, property};

impl Session {
    /// Ends the connection from this end, for a refusal that the owner has made: says why where the dialect can, then closes.
    /// Deliveries stay parked.
    pub fn refuse_connection(&mut self, refusal: Refusal) {
        self.say_goodbye(&refusal);
        self.close(Cause::Refused(refusal));
    }

    /// Client: DISCONNECT, which drops the will, or publishes it when `with_will`.
    pub fn leave(&mut self, with_will: bool) {
        let reason = if with_will { Reason::DISCONNECT_WITH_WILL } else { Reason::SUCCESS };
        let packet = Packet::Disconnect(Disconnect { reason, dictionary: Default::default() });
        // The plain dialect has the will published by ending without DISCONNECT.
        if self.is_open() && write::fate(self.terms.dialect, self.role(), &packet) == Lowered::Frame {
            self.send(packet);
        }
        self.close(Cause::Left);
    }

    /// The transport ended.
    pub fn lost(&mut self) {
        self.close(Cause::Lost);
    }

    pub(super) fn say_goodbye(&mut self, refusal: &Refusal) {
        if self.terms.dialect.is_extended() && self.is_open() {
            let refusal = self.disclosed(refusal);
            let dictionary = match refusal.problem.is_empty() {
                true => Default::default(),
                false => Dictionary::with(property::PROBLEM, &refusal.problem.to_dictionary()),
            };
            self.send(Packet::Disconnect(Disconnect { reason: Self::in_disconnect(refusal.reason), dictionary }));
        }
    }

    /// What of a refusal the other end is told.
    pub(super) fn disclosed(&self, refusal: &Refusal) -> Refusal {
        match &self.side {
            Side::Server(policy) => policy.disclosure.of(refusal),
            Side::Client(_) => refusal.clone(),
        }
    }

    pub(super) fn close(&mut self, cause: Cause) {
        if self.is_closed() {
            return;
        }
        let was_open = self.is_open();
        self.phase = Phase::Closed;
        self.inbound.disconnect();
        for token in self.outbound.disconnect() {
            self.outputs.push_back(Output::Answered { token, answer: Answer::Lost });
        }
        let drops_will = matches!(&cause, Cause::PeerLeft { reason, .. } if *reason == Reason::SUCCESS);
        let withheld = matches!(&cause, Cause::Refused(_)) && !self.terms.profile.will_on_server_close;
        let will = self.will.take().filter(|_| was_open && !drops_will && !withheld);
        self.outputs.push_back(Output::Closed { cause, will });
    }
}
