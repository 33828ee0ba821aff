//! The wiring: listeners, shards, threads, and how all of it ends.

use crate::driver::accept::{self, Listener};
use crate::driver::engine::{self, Order};
use crate::driver::mesh::{self, Mesh, Parcel};
use crate::driver::verify::Verifications;
use crate::driver::{Clock, Core, SharedCore, behind, turn};
use crate::shard::restore::{self, Legacy};
use crate::shard::{ListenerSettings, Settings, Shard, Shared, Storage};
use crate::store::Engine;
use crate::transport::bind::{BindOptions, bind};
use crate::transport::tls::TlsSettings;
use crate::transport::url::ListenUrl;
use candor_protocol::packet::Durability;
use std::cell::RefCell;
use std::fmt;
use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio::sync::mpsc;

/// A listener to be served.
#[derive(Debug, Clone)]
pub struct ListenerSetup {
    pub url: ListenUrl,
    pub settings: Arc<ListenerSettings>,
    pub tls: Option<Arc<TlsSettings>>,
    pub bind: BindOptions,
}

/// Everything a broker is made of.
#[derive(Debug)]
pub struct Setup {
    pub listeners: Vec<ListenerSetup>,
    pub settings: Settings,
}

/// Why a broker does not start; nothing is left running.
#[derive(Debug)]
#[non_exhaustive]
pub enum CannotStart {
    /// An address cannot be listened on.
    Listen(io::Error),
    /// What the configuration promises cannot be kept: the store does not open, or a listener promises more than it keeps.
    Guarantee(io::Error),
    /// The system gives no thread, or no random numbers.
    System(io::Error),
}

impl fmt::Display for CannotStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Listen(error) | Self::Guarantee(error) | Self::System(error)) = self;
        error.fmt(f)
    }
}

impl std::error::Error for CannotStart {}

/// A broker that runs until it is stopped.
#[derive(Debug)]
pub struct Broker {
    urls: Vec<String>,
    shards: Vec<mpsc::Sender<Parcel>>,
    threads: Vec<JoinHandle<io::Result<()>>>,
}

impl Broker {
    /// Binds every listener, then starts a thread for each shard. When it returns, connections are accepted.
    ///
    /// # Errors
    /// See [`CannotStart`].
    pub fn start(setup: Setup) -> Result<Self, CannotStart> {
        let shards = usize::from(setup.settings.shards.max(1));
        let mut sockets: Vec<Vec<(TcpListener, Listener)>> = (0..shards).map(|_| Vec::new()).collect();
        let mut urls = Vec::new();
        for listener in &setup.listeners {
            bind_for_all(listener, &mut sockets, &mut urls).map_err(CannotStart::Listen)?;
        }
        let settings = Arc::new(setup.settings);
        let clock = Clock::start();
        let mut shared = Shared::new(settings.shards);
        shared.keep_dead_letters(&settings.dead_letters);
        shared.divide(&settings.namespaces);
        let mut engine = open(&settings.storage).map_err(CannotStart::Guarantee)?;
        check_promises(&setup.listeners, engine.as_deref()).map_err(CannotStart::Guarantee)?;
        let mut legacies = match &mut engine {
            Some(engine) => {
                restore::read(&mut **engine, &settings, &mut shared).map_err(|error| CannotStart::Guarantee(io::Error::other(error)))?
            }
            None => (0..shards).map(|_| Legacy::default()).collect(),
        };
        let shared = Arc::new(shared);
        let mut cores = Vec::new();
        for (index, legacy) in legacies.iter_mut().enumerate() {
            let mut shard =
                Shard::new(index as u16, Arc::clone(&settings), Arc::clone(&shared), random_seed().map_err(CannotStart::System)?);
            shard.begin_turn(clock.now());
            shard.restore(legacy);
            cores.push(shard);
        }
        cores.iter_mut().zip(&mut legacies).for_each(|(shard, legacy)| shard.publish_wills(legacy));
        let mut broker = Self { urls, shards: Vec::new(), threads: Vec::new() };
        let mesh = mesh::mesh(shards);
        let verifications = Arc::new(Verifications::new(settings.verifications));
        broker.shards.extend(mesh.iter().enumerate().filter_map(|(index, (mesh, _))| mesh.sender(index)));
        let mut orders = None;
        if let Some(engine) = engine {
            let (sender, receiver) = engine::orders();
            orders = Some(sender);
            broker.threads.push(engine::start(engine, receiver, broker.shards.clone()).map_err(CannotStart::System)?);
        }
        for (((mesh, parcels), sockets), shard) in mesh.into_iter().zip(sockets).zip(cores) {
            let thread = std::thread::Builder::new().name(format!("shard-{}", shard.index()));
            let verifications = Arc::clone(&verifications);
            let start = Start { shard, mesh, parcels, sockets, clock, orders: orders.clone(), verifications };
            broker.threads.push(thread.spawn(move || start.run()).map_err(CannotStart::System)?);
        }
        Ok(broker)
    }

