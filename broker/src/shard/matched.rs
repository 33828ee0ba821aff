//! Who gets a message, as the router found them, and what was made ready for it before it is handed on.

use super::CrossingTarget;
use super::room::Claims;
use crate::message::Envelope;
use crate::queue::Space;
use crate::router::{Pick, Picks, Subscriber, Target, Targets};
use crate::store::MessageNumber;

/// Under which numbers a message is kept.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    pub message: Option<MessageNumber>,
    /// A session that gets it once more, as a member of a group, is owed it under one more number: by the place of the pick.
    pub again: Vec<(usize, MessageNumber)>,
    pub is_kept: bool,
}

impl Numbers {
    pub(super) fn of_pick(&self, at: usize) -> Option<MessageNumber> {
        self.again.iter().find(|(pick, _)| *pick == at).map(|(_, number)| *number).or(self.message)
    }
}

/// What was made ready for a message before it is handed on. Most need nothing.
#[derive(Debug, Default)]
pub(super) struct Ready {
    /// With whom it has a place.
    pub claims: Claims,
    pub numbers: Numbers,
}

/// Who gets a message, as the router found them.
pub(super) struct Matched<'a> {
    pub envelope: &'a Envelope,
    /// The namespace with limits that it belongs to; looked for where places are claimed, or something is kept.
    pub space: Option<Space>,
    from: Option<Subscriber>,
    pub targets: &'a Targets,
    pub picks: &'a Picks,
}

impl<'a> Matched<'a> {
    pub(super) fn new(envelope: &'a Envelope, from: Option<Subscriber>, targets: &'a Targets, picks: &'a Picks) -> Self {
        Self { envelope, space: None, from, targets, picks }
    }

    pub(super) fn of_space(self, space: Option<Space>) -> Self {
        Self { space, ..self }
    }

    #[inline]
    pub(super) fn wants(&self, target: &Target) -> bool {
        !(target.subscription.no_local && Some(target.subscriber) == self.from)
    }

    pub(super) fn target(&self, target: Target, message: Option<MessageNumber>) -> CrossingTarget {
        CrossingTarget {
            slot: target.subscriber.slot,
            qos: self.envelope.qos.min(target.subscription.qos),
            retain: self.envelope.retain && target.subscription.retain_as_published,
            message,
            has_place: false,
        }
    }

    pub(super) fn members(&self, members: impl Iterator<Item = Target>, ready: Option<&Ready>) -> impl Iterator<Item = CrossingTarget> {
        members.filter(|target| self.wants(target)).map(move |target| {
            let numbered = self.target(target, ready.and_then(|ready| ready.numbers.message));
            CrossingTarget { has_place: ready.is_some_and(|ready| ready.claims.has_target(target.subscriber)), ..numbered }
        })
    }

    /// `at`: the place of the first of these picks.
    pub(super) fn picked(&self, picks: &[Pick], at: usize, ready: Option<&Ready>) -> impl Iterator<Item = CrossingTarget> {
        let picks = picks.iter().enumerate().map(move |(n, pick)| (at + n, pick.target));
        picks.filter(|(_, target)| self.wants(target)).map(move |(at, target)| {
            let numbered = self.target(target, ready.and_then(|ready| ready.numbers.of_pick(at)));
            CrossingTarget { has_place: ready.is_some_and(|ready| ready.claims.has_pick(at)), ..numbered }
        })
    }
}
