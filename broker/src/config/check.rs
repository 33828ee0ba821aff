//! Whether values that are right by themselves fit together, and what `--check` prints.

use super::diagnostic::{Diagnostic, Diagnostics, Origin, nearest};
use super::file::Section;
use super::listener::{Anonymous, Identity, Listener, RefusedPublish, Tls, TlsMin, TlsOptions};
use super::machine;
use super::resolve::{Build, Candidate, Loaded};
use super::{Available, Namespace, duration, size};
use crate::transport::url::ListenUrl;
use candor_protocol::packet::TopicFilter;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::fmt::Write;
use std::path::Path;

/// Completes one listener, or reports why it cannot be served.
pub(super) fn listener(candidate: &Candidate, build: &mut Build) -> Option<Listener> {
    let mut found = Diagnostics::default();
    let url = candidate.url.clone();
    let tls = match url.scheme.is_tls() {
        true => tls(candidate, build, &mut found),
        false => {
            for own in candidate.own.iter().filter(|own| own.option.name.starts_with("tls_")) {
                let what = format!("{} has no effect: {}:// is not TLS", own.option.name, url.scheme.name());
                found.push(Diagnostic::warning(own.origin.clone(), what));
            }
            None
        }
    };
    admits(candidate, tls.as_ref(), build, &mut found);
    let good = !found.has_errors();
    build.found.extend(found);
    let policy = &candidate.policy;
    good.then_some(Listener {
        url,
        durability: policy.durability,
        anonymous: policy.anonymous,
        disclosure: policy.disclosure,
        extended: policy.extended,
        refused_publish_plain: policy.refused_publish_plain,
        tls,
    })
}

/// The TLS settings of a listener, complete, with its files looked into.
fn tls(candidate: &Candidate, build: &Build, found: &mut Diagnostics) -> Option<Tls> {
    let options = effective(candidate);
    let at = |name| candidate.origin_of(name, build);
    let identity = match (options.cert, options.key, options.development) {
        (Some(cert), Some(key), None) => {
            found.extend(pem(&cert, at("tls_cert"), "certificate"));
            found.extend(pem(&key, at("tls_key"), "private key"));
            Identity::Files { cert, key }
        }
        (None, None, Some(dir)) => Identity::Development { dir },
        (Some(_), None, None) => return tell(found, at("tls_cert"), "tls_cert without tls_key", "both, or neither"),
        (None, Some(_), None) => return tell(found, at("tls_key"), "tls_key without tls_cert", "both, or neither"),
        (None, None, None) => {
            let what = format!("{} has no certificate", candidate.url);
            return tell(found, candidate.origin.clone(), &what, "tls_cert and tls_key, or tls_development for trying out");
        }
        _ => {
            let what = "tls_development stands beside tls_cert or tls_key";
            return tell(found, at("tls_development"), what, "either tls_development or the two files");
        }
    };
    match &options.client_ca {
        Some(ca) => found.extend(pem(ca, at("tls_client_ca"), "certificate")),
        None if options.client_required => {
            let what = "client certificates are required, and no authority is named that they come from";
            return tell(found, at("tls_client_required"), what, "tls_client_required with tls_client_ca");
        }
        None => {}
    }
    Some(Tls { identity, min: options.min, client_ca: options.client_ca, client_required: options.client_required })
}

fn tell(found: &mut Diagnostics, origin: Origin, what: &str, allowed: &str) -> Option<Tls> {
    found.push(Diagnostic::error(origin, what).allowed(allowed));
    None
}

/// A section that names one kind of certificate does not inherit the other kind from the server.
fn effective(candidate: &Candidate) -> TlsOptions {
    let own = |name: &str| candidate.own.iter().any(|written| written.option.name == name);
    let mut options = candidate.policy.tls.clone();
    match (own("tls_development"), own("tls_cert") || own("tls_key")) {
        (true, false) => (options.cert, options.key) = (None, None),
        (false, true) => options.development = None,
        _ => {}
    }
    options
}

