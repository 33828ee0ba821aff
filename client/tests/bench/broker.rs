//! A broker in this process, for what no double does.

use candor_broker::access::{Current, Door};
use candor_broker::auth::Access;
use candor_broker::auth::rules::Rules;
use candor_broker::broker::{Broker, ListenerSetup, Setup};
use candor_broker::config::listener::Anonymous;
use candor_broker::config::source::Source;
use candor_broker::shard::{ListenerSettings, Settings};
use candor_broker::transport::bind::BindOptions;
use candor_client::protocol::packet::Durability;
use candor_client::protocol::session::ServerPolicy;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

/// Ends with the test.
pub(super) struct Served {
    broker: Option<Broker>,
    pub(super) address: SocketAddr,
}

impl Served {
    pub(super) fn start() -> Self {
        Self::with(Settings { shards: 1, ..Settings::default() })
    }

    /// With a rules file.
    pub(super) fn under(rules: &str) -> Self {
        let (rules, _) = Rules::parse(&Source::new("rules.toml", rules)).unwrap();
        let access = Arc::new(Current::new(Access::with_rules(rules)));
        Self::behind(Door { access, anonymous: Anonymous::Always }, Settings { shards: 1, ..Settings::default() })
    }

    pub(super) fn with(settings: Settings) -> Self {
        Self::behind(Door::open(), settings)
    }

    fn behind(door: Door, settings: Settings) -> Self {
        let mut policy = ServerPolicy::default();
        policy.profile.durability = Durability::Memory;
        policy.profile.session_durability = Durability::Memory;
        let listener =
            ListenerSettings { name: "bench".into(), policy: Arc::new(policy), acknowledges_refused: false, authenticate: Arc::new(door) };
        let url = "mqtt://127.0.0.1:0".parse().unwrap();
        let listener = ListenerSetup { url, settings: Arc::new(listener), tls: None, bind: BindOptions::default() };
        let broker = Broker::start(Setup { listeners: vec![listener], settings }).unwrap();
        let address = broker.urls()[0].trim_start_matches("mqtt://").parse().unwrap();
        Self { broker: Some(broker), address }
    }
}

impl Served {
    /// How many messages a subscription below `name` gets in a few turns of the server.
    pub(super) fn retained_below(&self, name: &str) -> usize {
        let mut socket = TcpStream::connect(self.address).unwrap();
        let filter = format!("{name}/#");
        let mut bytes =
            vec![0x10, 12, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0, 0, 0, 0x82, filter.len() as u8 + 5, 0, 1, 0, filter.len() as u8];
        bytes.extend_from_slice(filter.as_bytes());
        bytes.push(0);
        socket.write_all(&bytes).unwrap();
        (0..20).map(|_| Self::before_an_answer(&mut socket)).sum()
    }

    /// How many messages come before the answer to a PINGREQ.
    fn before_an_answer(socket: &mut TcpStream) -> usize {
        socket.write_all(&[0xC0, 0]).unwrap();
        let mut count = 0;
        loop {
            let mut head = [0; 2];
            socket.read_exact(&mut head).unwrap();
            assert!(head[1] < 0x80, "longer than any that is expected");
            let mut body = vec![0; usize::from(head[1])];
            socket.read_exact(&mut body).unwrap();
            match head[0] {
                0xD0 => return count,
                first => count += usize::from(first & 0xF0 == 0x30),
            }
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // A runtime's thread may not wait for another runtime.
        let broker = self.broker.take();
        let stopped = std::thread::spawn(move || broker.map(Broker::stop)).join().unwrap_or(None);
        assert!(matches!(stopped, Some(Ok(()))) || std::thread::panicking(), "{stopped:?}");
    }
}
