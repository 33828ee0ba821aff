//! What a server grants: the plain values that a listener's configuration comes down to, and how a client's wishes are
//! held against them.

use super::held::Mark;
use crate::codec::dictionary::{Dictionary, Limits, MapBuilder};
use crate::dialect::terms::PACKET_SIZE_MAX;
use crate::dialect::{Dialect, Terms};
use crate::extension::Registry;
use crate::packet::connect::Connect;
use crate::packet::legality::Role;
use crate::packet::property;
use crate::packet::{Disclosure, Durability, Problem, Profile, Reason, Refusal, Requirement, Retry};
use bytes::Bytes;
use std::sync::Arc;

/// Whether a listener speaks the extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Extended {
    Off,
    #[default]
    On,
    /// A plain CONNECT is refused.
    Required,
}

/// What a server grants to those who connect at one listener.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServerPolicy {
    pub profile: Profile,
    pub extended: Extended,
    /// The name of this server.
    pub node: String,
    /// How many messages above QoS 0 are taken at once from one client, at least 1.
    pub receive_window: u16,
    /// How many messages above QoS 0 are sent at once to a client that does not say, at least 1.
    pub send_window: u16,
    /// The most bytes of one packet.
    pub packet_size_max: u32,
    /// The longest keep alive interval in seconds; 0: any, and none.
    pub keep_alive_max_s: u16,
    /// Seconds that a session of a plain client with CleanSession 0 outlives its connection.
    pub session_expiry_plain_s: u32,
    /// Milliseconds from accepting a connection to a complete CONNECT.
    pub connect_timeout_ms: u64,
    /// How much of a refusal that a session makes by itself is told to the client.
    pub disclosure: Disclosure,
    pub limits: Limits,
    pub registry: Registry,
}

impl Default for ServerPolicy {
    fn default() -> Self {
        Self {
            profile: Profile::default(),
            extended: Extended::On,
            node: String::new(),
            receive_window: 1000,
            send_window: 100,
            packet_size_max: PACKET_SIZE_MAX,
            keep_alive_max_s: 0,
            session_expiry_plain_s: 7 * 24 * 3600,
            connect_timeout_ms: 10_000,
            disclosure: Disclosure::Full,
            limits: Limits::default(),
            registry: Registry::default(),
        }
    }
}

/// What became of the session that a client asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum SessionState {
    Resumed = 0,
    /// It never existed, or ended as the client had asked.
    #[default]
    New = 1,
    Expired = 2,
    /// It was ended at a limit of the server.
    Evicted = 3,
    /// It was lost with a restart of the server.
    LostWithRestart = 4,
}

impl SessionState {
    pub fn of_number(number: u64) -> Option<Self> {
        [Self::Resumed, Self::New, Self::Expired, Self::Evicted, Self::LostWithRestart].into_iter().find(|state| *state as u64 == number)
    }
}

/// What the owner decides about a CONNECT that it accepts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Acceptance {
    pub state: SessionState,
    /// What names this life of the session.
    pub incarnation: Option<[u8; 8]>,
    /// How the names of all lives begin that were begun since the server keeps what it has: of a session that is [`SessionState::New`] here,
    /// a client that names a life with another beginning is told that it was lost with a restart. `None`: that is never told.
    pub kept_since: Option<[u8; 4]>,
    /// What was never drawn before: it names the count of messages that begins where what both ends hold cannot be compared. `None`:
    /// nothing is counted, and every resumption follows MQTT 3.1.1.
    pub count_mark: Option<Mark>,
    /// The identifier that was chosen for a client that sent none.
    pub assigned_client_id: Option<Arc<str>>,
    /// The server's clock: milliseconds since 1970.
    pub server_time_ms: u64,
}

impl Acceptance {
    /// What a client is told of its session that said this in CONNECT or its offer.
    fn state_for(&self, wishes: &Dictionary) -> SessionState {
        match (wishes.value(property::SESSION_INCARNATION), self.kept_since) {
            (Some(life), Some(since)) if self.state == SessionState::New && !life.starts_with(&since) => SessionState::LostWithRestart,
            _ => self.state,
        }
    }
}