/// Looks whether a PEM file holds what it should; the certificate itself is judged when the listener starts.
fn pem(path: &Path, origin: Origin, kind: &str) -> Diagnostics {
    let result = match kind {
        "private key" => PrivateKeyDer::from_pem_file(path).map(drop),
        _ => CertificateDer::from_pem_file(path).map(drop),
    };
    let what = match result {
        Ok(()) => return Diagnostics::default(),
        Err(rustls::pki_types::pem::Error::Io(error)) => format!("{} cannot be read: {error}", path.display()),
        Err(rustls::pki_types::pem::Error::NoItemsFound) => format!("{} holds no {kind}", path.display()),
        Err(error) => format!("{} is not PEM: {error}", path.display()),
    };
    Diagnostic::error(origin, what).allowed(format!("a PEM file with a {kind}, not encrypted")).into()
}

/// Who can be admitted on a listener: nobody is an error, everybody is told.
fn admits(candidate: &Candidate, tls: Option<&Tls>, build: &Build, found: &mut Diagnostics) {
    let (url, anonymous) = (&candidate.url, candidate.policy.anonymous);
    let passwords = build.draft.config.access.password_file.is_some();
    let credentials = passwords || tls.is_some_and(|tls| tls.client_ca.is_some());
    let mut at = candidate.origin_of("anonymous", build);
    if at == Origin::Default {
        at = candidate.origin.clone();
    }
    match anonymous {
        Anonymous::Never if !credentials => {
            let what = format!("nobody can connect to {url}: anonymous clients never may, and there is no way to be known");
            found.push(
                Diagnostic::error(at, what)
                    .allowed("a password_file, a tls_client_ca on a TLS listener, or anonymous = \"loopback\" or \"always\""),
            );
        }
        Anonymous::Loopback if !credentials && !url.is_loopback() => {
            let what = format!("only clients of this machine can connect to {url}");
            found.push(Diagnostic::warning(at, what).help("name a password_file, or let everybody in with anonymous = \"always\""));
        }
        Anonymous::Always if !url.is_loopback() => {
            found.push(Diagnostic::warning(at, format!("everybody who reaches {url} is served without credentials")));
        }
        _ => {}
    }
    if passwords && !url.scheme.is_tls() && !url.is_loopback() {
        let what = format!("passwords cross the network in the clear to {url}");
        let scheme = if url.scheme.is_websocket() { "wss" } else { "mqtts" };
        found.push(Diagnostic::warning(candidate.origin.clone(), what).help(format!("{scheme}:// encrypts them")));
    }
}

/// What holds between the options of the server.
pub(super) fn server(build: &mut Build, candidates: &[Candidate], available: &Available<'_>) {
    let mut found = Diagnostics::default();
    addresses(build, candidates, &mut found);
    storage(build, candidates, available, &mut found);
    limits(build, candidates.len() as u64, &mut found);
    for (name, origin) in &build.draft.experiments {
        if !available.experiments.contains(&name.as_str()) {
            let allowed =
                if available.experiments.is_empty() { "this build has none".to_owned() } else { available.experiments.join(", ") };
            let diagnostic = Diagnostic::error(origin.clone(), format!("no experiment is called `{name}`")).allowed(allowed);
            found.push(match nearest(name, available.experiments.iter().copied()) {
                Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
                None => diagnostic,
            });
        }
    }
    build.found.extend(found);
}

fn addresses(build: &Build, candidates: &[Candidate], found: &mut Diagnostics) {
    if candidates.is_empty() && !build.found.has_errors() {
        found.push(Diagnostic::error(build.origin("listen"), "nothing is served: there is no listener").allowed("one listener or more"));
    }
    let place = |url: &ListenUrl| (url.host.clone(), url.port);
    for (n, candidate) in candidates.iter().enumerate() {
        let twin = candidates[..n].iter().find(|earlier| place(&earlier.url) == place(&candidate.url));
        if let (Some(twin), true) = (twin, candidate.url.port != 0) {
            let what = format!("{} and {} are at the same place", candidate.url, twin.url);
            found.push(
                Diagnostic::error(candidate.origin.clone(), what).allowed("a host and port for one listener, port 0 for any free one"),
            );
        }
    }
}

