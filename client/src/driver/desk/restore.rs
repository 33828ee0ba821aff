//! What an earlier life of the session left in its store, and who waits for the store now.

use super::Desk;
use crate::publish::{Pending, Restored};
use crate::store::{Closer, StoreError, StoredSession};
use crate::subscribe::Wish;
use candor_protocol::session::Parked;
use candor_protocol::session::outbound::{self, Outbound};
use std::time::Duration;
use tokio::sync::oneshot;

impl Desk {
    /// Takes a session up: its subscriptions, what was never sent, and what is still under way.
    ///
    /// # Errors
    /// The store holds what no session leaves behind.
    pub(in crate::driver) fn restore(&mut self, stored: StoredSession) -> Result<(Parked, Vec<Restored>), StoreError> {
        self.resumes = stored.has_begun();
        self.incarnation = stored.incarnation;
        // Tokens are the numbers in the store.
        self.next_token = stored.last_number;
        let wishes = stored.subscriptions.into_iter().map(|known| Wish { filter: known.filter, qos: known.qos, item: known.item });
        self.subscriptions = wishes.collect();
        let mut parked = Parked::default();
        stored.taken.into_iter().for_each(|id| parked.inbound.restore(id));
        let (mut under_way, mut restored) = (Vec::new(), Vec::new());
        for (number, message) in stored.messages {
            let (outcome, pending) = oneshot::channel();
            self.wait_for(number, &message.delivery, outcome);
            restored.push(Restored { message: message.delivery.message.clone(), qos: message.delivery.qos, pending: Pending(pending) });
            match message.id {
                Some(id) => under_way.push(outbound::Restored {
                    id,
                    token: number,
                    delivery: message.delivery,
                    received: message.received,
                    // A store keeps no counts: the next connection resumes as MQTT 3.1.1 has it.
                    number: None,
                }),
                None => {
                    self.queue_bytes += message.delivery.message.len();
                    self.queue.push_back((message.delivery, number));
                }
            }
        }
        let broken = || StoreError::Broken { cause: "the identifiers in the store are in no order that this client gives".to_owned() };
        parked.outbound = Outbound::restore(under_way, None).ok_or_else(broken)?;
        Ok((parked, restored))
    }

    /// Tells who waits that what they handed over is kept.
    pub(in crate::driver) fn tell_kept(&mut self) {
        while self.keeping.front().is_some_and(|(records, _)| self.journal.has_kept(*records))
            && let Some((_, kept)) = self.keeping.pop_front()
        {
            // Whoever asked may not wait any more.
            let _ = kept.send(());
        }
    }

    /// Has everything kept that was recorded, and waits until somebody can be told or the store has failed.
    pub(in crate::driver) fn store(&self) -> impl Future<Output = Option<StoreError>> + use<> {
        let (journal, first) = (self.journal.clone(), self.keeping.front().map(|(records, _)| records.saturating_sub(1)));
        async move {
            journal.flush();
            journal.kept_beyond(first.unwrap_or(u64::MAX)).await.failed
        }
    }

    /// Waits until everything is kept that was recorded and the store is free, `patience` at most.
    pub(in crate::driver) async fn keep_all(&mut self, closer: Option<Closer>, patience: Duration) -> Result<(), StoreError> {
        let Some(closer) = closer else { return Ok(()) };
        let finishing = async {
            let kept = self.journal.finish().await;
            closer.close().await;
            kept
        };
        let late = || Err(StoreError::Broken { cause: format!("the store did not answer within {} ms", patience.as_millis()) });
        let kept = tokio::time::timeout(patience, finishing).await.unwrap_or_else(|_| late());
        self.tell_kept();
        kept
    }
}
