//! A message to one client: now, or in its queue.

use super::client::Client;
use super::copies::Copies;
use super::keeping::{Sent, keep_sent, token_of};
use super::publish::registered_keys;
use super::{CrossingTarget, Shard};
use crate::message::Envelope;
use crate::out::{Out, SHARE_FROM, Spare};
use crate::queue::{Namespaces, Popped, Pushed, Space, Waiting};
use crate::store::MessageNumber;
use bytes::BufMut;
use candor_protocol::codec::dictionary::{Dictionary, MapBuilder};
use candor_protocol::dialect::write::{PublishFrame, message_head, publish_as_read};
use candor_protocol::dialect::{Bare, Dialect};
use candor_protocol::packet::{Message, PacketId, Qos, property};
use candor_protocol::session::{Admitted, Delivery};

/// The forms of one message that were encoded already: once for each dialect, QoS and retain flag.
#[derive(Debug, Default)]
pub(super) struct FrameCache {
    /// Something in here is about the last message.
    is_used: bool,
    frames: Vec<(Form, PublishFrame)>,
    hop: Option<Dictionary>,
    /// The critical key of the message map, once somebody asked.
    critical: Option<Option<i64>>,
    /// Its namespace, once somebody asked.
    space: Option<Option<Space>>,
    /// The message in memory of its own, or in a piece that others share.
    compact: Option<Message>,
    /// As it waits in queues.
    queued: Option<Message>,
    copies: Copies,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Form {
    pub dialect: Dialect,
    pub qos: Qos,
    pub retain: bool,
    pub experiments: bool,
}

impl FrameCache {
    /// Another message begins.
    #[inline]
    pub(super) fn start(&mut self) {
        if self.is_used {
            self.forget();
        }
    }

    fn forget(&mut self) {
        self.is_used = false;
        self.frames.clear();
        self.hop = None;
        self.critical = None;
        self.space = None;
        self.compact = None;
        self.queued = None;
    }

    fn frame(&mut self, form: Form, message: &Message, hop: &Dictionary) -> &PublishFrame {
        self.is_used = true;
        let at = match self.frames.iter().position(|(other, _)| *other == form) {
            Some(at) => at,
            None => {
                self.frames.push((form, PublishFrame::new(form.dialect, form.qos, form.retain, message, hop)));
                self.frames.len() - 1
            }
        };
        &self.frames[at].1
    }

    /// A message that is kept until it is acknowledged must not keep the buffer alive that it was read into. Several receivers share
    /// one copy.
    #[inline]
    fn own_copy(&mut self, message: &Message, is_shared: bool) -> Message {
        if !is_shared {
            return self.copies.copy(message);
        }
        self.is_used = true;
        self.compact.get_or_insert_with(|| self.copies.copy(message)).clone()
    }

    /// A message that may wait for long shares no piece, which it would keep; but all queues that it waits in share one copy.
    fn copy_for_queues(&mut self, envelope: &Envelope, is_shared: bool) -> Envelope {
        if !is_shared {
            return envelope.compact();
        }
        self.is_used = true;
        envelope.with_message(self.queued.get_or_insert_with(|| envelope.message.compact()).clone())
    }

    /// A message that is kept, as it was read.
    #[inline]
    pub(super) fn copy_bare(&mut self, bare: &Bare, frame: &[u8]) -> Message {
        bare.message(self.copies.copy_bytes(bare.body(frame)))
    }

    /// The critical key of the message map, if it has one: it binds every recipient, and a plain one would not see it.
    fn critical_key(&mut self, envelope: &Envelope) -> Option<i64> {
        self.is_used = true;
        *self.critical.get_or_insert_with(|| envelope.critical_key())
    }

    /// The namespace with limits that a message belongs to, found once for all whose queues it comes into.
    pub(super) fn space(&mut self, envelope: &Envelope, namespaces: &Namespaces) -> Option<Space> {
        if namespaces.is_empty() {
            return None;
        }
        self.is_used = true;
        *self.space.get_or_insert_with(|| namespaces.of(envelope.message.topic_str()))
    }

