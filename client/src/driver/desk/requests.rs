//! Requests: SUBSCRIBE, UNSUBSCRIBE and PINGREQ wait for their answers, and subscriptions are known so that they can be renewed.

use super::Desk;
use crate::driver::{Reply, Request};
use crate::error::{Misbehaved, RequestError};
use crate::event::Event;
use crate::link::Link;
use crate::store::Record;
use crate::subscribe::{Granted, Wish, granted, packet};
use candor_protocol::codec::dictionary::Dictionary;
use candor_protocol::packet::{Problem, Reason, Refusal, TopicFilter};
use candor_protocol::session::{Answer, Token};

/// Filters that one SUBSCRIBE renews at most.
const RENEWED_AT_ONCE: usize = 100;

/// Requests that wait for their answers at most; more wait with their handles.
const ASKED_MAX: usize = 256;

/// A request that was sent.
#[derive(Debug)]
pub(super) enum Asked {
    Subscribe {
        wishes: Vec<Wish>,
        reply: Reply<Vec<Granted>>,
    },
    /// After the session was lost.
    Renew {
        wishes: Vec<Wish>,
    },
    Unsubscribe {
        filters: Vec<TopicFilter>,
        reply: Reply<Vec<Reason>>,
    },
}

impl Desk {
    /// Whether one more request may be sent now.
    pub(in crate::driver) fn may_ask(&self, link: &Link) -> bool {
        link.session.is_ready() && self.asked.len() + self.pings.len() < ASKED_MAX
    }

    pub(in crate::driver) fn ask(&mut self, request: Request, link: &mut Link) {
        let extended = link.session.terms().dialect.is_extended();
        let token = self.token();
        match request {
            Request::Subscribe { wishes, reply } => {
                if !extended && wishes.iter().any(|wish| !wish.item.is_empty()) {
                    let what = "MQTT 3.1.1 has no subscription options and no requirements".to_owned();
                    let _ = reply.send(Err(RequestError::NotAvailable { what }));
                    return;
                }
                let (items, dictionary) = packet(&wishes);
                match link.session.subscribe(items, dictionary, token) {
                    Some(()) => drop(self.asked.insert(token, Asked::Subscribe { wishes, reply })),
                    None => drop(reply.send(Err(RequestError::Lost))),
                }
            }
            Request::Unsubscribe { filters, reply } => match link.session.unsubscribe(filters.clone(), Dictionary::EMPTY, token) {
                Some(()) => drop(self.asked.insert(token, Asked::Unsubscribe { filters, reply })),
                None => drop(reply.send(Err(RequestError::Lost))),
            },
            Request::Ping { reply } => self.ask_for_life(reply, link),
            Request::MayI { questions, reply } => self.ask_whether_i_may(&questions, reply, link),
        }
    }

    pub(super) fn answered(&mut self, token: Token, answer: Answer) {
        match (self.asked.remove(&token), answer) {
            (Some(Asked::Subscribe { wishes, reply }), Answer::Subscribed(suback)) => {
                let result = granted(&wishes, &suback).ok_or_else(bad_answer);
                if let Ok(granted) = &result {
                    self.note_granted(&wishes, granted);
                }
                let _ = reply.send(result);
            }
            (Some(Asked::Renew { wishes }), Answer::Subscribed(suback)) => {
                for granted in granted(&wishes, &suback).unwrap_or_default() {
                    if let Err(refusal) = granted.result {
                        self.subscriptions.retain(|wish| wish.filter != granted.filter);
                        self.journal.record(Record::Unsubscribed { filter: granted.filter.clone() });
                        self.tell(Event::SubscriptionLost { filter: granted.filter, refusal });
                    }
                }
            }
            (Some(Asked::Unsubscribe { filters, reply }), Answer::Unsubscribed(unsuback)) => {
                self.subscriptions.retain(|wish| !filters.contains(&wish.filter));
                filters.iter().for_each(|filter| self.journal.record(Record::Unsubscribed { filter: filter.clone() }));
                // A plain UNSUBACK says only that it was done.
                let reasons = if unsuback.reasons.is_empty() { vec![Reason::SUCCESS; filters.len()] } else { unsuback.reasons };
                let _ = reply.send(if reasons.len() == filters.len() { Ok(reasons) } else { Err(bad_answer()) });
            }
            (Some(Asked::Subscribe { reply, .. }), _) => drop(reply.send(Err(RequestError::Lost))),
            (Some(Asked::Unsubscribe { reply, .. }), _) => drop(reply.send(Err(RequestError::Lost))),
            (Some(Asked::Renew { .. }) | None, _) => {}
        }
    }

    fn note_granted(&mut self, wishes: &[Wish], granted: &[Granted]) {
        for (wish, _) in wishes.iter().zip(granted).filter(|(_, granted)| granted.result.is_ok()) {
            self.subscriptions.retain(|known| known.filter != wish.filter);
            self.subscriptions.push(wish.clone());
            let Wish { filter, qos, item } = wish.clone();
            self.journal.record(Record::Subscribed { filter, qos, item });
        }
    }

    /// Asks again for every subscription, after the session was lost.
    pub(super) fn renew(&mut self, link: &mut Link) {
        let wishes = self.subscriptions.clone();
        for wishes in wishes.chunks(RENEWED_AT_ONCE) {
            let token = self.token();
            let (items, dictionary) = packet(wishes);
            if link.session.subscribe(items, dictionary, token).is_some() {
                self.asked.insert(token, Asked::Renew { wishes: wishes.to_vec() });
            }
        }
    }
}

/// SUBACK or UNSUBACK that does not fit what was asked.
fn bad_answer() -> RequestError {
    let problem = Problem::titled("the answer has another number of reasons than there were filters");
    RequestError::Misbehaved(Misbehaved::Protocol(Refusal::new(Reason::PROTOCOL_ERROR, problem)))
}
