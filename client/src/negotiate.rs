//! Which door a client takes, and what it makes of what is behind it (the draft's section on negotiation).
//!
//! | the client knows | door |
//! | --- | --- |
//! | it requires the extension, or a profile | extended CONNECT |
//! | TLS or WebSocket selected the extension | extended CONNECT |
//! | the server proved who it is and spoke the extension before | extended CONNECT |
//! | a connection with an offer died less than an hour ago | plain CONNECT |
//! | it prefers the extension | plain CONNECT and an offer |
//! | it does not want the extension | plain CONNECT |

use crate::agreement::Agreement;
use crate::error::{Error, Misbehaved, NotAvailable, Refused, Step};
use crate::event::{Because, Event, Loss};
use crate::link::{Clock, Link, NotOpened, OpenLink};
use crate::memory::{Recollection, now_s};
use crate::options::{Options, Policy};
use crate::transport::{TransportFacts, dial, failed};
use candor_protocol::codec::dictionary::{Dictionary, MapBuilder};
use candor_protocol::dialect::Dialect;
use candor_protocol::dialect::terms::PACKET_SIZE_MAX;
use candor_protocol::packet::connect::{ConnAck, Connect, Will};
use candor_protocol::packet::property;
use candor_protocol::packet::{Problem, Profile, Reason, Refusal};
use candor_protocol::session::{Cause, ClientSettings, OfferSettings, Parked, SessionState};
use std::fmt;
use std::sync::Arc;
use tokio::time::Instant;

/// How long a server that proved who it is is held to what it spoke.
const BINDING_S: u64 = 30 * 24 * 3600;
/// How long no offer is made after one did harm.
const NO_OFFER_S: u64 = 3600;

/// How a client asks for its dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Door {
    /// The extended CONNECT.
    Extended,
    /// A plain CONNECT with an offer behind it.
    Offer,
    /// A plain CONNECT, in this dialect.
    Plain(Dialect),
}

impl fmt::Display for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Door::Extended => f.write_str("extended CONNECT"),
            Door::Offer => f.write_str("offer"),
            Door::Plain(dialect) => write!(f, "plain CONNECT ({dialect})"),
        }
    }
}

/// The door for a connection whose handshakes ended in `facts`.
pub(crate) fn door(options: &Options, facts: &TransportFacts, known: &Recollection, now_s: u64) -> Door {
    match options.policy {
        Policy::Plain => Door::Plain(Dialect::V311),
        Policy::Plain31 => Door::Plain(Dialect::V31),
        Policy::Require => Door::Extended,
        Policy::Prefer if options.needs_extension() || facts.selected_extension() => Door::Extended,
        Policy::Prefer if facts.is_verified() && known.binds(now_s) => Door::Extended,
        Policy::Prefer if known.forbids_offer(now_s) => Door::Plain(Dialect::V311),
        Policy::Prefer => Door::Offer,
    }
}

/// What a client says at a door. `first`: there was no connection before this one.
pub(crate) fn settings(options: &Options, door: Door, first: bool, until_ms: u64) -> ClientSettings {
    let dialect = match door {
        Door::Extended => Dialect::Extended,
        Door::Offer => Dialect::V311,
        Door::Plain(dialect) => dialect,
    };
    // In MQTT 3.1.1 the flag also decides whether the session ends with the connection; in the extended dialect its expiry does.
    let clean_start = first && options.clean_start;
    let clean_session = clean_start || (door != Door::Extended && options.session_expiry_s == 0);
    let will = options.will.as_ref().map(|will| Will {
        message: will.message(),
        qos: will.qos,
        retain: will.retain,
        dictionary: will.properties.hop_map(),
    });
    let wishes = wishes(options);
    let dictionary = match door {
        Door::Extended if options.requirement.is_empty() => wishes.finish(),
        Door::Extended => wishes.clone().set(property::REQUIRE, &options.requirement.to_dictionary()).finish(),
        // A plain CONNECT has no place for it.
        Door::Offer | Door::Plain(_) => Dictionary::EMPTY,
    };
    let mut settings = ClientSettings::new(Connect {
        dialect,
        clean_session,
        keep_alive_s: options.keep_alive_s,
        client_id: options.client_id.clone(),
        will,
        user_name: options.user_name.clone(),
        password: options.password.clone(),
        dictionary,
    });
    // An offer carries neither credentials nor requirements: it must be possible to say no to it without harm.
    settings.offer = (door == Door::Offer).then(|| OfferSettings { nonce: crate::random::bytes(), dictionary: wishes.finish() });
    settings.receive_window = options.receive_maximum;
    settings.packet_size_max = options.packet_size_max;
    settings.connect_timeout_ms = until_ms;
    settings.registry = options.registry.clone();
    settings
}

