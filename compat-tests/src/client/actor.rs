//! A client on the stage: steps that wait for what they promise, with deadlines.

use super::{Event, Incoming, Options, Outgoing, PlainClient, Ticket};
use crate::ensure;
use crate::outcome::{Checked, Stop, Within};
use crate::wire::patience;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

pub struct Actor {
    client: Box<dyn PlainClient>,
    who: String,
    /// Events that came while another was waited for.
    stash: VecDeque<Event>,
    next_ticket: Ticket,
}

impl std::fmt::Debug for Actor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Actor").field("who", &self.who).finish_non_exhaustive()
    }
}

impl Actor {
    /// `who` names it in failures.
    pub fn new(client: Box<dyn PlainClient>, who: &str) -> Self {
        Self { client, who: who.to_owned(), stash: VecDeque::new(), next_ticket: 1 }
    }

    /// Starts to connect, without waiting.
    ///
    /// # Errors
    /// The client's.
    pub fn start_connect(&mut self, options: &Options) -> Checked {
        self.client.connect(options).within(&self.who)
    }

    /// Connects, and sees it accepted; returns session present, where the client tells.
    ///
    /// # Errors
    /// It is refused.
    pub fn connect(&mut self, options: &Options) -> Checked<Option<bool>> {
        self.start_connect(options)?;
        self.connected()
    }

    /// Connects again with what the client holds of its session.
    ///
    /// # Errors
    /// It is refused, or the client cannot.
    pub fn resume(&mut self) -> Checked<Option<bool>> {
        self.client.resume().within(&self.who)?;
        self.connected()
    }

    /// Starts to connect again, without waiting.
    ///
    /// # Errors
    /// The client cannot.
    pub fn start_resume(&mut self) -> Checked {
        self.client.resume().within(&self.who)
    }

    /// Waits until the connection is accepted.
    ///
    /// # Errors
    /// It is refused or closed, or neither comes.
    pub fn connected(&mut self) -> Checked<Option<bool>> {
        self.wait("the connection to be accepted", |event| match event {
            Event::Connected { session_present } => Some(Ok(*session_present)),
            Event::Refused { why } | Event::Closed { why } | Event::Error { why } => Some(Err(why.clone())),
            _ => None,
        })
    }

    /// Waits until the connection is refused.
    ///
    /// # Errors
    /// It is accepted.
    pub fn refused(&mut self) -> Checked<String> {
        self.wait("the connection to be refused", |event| match event {
            Event::Refused { why } | Event::Closed { why } | Event::Error { why } => Some(Ok(why.clone())),
            Event::Connected { .. } => Some(Err("it was accepted".into())),
            _ => None,
        })
    }

    /// Sends SUBSCRIBE and returns the codes of SUBACK.
    ///
    /// # Errors
    /// None comes.
    pub fn subscribe_codes(&mut self, filters: &[(String, u8)]) -> Checked<Vec<u8>> {
        let ticket = self.start_subscribe(filters)?;
        self.wait("SUBACK", |event| match event {
            Event::Subscribed { ticket: seen, codes } if *seen == ticket => Some(Ok(codes.clone())),
            other => ended(other),
        })
    }

    /// Sends SUBSCRIBE, without waiting.
    ///
    /// # Errors
    /// The client's.
    pub fn start_subscribe(&mut self, filters: &[(String, u8)]) -> Checked<Ticket> {
        let ticket = self.ticket();
        self.client.subscribe(ticket, filters).within(&self.who)?;
        Ok(ticket)
    }

    /// Subscribes, and sees every filter granted what was asked for.
    ///
    /// # Errors
    /// A filter gets less.
    pub fn subscribe<T: AsRef<str>>(&mut self, filters: &[(T, u8)]) -> Checked {
        let filters: Vec<(String, u8)> = filters.iter().map(|(filter, qos)| (filter.as_ref().to_owned(), *qos)).collect();
        let codes = self.subscribe_codes(&filters)?;
        let asked: Vec<u8> = filters.iter().map(|(_, qos)| *qos).collect();
        ensure!(codes == asked, "{}: asked for QoS {asked:?}, granted {codes:?}", self.who);
        Ok(())
    }

    /// Unsubscribes, and sees UNSUBACK.
    ///
    /// # Errors
    /// None comes.
    pub fn unsubscribe<T: AsRef<str>>(&mut self, filters: &[T]) -> Checked {
        let ticket = self.ticket();
        let filters: Vec<String> = filters.iter().map(|filter| filter.as_ref().to_owned()).collect();
        self.client.unsubscribe(ticket, &filters).within(&self.who)?;
        self.wait("UNSUBACK", |event| match event {
            Event::Unsubscribed { ticket: seen } if *seen == ticket => Some(Ok(())),
            other => ended(other),
        })
    }

