//! An application with our client library, for cases that look at its types: errors, events, agreements.

use crate::case::Target;
use crate::client::engine::Engine;
use crate::ensure;
use crate::outcome::{Checked, Stop};
use crate::peer::recipe::Transport;
use crate::wire::patience;
use candor_client::{
    Agreement, Because, Client, Error, Event, Events, Granted, InProcess, Incoming, Messages, Options, Publish, PublishError, Qos, Receipt,
    Reconnect, RequestError, TlsOptions,
};
use std::net::SocketAddr;
use std::sync::Arc;

#[derive(Debug)]
pub struct App {
    client: Client,
    messages: Messages,
    events: Events,
    engine: Engine,
}

/// How our client called `name` connects to `address` over clear TCP: with a clean session, once, and with a memory of its own.
///
/// # Errors
/// The address makes no URL.
pub fn options_to(on: &Target, address: SocketAddr, name: &str) -> Checked<Options> {
    options_by(on, Transport::Tcp, address, name)
}

/// As [`options_to`], to the broker itself.
///
/// # Errors
/// The broker does not listen.
pub fn options(on: &Target, name: &str) -> Checked<Options> {
    options_to(on, on.broker.address()?, name)
}

/// As [`options_to`], by another transport; the authority of the broker's certificate is trusted.
///
/// # Errors
/// The address makes no URL.
pub fn options_by(on: &Target, transport: Transport, address: SocketAddr, name: &str) -> Checked<Options> {
    let options = Options::new(&format!("{}://{address}", transport.scheme())).map_err(|error| Stop::failed(error.to_string()))?;
    let options = options.client_id(on.id(name)).reconnect(Reconnect::never()).memory(Arc::new(InProcess::default()));
    // A case ends before a connection that hangs is given up.
    let options = options.connect_timeout(patience() / 2);
    let tls = TlsOptions { ca_file: Some(on.broker.tls().authority.clone()), ..TlsOptions::default() };
    Ok(if transport.is_tls() { options.tls(tls) } else { options })
}

impl App {
    /// Connects.
    ///
    /// # Errors
    /// It does not come to an end.
    pub fn try_connect(options: Options) -> Checked<Result<Self, Error>> {
        let engine = Engine::start()?;
        let connected = engine.wait("an end of connecting", async {
            let _context = engine.handle().enter();
            Client::connect_observed(options).await
        })?;
        Ok(connected.map(|(client, messages, events)| Self { client, messages, events, engine }))
    }

    /// Connects, and is let in.
    ///
    /// # Errors
    /// It is not.
    pub fn connect(options: Options) -> Checked<Self> {
        Self::try_connect(options)?.map_err(|error| Stop::failed(format!("our client is not let in: {error}")))
    }

    /// Does not get a connection, and says why.
    ///
    /// # Errors
    /// It gets one.
    pub fn refused(options: Options) -> Checked<Error> {
        match Self::try_connect(options)? {
            Err(error) => Ok(error),
            Ok(app) => Err(Stop::failed(format!("our client was let in: {:?}", app.client.agreement()))),
        }
    }

    /// What was agreed for the connection that is open.
    ///
    /// # Errors
    /// None is.
    pub fn agreement(&self) -> Checked<Arc<Agreement>> {
        self.client.agreement().ok_or_else(|| Stop::failed("our client has no connection"))
    }

    /// Subscribes, and is granted what was asked for.
    ///
    /// # Errors
    /// It is not.
    pub fn subscribe(&self, filters: &[String], qos: Qos) -> Checked {
        let granted = self.try_subscribe(filters, qos)?.map_err(|error| Stop::failed(format!("subscribe: {error}")))?;
        ensure!(granted.iter().all(|granted| granted.result == Ok(qos)), "asked for {qos:?}, got {granted:?}");
        Ok(())
    }

    /// Subscribes, and returns what came of it.
    ///
    /// # Errors
    /// Nothing comes.
    pub fn try_subscribe(&self, filters: &[String], qos: Qos) -> Checked<Result<Vec<Granted>, RequestError>> {
        self.engine.wait("SUBACK", async { self.client.subscribe(filters).qos(qos).await })
    }

