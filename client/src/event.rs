//! What happens to a client beside its messages: typed, bounded, and never needed for the next step to work.

use crate::agreement::Agreement;
use crate::error::Error;
use crate::memory::MemoryError;
use candor_protocol::packet::{Kind, Notice, Problem, Profile, Reason, Refusal, TopicFilter};
use candor_protocol::session::SessionState;
use candor_protocol::shown::Shown;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast;

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A connection is open.
    Connected(Arc<Agreement>),
    /// The connection is plain although the extension was asked for; `losses` is what the server cannot do.
    Downgraded { because: Because, losses: &'static [Loss] },
    /// Properties of the will stay unsaid: this connection began with a plain CONNECT, which has no place for them.
    WillPropertiesLost,
    /// A clean start was asked for, and MQTT 3.1.1 cannot start clean and keep: this session ends with its connection.
    SessionNotKept,
    /// The server no longer knows the session.
    SessionLost {
        /// Why, where the server says it.
        state: Option<SessionState>,
        /// QoS 2 messages whose fate is unknown; each of their publishers was told.
        unsettled: usize,
        /// QoS 1 messages that are sent again as new ones.
        resent: usize,
    },
    /// A subscription was asked for again after the session was lost, and refused.
    SubscriptionLost { filter: TopicFilter, refusal: Refusal },
    /// Messages that were owed to this client were dropped.
    Gap { count: u64, topic: Option<String>, refusal: Refusal },
    /// A QoS 0 message of this client was refused.
    Refused { topic: Option<String>, count: u64, refusal: Refusal },
    /// This connection took the session from another one, for the `count`th time in a row: there may be two clients with this
    /// client identifier.
    TookOver { count: u64, refusal: Refusal },
    /// What the server can keep has changed; the profile is the one in force from here on.
    ProfileChanged(Box<Profile>),
    /// A packet of the server was refused by the rules of the protocol, and the server was told; on a plain connection, where nothing can
    /// be told, a SUBACK or UNSUBACK that answers nothing was ignored. `topic`: where it was a PUBLISH.
    PacketRefused { kind: Kind, topic: Option<String>, refusal: Refusal },
    /// Other advice of the server.
    Notice(Notice),
    /// A message was dropped by the application without being settled: it was released.
    DroppedUnsettled { topic: String },
    /// A message was settled after the connection that brought it had ended: the server will deliver it again.
    SettledTooLate { topic: String },
    /// A message was rejected on a plain connection, which cannot say so: it was acknowledged.
    RejectedUnheard { topic: String, problem: Arc<Problem> },
    /// A message came and nobody holds the [`Messages`](crate::Messages): it was not taken.
    NobodyListens { topic: String },
    /// The application takes no messages, so the server is held back, and with it its answers to this client.
    HeldBack { since: Duration },
    /// The server sent a message with a critical key that this client does not know; it was rejected.
    NotUnderstood { topic: String, refusal: Refusal },
    /// What servers could do could not be read or written: this client goes on without a memory.
    MemoryFailed(MemoryError),
    /// The connection ended; `retry_in`: when the next one is tried.
    Disconnected { error: Error, retry_in: Option<Duration> },
    /// This receiver was too slow: so many events are lost to it.
    Missed(u64),
}

/// Why a connection is plain although the extension was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Because {
    /// The server answered the offer as one that does not know it.
    Declined,
    /// A connection with an offer died before it was answered, so another was tried without; this is remembered for an hour.
    OfferKilledConnection,
    /// That happened less than an hour ago.
    OfferKilledConnectionBefore,
    /// The server declined, and over a transport that cannot prove who it is it said yes before: it may have changed, or
    /// somebody stands in between.
    SpokeBefore,
}

/// What a plain connection cannot do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Loss {
    /// A refused message ends the connection or is told as success; there is no reason.
    Reasons,
    /// Properties of messages are not sent.
    Properties,
    /// The server declares neither what it keeps nor its limits.
    Profile,
    /// No acknowledgement says how durable a message became.
    Receipts,
    /// A message cannot be rejected, released or delayed.
    Settlement,
    /// Nobody tells of gaps and refused QoS 0 messages.
    Notices,
    /// A lost session has no reason.
    SessionState,
}

impl Loss {
    pub const ALL: &'static [Loss] =
        &[Loss::Reasons, Loss::Properties, Loss::Profile, Loss::Receipts, Loss::Settlement, Loss::Notices, Loss::SessionState];

    pub const fn meaning(self) -> &'static str {
        match self {
            Loss::Reasons => "refusals have no reason",
            Loss::Properties => "properties of messages are not sent",
            Loss::Profile => "the server declares nothing",
            Loss::Receipts => "no receipt says how durable a message became",
            Loss::Settlement => "messages cannot be rejected, released or delayed",
            Loss::Notices => "gaps and refused QoS 0 messages are not told",
            Loss::SessionState => "a lost session has no reason",
        }
    }
}