    /// Publishes, and sees the exchange completed.
    ///
    /// # Errors
    /// It is not.
    pub fn publish(&mut self, message: &Outgoing, qos: u8) -> Checked {
        let ticket = self.start_publish(message, qos)?;
        self.published(ticket)
    }

    /// Sends PUBLISH, without waiting.
    ///
    /// # Errors
    /// The client's.
    pub fn start_publish(&mut self, message: &Outgoing, qos: u8) -> Checked<Ticket> {
        let ticket = self.ticket();
        self.client.publish(ticket, message, qos).within(&self.who)?;
        Ok(ticket)
    }

    /// Waits until the exchange of a PUBLISH is complete.
    ///
    /// # Errors
    /// It is not.
    pub fn published(&mut self, ticket: Ticket) -> Checked {
        self.wait("the publication to be complete", |event| match event {
            Event::Published { ticket: seen } if *seen == ticket => Some(Ok(())),
            other => ended(other),
        })
    }

    /// The next message.
    ///
    /// # Errors
    /// None comes.
    pub fn message(&mut self) -> Checked<Incoming> {
        self.wait("a message", |event| match event {
            Event::Message(message) => Some(Ok(message.clone())),
            other => ended(other),
        })
    }

    /// The next message is this one.
    ///
    /// # Errors
    /// Another comes, or none.
    pub fn expect(&mut self, topic: &str, payload: &str) -> Checked<Incoming> {
        let seen = self.message().map_err(|stop| stop.within(format!("expected {payload:?} on {topic:?}")))?;
        ensure!(
            seen.topic == topic && seen.payload == payload.as_bytes(),
            "{}: expected {payload:?} on {topic:?}, got {:?} on {:?}",
            self.who,
            seen.text(),
            seen.topic
        );
        Ok(seen)
    }

    /// Sends DISCONNECT, and sees the connection end.
    ///
    /// # Errors
    /// It does not.
    pub fn disconnect(&mut self) -> Checked {
        self.client.disconnect().within(&self.who)?;
        self.closed().map(|_| ())
    }

    /// Sends DISCONNECT, without waiting.
    ///
    /// # Errors
    /// The client's.
    pub fn start_disconnect(&mut self) -> Checked {
        self.client.disconnect().within(&self.who)
    }

    /// Ends the connection without DISCONNECT.
    ///
    /// # Errors
    /// The client cannot.
    pub fn drop_connection(&mut self) -> Checked {
        self.client.drop_connection().within(&self.who)?;
        self.closed().map(|_| ())
    }

    /// Waits until the connection has ended.
    ///
    /// # Errors
    /// It does not.
    pub fn closed(&mut self) -> Checked<String> {
        self.wait("the connection to end", |event| match event {
            Event::Closed { why } | Event::Refused { why } => Some(Ok(why.clone())),
            _ => None,
        })
    }

    /// Waits until the client refuses what it was asked to do, whether with an error or by closing.
    ///
    /// # Errors
    /// Neither happens.
    pub fn error(&mut self) -> Checked<String> {
        self.wait("an error", |event| match event {
            Event::Error { why } | Event::Closed { why } => Some(Ok(why.clone())),
            _ => None,
        })
    }

    /// Sees that the connection does not end within `patience`.
    ///
    /// # Errors
    /// It does.
    pub fn stays_connected(&mut self, patience: Duration) -> Checked {
        let deadline = Instant::now() + patience;
        while let Some(event) = self.client.event(deadline)? {
            ensure!(!matches!(event, Event::Closed { .. }), "{}: the connection ended: {event:?}", self.who);
            self.stash.push_back(event);
        }
        Ok(())
    }

    fn ticket(&mut self) -> Ticket {
        self.next_ticket += 1;
        self.next_ticket
    }

    /// Waits for an event that `pick` takes; the others are kept for later.
    fn wait<T>(&mut self, what: &str, pick: impl Fn(&Event) -> Option<Result<T, String>>) -> Checked<T> {
        if let Some((at, found)) = self.stash.iter().enumerate().find_map(|(at, event)| pick(event).map(|found| (at, found))) {
            self.stash.remove(at);
            return found.map_err(|why| self.failure(what, &why));
        }
        let deadline = Instant::now() + patience();
        while let Some(event) = self.client.event(deadline).within(&self.who)? {
            match pick(&event) {
                Some(found) => return found.map_err(|why| self.failure(what, &why)),
                None => self.stash.push_back(event),
            }
        }
        Err(self.failure(what, &format!("nothing came in time; other events: {:?}", self.stash)))
    }

    fn failure(&self, what: &str, why: &str) -> Stop {
        Stop::failed(format!("{}: expected {what}: {why}", self.who))
    }
}

/// An event after which what is waited for will not come.
fn ended<T>(event: &Event) -> Option<Result<T, String>> {
    match event {
        Event::Closed { why } => Some(Err(format!("the connection ended: {why}"))),
        Event::Error { why } => Some(Err(why.clone())),
        _ => None,
    }
}
