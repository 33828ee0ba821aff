//! Bytes of a connection to its session, a packet after the other, as long as they are wanted.

use super::{ConnectionKey, Shard};
use bytes::{Buf, BytesMut};
use candor_protocol::codec::frame::Frame;
use candor_protocol::session::{ACK_LEN, Direct};

/// How many bytes are read at once of a client that comes behind all others: a refusal is far more work than what it refuses, and
/// whoever comes meanwhile waits for all of them.
const BEHIND_READ_BYTES: usize = 3 * 1024;

impl Shard {
    /// The most bytes to read of a connection before others get their turn, where it is less than the driver would take.
    pub fn read_max(&self, key: ConnectionKey) -> usize {
        // At the limit of memory nothing may be left half read that could come whole (see `bound_incomplete`).
        if !self.account.is_full && self.comes_behind(key) { BEHIND_READ_BYTES } else { usize::MAX }
    }

    /// Bytes came. What is not a whole frame yet is kept; `bytes` is empty afterwards.
    pub fn receive(&mut self, key: ConnectionKey, bytes: &mut BytesMut) {
        let Some(connection) = self.connections.get_mut(key) else { return bytes.clear() };
        if connection.is_closing {
            return bytes.clear();
        }
        if let Some(held) = &mut connection.held {
            held.extend_from_slice(bytes);
            bytes.clear();
            self.read_held(key);
        } else {
            self.read_frames(key, bytes);
            if !bytes.is_empty() {
                if let Some(connection) = self.connections.get_mut(key) {
                    connection.held.get_or_insert_default().extend_from_slice(bytes);
                }
                bytes.clear();
            }
        }
        self.count_buffers(key);
        self.bound_incomplete(key);
    }

    /// Frames may be wanted again: goes on with what was held.
    pub(super) fn read_held(&mut self, key: ConnectionKey) {
        let Some(mut held) = self.connections.get_mut(key).and_then(|connection| connection.held.take()) else { return };
        self.read_frames(key, &mut held);
        if let Some(connection) = self.connections.get_mut(key).filter(|_| !held.is_empty()) {
            connection.held = Some(held);
        }
    }

    /// Takes whole frames off the front of `bytes` as long as they are wanted. What waits for the window of this connection goes on
    /// once for all of them, not for each acknowledgement.
    fn read_frames(&mut self, key: ConnectionKey, bytes: &mut BytesMut) {
        let before = self.reading.replace(key);
        let (came, futile) = (self.counts.publish_received, self.futile);
        self.read_wanted(key, bytes);
        self.reading = before;
        self.judge_read(key, self.counts.publish_received - came, self.futile - futile);
        self.after(key, false);
    }

    fn read_wanted(&mut self, key: ConnectionKey, bytes: &mut BytesMut) {
        self.run = None;
        self.ahead.start();
        // What was taken already, and is cut off where that is needed.
        let mut at = 0;
        while let Some(connection) = self.connections.get_mut(key) {
            let rest = bytes.get(at..).unwrap_or_default();
            if connection.is_closing {
                return bytes.clear();
            }
            // Not wanted is rare: a CONNECT that is being decided about, a full window, or too much that was refused.
            if rest.is_empty() || connection.is_put_off || !connection.session.wants_frames() {
                break;
            }
            let direct = match connection.session.take_ack(rest, self.now.ms) {
                Some(direct) => {
                    at += ACK_LEN;
                    direct
                }
                None if self.pass(key, bytes, &mut at) => {
                    self.counts.packets_received += 1;
                    self.act(key);
                    continue;
                }
                None => {
                    bytes.advance(std::mem::take(&mut at));
                    self.run = None;
                    let Some(connection) = self.connections.get_mut(key) else { return };
                    match Frame::split_mut(bytes, connection.session.receive_size_max()) {
                        Ok(Some(frame)) => connection.session.take(frame, self.now.ms),
                        Ok(None) => return,
                        Err(error) => {
                            connection.session.malformed(error);
                            return self.act(key);
                        }
                    }
                }
            };
            self.counts.packets_received += 1;
            match direct {
                // Nothing follows from it.
                Direct::Settled(token) => {
                    self.delivered(key, token);
                    continue;
                }
                Direct::Connect(connect) => self.connect(key, connect),
                Direct::Message { ticket, publish } => self.publish(key, ticket, publish),
                Direct::Record(step) => self.keep_step(key, step),
                Direct::Outputs => {}
            }
            self.act(key);
        }
        bytes.advance(at);
    }
}
