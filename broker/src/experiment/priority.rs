//! Message priority in queues: the broker's half of `x-priority`.

use super::QueueExtension;
use crate::message::Envelope;
use candor_protocol::extension::priority::{PRIORITY, PRIORITY_DEFAULT};

#[derive(Debug)]
pub struct PriorityQueue;

impl QueueExtension for PriorityQueue {
    fn name(&self) -> &'static str {
        "x-priority"
    }

    fn rank(&self, envelope: &Envelope) -> Option<u64> {
        Some(envelope.hop.value(PRIORITY).unwrap_or(PRIORITY_DEFAULT))
    }
}
