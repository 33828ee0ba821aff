//! A broker in this process, for what the relay does not do.

use candor_broker::broker::{Broker, ListenerSetup, Setup};
use candor_broker::driver::{Answer, Authenticate};
use candor_broker::shard::{Admission, ListenerSettings, Peer, Rights, Settings};
use candor_broker::transport::bind::BindOptions;
use candor_client::protocol::packet::{Connect, Durability, Qos, Refusal, TopicFilter};
use candor_client::protocol::session::ServerPolicy;
use std::net::SocketAddr;
use std::sync::Arc;

/// Anybody may do anything.
#[derive(Debug)]
struct Anybody;

impl Rights for Anybody {
    fn publish(&self, _topic: &[u8], _qos: Qos, _retain: bool) -> Result<(), Refusal> {
        Ok(())
    }

    fn subscribe(&self, _filter: &TopicFilter) -> Result<Qos, Refusal> {
        Ok(Qos::ExactlyOnce)
    }
}

impl Authenticate for Anybody {
    fn authenticate(&self, _connect: &Connect, _client_id: &str, _peer: &Peer) -> Answer {
        Answer::Now(Ok(Admission { principal: String::new().into(), rights: Arc::new(Anybody) }))
    }
}

/// Ends with the test.
pub(super) struct Served {
    broker: Option<Broker>,
    pub(super) address: SocketAddr,
}

impl Served {
    pub(super) fn start() -> Self {
        let mut policy = ServerPolicy::default();
        policy.profile.durability = Durability::Memory;
        policy.profile.session_durability = Durability::Memory;
        let settings = ListenerSettings {
            name: "bench".into(),
            policy: Arc::new(policy),
            acknowledges_refused: false,
            disclosure: Default::default(),
            authenticate: Arc::new(Anybody),
        };
        let url = "mqtt://127.0.0.1:0".parse().unwrap();
        let listener = ListenerSetup { url, settings: Arc::new(settings), tls: None, bind: BindOptions::default() };
        let broker = Broker::start(Setup { listeners: vec![listener], settings: Settings { shards: 1, ..Settings::default() } }).unwrap();
        let address = broker.urls()[0].trim_start_matches("mqtt://").parse().unwrap();
        Self { broker: Some(broker), address }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let stopped = self.broker.take().map(Broker::stop);
        assert!(matches!(stopped, Some(Ok(()))) || std::thread::panicking(), "{stopped:?}");
    }
}
