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

/// Messages for sessions of another shard, in order, as a turn has left them.
#[derive(Debug)]
pub struct Crossings(Vec<Crossed>);

/// Where a turn leaves messages for another shard. It is written for each of them, so it shares no line of the cache with what another
/// shard writes, or reads of an earlier turn; some processors fetch two lines at once.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Leaving {
    crossed: Vec<Crossed>,
    /// The last of them, as long as more can be put behind it.
    open: Passed,
    /// The most that a piece of the last batch held: for the next one as much memory is taken at once, since one that grows on the way is
    /// copied on the way, and is new to the cache each time.
    last: Extent,
}

/// Bytes of messages, and how many sessions get them.
#[derive(Debug, Default, Clone, Copy)]
struct Extent {
    bytes: usize,
    places: usize,
}

#[derive(Debug)]
enum Crossed {
    Message(Crossing),
    Passed(Passed),
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
    at: u32,
    bare: Bare,
    slot: u32,
    qos: Qos,
}

/// What memory is taken for at least: one message alone wastes little.
const PASSED_BYTES: usize = 512;
/// With so many bytes a piece is full, and another one begins.
const PASSED_BYTES_MAX: usize = 64 * 1024;

impl Passed {
    /// Room for as much as `extent`, within bounds.
    fn with_room(extent: Extent) -> Self {
        let bytes = extent.bytes.clamp(PASSED_BYTES, PASSED_BYTES_MAX);
        let places = extent.places.clamp(PASSED_BYTES / size_of::<Place>(), PASSED_BYTES_MAX / size_of::<Place>());
        Self { bytes: Vec::with_capacity(bytes), places: Vec::with_capacity(places) }
    }

    fn extent(&self) -> Extent {
        Extent { bytes: self.bytes.len(), places: self.places.len() }
    }
}

impl Crossings {
    /// The bytes of the messages, each once.
    pub fn bytes(&self) -> usize {
        let of = |crossed: &Crossed| match crossed {
            Crossed::Message(crossing) => crossing.envelope.len(),
            Crossed::Passed(passed) => passed.bytes.len(),
        };
        self.0.iter().map(of).sum()
    }
}

impl Leaving {
    pub(super) fn is_empty(&self) -> bool {
        self.crossed.is_empty() && self.open.places.is_empty()
    }

    /// What is there, for the other shard.
    pub(super) fn take(&mut self) -> Crossings {
        self.close();
        let pieces = self.crossed.iter().filter_map(|crossed| match crossed {
            Crossed::Passed(passed) => Some(passed.extent()),
            Crossed::Message(_) => None,
        });
        self.last = pieces.max_by_key(|extent| extent.bytes).unwrap_or_default();
        Crossings(std::mem::take(&mut self.crossed))
    }

    fn close(&mut self) {
        if !self.open.places.is_empty() {
            let passed = std::mem::take(&mut self.open);
            self.last = if passed.bytes.len() > self.last.bytes { passed.extent() } else { self.last };
            self.crossed.push(Crossed::Passed(passed));
        }
    }

    pub(super) fn push(&mut self, crossing: Crossing) {
        self.close();
        self.crossed.push(Crossed::Message(crossing));
    }

    /// Puts a message as it was read behind the others. `is_again`: the last one, for another session.
    #[inline]
    pub(super) fn pass(&mut self, bare: &Bare, frame: &[u8], (slot, qos): (u32, Qos), is_again: bool) {
        let again = self.open.places.last().filter(|_| is_again).map(|last| last.at);
        let at = again.unwrap_or_else(|| {
            if self.open.places.is_empty() || self.open.bytes.len() >= PASSED_BYTES_MAX {
                self.begin();
            }
            self.open.bytes.extend_from_slice(frame);
            (self.open.bytes.len() - frame.len()) as u32
        });
        self.open.places.push(Place { at, bare: *bare, slot, qos });
    }

