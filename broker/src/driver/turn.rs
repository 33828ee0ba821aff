//! The turn task of a shard: ends each turn and carries its effects out.

use super::engine::Order;
use super::mesh::{Parcel, Travelling};
use super::verify::{Job, Verifications};
use super::{Core, SharedCore, serve};
use crate::shard::{Admission, Answer, ConnectionKey};
use candor_protocol::packet::Refusal;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::mpsc;

/// Runs a shard until it is told to stop.
pub async fn run(core: SharedCore, mut parcels: mpsc::Receiver<Parcel>, verifications: Arc<Verifications>) {
    let mut timer = pin!(tokio::time::sleep_until(tokio::time::Instant::now()));
    let mut timer_ms = 0;
    poll_fn(|cx| {
        {
            let mut core = core.borrow_mut();
            if !core.turn_waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                core.turn_waker = Some(cx.waker().clone());
            }
            core.is_turn_due = true;
        }
        loop {
            match parcels.poll_recv(cx) {
                Poll::Ready(Some(Parcel::Messages(crossings))) => core.borrow_mut().receive_crossings(crossings),
                Poll::Ready(Some(Parcel::Connection(travelling))) => unpack(&core, *travelling),
                Poll::Ready(Some(Parcel::Question(question))) => core.borrow_mut().open_turn().answer_question(&question),
                Poll::Ready(Some(Parcel::Room)) => core.borrow_mut().open_turn().look_for_room(),
                Poll::Ready(Some(Parcel::Receipt(receipt))) => core.borrow_mut().open_turn().receive_receipt(&receipt),
                Poll::Ready(Some(Parcel::Fetched(fetched))) => core.borrow_mut().open_turn().receive_fetched(fetched),
                Poll::Ready(Some(Parcel::RightsChanged)) => core.borrow_mut().open_turn().review_rights(),
                Poll::Ready(Some(Parcel::Stop)) => core.borrow_mut().drain(),
                Poll::Ready(None) => {
                    core.borrow_mut().drain();
                    break;
                }
                Poll::Pending => break,
            }
        }
        core.borrow_mut().stop_when_drained();
        let mut jobs = core.borrow_mut().end_turn(cx);
        if core.borrow_mut().serve_slice() {
            jobs.append(&mut core.borrow_mut().end_turn(cx));
        }
        for job in jobs {
            tokio::task::spawn_local(Arc::clone(&verifications).verify(core.clone(), job));
        }
        let mut core = core.borrow_mut();
        core.is_turn_due = false;
        if core.is_stopping && !core.is_batch_held && core.sockets.iter().all(Option::is_none) {
            return Poll::Ready(());
        }
        if core.shard.has_more() || core.shard.has_effects() {
            core.wake_turn();
        }
        core.wake_pace();
        match core.shard.deadline() {
            Some(due_ms) if due_ms != timer_ms => {
                timer_ms = due_ms;
                timer.as_mut().reset(core.clock.instant(due_ms).into());
            }
            Some(_) => {}
            None => timer_ms = 0,
        }
        if timer_ms != 0 && timer.as_mut().poll(cx).is_ready() {
            timer_ms = 0;
            core.wake_turn();
        }
        Poll::Pending
    })
    .await;
}

/// A connection that another shard has moved here.
fn unpack(core: &SharedCore, travelling: Travelling) {
    let Travelling { moved, stream, layers } = travelling;
    match tokio::net::TcpStream::from_std(stream) {
        Ok(stream) => {
            let key = core.borrow_mut().open_turn().adopt(moved);
            serve::attach(core, key, stream, layers);
        }
        Err(error) => tracing::error!(error = %error, "a connection was lost on its way to its shard"),
    }
}

impl Core {
    /// Ends the turn: one write per touched connection, one batch per other shard. What has to be verified is returned.
    fn end_turn(&mut self, cx: &mut Context<'_>) -> Vec<Job> {
        self.open_turn().end_turn();
        let mut jobs = Vec::new();
        // Answers that come at once, and rooms that a write makes, touch connections again: a few rounds settle it.
        let mut has_room = false;
        for _ in 0..8 {
            has_room |= self.shard.take_room();
            self.answer_clients(&mut jobs);
            self.flush_touched();
            self.move_connections();
            if !self.shard.has_effects() && self.touched.is_empty() {
                break;
            }
        }
        if has_room | self.shard.take_room() {
            self.mesh.send_room(usize::from(self.shard.index()));
        }
        if self.send_records(cx) {
            self.send_crossings();
        }
        self.mesh.poll_send(cx);
        let is_held_back = self.is_held_back();
        self.was_held_back |= is_held_back;
        if !is_held_back && std::mem::take(&mut self.was_held_back) {
            self.sockets.iter().flatten().filter_map(|socket| socket.waker.as_ref()).for_each(std::task::Waker::wake_by_ref);
        }
        if std::mem::take(&mut self.is_waited_for_room) {
            self.room.notify_waiters();
        }
        // What was written is counted, and no other turn may come for long.
        self.shard.tell_bytes();
        self.is_turn_open = false;
        jobs
    }

