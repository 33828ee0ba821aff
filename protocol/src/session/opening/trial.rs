//! What is left of a negotiation on a connection that is open: an offer, its answer, its confirm.

use super::offer_packet;
use crate::codec::dictionary::{Dictionary, MapBuilder};
use crate::codec::frame::Frame;
use crate::dialect::offer::{Accept, BadAccept, OFFER_ID, Offer, TranscriptHash};
use crate::dialect::read;
use crate::dialect::{Dialect, Terms, write};
use crate::packet::connect::Connect;
use crate::packet::kind::Kind;
use crate::packet::legality::{Role, check_keys};
use crate::packet::property;
use crate::packet::subscribe::UnsubAck;
use crate::packet::{Notice, Packet, Problem, Reason, Refusal, Retry};
use crate::session::policy::{Acceptance, ServerPolicy, terms_of_connack};
use crate::session::{Cause, Opened, Output, Phase, Session, Side};
use bytes::{Bytes, BytesMut};
use std::num::NonZeroU64;
use std::sync::Arc;

/// What is left of a negotiation on a plain connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::session) enum Trial {
    /// Server: the next packet may be an offer. `hold_until_ms` while deliveries wait for it. An idle connection stays here: of
    /// CONNECT it keeps the frame alone.
    MayOffer { frame: Frame, acceptance: Acceptance, session_present: bool, hold_until_ms: Option<NonZeroU64> },
    /// Server: the accept was sent; the next packet but for one PINGREQ may be its confirm. Until then nothing leaves but
    /// PINGRESP, whose bytes are the same in both dialects: the client reads everything behind the accept as extended.
    AwaitConfirm(Box<Accepted>),
    /// Client: CONNACK came, the answer to the offer has not. What the client owes meanwhile, at most one acknowledgement for
    /// each message in the server's window, is held back: it is silent until it knows.
    AwaitAnswer { until_ms: u64, session_present: bool, held_back: Vec<Packet> },
    /// Client: the answer was no; a yes may not follow.
    Declined,
}

/// An offer that a server has accepted and its client has not confirmed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::session) struct Accepted {
    terms: Terms,
    dictionary: Dictionary,
    session_present: bool,
    confirm: Bytes,
    /// PINGREQ came: no other may come before the confirm.
    pinged: bool,
    /// What this end owes meanwhile: at most one acknowledgement for each message in the peer's window.
    held_back: Vec<Packet>,
}

impl Trial {
    /// Whether it keeps this end from sending messages and requests.
    pub(in crate::session) fn holds(&self) -> bool {
        match self {
            // Behind its accept a server is silent: the client reads everything there as extended, and a packet that is on its
            // way already would be plain.
            Trial::AwaitAnswer { .. } | Trial::AwaitConfirm(_) => true,
            Trial::MayOffer { hold_until_ms, .. } => hold_until_ms.is_some(),
            Trial::Declined => false,
        }
    }
}

impl Session {
    /// An open connection negotiates.
    pub(in crate::session) fn begin_trial(&mut self, trial: Trial) {
        if self.is_open() {
            self.phase = Phase::Trial(Box::new(trial));
        }
    }

    fn trial(&self) -> Option<&Trial> {
        if let Phase::Trial(trial) = &self.phase { Some(trial) } else { None }
    }

    fn trial_mut(&mut self) -> Option<&mut Trial> {
        if let Phase::Trial(trial) = &mut self.phase { Some(trial) } else { None }
    }

    /// Until when deliveries wait for the end of a negotiation.
    pub(in crate::session) fn hold_deadline(&self) -> Option<u64> {
        match self.trial()? {
            Trial::MayOffer { hold_until_ms, .. } => hold_until_ms.map(NonZeroU64::get),
            _ => None,
        }
    }

    /// Deliveries have waited long enough; an offer may still come.
    pub(in crate::session) fn end_hold(&mut self) {
        if let Some(Trial::MayOffer { hold_until_ms, .. }) = self.trial_mut() {
            *hold_until_ms = None;
        }
        self.send_again();
    }

    /// The one place where a negotiation keeps packets in: gives the packet back if it may leave now. A client that waits for the
    /// answer to its offer, and a server that waits for the confirm of its accept, do not know how their peer would read it.
    pub(in crate::session) fn hold_back(&mut self, packet: Packet) -> Option<Packet> {
        let held_back = match self.trial_mut() {
            Some(Trial::AwaitAnswer { held_back, .. }) if packet.kind() != Kind::Disconnect => held_back,
            Some(Trial::AwaitConfirm(accepted)) if packet.kind() != Kind::PingResp => &mut accepted.held_back,
            _ => return Some(packet),
        };
        // A notice may be lost with its connection; to a plain client it is nothing at all.
        if packet.kind() != Kind::Notice {
            held_back.push(packet);
        }
        None
    }