    #[cold]
    fn begin(&mut self) {
        self.close();
        self.open = Passed::with_room(self.last);
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
            let at = *at as usize;
            let frame = passed.bytes.get(at..at + bare.frame_len()).unwrap_or_default();
            if self.pass_to(*slot, *qos, &mut Passing::new(bare, frame, false)) {
                continue;
            }
            if aside.as_ref().is_none_or(|(last, _)| *last != at) {
                let message = bare.message(bytes::Bytes::copy_from_slice(bare.body(frame)));
                aside = Some((at, Envelope::bare(message, bare.qos())));
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
        let mut crossings = Leaving::default();
        assert!(crossings.is_empty());
        for (slot, is_again) in [(1, false), (2, true), (1, false)] {
            crossings.pass(&bare, &frame, (slot, Qos::AtMostOnce), is_again);
        }
        let message = bare.message(bytes::Bytes::copy_from_slice(bare.body(&frame)));
        let message_len = message.len();
        crossings.push(Crossing { envelope: Envelope::bare(message, Qos::AtMostOnce), targets: vec![], redelivery_count: 0 });
        crossings.pass(&bare, &frame, (3, Qos::AtMostOnce), true);
        let batch = crossings.take();
        assert!(crossings.is_empty());
        let [Crossed::Passed(first), Crossed::Message(_), Crossed::Passed(last)] = &batch.0[..] else {
            panic!("{batch:?}");
        };
        let places = |passed: &Passed| passed.places.iter().map(|place| (place.slot, place.at)).collect::<Vec<_>>();
        assert_eq!((places(first), places(last)), (vec![(1, 0), (2, 0), (1, 6)], vec![(3, 0)]));
        assert_eq!((&first.bytes[..], &last.bytes[..]), (&[frame, frame].concat()[..], &frame[..]));
        assert_eq!(batch.bytes(), 3 * frame.len() + message_len);
    }

    #[test]
    fn a_batch_takes_as_much_memory_at_once_as_the_one_before_it_and_a_full_piece_is_followed_by_another() {
        let frame = [&[0x30, 0x80, 0x08, 0, 1, b'a'][..], &[b'x'; 1021]].concat();
        let bare = Bare::see(Dialect::V311, &frame, 2000, Default::default()).unwrap();
        let mut crossings = Leaving::default();
        let pieces = |crossings: &Crossings| -> Vec<(usize, usize, usize)> {
            let pieces = crossings.0.iter().map(|crossed| match crossed {
                Crossed::Passed(passed) => (passed.bytes.len(), passed.bytes.capacity(), passed.places.len()),
                Crossed::Message(_) => panic!("{crossed:?}"),
            });
            pieces.collect()
        };
        for _ in 0..10 {
            crossings.pass(&bare, &frame, (1, Qos::AtMostOnce), false);
        }
        let batch = crossings.take();
        assert!(crossings.is_empty());
        let len = 10 * frame.len();
        assert_eq!(pieces(&batch).iter().map(|piece| (piece.0, piece.2)).collect::<Vec<_>>(), [(len, 10)]);
        crossings.pass(&bare, &frame, (1, Qos::AtMostOnce), false);
        assert_eq!(pieces(&crossings.take()), [(frame.len(), len, 1)]);
        // Nothing is left of that when little comes.
        crossings.pass(&bare, &frame, (1, Qos::AtMostOnce), false);
        assert!(pieces(&crossings.take())[0].1 < 2 * frame.len());
        let count = PASSED_BYTES_MAX / frame.len() + 1;
        for _ in 0..2 * count {
            crossings.pass(&bare, &frame, (1, Qos::AtMostOnce), false);
        }
        // The same message once more has no more bytes.
        crossings.pass(&bare, &frame, (2, Qos::AtMostOnce), true);
        let batch = crossings.take();
        let lens: Vec<_> = pieces(&batch).iter().map(|piece| (piece.0, piece.2)).collect();
        assert_eq!(lens, [(count * frame.len(), count), (count * frame.len(), count + 1)]);
    }
}
