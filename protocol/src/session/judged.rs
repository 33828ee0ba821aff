//! Refusals that a session makes by itself: each gets its trace id, is told to the owner once, and only then goes to the peer.

use super::{Cause, Output, Session};
use crate::packet::legality::Role;
use crate::packet::{Kind, Publish, Reason, Refusal};

impl Session {
    /// Server: the first number of this connection's trace ids, drawn at random and not 0. Every refusal gets the next one, so
    /// that what the peer is told is found again in the log. Without this call refusals have none.
    pub fn trace_from(&mut self, first: u64) {
        self.next_trace = first;
    }

    /// The next trace id of this connection: 16 hexadecimal digits; `None`: it has none.
    pub fn next_trace_id(&mut self) -> Option<String> {
        let number = self.next_trace;
        if number == 0 {
            return None;
        }
        // 0 means that there are none.
        self.next_trace = number.wrapping_add(1).max(1);
        // Digit by digit: a client that is refused something new each time gets a new one each time.
        Some((0..16).rev().filter_map(|at| char::from_digit((number >> (4 * at)) as u32 & 0xF, 16)).collect())
    }

    /// Tells the owner of a refusal, with its trace id in it, before the peer gets it.
    pub(super) fn judged(&mut self, kind: Kind, publish: Option<&Publish>, mut refusal: Refusal) -> Refusal {
        if refusal.problem.trace_id.is_none() {
            refusal.problem_mut().trace_id = self.next_trace_id();
        }
        let publish = publish.map(|publish| Box::new(publish.clone()));
        self.outputs.push_back(Output::Refused { kind, refusal: refusal.clone(), publish });
        refusal
    }

    /// Ends the connection for something that the peer did. The owner of a server hears of it as of every refusal; that of a
    /// client learns it from the end itself.
    pub(super) fn end_for(&mut self, refusal: Refusal, cause: impl FnOnce(Refusal) -> Cause) {
        if self.is_closed() {
            return;
        }
        let refusal = match self.role() {
            Role::Server => self.judged(if self.is_open() { Kind::Disconnect } else { Kind::Connect }, None, refusal),
            Role::Client => refusal,
        };
        self.say_goodbye(&refusal);
        self.close(cause(refusal));
    }

    /// The reason of a refusal as DISCONNECT may carry it.
    pub(super) fn in_disconnect(reason: Reason) -> Reason {
        if reason.allowed_in(Kind::Disconnect) { reason } else { Reason::UNSPECIFIED_ERROR }
    }
}
