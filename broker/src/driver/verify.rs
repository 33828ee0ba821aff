//! Passwords that are verified away from the shards: so many at once, so many that wait, and of these so many of one address, so that
//! who tries passwords keeps nobody else waiting for long.

use super::SharedCore;
use crate::shard::{Admission, Answer, ConnectionKey, VerificationLimits};
use candor_protocol::packet::{Problem, Reason, Refusal, Retry};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Semaphore;

/// The verifications of a whole broker.
#[derive(Debug)]
pub struct Verifications {
    limits: VerificationLimits,
    running: Semaphore,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// A place among those that wait; given back when it is dropped.
struct Place<'a> {
    of: &'a Verifications,
    address: IpAddr,
}

/// A connection that asks, and what is to be done for its answer.
#[derive(Debug)]
pub struct Job {
    pub key: ConnectionKey,
    /// Which connection of this key asked.
    pub of: u64,
    pub address: IpAddr,
    pub answer: Answer,
}

impl Verifications {
    pub fn new(limits: VerificationLimits) -> Self {
        Self { limits, running: Semaphore::new(limits.running_max.max(1)), waiting: Mutex::default() }
    }

    /// Does the work of a job where it blocks no connection, and hands the answer to the shard.
    pub async fn verify(self: Arc<Self>, core: SharedCore, job: Job) {
        let Job { key, of, address, answer } = job;
        let answer = match answer {
            Answer::Now(answer) => answer,
            Answer::Later(work) => match self.work(&core, (key, of), address, work).await {
                Some(answer) => answer,
                // Nobody waits for it any more.
                None => return,
            },
        };
        let mut core = core.borrow_mut();
        core.answered(key, of, answer);
        core.wake_turn();
    }

    async fn work(
        &self,
        core: &SharedCore,
        (key, of): (ConnectionKey, u64),
        address: IpAddr,
        work: Box<dyn FnOnce() -> Result<Admission, Refusal> + Send>,
    ) -> Option<Result<Admission, Refusal>> {
        let _place = match self.enter(address) {
            Ok(place) => place,
            Err(refusal) => return Some(Err(refusal)),
        };
        let failed = || Refusal::new(Reason::UNSPECIFIED_ERROR, Problem::titled("the password could not be verified"));
        let Ok(_running) = self.running.acquire().await else { return Some(Err(failed())) };
        // Whoever hangs up before its turn costs nothing more.
        if core.borrow().shard.asks(key) != Some(of) {
            return None;
        }
        Some(tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(failed())))
    }

    fn enter(&self, address: IpAddr) -> Result<Place<'_>, Refusal> {
        let address = of_one_peer(address);
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let own = waiting.by_address.get(&address).copied().unwrap_or_default();
        let (limit, title) = match () {
            () if own >= self.limits.per_address_max => {
                (self.limits.per_address_max, "too many passwords from this address wait to be verified")
            }
            () if waiting.all >= self.limits.waiting_max => (self.limits.waiting_max, "too many passwords wait to be verified"),
            () => {
                waiting.all += 1;
                waiting.by_address.insert(address, own + 1);
                return Ok(Place { of: self, address });
            }
        };
        let problem = Problem::titled(title).limit(limit as u64, limit as u64 + 1);
        Err(Refusal::new(Reason::SERVER_BUSY, problem.retry(Retry::After { after_ms: 5000, jitter_ms: 10_000 })))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut waiting = self.of.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.all = waiting.all.saturating_sub(1);
        match waiting.by_address.get_mut(&self.address) {
            Some(own @ 2..) => *own -= 1,
            _ => drop(waiting.by_address.remove(&self.address)),
        }
    }
}

/// What a peer cannot change at will: of an IPv6 address the first 64 bits.
fn of_one_peer(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from(u128::from(address) & (u128::MAX << 64))),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_places_and_the_others_have_theirs() {
        let verifications = Verifications::new(VerificationLimits { running_max: 1, waiting_max: 5, per_address_max: 2 });
        let enter = |text: &str| verifications.enter(text.parse().unwrap());
        let refused = |text: &str| enter(text).err().map(|refusal| (refusal.reason, refusal.problem.limit));
        let held = [enter("192.0.2.1").unwrap(), enter("::ffff:192.0.2.1").unwrap()];
        assert_eq!(refused("192.0.2.1"), Some((Reason::SERVER_BUSY, Some(2))));
        let v6 = [enter("2001:db8::1").unwrap(), enter("2001:db8::2:1").unwrap()];
        assert_eq!(refused("2001:db8::3"), Some((Reason::SERVER_BUSY, Some(2))));
        let last = enter("192.0.2.7").unwrap();
        assert_eq!(refused("192.0.2.8"), Some((Reason::SERVER_BUSY, Some(5))));
        drop((held, v6, last));
        assert!(verifications.waiting.lock().unwrap().by_address.is_empty(), "nothing is kept of who does not wait");
        assert!(enter("192.0.2.1").is_ok());
    }
}