fn wishes(options: &Options) -> MapBuilder {
    let mut map = MapBuilder::new();
    if options.session_expiry_s != 0 {
        map.set(property::SESSION_EXPIRY_INTERVAL, &u64::from(options.session_expiry_s));
    }
    if options.receive_maximum != u16::MAX {
        map.set(property::RECEIVE_MAXIMUM, &u64::from(options.receive_maximum));
    }
    if options.packet_size_max < PACKET_SIZE_MAX {
        map.set(property::MAXIMUM_PACKET_SIZE, &u64::from(options.packet_size_max));
    }
    let names = options.registry.names();
    if !names.is_empty() {
        map.set(property::EXTENSIONS, &names);
    }
    map
}

/// A connection with its agreement, and what there is to tell about how it came to be.
#[derive(Debug)]
pub(crate) struct Established {
    pub(crate) open: OpenLink,
    pub(crate) agreement: Arc<Agreement>,
    pub(crate) events: Vec<Event>,
}

/// Why there is no connection, with the session that waits for one.
#[derive(Debug)]
pub(crate) struct NotEstablished {
    pub(crate) error: Error,
    pub(crate) parked: Parked,
    pub(crate) events: Vec<Event>,
}

/// Makes connections for one client, and remembers what it met.
#[derive(Debug)]
pub(crate) struct Negotiator {
    pub(crate) options: Arc<Options>,
    pub(crate) clock: Clock,
    /// There was a connection before.
    pub(crate) ever_open: bool,
    /// A plain refusal was followed by the question why; once is enough until a connection was open.
    asked_why: bool,
}

/// What one try ended in.
struct Tried {
    facts: TransportFacts,
    door: Door,
    result: Result<OpenLink, Box<NotOpened>>,
}

impl Negotiator {
    pub(crate) fn new(options: Arc<Options>, clock: Clock) -> Self {
        Self { options, clock, ever_open: false, asked_why: false }
    }

    /// Makes a connection, with at most one more try where a first one asks for it.
    pub(crate) async fn establish(&mut self, parked: Parked) -> Result<Established, Box<NotEstablished>> {
        let until = Instant::now() + self.options.connect_timeout;
        let mut events = Vec::new();
        let known = self.recall(&mut events);
        let tried = match self.try_door(None, known, parked, until).await {
            Ok(tried) => tried,
            Err((error, parked)) => return Err(Box::new(NotEstablished { error, parked, events })),
        };
        let again = match &tried.result {
            Ok(_) => None,
            Err(not_opened) => self.second_door(&tried, not_opened, &known),
        };
        let Some((door, because)) = again else { return self.conclude(tried, None, known, events) };
        let Err(first) = tried.result else { return self.conclude(tried, None, known, events) };
        let first_error = self.error_of(&tried.facts, tried.door, &known, &first);
        match self.try_door(Some(door), known, first.parked, until).await {
            Ok(second) => {
                // The first answer stands where the question why was not understood.
                let unanswered = matches!(&second.result, Err(not_opened) if door == Door::Extended && !is_extended_refusal(not_opened));
                match second.result {
                    Err(not_opened) if unanswered => {
                        Err(Box::new(NotEstablished { error: first_error, parked: not_opened.parked, events }))
                    }
                    result => self.conclude(Tried { result, ..second }, because, known, events),
                }
            }
            Err((_, parked)) => Err(Box::new(NotEstablished { error: first_error, parked, events })),
        }
    }

    async fn try_door(&self, fixed: Option<Door>, known: Recollection, parked: Parked, until: Instant) -> Result<Tried, (Error, Parked)> {
        let (wire, facts) = match dial(&self.options, self.options.asks_extension(), until).await {
            Ok(dialed) => dialed,
            Err(error) => return Err((error.into(), parked)),
        };
        let door = fixed.unwrap_or_else(|| door(&self.options, &facts, &known, now_s()));
        let left_ms = u64::try_from(until.saturating_duration_since(Instant::now()).as_millis()).unwrap_or(u64::MAX);
        let settings = settings(&self.options, door, !self.ever_open, left_ms.max(1));
        let result = Link::open(wire, settings, parked, self.clock).await;
        Ok(Tried { facts, door, result })
    }