    /// The keys of the next hop, computed once for all receivers of the same form.
    #[inline]
    fn next_hop(&mut self, form: Form, envelope: &Envelope, unix_ms: u64) -> Dictionary {
        if !form.dialect.is_extended() || envelope.has_no_hop() {
            return Dictionary::EMPTY;
        }
        self.is_used = true;
        next_hop(&mut self.hop, form, envelope, unix_ms)
    }
}

/// The number under which a session is owed a message until it is settled.
fn kept(client: &Client, target: &CrossingTarget) -> Option<MessageNumber> {
    target.message.filter(|_| client.number.is_some() && target.qos != Qos::AtMostOnce)
}

impl Shard {
    /// Hands a message to a session. `is_shared`: others get the same message, so it pays to encode it once.
    pub(super) fn deliver(&mut self, target: &CrossingTarget, envelope: &Envelope, is_shared: bool) {
        let CrossingTarget { slot, qos, retain, .. } = *target;
        let Some(client) = self.clients.get_mut(slot) else { return };
        let kept = kept(client, target);
        let connection = match client.connection {
            Some(key) => self.connections.get_mut(key).map(|connection| (key, connection)),
            None => None,
        };
        let Some((key, connection)) = connection else {
            // QoS 0 is not kept for a session that is away (section 4.1 leaves it to the server).
            if qos != Qos::AtMostOnce && client.is_durable() {
                self.queue(target, envelope, is_shared);
            }
            return;
        };
        let has_room = client.queue.is_empty() && client.may_follow(qos) && connection.has_room(&self.settings);
        if !has_room {
            return self.queue(target, envelope, is_shared);
        }
        let terms = connection.session.terms();
        let form = Form { dialect: terms.dialect, qos, retain, experiments: terms.experiments != 0 };
        // While a negotiation may still make the connection extended, the message waits for its end.
        if envelope.message.has_map()
            && !form.dialect.is_extended()
            && connection.session.is_ready()
            && let Some(key) = self.frames.critical_key(envelope)
        {
            return self.withhold(slot, envelope.message.topic_str(), key, target.message);
        }
        let mut hop = self.frames.next_hop(form, envelope, self.now.unix_ms);
        let message = &envelope.message;
        // What is reported on is known again by a number, kept or not.
        let name = kept.or_else(|| envelope.report().map(|_| self.shared.next_message()));
        let token = token_of(name);
        let frames = &mut self.frames;
        let mut own = || frames.own_copy(message, is_shared);
        let mut admitted = connection.session.admit_as(message, qos, retain, &hop, token, &mut own);
        let mut is_encoded_once = is_shared && message.payload().len() < SHARE_FROM;
        if admitted == Admitted::TooLarge {
            (hop, is_encoded_once) = (without_stamps(&hop), false);
            admitted = connection.session.admit_as(message, qos, retain, &hop, token, &mut own);
        }
        match admitted {
            Admitted::Now(id) => {
                if let Some(report) = envelope.report() {
                    self.reports.sent(slot, id.and(name), report);
                }
                if let (Some(message), Some(id)) = (kept, id)
                    && keep_sent(
                        &mut self.keeper,
                        client,
                        &mut connection.session,
                        Sent { slot, generation: connection.generation, message, id, qos },
                    )
                {
                    return;
                }
                match is_encoded_once {
                    true => self.frames.frame(form, message, &hop).write(id, false, connection.out.tail(&mut self.spare)),
                    false => write_one(&mut connection.out, &mut self.spare, form, false, id, message, &hop),
                }
                self.counts.publish_sent += 1;
                if !std::mem::replace(&mut connection.is_touched, true) {
                    self.effects.touched.push(key);
                }
            }
            Admitted::Later => self.queue(target, envelope, is_shared),
            Admitted::TooLarge => self.too_large(slot, envelope.message.topic_str(), envelope.len(), target.message),
        }
    }

