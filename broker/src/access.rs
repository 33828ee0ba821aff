//! Users and rights as the driver and the shards ask for them.

use crate::auth::{Access, AdmissionJob, Admitted, Connecting, Credentials, Method, Principal, Rights};
use crate::config::listener::Anonymous;
use crate::shard::{self, Admission, Answer, Authenticate, Peer};
use candor_protocol::packet::{Connect, Qos, Refusal, TopicFilter};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// The access that is in force. A reload puts another in its place, and what is read of a client from then on is judged by
/// that one.
#[derive(Debug, Default)]
pub struct Current {
    access: RwLock<Arc<Access>>,
    /// Counts the replacements.
    generation: AtomicU32,
}

impl Current {
    pub fn new(access: Access) -> Self {
        Self { access: RwLock::new(Arc::new(access)), generation: AtomicU32::new(0) }
    }

    pub fn get(&self) -> Arc<Access> {
        Arc::clone(&self.access.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn replace(&self, access: Access) {
        *self.access.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(access);
        // Behind the access: whoever sees the new number finds what it counts.
        self.generation.fetch_add(1, Ordering::Release);
    }

    fn generation(&self) -> u32 {
        self.generation.load(Ordering::Acquire)
    }
}

/// The door of one listener.
#[derive(Debug)]
pub struct Door {
    pub access: Arc<Current>,
    pub anonymous: Anonymous,
}

impl Door {
    /// A door without users and rules: everybody comes in, and may do what needs no rule.
    pub fn open() -> Self {
        Self { access: Arc::default(), anonymous: Anonymous::Always }
    }
}

impl Authenticate for Door {
    fn authenticate(&self, connect: &Connect, client_id: &Arc<str>, peer: &Peer) -> Answer {
        let credentials = Credentials {
            user: connect.user_name.as_deref(),
            password: connect.password.as_deref(),
            client_id,
            peer_is_loopback: peer.address.ip().to_canonical().is_loopback(),
            tls_name: peer.tls_client_name.as_deref(),
        };
        // Before the access is read: what comes of one that is replaced meanwhile is asked again.
        let generation = self.access.generation();
        match self.access.get().connect(credentials, self.anonymous) {
            Connecting::Decided(answer) => Answer::Now(answer.map(|admitted| admission(admitted, client_id, &self.access, generation))),
            Connecting::Verify(job) => {
                let (client_id, current) = (Arc::clone(client_id), Arc::clone(&self.access));
                let admit = move |admitted| admission(admitted, &client_id, &current, generation);
                Answer::Later(Box::new(move || AdmissionJob::run(job).map(admit)))
            }
        }
    }
}

fn admission(admitted: Admitted, client_id: &Arc<str>, current: &Arc<Current>, generation: u32) -> Admission {
    let principal = admitted.principal.name();
    let rights = LiveRights {
        current: Arc::clone(current),
        principal: admitted.principal,
        method: admitted.method,
        client_id: Arc::clone(client_id),
        first: admitted.rights,
        first_generation: generation,
        later: Mutex::new(None),
    };
    Admission { principal, rights: Arc::new(rights) }
}

/// The rights of one client under the access that is in force whenever they are asked.
#[derive(Debug)]
struct LiveRights {
    current: Arc<Current>,
    principal: Principal,
    method: Method,
    client_id: Arc<str>,
    /// Asked without a lock for as long as nothing was reloaded since the client connected.
    first: Arc<Rights>,
    first_generation: u32,
    later: Mutex<Option<Box<Later>>>,
}

/// What a later access gives to the client, and which one that was.
#[derive(Debug)]
struct Later {
    generation: u32,
    rights: Result<Arc<Rights>, Refusal>,
}

impl LiveRights {
    fn ask<T>(&self, question: impl FnOnce(&Rights) -> Result<T, Refusal>) -> Result<T, Refusal> {
        let generation = self.current.generation();
        if generation == self.first_generation {
            return question(&self.first);
        }
        question(&*self.later(generation)?)
    }

    fn later(&self, generation: u32) -> Result<Arc<Rights>, Refusal> {
        let mut later = self.later.lock().unwrap_or_else(PoisonError::into_inner);
        match &*later {
            Some(later) if later.generation == generation => later.rights.clone(),
            _ => {
                let rights = self.current.get().again(&self.principal, self.method, &self.client_id);
                *later = Some(Box::new(Later { generation, rights: rights.clone() }));
                rights
            }
        }
    }
}

impl shard::Rights for LiveRights {
    fn publish(&self, topic: &[u8], qos: Qos, retain: bool) -> Result<(), Refusal> {
        self.ask(|rights| if rights.publishes_freely(topic) { Ok(()) } else { rights.publish(topic, qos, retain).map(drop) })
    }

    fn will(&self, topic: &[u8], qos: Qos, retain: bool) -> Result<(), Refusal> {
        self.ask(|rights| rights.will(topic, qos, retain).map(drop))
    }

    fn subscribe(&self, filter: &TopicFilter) -> Result<Qos, Refusal> {
        self.ask(|rights| rights.subscribe(filter).map(|grant| grant.qos_max))
    }

    fn method(&self) -> Option<&'static str> {
        Some(self.method.name())
    }

    fn stay(&self) -> Result<(), Refusal> {
        self.ask(|_| Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every client has its own, behind two counts of references: the allocator's class below the next. It may take a word more than it
    /// is asked for.
    #[test]
    fn the_rights_of_one_client_are_small() {
        assert!(size_of::<LiveRights>() <= 96 - 3 * size_of::<usize>(), "{} bytes", size_of::<LiveRights>());
    }
}
