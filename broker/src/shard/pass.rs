//! The shortest way of a message through a shard: from where it was read into what its receivers are written. It is for a PUBLISH that
//! says nothing but its message, with nothing to be kept or claimed for it and nothing before it: [`Shard::publish`] and what follows
//! it come to the same, and everything else goes there.

use super::keeping::token_of;
use super::shared::Matches;
use super::{ConnectionKey, CrossingTarget, Shard};
use crate::message::Envelope;
use crate::out::SHARE_FROM;
use crate::router::{Subscriber, Target};
use bytes::{Buf, Bytes, BytesMut};
use candor_protocol::dialect::Bare;
use candor_protocol::packet::topic::check_name;
use candor_protocol::packet::{Message, Qos};
use candor_protocol::session::Admitted;

/// Messages of a connection that were passed on one behind the other, out of the same bytes. What holds for the last one holds for the
/// next one to the same topic: what was read at once is judged at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    key: ConnectionKey,
    qos: Qos,
}

/// A message on its way.
pub(super) struct Passing<'a> {
    // Not a copy: one of what has just been written in pieces waits for all of them.
    bare: &'a Bare,
    frame: &'a [u8],
    /// Others get the same.
    is_shared: bool,
    /// It in memory of its own, where several keep it.
    own: Option<Message>,
    /// The shard that it was left for last.
    crossed: Option<u16>,
}

impl<'a> Passing<'a> {
    pub(super) fn new(bare: &'a Bare, frame: &'a [u8], is_shared: bool) -> Self {
        Self { bare, frame, is_shared, own: None, crossed: None }
    }
}

impl Shard {
    /// Takes the PUBLISH that begins at `at` off `bytes` and hands it on, if that is all there is to do. `false`: there is more, and
    /// nothing was done.
    pub(super) fn pass(&mut self, key: ConnectionKey, bytes: &mut BytesMut, at: &mut usize) -> bool {
        let Some(connection) = self.connections.get(key) else { return false };
        let rest = bytes.get(*at..).unwrap_or_default();
        let (Some(bare), Some(slot)) = (connection.session.see_bare(rest, SHARE_FROM), connection.client) else { return false };
        let frame = rest.get(..bare.frame_len()).unwrap_or_default();
        let (topic, run) = (bare.topic(frame), Run { key, qos: bare.qos() });
        let is_again = self.run == Some(run) && self.matches.as_ref().is_some_and(|matches| matches.targets.is_about(topic));
        if !is_again && !self.may_pass(key, slot, &bare, topic) {
            return false;
        }
        let mut matches = self.matches.take().unwrap_or_default();
        if !(is_again && self.shared.holds(&matches)) {
            self.find_receivers(key, rest, topic, &mut matches);
        }
        let is_passed = self.pass_to_all(key, slot, (&bare, bytes, at), &mut matches);
        self.matches = Some(matches);
        self.run = is_passed.then_some(run);
        is_passed
    }

    /// Whether nothing is to be done for a message but to hand it on, and its sender may publish it: what [`Shard::publish`] looks at.
    fn may_pass(&self, key: ConnectionKey, slot: u32, bare: &Bare, topic: &[u8]) -> bool {
        let (Some(connection), Some(client)) = (self.connections.get(key), self.clients.get(slot)) else { return false };
        let qos = bare.qos();
        let is_kept_nowhere = qos == Qos::AtMostOnce || !(self.keeper.keeps() || self.tells_publishers() || self.account.is_full);
        is_kept_nowhere
            && client.held_back == 0
            && self.may_publish_again(connection, topic)
            && !self.settings.marks_messages()
            && topic.first() != Some(&b'$')
            && check_name(topic).is_ok()
            && qos as u8 <= connection.listener.policy.profile.qos_max
            && client.rights.publish(topic, qos, false).is_ok()
    }

