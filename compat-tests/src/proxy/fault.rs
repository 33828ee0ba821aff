//! The one wrong thing that a proxy does to a connection.

use crate::wire::packet;

/// Who sent a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Client,
    Server,
}

const UNSUBACK: u8 = 11;
const PINGREQ: u8 = 12;
const PINGRESP: u8 = 13;

/// What is done to a connection.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Nothing.
    Pass,
    /// After so many bytes from one side, which go through, both connections end.
    CutAfterBytes { from: Side, count: usize },
    /// After so many whole packets from one side, which go through, both connections end.
    CutAfterPackets { from: Side, count: usize },
    /// The first packet of this type from one side goes through, and both connections end.
    CutAfter { from: Side, kind: u8 },
    /// At the first packet of this type from one side, which does not go through, both connections end.
    CutBefore { from: Side, kind: u8 },
    /// Every packet from one side comes so much later.
    Delay { from: Side, by_ms: u64 },
    /// From its first packet of this type on, nothing from one side goes through, and both connections stay open.
    Stall { from: Side, kind: u8 },
    /// No packet of this type from one side goes through.
    Drop { from: Side, kind: u8 },
    /// The lowest bit of one byte behind the fixed header is another one in every packet of this type from one side.
    Flip { from: Side, kind: u8, at: usize },
    /// UNSUBACK does not go through.
    DropUnsubAck,
    /// UNSUBACK comes behind the next PINGRESP.
    LateUnsubAck,
    /// Of what stands behind the packet identifier of UNSUBACK so many bytes are kept; 0 makes it an ordinary one.
    ShortenUnsubAck { keep: usize },
    /// These bytes stand behind the packet identifier of UNSUBACK.
    ForgeUnsubAck { behind: Vec<u8> },
    /// Behind the packet identifier of UNSUBACK stand the bytes of the one that came on an earlier connection.
    ReplayUnsubAck { of_connection: usize },
    /// The server never sees PINGREQ; the proxy answers it.
    AnswerPings,
    /// Several at once: for each packet the first that does anything to it. Not for cuts after a byte.
    Several(Vec<Fault>),
}

/// What becomes of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    Pass,
    Drop,
    /// Other bytes go on in its place.
    Replace(Vec<u8>),
    /// It does not go on; its sender gets this answer.
    Answer(Vec<u8>),
    /// It goes on, and both connections end.
    PassAndCut,
    /// It does not go on, and both connections end.
    Cut,
    /// It goes on after a while.
    Delay(u64),
}

impl Fault {
    /// What becomes of the packet that is the `nth` from its side, from 1. `earlier` looks up the first packet of a type
    /// that a server sent on another connection, or, without a number, on this one; `stalled` remembers that a side has fallen silent.
    pub fn judge(
        &self,
        from: Side,
        nth: usize,
        bytes: &[u8],
        stalled: &mut bool,
        earlier: &dyn Fn(Option<usize>, u8) -> Option<Vec<u8>>,
    ) -> Action {
        let kind = bytes[0] >> 4;
        let is_unsuback = kind == UNSUBACK && from == Side::Server;
        match self {
            Fault::CutAfterPackets { from: side, count } if from == *side && nth >= *count => Action::PassAndCut,
            Fault::CutAfter { from: side, kind: at } if from == *side && kind == *at => Action::PassAndCut,
            Fault::CutBefore { from: side, kind: at } if from == *side && kind == *at => Action::Cut,
            Fault::Delay { from: side, by_ms } if from == *side => Action::Delay(*by_ms),
            Fault::Stall { from: side, kind: at } if from == *side => {
                *stalled |= kind == *at;
                if *stalled { Action::Drop } else { Action::Pass }
            }
            Fault::Drop { from: side, kind: at } if from == *side && kind == *at => Action::Drop,
            Fault::Flip { from: side, kind: changed, at } if from == *side && kind == *changed => Action::Replace(flipped(bytes, *at)),
            Fault::DropUnsubAck if is_unsuback => Action::Drop,
            Fault::LateUnsubAck if is_unsuback => Action::Drop,
            Fault::LateUnsubAck if kind == PINGRESP && from == Side::Server => match earlier(None, UNSUBACK) {
                Some(late) => Action::Replace([bytes, &late].concat()),
                None => Action::Pass,
            },
            Fault::ShortenUnsubAck { keep } if is_unsuback => {
                Action::Replace(unsuback(bytes, behind(bytes).get(..*keep).unwrap_or(behind(bytes))))
            }
            Fault::ForgeUnsubAck { behind } if is_unsuback => Action::Replace(unsuback(bytes, behind)),
            Fault::ReplayUnsubAck { of_connection } if is_unsuback => match earlier(Some(*of_connection), UNSUBACK) {
                Some(replayed) => Action::Replace(unsuback(bytes, behind(&replayed))),
                None => Action::Pass,
            },
            Fault::AnswerPings if kind == PINGREQ && from == Side::Client => Action::Answer(packet::PINGRESP.to_vec()),
            Fault::Several(faults) => {
                let mut actions = faults.iter().map(|fault| fault.judge(from, nth, bytes, stalled, earlier));
                actions.find(|action| *action != Action::Pass).unwrap_or(Action::Pass)
            }
            _ => Action::Pass,
        }
    }
}

/// What stands behind the packet identifier of an UNSUBACK.
fn behind(unsuback: &[u8]) -> &[u8] {
    packet::body(unsuback).get(2..).unwrap_or_default()
}

/// The packet with the lowest bit of one byte of its body changed; a packet that is shorter stays as it is.
fn flipped(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut changed = bytes.to_vec();
    let header = bytes.len() - packet::body(bytes).len();
    if let Some(byte) = changed.get_mut(header + at) {
        *byte ^= 1;
    }
    changed
}

/// An UNSUBACK with the identifier of `of` and other bytes behind it.
fn unsuback(of: &[u8], behind: &[u8]) -> Vec<u8> {
    let id = packet::body(of).get(..2).unwrap_or_default();
    packet::packet(UNSUBACK << 4, &[id, behind].concat())
}