    /// A delivery at QoS 2 has its receipt: it leaves, if the connection that it is for is still there.
    pub(super) fn publish_now(&mut self, slot: u32, generation: u64, id: PacketId) {
        let Some(client) = self.clients.get_mut(slot) else { return };
        let Some(key) = client.connection else { return };
        let Some(connection) = self.connections.get_mut(key).filter(|connection| connection.generation == generation) else { return };
        client.unsent = client.unsent.saturating_sub(1);
        let has_more = client.unsent == 0 && !client.queue.is_empty();
        let (dialect, experiments) = (connection.session.terms().dialect, connection.session.terms().experiments != 0);
        if let Some(Delivery { message, qos, retain, hop }) = connection.session.leaves(id) {
            let form = Form { dialect, qos: *qos, retain: *retain, experiments };
            write_one(&mut connection.out, &mut self.spare, form, false, Some(id), message, hop);
            self.counts.publish_sent += 1;
            self.touch(key);
        }
        if has_more {
            self.pump(slot);
        }
    }

    /// Puts a message into a session's queue; `is_shared`: others get the same.
    fn queue(&mut self, target: &CrossingTarget, envelope: &Envelope, is_shared: bool) {
        let Some(client) = self.clients.get_mut(target.slot) else { return };
        let message = kept(client, target);
        // What is left to the store at once need not be copied out of the buffer that it was read into.
        let is_left = message.is_some() && self.keeper.can_fetch() && client.queue.len() >= client.near();
        // What is left to the store takes no memory but for a reference, and what has its place was taken before memory was short.
        if self.account.is_full && !is_left && !target.has_place {
            client.queue.refuse(message);
            self.counts.publish_dropped += 1;
            return self.keep_dropped(target.slot);
        }
        let mut envelope = if is_left { envelope.clone() } else { self.frames.copy_for_queues(envelope, is_shared) };
        let space = self.frames.space(&envelope, &self.settings.namespaces);
        if let Some(at_ms) = self.settings.latest_expiry(self.now.unix_ms, space) {
            envelope.expire_by(at_ms);
        }
        let CrossingTarget { qos, retain, has_place, .. } = *target;
        let waiting = Waiting { envelope, qos, retain, redelivery_count: 0, message, space, has_place };
        let pushed = client.queue.push(waiting, &self.settings.experiments, &self.settings.namespaces);
        self.counts.publish_dropped += u64::from(pushed != Pushed::Kept);
        self.keep_dropped(target.slot);
        self.unload(target.slot);
        self.count_session(target.slot);
        self.note_room(target.slot);
    }

    /// Sends what waits for a session, as far as window and connection allow.
    pub(super) fn pump(&mut self, slot: u32) {
        self.pump_queue(slot);
        self.count_session(slot);
    }

