//! From a configuration to a broker that can be started: the one place where options become the plain values of the parts.

use crate::broker::{ListenerSetup, Setup};
use crate::config::listener::{self, Identity, Listener, RefusedPublish, TlsMin};
use crate::config::{self, Config, EphemeralSession};
use crate::experiment;
use crate::feedback::{QuarantineLimits, RateLimits};
use crate::queue::{Namespace, Namespaces, QueueLimits};
use crate::shard::{
    Authenticate, DeadLetterSettings, ListenerSettings, PendingLimits, ReportSettings, Settings, StampSettings, Storage, SysSettings,
    VerificationLimits,
};
use crate::store::DataDir;
use crate::transport::bind::BindOptions;
use crate::transport::development;
use crate::transport::tls::{TlsOptions, TlsSettings, TlsVersion};
use crate::transport::url::Host;
use candor_protocol::codec::dictionary::Limits;
use candor_protocol::packet::{Durability, Overflow, Profile};
use candor_protocol::session::{Extended, ServerPolicy};
use std::sync::Arc;
use std::time::SystemTime;

/// Why a configuration that is well formed cannot be served; the text names what, where and what to do.
#[derive(Debug)]
pub struct StartError(pub String);

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StartError {}

/// The durabilities that an engine of this build proves.
pub const DURABILITIES: &[Durability] = &[Durability::None, Durability::Memory, Durability::Disk];

/// What the parts are put together for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    Serve,
    /// To see whether it could be served: nothing is written.
    Check,
}

/// Puts the parts together. Nothing is bound or started yet; certificates are read, or made where it is to be served.
///
/// # Errors
/// A certificate cannot be read or made, or an experiment is not known.
pub fn setup(config: &Config, authenticate: &dyn Fn(&Listener) -> Arc<dyn Authenticate>, purpose: Purpose) -> Result<Setup, StartError> {
    let (registry, experiments) = experiment::switched_on(&config.experiments).map_err(StartError)?;
    let mut listeners = Vec::new();
    for listener in &config.listeners {
        let policy = policy(config, listener, registry.clone());
        let settings = ListenerSettings {
            name: listener.url.to_string(),
            policy: Arc::new(policy),
            acknowledges_refused: listener.refused_publish_plain == RefusedPublish::AcknowledgeAndDrop,
            authenticate: authenticate(listener),
        };
        let bind = BindOptions { send_buffer_bytes: config.send_buffer.map(|bytes| bytes as usize), ..BindOptions::default() };
        listeners.push(ListenerSetup { url: listener.url.clone(), settings: Arc::new(settings), tls: tls(listener, purpose)?, bind });
    }
    Ok(Setup { listeners, settings: settings(config, experiments) })
}

fn settings(config: &Config, experiments: experiment::QueueExtensions) -> Settings {
    let limits = &config.limits;
    Settings {
        shards: config.threads.clamp(1, u32::from(u16::MAX)) as u16,
        storage: storage(config),
        queue: QueueLimits {
            len_max: limits.queue_length_max as usize,
            bytes_max: usize::try_from(limits.queue_bytes_max).unwrap_or(usize::MAX),
            overflow: limits.overflow,
        },
        namespaces: namespaces(config),
        redelivery_limit: limits.redelivery_limit,
        stamps: StampSettings { node: config.node.as_str().into(), namespaces: config.stamps.clone() },
        reports: ReportSettings {
            namespaces: config.reports.clone(),
            wait_ms: 1000 * u64::from(config.report_wait_s),
            ..ReportSettings::default()
        },
        dead_letters: DeadLetterSettings {
            namespaces: config.dead_letters.namespaces.clone(),
            len_max: config.dead_letters.len_max as usize,
            bytes_max: usize::try_from(config.dead_letters.bytes_max).unwrap_or(usize::MAX),
            keeps_text: config.dead_letters.text,
        },
        subscriptions_max: limits.subscriptions_max as usize,
        retained_max: limits.retained_max as usize,
        retained_bytes_max: usize::try_from(limits.retained_bytes_max).unwrap_or(usize::MAX),
        message_expiry_max_s: limits.message_expiry_max_s,
        memory_limit: usize::try_from(limits.memory_limit).unwrap_or(usize::MAX),
        connections_max: limits.connections_max as usize,
        pending: PendingLimits { max: limits.connections_pending_max as usize, ..PendingLimits::default() },
        // A core is never taken from the connections as a whole.
        verifications: VerificationLimits { running_max: config.threads.max(1) as usize, ..VerificationLimits::default() },
        sys: (config.sys_interval_s > 0).then(|| SysSettings {
            interval_ms: 1000 * u64::from(config.sys_interval_s),
            retain: config.durability() > Durability::None && limits.retained_max > 0,
        }),
        rate: RateLimits { messages: limits.publish_messages_per_s_max, bytes: limits.publish_bytes_per_s_max },
        quarantine: QuarantineLimits {
            refusals: config.quarantine.refusals,
            window_ms: 1000 * u64::from(config.quarantine.window_s),
            first_ms: 1000 * u64::from(config.quarantine.first_s),
            max_ms: 1000 * u64::from(config.quarantine.max_s),
        },
        experiments,
        ..Settings::default()
    }
}