    /// Where connections are accepted: each listener's URL with the port it really has.
    pub fn urls(&self) -> &[String] {
        &self.urls
    }

    /// Tells every client that the server is ending, and waits until all connections have ended.
    ///
    /// # Errors
    /// A shard ended before it was told to.
    pub fn stop(mut self) -> io::Result<()> {
        for shard in &self.shards {
            // A shard that has ended needs no word.
            let _ = shard.blocking_send(Parcel::Stop);
        }
        for thread in self.threads.drain(..) {
            thread.join().map_err(|_| io::Error::other("a shard ended before it was told to; its last log lines say why"))??;
        }
        Ok(())
    }

    /// What clients may do has changed: every shard asks again, ends the connections of those who would not be let in any
    /// more, and ends subscriptions that would be refused.
    pub async fn review_rights(&self) {
        for shard in &self.shards {
            // A shard that has ended has no clients.
            let _ = shard.send(Parcel::RightsChanged).await;
        }
    }

    /// Whether a shard has ended although nobody told it to.
    pub fn has_failed(&self) -> bool {
        self.threads.iter().any(JoinHandle::is_finished)
    }
}

fn open(storage: &Storage) -> io::Result<Option<Box<dyn Engine>>> {
    match storage {
        Storage::Memory | Storage::Late { .. } => Ok(None),
        Storage::Engine(engine) => engine.open().map(Some).map_err(io::Error::other),
    }
}

/// A server never declares more than its engine proves.
fn check_promises(listeners: &[ListenerSetup], engine: Option<&dyn Engine>) -> io::Result<()> {
    let proven = engine.map_or(Durability::Memory, Engine::durability);
    for listener in listeners {
        let profile = &listener.settings.policy.profile;
        let promised = profile.durability.max(profile.session_durability);
        if promised > proven {
            let name = &listener.settings.name;
            let what = format!(
                "listener {name} would promise durability {promised}, and the store keeps {proven}: lower the promise or take another store"
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
    }
    Ok(())
}

fn random_seed() -> io::Result<u64> {
    getrandom::u64().map_err(|error| io::Error::other(format!("the system gives no random numbers: {error}")))
}

/// Binds a listener once for every shard, so that each accepts its own connections; but first for nobody else, since the kernel
/// would share a port with another process that binds it so too, and each would serve a part of the clients.
fn bind_for_all(listener: &ListenerSetup, sockets: &mut [Vec<(TcpListener, Listener)>], urls: &mut Vec<String>) -> io::Result<()> {
    let mut url = listener.url.clone();
    if sockets.len() > 1 {
        let alone = bind(&url, &BindOptions { reuse_port: false, ..listener.bind.clone() })?;
        if let Some(first) = alone.first() {
            url.port = first.local_addr()?.port();
        }
    }
    let options = BindOptions { reuse_port: sockets.len() > 1, ..listener.bind.clone() };
    for (index, shard) in sockets.iter_mut().enumerate() {
        let bound = bind(&url, &options)?;
        if let (0, Some(first)) = (index, bound.first()) {
            url.port = first.local_addr()?.port();
            urls.push(url.to_string());
        }
        for socket in bound {
            let (settings, tls) = (Arc::clone(&listener.settings), listener.tls.clone());
            let listener = Listener { settings, scheme: url.scheme, path: url.path.as_str().into(), tls };
            shard.push((socket, listener));
        }
    }
    Ok(())
}

/// What a shard's thread begins with.
struct Start {
    shard: Shard,
    mesh: Mesh,
    parcels: mpsc::Receiver<Parcel>,
    sockets: Vec<(TcpListener, Listener)>,
    clock: Clock,
    orders: Option<mpsc::Sender<Order>>,
    verifications: Arc<Verifications>,
}

impl Start {
    fn run(self) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let tasks = tokio::task::LocalSet::new();
        tasks.block_on(&runtime, async move {
            let core: SharedCore = Rc::new(RefCell::new(Core::new(self.shard, self.mesh, self.orders, self.clock)));
            for (socket, listener) in self.sockets {
                let socket = tokio::net::TcpListener::from_std(socket)?;
                let task = tokio::task::spawn_local(accept::accept(Rc::clone(&core), socket, listener));
                core.borrow_mut().accepting.push(task.abort_handle());
            }
            tokio::task::spawn_local(behind::pace(Rc::clone(&core)));
            turn::run(core, self.parcels, self.verifications).await;
            Ok(())
        })
    }
}
