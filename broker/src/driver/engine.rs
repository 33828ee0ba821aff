//! The engine's thread: takes every batch that came while the last ones were being kept, keeps them in one go, and sends one receipt
//! to each shard that had any.
//!
//! ```text
//!  shard --Order--.                          .--> Parcel::Receipt --> shard
//!                  +--> Keeping (one thread) +--> Parcel::Fetched --> shard
//!  shard --Order--'     keep, read, tidy, mend
//! ```
//! **Neither mending nor tidying waits for a pause.** A disk that has failed is tried again at its time, however much is asked meanwhile;
//! and as long as space can be given back, twice as much of the log is looked at as is written, so that it does not grow under load.
//!
//! **Nothing is kept that rests on what failed.** The engine is not mended before the shards have heard of the failure: a batch says
//! whether its shard knew, and for a while behind the last one that did not, nothing is.
//!
//! **Causes come before their effects.** What a shard sends here before it sends a crossing is received here before anything that
//! follows from the crossing: a shard holds its crossings back until its batch is on its way.

use super::mesh::Parcel;
use crate::shard::{Fetched, Fetching};
use crate::store::{Batch, Engine, Receipt, StoreError};
use candor_protocol::packet::Durability;
use std::io;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

#[cfg(test)]
mod tests;

/// How many orders may wait; the shards read nothing more while there is no room.
const ORDERS_MAX: usize = 256;
/// How long the engine has nothing to do before it tidies up.
const IDLE: Duration = Duration::from_millis(20);
/// How much may be written before the engine tidies up for one step all the same: half of what a step looks at.
const TIDY_BYTES: u64 = 256 * 1024;
/// How long after a failure the engine is tried again, and how long a shard that sends nothing may take to hear of it; each try doubles
/// the first.
const MEND_AFTER: Duration = Duration::from_millis(100);
const MEND_AFTER_MAX: Duration = Duration::from_secs(10);

/// What a shard wants of the engine.
#[derive(Debug)]
pub enum Order {
    Keep(Batch),
    /// Messages of a session that are kept and not in memory.
    Fetch {
        shard: u16,
        fetching: Fetching,
    },
}

/// The way from all shards to the engine.
pub fn orders() -> (mpsc::Sender<Order>, mpsc::Receiver<Order>) {
    mpsc::channel(ORDERS_MAX)
}

/// Starts the engine's thread, which ends when all that could send it orders have.
///
/// # Errors
/// The system starts no thread.
pub fn start(
    engine: Box<dyn Engine>,
    orders: mpsc::Receiver<Order>,
    shards: Vec<mpsc::Sender<Parcel>>,
) -> io::Result<JoinHandle<io::Result<()>>> {
    let bytes = engine.usage().bytes;
    let keeping = Keeping { engine, orders, shards, failure: None, is_untidy: true, bytes, written: 0 };
    std::thread::Builder::new().name("engine".to_owned()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        runtime.block_on(keeping.run());
        Ok(())
    })
}

struct Keeping {
    engine: Box<dyn Engine>,
    orders: mpsc::Receiver<Order>,
    shards: Vec<mpsc::Sender<Parcel>>,
    /// Nothing is kept.
    failure: Option<Failure>,
    is_untidy: bool,
    /// Bytes of the log when they were last counted.
    bytes: u64,
    /// Bytes that were written for which nothing was tidied yet.
    written: u64,
}

/// Nothing is kept, and when that may change.
struct Failure {
    /// When the engine is tried again.
    mend_at: Instant,
    mend_after: Duration,
    /// When something last came from a shard that did not know.
    unaware_at: Instant,
}

impl Failure {
    fn due(&self) -> Instant {
        self.mend_at.max(self.unaware_at + MEND_AFTER)
    }
}

impl Keeping {
    async fn run(mut self) {
        let mut orders = Vec::new();
        loop {
            let wait = match (&self.failure, self.is_untidy) {
                (Some(failure), _) => failure.due().saturating_duration_since(Instant::now()),
                (None, true) => IDLE,
                (None, false) => Duration::MAX,
            };
            match timeout(wait, self.orders.recv_many(&mut orders, ORDERS_MAX)).await {
                Ok(0) => return,
                Ok(_) => {
                    self.carry_out(&mut orders).await;
                    self.tidy_for_what_was_written().await;
                }
                Err(_) if self.failure.is_none() => self.tidy().await,
                Err(_) => {}
            }
            if self.failure.as_ref().is_some_and(|failure| failure.due() <= Instant::now()) {
                self.mend().await;
            }
        }
    }