impl fmt::Display for Because {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Declined => "the server does not know the extension",
            Self::OfferKilledConnection => "a connection with an offer died before the answer",
            Self::OfferKilledConnectionBefore => "a connection with an offer died before the answer less than an hour ago",
            Self::SpokeBefore => {
                "the server spoke the extension before and now does not; it may have changed, or somebody stands in between"
            }
        })
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected(agreement) => agreement.fmt(f),
            Self::Downgraded { because, losses } => {
                let losses: Vec<_> = losses.iter().map(|loss| loss.meaning()).collect();
                write!(f, "plain MQTT: {because}; so {}", losses.join(", "))
            }
            Self::WillPropertiesLost => f.write_str("the properties of the will were not sent: CONNECT was plain"),
            Self::SessionNotKept => f.write_str("MQTT 3.1.1 cannot start clean and keep a session; it ends with this connection"),
            Self::SessionLost { state, unsettled, resent } => {
                f.write_str("the server lost the session")?;
                if let Some(state) = state {
                    write!(f, " ({})", crate::agreement::state_name(*state))?;
                }
                write!(f, "; {unsettled} messages have an unknown fate, {resent} are sent again")
            }
            Self::SubscriptionLost { filter, refusal } => {
                write!(f, "the subscription to `{}` could not be renewed: {refusal}", Shown::new(filter.as_str()))
            }
            Self::Gap { count, topic, refusal } => {
                write!(f, "{count} messages for this client were dropped")?;
                topic.iter().try_for_each(|topic| write!(f, " (`{}`)", Shown::new(topic)))?;
                write!(f, ": {refusal}")
            }
            Self::Refused { topic, count, refusal } => {
                write!(f, "{count} messages at QoS 0 were refused")?;
                topic.iter().try_for_each(|topic| write!(f, " (`{}`)", Shown::new(topic)))?;
                write!(f, ": {refusal}")
            }
            Self::TookOver { count, refusal } => write!(f, "the session was taken from another connection ({count} in a row): {refusal}"),
            Self::ProfileChanged(profile) => write!(f, "the server now keeps messages at `{}`", profile.durability),
            Self::PacketRefused { kind, topic, refusal } => {
                write!(f, "a {kind} of the server")?;
                topic.iter().try_for_each(|topic| write!(f, " to `{topic}`"))?;
                write!(f, " was refused: {refusal}")
            }
            Self::Notice(notice) => write!(f, "the server says: {}", notice.reason),
            Self::DroppedUnsettled { topic } => {
                write!(f, "a message to `{}` was dropped without being settled; it was released", Shown::new(topic))
            }
            Self::SettledTooLate { topic } => {
                write!(f, "a message to `{}` was settled after its connection had ended; it will come again", Shown::new(topic))
            }
            Self::RejectedUnheard { topic, .. } => {
                write!(f, "a message to `{}` was rejected, and MQTT 3.1.1 cannot say so; it was acknowledged", Shown::new(topic))
            }
            Self::NobodyListens { topic } => write!(f, "a message to `{}` came and nobody takes messages", Shown::new(topic)),
            Self::HeldBack { since } => {
                write!(f, "nobody took a message for {} s; the server and its answers are held back", since.as_secs())
            }
            Self::NotUnderstood { topic, refusal } => write!(f, "a message to `{}` was not understood: {refusal}", Shown::new(topic)),
            Self::MemoryFailed(error) => error.fmt(f),
            Self::Disconnected { error, retry_in: Some(wait) } => write!(f, "{error}; trying again in {} ms", wait.as_millis()),
            Self::Disconnected { error, retry_in: None } => write!(f, "{error}; not trying again"),
            Self::Missed(count) => write!(f, "{count} events came too fast and are lost"),
        }
    }
}

/// The refusal in the words of a notice.
pub(crate) fn of_notice(notice: Notice) -> Event {
    use candor_protocol::packet::property::{COUNT, PROBLEM, PROFILE, REASON, TOPIC};
    let problem: Problem = notice.dictionary.value(PROBLEM).map(|map| Problem::of_dictionary(&map)).unwrap_or_default();
    let (count, topic) = (notice.dictionary.value(COUNT).unwrap_or(1), notice.dictionary.value(TOPIC));
    let reason = notice.dictionary.value(REASON).and_then(|number| u8::try_from(number).ok()).map_or(notice.reason, Reason);
    match (notice.reason, notice.dictionary.value(PROFILE)) {
        (Reason::PROFILE_CHANGED, Some(map)) => Event::ProfileChanged(Box::new(Profile::of_dictionary(&map))),
        (Reason::GAP, _) => Event::Gap { count, topic, refusal: Refusal::new(reason, problem) },
        (Reason::SESSION_TAKEN_OVER, _) => Event::TookOver { count, refusal: Refusal::new(reason, problem) },
        (reason, _) if reason.is_error() => Event::Refused { topic, count, refusal: Refusal::new(reason, problem) },
        _ => Event::Notice(notice),
    }
}

/// The events of a client from when [`Client::events`](crate::Client::events) was called on.
#[derive(Debug)]
pub struct Events(pub(crate) broadcast::Receiver<Event>);

impl Events {
    /// The next event; `None`: the client has ended and all events were taken.
    pub async fn next(&mut self) -> Option<Event> {
        match self.0.recv().await {
            Ok(event) => Some(event),
            Err(broadcast::error::RecvError::Lagged(count)) => Some(Event::Missed(count)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }

    /// An event that waits already; `None`: none does now.
    pub fn ready(&mut self) -> Option<Event> {
        match self.0.try_recv() {
            Ok(event) => Some(event),
            Err(broadcast::error::TryRecvError::Lagged(count)) => Some(Event::Missed(count)),
            Err(_) => None,
        }
    }
}