    /// The negotiation has ended: what it held back leaves, in the dialect that it ended with.
    fn let_go(&mut self, held_back: Vec<Packet>) {
        held_back.into_iter().for_each(|packet| self.send(packet));
    }

    /// Whether `frame` may be the confirm that the server waits for.
    pub(in crate::session) fn awaits_confirm(&self, frame: &Frame) -> bool {
        Kind::of_first_byte(frame.first) == Some(Kind::Notice) && matches!(self.trial(), Some(Trial::AwaitConfirm(_)))
    }

    /// Looks at a packet of an open connection while a trial runs; gives it back if it is an ordinary one.
    pub(in crate::session) fn receive_in_trial(&mut self, packet: Packet, frame: &Frame) -> Option<Packet> {
        let trial = match std::mem::replace(&mut self.phase, Phase::Open) {
            Phase::Trial(trial) => *trial,
            phase => {
                self.phase = phase;
                return Some(packet);
            }
        };
        match (trial, packet) {
            (Trial::MayOffer { frame: connect_frame, acceptance, session_present, .. }, Packet::Unsubscribe(packet)) => {
                let offer_of = |connect: Connect| {
                    // What could not stand in an extended CONNECT is no offer: an UNSUBACK has no word for a refusal.
                    let offer = Offer::of_packet(&packet, &connect.client_id, self.limits())?;
                    check_keys(Kind::Connect, Role::Client, &offer.dictionary, &|_| None).ok().map(|()| (offer, connect))
                };
                let Some((offer, connect)) = read::raise_connect(&connect_frame, self.limits()).ok().and_then(offer_of) else {
                    self.send_again();
                    return Some(Packet::Unsubscribe(packet));
                };
                let transcript = TranscriptHash::of(&whole(&connect_frame), &whole(frame));
                self.accept_offer(&connect, &acceptance, session_present, offer, transcript);
                None
            }
            (Trial::AwaitConfirm(accepted), Packet::PingReq(packet)) if !accepted.pinged => {
                self.begin_trial(Trial::AwaitConfirm(Box::new(Accepted { pinged: true, ..*accepted })));
                Some(Packet::PingReq(packet))
            }
            (Trial::AwaitConfirm(accepted), Packet::Notice(notice)) => {
                self.receive_confirm(*accepted, &notice);
                None
            }
            (Trial::AwaitAnswer { until_ms, session_present, held_back }, packet) => {
                self.receive_answer(until_ms, session_present, held_back, packet)
            }
            (Trial::Declined, packet) => {
                self.begin_trial(Trial::Declined);
                match packet {
                    Packet::UnsubAck(packet) if packet.id == OFFER_ID && !packet.accept.is_empty() => self.distrust(BadAccept::TooLate),
                    // rumqttd and others never answer the UNSUBSCRIBE; one that answers late says nothing new.
                    Packet::UnsubAck(packet) if packet.id == OFFER_ID => {}
                    packet => return Some(packet),
                }
                None
            }
            // Any other packet means that the connection stays plain.
            (trial, packet) => {
                if let Trial::AwaitConfirm(accepted) = trial {
                    self.let_go(accepted.held_back);
                }
                self.send_again();
                Some(packet)
            }
        }
    }

    fn accept_offer(
        &mut self,
        connect: &Connect,
        acceptance: &Acceptance,
        session_present: bool,
        offer: Offer,
        transcript: TranscriptHash,
    ) {
        let Side::Server(policy) = &self.side else { return };
        let policy: Arc<ServerPolicy> = Arc::clone(policy);
        let terms = policy.terms(Dialect::Extended, connect, &offer.dictionary);
        let dictionary = policy.connack(&terms, connect.keep_alive_s, acceptance, &offer.dictionary);
        let resumption = self.resume_offered(session_present, acceptance.count_mark);
        let dictionary = MapBuilder::new().merge(&dictionary).merge(&resumption).finish();
        let accept = Accept { nonce: offer.nonce, hash: transcript, session_present, dictionary: dictionary.clone() }.to_bytes();
        let confirm = Accept::confirm_hash(&accept);
        let answer = UnsubAck { id: OFFER_ID, reasons: Vec::new(), dictionary: Dictionary::EMPTY, accept };
        self.send(Packet::UnsubAck(Box::new(answer)));
        // Plain, it would be read as extended from here on; and behind the confirm the client would count what this end did not.
        self.outbound.take_back_unsent();
        let accepted = Accepted { terms, dictionary, session_present, confirm, pinged: false, held_back: Vec::new() };
        self.begin_trial(Trial::AwaitConfirm(Box::new(accepted)));
    }

