//! How each broker is started: one [`Recipe`] a broker, in the table at the end of this page's first half.

use super::fault::{self, Fault};
use super::identity::Files;
use super::{Unavailable, driver, installed, on_path};
use crate::outcome::{Checked, Stop};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// What carries the byte stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    Tcp,
    Tls,
    WebSocket,
    /// WebSocket over TLS.
    SecureWebSocket,
}

impl Transport {
    pub const ALL: [Transport; 4] = [Self::Tcp, Self::Tls, Self::WebSocket, Self::SecureWebSocket];

    /// The scheme of its URLs.
    pub const fn scheme(self) -> &'static str {
        match self {
            Self::Tcp => "mqtt",
            Self::Tls => "mqtts",
            Self::WebSocket => "ws",
            Self::SecureWebSocket => "wss",
        }
    }

    pub fn of_scheme(scheme: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|transport| transport.scheme() == scheme)
    }

    pub const fn is_tls(self) -> bool {
        matches!(self, Self::Tls | Self::SecureWebSocket)
    }

    pub const fn is_websocket(self) -> bool {
        matches!(self, Self::WebSocket | Self::SecureWebSocket)
    }
}

/// Where one broker runs.
#[derive(Debug)]
pub struct Site<'a> {
    /// A folder of its own, empty at the first start and kept over restarts.
    pub dir: &'a Path,
    pub tls: &'a Files,
    /// The ports to listen on, on 127.0.0.1.
    pub ports: &'a BTreeMap<Transport, u16>,
}

