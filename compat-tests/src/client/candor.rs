//! Our own client as one among the others. It is driven as an application drives it: what it decides by itself (which dialect,
//! when to come back) it decides here too.

use super::engine::Engine;
use super::{Event, Incoming, Options, Outgoing, PlainClient, Ticket};
use crate::outcome::{Checked, Stop};
use candor_client::{
    Client, Error, Events, InProcess, Messages, Misuse, Policy, PublishError, Qos, Reconnect, RequestError, Subscription, TlsOptions,
    WillOptions,
};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How soon it comes back. A real application is more patient.
const BACK_AFTER: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub struct Candor {
    policy: Policy,
    engine: Option<Engine>,
    /// The handle, once the first connection is open.
    client: watch::Receiver<Option<Client>>,
    handle: watch::Sender<Option<Client>>,
    sender: Sender<Event>,
    events: Receiver<Event>,
}

impl Candor {
    pub fn new(policy: Policy) -> Self {
        let (sender, events) = channel();
        let (handle, client) = watch::channel(None);
        Self { policy, engine: None, client, handle, sender, events }
    }

    /// Runs one request with the handle, behind those before it, and tells what comes of it.
    fn ask<F>(&self, request: impl FnOnce(Client) -> F + Send + 'static) -> Checked
    where
        F: Future<Output = Event> + Send,
    {
        let engine = self.engine.as_ref().ok_or_else(|| Stop::failed("not connected"))?;
        let client = self.client.borrow().clone().ok_or_else(|| Stop::failed("not connected"))?;
        let sender = self.sender.clone();
        engine.handle().spawn(async move {
            let event = request(client).await;
            // A client that was dropped hears nothing more.
            let _ = sender.send(event);
        });
        Ok(())
    }
}

impl PlainClient for Candor {
    fn connect(&mut self, options: &Options) -> Checked {
        let options = client_options(options, self.policy)?;
        let engine = Engine::start()?;
        let (sender, handle) = (self.sender.clone(), self.handle.clone());
        engine.handle().spawn(async move {
            match Client::connect_observed(options).await {
                Ok((client, messages, events)) => {
                    handle.send_replace(Some(client));
                    tokio::join!(tell_events(events, &sender), tell_messages(messages, &sender));
                }
                Err(Error::Misuse(misuse)) => drop(sender.send(refusal(&misuse))),
                Err(error) => drop(sender.send(Event::Refused { why: error.to_string() })),
            }
        });
        self.engine = Some(engine);
        Ok(())
    }

    fn resume(&mut self) -> Checked {
        // It comes back by itself, if it has a session to come back to.
        match self.engine {
            Some(_) => Ok(()),
            None => Err(Stop::unsupported("a client whose process has ended holds nothing of its session")),
        }
    }

    fn subscribe(&mut self, ticket: Ticket, filters: &[(String, u8)]) -> Checked {
        let wished: Vec<_> = filters.iter().map(|(filter, qos)| Subscription::to(filter).qos(quality(*qos))).collect();
        self.ask(move |client| async move {
            match client.subscribe(wished).await {
                Ok(granted) => {
                    let code = |result: &Result<Qos, _>| result.as_ref().map_or(0x80, |qos| *qos as u8);
                    Event::Subscribed { ticket, codes: granted.iter().map(|granted| code(&granted.result)).collect() }
                }
                Err(error) => of_request(error),
            }
        })
    }

    fn unsubscribe(&mut self, ticket: Ticket, filters: &[String]) -> Checked {
        let filters = filters.to_vec();
        self.ask(move |client| async move {
            match client.unsubscribe(filters.as_slice()).await {
                Ok(_) => Event::Unsubscribed { ticket },
                Err(error) => of_request(error),
            }
        })
    }

    fn publish(&mut self, ticket: Ticket, message: &Outgoing, qos: u8) -> Checked {
        let message = message.clone();
        self.ask(move |client| async move {
            match client.publish(&message.topic, message.payload).qos(quality(qos)).retain(message.retain).await {
                Ok(_) => Event::Published { ticket },
                Err(PublishError::Misuse(misuse)) => refusal(&misuse),
                Err(error) => Event::Error { why: error.to_string() },
            }
        })
    }

    fn disconnect(&mut self) -> Checked {
        let engine = self.engine.as_ref().ok_or_else(|| Stop::failed("not connected"))?;
        let client = self.client.borrow().clone().ok_or_else(|| Stop::failed("not connected"))?;
        engine.handle().spawn(async move { client.leave().await });
        Ok(())
    }

    fn drop_connection(&mut self) -> Checked {
        self.engine = None;
        self.sender.send(Event::Closed { why: "dropped".into() }).map_err(|error| Stop::failed(error.to_string()))
    }

    fn event(&mut self, deadline: Instant) -> Checked<Option<Event>> {
        match self.events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(event) => Ok(Some(event)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(Stop::failed("the client's events ended")),
        }
    }
}

async fn tell_events(mut events: Events, sender: &Sender<Event>) {
    while let Some(event) = events.next().await {
        let event = match event {
            candor_client::Event::Connected(agreement) => Event::Connected { session_present: Some(agreement.session_present) },
            candor_client::Event::Disconnected { error, .. } => Event::Closed { why: error.to_string() },
            _ => continue,
        };
        let _ = sender.send(event);
    }
}

async fn tell_messages(mut messages: Messages, sender: &Sender<Event>) {
    while let Some(seen) = messages.next().await {
        let (topic, payload) = (seen.topic().to_owned(), seen.payload().to_vec());
        let message = Incoming { topic, payload, qos: seen.qos() as u8, retain: seen.retain(), dup: Some(seen.dup()) };
        let _ = sender.send(Event::Message(message));
    }
}

fn refusal(misuse: &Misuse) -> Event {
    Event::Error { why: misuse.to_string() }
}

fn of_request(error: RequestError) -> Event {
    Event::Error { why: error.to_string() }
}

fn quality(qos: u8) -> Qos {
    Qos::new(qos).unwrap_or(Qos::ExactlyOnce)
}

/// What the options of a case are to our client. It comes back by itself only where it has a session to come back to: a client
/// that was taken over and has none is to stay away.
fn client_options(options: &Options, policy: Policy) -> Checked<candor_client::Options> {
    let url = format!("{}://{}", options.transport.scheme(), options.address);
    let mut own = candor_client::Options::new(&url).map_err(|error| Stop::failed(error.to_string()))?;
    let stored = !options.clean_session;
    own = own.policy(policy).client_id(&options.client_id).keep_alive_s(options.keep_alive_s);
    own = own.clean_start(options.clean_session).session_expiry_s(if stored { u32::MAX } else { 0 });
    own = own.reconnect(if stored { Reconnect::default().delays(BACK_AFTER, BACK_AFTER) } else { Reconnect::never() });
    // A memory of its own, so that cases do not know of each other.
    own = own.memory(Arc::new(InProcess::default()));
    if options.transport.is_tls() {
        own = own.tls(TlsOptions { ca_file: Some(options.authority.clone()), ..TlsOptions::default() });
    }
    if let Some((will, qos)) = &options.will {
        let made = WillOptions::new(&will.topic, will.payload.clone()).map_err(|error| Stop::failed(error.to_string()))?;
        own = own.will(made.qos(quality(*qos)).retain(will.retain));
    }
    if let Some(user_name) = &options.user_name {
        own = own.user_name(user_name);
    }
    if let Some(password) = &options.password {
        own = own.password(password.clone());
    }
    Ok(own)
}
