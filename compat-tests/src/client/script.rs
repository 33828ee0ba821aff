//! Clients in other languages: a script that keeps any number of clients and speaks JSON lines. Commands carry the
//! client's number and `do`; events carry it and `event`. One process of a kind serves all cases; it ends when its
//! standard input does, which is when this program ends.

use super::{Event, Incoming, Options, Outgoing, PlainClient, Ticket};
use crate::outcome::{Checked, Stop};
use crate::peer::process::Process;
use crate::peer::{Unavailable, recipe::Transport};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::process::Command;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

type Clients = Arc<Mutex<HashMap<u64, Sender<Event>>>>;

/// One running script.
#[derive(Debug)]
struct Host {
    process: Mutex<Process>,
    clients: Clients,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A client in the script that `command` starts; scripts that run already are shared by `name`.
///
/// # Errors
/// The script cannot be started.
pub fn open(name: &str, command: Command) -> Result<Box<dyn PlainClient>, Unavailable> {
    static HOSTS: OnceLock<Mutex<HashMap<String, Arc<Host>>>> = OnceLock::new();
    let mut hosts = lock(HOSTS.get_or_init(Mutex::default));
    let host = match hosts.get(name) {
        Some(host) if lock(&host.process).is_running() => host.clone(),
        _ => {
            let host = Arc::new(start(name, command)?);
            hosts.insert(name.to_owned(), host.clone());
            host
        }
    };
    Ok(Box::new(Script::join(host)))
}

fn start(name: &str, mut command: Command) -> Checked<Host> {
    let clients = Clients::default();
    let listening = clients.clone();
    let sink = Box::new(move |line: &str| match serde_json::from_str::<Line>(line) {
        Ok(line) => {
            // Nobody listens to a client that was dropped.
            let _ = lock(&listening).get(&line.client).map(|events| events.send(line.event.into()));
            true
        }
        Err(_) => false,
    });
    let process = Process::spawn(name, &mut command, sink)?;
    Ok(Host { process: Mutex::new(process), clients })
}

#[derive(Deserialize)]
struct Line {
    client: u64,
    #[serde(flatten)]
    event: ScriptEvent,
}

#[derive(Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
enum ScriptEvent {
    Connected { session_present: Option<bool> },
    Refused { why: String },
    Subscribed { ticket: Ticket, codes: Vec<u8> },
    Unsubscribed { ticket: Ticket },
    Published { ticket: Ticket },
    Message { topic: String, payload: String, qos: u8, retain: bool, dup: Option<bool> },
    Closed { why: String },
    Error { why: String },
}

impl From<ScriptEvent> for Event {
    fn from(event: ScriptEvent) -> Self {
        match event {
            ScriptEvent::Connected { session_present } => Event::Connected { session_present },
            ScriptEvent::Refused { why } => Event::Refused { why },
            ScriptEvent::Subscribed { ticket, codes } => Event::Subscribed { ticket, codes },
            ScriptEvent::Unsubscribed { ticket } => Event::Unsubscribed { ticket },
            ScriptEvent::Published { ticket } => Event::Published { ticket },
            ScriptEvent::Closed { why } => Event::Closed { why },
            ScriptEvent::Error { why } => Event::Error { why },
            ScriptEvent::Message { topic, payload, qos, retain, dup } => match BASE64_STANDARD.decode(payload) {
                Ok(payload) => Event::Message(Incoming { topic, payload, qos, retain, dup }),
                Err(error) => Event::Error { why: format!("the script's payload is not base64: {error}") },
            },
        }
    }
}

/// One client in a script.
struct Script {
    host: Arc<Host>,
    number: u64,
    events: Receiver<Event>,
}

impl Script {
    fn join(host: Arc<Host>) -> Self {
        static NEXT: Mutex<u64> = Mutex::new(1);
        let number = {
            let mut next = lock(&NEXT);
            *next += 1;
            *next
        };
        let (sender, events) = channel();
        lock(&host.clients).insert(number, sender);
        Self { host, number, events }
    }

    fn command(&mut self, name: &str, mut fields: Value) -> Checked {
        fields["client"] = self.number.into();
        fields["do"] = name.into();
        lock(&self.host.process).write_line(&fields.to_string())
    }
}

fn message(message: &Outgoing, qos: u8) -> Value {
    json!({ "topic": message.topic, "payload": BASE64_STANDARD.encode(&message.payload), "retain": message.retain, "qos": qos })
}

impl PlainClient for Script {
    fn connect(&mut self, options: &Options) -> Checked {
        let transport = match options.transport {
            Transport::Tcp => "tcp",
            Transport::Tls => "tls",
            Transport::WebSocket => "ws",
            Transport::SecureWebSocket => "wss",
        };
        let fields = json!({
            "host": options.address.ip().to_string(),
            "port": options.address.port(),
            "transport": transport,
            "path": crate::case::target::WEBSOCKET_PATH,
            "authority": options.authority,
            "client_id": options.client_id,
            "clean_session": options.clean_session,
            "keep_alive_s": options.keep_alive_s,
            "will": options.will.as_ref().map(|(will, qos)| message(will, *qos)),
            "user_name": options.user_name,
            "password": options.password,
        });
        self.command("connect", fields)
    }

    fn resume(&mut self) -> Checked {
        self.command("resume", json!({}))
    }

    fn subscribe(&mut self, ticket: Ticket, filters: &[(String, u8)]) -> Checked {
        self.command("subscribe", json!({ "ticket": ticket, "filters": filters }))
    }

    fn unsubscribe(&mut self, ticket: Ticket, filters: &[String]) -> Checked {
        self.command("unsubscribe", json!({ "ticket": ticket, "filters": filters }))
    }

    fn publish(&mut self, ticket: Ticket, outgoing: &Outgoing, qos: u8) -> Checked {
        let mut fields = message(outgoing, qos);
        fields["ticket"] = ticket.into();
        self.command("publish", fields)
    }

    fn disconnect(&mut self) -> Checked {
        self.command("disconnect", json!({}))
    }

    fn drop_connection(&mut self) -> Checked {
        self.command("drop", json!({}))
    }

    fn event(&mut self, deadline: Instant) -> Checked<Option<Event>> {
        match self.events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(event) => Ok(Some(event)),
            Err(RecvTimeoutError::Timeout) => {
                let mut process = lock(&self.host.process);
                if process.is_running() { Ok(None) } else { Err(process.failure("the script ended")) }
            }
            Err(RecvTimeoutError::Disconnected) => Err(Stop::failed("the script forgot this client")),
        }
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        lock(&self.host.clients).remove(&self.number);
        // A script that has ended has forgotten the client.
        let _ = self.command("forget", json!({}));
    }
}