    fn pass_to_all(
        &mut self,
        key: ConnectionKey,
        slot: u32,
        (bare, bytes, at): (&Bare, &mut BytesMut, &mut usize),
        matches: &mut Matches,
    ) -> bool {
        let frame = bytes.get(*at..*at + bare.frame_len()).unwrap_or_default();
        // Above QoS 0 the answer is written at once.
        let is_next = bare.qos() == Qos::AtMostOnce || self.is_next(key);
        let from = self.subscriber(slot);
        let wants = |target: &Target| !(target.subscription.no_local && target.subscriber == from);
        let reaches =
            || matches.targets.iter().any(|target| wants(&target)) || matches.picks.as_slice().iter().any(|pick| wants(&pick.target));
        let taken = match self.connections.get_mut(key) {
            Some(connection) if is_next && !matches.has_wrapped() && reaches() => connection.session.take_bare(bare, self.now.ms),
            _ => None,
        };
        let Some(answer) = taken else {
            matches.is_unused = true;
            return false;
        };
        self.counts.publish_received += 1;
        let is_shared = matches.targets.len() + matches.picks.len() > 1;
        let mut passing = Passing::new(bare, frame, is_shared);
        let mut aside = std::mem::take(&mut self.aside);
        let receivers = || matches.targets.iter().chain(matches.picks.as_slice().iter().map(|pick| pick.target)).filter(wants);
        for target in receivers() {
            let Subscriber { shard, slot } = target.subscriber;
            let qos = bare.qos().min(target.subscription.qos);
            if shard != self.index {
                self.cross(shard, slot, qos, &mut passing);
            } else if !self.pass_to(slot, qos, &mut passing) {
                aside.push(target);
            }
        }
        if aside.is_empty() {
            *at += bare.frame_len();
        } else {
            bytes.advance(std::mem::take(at));
            let frame = bytes.split_to(bare.frame_len()).freeze();
            let (all, dropped) = (receivers().count(), self.counts.publish_dropped);
            self.deliver_aside(&mut aside, bare, &frame);
            self.note_reached(all, dropped);
        }
        self.aside = aside;
        if let Some(packet) = answer {
            self.say(key, packet);
        }
        true
    }

    /// Writes a message for one receiver, if that can be done now. `false`: nothing was done.
    #[inline]
    pub(super) fn pass_to(&mut self, slot: u32, qos: Qos, passing: &mut Passing<'_>) -> bool {
        let Some(client) = self.clients.get(slot) else { return false };
        let Some(key) = client.connection else { return false };
        let Some(connection) = self.connections.get_mut(key) else { return false };
        let Passing { bare, frame, is_shared, own, .. } = passing;
        let has_room = client.queue.is_empty() && client.may_follow(qos) && connection.has_room(&self.settings);
        if !has_room {
            return false;
        }
        // Whether somebody may get a message without its map is looked at there.
        if bare.has_map() && !connection.session.terms().dialect.is_extended() {
            return false;
        }
        let frames = &mut self.frames;
        let keep = || match is_shared {
            false => frames.copy_bare(bare, frame),
            true => own.get_or_insert_with(|| frames.copy_bare(bare, frame)).clone(),
        };
        let Admitted::Now(id) = connection.session.admit_bare(bare, qos, token_of(None), keep) else { return false };
        bare.write(frame, connection.session.terms().dialect, qos, id, connection.out.tail(&mut self.spare));
        self.counts.publish_sent += 1;
        if !std::mem::replace(&mut connection.is_touched, true) {
            self.effects.touched.push(key);
        }
        true
    }

    /// Leaves a message for a session of another shard.
    fn cross(&mut self, shard: u16, slot: u32, qos: Qos, passing: &mut Passing<'_>) {
        if let Some(crossings) = self.effects.crossings.get_mut(usize::from(shard)) {
            let is_again = passing.crossed.replace(shard) == Some(shard);
            crossings.pass(passing.bare, passing.frame, (slot, qos), is_again);
        }
    }

    /// Hands a message to sessions that cannot be written it now.
    #[cold]
    fn deliver_aside(&mut self, aside: &mut Vec<Target>, bare: &Bare, frame: &Bytes) {
        let message = bare.message(frame.slice_ref(bare.body(frame)));
        let envelope = Envelope::bare(message, bare.qos());
        let is_shared = aside.len() > 1;
        self.frames.start();
        for Target { subscriber, subscription } in aside.drain(..) {
            let qos = bare.qos().min(subscription.qos);
            let target = CrossingTarget::passing(subscriber.slot, qos);
            self.deliver(&target, &envelope, is_shared);
        }
    }
}