fn storage(build: &Build, candidates: &[Candidate], available: &Available<'_>, found: &mut Diagnostics) {
    let mut told: Vec<Origin> = Vec::new();
    for candidate in candidates.iter().filter(|candidate| !available.durabilities.contains(&candidate.policy.durability)) {
        let at = candidate.origin_of("durability", build);
        // What is set once for several listeners is wrong once, and what was refused was told.
        if told.contains(&at) || !build.accepted(&["durability"]) {
            continue;
        }
        let names: Vec<_> = available.durabilities.iter().map(|durability| durability.name()).collect();
        let what = format!("no engine of this build keeps what durability {} promises", candidate.policy.durability);
        found.push(Diagnostic::error(at.clone(), what).allowed(names.join(", ")));
        told.push(at);
    }
    let most = candidates.iter().map(|candidate| candidate.policy.durability).max();
    if let Some(most) = most.filter(|most| told.is_empty() && !most.outlives_process() && build.draft.config.storage.data_dir.is_some()) {
        let what = format!("data_dir has no effect: under durability {most} nothing is written to disk");
        found.push(Diagnostic::warning(build.origin("data_dir"), what));
    }
}

/// What is wrong with a namespace, and with how it fits to those before it.
pub(super) fn namespace(namespace: &Namespace, section: &Section<TopicFilter>, build: &Build) -> Diagnostics {
    let mut found = Diagnostics::default();
    let config = &build.draft.config;
    let at = |name: &str| section.written.iter().find(|written| written.option.name == name).map(|written| written.origin.clone());
    if config.namespaces.iter().any(|earlier| earlier.filter == namespace.filter) {
        let what = format!("the namespace {} has a section already, and the first that matches a topic counts", namespace.filter);
        found.push(Diagnostic::error(section.origin.clone(), what).allowed("one section for each filter"));
    }
    let packet = u64::from(config.limits.packet_size_max);
    if let (Some(bytes), Some(at)) = (namespace.queue_bytes_max, at("queue_bytes_max"))
        && bytes < packet
        && build.accepted(&["packet_size_max"])
    {
        let what = format!(
            "packet_size_max ({}) is more than queue_bytes_max ({}): a message would be taken that no queue can hold",
            size::format(packet),
            size::format(bytes)
        );
        found.push(Diagnostic::error(at, what).allowed("queue_bytes_max of at least packet_size_max"));
    }
    if let (None, None, Some(at)) = (namespace.queue_length_max, namespace.queue_bytes_max, at("overflow")) {
        let what = "overflow has no effect: this namespace has no queue_length_max and no queue_bytes_max".to_owned();
        found.push(Diagnostic::warning(at, what));
    }
    found
}

