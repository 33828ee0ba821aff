//! Those who come behind all others, because they were refused something lately or publish for nothing (see [`crate::shard::patience`]).
//!
//! ```text
//!  readable socket --> its task --> the shard's row        all sockets are looked at
//!                                       |                             |
//!                                       '--> pace task ----yields-----+--> turn task: the others' turn, then a slice of the row
//! ```
//! So whatever has come for the others by then goes before each slice, and is written before it.

use super::{Core, READ_BYTES, SharedCore};
use crate::shard::ConnectionKey;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// When the next slice is due.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Everything that was ready has been looked at since the last one.
    is_due: bool,
    waker: Option<Waker>,
}

/// Says that a slice is due, each time that somebody waits for one and the sockets of all others were looked at.
pub async fn pace(core: SharedCore) {
    loop {
        poll_fn(|cx| core.borrow_mut().poll_slice_wanted(cx)).await;
        tokio::task::yield_now().await;
        let mut core = core.borrow_mut();
        core.pace.is_due = true;
        core.wake_turn();
    }
}

impl Core {
    fn poll_slice_wanted(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.wants_slice() {
            return Poll::Ready(());
        }
        self.pace.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// While connections are held back, those in the row wait too; when they are not any more, a turn says so.
    fn wants_slice(&self) -> bool {
        !self.pace.is_due && (!self.row.is_empty() || self.shard.has_waiting() && !self.is_held_back())
    }

    /// Somebody may wait for a slice.
    pub(super) fn wake_pace(&mut self) {
        if self.wants_slice()
            && let Some(waker) = self.pace.waker.take()
        {
            waker.wake();
        }
    }

    /// A connection that comes behind the others wants to be read: where it has anything, it waits in the row.
    pub(super) fn wait_behind(&mut self, key: ConnectionKey, cx: &mut Context<'_>) {
        let Some(socket) = self.socket(key) else { return };
        if socket.stream.poll_read_ready(cx).is_pending() {
            return;
        }
        socket.is_paused = true;
        self.shard.make_wait(key);
        self.wake_pace();
    }

    /// Serves a slice of the row, if it is due. True: a turn was begun for it.
    pub(super) fn serve_slice(&mut self) -> bool {
        if !std::mem::take(&mut self.pace.is_due) {
            return false;
        }
        let has_written = self.flush_slice();
        if !self.shard.has_waiting() || self.is_held_back() {
            return has_written;
        }
        self.open_turn().begin_slice();
        while let Some(key) = self.shard.take_up() {
            self.read_behind(key);
        }
        true
    }

    /// Reads one of the row, as its own task would.
    fn read_behind(&mut self, key: ConnectionKey) {
        let wants = self.shard.connection(key).is_some_and(|connection| connection.wants_bytes());
        let most = self.shard.read_max(key).min(READ_BYTES);
        let Some(socket) = self.socket(key) else { return };
        socket.is_paused = !wants;
        let Some(waker) = socket.waker.clone().filter(|_| wants) else { return };
        // What is not there yet wakes the connection's task.
        let mut cx = Context::from_waker(&waker);
        match self.poll_receive(key, most, &mut cx) {
            Poll::Pending => {}
            // Its task sees the connection to its end.
            Poll::Ready(Ok(0) | Err(_)) => {
                if let Some(socket) = self.socket(key) {
                    socket.is_broken = true;
                }
                waker.wake();
            }
            Poll::Ready(Ok(_)) => {
                let wants = self.shard.connection(key).is_some_and(|connection| connection.wants_bytes());
                let Some(socket) = self.socket(key) else { return };
                socket.is_paused = !wants;
                if wants && Pin::new(&mut socket.stream).poll_read_ready(&mut cx).is_ready() {
                    socket.is_paused = true;
                    self.shard.make_wait(key);
                }
            }
        }
    }
}