    fn receive_confirm(&mut self, accepted: Accepted, notice: &Notice) {
        let Accepted { terms, dictionary, session_present, confirm, held_back, .. } = accepted;
        let hash = notice.dictionary.value(property::CONFIRM_HASH);
        if notice.reason != Reason::CONFIRM || hash != Some(confirm) {
            // The peer believes in another agreement than the one that was sent: nothing after this can be understood.
            let problem = Problem::titled("the confirm does not answer the accept").retry(Retry::Never);
            return self.end_for(Refusal::new(Reason::PROTOCOL_ERROR, problem), Cause::Refused);
        }
        self.adopt(terms);
        match self.resume_by_confirm(&dictionary, &notice.dictionary) {
            Ok(outputs) => {
                let opened = Opened { terms: self.terms.clone(), session_present, dictionary, lost: Vec::new(), declined: false };
                self.outputs.push_back(Output::Opened(Box::new(opened)));
                self.outputs.extend(outputs);
                self.let_go(held_back);
                self.send_again();
            }
            Err(refusal) => self.refuse_held(refusal),
        }
    }

    /// Client: what comes between CONNACK and the end of the negotiation.
    fn receive_answer(&mut self, until_ms: u64, session_present: bool, held_back: Vec<Packet>, packet: Packet) -> Option<Packet> {
        match packet {
            Packet::UnsubAck(packet) if packet.id == OFFER_ID && packet.accept.is_empty() => self.declined(session_present),
            Packet::UnsubAck(packet) if packet.id == OFFER_ID => self.receive_accept(&packet.accept),
            Packet::PingResp(_) => self.declined(session_present),
            // Messages of a resumed session come in between, plain.
            packet => {
                self.begin_trial(Trial::AwaitAnswer { until_ms, session_present, held_back });
                return Some(packet);
            }
        }
        self.let_go(held_back);
        None
    }

    fn declined(&mut self, session_present: bool) {
        self.begin_trial(Trial::Declined);
        self.opened(session_present, Dictionary::EMPTY, true);
    }

    fn receive_accept(&mut self, bytes: &Bytes) {
        let Side::Client(settings) = &self.side else { return };
        let settings = Arc::clone(settings);
        let (Some(offer), Some(packet)) = (&settings.offer, offer_packet(&settings)) else { return };
        let encode = |packet: &Packet| write::to_bytes(settings.connect.dialect, Role::Client, packet).unwrap_or_default();
        let connect = encode(&Packet::Connect(Box::new(settings.connect.clone())));
        let transcript = TranscriptHash::of(&connect, &encode(&Packet::Unsubscribe(Box::new(packet))));
        let accept = match Accept::of_bytes(bytes, &offer.nonce, &transcript, settings.limits) {
            Ok(accept) => accept,
            Err(error) => return self.distrust(error),
        };
        let terms = terms_of_connack(
            Dialect::Extended,
            &settings.connect,
            &settings.registry,
            settings.receive_window,
            settings.packet_size_max,
            &accept.dictionary,
        );
        self.adopt(terms);
        if let Err(refusal) = self.check_dictionary(Kind::ConnAck, &accept.dictionary) {
            return self.refuse_connection(refusal);
        }
        let held = match self.held_for_confirm(accept.session_present, &accept.dictionary) {
            Ok(held) => held,
            Err(refusal) => return self.refuse_held(refusal),
        };
        self.has_said_held = !held.is_empty();
        let dictionary = MapBuilder::new().set(property::CONFIRM_HASH, &Accept::confirm_hash(bytes)).merge(&held).finish();
        self.send(Packet::Notice(Notice { reason: Reason::CONFIRM, dictionary }));
        self.opened(accept.session_present, accept.dictionary, false);
    }

    fn distrust(&mut self, error: BadAccept) {
        self.close(Cause::BadAccept(error));
    }
}

/// A frame as it went over the wire.
fn whole(frame: &Frame) -> Bytes {
    let mut out = BytesMut::with_capacity(frame.total());
    frame.write(&mut out);
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A plain connection that has said nothing but CONNECT keeps one: an allocator's class below the next, which may take a word more
    /// than it is asked for.
    #[test]
    fn what_waits_for_an_offer_is_small() {
        assert!(size_of::<Trial>() <= 112 - size_of::<usize>(), "{} bytes", size_of::<Trial>());
    }
}
