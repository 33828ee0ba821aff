//! PINGREQs whose PINGRESP somebody waits for: a sign of life, or answers to what a client may do.

use super::Desk;
use crate::driver::Reply;
use crate::error::{Misbehaved, RequestError};
use crate::link::Link;
use candor_protocol::codec::dictionary::Dictionary;
use candor_protocol::packet::property::{ANSWERS, QUESTIONS};
use candor_protocol::packet::question::{Answer, Answers, Question, questions_to_dictionary};
use candor_protocol::packet::{Problem, Reason, Refusal};

/// Somebody who waits for a PINGRESP.
#[derive(Debug)]
pub(super) enum Pinged {
    Alive { reply: Reply<Dictionary> },
    MayI { count: usize, missed: u8, reply: Reply<Vec<Answer>> },
}

impl Desk {
    pub(super) fn ask_for_life(&mut self, reply: Reply<Dictionary>, link: &mut Link) {
        link.session.ping();
        self.pings.push_back(Pinged::Alive { reply });
    }

    pub(super) fn ask_whether_i_may(&mut self, questions: &[Question], reply: Reply<Vec<Answer>>, link: &mut Link) {
        if !link.session.terms().dialect.is_extended() {
            let what = "MQTT 3.1.1 cannot ask what a client may do".to_owned();
            return drop(reply.send(Err(RequestError::NotAvailable { what })));
        }
        link.session.ask(Dictionary::with(QUESTIONS, &questions_to_dictionary(questions)));
        self.pings.push_back(Pinged::MayI { count: questions.len(), missed: 0, reply });
    }

    /// PINGRESP came. One without answers may be that of the keep alive, of which one is under way at most.
    pub(super) fn ponged(&mut self, dictionary: Dictionary, keep_alive_s: u16) {
        if dictionary.value(ANSWERS).is_some() {
            let at = self.pings.iter().position(|pinged| matches!(pinged, Pinged::MayI { .. }));
            if let Some(Pinged::MayI { count, reply, .. }) = at.and_then(|at| self.pings.remove(at)) {
                let _ = reply.send(Answers::of_pong(&dictionary, count).ok_or_else(unanswered));
            }
            return;
        }
        match self.pings.pop_front() {
            Some(Pinged::Alive { reply }) => drop(reply.send(Ok(dictionary))),
            Some(Pinged::MayI { missed: 0, count, reply }) if keep_alive_s > 0 => {
                self.pings.push_front(Pinged::MayI { missed: 1, count, reply });
            }
            Some(Pinged::MayI { reply, .. }) => {
                let what = "this server does not answer what a client may do".to_owned();
                let _ = reply.send(Err(RequestError::NotAvailable { what }));
            }
            None => {}
        }
    }

    /// The connection is gone, and with it every answer.
    pub(super) fn forget_pings(&mut self) {
        for pinged in self.pings.drain(..) {
            match pinged {
                Pinged::Alive { reply } => drop(reply.send(Err(RequestError::Lost))),
                Pinged::MayI { reply, .. } => drop(reply.send(Err(RequestError::Lost))),
            }
        }
    }
}

fn unanswered() -> RequestError {
    let problem = Problem::titled("the server did not answer every question");
    RequestError::Misbehaved(Misbehaved::Protocol(Refusal::new(Reason::PROTOCOL_ERROR, problem)))
}
