//! One direction of a transport.

use bytes::{Buf, BytesMut};

/// What happens to the bytes of one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fault {
    #[default]
    None,
    /// They arrive in pieces of 1 to 7 bytes, as the seed says.
    Split(u64),
    /// Nothing arrives until the fault is changed.
    Stall,
    /// The connection ends after this many bytes, counted from now.
    CutAfter(usize),
}

#[derive(Debug, Default)]
pub struct Pipe {
    bytes: BytesMut,
    fault: Fault,
    is_cut: bool,
}

impl Pipe {
    pub fn set_fault(&mut self, fault: Fault) {
        self.fault = fault;
    }

    /// Nothing more is taken in; what is under way still arrives.
    pub fn cut(&mut self) {
        self.is_cut = true;
    }

    /// Nothing more is taken in, and what is under way is lost.
    pub fn sever(&mut self) {
        self.is_cut = true;
        self.bytes.clear();
    }

    pub(super) fn is_cut(&self) -> bool {
        self.is_cut
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn send(&mut self, bytes: &[u8]) {
        if self.is_cut {
            return;
        }
        match &mut self.fault {
            Fault::CutAfter(left) => {
                let taken = bytes.len().min(*left);
                *left -= taken;
                self.bytes.extend_from_slice(&bytes[..taken]);
                self.is_cut = *left == 0;
            }
            _ => self.bytes.extend_from_slice(bytes),
        }
    }

    /// Moves the next piece; tells whether there was one.
    pub(super) fn deliver(&mut self, out: &mut BytesMut) -> bool {
        let len = match &mut self.fault {
            Fault::None | Fault::CutAfter(_) => self.bytes.len(),
            Fault::Stall => 0,
            Fault::Split(state) => {
                // An xorshift step: the pieces only have to differ, and to be the same for the same seed.
                *state ^= *state << 13;
                *state ^= *state >> 7;
                *state ^= *state << 17;
                self.bytes.len().min(1 + (*state % 7) as usize)
            }
        };
        out.extend_from_slice(&self.bytes[..len]);
        self.bytes.advance(len);
        len > 0
    }
}
