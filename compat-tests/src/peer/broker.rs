//! A running broker: started on free ports of 127.0.0.1, killed, stopped, started again on the same ports.

use super::identity::{Files, Identity};
use super::process::Process;
use super::recipe::{Ready, Recipe, Site, Transport, recipe};
use super::scratch::Scratch;
use super::{Peer, Peers, Unavailable};
use crate::outcome::{Checked, Stop, Within};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long a broker may take until it is ready; the ones that are scripts load a language first.
const START_PATIENCE: Duration = Duration::from_secs(30);

/// How often a broker is started anew because somebody else had taken one of its ports meanwhile.
const START_ATTEMPTS: usize = 5;

/// How brokers say that a port is taken.
const PORT_TAKEN: [&str; 5] = ["ddress already in use", "AddrInUse", "EADDRINUSE", "Errno 98", "Unable to create websockets listener"];

/// Where ports are looked for: below those that systems give to outgoing connections, any of which could take a broker's
/// port while it is being restarted.
const PORTS: std::ops::Range<u16> = 10_000..32_000;

#[derive(Debug)]
pub struct Broker {
    pub peer: &'static Peer,
    recipe: &'static Recipe,
    // Before its folder, which can be removed only when no process writes into it any more: fields are dropped in this order.
    state: Mutex<State>,
    scratch: Scratch,
    pub identity: Identity,
    tls: Files,
}

#[derive(Debug, Default)]
struct State {
    process: Option<Process>,
    ports: BTreeMap<Transport, u16>,
}

impl Broker {
    /// Starts a broker of its own, and waits until it is ready.
    ///
    /// # Errors
    /// It is not installed, or does not become ready.
    pub fn start(name: &str) -> Result<Self, Unavailable> {
        let (peer, recipe) = (Peers::broker(name)?, recipe(name)?);
        let scratch = Scratch::new(name)?;
        let identity = Identity::generate()?;
        let tls = identity.write(scratch.path())?;
        let broker = Self { peer, recipe, state: Mutex::default(), scratch, identity, tls };
        let mut attempt = 1;
        loop {
            broker.lock().ports = broker.free_ports()?;
            match broker.run() {
                Err(Unavailable::Broken(stop)) if attempt < START_ATTEMPTS && port_was_taken(&stop) => attempt += 1,
                ended => return ended.map(|()| broker),
            }
        }
    }

    /// A broker for a case. Cases running at the same time share it, where its recipe lets them: it lives as long as one of
    /// them holds it.
    ///
    /// # Errors
    /// As [`Broker::start`].
    pub fn for_case(name: &str) -> Result<Arc<Self>, Unavailable> {
        if !recipe(name)?.shared {
            return Self::start(name).map(Arc::new);
        }
        type Slot = Arc<Mutex<Weak<Broker>>>;
        static SHARED: OnceLock<Mutex<HashMap<String, Slot>>> = OnceLock::new();
        let slot = {
            let mut slots = SHARED.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
            slots.entry(name.to_owned()).or_default().clone()
        };
        // The lock of the one broker is held while it starts, so that it is started once.
        let mut held = slot.lock().unwrap_or_else(PoisonError::into_inner);
        match held.upgrade() {
            Some(broker) if broker.is_running() => Ok(broker),
            _ => {
                let broker = Arc::new(Self::start(name)?);
                *held = Arc::downgrade(&broker);
                Ok(broker)
            }
        }
    }

    /// Where it listens for MQTT over plain TCP.
    ///
    /// # Errors
    /// As [`Broker::endpoint`].
    pub fn address(&self) -> Checked<SocketAddr> {
        self.endpoint(Transport::Tcp)
    }

    /// Where it listens.
    ///
    /// # Errors
    /// It does not, by this transport.
    pub fn endpoint(&self, transport: Transport) -> Checked<SocketAddr> {
        match self.lock().ports.get(&transport) {
            Some(port) => Ok((Ipv4Addr::LOCALHOST, *port).into()),
            None => Err(Stop::unsupported(format!("{} does not listen by {} here", self.peer.name, transport.scheme()))),
        }
    }

    /// The files of its certificate and of the authority that signed it.
    pub fn tls(&self) -> &Files {
        &self.tls
    }

    pub fn is_running(&self) -> bool {
        self.lock().process.as_mut().is_some_and(Process::is_running)
    }

    /// Ends it as a crash does (SIGKILL).
    pub fn kill(&self) {
        self.lock().process = None;
    }

