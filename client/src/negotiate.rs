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

mod door;
mod outcome;

pub use door::Door;
pub(crate) use outcome::error_of_cause;

use crate::agreement::Agreement;
use crate::error::{Error, Misbehaved, NotAvailable};
use crate::event::{Because, Event, Loss};
use crate::link::{Clock, Link, NotOpened, OpenLink};
use crate::memory::{Recollection, now_s};
use crate::options::{Options, Policy};
use crate::store::Journal;
use crate::transport::{TransportFacts, dial};
use bytes::Bytes;
use candor_protocol::dialect::Dialect;
use candor_protocol::session::{Cause, Parked};
use outcome::{agreement, is_extended_refusal, knows_extension, refused};
use std::sync::Arc;
use tokio::time::Instant;

/// How long a server that proved who it is is held to what it spoke.
const BINDING_S: u64 = 30 * 24 * 3600;
/// How long no offer is made after one did harm.
const NO_OFFER_S: u64 = 3600;

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
    pub(crate) journal: Journal,
    /// The life of the session that this client knows, as a server named it; empty: it knows none.
    pub(crate) incarnation: Bytes,
    /// The first connection starts clean.
    clean_start: bool,
    /// So does the next one.
    starts_over: bool,
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
    /// `begun`: where there is a store, whether a server has had its session already.
    pub(crate) fn new(options: Arc<Options>, clock: Clock, journal: Journal, begun: bool) -> Self {
        let clean_start = if journal.is_on() { !begun } else { options.clean_start };
        Self { options, clock, ever_open: false, journal, incarnation: Bytes::new(), clean_start, starts_over: false, asked_why: false }
    }

    /// The next connection that is open started clean.
    pub(crate) fn start_over(&mut self) {
        self.starts_over = true;
    }

    /// Makes a connection. A session that is to be kept and starts clean takes two where the server is plain: MQTT 3.1.1 has one flag for
    /// both, so that the first one ends what the server knew before.
    pub(crate) async fn establish(&mut self, parked: Parked) -> Result<Established, Box<NotEstablished>> {
        let wipes = self.journal.is_on() && self.clean_start && !self.ever_open;
        let established = self.establish_once(parked).await?;
        if !wipes || established.agreement.dialect.is_extended() {
            return Ok(established);
        }
        established.open.link.abandon().await;
        self.establish_once(Parked::default()).await
    }

    /// Makes a connection, with at most one more try where a first one asks for it.
    async fn establish_once(&mut self, parked: Parked) -> Result<Established, Box<NotEstablished>> {
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
        let door = fixed.unwrap_or_else(|| door::choose(&self.options, &facts, &known, now_s()));
        let left_ms = u64::try_from(until.saturating_duration_since(Instant::now()).as_millis()).unwrap_or(u64::MAX);
        let starts_clean = self.starts_over || (self.clean_start && !self.ever_open);
        let settings = door::settings(&self.options, door, starts_clean, &self.incarnation, left_ms.max(1));
        let result = Link::open(wire, settings, parked, self.clock, self.journal.clone()).await;
        Ok(Tried { facts, door, result })
    }

    /// Goes in by one door and out again: what was agreed there.
    ///
    /// # Errors
    /// Why there is no way in.
    #[cfg(feature = "cli")]
    pub(crate) async fn knock(&self, door: Door) -> Result<Agreement, Error> {
        let until = Instant::now() + self.options.connect_timeout;
        let (wire, facts) = dial(&self.options, door == Door::Extended, until).await?;
        let timeout_ms = u64::try_from(until.saturating_duration_since(Instant::now()).as_millis()).unwrap_or(u64::MAX);
        let settings = door::settings(&self.options, door, self.clean_start, &self.incarnation, timeout_ms.max(1));
        match Link::open(wire, settings, Parked::default(), self.clock, Journal::default()).await {
            Err(not_opened) => Err(self.error_of(&facts, door, &Recollection::default(), &not_opened)),
            Ok(open) => {
                let agreed = agreement(&self.options, &facts, door, &open);
                open.link.abandon().await;
                Ok(agreed)
            }
        }
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
                (self.ever_open, self.asked_why, self.starts_over) = (true, false, false);
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
        if !dialect.is_extended() && !self.ever_open && self.clean_start && !self.journal.is_on() && self.options.session_expiry_s > 0 {
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
            Cause::Lost if door == Door::Extended && not_opened.hung_up() && !self.ever_open => {
                "it closed the connection at the extended CONNECT, as a plain server does".to_owned()
            }
            Cause::Lost if door == Door::Offer && bound => return self.spoke_before(),
            cause => return error_of_cause(&self.options, cause, door.dialect(), not_opened.failure.as_ref()),
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