    /// The door for a second try, where the first ended in a way that asks for one.
    fn second_door(&mut self, tried: &Tried, not_opened: &NotOpened, known: &Recollection) -> Option<(Door, Option<Because>)> {
        if self.options.policy != Policy::Prefer {
            return None;
        }
        let bound = tried.facts.is_verified() && known.binds(now_s());
        match (&not_opened.cause, tried.door) {
            (Cause::Lost, Door::Offer) if not_opened.had_connack && !not_opened.flooded && !bound => {
                Some((Door::Plain(Dialect::V311), Some(Because::OfferKilledConnection)))
            }
            (Cause::ConnectRefused { .. }, Door::Offer | Door::Plain(_)) if !self.asked_why => {
                self.asked_why = true;
                Some((Door::Extended, None))
            }
            _ => None,
        }
    }

    fn conclude(
        &mut self,
        tried: Tried,
        because: Option<Because>,
        known: Recollection,
        mut events: Vec<Event>,
    ) -> Result<Established, Box<NotEstablished>> {
        let Tried { facts, door, result } = tried;
        match result {
            Err(not_opened) => {
                let error = self.error_of(&facts, door, &known, &not_opened);
                Err(Box::new(NotEstablished { error, parked: not_opened.parked, events }))
            }
            Ok(open) => {
                let agreement = Arc::new(agreement(&self.options, &facts, door, &open));
                events.push(Event::Connected(Arc::clone(&agreement)));
                self.judge(&facts, door, because, known, agreement.dialect, &mut events);
                (self.ever_open, self.asked_why) = (true, false);
                Ok(Established { open, agreement, events })
            }
        }
    }

    /// Remembers what was spoken, and tells what is missing.
    fn judge(
        &self,
        facts: &TransportFacts,
        door: Door,
        because: Option<Because>,
        known: Recollection,
        dialect: Dialect,
        events: &mut Vec<Event>,
    ) {
        let now_s = now_s();
        let properties_unsaid = door != Door::Extended && self.options.will.as_ref().is_some_and(|will| !will.properties.is_empty());
        if properties_unsaid && self.options.policy == Policy::Prefer {
            events.push(Event::WillPropertiesLost);
        }
        if !dialect.is_extended() && !self.ever_open && self.options.clean_start && self.options.session_expiry_s > 0 {
            events.push(Event::SessionNotKept);
        }
        if dialect.is_extended() {
            let now = Recollection { spoke_until_s: now_s + BINDING_S, verified: facts.is_verified(), no_offer_until_s: 0 };
            // Not rewritten at every connection: half of the time is early enough.
            let is_fresh = known.verified == now.verified && known.spoke_until_s > now_s + BINDING_S / 2 && known.no_offer_until_s == 0;
            if !is_fresh {
                self.remember(now, events);
            }
            return;
        }
        if self.options.policy != Policy::Prefer {
            return;
        }
        let because = because.unwrap_or(match door {
            _ if known.spoke(now_s) => Because::SpokeBefore,
            Door::Offer => Because::Declined,
            _ => Because::OfferKilledConnectionBefore,
        });
        events.push(Event::Downgraded { because, losses: Loss::ALL });
        if because == Because::OfferKilledConnection {
            self.remember(Recollection { no_offer_until_s: now_s + NO_OFFER_S, ..known }, events);
        }
        if because == Because::SpokeBefore {
            // Told once; what clear TCP says binds nobody.
            self.remember(Recollection { spoke_until_s: 0, ..known }, events);
        }
    }

    fn recall(&self, events: &mut Vec<Event>) -> Recollection {
        self.options.memory.recall(&self.options.address.to_string()).unwrap_or_else(|error| {
            events.push(Event::MemoryFailed(error));
            Recollection::default()
        })
    }

    fn remember(&self, what: Recollection, events: &mut Vec<Event>) {
        if let Err(error) = self.options.memory.remember(&self.options.address.to_string(), what) {
            events.push(Event::MemoryFailed(error));
        }
    }

    /// What a failed opening means to the caller.
    fn error_of(&self, facts: &TransportFacts, door: Door, known: &Recollection, not_opened: &NotOpened) -> Error {
        let bound = facts.is_verified() && known.binds(now_s());
        let how = match &not_opened.cause {
            _ if not_opened.flooded => return Error::Misbehaved(Misbehaved::TooMuchTooEarly),
            Cause::ConnectRefused { connack } if door == Door::Extended && !knows_extension(connack) => {
                format!("it refused the extended CONNECT: {}", refused(connack, Dialect::Extended).refusal)
            }
            // A network fails so too. A server that answered, or was spoken to before, has merely been lost.
            Cause::Lost if door == Door::Extended && !not_opened.heard && !self.ever_open => {
                "it closed the connection at the extended CONNECT, as a plain server does".to_owned()
            }
            Cause::Lost if door == Door::Offer && bound => return self.spoke_before(),
            cause => return error_of_cause(&self.options, cause, dialect_of(door), not_opened.failure.as_deref()),
        };
        match (self.options.needs_extension(), bound) {
            (true, _) => Error::NotAvailable(NotAvailable::Extension { how }),
            (false, true) => self.spoke_before(),
            // The handshake below selected the extension, and then it was not spoken.
            (false, false) => Error::NotAvailable(NotAvailable::Extension { how }),
        }
    }