    /// Ends it as an administrator does (SIGTERM).
    ///
    /// # Errors
    /// It does not end by itself.
    pub fn stop(&self) -> Checked {
        let process = self.lock().process.take();
        process.map_or(Ok(()), |mut process| process.terminate()).within("stop")
    }

    /// Starts it again on the same ports, with what it has stored.
    ///
    /// # Errors
    /// It does not become ready.
    pub fn restart(&self) -> Checked {
        self.kill();
        match self.run() {
            Ok(()) => Ok(()),
            Err(Unavailable::Broken(stop)) => Err(stop.within("restart")),
            Err(Unavailable::Missing(what)) => Err(Stop::failed(what).within("restart")),
        }
    }

    /// The last lines that it wrote and that are wanted, indented.
    pub fn log_tail(&self, wanted: impl Fn(&str) -> bool) -> String {
        self.lock().process.as_ref().map(|process| process.log().tail_of(wanted)).unwrap_or_default()
    }

    /// The fault of this broker that its log says has hit a client whose identifier begins with `id`.
    pub fn fault_that_hit(&self, id: &str) -> Option<&'static str> {
        let fault = self.recipe.fault?;
        let state = self.lock();
        let log = state.process.as_ref()?.log();
        log.is(|lines| (fault.hit)(lines, id)).then_some(fault.reason)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ports for the first start: free when they are chosen, and let go so that the broker can take them.
    fn free_ports(&self) -> Checked<BTreeMap<Transport, u16>> {
        let mut ports = BTreeMap::new();
        let mut candidates = candidates().take(PORTS.len());
        for transport in self.recipe.transports {
            let free = candidates.find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok());
            ports.insert(*transport, free.ok_or_else(|| Stop::failed(format!("no port in {PORTS:?} is free")))?);
        }
        Ok(ports)
    }

    fn run(&self) -> Result<(), Unavailable> {
        let ports = self.lock().ports.clone();
        let site = Site { dir: self.scratch.path(), tls: &self.tls, ports: &ports };
        let mut command = (self.recipe.command)(&site)?;
        let process = Process::spawn(&self.peer.name, &mut command, Box::new(|_| false))?;
        let expected = self.recipe.transports.len();
        let chosen = process.log().wait_for("the broker to be ready", START_PATIENCE, |lines| {
            if lines.iter().any(|line| PORT_TAKEN.iter().any(|text| line.contains(text))) {
                return Some(None);
            }
            match self.recipe.ready {
                Ready::Line(text, times) => (lines.iter().filter(|line| line.contains(text)).count() >= times).then(|| Some(ports.clone())),
                Ready::Listening => Some(listening(lines)).filter(|found| found.len() == expected).map(Some),
            }
        });
        match chosen.within(&self.peer.name)? {
            None => Err(process.failure(PORT_TAKEN[0]).into()),
            Some(chosen) => {
                *self.lock() = State { process: Some(process), ports: chosen };
                Ok(())
            }
        }
    }
}

/// Ports in turn, from where this process begins; other processes most likely begin elsewhere.
fn candidates() -> impl Iterator<Item = u16> {
    static NEXT: OnceLock<AtomicU64> = OnceLock::new();
    let next = NEXT.get_or_init(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::from(since.subsec_micros()));
        AtomicU64::new(u64::from(std::process::id()) * 97 + now)
    });
    std::iter::repeat_with(|| PORTS.start + (next.fetch_add(1, Ordering::Relaxed) % PORTS.len() as u64) as u16)
}

fn port_was_taken(stop: &Stop) -> bool {
    PORT_TAKEN.iter().any(|text| stop.to_string().contains(text))
}

/// The ports in lines such as `listening mqtt://127.0.0.1:1883`.
fn listening(lines: &VecDeque<String>) -> BTreeMap<Transport, u16> {
    let endpoint = |line: &String| {
        let (scheme, rest) = line.strip_prefix("listening ")?.split_once("://")?;
        let port = rest.split('/').next()?.rsplit_once(':')?.1.parse().ok()?;
        Some((Transport::of_scheme(scheme)?, port))
    };
    lines.iter().filter_map(endpoint).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_a_ready_broker_give_its_ports() {
        let lines = ["starting", "listening mqtt://127.0.0.1:1883", "listening wss://127.0.0.1:443/mqtt"];
        let found = listening(&lines.iter().map(|line| (*line).to_owned()).collect());
        assert_eq!(found, BTreeMap::from([(Transport::Tcp, 1883), (Transport::SecureWebSocket, 443)]));
    }
}
