//! Who gets the next messages, asked before the first of them is passed on: where there are so many filters that the answer to each
//! would wait for memory.

use super::shared::Matches;
use super::{ConnectionKey, Shard};
use crate::out::SHARE_FROM;
use crate::router::{Targets, Together};

/// The answers for messages that were read and not passed on yet.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    targets: [Targets; Together::TOPICS],
    /// The first answer that was not taken, and the one behind the last.
    next: usize,
    end: usize,
    edition: u64,
    /// So many bytes were left behind the last message that was asked about; `None`: none was, of those that are being read.
    bytes_left: Option<usize>,
    memory: Together,
}

impl Ahead {
    /// Other bytes are read from here on.
    pub(super) fn start(&mut self) {
        self.bytes_left = None;
    }
}

impl Shard {
    /// Finds who gets the message at the beginning of `bytes`, the last that were read; `topic` is its own.
    // By itself, so that a message to the topic of the one before it does not pay for this.
    #[inline(never)]
    pub(super) fn find_receivers(&mut self, key: ConnectionKey, bytes: &[u8], topic: &[u8], matches: &mut Matches) {
        if !matches.targets.is_about(topic) {
            self.answer_ahead(key, bytes, topic, matches);
        }
        self.shared.matching(topic, matches);
    }

    /// Puts the answer for `topic` into `matches`, if it is there already. It may be of an older edition.
    fn answer_ahead(&mut self, key: ConnectionKey, bytes: &[u8], topic: &[u8], matches: &mut Matches) {
        if self.ahead.bytes_left.is_none_or(|left| bytes.len() <= left) {
            self.ask_ahead(key, bytes);
        }
        let Ahead { targets, next, end, edition, .. } = &mut self.ahead;
        // Who sent several to one topic asked once for all of them, and the answers for the others are passed over.
        while *next < *end {
            let targets = targets.get_mut(*next);
            *next += 1;
            if let Some(targets) = targets.filter(|targets| targets.is_about(topic)) {
                return matches.take_targets(targets, *edition);
            }
        }
    }

    fn ask_ahead(&mut self, key: ConnectionKey, mut bytes: &[u8]) {
        let Ahead { targets, next, end, edition, bytes_left, memory } = &mut self.ahead;
        (*next, *end, *bytes_left) = (0, 0, Some(0));
        let (routers, edition_now) = self.shared.routers_and_edition();
        let Some(connection) = self.connections.get(key).filter(|_| routers.are_matched_together()) else { return };
        let (mut topics, mut len) = ([&[][..]; Together::TOPICS], 0);
        for topic in &mut topics {
            let Some(bare) = connection.session.see_bare(bytes, SHARE_FROM) else { break };
            let (frame, behind) = bytes.split_at_checked(bare.frame_len()).unwrap_or_default();
            (*topic, bytes) = (bare.topic(frame), behind);
            len += 1;
        }
        *bytes_left = Some(bytes.len());
        // One alone gains nothing.
        if let (Some(topics @ [_, _, ..]), Some(targets)) = (topics.get(..len), targets.get_mut(..len))
            && routers.matching_together(topics, targets, memory)
        {
            (*end, *edition) = (len, edition_now);
        }
    }
}