    /// Subscribes, as often as a connection is lost under it.
    ///
    /// # Errors
    /// It is not granted.
    pub fn subscribe_until_granted(&self, filters: &[String], qos: Qos) -> Checked {
        loop {
            match self.try_subscribe(filters, qos)? {
                Err(RequestError::Lost) => {}
                Err(error) => return Err(Stop::failed(format!("subscribe: {error}"))),
                Ok(_) => return Ok(()),
            }
        }
    }

    /// Ends subscriptions.
    ///
    /// # Errors
    /// It is not answered.
    pub fn unsubscribe(&self, filters: &[String]) -> Checked {
        let ended = self.engine.wait("UNSUBACK", self.client.unsubscribe(filters))?;
        ended.map(|_| ()).map_err(|error| Stop::failed(format!("unsubscribe: {error}")))
    }

    /// Publishes what `make` makes of the client, and sees it taken.
    ///
    /// # Errors
    /// It is not.
    pub fn publish<'a>(&'a self, make: impl FnOnce(&'a Client) -> Publish<'a>) -> Checked<Receipt> {
        self.try_publish(make)?.map_err(|error| Stop::failed(format!("publish: {error}")))
    }

    /// Publishes, and returns what came of it.
    ///
    /// # Errors
    /// Nothing comes.
    pub fn try_publish<'a>(&'a self, make: impl FnOnce(&'a Client) -> Publish<'a>) -> Checked<Result<Receipt, PublishError>> {
        self.engine.wait("the publication to be complete", async { make(&self.client).await })
    }

    /// The next message.
    ///
    /// # Errors
    /// None comes.
    pub fn message(&mut self) -> Checked<Incoming> {
        let next = self.engine.wait("a message", self.messages.next())?;
        next.ok_or_else(|| Stop::failed("expected a message, and our client has ended"))
    }

    /// The next message is this one.
    ///
    /// # Errors
    /// Another comes, or none.
    pub fn expect(&mut self, topic: &str, payload: &str) -> Checked<Incoming> {
        let seen = self.message()?;
        let text = String::from_utf8_lossy(seen.payload()).into_owned();
        ensure!(seen.topic() == topic && text == payload, "expected {payload:?} on {topic:?}, got {text:?} on {:?}", seen.topic());
        Ok(seen)
    }

    /// Waits for an event.
    ///
    /// # Errors
    /// It does not happen.
    pub fn event<T>(&mut self, what: &str, mut wanted: impl FnMut(&Event) -> Option<T>) -> Checked<T> {
        let events = &mut self.events;
        let found = self.engine.wait(what, async {
            loop {
                match events.next().await {
                    None => return None,
                    Some(event) => {
                        if let Some(found) = wanted(&event) {
                            return Some(found);
                        }
                    }
                }
            }
        })?;
        found.ok_or_else(|| Stop::failed(format!("expected {what}, and our client has ended")))
    }

    /// Waits until the client has ended by itself.
    ///
    /// # Errors
    /// It goes on.
    pub fn ended(&self) -> Checked<Error> {
        self.engine.wait("our client to end", self.client.ended())
    }

    /// Leaves, and returns every event that was not looked at.
    ///
    /// # Errors
    /// It does not end.
    pub fn leave(mut self) -> Checked<Vec<Event>> {
        self.engine.wait("our client to leave", self.client.leave())?;
        let mut events = vec![];
        while let Some(event) = self.engine.wait("the events to end", self.events.next())? {
            events.push(event);
        }
        Ok(events)
    }

    /// Is gone without a farewell, as after a crash.
    pub fn crash(self) {
        drop(self.engine);
    }
}

/// Why a connection is plain, if that was told.
pub fn downgrade(events: &[Event]) -> Option<Because> {
    events.iter().find_map(|event| if let Event::Downgraded { because, .. } = event { Some(*because) } else { None })
}