    fn pump_queue(&mut self, slot: u32) {
        loop {
            let Some(client) = self.clients.get_mut(slot) else { return };
            let Some(key) = client.connection else { return };
            let Some(connection) = self.connections.get_mut(key) else { return };
            let is_paused = self.now.ms < client.pause.until_ms;
            if is_paused || !connection.session.is_ready() || !connection.has_room(&self.settings) {
                return;
            }
            let (has_credit, unsent) = (connection.session.credit() > 0, client.unsent);
            let wants = |qos| (has_credit || qos == Qos::AtMostOnce) && (unsent == 0 || qos == Qos::ExactlyOnce);
            let waiting = match client.queue.pop_if(self.now.unix_ms, wants) {
                Some(Popped::Message(waiting)) => waiting,
                Some(Popped::Stored) => {
                    self.fetch(slot);
                    break;
                }
                None => break,
            };
            let terms = connection.session.terms();
            let form = Form { dialect: terms.dialect, qos: waiting.qos, retain: waiting.retain, experiments: terms.experiments != 0 };
            if let (false, Some(key)) = (form.dialect.is_extended(), waiting.envelope.critical_key()) {
                self.withhold(slot, waiting.envelope.message.topic_str(), key, waiting.message);
                continue;
            }
            let mut hop = next_hop(&mut None, form, &waiting.envelope, self.now.unix_ms);
            if waiting.redelivery_count > 0 && form.dialect.is_extended() {
                hop = MapBuilder::new().merge(&hop).set(property::REDELIVERY_COUNT, &u64::from(waiting.redelivery_count)).finish();
            }
            let message = &waiting.envelope.message;
            let name = waiting.message.or_else(|| waiting.envelope.report().map(|_| self.shared.next_message()));
            let token = token_of(name);
            let mut admitted = connection.session.admit(message, waiting.qos, waiting.retain, &hop, token);
            if admitted == Admitted::TooLarge {
                hop = without_stamps(&hop);
                admitted = connection.session.admit(message, waiting.qos, waiting.retain, &hop, token);
            }
            match admitted {
                Admitted::Now(id) => {
                    if let Some(report) = waiting.envelope.report() {
                        self.reports.sent(slot, id.and(name), report);
                    }
                    if let (Some(number), Some(id)) = (waiting.message, id) {
                        let sent = Sent { slot, generation: connection.generation, message: number, id, qos: waiting.qos };
                        if keep_sent(&mut self.keeper, client, &mut connection.session, sent) {
                            continue;
                        }
                    }
                    write_one(&mut connection.out, &mut self.spare, form, false, id, message, &hop);
                    self.counts.publish_sent += 1;
                    self.touch(key);
                }
                Admitted::Later => {
                    client.queue.push_front(waiting);
                    self.keep_dropped(slot);
                    return self.note_room(slot);
                }
                Admitted::TooLarge => self.too_large(slot, message.topic_str(), message.len(), waiting.message),
            }
        }
        self.keep_dropped(slot);
        self.note_room(slot);
        self.tell_gap(slot);
        if self.clients.get(slot).is_some_and(|client| client.queue.is_empty() && !client.replays.is_empty()) {
            self.continue_replay(slot);
        }
    }
}

/// As [`FrameCache::next_hop`], where there may be some.
fn next_hop(cached: &mut Option<Dictionary>, form: Form, envelope: &Envelope, unix_ms: u64) -> Dictionary {
    if !form.dialect.is_extended() {
        return Dictionary::EMPTY;
    }
    if !form.experiments && !envelope.hop.is_empty() {
        let plain = Envelope { hop: registered_keys(&envelope.hop), ..envelope.clone() };
        return plain.next_hop(unix_ms);
    }
    cached.get_or_insert_with(|| envelope.next_hop(unix_ms)).clone()
}

/// What is left of the keys of a hop where the packet would be larger than its receiver takes.
fn without_stamps(hop: &Dictionary) -> Dictionary {
    let mut map = MapBuilder::new();
    map.merge(hop);
    for key in [property::PUBLISHER.number, property::NODE.number, property::RECEIVED_AT.number, property::MESSAGE_ID.number] {
        map.remove(key);
    }
    map.finish()
}

/// Writes a message for one receiver; a large payload is not copied.
pub(super) fn write_one(
    out: &mut Out,
    spare: &mut Spare,
    form: Form,
    dup: bool,
    id: Option<PacketId>,
    message: &Message,
    hop: &Dictionary,
) {
    let first = 0x30 | u8::from(dup) << 3 | (form.qos as u8) << 1 | u8::from(form.retain);
    let tail = out.tail(spare);
    let is_small = message.payload().len() < SHARE_FROM;
    if id.is_none() && !dup && is_small && hop.is_empty() && publish_as_read(form.dialect, form.retain, message, tail) {
        return;
    }
    // The head is written first: it makes room for the whole packet only if the payload follows in place.
    message_head(form.dialect, first, id, message, hop, tail);
    if is_small {
        tail.put_slice(message.payload());
    } else {
        out.share(message.payload_bytes());
    }
}
