//! The life of a client: connection after connection, and what is done between them.

use super::desk::{Desk, Inlets};
use super::{Kept, State};
use crate::error::Error;
use crate::event::Event;
use crate::incoming::{Incoming, Settled};
use crate::link::{FAREWELL, Link, OpenLink};
use crate::negotiate::{Established, Negotiator, NotEstablished, error_of_cause};
use crate::options::Options;
use crate::reconnect::{Backoff, Verdict};
use crate::store::StoreError;
use candor_protocol::session::{Cause, Parked};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

/// After so long without room for a message it is told that the server is held back.
const HELD_BACK: Duration = Duration::from_secs(5);

/// How a connection ended.
struct Ended {
    error: Error,
    parked: Parked,
    lived: Option<Duration>,
}

/// Drives a client to its end.
pub(super) async fn run(
    mut negotiator: Negotiator,
    mut desk: Desk,
    mut inlets: Inlets,
    kept: Kept,
    first: oneshot::Sender<Result<(), Error>>,
) {
    let options = Arc::clone(&negotiator.options);
    let mut backoff = Backoff::new(options.reconnect.clone());
    let mut first = Some(first);
    let Kept { mut parked, closer } = kept;
    let error = loop {
        let was_open = negotiator.ever_open;
        let ended = match connect(&mut negotiator, &mut desk, &mut inlets, parked).await {
            Err(ended) => ended,
            Ok(established) => {
                established.events.into_iter().for_each(|event| desk.tell(event));
                desk.set_state(State::Open(established.agreement));
                if let Some(first) = first.take() {
                    let _ = first.send(Ok(()));
                }
                Serving::new(&options, &mut desk, &mut inlets).serve(established.open, !was_open).await
            }
        };
        desk.set_state(State::Apart);
        parked = ended.parked;
        let wait = match backoff.after(&ended.error, ended.lived, negotiator.ever_open, crate::random::number()) {
            Verdict::Stop => None,
            Verdict::Wait(wait) => Some(wait),
        };
        desk.tell(Event::Disconnected { error: ended.error.clone(), retry_in: wait });
        let Some(wait) = wait else { break ended.error };
        if let Some(error) = pause(wait, &mut desk, &mut inlets, &mut parked).await {
            break error;
        }
    };
    // What was settled and handed over so far is kept for the next life.
    let kept = desk.keep_all(closer, options.connect_timeout).await;
    // Whoever finds the client ended finds the store free.
    drop((negotiator, options));
    let error = match (kept, error) {
        (Err(store), Error::Left) => Error::Store(store),
        (_, error) => error,
    };
    desk.end(&error, &mut inlets);
    if let Some(first) = first {
        let _ = first.send(Err(error));
    }
}

/// Makes a connection to the session that this client knows. One that is another life of it, by its incarnation, knows other messages
/// under the same identifiers: it is ended, and everything that was in flight is lost with the one that was meant.
async fn connect(negotiator: &mut Negotiator, desk: &mut Desk, inlets: &mut Inlets, parked: Parked) -> Result<Established, Ended> {
    negotiator.incarnation.clone_from(desk.incarnation());
    let established = connect_once(negotiator, desk, inlets, parked).await?;
    if !desk.is_another_life(&established.agreement) {
        return Ok(established);
    }
    negotiator.start_over();
    let parked = established.open.link.abandon().await;
    connect_once(negotiator, desk, inlets, parked).await
}

/// Makes a connection while messages queue up.
async fn connect_once(negotiator: &mut Negotiator, desk: &mut Desk, inlets: &mut Inlets, parked: Parked) -> Result<Established, Ended> {
    let establishing = negotiator.establish(parked);
    tokio::pin!(establishing);
    let messages = desk.messages();
    loop {
        tokio::select! {
            established = &mut establishing => match established {
                Ok(established) => return Ok(established),
                Err(failed) => {
                    let NotEstablished { error, parked, events } = *failed;
                    events.into_iter().for_each(|event| desk.tell(event));
                    return Err(Ended { error, parked, lived: None });
                }
            },
            () = nobody_stays(&mut inlets.leave, &messages) => return Err(Ended { error: Error::Left, parked: Parked::default(), lived: None }),
            Some(order) = inlets.orders.recv() => desk.take(order, false),
            failed = desk.store() => match failed {
                Some(error) => return Err(Ended { error: Error::Store(error), parked: Parked::default(), lived: None }),
                None => desk.tell_kept(),
            },
        }
    }
}

/// Lets time pass between two connections; why the client ends meanwhile, if it does.
async fn pause(wait: Duration, desk: &mut Desk, inlets: &mut Inlets, parked: &mut Parked) -> Option<Error> {
    let until = Instant::now() + wait;
    let messages = desk.messages();
    loop {
        tokio::select! {
            () = sleep_until(until) => return None,
            () = nobody_stays(&mut inlets.leave, &messages) => return Some(Error::Left),
            Some(order) = inlets.orders.recv() => desk.take(order, false),
            failed = desk.store() => match failed {
                Some(error) => return Some(Error::Store(error)),
                None => desk.tell_kept(),
            },
            Some(settled) = inlets.settlements.recv() => {
                // A plain server could not be told more either, so it makes no difference which dialect is next.
                if let Some((ticket, outcome)) = desk.settled(settled, true) {
                    parked.settle(ticket, outcome);
                }
            }
        }
    }
}

