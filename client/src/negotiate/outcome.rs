//! What the end of a session, or its beginning, means to the caller.

use super::door::Door;
use crate::agreement::Agreement;
use crate::error::{Error, Misbehaved, NotAvailable, Refused, Step};
use crate::link::{Broken, NotOpened, OpenLink};
use crate::options::Options;
use crate::transport::{TransportFacts, failed};
use candor_protocol::codec::dictionary::Dictionary;
use candor_protocol::dialect::Dialect;
use candor_protocol::packet::connect::ConnAck;
use candor_protocol::packet::{Problem, Profile, Reason, Refusal, property};
use candor_protocol::session::{Cause, SessionState};

/// Whether an extended CONNECT was refused for another reason than that it is one.
pub(super) fn is_extended_refusal(not_opened: &NotOpened) -> bool {
    matches!(&not_opened.cause, Cause::ConnectRefused { connack } if knows_extension(connack))
}

pub(super) fn knows_extension(connack: &ConnAck) -> bool {
    connack.reason != Reason::UNSUPPORTED_PROTOCOL_VERSION
}

/// What a CONNACK says that refuses.
pub(super) fn refused(connack: &ConnAck, dialect: Dialect) -> Refused {
    let problem = connack.dictionary.value(property::PROBLEM).map(|map: Dictionary| Problem::of_dictionary(&map));
    Refused {
        refusal: Refusal::new(connack.reason, problem.unwrap_or_default()),
        retry_after_ms: connack.dictionary.value(property::RETRY_AFTER),
        nearest: connack.dictionary.value(property::PROFILE).map(|map| Profile::of_dictionary(&map)),
        dialect,
    }
}

/// What the end of a session means to the caller.
pub(crate) fn error_of_cause(options: &Options, cause: &Cause, dialect: Dialect, failure: Option<&Broken>) -> Error {
    match cause {
        Cause::PeerLeft { reason, problem, retry_after_ms } => {
            let refusal = Refusal { reason: *reason, problem: problem.clone().unwrap_or_default() };
            Error::Ended(Box::new(Refused { refusal, retry_after_ms: *retry_after_ms, nearest: None, dialect }))
        }
        Cause::ConnectRefused { connack } => {
            let refused = Box::new(refused(connack, dialect));
            match connack.reason {
                Reason::PROFILE_NOT_AVAILABLE => Error::NotAvailable(NotAvailable::Profile(refused)),
                _ => Error::Refused(refused),
            }
        }
        Cause::Malformed(error) => Error::Misbehaved(Misbehaved::Malformed(*error)),
        Cause::Refused(refusal) if [Reason::RELEASED, Reason::MODIFIED].contains(&refusal.reason) => Error::GivenBack(refusal.clone()),
        Cause::Refused(refusal) => Error::Misbehaved(Misbehaved::Protocol(refusal.clone())),
        Cause::Silent => Error::Misbehaved(Misbehaved::Silent),
        Cause::BadAccept(error) => Error::Misbehaved(Misbehaved::BadAccept(*error)),
        Cause::Left => Error::Left,
        _ => {
            let cause = failure.map_or("the server closed it without a word", |broken| &broken.cause);
            Error::Transport(failed(Step::Open, &options.address, &cause))
        }
    }
}

pub(super) fn agreement(options: &Options, facts: &TransportFacts, door: Door, open: &OpenLink) -> Agreement {
    let opened = &open.opened;
    let (terms, dictionary) = (&opened.terms, &opened.dictionary);
    let extended = terms.dialect.is_extended();
    Agreement {
        dialect: terms.dialect,
        door,
        client_id: dictionary.value(property::ASSIGNED_CLIENT_IDENTIFIER).unwrap_or_else(|| options.client_id.clone()),
        session_present: opened.session_present,
        session_state: dictionary.value(property::SESSION_STATE).and_then(SessionState::of_number),
        incarnation: dictionary.value(property::SESSION_INCARNATION),
        profile: extended.then(|| terms.profile.clone()),
        terms: terms.clone(),
        experiments: options.registry.in_force(terms.experiments).map(|extension| extension.name().to_owned()).collect(),
        node: dictionary.value(property::NODE),
        tls: facts.tls.clone(),
        transport_selected: facts.selected.clone(),
    }
}
