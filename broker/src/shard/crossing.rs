//! What a turn leaves for another shard. Messages that say nothing but themselves stand behind one another in one piece of memory as
//! they were read, so that none needs memory of its own on the way.

use super::pass::Passing;
use super::{MessageNumber, Shard};
use crate::message::Envelope;
use candor_protocol::dialect::Bare;
use candor_protocol::packet::Qos;

/// A message for sessions of another shard.
#[derive(Debug)]
pub struct Crossing {
    pub envelope: Envelope,
    pub targets: Vec<CrossingTarget>,
    /// How many times it was handed out: above 0, another member of a group has given it back.
    pub redelivery_count: u32,
}

/// One session of another shard that gets a message.
#[derive(Debug, Clone, Copy)]
pub struct CrossingTarget {
    pub slot: u32,
    pub qos: Qos,
    pub retain: bool,
    /// The number under which it is kept for the session.
    pub message: Option<MessageNumber>,
    /// A place in the session's queue was claimed for it.
    pub has_place: bool,
}

impl CrossingTarget {
    /// One that gets a message as it was published, kept nowhere and with no place claimed for it.
    pub(super) fn passing(slot: u32, qos: Qos) -> Self {
        Self { slot, qos, retain: false, message: None, has_place: false }
    }
}

/// Messages for sessions of another shard, in order.
#[derive(Debug, Default)]
pub struct Crossings(Vec<Crossed>);

#[derive(Debug)]
enum Crossed {
    Message(Crossing),
    Passed(Box<Passed>),
}

/// Messages as they were read, and who gets them.
#[derive(Debug, Default)]
struct Passed {
    bytes: Vec<u8>,
    places: Vec<Place>,
}

#[derive(Debug)]
struct Place {
    /// Where the frame begins.
    at: usize,
    bare: Bare,
    slot: u32,
    qos: Qos,
}

/// What memory is taken for at first: a read of many small messages grows it a few times, and one message alone wastes little.
const PASSED_BYTES: usize = 512;

impl Crossings {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The bytes of the messages, each once.
    pub fn bytes(&self) -> usize {
        let of = |crossed: &Crossed| match crossed {
            Crossed::Message(crossing) => crossing.envelope.len(),
            Crossed::Passed(passed) => passed.bytes.len(),
        };
        self.0.iter().map(of).sum()
    }

    pub(super) fn push(&mut self, crossing: Crossing) {
        self.0.push(Crossed::Message(crossing));
    }

    /// Puts a message as it was read behind the others. `is_again`: the last one, for another session.
    #[inline]
    pub(super) fn pass(&mut self, bare: Bare, frame: &[u8], (slot, qos): (u32, Qos), is_again: bool) {
        let passed = match self.0.last_mut() {
            Some(Crossed::Passed(passed)) => passed,
            _ => {
                let (bytes, places) = (Vec::with_capacity(PASSED_BYTES), Vec::with_capacity(PASSED_BYTES / size_of::<Place>()));
                self.0.push(Crossed::Passed(Box::new(Passed { bytes, places })));
                let Some(Crossed::Passed(passed)) = self.0.last_mut() else { return };
                passed
            }
        };
        let at = match passed.places.last() {
            Some(last) if is_again => last.at,
            _ => {
                passed.bytes.extend_from_slice(frame);
                passed.bytes.len() - frame.len()
            }
        };
        passed.places.push(Place { at, bare, slot, qos });
    }
}

impl Shard {
    /// Messages from another shard.
    pub fn receive_crossings(&mut self, crossings: Crossings) {
        for crossed in crossings.0 {
            match crossed {
                Crossed::Message(crossing) => self.receive_crossing(&crossing),
                Crossed::Passed(passed) => self.receive_passed(&passed),
            }
        }
        self.release();
    }

    fn receive_crossing(&mut self, crossing: &Crossing) {
        self.frames.start();
        for target in &crossing.targets {
            if crossing.redelivery_count > 0 {
                self.take_over_message(target, &crossing.envelope, crossing.redelivery_count);
                continue;
            }
            self.bring(target, &crossing.envelope, crossing.targets.len() > 1);
        }
    }

    fn receive_passed(&mut self, passed: &Passed) {
        // What some of them cannot be written now: copied once for all of them.
        let mut aside: Option<(usize, Envelope)> = None;
        for Place { at, bare, slot, qos } in &passed.places {
            let frame = passed.bytes.get(*at..*at + bare.frame_len()).unwrap_or_default();
            if self.pass_to(*slot, *qos, &mut Passing::new(*bare, frame, false)) {
                continue;
            }
            if aside.as_ref().is_none_or(|(last, _)| last != at) {
                let message = bare.message(bytes::Bytes::copy_from_slice(bare.body(frame)));
                aside = Some((*at, Envelope::bare(message, bare.qos())));
                self.frames.start();
            }
            if let Some((_, envelope)) = &aside {
                self.deliver(&CrossingTarget::passing(*slot, *qos), envelope, true);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candor_protocol::dialect::Dialect;

    #[test]
    fn messages_keep_their_order_and_one_for_several_sessions_stands_there_once() {
        let frame = [0x30, 4, 0, 1, b'a', b'x'];
        let bare = Bare::see(Dialect::V311, &frame, 100, Default::default()).unwrap();
        let mut crossings = Crossings::default();
        assert!(crossings.is_empty());
        for (slot, is_again) in [(1, false), (2, true), (1, false)] {
            crossings.pass(bare, &frame, (slot, Qos::AtMostOnce), is_again);
        }
        let message = bare.message(bytes::Bytes::copy_from_slice(bare.body(&frame)));
        let message_len = message.len();
        crossings.push(Crossing { envelope: Envelope::bare(message, Qos::AtMostOnce), targets: vec![], redelivery_count: 0 });
        crossings.pass(bare, &frame, (3, Qos::AtMostOnce), true);
        let [Crossed::Passed(first), Crossed::Message(_), Crossed::Passed(last)] = &crossings.0[..] else {
            panic!("{crossings:?}");
        };
        let places = |passed: &Passed| passed.places.iter().map(|place| (place.slot, place.at)).collect::<Vec<_>>();
        assert_eq!((places(first), places(last)), (vec![(1, 0), (2, 0), (1, 6)], vec![(3, 0)]));
        assert_eq!((&first.bytes[..], &last.bytes[..]), (&[frame, frame].concat()[..], &frame[..]));
        assert_eq!(crossings.bytes(), 3 * frame.len() + message_len);
    }
}