impl ServerPolicy {
    /// Holds a CONNECT against the policy, before anybody is asked who the client is.
    pub(super) fn check(&self, connect: &Connect) -> Result<(), Refusal> {
        match (self.extended, connect.dialect.is_extended()) {
            (Extended::Off, true) => {
                let problem = Problem::titled("this listener serves plain MQTT only");
                return Err(Refusal::new(Reason::UNSUPPORTED_PROTOCOL_VERSION, problem.retry(Retry::Changed)));
            }
            (Extended::Required, false) => {
                let problem = Problem::titled("this listener serves extended connections only");
                return Err(Refusal::new(Reason::EXTENSION_REQUIRED, problem.retry(Retry::Never)));
            }
            _ => {}
        }
        // [MQTT-3.1.3-8]; MQTT 3.1 demands an identifier always.
        if connect.client_id.is_empty() && (!connect.clean_session || connect.dialect == Dialect::V31) {
            let problem = Problem::titled("a stored session needs a client identifier").field("client identifier");
            return Err(Refusal::new(Reason::CLIENT_IDENTIFIER_NOT_VALID, problem.retry(Retry::Never)));
        }
        if let Some(will) = &connect.will {
            let refuse = |reason, title: &str| Err(Refusal::new(reason, Problem::titled(title).field("will").retry(Retry::Never)));
            if !self.profile.will {
                return refuse(Reason::PROFILE_NOT_AVAILABLE, "this server publishes no wills");
            }
            if will.retain && !self.profile.retain {
                return refuse(Reason::RETAIN_NOT_SUPPORTED, "this server keeps no retained messages");
            }
            if will.qos as u8 > self.profile.qos_max {
                return refuse(Reason::QOS_NOT_SUPPORTED, "this server does not serve the QoS of the will");
            }
        }
        // What a session survives is its own, and which one the client gets is not known yet: see `Session::check_session`.
        let profile = if connect.clean_session { self.profile.clone() } else { self.profile.clone().with_any_session() };
        check_requirement(&connect.dictionary, &profile)
    }

    /// What is granted to a client that carries on a session which another policy has granted: what the session survives, and for how
    /// long, stays its own. `expiry_s`: how long it outlives its connection as was agreed last.
    #[must_use]
    pub fn carrying_on(&self, durability: Durability, expiry_s: u32) -> Self {
        let mut policy = self.clone();
        policy.profile.session_durability = durability;
        policy.profile.session_expiry_s_max = policy.profile.session_expiry_s_max.max(expiry_s);
        if policy.session_expiry_plain_s == 0 {
            policy.session_expiry_plain_s = expiry_s;
        }
        policy
    }

    /// The agreement with a client that said this, at either door.
    pub(super) fn terms(&self, dialect: Dialect, connect: &Connect, wishes: &Dictionary) -> Terms {
        let keep_alive_s = connect.keep_alive_s;
        let keep_alive_s = match (self.keep_alive_max_s, keep_alive_s) {
            (0, wish) => wish,
            (_, wish) if !dialect.is_extended() => wish,
            (max, 0) => max,
            (max, wish) => wish.min(max),
        };
        // In a plain CONNECT, CleanSession decides the end of the session too; in an extended one the key alone does.
        let expiry_unsaid_s = if connect.clean_session || connect.dialect.is_extended() { 0 } else { self.session_expiry_plain_s };
        let expiry_s = wishes.value(property::SESSION_EXPIRY_INTERVAL).map_or(expiry_unsaid_s, clamp_32);
        let mut terms = Terms::plain(dialect, keep_alive_s, expiry_s.min(self.profile.session_expiry_s_max));
        let window = wishes.value(property::RECEIVE_MAXIMUM).map(|n| n.clamp(1, u64::from(u16::MAX)) as u16);
        terms.send_window = window.map_or(self.send_window, |window| window.min(self.send_window)).max(1);
        terms.receive_window = self.receive_window.max(1);
        terms.send_size_max = wishes.value(property::MAXIMUM_PACKET_SIZE).map_or(PACKET_SIZE_MAX, clamp_32).min(PACKET_SIZE_MAX);
        terms.receive_size_max = self.packet_size_max;
        terms.profile = self.profile.clone();
        if dialect.is_extended() {
            terms.acks_in_order = false;
            let names = wishes.value(property::EXTENSIONS).unwrap_or_default();
            terms.experiments = self.registry.common(&names);
            for extension in self.registry.in_force(terms.experiments) {
                extension.terms(Role::Server, &mut terms);
            }
        }
        terms
    }