    async fn carry_out(&mut self, orders: &mut Vec<Order>) {
        let (mut batches, mut fetches) = (Vec::new(), Vec::new());
        for order in orders.drain(..) {
            match order {
                Order::Keep(batch) => batches.push(batch),
                Order::Fetch { shard, fetching } => fetches.push((shard, fetching)),
            }
        }
        if !batches.is_empty() {
            let reached = self.engine.keep(&batches);
            self.is_untidy = true;
            match (&reached, &mut self.failure) {
                (Err(error), None) => self.failed(error).await,
                (Err(_), Some(failure)) if !batches.iter().all(|batch| batch.knows_failure) => failure.unaware_at = Instant::now(),
                _ => {}
            }
            self.send_receipts(&batches, &reached).await;
        }
        for (shard, fetching) in fetches {
            let fetched = self.fetch(fetching);
            self.send(shard, Parcel::Fetched(fetched)).await;
        }
    }

    /// One receipt for each shard: for its last batch, and so for those before it.
    async fn send_receipts(&mut self, batches: &[Batch], reached: &Result<Durability, StoreError>) {
        let mut last = vec![None; self.shards.len()];
        for batch in batches {
            if let Some(last) = last.get_mut(usize::from(batch.shard)) {
                *last = Some(batch.turn);
            }
        }
        for (shard, turn) in last.into_iter().enumerate() {
            let Some(turn) = turn else { continue };
            let shard = shard as u16;
            self.send(shard, Parcel::Receipt(Receipt { shard, turn, reached: reached.clone() })).await;
        }
    }

    async fn send(&self, shard: u16, parcel: Parcel) {
        if let Some(sender) = self.shards.get(usize::from(shard)) {
            // A shard that has ended waits for nothing.
            let _ = sender.send(parcel).await;
        }
    }

    /// Tells every shard whether the guarantee holds: a receipt of no turn.
    async fn tell_all(&self, reached: Result<Durability, StoreError>) {
        for shard in 0..self.shards.len() as u16 {
            self.send(shard, Parcel::Receipt(Receipt { shard, turn: 0, reached: reached.clone() })).await;
        }
    }

    async fn failed(&mut self, error: &StoreError) {
        tracing::error!(error = %error, "the store keeps nothing; what has to be kept is refused until it does again");
        let now = Instant::now();
        self.failure = Some(Failure { mend_at: now + MEND_AFTER, mend_after: MEND_AFTER, unaware_at: now });
        self.tell_all(Err(error.clone())).await;
    }

    async fn mend(&mut self) {
        match self.engine.mend() {
            Ok(()) => {
                tracing::warn!("the store keeps again");
                self.failure = None;
                self.tell_all(Ok(self.engine.durability())).await;
            }
            Err(error) => {
                tracing::debug!(error = %error, "the store still keeps nothing");
                if let Some(failure) = &mut self.failure {
                    failure.mend_after = (failure.mend_after * 2).min(MEND_AFTER_MAX);
                    failure.mend_at = Instant::now() + failure.mend_after;
                }
            }
        }
    }

    async fn tidy_for_what_was_written(&mut self) {
        let bytes = self.engine.usage().bytes;
        self.written += bytes.saturating_sub(std::mem::replace(&mut self.bytes, bytes));
        while self.written >= TIDY_BYTES && self.is_untidy && self.failure.is_none() {
            self.written -= TIDY_BYTES;
            self.tidy().await;
        }
        self.written %= TIDY_BYTES;
    }

    async fn tidy(&mut self) {
        match self.engine.tidy() {
            Ok(has_more) => self.is_untidy = has_more,
            Err(error) => {
                self.is_untidy = false;
                self.failed(&error).await;
            }
        }
        self.bytes = self.engine.usage().bytes;
    }

    fn fetch(&mut self, fetching: Fetching) -> Fetched {
        let Fetching { slot, life, messages } = fetching;
        let read = |number| {
            let message = self.engine.read(number).unwrap_or_else(|error| {
                tracing::error!(message = number.0, error = %error, "a message that is kept cannot be read; it is lost");
                None
            });
            (number, message)
        };
        Fetched { slot, life, messages: messages.into_iter().map(read).collect() }
    }
}