    fn spoke_before(&self) -> Error {
        Error::NotAvailable(NotAvailable::SpokeBefore { server: self.options.address.clone() })
    }
}

fn dialect_of(door: Door) -> Dialect {
    match door {
        Door::Extended => Dialect::Extended,
        Door::Offer => Dialect::V311,
        Door::Plain(dialect) => dialect,
    }
}

/// Whether an extended CONNECT was refused for another reason than that it is one.
fn is_extended_refusal(not_opened: &NotOpened) -> bool {
    matches!(&not_opened.cause, Cause::ConnectRefused { connack } if knows_extension(connack))
}

fn knows_extension(connack: &ConnAck) -> bool {
    connack.reason != Reason::UNSUPPORTED_PROTOCOL_VERSION
}

/// What a CONNACK says that refuses.
fn refused(connack: &ConnAck, dialect: Dialect) -> Refused {
    let problem = connack.dictionary.value(property::PROBLEM).map(|map: Dictionary| Problem::of_dictionary(&map));
    Refused {
        refusal: Refusal::new(connack.reason, problem.unwrap_or_default()),
        retry_after_ms: connack.dictionary.value(property::RETRY_AFTER),
        nearest: connack.dictionary.value(property::PROFILE).map(|map| Profile::of_dictionary(&map)),
        dialect,
    }
}

/// What the end of a session means to the caller.
pub(crate) fn error_of_cause(options: &Options, cause: &Cause, dialect: Dialect, failure: Option<&str>) -> Error {
    match cause {
        Cause::PeerLeft { reason, problem, retry_after_ms } => {
            let refusal = Refusal { reason: *reason, problem: problem.clone().unwrap_or_default() };
            Error::Ended(Box::new(Refused { refusal, retry_after_ms: *retry_after_ms, nearest: None, dialect }))
        }
        Cause::ConnectRefused { connack } => {
            let refused = Box::new(refused(connack, dialect));
            match connack.reason {
                Reason::PROFILE_NOT_AVAILABLE => Error::NotAvailable(NotAvailable::Profile(refused)),
                _ => Error::Refused(refused),
            }
        }
        Cause::Malformed(error) => Error::Misbehaved(Misbehaved::Malformed(*error)),
        Cause::Refused(refusal) if [Reason::RELEASED, Reason::MODIFIED].contains(&refusal.reason) => Error::GivenBack(refusal.clone()),
        Cause::Refused(refusal) => Error::Misbehaved(Misbehaved::Protocol(refusal.clone())),
        Cause::Silent => Error::Misbehaved(Misbehaved::Silent),
        Cause::BadAccept(error) => Error::Misbehaved(Misbehaved::BadAccept(*error)),
        Cause::Left => Error::Left,
        _ => {
            let cause = failure.unwrap_or("the server closed it without a word");
            Error::Transport(failed(Step::Open, &options.address, &cause))
        }
    }
}

fn agreement(options: &Options, facts: &TransportFacts, door: Door, open: &OpenLink) -> Agreement {
    let opened = &open.opened;
    let (terms, dictionary) = (&opened.terms, &opened.dictionary);
    let extended = terms.dialect.is_extended();
    Agreement {
        dialect: terms.dialect,
        door,
        client_id: dictionary.value(property::ASSIGNED_CLIENT_IDENTIFIER).unwrap_or_else(|| options.client_id.clone()),
        session_present: opened.session_present,
        session_state: dictionary.value(property::SESSION_STATE).and_then(SessionState::of_number),
        incarnation: dictionary.value(property::SESSION_INCARNATION),
        profile: extended.then(|| terms.profile.clone()),
        terms: terms.clone(),
        experiments: options.registry.in_force(terms.experiments).map(|extension| extension.name().to_owned()).collect(),
        node: dictionary.value(property::NODE),
        tls: facts.tls.clone(),
        transport_selected: facts.selected.clone(),
    }
}