    /// What an extended CONNACK, or an accept, says to a client that said `wishes`.
    pub(super) fn connack(&self, terms: &Terms, keep_alive_wish_s: u16, acceptance: &Acceptance, wishes: &Dictionary) -> Dictionary {
        let mut map = MapBuilder::new();
        map.set(property::PROFILE, &terms.profile.to_dictionary());
        map.set(property::SESSION_EXPIRY_INTERVAL, &u64::from(terms.session_expiry_s));
        map.set(property::RECEIVE_MAXIMUM, &u64::from(terms.receive_window));
        map.set(property::MAXIMUM_PACKET_SIZE, &u64::from(terms.receive_size_max));
        map.set(property::SESSION_STATE, &(acceptance.state_for(wishes) as u64));
        if let Some(incarnation) = &acceptance.incarnation {
            map.set(property::SESSION_INCARNATION, &Bytes::copy_from_slice(incarnation));
        }
        if let Some(client_id) = &acceptance.assigned_client_id {
            map.set(property::ASSIGNED_CLIENT_IDENTIFIER, &client_id.to_string());
        }
        if terms.keep_alive_s != keep_alive_wish_s {
            map.set(property::SERVER_KEEP_ALIVE, &u64::from(terms.keep_alive_s));
        }
        if !self.node.is_empty() {
            map.set(property::NODE, &self.node);
        }
        if acceptance.server_time_ms != 0 {
            map.set(property::SERVER_TIME, &acceptance.server_time_ms);
        }
        if terms.experiments != 0 {
            let names: Vec<String> = self.registry.in_force(terms.experiments).map(|extension| extension.name().to_owned()).collect();
            map.set(property::EXTENSIONS, &names);
        }
        map.finish()
    }
}

/// Holds what a client requires under the key `require`, if it does, against a profile.
///
/// # Errors
/// The clause that fails, or that is not understood.
pub fn check_requirement(dictionary: &Dictionary, profile: &Profile) -> Result<(), Refusal> {
    let Some(map) = dictionary.value(property::REQUIRE) else { return Ok(()) };
    let requirement = Requirement::of_dictionary(&map).map_err(|clause| {
        let problem = Problem::titled("a clause that is required is not known").field(format!("require: {clause}"));
        Refusal::new(Reason::PROFILE_NOT_AVAILABLE, problem.retry(Retry::Never))
    })?;
    match requirement.failing(profile) {
        None => Ok(()),
        Some(failed) => {
            let problem = Problem::titled("the server cannot keep what is required")
                .field(format!("require: {}", failed.name))
                .detail(format!("required {}, available {}", failed.required, failed.available))
                .retry(Retry::Changed);
            Err(Refusal::new(Reason::PROFILE_NOT_AVAILABLE, problem))
        }
    }
}

/// The agreement that a client reads from CONNACK, or from an accept.
pub(super) fn terms_of_connack(
    dialect: Dialect,
    connect: &Connect,
    registry: &Registry,
    receive_window: u16,
    size_max: u32,
    answer: &Dictionary,
) -> Terms {
    let plain_expiry_s = if connect.clean_session { 0 } else { u32::MAX };
    let mut terms = Terms::plain(dialect, connect.keep_alive_s, plain_expiry_s);
    terms.receive_window = receive_window.max(1);
    terms.receive_size_max = size_max;
    if !dialect.is_extended() {
        return terms;
    }
    terms.acks_in_order = false;
    if let Some(seconds) = answer.value(property::SESSION_EXPIRY_INTERVAL) {
        terms.session_expiry_s = clamp_32(seconds);
    }
    if let Some(seconds) = answer.value(property::SERVER_KEEP_ALIVE) {
        terms.keep_alive_s = seconds.min(u64::from(u16::MAX)) as u16;
    }
    if let Some(window) = answer.value(property::RECEIVE_MAXIMUM) {
        terms.send_window = window.clamp(1, u64::from(u16::MAX)) as u16;
    }
    if let Some(size) = answer.value(property::MAXIMUM_PACKET_SIZE) {
        terms.send_size_max = clamp_32(size).min(PACKET_SIZE_MAX);
    }
    if let Some(profile) = answer.value(property::PROFILE) {
        terms.profile = Profile::of_dictionary(&profile);
    }
    terms.experiments = registry.common(&answer.value(property::EXTENSIONS).unwrap_or_default());
    for extension in registry.in_force(terms.experiments) {
        extension.terms(Role::Client, &mut terms);
    }
    terms
}

fn clamp_32(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
