//! Users and rights as the driver and the shards ask for them.

use crate::auth::{Access, AdmissionJob, Admitted, Connecting, Credentials, Rights};
use crate::config::listener::Anonymous;
use crate::driver::{Answer, Authenticate};
use crate::shard::{self, Admission, Peer};
use candor_protocol::packet::{Connect, Qos, Refusal, TopicFilter};
use std::sync::Arc;

/// The door of one listener.
#[derive(Debug)]
pub struct Door {
    pub access: Arc<Access>,
    pub anonymous: Anonymous,
}

impl Authenticate for Door {
    fn authenticate(&self, connect: &Connect, client_id: &str, peer: &Peer) -> Answer {
        let credentials = Credentials {
            user: connect.user_name.as_deref(),
            password: connect.password.as_deref(),
            client_id,
            peer_is_loopback: peer.address.ip().to_canonical().is_loopback(),
            tls_name: peer.tls_client_name.as_deref(),
        };
        match self.access.connect(credentials, self.anonymous) {
            Connecting::Decided(answer) => Answer::Now(answer.map(admission)),
            Connecting::Verify(job) => Answer::Later(Box::new(move || AdmissionJob::run(job).map(admission))),
        }
    }
}

fn admission(admitted: Admitted) -> Admission {
    let principal = admitted.principal.user().unwrap_or_default().into();
    Admission { principal, rights: admitted.rights }
}

impl shard::Rights for Rights {
    fn publish(&self, topic: &[u8], qos: Qos, retain: bool) -> Result<(), Refusal> {
        Rights::publish(self, topic, qos, retain).map(|_| ())
    }

    fn will(&self, topic: &[u8], qos: Qos, retain: bool) -> Result<(), Refusal> {
        Rights::will(self, topic, qos, retain).map(|_| ())
    }

    fn subscribe(&self, filter: &TopicFilter) -> Result<Qos, Refusal> {
        Rights::subscribe(self, filter).map(|grant| grant.qos_max)
    }
}