    fn answer_clients(&mut self, jobs: &mut Vec<Job>) {
        for key in self.shard.take_authenticate() {
            let Some(of) = self.shard.asks(key) else { continue };
            let tls = self.socket(key).and_then(|socket| socket.layers.as_ref()?.transport.peer().tls);
            match self.shard.ask(key, tls.and_then(|tls| tls.client_name).map(Into::into)) {
                Some(Answer::Now(answer)) => self.answered(key, of, answer),
                Some(answer) => {
                    let Some(address) = self.shard.connection(key).map(|connection| connection.address.ip()) else { continue };
                    jobs.push(Job { key, of, address, answer });
                }
                None => {}
            }
        }
    }

    pub(super) fn answered(&mut self, key: ConnectionKey, of: u64, answer: Result<Admission, Refusal>) {
        self.open_turn().authenticated(key, of, answer);
        // Reading stopped while the question was open.
        if let Some(waker) = self.socket(key).and_then(|socket| socket.waker.as_ref()) {
            waker.wake_by_ref();
        }
    }

    fn move_connections(&mut self) {
        for (key, shard) in self.shard.take_moves() {
            // The task hands the socket over when it sees that the connection is leaving.
            if let Some(socket) = self.socket(key) {
                socket.moving_to = Some(shard);
                if let Some(waker) = &socket.waker {
                    waker.wake_by_ref();
                }
            }
        }
    }

    /// A connection's task has ended for it: the connection travels.
    pub(super) fn pack(&mut self, key: ConnectionKey) {
        let Some(socket) = self.remove_socket(key) else { return };
        let (Some(shard), Some(moved)) = (socket.moving_to, self.open_turn().remove_moved(key)) else {
            return self.wake_turn();
        };
        match Travelling::pack(moved, socket) {
            Ok(travelling) => self.mesh.send(usize::from(shard), Parcel::Connection(Box::new(travelling))),
            Err(error) => tracing::error!(error = %error, "a connection was lost on its way to its shard"),
        }
        self.wake_turn();
    }

    fn send_crossings(&mut self) {
        for question in self.shard.take_questions() {
            self.mesh.send_question(usize::from(self.shard.index()), &question);
        }
        for (shard, crossings) in self.shard.take_crossings() {
            self.mesh.send(shard, Parcel::Messages(crossings));
        }
    }

    /// Sends what the turn has kept, and what it asks for, to the engine; tells whether all of it is on its way. What follows from
    /// it on other shards waits for that, so that the engine gets causes before effects.
    fn send_records(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(orders) = &mut self.orders else {
            self.shard.take_batch();
            return true;
        };
        self.is_batch_held = false;
        while self.shard.has_order() {
            match orders.poll_reserve(cx) {
                Poll::Ready(Ok(())) => {
                    let shard = self.shard.index();
                    let order = match self.shard.take_batch() {
                        Some(batch) => Order::Keep(batch),
                        None => match self.shard.take_fetching() {
                            Some(fetching) => Order::Fetch { shard, fetching },
                            None => break,
                        },
                    };
                    let _ = orders.send_item(order);
                }
                // The engine's thread has ended: the process will, and nothing is acknowledged any more.
                Poll::Ready(Err(_)) => {
                    self.is_batch_held = !self.is_stopping;
                    return false;
                }
                Poll::Pending => {
                    self.is_batch_held = true;
                    return false;
                }
            }
        }
        true
    }

    /// The broker is going to end: nobody is accepted any more, and what is owed gets a bounded time.
    fn drain(&mut self) {
        if std::mem::replace(&mut self.is_draining, true) {
            return;
        }
        self.accepting.drain(..).for_each(|task| task.abort());
        self.open_turn().announce_end();
    }

    /// The broker ends: every client is told and gets its time to hear it.
    fn stop_when_drained(&mut self) {
        if self.is_draining && !self.is_stopping && self.open_turn().may_end() {
            self.is_stopping = true;
            self.shard.end_all();
        }
    }
}