/// What holds for the messages of each namespace; what is not said is no limit.
fn namespaces(config: &Config) -> Namespaces {
    let namespace = |namespace: &config::Namespace| Namespace {
        filter: namespace.filter.clone(),
        queue: QueueLimits {
            len_max: namespace.queue_length_max.map_or(usize::MAX, |len| len as usize),
            bytes_max: namespace.queue_bytes_max.map_or(usize::MAX, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX)),
            // What has no limit here does not reach one.
            overflow: match (namespace.queue_length_max, namespace.queue_bytes_max) {
                (None, None) => Overflow::default(),
                _ => namespace.overflow,
            },
        },
        message_expiry_max_s: namespace.message_expiry_max_s.unwrap_or(u32::MAX),
    };
    Namespaces::new(config.namespaces.iter().map(namespace).collect())
}

/// Where everything is kept on disk if nothing else is said: below the folder that the process began in.
const DATA_DIR: &str = "candor-data";

/// What keeps what the configuration promises, whatever the listener that promises most.
fn storage(config: &Config) -> Storage {
    if !config.durability().outlives_process() {
        return Storage::Memory;
    }
    let path = config.storage.data_dir.clone().unwrap_or_else(|| DATA_DIR.into());
    Storage::Engine(Arc::new(DataDir { path, salvage: config.storage.salvage }))
}

/// What a listener grants. One that promises nothing declares no QoS 2, no retained messages and no stored sessions.
fn policy(config: &Config, listener: &Listener, registry: candor_protocol::extension::Registry) -> ServerPolicy {
    let limits = &config.limits;
    let durability = listener.durability;
    let keeps = durability > Durability::None;
    let profile = Profile {
        durability,
        session_durability: durability,
        qos_max: if keeps { 2 } else { 1 },
        retain: keeps,
        session_expiry_s_max: if keeps { limits.session_expiry_max_s } else { 0 },
        message_expiry_s_max: limits.message_expiry_max_s,
        queue_len_max: limits.queue_length_max,
        queue_bytes_max: limits.queue_bytes_max,
        overflow: limits.overflow,
        ..Profile::default()
    };
    let accepts_ephemeral = !keeps && config.plain.ephemeral_session == EphemeralSession::Accept;
    ServerPolicy {
        profile,
        extended: match listener.extended {
            listener::Extended::On => Extended::On,
            listener::Extended::Off => Extended::Off,
            listener::Extended::Required => Extended::Required,
        },
        node: config.node.clone(),
        receive_window: limits.receive_maximum,
        send_window: limits.send_window,
        packet_size_max: limits.packet_size_max,
        keep_alive_max_s: limits.keep_alive_max_s,
        session_expiry_plain_s: if accepts_ephemeral { 0 } else { config.plain.session_expiry_s },
        connect_timeout_ms: 1000 * u64::from(limits.connect_timeout_s),
        disclosure: listener.disclosure,
        limits: Limits::default(),
        registry,
    }
}

fn tls(listener: &Listener, purpose: Purpose) -> Result<Option<Arc<TlsSettings>>, StartError> {
    let Some(tls) = &listener.tls else { return Ok(None) };
    let failed = |error: &dyn std::fmt::Display| StartError(format!("listener {}: {error}", listener.url));
    let mut options = match &tls.identity {
        Identity::Files { cert, key } => TlsOptions {
            certificate: cert.clone(),
            key: key.clone(),
            client_ca: None,
            client_certificate_required: false,
            tls_min: TlsVersion::default(),
        },
        Identity::Development { dir } => {
            // A certificate names an IPv6 address without the brackets that a URL needs.
            let names = [match &listener.url.host {
                Host::V6(address) => address.to_string(),
                host => host.to_string(),
            }];
            let now = SystemTime::now();
            match purpose {
                Purpose::Serve => {
                    let made = development::prepare(dir, &names, now).map_err(|error| failed(&error))?;
                    tracing::warn!("{made}");
                    made.options()
                }
                Purpose::Check => match development::find(dir, &names, now).map_err(|error| failed(&error))? {
                    Some(found) => found.options(),
                    // It would be made, and there is nothing to be looked at.
                    None => return Ok(None),
                },
            }
        }
    };
    options.client_ca.clone_from(&tls.client_ca);
    options.client_certificate_required = tls.client_required;
    options.tls_min = match tls.min {
        TlsMin::V1_2 => TlsVersion::V1_2,
        TlsMin::V1_3 => TlsVersion::V1_3,
    };
    Ok(Some(Arc::new(TlsSettings::load(options).map_err(|error| failed(&error))?)))
}
