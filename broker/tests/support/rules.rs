//! A broker with a rules file, whose clients are who they say they are.

use super::TestBroker;
use candor_broker::access::{Current, Door};
use candor_broker::auth::Access;
use candor_broker::auth::rules::Rules;
use candor_broker::config::listener::Anonymous;
use candor_broker::config::source::Source;
use candor_broker::shard::{Answer, Authenticate, Peer, Settings};
use candor_protocol::packet::Connect;
use candor_protocol::session::ServerPolicy;
use std::sync::Arc;

/// The real door, where a user name proves itself, as the one in a certificate does.
#[derive(Debug)]
struct Trusting(Door);

impl Authenticate for Trusting {
    fn authenticate(&self, connect: &Connect, client_id: &Arc<str>, peer: &Peer) -> Answer {
        let peer = Peer { tls_client_name: connect.user_name.as_deref().map(Arc::from), ..peer.clone() };
        self.0.authenticate(connect, client_id, &peer)
    }
}

pub fn access(rules: &str) -> Access {
    let (rules, _) = Rules::parse(&Source::new("rules.toml", rules)).unwrap_or_else(|wrong| panic!("{wrong}"));
    Access::with_rules(rules)
}

impl TestBroker {
    pub fn with_rules(settings: Settings, policy: ServerPolicy, rules: &str) -> Self {
        let access = Arc::new(Current::new(access(rules)));
        let door = Door { access, anonymous: Anonymous::Always };
        Self::behind(settings, policy, false, Arc::new(Trusting(door)))
    }
}