/// The application left, or dropped its last handle and its messages.
async fn nobody_stays(leave: &mut mpsc::Receiver<bool>, messages: &mpsc::Sender<Incoming>) {
    if leave.recv().await.is_none() {
        messages.closed().await;
    }
}

/// The turns of one connection.
struct Serving<'a> {
    options: &'a Options,
    desk: &'a mut Desk,
    inlets: &'a mut Inlets,
    held_since: Option<Instant>,
    told_held: bool,
    handles_gone: bool,
    store_failed: Option<StoreError>,
}

impl<'a> Serving<'a> {
    fn new(options: &'a Options, desk: &'a mut Desk, inlets: &'a mut Inlets) -> Self {
        Self { options, desk, inlets, held_since: None, told_held: false, handles_gone: false, store_failed: None }
    }

    async fn serve(mut self, open: OpenLink, first: bool) -> Ended {
        let since = Instant::now();
        let OpenLink { mut link, opened, early } = open;
        self.desk.opened(*opened, &mut link, first);
        self.desk.act_early(early, &mut link);
        let cause = loop {
            if let Some(cause) = self.turn(&mut link) {
                break cause;
            }
            self.wait(&mut link).await;
            if self.store_failed.is_some() {
                link.session.lost();
            }
        };
        let dialect = link.session.terms().dialect;
        let of_cause = || error_of_cause(self.options, &cause, dialect, link.failure.as_ref());
        let error = self.store_failed.take().map_or_else(of_cause, Error::Store);
        let farewell = if cause == Cause::Left { self.options.connect_timeout } else { FAREWELL };
        let (parked, all_written) = link.close(farewell).await;
        self.desk.apart(all_written, dialect);
        Ended { error, parked, lived: Some(since.elapsed()) }
    }

    /// Everything that can be done without waiting; the cause when the session has closed.
    fn turn(&mut self, link: &mut Link) -> Option<Cause> {
        self.take_in(link);
        loop {
            if let Some(cause) = self.desk.drain(link) {
                return Some(cause);
            }
            self.desk.forward();
            if self.desk.is_held() || !link.feed() {
                break;
            }
        }
        self.desk.left(link);
        self.desk.hand_down(link);
        self.desk.drain(link)
    }

    /// What the handles sent.
    fn take_in(&mut self, link: &mut Link) {
        while let Ok(settled) = self.inlets.settlements.try_recv() {
            self.settle(settled, link);
        }
        while self.desk.has_room()
            && let Ok(order) = self.inlets.orders.try_recv()
        {
            self.desk.take(order, true);
        }
        while self.desk.may_ask(link)
            && let Ok(request) = self.inlets.requests.try_recv()
        {
            self.desk.ask(request, link);
        }
    }

    fn settle(&mut self, settled: Settled, link: &mut Link) {
        let extended = link.session.terms().dialect.is_extended();
        if let Some((ticket, outcome)) = self.desk.settled(settled, extended) {
            link.session.settle(ticket, outcome);
        }
    }

    /// Waits until there is something to do, and does the first of it.
    async fn wait(&mut self, link: &mut Link) {
        let held = self.desk.is_held();
        let told_at = self.note_held(held);
        if held {
            // Nothing is read, so silence is this end's own.
            link.session.heard(link.now_ms());
        }
        let messages = self.desk.messages();
        let deadline = link.deadline();
        let store = self.desk.store();
        tokio::select! {
            biased;
            () = link.turn(!held) => {}
            failed = store => match failed {
                Some(error) => self.store_failed = Some(error),
                None => self.desk.tell_kept(),
            },
            () = Desk::room(&messages), if held => {}
            Some(settled) = self.inlets.settlements.recv() => self.settle(settled, link),
            Some(order) = self.inlets.orders.recv(), if self.desk.has_room() => self.desk.take(order, true),
            Some(request) = self.inlets.requests.recv(), if self.desk.may_ask(link) => self.desk.ask(request, link),
            with_will = self.inlets.leave.recv(), if !self.handles_gone => self.leave(with_will, link),
            () = messages.closed(), if self.handles_gone => link.session.leave(false),
            () = sleep_until(told_at.unwrap_or(deadline)), if told_at.is_some() => self.tell_held(),
            () = sleep_until(deadline) => link.tick(),
        }
    }

    fn leave(&mut self, with_will: Option<bool>, link: &mut Link) {
        match with_will {
            Some(with_will) => {
                // What was handed over at QoS 0 goes first.
                self.take_in(link);
                self.desk.hand_down(link);
                link.session.leave(with_will);
            }
            // Every handle is gone; whoever still takes messages is served on.
            None => self.handles_gone = true,
        }
    }

    /// When it is to be told that the server is held back.
    fn note_held(&mut self, held: bool) -> Option<Instant> {
        if !held {
            (self.held_since, self.told_held) = (None, false);
            return None;
        }
        let since = *self.held_since.get_or_insert_with(Instant::now);
        (!self.told_held).then_some(since + HELD_BACK)
    }

    fn tell_held(&mut self) {
        self.told_held = true;
        self.desk.tell(Event::HeldBack { since: HELD_BACK });
    }
}
