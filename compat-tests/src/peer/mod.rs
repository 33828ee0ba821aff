//! Other people's brokers and clients: which there are (`peers.toml`), where `setup.sh` has put them, and what each is
//! known to lack.

pub mod broker;
pub mod fault;
pub mod identity;
pub mod process;
pub mod recipe;
pub mod scratch;

pub use broker::Broker;
pub use process::Process;

use crate::outcome::{Checked, Stop};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::OnceLock;

/// What `peers.toml` says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peers {
    pub broker: Vec<Peer>,
    pub client: Vec<Peer>,
}

/// One broker or client.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// What `--broker` and `--client` take.
    pub name: String,
    /// The version the known gaps were seen with.
    pub version: String,
    /// How it is installed; `setup.sh` does it.
    pub from: String,
    /// Features it does not have, each with the reason: cases that need one come out as unsupported.
    #[serde(default)]
    pub lacks: BTreeMap<Feature, String>,
    /// The only peers of the other kind that it can be put together with; empty: every one.
    #[serde(default)]
    pub only_with: Vec<String>,
    /// Promises it is known to break.
    #[serde(default)]
    pub gap: Vec<Gap>,
}

/// Cases that are known to fail with a peer. When one passes all the same, that is reported as an error, so that the list
/// stays true.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gap {
    /// What the peer does instead.
    pub reason: String,
    pub cases: Vec<String>,
    /// Only together with these peers of the other kind; empty: with every one.
    #[serde(default)]
    pub with: Vec<String>,
    /// They fail on some runs only.
    #[serde(default)]
    pub sometimes: bool,
}

/// What a peer may have or lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Feature {
    SharedSubscriptions,
    Tls,
    WebSocket,
    /// WebSocket over TLS.
    SecureWebSocket,
    /// A broker keeps sessions and retained messages when it is stopped and started.
    SurvivesRestart,
    /// A broker keeps what it acknowledged when it is killed.
    SurvivesCrash,
    /// A client goes on with its half-done messages on a new connection.
    Resume,
    /// A client tells that its connection has ended.
    SeesClose,
    /// A client tells session present.
    SessionPresent,
    /// A client sends what it is told and nothing else.
    Quiet,
}

impl Peers {
    /// The list of this crate.
    ///
    /// # Errors
    /// `peers.toml` is not as it should be.
    pub fn load() -> Checked<&'static Self> {
        static PEERS: OnceLock<Result<Peers, String>> = OnceLock::new();
        let parsed = PEERS.get_or_init(|| toml::from_str(include_str!("../../peers.toml")).map_err(|error| error.to_string()));
        parsed.as_ref().map_err(|error| Stop::failed(format!("peers.toml: {error}")))
    }

    /// # Errors
    /// No broker has this name; the text lists the names there are.
    pub fn broker(name: &str) -> Checked<&'static Peer> {
        find("broker", &Self::load()?.broker, name)
    }

    /// # Errors
    /// No client has this name; the text lists the names there are.
    pub fn client(name: &str) -> Checked<&'static Peer> {
        find("client", &Self::load()?.client, name)
    }
}

fn find(kind: &str, peers: &'static [Peer], name: &str) -> Checked<&'static Peer> {
    let names = || peers.iter().map(|peer| peer.name.as_str()).collect::<Vec<_>>().join(", ");
    peers.iter().find(|peer| peer.name == name).ok_or_else(|| Stop::failed(format!("no {kind} is called {name:?}; there are {}", names())))
}

impl Peer {
    /// # Errors
    /// [`Stop::Unsupported`] with the reason, if the peer lacks the feature.
    pub fn needs(&self, feature: Feature) -> Checked {
        match self.lacks.get(&feature) {
            Some(reason) => Err(Stop::unsupported(format!("{}: {reason}", self.name))),
            None => Ok(()),
        }
    }

    /// Whether there are cases of it with the peer `other`.
    pub fn goes_with(&self, other: &str) -> bool {
        self.only_with.is_empty() || self.only_with.iter().any(|name| name == other)
    }

    /// The known gap about `case` with the peer `other`.
    pub fn gap(&self, case: &str, other: &str) -> Option<&Gap> {
        self.gap
            .iter()
            .find(|gap| gap.cases.iter().any(|name| name == case) && (gap.with.is_empty() || gap.with.iter().any(|name| name == other)))
    }
}

/// Why a peer cannot take part at all.
#[derive(Debug, Clone)]
pub enum Unavailable {
    /// It is not installed; the text says what to do.
    Missing(String),
    /// It is there and does not start.
    Broken(Stop),
}

impl From<Stop> for Unavailable {
    fn from(stop: Stop) -> Self {
        Self::Broken(stop)
    }
}

impl From<std::io::Error> for Unavailable {
    fn from(error: std::io::Error) -> Self {
        Self::Broken(error.into())
    }
}

impl Unavailable {
    pub fn missing(what: impl std::fmt::Display) -> Self {
        Self::Missing(format!("{what} is not installed; run compat-tests/setup.sh, with --measured for what is measured"))
    }
}

/// A path under the folder where `setup.sh` puts peers: `$CANDOR_PEERS`, or `peers` in cargo's target folder.
///
/// # Errors
/// [`Unavailable::Missing`] when nothing is there.
pub fn installed(relative: &str) -> Result<PathBuf, Unavailable> {
    let path = peers_dir().join(relative);
    if path.exists() { Ok(path) } else { Err(Unavailable::missing(format!("{relative} (in the peers folder)"))) }
}

fn peers_dir() -> PathBuf {
    match (std::env::var_os("CANDOR_PEERS"), std::env::var_os("CARGO_TARGET_DIR")) {
        (Some(dir), _) => dir.into(),
        (None, Some(target)) => PathBuf::from(target).join("peers"),
        (None, None) => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/peers"),
    }
}

/// A program on the search path.
///
/// # Errors
/// [`Unavailable::Missing`] when there is none. Debian has some in `/usr/sbin`, which is not on everybody's path.
pub fn on_path(program: &str) -> Result<PathBuf, Unavailable> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    dirs.map(|dir| dir.join(program)).find(|file| file.is_file()).ok_or_else(|| Unavailable::missing(program))
}

/// A file of the `drivers` folder.
pub fn driver(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("drivers").join(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_peers_names_no_gap_of_an_unknown_peer_or_case() {
        let peers = Peers::load().unwrap();
        let known = |peers: &[Peer], name: &str| peers.iter().any(|peer| peer.name == *name);
        for (own, other, raw) in [(&peers.broker, &peers.client, crate::run::WIRE), (&peers.client, &peers.broker, crate::run::SCRIPT)] {
            assert!(own.iter().flat_map(|peer| &peer.only_with).all(|name| name == raw || known(other, name)));
            for gap in own.iter().flat_map(|peer| &peer.gap) {
                assert!(gap.with.iter().all(|name| name == raw || known(other, name)), "{:?}", gap.with);
                assert!(gap.cases.iter().all(|case| crate::run::case_names().any(|name| name == case)), "{:?}", gap.cases);
            }
        }
    }

    #[test]
    fn an_unknown_peer_is_refused_with_the_names_there_are() {
        let Err(Stop::Failed(why)) = Peers::broker("emqx") else { panic!("there is no such row") };
        assert!(why.contains("\"emqx\"") && why.contains("mosquitto"), "{why}");
    }
}
