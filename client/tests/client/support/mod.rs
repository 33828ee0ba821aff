//! A server in this process: the protocol's own server session with a script that decides, and with hands on the wire.

mod connection;
mod place;
mod streams;

pub use connection::{Act, Script};
pub(crate) use place::Place;
pub use streams::{Certificates, Transport};

use candor_client::protocol::packet::{Connect, Publish, Subscribe};
use candor_client::protocol::session::{Cause, Outcome, Parked, Token};
use candor_client::{Options, Qos, Reconnect};
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Longer than anything here takes; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a server saw and did, in order, over all its connections.
#[derive(Debug, Clone)]
pub enum Seen {
    /// A connection was accepted below MQTT.
    Arrived,
    Connect(Box<Connect>),
    /// The connection became extended by a confirm.
    Confirmed,
    Publish(Publish),
    Subscribe(Box<Subscribe>),
    Unsubscribe,
    Ping,
    Notice,
    /// A message was given to the session of the client: it is not lost with the connection any more.
    Sent(Token),
    Settled {
        token: Token,
        outcome: Outcome,
    },
    Closed(Cause),
}

/// Stored sessions by client identifier.
type Sessions = Arc<Mutex<HashMap<String, Parked>>>;

pub struct Server {
    pub address: SocketAddr,
    pub certificates: Option<Certificates>,
    transport: Transport,
    scripts: Arc<Mutex<VecDeque<Script>>>,
    sessions: Sessions,
    seen: mpsc::UnboundedReceiver<Seen>,
    acts: Arc<Mutex<Option<mpsc::UnboundedSender<Act>>>>,
    _tasks: JoinSet<()>,
}

impl Server {
    /// A server over clear TCP that does what `script` says on each connection.
    pub async fn start(script: Script) -> Self {
        Self::over(Transport::tcp(), vec![script]).await
    }

    /// The connections follow the scripts one by one; the last one serves all that follow.
    pub async fn scripted(scripts: Vec<Script>) -> Self {
        Self::over(Transport::tcp(), scripts).await
    }

    pub async fn over(transport: Transport, scripts: Vec<Script>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (seer, seen) = mpsc::unbounded_channel();
        let scripts = Arc::new(Mutex::new(VecDeque::from(scripts)));
        let (sessions, acts) = (Sessions::default(), Arc::new(Mutex::new(None)));
        let mut tasks = JoinSet::new();
        let accepting = accept(listener, transport.clone(), Arc::clone(&scripts), Arc::clone(&sessions), seer, Arc::clone(&acts));
        tasks.spawn(accepting);
        let certificates = transport.certificates.clone();
        Self { address, certificates, transport, scripts, sessions, seen, acts, _tasks: tasks }
    }

    pub fn url(&self) -> String {
        format!("{}://localhost:{}", self.transport.scheme(), self.address.port())
    }

    /// Options for this server, with reconnects that do not make a test wait.
    pub fn options(&self) -> Options {
        let reconnect = Reconnect::default().delays(Duration::from_millis(5), Duration::from_millis(20));
        let options = Options::new(&self.url()).unwrap().client_id("device-1").reconnect(reconnect);
        match &self.certificates {
            Some(certificates) => options.tls(certificates.client_options()),
            None => options,
        }
    }

    /// Replaces what the connections from now on follow.
    pub fn now_follow(&self, script: Script) {
        *self.scripts.lock().unwrap() = VecDeque::from([script]);
    }

    /// The server loses its sessions, as with a restart.
    pub fn forget_sessions(&self) {
        self.sessions.lock().unwrap().clear();
    }

    /// Accepts what a stored session has been handed and nobody has settled.
    pub fn settle_stored(&self, client_id: &str) {
        let mut sessions = self.sessions.lock().unwrap();
        let parked = sessions.get_mut(client_id).unwrap();
        (0..100).for_each(|ticket| parked.settle(ticket, Outcome::accepted()));
    }

    /// Has the newest connection do something.
    pub fn act(&self, act: Act) {
        self.acts.lock().unwrap().as_ref().unwrap().send(act).unwrap();
    }

    /// Delivers a message to the client of the newest connection.
    pub fn deliver(&self, topic: &str, payload: &str, qos: Qos, token: Token) {
        self.act(Act::deliver(topic, payload, qos, token));
    }

    /// The next thing that was seen for which `wanted` has an answer; all before it is passed over.
    pub async fn wait_for<T>(&mut self, mut wanted: impl FnMut(Seen) -> Option<T>) -> T {
        let mut passed = Vec::new();
        loop {
            match tokio::time::timeout(PATIENCE, self.seen.recv()).await {
                Ok(Some(seen)) => {
                    passed.push(format!("{seen:?}"));
                    if let Some(found) = wanted(seen) {
                        return found;
                    }
                }
                other => panic!("{other:?}: it did not come; what came: {passed:#?}"),
            }
        }
    }

    pub async fn connect(&mut self) -> Box<Connect> {
        self.wait_for(|seen| if let Seen::Connect(connect) = seen { Some(connect) } else { None }).await
    }

    pub async fn publish(&mut self) -> Publish {
        self.wait_for(|seen| if let Seen::Publish(publish) = seen { Some(publish) } else { None }).await
    }

    pub async fn settled(&mut self) -> (Token, Outcome) {
        self.wait_for(|seen| if let Seen::Settled { token, outcome } = seen { Some((token, outcome)) } else { None }).await
    }

    pub async fn closed(&mut self) -> Cause {
        self.wait_for(|seen| if let Seen::Closed(cause) = seen { Some(cause) } else { None }).await
    }

    /// Everything that was seen so far.
    pub fn all_seen(&mut self) -> Vec<Seen> {
        std::iter::from_fn(|| self.seen.try_recv().ok()).collect()
    }
}

async fn accept(
    listener: TcpListener,
    transport: Transport,
    scripts: Arc<Mutex<VecDeque<Script>>>,
    sessions: Sessions,
    seen: mpsc::UnboundedSender<Seen>,
    acts: Arc<Mutex<Option<mpsc::UnboundedSender<Act>>>>,
) {
    let mut connections = JoinSet::new();
    loop {
        let (tcp, _) = listener.accept().await.unwrap();
        let script = {
            let mut scripts = scripts.lock().unwrap();
            if scripts.len() > 1 { scripts.pop_front().unwrap() } else { scripts[0].clone() }
        };
        let (actor, inlet) = mpsc::unbounded_channel();
        *acts.lock().unwrap() = Some(actor);
        let _ = seen.send(Seen::Arrived);
        let (transport, sessions, seen) = (transport.clone(), Arc::clone(&sessions), seen.clone());
        let alone = script.alone;
        let serving = async move {
            if let Some(stream) = transport.accept(tcp).await {
                connection::serve(stream, script, sessions, seen, inlet).await;
            }
        };
        if alone {
            serving.await;
        } else {
            connections.spawn(serving);
        }
    }
}

/// Waits for `future`, but not for ever.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it did not come to an end")
}