/// Pairs of limits of which one must not exceed the other.
fn limits(build: &Build, listeners: u64, found: &mut Diagnostics) {
    let config = &build.draft.config;
    let (limits, quarantine) = (&config.limits, &config.quarantine);
    let packet = u64::from(limits.packet_size_max);
    let seconds = |s: u32| if s == u32::MAX { duration::FOREVER.to_owned() } else { duration::format(u64::from(s)) };
    let mut at_most = |names: [&str; 2], fits: bool, values: [String; 2], why: &str| {
        if fits || !build.accepted(&names) {
            return;
        }
        let origin = names.iter().map(|name| build.origin(name)).find(|origin| *origin != Origin::Default).unwrap_or(Origin::Default);
        let what = format!("{} ({}) is more than {} ({}): {why}", names[0], values[0], names[1], values[1]);
        found.push(Diagnostic::error(origin, what).allowed(format!("{} of at most {}", names[0], names[1])));
    };
    let sizes = |a: u64, b: u64| [size::format(a), size::format(b)];
    at_most(
        ["packet_size_max", "queue_bytes_max"],
        packet <= limits.queue_bytes_max,
        sizes(packet, limits.queue_bytes_max),
        "a message would be taken that no queue can hold",
    );
    at_most(
        ["packet_size_max", "memory_limit"],
        packet <= limits.memory_limit,
        sizes(packet, limits.memory_limit),
        "a message would be taken that memory cannot hold",
    );
    let (plain, longest) = (config.plain.session_expiry_s, limits.session_expiry_max_s);
    at_most(
        ["session_expiry_plain_s", "session_expiry_max_s"],
        plain <= longest,
        [seconds(plain), seconds(longest)],
        "a plain session would be kept longer than any may be",
    );
    at_most(
        ["quarantine_first_s", "quarantine_max_s"],
        quarantine.first_s <= quarantine.max_s,
        [seconds(quarantine.first_s), seconds(quarantine.max_s)],
        "the first time would be longer than the longest",
    );
    let (admitted, pending) = (u64::from(limits.connections_max), u64::from(limits.connections_pending_max));
    let possible = machine::connections_possible(u64::from(config.threads), listeners);
    let names = ["connections_max", "connections_pending_max"];
    if admitted + pending > possible && build.accepted(&names) {
        let origin = names.iter().map(|name| build.origin(name)).find(|origin| *origin != Origin::Default).unwrap_or(Origin::Default);
        let what = format!(
            "connections_max ({admitted}) and connections_pending_max ({pending}) together need more open files than this process may have"
        );
        found.push(Diagnostic::error(origin, what).allowed(format!("at most {possible} together, or a higher `ulimit -n`")));
    }
}

/// What `--check` prints of a configuration that can be served: the listeners, and every option that somebody set.
pub fn report(loaded: &Loaded) -> String {
    let mut out = String::new();
    let word = |text: &dyn std::fmt::Debug| format!("{text:?}").to_lowercase();
    for listener in &loaded.config.listeners {
        let _ = write!(out, "listener {}", listener.url);
        let _ = write!(out, "  durability {}, anonymous {}", listener.durability, word(&listener.anonymous));
        let _ = write!(out, ", extended {}, disclosure {}", word(&listener.extended), word(&listener.disclosure));
        if listener.refused_publish_plain == RefusedPublish::AcknowledgeAndDrop {
            let _ = write!(out, ", a refused PUBLISH of a plain client acknowledged and dropped");
        }
        if let Some(tls) = &listener.tls {
            let identity = match &tls.identity {
                Identity::Files { cert, .. } => cert.display().to_string(),
                Identity::Development { dir } => format!("a development certificate in {}", dir.display()),
            };
            let clients = match (&tls.client_ca, tls.client_required) {
                (None, _) => "",
                (Some(_), false) => ", client certificates taken",
                (Some(_), true) => ", client certificates required",
            };
            let min = if tls.min == TlsMin::V1_2 { "1.2 and 1.3" } else { "1.3" };
            let _ = write!(out, ", TLS {min} with {identity}{clients}");
        }
        out.push('\n');
    }
    for namespace in &loaded.config.namespaces {
        let seconds = |s: u32| if s == u32::MAX { duration::FOREVER.to_owned() } else { duration::format(u64::from(s)) };
        let mut limits = Vec::new();
        limits.extend(namespace.queue_length_max.map(|len| format!("queue_length_max {len}")));
        limits.extend(namespace.queue_bytes_max.map(|bytes| format!("queue_bytes_max {}", size::format(bytes))));
        if !limits.is_empty() {
            limits.push(format!("overflow {}", namespace.overflow));
        }
        limits.extend(namespace.message_expiry_max_s.map(|s| format!("message_expiry_max_s {}", seconds(s))));
        let limits = if limits.is_empty() { "no limits of its own".to_owned() } else { limits.join(", ") };
        let _ = writeln!(out, "namespace {}  {limits}", namespace.filter);
    }
    for setting in loaded.settings.iter().filter(|setting| !setting.is_default() && !setting.is_command()) {
        let _ = writeln!(out, "{} = {}  ({})", setting.option.name, setting.text, setting.origin);
    }
    out
}
