//! One write for each connection that has something, and when: a message to thousands is thousands of writes, and nobody is to wait
//! for all of them.
//!
//! ```text
//!  touched in a turn --> the first are written at once
//!                 '----> the others: the row, in slices --> between two, all sockets are looked at
//! ```
//! Who stands in the row has one place there, however many messages come meanwhile, and is written all of them together: so nobody waits
//! longer than the row takes once, whatever the load. What is read while there is a row is bounded as within a turn; then all of it is
//! written.

use super::{Core, Socket, WRITE_AFTER};
use crate::shard::{ConnectionKey, Crossings};
use std::collections::VecDeque;

/// Writes of a slice: about a millisecond.
const SLICE: usize = 128;

/// The row of connections that wait to be written to, first come, first served.
#[derive(Debug, Default)]
pub(super) struct Row(VecDeque<ConnectionKey>);

impl Row {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Core {
    /// Writes to connections that have something to be written, and puts those in the row that are too many.
    pub(super) fn flush_touched(&mut self) {
        let mut touched = std::mem::take(&mut self.touched);
        self.shard.take_touched(&mut touched);
        if touched.len() > SLICE {
            self.row.0.extend(touched.drain(SLICE..));
        }
        for key in touched.drain(..) {
            self.write(key);
        }
        if self.touched.is_empty() {
            self.touched = touched;
        }
        if self.row.is_empty() {
            self.unwritten = 0;
        } else if self.unwritten >= WRITE_AFTER {
            self.flush_row(usize::MAX);
        }
    }

    /// So many bytes came in: what came of them is written before too much has.
    pub(super) fn count_unwritten(&mut self, bytes: usize) {
        self.unwritten += bytes;
        if self.unwritten >= WRITE_AFTER {
            self.flush_touched();
        }
    }

    /// Messages of another shard come in.
    pub(super) fn receive_crossings(&mut self, crossings: Crossings) {
        // Where there is no row, all that they come to is written at the end of the turn.
        let bytes = if self.row.is_empty() { 0 } else { crossings.bytes() };
        self.open_turn().receive_crossings(crossings);
        self.count_unwritten(bytes);
    }

    /// Writes to the first of the row; tells whether there was anybody.
    pub(super) fn flush_slice(&mut self) -> bool {
        if self.row.is_empty() {
            return false;
        }
        self.open_turn();
        self.flush_row(SLICE);
        true
    }

    fn flush_row(&mut self, most: usize) {
        for _ in 0..most {
            let Some(key) = self.row.0.pop_front() else {
                self.unwritten = 0;
                return;
            };
            self.write(key);
        }
    }