/// How a broker tells that it is ready.
#[derive(Debug, Clone, Copy)]
pub enum Ready {
    /// This text has come so many times in its output.
    Line(&'static str, usize),
    /// It has printed `listening URL` for every transport.
    Listening,
}

#[derive(Debug)]
pub struct Recipe {
    pub name: &'static str,
    pub transports: &'static [Transport],
    pub ready: Ready,
    /// Whether cases may share one: not where one case's doings show up in another's.
    pub shared: bool,
    /// What it does to any case by chance.
    pub fault: Option<Fault>,
    /// The command, after its configuration was written into the site's folder.
    pub command: fn(&Site<'_>) -> Result<Command, Unavailable>,
}

use Transport::{Tcp, Tls, WebSocket};

/// Every broker there is a recipe for.
pub const RECIPES: &[Recipe] = &[
    Recipe { name: "candor", transports: &Transport::ALL, ready: Ready::Listening, shared: true, fault: None, command: candor },
    Recipe {
        name: "mosquitto",
        transports: &Transport::ALL,
        ready: Ready::Line(" running", 1),
        shared: true,
        fault: None,
        command: mosquitto,
    },
    Recipe {
        name: "rumqttd",
        transports: &[Tcp, Tls, WebSocket],
        ready: Ready::Line("Listening for remote connections", 3),
        shared: true,
        fault: Some(fault::RUMQTTD),
        command: rumqttd,
    },
    Recipe {
        name: "nats",
        transports: &[Tcp, WebSocket],
        ready: Ready::Line("Server is ready", 1),
        shared: true,
        fault: None,
        command: nats,
    },
    Recipe { name: "aedes", transports: &Transport::ALL, ready: Ready::Listening, shared: true, fault: None, command: aedes },
    // It gives the retained messages of other topics to every new subscriber.
    Recipe { name: "amqtt", transports: &Transport::ALL, ready: Ready::Line("ready", 1), shared: false, fault: None, command: amqtt },
];

/// # Errors
/// There is none of this name.
pub fn recipe(name: &str) -> Checked<&'static Recipe> {
    RECIPES.iter().find(|recipe| recipe.name == name).ok_or_else(|| Stop::failed(format!("there is no recipe for the broker {name:?}")))
}

/// Our own, built by cargo so that it is never an old one; `$CANDOR_BROKER` names another binary.
fn candor(site: &Site<'_>) -> Result<Command, Unavailable> {
    let mut command = Command::new(candor_broker()?);
    for (transport, port) in site.ports {
        command.arg("--listen").arg(format!("{}://127.0.0.1:{port}", transport.scheme()));
    }
    command.arg("--tls-cert").arg(&site.tls.certificate).arg("--tls-key").arg(&site.tls.key);
    command.arg("--data-dir").arg(site.dir.join("data"));
    // Cases provoke the same refusal as often as they need it.
    command.args(["--quarantine-refusals", "0"]);
    Ok(command)
}

fn mosquitto(site: &Site<'_>) -> Result<Command, Unavailable> {
    // It gives up root for its own user, who may not read the folder; as another user the line is without effect.
    let mut config = format!(
        "user root\nallow_anonymous true\nlog_dest stderr\nlog_type all\nset_tcp_nodelay true\nmax_queued_messages 0\n\
         max_inflight_messages 0\npersistence true\nautosave_interval 0\npersistence_location {}/\n",
        site.dir.display()
    );
    for (transport, port) in site.ports {
        let _ = writeln!(config, "listener {port} 127.0.0.1");
        if transport.is_websocket() {
            config.push_str("protocol websockets\n");
        }
        if transport.is_tls() {
            let _ = writeln!(config, "certfile {}\nkeyfile {}", site.tls.certificate.display(), site.tls.key.display());
        }
    }
    let mut command = Command::new(on_path("mosquitto")?);
    command.arg("-c").arg(configured(site, "mosquitto.conf", &config)?);
    Ok(command)
}

fn rumqttd(site: &Site<'_>) -> Result<Command, Unavailable> {
    let mut config = "id = 0\n[router]\nid = 0\nmax_connections = 1000\nmax_outgoing_packet_count = 200\n\
                      max_segment_size = 104857600\nmax_segment_count = 10\n"
        .to_owned();
    for (at, (transport, port)) in site.ports.iter().enumerate() {
        let table = if transport.is_websocket() { format!("ws.{at}") } else { format!("v4.{at}") };
        let _ = writeln!(config, "[{table}]\nname = \"listener-{at}\"\nlisten = \"127.0.0.1:{port}\"\nnext_connection_delay_ms = 0");
        if transport.is_tls() {
            let (certificate, key) = (site.tls.certificate.display(), site.tls.key.display());
            let _ = writeln!(config, "[{table}.tls]\ncertpath = \"{certificate}\"\nkeypath = \"{key}\"");
        }
        let _ = writeln!(
            config,
            "[{table}.connections]\nconnection_timeout_ms = 60000\nmax_payload_size = 8388608\nmax_inflight_count = 1000\n\
             dynamic_filters = true"
        );
    }
    let mut command = Command::new(installed("rumqttd/bin/rumqttd")?);
    command.args(["-v", "--quiet", "--config"]).arg(configured(site, "rumqttd.toml", &config)?).env("NO_COLOR", "1");
    Ok(command)
}

fn nats(site: &Site<'_>) -> Result<Command, Unavailable> {
    let port = |transport| site.ports.get(&transport).copied().unwrap_or_default();
    // Its own clients get a port that it chooses (-1); MQTT needs a server name and JetStream. What is open it sends again
    // when `ack_wait` has passed, rather than when the client comes back.
    let config = format!(
        "server_name: compat\nlisten: \"127.0.0.1:-1\"\nmax_payload: 8MB\n\
         jetstream {{ store_dir: {:?}, max_memory_store: 256MB, max_file_store: 1GB }}\n\
         mqtt {{ host: \"127.0.0.1\", port: {}, ack_wait: \"3s\" }}\nwebsocket {{ host: \"127.0.0.1\", port: {}, no_tls: true }}\n",
        site.dir.join("jetstream"),
        port(Tcp),
        port(WebSocket)
    );
    let mut command = Command::new(installed("python/bin/nats-server")?);
    command.arg("-c").arg(configured(site, "nats.conf", &config)?);
    Ok(command)
}

fn aedes(site: &Site<'_>) -> Result<Command, Unavailable> {
    let mut command = Command::new(on_path("node")?);
    installed("npm/node_modules/aedes")?;
    command.arg(driver("aedes.mjs")).env("PEERS_NPM", installed("npm")?);
    listeners(&mut command, site);
    Ok(command)
}

fn amqtt(site: &Site<'_>) -> Result<Command, Unavailable> {
    let mut command = Command::new(installed("python/bin/python")?);
    installed("python/bin/amqtt")?;
    command.arg(driver("amqtt_broker.py"));
    listeners(&mut command, site);
    Ok(command)
}

/// The arguments of our own scripts: certificate, key, then a URL for each listener.
fn listeners(command: &mut Command, site: &Site<'_>) {
    command.arg(&site.tls.certificate).arg(&site.tls.key);
    command.args(site.ports.iter().map(|(transport, port)| format!("{}://127.0.0.1:{port}", transport.scheme())));
}

fn configured(site: &Site<'_>, name: &str, text: &str) -> Result<PathBuf, Unavailable> {
    let file = site.dir.join(name);
    std::fs::write(&file, text)?;
    Ok(file)
}

/// The path of `candor-broker`: built once in each run of this program.
pub fn candor_broker() -> Result<PathBuf, Unavailable> {
    static BUILT: OnceLock<Result<PathBuf, Unavailable>> = OnceLock::new();
    if let Some(given) = std::env::var_os("CANDOR_BROKER") {
        return Ok(given.into());
    }
    BUILT.get_or_init(|| build("candor-broker", "candor-broker")).clone()
}

/// Builds a binary of this workspace for tests and says where it is.
///
/// # Errors
/// As [`built`].
pub fn build(package: &str, binary: &str) -> Result<PathBuf, Unavailable> {
    built(package, binary, "dev")
}

/// Builds a binary of this workspace with a profile of cargo's and says where it is.
///
/// # Errors
/// Missing if the package has no such binary or there is no cargo; broken if it does not compile.
pub fn built(package: &str, binary: &str, profile: &str) -> Result<PathBuf, Unavailable> {
    let cargo = std::env::var_os("CARGO").map(PathBuf::from).map_or_else(|| on_path("cargo"), Ok)?;
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--message-format=json", "--package", package, "--bin", binary, "--profile", profile]);
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = command.output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    if errors.contains("no bin target named") {
        return Err(Unavailable::Missing(format!("{package} has no binary {binary}")));
    }
    if !output.status.success() {
        return Err(Stop::failed(format!("cargo build --bin {binary} fails: {errors}")).into());
    }
    let messages = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut artifacts = messages.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let executable = artifacts.find_map(|artifact| match artifact["target"]["name"] == binary {
        true => artifact["executable"].as_str().map(PathBuf::from),
        false => None,
    });
    executable.ok_or_else(|| Stop::failed(format!("cargo build --bin {binary} names no executable")).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::Peers;

    #[test]
    fn every_broker_in_the_list_has_a_recipe_and_the_other_way_round() {
        let mut listed: Vec<&str> = Peers::load().unwrap().broker.iter().map(|peer| peer.name.as_str()).collect();
        let mut written: Vec<&str> = RECIPES.iter().map(|recipe| recipe.name).collect();
        listed.sort_unstable();
        written.sort_unstable();
        assert_eq!(listed, written);
    }

    #[test]
    fn a_binary_that_the_workspace_does_not_have_is_missing_not_broken() {
        assert!(matches!(build("candor-compat", "no-such-binary"), Err(Unavailable::Missing(_))));
    }
}