    fn write(&mut self, key: ConnectionKey) {
        self.flush(key);
        self.shard.flushed(key);
        let wants = self.shard.connection(key).is_some_and(|connection| connection.wants_bytes());
        if let Some(Socket { is_paused: true, waker: Some(waker), .. }) = self.socket(key).filter(|_| wants) {
            waker.wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::{Clock, SharedCore, mesh::mesh, serve};
    use crate::driver::{Layers, RAW_BYTES};
    use crate::shard::{Answer, Authenticate, ListenerSettings, Peer, Shard, Shared};
    use crate::transport::{Limits, Scheme, Transport};
    use bytes::{Bytes, BytesMut};
    use candor_protocol::packet::{Connect, Refusal};
    use std::cell::RefCell;
    use std::io::Read;
    use std::net::TcpStream;
    use std::rc::Rc;
    use std::sync::Arc;
    use tokio::net::TcpListener;
    use tokio::task::LocalSet;

    #[derive(Debug)]
    struct Nobody;

    impl Authenticate for Nobody {
        fn authenticate(&self, _: &Connect, _: &Arc<str>, _: &Peer) -> Answer {
            Answer::Now(Err(Refusal::bare(candor_protocol::packet::Reason::NOT_AUTHORIZED)))
        }
    }

    const COUNT: usize = 2 * SLICE + SLICE / 2;

    /// A core with so many connections, and their other ends.
    async fn crowd() -> (SharedCore, Vec<TcpStream>) {
        let (mesh, _) = mesh(1).pop().unwrap();
        let shard = Shard::new(0, Arc::default(), Arc::new(Shared::new(1)), 7);
        let core = Rc::new(RefCell::new(Core::new(shard, mesh, None, Clock::start())));
        let (name, policy) = ("test".into(), Arc::default());
        let settings = Arc::new(ListenerSettings { name, policy, acknowledges_refused: false, authenticate: Arc::new(Nobody) });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut peers = Vec::new();
        for at in 0..COUNT {
            peers.push(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
            let (stream, address) = listener.accept().await.unwrap();
            let key = core.borrow_mut().open_turn().accepted(address, Arc::clone(&settings));
            assert_eq!(key, at);
            serve::attach(&core, key, stream, None);
        }
        (core, peers)
    }

    fn with_a_crowd(test: impl FnOnce(&mut Core, &mut [TcpStream])) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        LocalSet::new().block_on(&runtime, async {
            let (core, mut peers) = crowd().await;
            test(&mut core.borrow_mut(), &mut peers);
        });
    }

    /// A message to all: who has one waiting already is not touched again.
    fn put(core: &mut Core, bytes: &'static [u8]) {
        for key in 0..COUNT {
            let out = core.shard.out(key).unwrap();
            if out.is_empty() {
                core.touched.push(key);
            }
            out.share(Bytes::from_static(bytes));
        }
    }

    /// Who still has something to be written to it.
    fn waiting(core: &mut Core) -> Vec<ConnectionKey> {
        (0..COUNT).filter(|key| !core.shard.out(*key).unwrap().is_empty()).collect()
    }

    #[test]
    fn a_crowd_is_written_to_in_slices_and_gets_together_what_comes_meanwhile() {
        with_a_crowd(|core, peers| {
            put(core, b"a");
            core.flush_touched();
            assert_eq!(waiting(core), Vec::from_iter(SLICE..COUNT), "others are looked at before the rest");
            put(core, b"b");
            core.flush_touched();
            assert_eq!(waiting(core), Vec::from_iter(SLICE..COUNT), "whose first message it is need not wait, and waits for nobody twice");
            assert!(core.flush_slice());
            assert_eq!(waiting(core), Vec::from_iter(2 * SLICE..COUNT));
            assert!(core.flush_slice());
            assert_eq!((waiting(core), core.flush_slice()), (vec![], false));
            for peer in peers {
                let mut bytes = [0; 2];
                peer.read_exact(&mut bytes).unwrap();
                assert_eq!(&bytes, b"ab");
            }
        });
    }

    /// However often the kernel takes a little, a transport holds no more than one filling of what a peer does not read.
    #[test]
    fn a_transport_is_not_filled_for_who_does_not_read() {
        const PIECE: &[u8] = &[0; 100_000];
        with_a_crowd(|core, peers| {
            let mut transport = Transport::accept(Scheme::Ws, None, Limits::DEFAULT).unwrap();
            let mut request = BytesMut::from(
                "GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n",
            );
            transport.receive(&mut request, &mut BytesMut::new(), &mut BytesMut::new()).unwrap();
            assert!(!transport.is_handshaking());
            core.socket(0).unwrap().layers = Layers::over(transport);
            let mut read = vec![0; 1000];
            for _ in 0..1000 {
                core.shard.out(0).unwrap().share(Bytes::from_static(PIECE));
                let socket = core.socket(0).unwrap();
                if std::mem::take(&mut socket.is_blocked) {
                    peers[0].read_exact(&mut read).unwrap();
                }
                core.write(0);
                let raw = core.socket(0).unwrap().layers.as_ref().unwrap().raw.len();
                if core.shard.out(0).unwrap().len() > 20 * PIECE.len() {
                    assert!(core.socket(0).unwrap().is_blocked && raw < RAW_BYTES + 2 * PIECE.len(), "{raw}");
                    return;
                }
            }
            panic!("the kernel takes everything");
        });
    }

    #[test]
    fn what_is_read_while_a_crowd_waits_is_bounded() {
        with_a_crowd(|core, _| {
            put(core, b"a");
            core.flush_touched();
            core.count_unwritten(WRITE_AFTER - 1);
            assert_eq!(waiting(core).len(), COUNT - SLICE);
            core.count_unwritten(1);
            assert_eq!(waiting(core).len(), 0);
            assert_eq!((core.unwritten, core.row.is_empty()), (0, true));
        });
    }
}
